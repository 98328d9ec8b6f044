//! What an operator is told and says of memory before it runs.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{FilterType, Isa};

use super::error::OpError;

/// Type, shape and place of a tensor an operator is about to be called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo {
    /// The element type.
    pub dtype: DType,
    /// The shape, or its upper bound.
    pub shape: Shape,
    /// True where the shape of a run may be smaller.
    pub is_bound: bool,
    /// How it is held.
    pub held: Held,
}

/// How a tensor is held that an operator reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Held {
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
    /// The vector instructions that they will use.
    pub isa: Isa,
    /// The most bytes of a streamed weight that are in memory at once.
    pub window_bytes: usize,
}

/// What an operator needs besides its inputs and outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Scratch bytes while it runs.
    pub scratch_bytes: usize,
    /// With up to so many scratch bytes it may be faster. It has as many of them as the arena has room for that step anyway.
    pub most_scratch_bytes: usize,
    /// Inputs whose memory the first output may take over, where types have the same size and shapes are the same.
    pub overwrites: Overwrites,
    /// The input whose memory the first output *is*: the elements are the same in the same order.
    pub alias: Option<usize>,
    /// Bytes of new strings it can make.
    pub string_bytes: usize,
}

/// The inputs whose memory an output may take over: few enough to be listed without heap memory, since an operator is asked in
/// the middle of a run too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overwrites {
    inputs: [u16; Overwrites::MAX],
    count: u8,
}

impl Overwrites {
    /// How many it can hold. No operator names more, and none would gain by it.
    const MAX: usize = 4;

    /// The inputs, in the order in which they are preferred.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let (inputs, count) = (self.inputs, usize::from(self.count));
        inputs.into_iter().take(count).map(usize::from)
    }

    /// True when it names this input.
    pub fn contains(&self, input: usize) -> bool {
        self.iter().any(|named| named == input)
    }
}

impl FromIterator<usize> for Overwrites {
    /// The first of these inputs: one that is left out is just not worked in place of.
    fn from_iter<I: IntoIterator<Item = usize>>(inputs: I) -> Overwrites {
        let mut list = Overwrites::default();
        let named = inputs.into_iter().filter_map(|input| u16::try_from(input).ok());
        for (to, input) in list.inputs.iter_mut().zip(named) {
            *to = input;
            list.count += 1;
        }
        list
    }
}

impl Memory {
    /// Needs only scratch.
    pub fn scratch(scratch_bytes: usize) -> Memory {
        Memory { scratch_bytes, ..Memory::default() }
    }

    /// May compute in place of these inputs.
    pub fn overwrites(inputs: &[usize]) -> Memory {
        Memory { overwrites: inputs.iter().copied().collect(), ..Memory::default() }
    }

    /// The same, of an operator with so many inputs.
    ///
    /// # Errors
    /// [`OpError::Internal`] where it names one that is not there.
    pub(crate) fn checked(self, inputs: usize) -> Result<Memory, OpError> {
        match self.overwrites.iter().chain(self.alias).all(|input| input < inputs) {
            true => Ok(self),
            false => Err(OpError::Internal("an operator names the memory of an input that it does not have")),
        }
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
        /// True when the file has it as `[n, k]`, or several one after the other.
        is_transposed: bool,
        /// How many such matrices there are, side by side: a grouped convolution's, or a transposed one's taps.
        groups: usize,
    },
    /// The rows `[columns, depth]` of a filter of bytes in the panels of its kernel.
    BytePanels {
        /// Rows of the filter, which are columns of the product.
        columns: usize,
        /// Bytes of each.
        depth: usize,
        /// How the bytes stand in the file: one to each integer.
        kind: FilterType,
    },
    /// As the file has it.
    Dense,
}

impl WeightLayout {
    /// How a constant in it is held.
    pub fn held(&self) -> Held {
        match self {
            WeightLayout::Dense => Held::Resident,
            WeightLayout::Panels { .. } | WeightLayout::BytePanels { .. } => Held::Packed,
        }
    }
}
