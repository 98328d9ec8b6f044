//! Running sums and products along an axis.

use tightfit_core::{TensorView, TensorViewMut};

use super::reduce::Element;
use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::base::threads::ThreadPool;

/// A running reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanOp {
    /// The sum so far.
    Sum,
    /// The product so far.
    Prod,
}

/// The running sum or product of `src` along `axis`, of numbers: with `exclusive`, of the elements before each; with
/// `reverse`, from the end.
///
/// # Errors
/// [`crate::KernelError::DType`] for other types, [`crate::KernelError::Invalid`] for an axis that is none of the input's and for
/// an output of another size or type.
pub fn scan(
    pool: &ThreadPool,
    op: ScanOp,
    axis: usize,
    (exclusive, reverse): (bool, bool),
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let kernel = if op == ScanOp::Sum { "Cumsum" } else { "Cumprod" };
    let shape = *src.shape();
    ensure(axis < shape.rank(), kernel, "the axis is one of the input's")?;
    ensure(src.dtype() == dst.dtype(), kernel, "the input and the output have one element type")?;
    ensure(shape.elements() == dst.shape().elements(), kernel, "the output has the input's size")?;
    let (len, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    for_dtype!(src.dtype(), kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, C64, C128], T => {
        let (src, dst) = (values::<T>(src.bytes(), kernel)?, values_mut::<T>(dst.bytes(), kernel)?);
        split_with_cost(pool, dst, len * inner, len * inner, &|first, dst| {
            for (n, dst) in dst.chunks_mut(len * inner).enumerate() {
                let src = &src[(first + n) * len * inner..][..len * inner];
                for column in 0..inner {
                    let mut sum = match op {
                        ScanOp::Sum => <T as Element>::zero(),
                        ScanOp::Prod => <T as Element>::one(),
                    };
                    for i in 0..len {
                        let at = if reverse { len - 1 - i } else { i } * inner + column;
                        let before = sum;
                        sum = match op {
                            ScanOp::Sum => <T as Element>::add(sum, src[at].widen()),
                            ScanOp::Prod => <T as Element>::mul(sum, src[at].widen()),
                        };
                        // Each result so far is an element: past the range it stays infinite.
                        sum = T::narrow(sum).widen();
                        dst[at] = T::narrow(if exclusive { before } else { sum });
                    }
                }
            }
        });
        Ok(())
    })
}
