//! The element at one place of each sorted row, and how many elements fall into each part of a range.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};

use super::order::Ordered;

/// The element that stands at place `n` of each row (last axis) of `src` once it is sorted, from the largest down with
/// `reverse`. Numbers; NaNs come last. `scratch` holds a row and is aligned for its type.
///
/// # Errors
/// [`KernelError::Invalid`] for a place past the row's end and an output of another size, [`KernelError::Scratch`] for
/// too little scratch, [`KernelError::DType`] for other types.
pub fn nth_element(
    n: usize,
    reverse: bool,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    scratch: &mut [u8],
) -> Result<()> {
    const KERNEL: &str = "NthElement";
    let row = src.shape().last().copied().unwrap_or(0);
    ensure(n < row, KERNEL, "the place is one of a row's")?;
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let (needed_bytes, given_bytes) = (row * src.dtype().bytes(), scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        let sorted = values_mut::<T>(scratch, KERNEL)?;
        ensure(src.len() == dst.len() * row, KERNEL, "the output has an element for each row")?;
        for (row, dst) in src.chunks_exact(row).zip(dst) {
            sorted.copy_from_slice(row);
            // A NaN has no place beside itself, and is after everything.
            let order = |a: &T, b: &T| {
                let forward = if reverse { b.order(*a) } else { a.order(*b) };
                forward.unwrap_or_else(|| a.order(*a).is_none().cmp(&b.order(*b).is_none()))
            };
            *dst = *sorted.select_nth_unstable_by(n, order).1;
        }
        Ok(())
    })
}

/// Counts the elements of `src` (float32, float64, int32, int64) that lie in each of as many equal parts of `range` as
/// `dst` (int32, int64) has elements; what lies outside counts for the first or last part.
///
/// # Errors
/// [`KernelError::Invalid`] for a range that does not rise and a NaN, [`KernelError::DType`] for other types.
#[allow(clippy::unnecessary_cast)] // one of the types is float64 already
pub fn histogram(src: TensorView<'_>, range: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "HistogramFixedWidth";
    ensure(range.dtype() == src.dtype(), KERNEL, "the range has the values' type")?;
    for_dtype!(src.dtype(), KERNEL, [F32, F64, I32, I64], T => {
        let (src, range) = (values::<T>(src.bytes(), KERNEL)?, values::<T>(range.bytes(), KERNEL)?);
        let &[low, high] = range else {
            return Err(KernelError::Invalid { kernel: KERNEL, rule: "the range has two ends" });
        };
        ensure(low < high, KERNEL, "the range rises")?;
        let parts = dst.shape().elements();
        ensure(parts > 0, KERNEL, "there is a part to count for")?;
        // As TensorFlow computes it: one part is a little more or less than the quotient of the difference.
        let step = high as f64 / parts as f64 - low as f64 / parts as f64;
        for_dtype!(dst.dtype(), KERNEL, [I32, I64], C => {
            let dst = values_mut::<C>(dst.bytes(), KERNEL)?;
            dst.fill(0);
            if let [all] = dst {
                // One part has all, NaN among them.
                *all = src.len() as C;
                return Ok(());
            }
            #[allow(clippy::eq_op)] // a NaN is unlike itself
            let is_nan = |x: &T| x != x;
            ensure(!src.iter().any(is_nan), KERNEL, "no value is NaN")?;
            for x in src {
                let part = ((*x as f64 - low as f64) / step).max(0.0).min((parts - 1) as f64);
                dst[part as usize] += 1;
            }
            Ok(())
        })
    })
}
