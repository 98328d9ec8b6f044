//! A GraphDef as a graph of TensorFlow Lite: the way back of [`crate::import::tflite`].
//!
//! Tables say for every operator of TensorFlow what it becomes ([`rows`]); what has no builtin is told of with all others at
//! once. Constants stay where they are: a filter whose axes have another order there is transposed as it is written
//! ([`Constant`]). What follows from shapes alone is a constant here, with at most one dimension left to the interpreter.

mod fuse;
mod graph;
mod nodes;
mod norms;
mod products;
mod rows;
mod shapes;
mod values;

use std::collections::HashMap;

use tightfit_core::{Account, MemoryBudget};
use tightfit_format::GraphDef;
use tightfit_format::tflite::{Place, Signature, SubGraph};

use crate::error::GraphError;
use crate::fact::Fact;
use graph::Lower;
pub use values::Constant;

/// What is known of the tensors of a graph, by their names, `node:0`.
pub type Facts = HashMap<String, Fact>;

/// A graph of TensorFlow Lite.
#[derive(Debug)]
pub struct Lowered {
    /// The graph.
    pub graph: SubGraph,
    /// What callers call its inputs and outputs.
    pub signature: Signature,
    /// The constants; the place of a tensor's values has the number of its constant as its offset.
    pub constants: Vec<Constant>,
    _account: Account,
}

impl Lowered {
    /// The constant that a place of the graph stands for.
    pub fn constant(&self, place: Place) -> Option<&Constant> {
        self.constants.get(usize::try_from(place.offset).ok()?)
    }
}

/// Makes a graph of builtins of `def`, whose constants are folded. `inputs` are its placeholders and `outputs` its tensors, each
/// after what callers call it.
///
/// # Errors
/// [`GraphError::Unsupported`] with all nodes that have no builtin, [`GraphError::Broken`] for a node that takes what is not
/// there, and what the memory says.
pub fn lower(
    def: &GraphDef,
    facts: &Facts,
    inputs: &[(String, String)],
    outputs: &[(String, String)],
    budget: &MemoryBudget,
) -> Result<Lowered, GraphError> {
    let mut lower = Lower::new(def, facts, budget);
    lower.inputs(inputs)?;
    lower.nodes(rows::lower)?;
    lower.outputs(outputs)?;
    lower.prune()?;
    fuse::run(&mut lower)?;
    lower.finish()
}

/// The operators of TensorFlow that have a builtin, in the order of their names, with what each becomes.
pub fn exports() -> Vec<(&'static str, &'static str)> {
    let mut list: Vec<_> = rows::all().map(|row| (row.op, row.builtin)).collect();
    list.sort_unstable();
    list
}
