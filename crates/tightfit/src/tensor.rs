//! Tensors that own their memory.

use tightfit_core::{BudgetError, Buffer, DType, MemoryBudget, Reservation, Shape, TensorView};
use tightfit_graph::exec::Feed;
use tightfit_graph::fact::{Fact, KNOWN_VALUE_MAX_BYTES};

/// A tensor to feed, under the budget.
#[derive(Debug)]
pub enum Tensor {
    /// Dense elements.
    Dense {
        /// The element type.
        dtype: DType,
        /// The shape.
        shape: Shape,
        /// The elements in row-major order.
        bytes: Buffer,
    },
    /// Strings in row-major order.
    Strings {
        /// The shape.
        shape: Shape,
        /// The texts.
        texts: Vec<Box<[u8]>>,
        /// Their memory, where it is counted.
        memory: Option<Reservation>,
    },
}

impl Tensor {
    /// A dense tensor of zeros.
    ///
    /// # Errors
    /// [`BudgetError`] when its memory is not free.
    pub fn zeros(budget: &MemoryBudget, dtype: DType, shape: Shape) -> Result<Tensor, BudgetError> {
        let bytes = Buffer::new(budget, "pipeline", shape.elements() * dtype.bytes())?;
        Ok(Tensor::Dense { dtype, shape, bytes })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Tensor::Dense { dtype, .. } => *dtype,
            Tensor::Strings { .. } => DType::String,
        }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        match self {
            Tensor::Dense { shape, .. } | Tensor::Strings { shape, .. } => shape,
        }
    }

    /// Bytes in memory, texts aside.
    pub fn bytes(&self) -> usize {
        match self {
            Tensor::Dense { bytes, .. } => bytes.len(),
            Tensor::Strings { shape, .. } => shape.elements() * DType::String.bytes(),
        }
    }

    /// Bytes of the budget that it holds.
    pub fn held_bytes(&self) -> u64 {
        match self {
            Tensor::Dense { bytes, .. } => bytes.len() as u64,
            Tensor::Strings { memory, .. } => memory.as_ref().map_or(0, Reservation::bytes),
        }
    }

    /// Bytes of all texts.
    pub fn string_bytes(&self) -> usize {
        match self {
            Tensor::Dense { .. } => 0,
            Tensor::Strings { texts, .. } => texts.iter().map(|t| t.len()).sum(),
        }
    }

    /// The tensor for a run; `None` when the memory does not match the shape.
    pub fn feed(&self) -> Option<Feed<'_>> {
        match self {
            Tensor::Dense { dtype, shape, bytes } => TensorView::new(*dtype, *shape, bytes).map(Feed::Tensor),
            Tensor::Strings { shape, texts, .. } => Some(Feed::Strings(*shape, texts)),
        }
    }

    /// What shapes can be computed from: the value, when it is small.
    pub fn fact(&self) -> Fact {
        match self {
            Tensor::Dense { dtype, shape, bytes } if bytes.len() <= KNOWN_VALUE_MAX_BYTES => {
                Fact::known(*dtype, *shape, &bytes[..])
            }
            _ => Fact::new(self.dtype(), *self.shape()),
        }
    }
}
