//! Softmax of integers along the last axis, in integers alone.

use tightfit_core::Shared;

use super::fixed::{exp_of_negative, reciprocal};
use super::multiplier::{Multiplier, divided_by_power, doubled_high_product};
use super::pairs::BoundedInteger;
use super::tables::{WideTable, look_up, wide_table_between};
use crate::base::access::split_range;
use crate::base::error::{KernelError, Result, check_exact};
use crate::base::threads::ThreadPool;

/// Bits before the point of differences.
const DIFFERENCE_BITS: u32 = 5;
/// Bits before the point of sums of exponentials.
const SUM_BITS: u32 = 12;

/// Softmax of bytes: the exponentials of all differences that there can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffineSoftmax {
    /// That of a difference of -d at d, in 31 bits after the point.
    exponentials: [i32; 256],
    /// Differences below it are left out.
    least: i32,
}

impl AffineSoftmax {
    /// For bytes of this scale, multiplied by `beta`.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for what gives no positive scale.
    pub fn new(beta: f32, scale: f32) -> Result<AffineSoftmax> {
        let real = beta as f64 * scale as f64 * (1u64 << (31 - DIFFERENCE_BITS)) as f64;
        let real = real.min((1u64 << 31) as f64 - 1.0);
        if real.is_nan() || real <= 1.0 {
            return Err(KernelError::Attribute("the scale times beta is no positive number, or too small"));
        }
        let multiplier = Multiplier::of(real);
        let largest = ((1i64 << DIFFERENCE_BITS) - 1) as f64 * (1i64 << (31 - DIFFERENCE_BITS)) as f64;
        let least = -(largest / (1i64 << multiplier.shift) as f64).floor() as i32;
        let mut exponentials = [0; 256];
        for (d, to) in exponentials.iter_mut().enumerate() {
            let shifted = (-(d as i32)).wrapping_mul(1i32.wrapping_shl(multiplier.shift as u32));
            if -(d as i32) >= least {
                *to = exp_of_negative::<31>(doubled_high_product(shifted, multiplier.value), DIFFERENCE_BITS);
            }
        }
        Ok(AffineSoftmax { exponentials, least })
    }

    /// Computes rows of `depth`, from int8 or uint8 to int8, uint8 or int16, the first of which stands for 0.
    ///
    /// # Errors
    /// [`KernelError::Length`] for inputs and outputs of different lengths.
    pub fn run<I: BoundedInteger, O: BoundedInteger>(
        &self,
        pool: &ThreadPool,
        depth: usize,
        src: &[I],
        dst: &mut [O],
    ) -> Result<()> {
        each_row(pool, (depth, 4), src, dst, |src, dst| self.row(src, dst))
    }

    fn row<I: BoundedInteger, O: BoundedInteger>(&self, src: &[I], dst: &mut [O]) {
        let largest = src.iter().map(|x| x.wide()).max().unwrap_or(0);
        let difference = |x: &I| (largest - x.wide()) as usize & 255;
        let mut sum = 0i32;
        for x in src {
            let d = difference(x);
            if -(d as i32) >= self.least {
                sum = sum.wrapping_add(divided_by_power(self.exponentials[d], SUM_BITS));
            }
        }
        let (scale, bits) = reciprocal(sum, SUM_BITS as i32);
        let exponent = (bits + 31 - O::BITS as i32).clamp(0, 31) as u32;
        for (x, to) in src.iter().zip(dst) {
            let d = difference(x);
            *to = if -(d as i32) >= self.least {
                let product = doubled_high_product(scale, self.exponentials[d]);
                let integer = divided_by_power(product, exponent).wrapping_add(O::LOWEST);
                O::narrow(integer.clamp(O::LOWEST, O::HIGHEST))
            } else {
                O::narrow(O::LOWEST)
            };
        }
    }
}

/// The logarithms of a softmax of rows of `depth`, of int8 or uint8 of this scale: of the scale 1/16, and 0 stands at the highest
/// integer.
///
/// # Errors
/// As [`AffineSoftmax::run`].
pub fn affine_log_softmax<T: BoundedInteger>(
    pool: &ThreadPool,
    (depth, scale): (usize, f32),
    src: &[T],
    dst: &mut [T],
) -> Result<()> {
    each_row(pool, (depth, 8), src, dst, |numbers, dst| {
        let largest = numbers.iter().map(|x| x.wide()).max().unwrap_or(0);
        let below = |x: &T| (x.wide() - largest) as f64 * scale as f64;
        let sum: f64 = numbers.iter().map(|x| below(x).exp()).sum();
        let log = sum.ln();
        for (to, x) in dst.iter_mut().zip(numbers) {
            let integer = ((below(x) - log) * 16.0).round() as i32 + T::HIGHEST;
            *to = T::narrow(integer.clamp(T::LOWEST, T::HIGHEST));
        }
    })
}

/// Calls `f` with each row of `depth` and where its results go, on the pool's threads; an element costs so much.
fn each_row<I: BoundedInteger, O: BoundedInteger>(
    pool: &ThreadPool,
    (depth, cost): (usize, usize),
    src: &[I],
    dst: &mut [O],
    f: impl Fn(&[I], &mut [O]) + Sync,
) -> Result<()> {
    check_exact("the output", src.len(), dst.len())?;
    let rows = src.len().checked_div(depth).unwrap_or(0);
    let dst = Shared::new(dst);
    split_range(pool, rows, depth.saturating_mul(cost), &|first, count| {
        for row in first..first + count {
            // SAFETY: rows are apart.
            let mut to = unsafe { dst.part(row * depth, depth) };
            f(&src[row * depth..(row + 1) * depth], &mut to);
        }
    });
    Ok(())
}

/// Softmax of int16: two tables with straight lines between their entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WideSoftmax {
    exponentials: WideTable,
    reciprocals: WideTable,
    multiplier: Multiplier,
}

impl WideSoftmax {
    /// For int16 of this scale, multiplied by `beta`.
    pub fn new(beta: f32, scale: f32) -> WideSoftmax {
        let range = 65_535.0;
        WideSoftmax {
            exponentials: wide_table_between((10.0 / range, 32_767), (2.0 / range, 0), f64::exp),
            reciprocals: wide_table_between((1.0 / range, -32_768), (2.0 / range, 0), |x| 1.0 / (1.0 + x)),
            multiplier: Multiplier::of((scale * beta) as f64 / (10.0 / range)),
        }
    }

    /// Computes rows of `depth`.
    ///
    /// # Errors
    /// As [`AffineSoftmax::run`].
    pub fn run(&self, pool: &ThreadPool, depth: usize, src: &[i16], dst: &mut [i16]) -> Result<()> {
        each_row(pool, (depth, 4), src, dst, |src, dst| self.row(src, dst))
    }

    fn row(&self, src: &[i16], dst: &mut [i16]) {
        let bounded = |x: i32| x.clamp(i16::MIN as i32, i16::MAX as i32) as i16;
        let largest = src.iter().copied().max().unwrap_or(0) as i32;
        let mut sum = 0i32;
        for (x, to) in src.iter().zip(dst.iter_mut()) {
            let scaled = self.multiplier.apply(*x as i32 - largest);
            *to = look_up(bounded(scaled.wrapping_add(32_767)), &self.exponentials);
            sum = sum.wrapping_add(*to as i32);
        }
        let headroom = (sum as u32).leading_zeros();
        let shifted = (((sum as i64) << headroom.saturating_sub(1)) + (1 << 13)) >> 14;
        let place = shifted as i32 - ((1 << 15) + (1 << 16));
        let scale = look_up(bounded(place), &self.reciprocals) as i64;
        let shift = 31u32.saturating_sub(headroom).max(1);
        for to in dst {
            let product = (*to as i64 * scale + (1 << (shift - 1))) >> shift;
            *to = product.clamp(0, 32_767) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up_to_one() {
        let pool = ThreadPool::new(2).unwrap();
        let bytes: Vec<i8> = (0..60).map(|i| (i * 37 % 251 - 120) as i8).collect();
        let (scale, beta) = (0.07f32, 1.0f32);
        let mut out = vec![0i8; 60];
        AffineSoftmax::new(beta, scale).unwrap().run(&pool, 10, &bytes, &mut out).unwrap();
        let wide: Vec<i16> = bytes.iter().map(|x| *x as i16 * 100).collect();
        let mut out_wide = vec![0i16; 60];
        WideSoftmax::new(beta, scale / 100.0).run(&pool, 10, &wide, &mut out_wide).unwrap();
        for row in 0..6 {
            let numbers: Vec<f64> =
                bytes[row * 10..row * 10 + 10].iter().map(|x| (*x as f64 * scale as f64).exp()).collect();
            let sum: f64 = numbers.iter().sum();
            for (c, number) in numbers.iter().enumerate() {
                let exact = number / sum;
                let (byte, word) = (out[row * 10 + c] as f64 + 128.0, out_wide[row * 10 + c] as f64);
                assert!((byte / 256.0 - exact).abs() < 0.006, "{byte} for {exact}");
                assert!((word / 32768.0 - exact).abs() < 0.003, "{word} for {exact}");
            }
        }
    }
}
