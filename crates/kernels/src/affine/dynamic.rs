//! Floats quantised as they come, by the range of each row: what products with small weights do to their input.

use tightfit_core::Shared;

use crate::base::access::split_range;
use crate::base::error::{Result, check_exact};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Quantises rows of floats to int8, each with a scale of its own, and a zero point where it `is_asymmetric`: a range that
/// ends where the numbers do, in place of one as far on both sides of 0.
///
/// # Errors
/// [`KernelError::Length`](crate::KernelError::Length) for lengths that do not go together.
pub fn quantize_rows(
    pool: &ThreadPool,
    is_asymmetric: bool,
    src: &[f32],
    dst: &mut [u8],
    (scales, zeros): (&mut [f32], &mut [i32]),
) -> Result<()> {
    let rows = scales.len();
    check_exact("the rows' zero points", rows, zeros.len())?;
    check_exact("the quantised rows", src.len(), dst.len())?;
    let depth = src.len().checked_div(rows).unwrap_or(0);
    check_exact("the floats of all rows", rows * depth, src.len())?;
    if rows < pool.threads() && depth >= LARGE_ROW {
        for (row, (scale, zero)) in scales.iter_mut().zip(zeros).enumerate() {
            let own = row * depth..(row + 1) * depth;
            (*scale, *zero) = split_row(pool, is_asymmetric, &src[own.clone()], &mut dst[own]);
        }
        return Ok(());
    }
    let (dst, scales, zeros) = (Shared::new(dst), Shared::new(scales), Shared::new(zeros));
    split_range(pool, rows, depth.saturating_mul(4), &|first, count| {
        for row in first..first + count {
            // SAFETY: rows are apart.
            let (mut to, mut scale, mut zero) =
                unsafe { (dst.part(row * depth, depth), scales.part(row, 1), zeros.part(row, 1)) };
            let numbers = &src[row * depth..(row + 1) * depth];
            let how = Rounding::of(is_asymmetric, dispatch(pool.isa(), Range(numbers)));
            (scale[0], zero[0]) = (how.scale, how.zero);
            dispatch(pool.isa(), Write { how, numbers, to: &mut to });
        }
    });
    Ok(())
}

/// Numbers of a row from which on threads share it, where there are fewer rows.
const LARGE_ROW: usize = 16 << 10;
/// The most parts of a row.
const PARTS: usize = 64;

/// Quantises one row with all threads.
fn split_row(pool: &ThreadPool, is_asymmetric: bool, numbers: &[f32], to: &mut [u8]) -> (f32, i32) {
    let parts = (pool.threads() * 2).min(PARTS);
    let share = |part: usize| numbers.len() * part / parts..numbers.len() * (part + 1) / parts;
    let mut ranges = [(0f32, 0f32); PARTS];
    let all = Shared::new(&mut ranges[..]);
    pool.run(parts, &|part, _| {
        // SAFETY: each part has a range of its own.
        let mut own = unsafe { all.part(part, 1) };
        own[0] = dispatch(pool.isa(), Range(&numbers[share(part)]));
    });
    let range = ranges.iter().fold((0f32, 0f32), |all, own| (all.0.min(own.0), all.1.max(own.1)));
    let how = Rounding::of(is_asymmetric, range);
    let to = Shared::new(to);
    pool.run(parts, &|part, _| {
        let own = share(part);
        // SAFETY: parts are apart.
        let mut to = unsafe { to.part(own.start, own.len()) };
        dispatch(pool.isa(), Write { how, numbers: &numbers[own], to: &mut to });
    });
    (how.scale, how.zero)
}

/// The smallest and the largest number, of which NaN is none; 0 is among them.
struct Range<'a>(&'a [f32]);

impl Kernel for Range<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (f32, f32) {
        let mut rest = self.0;
        let mut found = (0.0, 0.0);
        #[cfg(target_arch = "x86_64")]
        if S::LANES >= 8 {
            let whole = rest.len() / x86::LANES * x86::LANES;
            // SAFETY: a vector of 8 floats is there only where AVX2 is.
            found = unsafe { x86::range(&rest[..whole]) };
            rest = &rest[whole..];
        }
        rest.iter().fold(found, |(low, high), x| {
            (if *x < low { *x } else { low }, if *x > high { *x } else { high })
        })
    }
}

/// How numbers of a row become integers.
#[derive(Debug, Clone, Copy)]
struct Rounding {
    scale: f32,
    inverse: f32,
    zero: i32,
    lowest: i32,
}

impl Rounding {
    fn of(is_asymmetric: bool, (low, high): (f32, f32)) -> Rounding {
        // A row of zeros has a scale too.
        const PLAIN: Rounding = Rounding { scale: 1.0, inverse: 0.0, zero: 0, lowest: -127 };
        if !is_asymmetric {
            let largest = high.max(-low);
            let (scale, inverse) = (largest / 127.0, 127.0 / largest);
            return if largest == 0.0 { PLAIN } else { Rounding { scale, inverse, ..PLAIN } };
        }
        let (low, high) = (low as f64, high as f64);
        if low == high {
            return PLAIN;
        }
        let scale = (high - low) / 255.0;
        let (from_low, from_high) = (-128.0 - low / scale, 127.0 - high / scale);
        let is_low_nearer = 128.0 + (low / scale).abs() < 127.0 + (high / scale).abs();
        let zero = if is_low_nearer { from_low } else { from_high };
        let zero = zero.round().clamp(-128.0, 127.0) as i32;
        Rounding { scale: scale as f32, inverse: 1.0 / scale as f32, zero, lowest: -128 }
    }
}

/// The largest float below a half: what is added to it and is less than a half stays less than 1.
const HALF: f32 = 0.499_999_97;

/// Writes the integer of each number, rounded, halves away from 0.
struct Write<'a> {
    how: Rounding,
    numbers: &'a [f32],
    to: &'a mut [u8],
}

impl Kernel for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Write { how, mut numbers, mut to } = self;
        #[cfg(target_arch = "x86_64")]
        if S::LANES >= 8 {
            let whole = numbers.len() / x86::LANES * x86::LANES;
            let (own, rest) = to.split_at_mut(whole);
            // SAFETY: a vector of 8 floats is there only where AVX2 is.
            unsafe { x86::write(how, &numbers[..whole], own) };
            (numbers, to) = (&numbers[whole..], rest);
        }
        for (to, x) in to.iter_mut().zip(numbers) {
            let x = how.zero as f32 + x * how.inverse;
            *to = ((x + HALF.copysign(x)) as i32).max(how.lowest).min(127) as u8;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{HALF, Rounding};

    /// Floats that are taken at once.
    pub(super) const LANES: usize = 32;

    /// The smallest and the largest of whole groups of numbers.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn range(numbers: &[f32]) -> (f32, f32) {
        let (mut low, mut high) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
        for group in numbers.as_chunks::<LANES>().0 {
            for i in 0..4 {
                // SAFETY: 8 of 32 floats.
                let eight = unsafe { _mm256_loadu_ps(group.as_ptr().add(8 * i)) };
                // Where the first operand is NaN, the second is what they give.
                low[i] = _mm256_min_ps(eight, low[i]);
                high[i] = _mm256_max_ps(eight, high[i]);
            }
        }
        let mut all = [[0f32; LANES]; 2];
        for i in 0..4 {
            // SAFETY: 8 of 32 floats.
            unsafe {
                _mm256_storeu_ps(all[0].as_mut_ptr().add(8 * i), low[i]);
                _mm256_storeu_ps(all[1].as_mut_ptr().add(8 * i), high[i]);
            }
        }
        let [low, high] = all;
        (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max))
    }

    /// The integers of whole groups of numbers.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn write(how: Rounding, numbers: &[f32], to: &mut [u8]) {
        let (zero, inverse) = (_mm256_set1_ps(how.zero as f32), _mm256_set1_ps(how.inverse));
        let (lowest, highest) = (_mm256_set1_ps(how.lowest as f32), _mm256_set1_ps(127.0));
        let (half, sign) = (_mm256_set1_ps(HALF), _mm256_set1_ps(-0.0));
        // Fours of bytes come from the packing of halves of vectors as 0, 2, 4, 6, 1, 3, 5, 7.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (group, to) in numbers.as_chunks::<LANES>().0.iter().zip(to.as_chunks_mut::<LANES>().0) {
            let eight = |i: usize| {
                // SAFETY: 8 of 32 floats.
                let x = unsafe { _mm256_loadu_ps(group.as_ptr().add(8 * i)) };
                let x = _mm256_add_ps(zero, _mm256_mul_ps(x, inverse));
                let x = _mm256_add_ps(x, _mm256_or_ps(half, _mm256_and_ps(x, sign)));
                let x = _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
                _mm256_cvttps_epi32(_mm256_min_ps(_mm256_max_ps(x, lowest), highest))
            };
            let low = _mm256_packs_epi32(eight(0), eight(1));
            let high = _mm256_packs_epi32(eight(2), eight(3));
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
            // SAFETY: 32 bytes.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_ranges_of_their_own() {
        let pool = ThreadPool::new(2).unwrap();
        let mut src = [0f32; 40];
        src[..20].iter_mut().enumerate().for_each(|(i, x)| *x = i as f32 / 4.0 - 1.0);
        let (mut bytes, mut scales, mut zeros) = ([1u8; 40], [0.0; 2], [9; 2]);
        for is_asymmetric in [false, true] {
            quantize_rows(&pool, is_asymmetric, &src, &mut bytes, (&mut scales, &mut zeros)).unwrap();
            assert_eq!((scales[1], zeros[1], &bytes[20..]), (1.0, 0, &[0u8; 20][..]));
            for (x, byte) in src[..20].iter().zip(bytes) {
                let number = scales[0] * (byte as i8 as i32 - zeros[0]) as f32;
                assert!((number - x).abs() <= scales[0] * 0.51, "{number} for {x}");
            }
        }
        assert!((scales[0] - 4.75 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        // 127 is the largest, so that the scale is 1.
        let mut src: Vec<f32> = (-250..250).map(|i| i as f32 / 2.0).collect();
        src.extend([127.0, 0.499_999_97, -0.499_999_97, f32::NAN, 1.5, -2.5]);
        for isa in crate::Isa::ALL {
            let pool = ThreadPool::with_isa(1, isa).unwrap();
            let (mut bytes, mut scales, mut zeros) = (vec![1u8; src.len()], [0.0], [9]);
            quantize_rows(&pool, false, &src, &mut bytes, (&mut scales, &mut zeros)).unwrap();
            assert_eq!(scales, [1.0]);
            for (x, byte) in src.iter().zip(bytes) {
                assert_eq!(byte as i8 as i32, x.round() as i32, "{x} on {isa:?}");
            }
            // A row that threads share becomes the same.
            let pool = ThreadPool::with_isa(3, isa).unwrap();
            let long: Vec<f32> = (0..20_000).map(|i| (i * 37 % 1009) as f32 - 300.0).collect();
            let all = [1, 2].map(|rows| {
                let src = long.repeat(rows);
                let (mut bytes, mut scales, mut zeros) =
                    (vec![1u8; src.len()], vec![0.0; rows], vec![9; rows]);
                let pool = if rows == 1 { &pool } else { &ThreadPool::with_isa(1, isa).unwrap() };
                quantize_rows(pool, true, &src, &mut bytes, (&mut scales, &mut zeros)).unwrap();
                (bytes[..long.len()].to_vec(), scales[0], zeros[0])
            });
            assert_eq!(all[0], all[1]);
        }
    }
}
