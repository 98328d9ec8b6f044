//! Floats to integers with a scale and a zero point, back, and from one such integer to another.

use tightfit_core::{DType, TensorView, TensorViewMut};

use super::multiplier::Multiplier;
use super::pairs::{BoundedInteger, Integer};
use super::tables::bytes_by_table;
use crate::base::access::{for_dtype, split, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Scales and zero points: one for all, or one for each slice along an axis.
#[derive(Debug, Clone, Copy)]
pub struct AffineScales<'a> {
    /// The scales.
    pub scales: &'a [f32],
    /// What stands for 0 in each slice; one for all, or as many as scales.
    pub zeros: &'a [i32],
    /// Elements from one slice to the next: all that lie after the axis.
    pub slice: usize,
}

impl AffineScales<'_> {
    fn check(&self) -> Result<()> {
        let is_right = !self.scales.is_empty()
            && (self.zeros.len() == 1 || self.zeros.len() == self.scales.len())
            && self.slice > 0;
        is_right.then_some(()).ok_or(KernelError::Attribute("there is not a zero point for each scale"))
    }

    /// Calls `each` with every run of elements of one slice: where it begins, how long it is, its scale and its zero.
    fn runs(&self, first: usize, count: usize, mut each: impl FnMut(usize, usize, f32, i32)) {
        let (mut at, end) = (first, first + count);
        while at < end {
            let len =
                if self.scales.len() == 1 { end - at } else { (self.slice - at % self.slice).min(end - at) };
            let slice = at / self.slice % self.scales.len();
            let zero = if self.zeros.len() == 1 { self.zeros[0] } else { self.zeros[slice] };
            each(at - first, len, self.scales[slice], zero);
            at += len;
        }
    }
}

/// Rounds floats to the nearest integers, halves away from zero.
///
/// # Errors
/// [`KernelError`] for other types than int8, uint8 and int16, and for scales that do not go with the tensor.
pub fn affine_quantize(
    pool: &ThreadPool,
    scales: AffineScales<'_>,
    src: &[f32],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "tfl.quantize";
    scales.check()?;
    let dtype = dst.dtype();
    for_dtype!(dtype, KERNEL, [I8, U8, I16], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        check_exact("the input", dst.len(), src.len())?;
        split(pool, dst, 1, &|first, dst| {
            scales.runs(first, dst.len(), |at, len, scale, zero| {
                let (from, to) = (&src[first + at..first + at + len], &mut dst[at..at + len]);
                dispatch(pool.isa(), Rounded { from, to, scale, zero });
            });
        });
        Ok(())
    })
}

/// Further from 0 than all integers of 16 bits, less what stands for 0 among them.
const FURTHEST: f32 = (1 << 20) as f32;

/// Floats of one scale and zero point, on their way to integers.
struct Rounded<'a, T> {
    from: &'a [f32],
    to: &'a mut [T],
    scale: f32,
    zero: i32,
}

impl<T: BoundedInteger> Kernel for Rounded<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (to, x) in self.to.iter_mut().zip(self.from) {
            let steps = x / self.scale;
            // No number is 0, and beyond these the bounds are what remains.
            let steps = if steps.is_nan() { 0.0 } else { steps };
            let steps = if steps < -FURTHEST { -FURTHEST } else { steps };
            let steps = if steps > FURTHEST { FURTHEST } else { steps };
            // SAFETY: it is a number that int32 holds.
            let integer = unsafe { steps.round().to_int_unchecked::<i32>() };
            let integer = integer.wrapping_add(self.zero);
            *to = T::narrow(integer.max(T::LOWEST).min(T::HIGHEST));
        }
    }
}

/// The numbers that integers stand for.
///
/// # Errors
/// As [`affine_quantize`]; int32 is taken too.
pub fn affine_dequantize(
    pool: &ThreadPool,
    scales: AffineScales<'_>,
    src: TensorView<'_>,
    dst: &mut [f32],
) -> Result<()> {
    const KERNEL: &str = "tfl.dequantize";
    scales.check()?;
    let dtype = src.dtype();
    for_dtype!(dtype, KERNEL, [I8, U8, I16, I32], T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        check_exact("the output", src.len(), dst.len())?;
        let is_one = scales.scales.len() == 1;
        split(pool, dst, 1, &|first, dst| {
            scales.runs(first, dst.len(), |at, len, scale, zero| {
                let integers = &src[first + at..first + at + len];
                for (to, x) in dst[at..at + len].iter_mut().zip(integers) {
                    let steps = x.wide().wrapping_sub(zero);
                    *to = if is_one { (scale as f64 * steps as f64) as f32 } else { scale * steps as f32 };
                }
            });
        });
        Ok(())
    })
}

/// Bytes for fewer of which no table is made.
const LEAST_FOR_TABLE: usize = 1 << 10;

/// Integers of one scale and zero point as those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requantize {
    /// The old scale by the new one.
    pub multiplier: Multiplier,
    /// What stands for 0 in the input.
    pub from_zero: i32,
    /// What stands for 0 in the output.
    pub zero: i32,
}

impl Requantize {
    /// Computes each element.
    ///
    /// # Errors
    /// [`KernelError`] for types other than int8, uint8, int16 and int32, and inputs of another length.
    pub fn run(&self, pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
        const KERNEL: &str = "tfl.quantize";
        let (from, to) = (src.dtype(), dst.dtype());
        for_dtype!(from, KERNEL, [I8, U8, I16, I32], F => {
            let src = values::<F>(src.bytes(), KERNEL)?;
            if to == DType::I32 {
                let dst = values_mut::<i32>(dst.bytes(), KERNEL)?;
                return self.each(pool, (i32::MIN, i32::MAX), src, dst);
            }
            for_dtype!(to, KERNEL, [I8, U8, I16], T => {
                self.each(pool, (T::LOWEST, T::HIGHEST), src, values_mut::<T>(dst.bytes(), KERNEL)?)
            })
        })
    }

    fn each<F: Integer, T: Integer>(
        &self,
        pool: &ThreadPool,
        bounds: (i32, i32),
        src: &[F],
        dst: &mut [T],
    ) -> Result<()> {
        check_exact("the input", dst.len(), src.len())?;
        let integer = |x: i32| {
            let integer = self.multiplier.apply(x.wrapping_sub(self.from_zero));
            integer.wrapping_add(self.zero).clamp(bounds.0, bounds.1)
        };
        if size_of::<F>() == 1 && size_of::<T>() == 1 && dst.len() >= LEAST_FOR_TABLE {
            let is_signed = F::narrow(255).wide() < 0;
            let wide = |byte: u8| if is_signed { byte as i8 as i32 } else { byte as i32 };
            let table = std::array::from_fn(|byte| integer(wide(byte as u8)) as u8);
            let (src, dst) = (bytemuck::cast_slice(src), bytemuck::cast_slice_mut(dst));
            return bytes_by_table(pool, &table, Some(src), dst);
        }
        split(pool, dst, 1, &|first, dst| {
            dst.iter_mut().zip(&src[first..]).for_each(|(to, x)| *to = T::narrow(integer(x.wide())));
        });
        Ok(())
    }
}
