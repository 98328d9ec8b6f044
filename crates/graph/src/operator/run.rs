//! What an operator computes with, and the unsafe code that leads from a plan's offsets to slices.

use tightfit_core::{DType, Element, MemoryBudget, Reservation, Shape, StringRef, TensorView, TensorViewMut};
use tightfit_kernels::{Philox, Src, ThreadPool};

use super::call::Held;
use super::error::OpError;
use super::ints::Ints;
use super::random::{Generator, Seeds};
use super::rooms::{Rooms, Taken};
use super::slot::Slot;
use super::strings::StringPool;
use super::tables::Tables;

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
    pub(crate) tables: &'a Tables,
    /// The memory of values that grow; `None` where there are none.
    pub(crate) rooms: Option<&'a Rooms>,
    pub(crate) generator: Option<&'a Generator>,
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

    /// How many dimensions an input has in this run.
    pub fn rank(&self, input: usize) -> usize {
        self.slots[self.inputs[input]].rank()
    }

    /// The size of an input along an axis in this run; `None` for an axis that it does not have.
    pub fn dim(&self, input: usize, axis: usize) -> Option<usize> {
        self.slots[self.inputs[input]].dim(axis)
    }

    /// The same of an output.
    pub fn output_dim(&self, output: usize, axis: usize) -> Option<usize> {
        self.slots[self.outputs[output]].dim(axis)
    }

    /// How many dimensions an output has in this run.
    pub fn output_rank(&self, output: usize) -> usize {
        self.slots[self.outputs[output]].rank()
    }

    /// True where every input is broadcast to the first output element for element, or is one element for all of it, and all
    /// have the type of the first input.
    pub(crate) fn is_flat(&self) -> bool {
        let Some(output) = self.outputs.first().map(|slot| &self.slots[*slot]) else { return false };
        let mut inputs = self.inputs.iter().map(|slot| &self.slots[*slot]);
        inputs.all(|slot| slot.dtype == self.dtype(0) && slot.is_flat_in(output))
    }

    /// An input to read.
    ///
    /// # Errors
    /// [`OpError::Internal`] for an input that is computed in place or is not dense in memory.
    pub fn input(&self, input: usize) -> Result<TensorView<'a>, OpError> {
        let (slot, bytes) = (&self.slots[self.inputs[input]], self.bytes(input)?);
        TensorView::new(slot.dtype, slot.shape.get(), bytes)
            .ok_or(OpError::Internal("a tensor's bytes do not match its shape"))
    }

    /// The bytes of an input.
    ///
    /// # Errors
    /// As [`Run::input`].
    pub fn bytes(&self, input: usize) -> Result<&'a [u8], OpError> {
        let slot = &self.slots[self.inputs[input]];
        if self.is_in_place(input) || !matches!(slot.held, Held::Value | Held::Resident) {
            return Err(OpError::Internal("an input that is in place or packed was read as a dense one"));
        }
        let bytes = slot.bytes()?;
        if bytes > slot.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        // SAFETY: inside the slot's memory by the check above. `plan::validate` guarantees that it is valid (rules 1
        // and 4), and that no output or scratch of the step overlaps it (rule 3) but the one output in place of an
        // input, which is refused.
        Ok(unsafe { std::slice::from_raw_parts(slot.start.get(), bytes) })
    }

    /// The bytes of an input for a kernel that can compute in place; `None` where the first output takes its place.
    ///
    /// # Errors
    /// As [`Run::input`].
    pub(crate) fn bytes_apart(&self, input: usize) -> Result<Option<&'a [u8]>, OpError> {
        if self.is_in_place(input) { Ok(None) } else { self.bytes(input).map(Some) }
    }

    /// The elements of an input.
    ///
    /// # Errors
    /// As [`Run::input`], and [`OpError::Internal`] when it is of another type.
    pub fn slice<T: Element>(&self, input: usize) -> Result<&'a [T], OpError> {
        let values = match self.dtype(input) == T::DTYPE {
            true => bytemuck::try_cast_slice(self.bytes(input)?).ok(),
            false => None,
        };
        values.ok_or(OpError::Internal("an input is not of the type that was inferred"))
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
        Ints::read(self.dtype(input), self.bytes(input)?).map_err(|why| OpError::input(input, why))
    }

    /// A constant input in whatever form it was planned.
    ///
    /// # Errors
    /// As [`Run::input`].
    pub fn weight(&self, input: usize) -> Result<Weight<'a>, OpError> {
        let slot = &self.slots[self.inputs[input]];
        Ok(match slot.held {
            Held::Value | Held::Resident => Weight::Dense(self.input(input)?),
            Held::Packed => {
                // SAFETY: as in `view`; a packed weight is written before the first run and only read after (rule 3).
                let bytes =
                    unsafe { std::slice::from_raw_parts(slot.start.get(), slot.capacity_bytes.get()) };
                Weight::Packed(bytes)
            }
            Held::Streamed => {
                Weight::Streamed(self.stream.ok_or(OpError::Internal("a streamed weight has no stream"))?)
            }
        })
    }

    /// An output to write; each can be taken once. One that grows gets its memory now, as much as its shape needs.
    ///
    /// # Errors
    /// [`OpError::Internal`] the second time, and [`OpError::Budget`] when that memory is not free.
    pub fn output(&mut self, output: usize) -> Result<TensorViewMut<'a>, OpError> {
        let bytes = self.out_bytes(output)?;
        let slot = &self.slots[self.outputs[output]];
        TensorViewMut::new(slot.dtype, slot.shape.get(), bytes)
            .ok_or(OpError::Internal("a tensor's bytes do not match its shape"))
    }

    /// The bytes of an output; each can be taken once.
    ///
    /// # Errors
    /// As [`Run::output`].
    pub fn out_bytes(&mut self, output: usize) -> Result<&'a mut [u8], OpError> {
        let slot = &self.slots[self.outputs[output]];
        if slot.is_taken.replace(true) {
            return Err(OpError::Internal("an output was taken twice"));
        }
        if let Some(rooms) = self.rooms {
            slot.make_room(rooms)?;
        }
        let bytes = slot.bytes()?;
        if bytes > slot.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        // SAFETY: inside the slot's memory by the check above, which overlaps no other output, no scratch and no input
        // of the step (rules 1 and 3 of `plan::validate`) but the one it is in place of, which `input` refuses. It is
        // handed out once.
        Ok(unsafe { std::slice::from_raw_parts_mut(slot.start.get(), bytes) })
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

    /// Says what shape an output whose shape depends on data has in this run; before [`Run::output`]. An output without a
    /// bound may be of any size until it is taken.
    ///
    /// # Errors
    /// [`OpError::Internal`] when it is larger than was planned.
    pub fn set_output_shape(&mut self, output: usize, shape: Shape) -> Result<(), OpError> {
        self.slots[self.outputs[output]].set_shape(shape)
    }

    /// The scratch that [`Operator::memory`](super::Operator::memory) asked for; once.
    ///
    /// # Errors
    /// [`OpError::Internal`] the second time.
    pub fn scratch(&mut self) -> Result<&'a mut [u8], OpError> {
        self.scratch.take().ok_or(OpError::Internal("the scratch was taken twice"))
    }

    /// The same as elements.
    ///
    /// # Errors
    /// As [`Run::scratch`], and where it is not of whole elements.
    pub fn scratch_of<T: Element>(&mut self) -> Result<&'a mut [T], OpError> {
        bytemuck::try_cast_slice_mut(self.scratch()?)
            .map_err(|_| OpError::Internal("the scratch is not of whole elements"))
    }

    /// Memory beside the scratch that was planned, as much as the values of the inputs ask for. Only of a step one of whose
    /// tensors has no bound.
    ///
    /// # Errors
    /// [`OpError::Budget`] when it is not free, [`OpError::Internal`] in another step.
    pub fn room(&self, bytes: usize) -> Result<Taken<'a>, OpError> {
        let rooms =
            self.rooms.ok_or(OpError::Internal("a step that does not grow takes memory as it runs"))?;
        Ok(Taken::new(rooms, bytes)?)
    }

    /// Reserves heap memory that is taken by somebody else, a decoder, while the reservation lives.
    ///
    /// # Errors
    /// [`OpError::Budget`] when it is not free.
    pub fn reserve(&self, purpose: &'static str, bytes: u64) -> Result<Reservation, OpError> {
        let budget = self.rooms.map_or(self.strings.budget(), Rooms::budget);
        Ok(budget.try_reserve(purpose, bytes)?)
    }

    /// The generator of an operator that draws anew in each run, for numbers that take at most so many steps. It must
    /// have [`Operator::seeds`](super::Operator::seeds).
    ///
    /// # Errors
    /// [`OpError::Internal`] when it has none.
    pub fn random(&self, seeds: Seeds, steps: u64) -> Result<Philox, OpError> {
        let generator = self.generator.ok_or(OpError::Internal("a step that draws has no generator"))?;
        Ok(generator.reserve(seeds, steps))
    }

    /// The budget that the model runs in.
    pub fn budget(&self) -> &'a MemoryBudget {
        self.strings.budget()
    }

    /// The text of one element of a string tensor.
    pub fn string(&self, string: StringRef) -> &'a [u8] {
        self.strings.get(string)
    }

    /// Makes a new string. Its memory is of the budget that the model runs in.
    ///
    /// # Errors
    /// [`OpError::Budget`] when it is not free.
    pub fn new_string(&self, text: &[u8]) -> Result<StringRef, OpError> {
        Ok(self.strings.push(text)?)
    }

    /// The string with `more` after it: in place where it is the last one that was made, else a copy.
    ///
    /// # Errors
    /// As [`Run::new_string`].
    pub fn extended_string(&self, text: StringRef, more: &[u8]) -> Result<StringRef, OpError> {
        Ok(self.strings.extended(text, more)?)
    }

    /// The string that is `part`, a slice of the text of `string`: no text is copied.
    ///
    /// # Errors
    /// [`OpError::Internal`] for a slice of something else.
    pub fn part_of_string(&self, string: StringRef, part: &[u8]) -> Result<StringRef, OpError> {
        let whole = self.strings.get(string);
        let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr());
        match at {
            _ if part.is_empty() => Ok(StringRef { offset: string.offset, bytes: 0 }),
            Some(at) if at + part.len() <= whole.len() => {
                Ok(StringRef { offset: string.offset + at as u64, bytes: part.len() as u64 })
            }
            _ => Err(OpError::Internal("a part of a string is outside of it")),
        }
    }

    /// Makes a new string of two.
    ///
    /// # Errors
    /// As [`Run::new_string`].
    pub fn joined_strings(&self, first: StringRef, second: StringRef) -> Result<StringRef, OpError> {
        Ok(self.strings.join(first, second)?)
    }
}
