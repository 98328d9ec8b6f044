//! Gradients of the reductions of segments by the rows that they were made of.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::base::indices::Indices;
use crate::movement::{Number, SegmentOp};

/// Adds up in `dst`, of zeros first, the rows of `gradient` (float32 or float64): entry `i` adds row `segments[i]` to row
/// `rows[i]`, over the number of entries of the segment for means, over its root for [`SegmentOp::SqrtN`]. `counts` has an
/// element for each segment.
///
/// # Errors
/// [`KernelError::Index`](crate::KernelError::Index) for a row or a segment that is not there,
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for shapes that do not go together,
/// [`KernelError::DType`](crate::KernelError::DType) for other types.
pub fn segment_gradient(
    op: SegmentOp,
    [gradient, rows, segments]: [TensorView<'_>; 3],
    counts: &mut [u64],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SparseSegmentGrad";
    let (from, to) = (*gradient.shape(), *dst.shape());
    ensure(
        gradient.dtype() == dst.dtype() && from.get(1..) == to.get(1..),
        KERNEL,
        "rows are of one type and shape",
    )?;
    let (rows, segments) = (Indices::new(KERNEL, rows)?, Indices::new(KERNEL, segments)?);
    ensure(rows.len() == segments.len(), KERNEL, "there is a row for each segment id")?;
    ensure(counts.len() == from.first().copied().unwrap_or(0), KERNEL, "each segment has a count")?;
    ensure(
        matches!(op, SegmentOp::Sum | SegmentOp::Mean | SegmentOp::SqrtN),
        KERNEL,
        "entries were added up",
    )?;
    if to.first() == Some(&0) {
        return Ok(()); // TensorFlow looks at no row or segment then.
    }
    rows.check(KERNEL, |_| to.first().copied().unwrap_or(0))?;
    segments.check(KERNEL, |_| counts.len())?;
    counts.fill(0);
    (0..segments.len()).for_each(|n| counts[segments.get(n) as usize] += 1);
    dst.bytes().fill(0);
    let len: usize = from.iter().skip(1).product();
    for_dtype!(dst.dtype(), KERNEL, [F32, F64], T => {
        let (gradient, dst) = (values::<T>(gradient.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        for n in 0..rows.len() {
            let (row, segment) = (rows.get(n) as usize, segments.get(n) as usize);
            let part = match op {
                SegmentOp::Mean => 1.0 / counts[segment] as f64,
                SegmentOp::SqrtN => 1.0 / (counts[segment] as f64).sqrt(),
                _ => 1.0,
            };
            let part = <T as Number>::of(part);
            let from = &gradient[segment * len..][..len];
            dst[row * len..][..len].iter_mut().zip(from).for_each(|(to, from)| *to = to.sum(from.product(part)));
        }
        Ok(())
    })
}
