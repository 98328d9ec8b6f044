//! What an operator is: the one trait, and what it is given at each stage of its life.
//!
//! An operator is made from a node's attributes at import ([`Registration`], [`attributes`]), infers facts
//! ([`Operator::infer`]), says what memory it needs at concrete shapes ([`Operator::memory`], [`Operator::weight`]) and
//! computes ([`Operator::run`]) in memory it is given. It never allocates while it runs.

pub mod attributes;
mod call;
mod error;
mod evaluate;
pub(crate) mod growing;
mod ints;
pub(crate) mod lists;
pub mod product;
pub(crate) mod random;
pub(crate) mod ranks;
pub(crate) mod reshape;
pub(crate) mod rooms;
mod run;
pub(crate) mod slot;
pub mod strings;
pub mod tables;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::fact::Fact;
use attributes::Attributes;
use product::Product;

pub use call::{Call, Held, Memory, Overwrites, TensorInfo, WeightLayout, WeightUse};
pub use error::OpError;
pub use evaluate::evaluate;
pub use ints::Ints;
pub use rooms::Taken;
pub use run::{EachBlock, Run, Weight, WeightStream};
pub(crate) use slot::{Growth, Slot};

/// How a node of a file becomes an operator.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The operator's name in TensorFlow.
    pub name: &'static str,
    /// Reads the node's attributes.
    pub import: fn(&Attributes<'_>) -> Result<Box<dyn Operator>, OpError>,
}

/// An operator with its attributes. Its `Debug` text holds every attribute: two operators with the same text
/// compute the same.
pub trait Operator: Any + fmt::Debug + Send + Sync {
    /// The operator's name in TensorFlow, or of the fused step it stands for.
    fn name(&self) -> &'static str;

    /// Type, shape and, where it follows, value of each output. Runs on open dimensions as well as on bound ones.
    ///
    /// # Errors
    /// [`OpError`] when no values of these inputs could be computed.
    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError>;

    /// Refuses shapes that TensorFlow refuses while it reads a file, though not where they are only known as it runs.
    ///
    /// # Errors
    /// [`OpError::Input`] for an input of such a shape.
    fn check(&self, _inputs: &[&Fact]) -> Result<(), OpError> {
        Ok(())
    }

    /// The operator as a plainer one that computes the same for what is known of its inputs, and that passes know.
    fn plainer(&self, _inputs: &[&Fact]) -> Option<Arc<dyn Operator>> {
        None
    }

    /// Bytes of the heap that it holds for itself beside copies of its attributes.
    fn heap_bytes(&self) -> u64 {
        0
    }

    /// True when a larger value of this integer input makes no output smaller, and no element of one: the most that it
    /// can be then says the most that the outputs can be. Every operator's outputs grow with its inputs' shapes.
    fn grows_with(&self, input: usize) -> bool {
        let _ = input;
        false
    }

    /// True when values of its inputs can make an output larger than the most that was inferred without them. A run that
    /// knows its inputs' values beforehand is planned with them then.
    fn can_outgrow(&self) -> bool {
        false
    }

    /// The most outputs that it has with so many inputs. What an attribute counts is no larger than what memory was
    /// reserved for before [`Operator::infer`].
    fn max_outputs(&self, inputs: usize) -> usize {
        inputs.max(8)
    }

    /// Scratch and sharing of memory at concrete shapes. Where a tensor of the step has no bound, it is asked in each run,
    /// when the shapes are known, and else only while the model is planned.
    fn memory(&self, call: &Call<'_>) -> Memory {
        let _ = call;
        Memory::default()
    }

    /// Multiplications and additions of a run at these shapes, where it does little else; `None` of other operators.
    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        let _ = call;
        None
    }

    /// The input that is a weight, read once into a layout of the operator's own or streamed from the file.
    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let _ = call;
        None
    }

    /// Gives the outputs the shapes they have in this run, from the shapes and small values of the inputs that are
    /// there, without heap memory; for a step whose shapes depend on data. What the run sets by itself may stay.
    /// `None` where it does not know, or where the inputs do not go together: [`Operator::infer`] is asked then.
    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let _ = run;
        None
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// [`OpError`] for values that cannot be computed with, an index out of range for one.
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError>;

    /// False for an operator that must run even where nothing reads its outputs, or whose outputs differ from run to
    /// run: it is neither removed, merged with its like, nor computed ahead.
    fn is_pure(&self) -> bool {
        true
    }

    /// True where running it may end the run or differ from run to run, as far as is known of its inputs.
    fn has_effect(&self, _inputs: &[&Fact]) -> bool {
        !self.is_pure()
    }

    /// The seeds of an operator that goes on in its sequence of random numbers from run to run: its steps are given a
    /// [`Generator`](random::Generator) that the context keeps.
    fn seeds(&self) -> Option<random::Seeds> {
        None
    }

    /// The table that running it changes, or that other operators change.
    fn changed_table(&self) -> Option<&Arc<tables::TableSpec>> {
        None
    }

    /// Whether the first output is of the type of float16 or bfloat16 inputs where those are converted to float32 around
    /// the operator; otherwise it stays float32.
    fn narrows_again(&self) -> bool {
        true
    }

    /// The operator as one with an epilogue that passes can add to.
    fn as_product(&self) -> Option<&dyn Product> {
        None
    }
}

impl dyn Operator {
    /// The operator as its own type, when it is a `T`.
    pub fn downcast<T: Operator>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// The axis that `axis` means in a tensor of `rank`: negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let positive = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(positive).ok().filter(|axis| *axis < rank)
}
