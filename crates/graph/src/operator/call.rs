//! What an operator is told and says of memory before it runs.

use tightfit_core::{DType, Shape};
use tightfit_kernels::Isa;

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
