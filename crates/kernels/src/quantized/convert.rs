//! Numbers to quantised integers and back, and integers of one range to those of another.

use tightfit_core::{DType, TensorView, TensorViewMut};

use super::range::QuantizedRange;
use crate::base::access::{for_dtype, split, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

/// How the integers are spread over the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantMode {
    /// The lowest integer is the minimum, the highest the maximum.
    MinCombined,
    /// The same with a minimum that is rounded to a step, so that 0 is an integer.
    MinFirst,
    /// 0 is 0, and the larger side of the range is the end of the integers.
    Scaled,
}

/// TensorFlow's QuantizeV2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantize {
    /// How the integers are spread.
    pub mode: QuantMode,
    /// Halves are rounded to the even integer, not away from 0; of [`QuantMode::Scaled`] alone.
    pub rounds_to_even: bool,
    /// The lowest integer is not used; of [`QuantMode::Scaled`] alone.
    pub is_narrow: bool,
    /// The least that the range is widened to, for 1 of its larger end.
    pub ensure_minimum_range: f32,
}

/// What is said of each element of a slice when its range is known.
#[derive(Clone, Copy)]
enum Step {
    /// `(clamp(x) - min) * scale - half`, rounded; without rounding but half a step up for unsigned integers.
    Combined { scale: f32, half: f32, is_signed: bool },
    /// `round(x * scale) - offset`, clamped.
    First { scale: f32, offset: f32, ends: (f32, f32) },
    /// `round(clamp(x) * scale)`
    Scaled { scale: f32, to_even: bool },
}

/// An integer type that numbers are converted to.
trait Integer: Copy + Send + Sync {
    fn of(x: f32) -> Self;
    fn wrapped(x: i64) -> Self;
    fn to_f32(self) -> f32;
}

macro_rules! integer {
    ($($T:ty),*) => {
        $(impl Integer for $T {
            #[inline(always)]
            fn of(x: f32) -> Self {
                x as i64 as $T
            }
            #[inline(always)]
            fn wrapped(x: i64) -> Self {
                x as $T
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
        })*
    };
}

integer!(i8, u8, i16, u16, i32);

impl Quantize {
    /// The range that is really used.
    fn nudged(&self, min: f32, max: f32) -> Result<(f32, f32)> {
        const KERNEL: &str = "QuantizeV2";
        ensure(min.is_finite() && max.is_finite(), KERNEL, "the range is of finite numbers")?;
        ensure(max >= min, KERNEL, "the maximum is not less than the minimum")?;
        let low = min.min(0.0);
        if self.ensure_minimum_range <= 0.0 {
            return Ok((low, max.max(0.0)));
        }
        let epsilon = 1f32.max(min.abs().max(max.abs())) * self.ensure_minimum_range;
        Ok((low, max.max(low + epsilon).max(0.0)))
    }

    fn step(&self, dtype: DType, min: f32, max: f32) -> Result<(Step, f32, f32)> {
        let range =
            QuantizedRange::new(dtype, min, max).ok_or(KernelError::DType { kernel: "QuantizeV2", dtype })?;
        let (lowest, highest) = (range.lowest(), range.highest());
        Ok(match self.mode {
            QuantMode::MinCombined => {
                let scale = ((highest - lowest) as f64 / (max - min) as f64) as f32;
                let half = if lowest < 0 { (highest - lowest + 1) as f32 / 2.0 } else { 0.0 };
                (Step::Combined { scale, half, is_signed: lowest < 0 }, min, max)
            }
            QuantMode::MinFirst => {
                let (scale, offset) = range.to_integers();
                (Step::First { scale, offset, ends: range.ends() }, min, max)
            }
            QuantMode::Scaled => {
                let (low, high) = ((lowest + self.is_narrow as i64) as f32, highest as f32);
                let side = |end: f32, of: f32| if end * of > 0.0 { end / of } else { f32::MAX };
                let scale = side(low, min).min(side(high, max));
                (Step::Scaled { scale, to_even: self.rounds_to_even }, low / scale, high / scale)
            }
        })
    }
}

impl Step {
    #[inline(always)]
    fn of<T: Integer>(self, x: f32, min: f32, max: f32) -> T {
        // Of NaN the bounds, in the order in which they are compared.
        let clamped = || {
            let below = if x < max { x } else { max };
            if below > min { below } else { min }
        };
        match self {
            Step::Combined { scale, half, is_signed: true } => {
                T::of(((clamped() - min) * scale - half).round())
            }
            Step::Combined { scale, .. } => T::of((clamped() - min) * scale + 0.5),
            Step::First { scale, offset, ends: (low, high) } => {
                T::of(((x * scale).round() - offset).max(low).min(high))
            }
            Step::Scaled { scale, to_even: true } => T::of((clamped() * scale).round_ties_even()),
            Step::Scaled { scale, .. } => T::of((clamped() * scale).round()),
        }
    }
}

/// Slices of a tensor: how often all come, how many there are, and the elements of each.
fn slices(shape: &[usize], axis: Option<usize>) -> (usize, usize, usize) {
    match axis {
        Some(axis) if axis < shape.len() => {
            (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
        }
        _ => (1, 1, shape.iter().product()),
    }
}

/// Makes each element of one slice of `dst`, wherever it comes, of that of `src`. Sizes as [`slices`] gives them.
fn map_slices<A: Copy + Sync, B: Send>(
    pool: &ThreadPool,
    (outer, count, inner): (usize, usize, usize),
    slice: usize,
    src: &[A],
    dst: &mut [B],
    function: impl Fn(A) -> B + Sync,
) {
    for n in 0..outer {
        let at = (n * count + slice) * inner;
        let src = &src[at..at + inner];
        split(pool, &mut dst[at..at + inner], 1, &|first, dst| {
            dst.iter_mut().zip(&src[first..]).for_each(|(to, x)| *to = function(*x));
        });
    }
}

/// Converts `src` to the integers of `dst`, of the same shape. `ranges` are the minimum and maximum asked for, one, or
/// one for each slice along `axis`; `used` are filled with those that the integers stand for.
///
/// # Errors
/// [`KernelError`] for a range that is none, and lengths or types that do not go together.
pub fn quantize(
    pool: &ThreadPool,
    how: Quantize,
    src: &[f32],
    axis: Option<usize>,
    ranges: (&[f32], &[f32]),
    dst: &mut TensorViewMut<'_>,
    used: (&mut [f32], &mut [f32]),
) -> Result<()> {
    const KERNEL: &str = "QuantizeV2";
    let (outer, count, inner) = slices(dst.shape(), axis);
    let dtype = dst.dtype();
    ensure(
        [ranges.0.len(), ranges.1.len(), used.0.len(), used.1.len()] == [count; 4],
        KERNEL,
        "there is a range for each slice",
    )?;
    ensure(src.len() == outer * count * inner, KERNEL, "the input and the output have as many elements")?;
    for slice in 0..count {
        let (min, max) = how.nudged(ranges.0[slice], ranges.1[slice])?;
        let (step, low, high) = how.step(dtype, min, max)?;
        let (low, high) = if how.mode == QuantMode::Scaled { (low, high) } else { (min, max) };
        (used.0[slice], used.1[slice]) = (low, high);
        for_dtype!(dtype, KERNEL, [I8, U8, I16, U16, I32], T => {
            let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
            map_slices(pool, (outer, count, inner), slice, src, dst, |x| step.of::<T>(x, low, high));
            Ok(())
        })?;
    }
    Ok(())
}

/// What a number is computed from its integer by: `(integer + before) * scale + after`.
pub(super) fn factors(
    dtype: DType,
    mode: QuantMode,
    is_narrow: bool,
    min: f32,
    max: f32,
) -> Option<(f32, f32, f32)> {
    let range = QuantizedRange::new(dtype, min, max)?;
    let (lowest, highest) = (range.lowest(), range.highest());
    Some(match mode {
        QuantMode::MinCombined => {
            let width = highest as f32 - lowest as f32;
            let half = if lowest < 0 { (width + 1.0) / 2.0 } else { 0.0 };
            (half, (max - min) / width, min)
        }
        QuantMode::MinFirst => {
            let (scale, offset) = range.to_floats();
            (0.0, scale, offset)
        }
        QuantMode::Scaled => {
            let high = max / highest as f32;
            let low = lowest + is_narrow as i64;
            (0.0, if lowest == 0 { high } else { (min / low as f32).max(high) }, 0.0)
        }
    })
}

impl QuantMode {
    /// How a number is computed from its integer: `(integer + before) * scale + after`, as `(before, scale, after)`;
    /// `None` for a type that is not quantised.
    pub fn factors(self, dtype: DType, is_narrow: bool, min: f32, max: f32) -> Option<(f32, f32, f32)> {
        factors(dtype, self, is_narrow, min, max)
    }
}

/// Converts integers to the numbers that they stand for. `ranges` as for [`quantize`].
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn dequantize(
    pool: &ThreadPool,
    mode: QuantMode,
    is_narrow: bool,
    src: TensorView<'_>,
    axis: Option<usize>,
    ranges: (&[f32], &[f32]),
    dst: &mut [f32],
) -> Result<()> {
    const KERNEL: &str = "Dequantize";
    let (outer, count, inner) = slices(src.shape(), axis);
    let dtype = src.dtype();
    ensure(ranges.0.len() == count && ranges.1.len() == count, KERNEL, "there is a range for each slice")?;
    ensure(dst.len() == outer * count * inner, KERNEL, "the input and the output have as many elements")?;
    for slice in 0..count {
        let (before, scale, after) = factors(dtype, mode, is_narrow, ranges.0[slice], ranges.1[slice])
            .ok_or(KernelError::DType { kernel: KERNEL, dtype })?;
        for_dtype!(dtype, KERNEL, [I8, U8, I16, U16, I32], T => {
            let src = values::<T>(src.bytes(), KERNEL)?;
            map_slices(pool, (outer, count, inner), slice, src, dst, |x: T| (x.to_f32() + before) * scale + after);
            Ok(())
        })?;
    }
    Ok(())
}

/// Converts integers of one range to those of another.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn requantize(
    pool: &ThreadPool,
    src: TensorView<'_>,
    (from, to): (QuantizedRange, QuantizedRange),
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Requantize";
    ensure(src.shape().elements() == dst.shape().elements(), KERNEL, "there are as many elements")?;
    let ((scale, offset), (factor, less), (low, high)) = (from.to_floats(), to.to_integers(), to.ends());
    let dtype = dst.dtype();
    for_dtype!(src.dtype(), KERNEL, [I8, U8, I16, U16, I32], T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        for_dtype!(dtype, KERNEL, [I8, U8, I16, U16, I32], U => {
            let dst = values_mut::<U>(dst.bytes(), KERNEL)?;
            split(pool, dst, 1, &|first, dst| {
                for (dst, x) in dst.iter_mut().zip(&src[first..]) {
                    let number = offset + x.to_f32() * scale;
                    *dst = U::of(((number * factor).round() - less).max(low).min(high));
                }
            });
            Ok(())
        })
    })
}

/// Converts the int32 sums of products to uint8 of another range, in fixed point as TensorFlow does.
///
/// # Errors
/// [`KernelError`] for lengths that do not go together.
pub fn requantize_down(
    pool: &ThreadPool,
    src: &[i32],
    (from_min, from_max): (f32, f32),
    (to_min, to_max): (f32, f32),
    dst: &mut [u8],
) -> Result<()> {
    const SHIFT: u32 = 16;
    ensure(src.len() == dst.len(), "Requantize", "there are as many elements")?;
    let one = (1u32 << SHIFT) as f64;
    let (width, to_width) = ((from_max - from_min) as f64, (to_max - to_min) as f64);
    let is_flat = to_max - to_min == 0.0;
    let reciprocal = if is_flat { 0.0 } else { (255.0 / to_width) as f32 };
    let middle = ((from_min as f64 + from_max as f64) / 2.0) as f32;
    let scale = if is_flat { 0 } else { (255.0 * one * width / to_width) as i64 };
    let offset = (middle * reciprocal * one as f32) as i64;
    let less = if is_flat { 0 } else { (one * (to_min as f64 * 255.0) / to_width) as i64 };
    let add = offset.wrapping_sub(less).wrapping_add(1 << (SHIFT - 1));
    split(pool, dst, 1, &|first, dst| {
        for (dst, x) in dst.iter_mut().zip(&src[first..]) {
            let fixed = ((*x as i64).wrapping_mul(scale) >> 32).wrapping_add(add) >> SHIFT;
            *dst = <u8 as Integer>::wrapped(fixed.clamp(0, 255));
        }
    });
    Ok(())
}
