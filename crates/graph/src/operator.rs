//! What an operator is: the one trait, and what it is given at each stage of its life.
//!
//! An operator is made from a node's attributes at import ([`crate::attributes`]), infers facts ([`Operator::infer`]),
//! says what memory it needs at concrete shapes ([`Operator::memory`], [`Operator::weight`]) and computes
//! ([`Operator::run`]) in memory it is given. It never allocates while it runs.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use tightfit_core::{BudgetError, DType, Element, Shape, StringRef, TensorView, TensorViewMut};
use tightfit_format::FormatError;
use tightfit_kernels::{KernelError, Src, ThreadPool};

use crate::fact::Fact;
use crate::ops::fused::Product;
use crate::strings::StringPool;

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

    /// Scratch and sharing of memory at concrete shapes.
    fn memory(&self, call: &Call<'_>) -> Memory {
        let _ = call;
        Memory::default()
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

/// Type, shape and place of a tensor an operator is about to be called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo {
    /// The element type.
    pub dtype: DType,
    /// The shape, or its upper bound.
    pub shape: Shape,
    /// Where its memory is.
    pub place: Place,
}

/// Where the memory of a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// In the arena or fed by the caller: dense, row-major, aligned.
    #[default]
    Value,
    /// A constant, dense and row-major, as the file has it.
    Resident,
    /// A constant in the layout the operator asked for with [`WeightUse`].
    Packed,
    /// A constant that is read from the file each time.
    Streamed,
}

/// The concrete shapes an operator is planned for.
#[derive(Debug)]
pub struct Call<'a> {
    /// The inputs.
    pub inputs: &'a [TensorInfo],
    /// The outputs.
    pub outputs: &'a [TensorInfo],
    /// How many threads will compute.
    pub threads: usize,
    /// The most bytes of a streamed weight that are in memory at once.
    pub window_bytes: usize,
}

/// What an operator needs besides its inputs and outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Scratch bytes while it runs.
    pub scratch_bytes: usize,
    /// Inputs whose memory the first output may take over, where types have the same size and shapes are the same.
    pub overwrites: Vec<usize>,
    /// The input whose memory the first output *is*: the elements are the same in the same order.
    pub alias: Option<usize>,
    /// Bytes of new strings it can make.
    pub string_bytes: usize,
}

impl Memory {
    /// Needs only scratch.
    pub fn scratch(scratch_bytes: usize) -> Memory {
        Memory { scratch_bytes, ..Memory::default() }
    }

    /// May compute in place of these inputs.
    pub fn overwrites(inputs: &[usize]) -> Memory {
        Memory { overwrites: inputs.to_vec(), ..Memory::default() }
    }

    /// Is its input seen through another shape.
    pub fn alias(input: usize) -> Memory {
        Memory { alias: Some(input), ..Memory::default() }
    }
}

/// How an operator wants a constant input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightUse {
    /// Which input.
    pub input: usize,
    /// The layout it is read into when it is resident.
    pub layout: WeightLayout,
    /// Bytes of the file that one block of a streamed pass holds: the largest legal block of at most
    /// [`Call::window_bytes`], or the smallest legal one. 0 where the operator reads pieces of its own choice.
    pub block_bytes: usize,
}

/// The layouts a resident weight can be read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// The right-hand side of a matrix product in the kernel's panels.
    Panels {
        /// Rows: the depth of the product.
        k: usize,
        /// Columns of the product.
        n: usize,
        /// True when the file has it as `[n, k]`.
        is_transposed: bool,
        /// How many such matrices stand side by side: a grouped convolution's.
        groups: usize,
    },
    /// As the file has it.
    Dense,
}

/// A weight at run time.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// In the layout asked for.
    Packed(&'a [u8]),
    /// Dense and row-major in memory.
    Dense(TensorView<'a>),
    /// Still in the file.
    Streamed(&'a dyn WeightStream),
}

/// What is done with a block of a weight: its offset in the weight, and its bytes.
pub type EachBlock<'a> = dyn FnMut(u64, &[u8]) -> Result<(), OpError> + 'a;

/// A weight that is read while it is used.
pub trait WeightStream: Sync {
    /// Calls `each` with every block in order: its offset in the weight and its bytes, which may lie at any alignment.
    ///
    /// # Errors
    /// The first error of the file or of `each`.
    fn blocks(&self, each: &mut EachBlock<'_>) -> Result<(), OpError>;

    /// Reads the bytes at `offset` of the weight.
    ///
    /// # Errors
    /// [`OpError::File`] when the file fails.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OpError>;
}

/// One tensor of a running graph.
pub(crate) struct Slot {
    /// Its first byte; valid for `capacity_bytes` while a step runs that uses it.
    pub start: *mut u8,
    pub dtype: DType,
    /// The shape of this run.
    pub shape: Cell<Shape>,
    pub place: Place,
    /// Bytes in memory at `start`; 0 for a tensor of the caller's while no run goes on.
    pub capacity_bytes: Cell<usize>,
    /// True once the step at hand has handed it out to be written.
    pub is_taken: Cell<bool>,
}

// SAFETY: whoever makes slots owns the memory they lead into, and takes it along; what is the caller's is there only
// during a run.
unsafe impl Send for Slot {}

/// What an operator computes with: inputs, outputs, scratch and threads of one step.
pub struct Run<'a> {
    /// The threads to compute with.
    pub pool: &'a ThreadPool,
    pub(crate) slots: &'a [Slot],
    pub(crate) inputs: &'a [usize],
    pub(crate) outputs: &'a [usize],
    pub(crate) in_place_input: Option<usize>,
    pub(crate) stream: Option<&'a dyn WeightStream>,
    pub(crate) scratch: Option<&'a mut [u8]>,
    pub(crate) strings: &'a StringPool,
}

impl<'a> Run<'a> {
    /// Makes every output one that has not been taken.
    pub(crate) fn begin(&mut self) {
        for slot in self.outputs {
            self.slots[*slot].is_taken.set(false);
        }
    }

    /// How many inputs there are.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// The shape of an input in this run.
    pub fn shape(&self, input: usize) -> Shape {
        self.slots[self.inputs[input]].shape.get()
    }

    /// The type of an input.
    pub fn dtype(&self, input: usize) -> DType {
        self.slots[self.inputs[input]].dtype
    }

    /// The type of an output.
    pub fn output_dtype(&self, output: usize) -> DType {
        self.slots[self.outputs[output]].dtype
    }

    /// The shape of an output in this run, as inferred or as set by [`Run::set_output_shape`].
    pub fn output_shape(&self, output: usize) -> Shape {
        self.slots[self.outputs[output]].shape.get()
    }

    /// True when the first output takes the place of `input`: read it with [`Run::src`].
    pub fn is_in_place(&self, input: usize) -> bool {
        self.in_place_input == Some(input)
    }

    /// An input to read.
    ///
    /// # Errors
    /// [`OpError::Internal`] for an input that is computed in place or is not dense in memory.
    pub fn input(&self, input: usize) -> Result<TensorView<'a>, OpError> {
        let slot = &self.slots[self.inputs[input]];
        if self.is_in_place(input) || !matches!(slot.place, Place::Value | Place::Resident) {
            return Err(OpError::Internal("an input that is in place or packed was read as a dense one"));
        }
        self.view(slot)
    }

    fn view(&self, slot: &Slot) -> Result<TensorView<'a>, OpError> {
        let shape = slot.shape.get();
        let bytes = shape.elements() * slot.dtype.bytes();
        if bytes > slot.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        // SAFETY: inside the slot's memory by the check above. `plan::validate` guarantees that it is valid (rules 1
        // and 4), and that no output or scratch of the step overlaps it (rule 3) but the one output in place of an
        // input, which `input` refuses.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start, bytes) };
        TensorView::new(slot.dtype, shape, bytes)
            .ok_or(OpError::Internal("a tensor's bytes do not match its shape"))
    }

    /// The elements of an input.
    ///
    /// # Errors
    /// As [`Run::input`], and [`OpError::Internal`] when it is of another type.
    pub fn slice<T: Element>(&self, input: usize) -> Result<&'a [T], OpError> {
        self.input(input)?
            .as_slice()
            .ok_or(OpError::Internal("an input is not of the type that was inferred"))
    }

    /// An input for a kernel that can compute in place.
    ///
    /// # Errors
    /// As [`Run::input`].
    pub fn src(&self, input: usize) -> Result<Src<'a>, OpError> {
        if self.is_in_place(input) {
            Ok(Src::InPlace(self.dtype(input)))
        } else {
            self.input(input).map(Src::View)
        }
    }

    /// Integers of a small input, an axis or a shape: at most `MAX` of them.
    ///
    /// # Errors
    /// [`OpError::Input`] when it has more, or is not of an integer type.
    pub fn ints<const MAX: usize>(&self, input: usize) -> Result<Ints<MAX>, OpError> {
        Ints::read(self.input(input)?).map_err(|why| OpError::input(input, why))
    }

    /// A constant input in whatever form it was planned.
    ///
    /// # Errors
    /// As [`Run::input`].
    pub fn weight(&self, input: usize) -> Result<Weight<'a>, OpError> {
        let slot = &self.slots[self.inputs[input]];
        Ok(match slot.place {
            Place::Value | Place::Resident => Weight::Dense(self.input(input)?),
            Place::Packed => {
                // SAFETY: as in `view`; a packed weight is written before the first run and only read after (rule 3).
                let bytes = unsafe { std::slice::from_raw_parts(slot.start, slot.capacity_bytes.get()) };
                Weight::Packed(bytes)
            }
            Place::Streamed => {
                Weight::Streamed(self.stream.ok_or(OpError::Internal("a streamed weight has no stream"))?)
            }
        })
    }

    /// An output to write; each can be taken once.
    ///
    /// # Errors
    /// [`OpError::Internal`] the second time.
    pub fn output(&mut self, output: usize) -> Result<TensorViewMut<'a>, OpError> {
        let slot = &self.slots[self.outputs[output]];
        if slot.is_taken.replace(true) {
            return Err(OpError::Internal("an output was taken twice"));
        }
        let shape = slot.shape.get();
        let bytes = shape.elements() * slot.dtype.bytes();
        if bytes > slot.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        // SAFETY: inside the slot's memory by the check above, which overlaps no other output, no scratch and no input
        // of the step (rules 1 and 3 of `plan::validate`) but the one it is in place of, which `input` refuses. It is
        // handed out once.
        let bytes = unsafe { std::slice::from_raw_parts_mut(slot.start, bytes) };
        TensorViewMut::new(slot.dtype, shape, bytes)
            .ok_or(OpError::Internal("a tensor's bytes do not match its shape"))
    }

    /// The elements of an output; each can be taken once.
    ///
    /// # Errors
    /// As [`Run::output`], and [`OpError::Internal`] when it is of another type.
    pub fn out<T: Element>(&mut self, output: usize) -> Result<&'a mut [T], OpError> {
        let dtype = self.output_dtype(output);
        let bytes = self.out_bytes(output)?;
        if dtype != T::DTYPE {
            return Err(OpError::Internal("an output is not of the type that was inferred"));
        }
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| OpError::Internal("an output is not aligned"))
    }

    /// The bytes of an output; each can be taken once.
    ///
    /// # Errors
    /// As [`Run::output`].
    pub fn out_bytes(&mut self, output: usize) -> Result<&'a mut [u8], OpError> {
        Ok(self.output(output)?.into_bytes())
    }

    /// Says what shape an output whose shape depends on data has in this run; before [`Run::output`].
    ///
    /// # Errors
    /// [`OpError::Internal`] when it is larger than was planned.
    pub fn set_output_shape(&mut self, output: usize, shape: Shape) -> Result<(), OpError> {
        let slot = &self.slots[self.outputs[output]];
        if shape.elements() * slot.dtype.bytes() > slot.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        slot.shape.set(shape);
        Ok(())
    }

    /// The scratch that [`Operator::memory`] asked for; once.
    ///
    /// # Errors
    /// [`OpError::Internal`] the second time.
    pub fn scratch(&mut self) -> Result<&'a mut [u8], OpError> {
        self.scratch.take().ok_or(OpError::Internal("the scratch was taken twice"))
    }

    /// The text of one element of a string tensor.
    pub fn string(&self, string: StringRef) -> &'a [u8] {
        self.strings.get(string)
    }

    /// Asks for room for so many bytes of new strings, whose lengths are not known before the run. Nothing of a step is
    /// written over its inputs before.
    ///
    /// # Errors
    /// [`OpError::Strings`] when there is less: the session finds more memory and runs the step again.
    pub fn need_strings(&self, bytes: u64) -> Result<(), OpError> {
        if self.strings.ask(bytes) { Ok(()) } else { Err(OpError::Strings { bytes }) }
    }

    /// Makes a new string of two.
    ///
    /// # Errors
    /// [`OpError::Internal`] when [`Run::need_strings`] was not asked for it.
    pub fn joined_strings(&self, first: StringRef, second: StringRef) -> Result<StringRef, OpError> {
        self.strings
            .join(first, second)
            .ok_or(OpError::Internal("strings pass the memory that was asked for"))
    }
}

/// A few integers read from a tensor, without heap memory.
#[derive(Debug, Clone, Copy)]
pub struct Ints<const MAX: usize> {
    values: [i64; MAX],
    count: usize,
}

impl<const MAX: usize> Ints<MAX> {
    /// The elements of an integer tensor.
    ///
    /// # Errors
    /// What is wrong with it, for [`OpError::Input`].
    pub fn read(tensor: TensorView<'_>) -> Result<Self, String> {
        let count = tensor.shape().elements();
        if count > MAX {
            return Err(format!("has {count} elements; at most {MAX} are supported"));
        }
        let mut values = [0; MAX];
        match tensor.dtype() {
            DType::I16 => {
                for (v, b) in values.iter_mut().zip(tensor.bytes().chunks_exact(2)) {
                    *v = i16::from_le_bytes([b[0], b[1]]) as i64;
                }
            }
            DType::I32 => {
                for (v, b) in values.iter_mut().zip(tensor.bytes().chunks_exact(4)) {
                    *v = i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as i64;
                }
            }
            DType::I64 => {
                for (v, b) in values.iter_mut().zip(tensor.bytes().chunks_exact(8)) {
                    *v = i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
                }
            }
            other => return Err(format!("is of type {other}; int32 or int64 is needed")),
        }
        Ok(Ints { values, count })
    }
}

impl<const MAX: usize> std::ops::Deref for Ints<MAX> {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.values[..self.count]
    }
}

/// Why an operator cannot be made, inferred or run. The graph adds node and file.
#[derive(Debug)]
pub enum OpError {
    /// An attribute is missing, of the wrong kind, or has a value that is not supported.
    Attribute {
        /// Its name.
        attribute: String,
        /// What is wrong with it.
        why: String,
    },
    /// An input's type, shape or value is not possible.
    Input {
        /// Which.
        input: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Something the operator means that is not implemented.
    Unsupported(String),
    /// Values that cannot be computed with.
    Invalid(String),
    /// The memory that is needed is not free.
    Budget(BudgetError),
    /// A file that holds a weight failed.
    File(FormatError),
    /// A kernel refused its arguments.
    Kernel(KernelError),
    /// New strings need more memory than there is for them.
    Strings {
        /// How much.
        bytes: u64,
    },
    /// A promise between plan, executor and operator was broken.
    Internal(&'static str),
}

impl OpError {
    /// An input that is not possible.
    pub fn input(input: usize, why: impl Into<String>) -> OpError {
        OpError::Input { input, why: why.into() }
    }

    /// An attribute that is not possible.
    pub fn attribute(attribute: impl Into<String>, why: impl Into<String>) -> OpError {
        OpError::Attribute { attribute: attribute.into(), why: why.into() }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpError::Attribute { attribute, why } => write!(f, "attribute {attribute} {why}"),
            OpError::Input { input, why } => write!(f, "input {input} {why}"),
            OpError::Unsupported(why) | OpError::Invalid(why) => f.write_str(why),
            OpError::Budget(error) => error.fmt(f),
            OpError::File(error) => error.fmt(f),
            OpError::Kernel(error) => error.fmt(f),
            OpError::Strings { bytes } => {
                write!(f, "makes {bytes} bytes of strings, for which there is no room")
            }
            OpError::Internal(why) => write!(f, "{why} (a defect of TightFit)"),
        }
    }
}

impl std::error::Error for OpError {}

impl From<BudgetError> for OpError {
    fn from(error: BudgetError) -> OpError {
        OpError::Budget(error)
    }
}

impl From<FormatError> for OpError {
    fn from(error: FormatError) -> OpError {
        OpError::File(error)
    }
}

impl From<KernelError> for OpError {
    fn from(error: KernelError) -> OpError {
        OpError::Kernel(error)
    }
}

impl From<tightfit_core::ShapeError> for OpError {
    fn from(error: tightfit_core::ShapeError) -> OpError {
        OpError::Unsupported(error.to_string())
    }
}
