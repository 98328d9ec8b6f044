//! Which of several ranges a number is in.

use tightfit_core::TensorView;

use crate::base::access::{for_dtype, split_with_cost, values};
use crate::base::error::{Result, check_exact};
use crate::base::threads::ThreadPool;

/// How many of the rising `boundaries` are not above each number: int32, int64, float32 or float64.
///
/// # Errors
/// [`crate::KernelError`] for lengths or types that do not go together.
pub fn bucketize(pool: &ThreadPool, src: TensorView<'_>, boundaries: &[f32], dst: &mut [i32]) -> Result<()> {
    const KERNEL: &str = "Bucketize";
    check_exact("the output", src.shape().elements(), dst.len())?;
    for_dtype!(src.dtype(), KERNEL, [F64, F32, I32, I64], T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        // Doubles are compared as such, integers as the float32 nearest to them.
        let is_double = size_of::<T>() == 8 && tightfit_core::DType::F64 == <T as tightfit_core::Element>::DTYPE;
        split_with_cost(pool, dst, 1, 16, &|first, dst| {
            for (to, x) in dst.iter_mut().zip(&src[first..]) {
                #[allow(clippy::unnecessary_cast)]
                let (double, single) = (*x as f64, *x as f32);
                let is_above = |boundary: f32| {
                    if is_double { double < boundary as f64 } else { single < boundary }
                };
                *to = boundaries.partition_point(|boundary| !is_above(*boundary)) as i32;
            }
        });
        Ok(())
    })
}

/// The number of the first of the rising `boundaries` that is not below each number, or of the last one.
///
/// # Errors
/// [`crate::KernelError::Length`] where the output is of another length.
pub fn first_not_below(pool: &ThreadPool, src: &[f32], boundaries: &[f32], dst: &mut [i32]) -> Result<()> {
    check_exact("the output", src.len(), dst.len())?;
    split_with_cost(pool, dst, 1, 16, &|first, dst| {
        for (to, x) in dst.iter_mut().zip(&src[first..]) {
            let at = boundaries.partition_point(|boundary| boundary < x);
            *to = at.min(boundaries.len().saturating_sub(1)) as i32;
        }
    });
    Ok(())
}
