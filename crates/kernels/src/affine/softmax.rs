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

/// Elements of a row for fewer of which no table is made.
#[cfg(target_arch = "x86_64")]
const LEAST_FOR_TABLE: usize = 64;

/// Softmax of bytes: the exponentials of all differences that there can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffineSoftmax {
    /// That of a difference of -d at 255 - d, in 31 bits after the point; of those that are left out 0.
    exponentials: [i32; 256],
    /// That of a difference of -d at d, as it is added up.
    terms: [i32; 256],
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
        for (d, to) in exponentials.iter_mut().rev().enumerate() {
            let shifted = (-(d as i32)).wrapping_mul(1i32.wrapping_shl(multiplier.shift as u32));
            if -(d as i32) >= least {
                *to = exp_of_negative::<31>(doubled_high_product(shifted, multiplier.value), DIFFERENCE_BITS);
            }
        }
        let terms = std::array::from_fn(|d| divided_by_power(exponentials[255 - d], SUM_BITS));
        Ok(AffineSoftmax { exponentials, terms })
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
        #[cfg(target_arch = "x86_64")]
        if depth >= LEAST_FOR_TABLE && size_of::<I>() == 1 && size_of::<O>() == 1 && pool.isa().has_avx2() {
            let (src, dst) = (bytemuck::cast_slice(src), bytemuck::cast_slice_mut(dst));
            return each_row(pool, (depth, 4), src, dst, |src, dst| {
                // SAFETY: the processor has the instructions.
                let largest = unsafe { x86::largest(src, I::LOWEST < 0) };
                let multiplier = self.multiplier::<I, O>(bytemuck::cast_slice(src), largest);
                // SAFETY: the same, and rows are as long as each other.
                unsafe { x86::by_table(&self.exponentials, (largest, multiplier, O::LOWEST), src, dst) };
            });
        }
        each_row(pool, (depth, 4), src, dst, |src, dst| self.row(src, dst))
    }

    /// What the exponentials of a row are multiplied with, whose largest integer this is.
    fn multiplier<I: BoundedInteger, O: BoundedInteger>(&self, src: &[I], largest: i32) -> Multiplier {
        let terms = src.iter().map(|x| self.terms[(largest - x.wide()) as usize & 255]);
        let (value, bits) = reciprocal(terms.fold(0, i32::wrapping_add), SUM_BITS as i32);
        Multiplier { value, shift: -(bits + 31 - O::BITS as i32).clamp(0, 31) }
    }

    fn row<I: BoundedInteger, O: BoundedInteger>(&self, src: &[I], dst: &mut [O]) {
        let largest = src.iter().map(|x| x.wide()).max().unwrap_or(0);
        let multiplier = self.multiplier::<I, O>(src, largest);
        for (x, to) in src.iter().zip(dst) {
            let d = (largest - x.wide()) as usize & 255;
            let product = doubled_high_product(multiplier.value, self.exponentials[255 - d]);
            let integer = divided_by_power(product, -multiplier.shift as u32).wrapping_add(O::LOWEST);
            *to = O::narrow(integer.clamp(O::LOWEST, O::HIGHEST));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::affine::multiplier::{Multiplier, Rescale};
    use crate::affine::requantize::x86::{eight_of, eight_scaled, sixteen_bounded};
    use crate::affine::tables::x86::look_up;

    /// The largest byte of a row, as int8 or uint8; 0 of none.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn largest(src: &[u8], is_signed: bool) -> i32 {
        let flip = if is_signed { 0x80 } else { 0 };
        let largest = src.iter().fold(0, |largest: u8, byte| largest.max(byte ^ flip));
        if src.is_empty() { 0 } else { i32::from(largest) - i32::from(flip) }
    }

    /// Makes bytes of a row by a table of all that there can be, whose largest byte, multiplier and smallest result these are.
    ///
    /// # Safety
    /// The processor has AVX2, and the rows are as long as each other.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn by_table(
        exponentials: &[i32; 256],
        (largest, multiplier, lowest): (i32, Multiplier, i32),
        src: &[u8],
        dst: &mut [u8],
    ) {
        let rescale = Rescale { multipliers: &[], exact: &[], zero: lowest, bounds: (lowest, lowest + 255) };
        let (value, right) = (_mm256_set1_epi32(multiplier.value), _mm256_set1_epi32(-multiplier.shift));
        // All results, those of the furthest differences first, twice: a table begins where the largest byte's comes last.
        let mut results = [0; 512];
        let none = [lowest as u8; 16];
        results.as_chunks_mut::<16>().0.fill(none);
        for (sixteen, at) in exponentials.as_chunks::<16>().0.iter().zip((0..256).step_by(16)).rev() {
            let eights = [0, 8].map(|half| eight_scaled(value, right, eight_of(sixteen, half)));
            let bytes = sixteen_bounded(eights, &rescale);
            // Those of larger differences are no larger.
            if bytes == none {
                break;
            }
            results[at..at + 16].copy_from_slice(&bytes);
            results[at + 256..at + 272].copy_from_slice(&bytes);
        }
        let first = 255 - usize::from(largest as u8);
        if let Some(table) = results[first..].first_chunk() {
            // SAFETY: the caller's promise.
            unsafe { look_up(table, src.as_ptr(), dst.as_mut_ptr(), src.len()) };
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
    fn vectors_give_what_single_bytes_do() {
        let bytes: Vec<i8> = (0..600).map(|i| (i * 37 % 251 - 120) as i8).collect();
        let unsigned: Vec<u8> = bytes.iter().map(|byte| *byte as u8 / 3 + 9).collect();
        for scale in [0.003, 0.02, 0.3] {
            let softmax = AffineSoftmax::new(1.0, scale).unwrap();
            let results = crate::Isa::ALL.map(|isa| {
                let pool = ThreadPool::with_isa(1, isa).unwrap();
                let (mut signed, mut other) = (vec![0i8; 600], vec![0u8; 600]);
                softmax.run(&pool, 200, &bytes, &mut signed).unwrap();
                softmax.run(&pool, 100, &unsigned, &mut other).unwrap();
                (signed, other)
            });
            assert!(results.iter().all(|one| *one == results[0]), "{scale}");
        }
    }

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
