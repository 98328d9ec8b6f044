//! Indices of int32 or int64, and the places in a tensor that rows of them name.

use tightfit_core::{DType, MAX_RANK, Shape, TensorView};

use crate::base::access::values;
use crate::base::error::{KernelError, Result, ensure};

/// Indices of either type.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    pub fn new(kernel: &'static str, view: TensorView<'a>) -> Result<Self> {
        match view.dtype() {
            DType::I32 => Ok(Indices::I32(values(view.bytes(), kernel)?)),
            DType::I64 => Ok(Indices::I64(values(view.bytes(), kernel)?)),
            dtype => Err(KernelError::DType { kernel, dtype }),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Indices::I32(i) => i.len(),
            Indices::I64(i) => i.len(),
        }
    }

    #[inline]
    pub fn get(&self, position: usize) -> i64 {
        match self {
            Indices::I32(i) => i[position] as i64,
            Indices::I64(i) => i[position],
        }
    }

    /// An error for the first index that is not in `0..bound(position)`.
    pub fn check(&self, kernel: &'static str, bound: impl Fn(usize) -> usize) -> Result<()> {
        for position in 0..self.len() {
            let (index, bound) = (self.get(position), bound(position));
            if index < 0 || index as u64 >= bound as u64 {
                return Err(KernelError::Index { kernel, position, index, bound });
            }
        }
        Ok(())
    }
}

/// The places that the last axis of `indices` names in the first dimensions of a tensor: their number, the bytes of
/// each, and the offset of one.
pub(crate) struct Places<'a> {
    indices: Indices<'a>,
    depth: usize,
    pub count: usize,
    pub slice_elements: usize,
    strides: [usize; MAX_RANK],
    of: Shape,
}

/// What an index outside of its tensor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadIndex {
    /// It is an error.
    #[default]
    Refused,
    /// It names no place: nothing is written there, and a slice read there is zeros.
    PassedOver,
}

impl<'a> Places<'a> {
    pub fn new(kernel: &'static str, indices: TensorView<'a>, of: &Shape, bad: BadIndex) -> Result<Self> {
        let shape = *indices.shape();
        let depth = *shape.last().ok_or(KernelError::Invalid { kernel, rule: "the indices have an axis" })?;
        ensure(depth <= of.rank(), kernel, "an index has no more parts than the tensor has dimensions")?;
        let indices = Indices::new(kernel, indices)?;
        if bad == BadIndex::Refused {
            indices.check(kernel, |position| of[position % depth])?;
        }
        let count = shape[..shape.rank() - 1].iter().product();
        let slice_elements = of[depth..].iter().product();
        // Without parts, every index names the whole tensor, of which there is none if a dimension is 0.
        Ok(Places { indices, depth, count, slice_elements, strides: of.strides(), of: *of })
    }

    /// The element at which place `n` starts; `None` where its index is outside of the tensor.
    #[inline]
    pub fn start(&self, n: usize) -> Option<usize> {
        (0..self.depth).try_fold(0, |sum, d| {
            let index = usize::try_from(self.indices.get(n * self.depth + d)).ok()?;
            (index < self.of[d]).then(|| sum + index * self.strides[d])
        })
    }
}
