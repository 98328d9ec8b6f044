//! Floats quantised as they come, by the range of each row: what products with small weights do to their input.

use tightfit_core::Shared;

use crate::base::access::split_range;
use crate::base::error::{Result, check_exact};
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
    let (dst, scales, zeros) = (Shared::new(dst), Shared::new(scales), Shared::new(zeros));
    split_range(pool, rows, depth.saturating_mul(4), &|first, count| {
        for row in first..first + count {
            // SAFETY: rows are apart.
            let (mut to, mut scale, mut zero) =
                unsafe { (dst.part(row * depth, depth), scales.part(row, 1), zeros.part(row, 1)) };
            let numbers = &src[row * depth..(row + 1) * depth];
            (scale[0], zero[0]) =
                if is_asymmetric { asymmetric(numbers, &mut to) } else { (symmetric(numbers, &mut to), 0) };
        }
    });
    Ok(())
}

/// The smallest and the largest number, of which NaN is none.
fn range(numbers: &[f32]) -> (f32, f32) {
    // Several at a time, so that they do not wait for each other.
    const LANES: usize = 16;
    let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
    let chunks = numbers.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for ((low, high), x) in low.iter_mut().zip(&mut high).zip(chunk) {
            *low = if *x < *low { *x } else { *low };
            *high = if *x > *high { *x } else { *high };
        }
    }
    let all = low.iter().chain(&high).chain(rest);
    all.fold((0.0, 0.0), |(low, high), x| {
        (if *x < low { *x } else { low }, if *x > high { *x } else { high })
    })
}

fn symmetric(numbers: &[f32], to: &mut [u8]) -> f32 {
    let (low, high) = range(numbers);
    let largest = high.max(-low);
    if largest == 0.0 {
        to.fill(0);
        return 1.0;
    }
    let inverse = 127.0 / largest;
    for (to, x) in to.iter_mut().zip(numbers) {
        *to = ((x * inverse).round() as i32).clamp(-127, 127) as u8;
    }
    largest / 127.0
}

fn asymmetric(numbers: &[f32], to: &mut [u8]) -> (f32, i32) {
    let (low, high) = range(numbers);
    let (low, high) = (low as f64, high as f64);
    if low == high {
        to.fill(0);
        return (1.0, 0);
    }
    let scale = (high - low) / 255.0;
    let (from_low, from_high) = (-128.0 - low / scale, 127.0 - high / scale);
    let is_low_nearer = 128.0 + (low / scale).abs() < 127.0 + (high / scale).abs();
    let zero = if is_low_nearer { from_low } else { from_high };
    let zero = zero.round().clamp(-128.0, 127.0) as i32;
    let scale = scale as f32;
    let inverse = 1.0 / scale;
    for (to, x) in to.iter_mut().zip(numbers) {
        *to = ((zero as f32 + x * inverse).round() as i32).clamp(-128, 127) as u8;
    }
    (scale, zero)
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
}
