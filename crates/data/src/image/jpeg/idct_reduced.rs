//! The inverse cosine transforms of libjpeg that make fewer samples of a block than it has coefficients: four by four, two
//! by two, and one. Each sample is the mean of those that the whole transform makes in its place, with 13 bits of
//! fraction in the constants and 2 in what is between the passes. The middle frequency has no part in it.
//!
//! Products with quantisation wrap and the first pass's results are cut to 16 bits, but for the mean of a column that
//! becomes two, as in libjpeg-turbo's code for vectors; that makes a difference only for coefficients that no picture has.

/// Bits of fraction in the constants.
const CONST_BITS: u32 = 13;

/// Bits of fraction between the passes.
const PASS_BITS: u32 = 2;

/// What a line or column of coefficients becomes, with [`CONST_BITS`] bits of fraction and one more for each halving.
#[inline(always)]
fn pass<const N: usize>([v0, v1, v2, v3, _, v5, v6, v7]: [i32; 8]) -> [i32; N] {
    let mut out = [0; N];
    if N == 4 {
        let first = v0 << (CONST_BITS + 1);
        let even = v2 * 15137 - v6 * 6270;
        let near = v1 * 8697 - v3 * 17799 + v5 * 11893 - v7 * 1730;
        let far = v1 * 20995 + v3 * 7373 - v5 * 4926 - v7 * 4176;
        let (outer, inner) = (first.wrapping_add(even), first.wrapping_sub(even));
        let ends = [
            outer.wrapping_add(far),
            inner.wrapping_add(near),
            inner.wrapping_sub(near),
            outer.wrapping_sub(far),
        ];
        out.copy_from_slice(&ends);
    } else {
        let first = v0 << (CONST_BITS + 2);
        let odd = (v1 * 29692 - v3 * 10426).wrapping_add(v5 * 6967 - v7 * 5906);
        out.copy_from_slice(&[first.wrapping_add(odd), first.wrapping_sub(odd)]);
    }
    out
}

/// Bits of fraction that halving adds.
const fn halvings(size: usize) -> u32 {
    if size == 4 { 1 } else { 2 }
}

#[inline(always)]
fn rounded(value: i32, shift: u32) -> i32 {
    value.wrapping_add(1 << (shift - 1)) >> shift
}

/// Transforms `block`, multiplied by `quant`, to `N` lines of `N` samples, 4 or 2, `stride` bytes apart at the start of `out`.
#[inline(always)]
pub(super) fn transform<const N: usize>(block: &[i16; 64], quant: &[i16; 64], out: &mut [u8], stride: usize) {
    const { assert!(N == 4 || N == 2) };
    let mut lines = [[0; 8]; N];
    // What has no frequency down is not transformed down: where that would be more than 16 bits it wraps.
    let is_flat = N == 4 && (0..64).all(|at| matches!(at / 8, 0 | 4) || block[at] == 0);
    for x in 0..8 {
        if is_flat {
            let value = block[x].wrapping_mul(quant[x]).wrapping_shl(PASS_BITS);
            lines.iter_mut().for_each(|line| line[x] = value.into());
            continue;
        }
        let column = std::array::from_fn(|y| block[8 * y + x].wrapping_mul(quant[8 * y + x]).into());
        for (line, value) in lines.iter_mut().zip(pass::<N>(column)) {
            let value = rounded(value, CONST_BITS - PASS_BITS + halvings(N));
            let is_whole = N == 2 && x == 0;
            line[x] = if is_whole { value } else { value.clamp(i16::MIN.into(), i16::MAX.into()) };
        }
    }
    for (y, line) in lines.iter().enumerate() {
        let samples = pass::<N>(*line).map(|value| {
            let value = rounded(value, CONST_BITS + PASS_BITS + 3 + halvings(N));
            (value.clamp(-128, 127) + 128) as u8
        });
        out[y * stride..y * stride + N].copy_from_slice(&samples);
    }
}

/// The one sample of a block, from its first coefficient. What is far beyond white or black wraps, as in libjpeg.
#[inline(always)]
pub(super) fn mean(first: i16, quant: i16) -> u8 {
    let value = (i32::from(first) * i32::from(quant) + 4) >> 3;
    // Ten bits with a sign.
    let value = (value << 22) >> 22;
    (value.clamp(-128, 127) + 128) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The mean samples of the transform's definition, in float64. Source: ITU-T T.81, A.3.3.
    fn means(block: &[i16; 64], quant: i16, count: usize) -> Vec<f64> {
        let basis = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos() / 2.0
        };
        let each = 8 / count;
        let mean = |x: usize, u: usize| (0..each).map(|i| basis(x * each + i, u)).sum::<f64>() / each as f64;
        let sample = |at: usize| {
            let terms = block.iter().enumerate().map(|(of, value)| {
                f64::from(*value) * f64::from(quant) * mean(at % count, of % 8) * mean(at / count, of / 8)
            });
            (terms.sum::<f64>() + 128.0).clamp(0.0, 255.0)
        };
        (0..count * count).map(sample).collect()
    }

    proptest! {
        #[test]
        fn samples_are_means(block in proptest::collection::vec(-40..40i16, 64)) {
            let block: [i16; 64] = block.try_into().unwrap();
            let (mut four, mut two) = ([0; 16], [0; 4]);
            transform::<4>(&block, &[3; 64], &mut four, 4);
            transform::<2>(&block, &[3; 64], &mut two, 2);
            let one = [mean(block[0], 3)];
            for (found, count) in [(&four[..], 4), (&two, 2), (&one, 1)] {
                for (found, exact) in found.iter().zip(means(&block, 3, count)) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1.0, "{count}: {found} {exact}");
                }
            }
        }

        #[test]
        fn any_coefficients_are_taken(block in proptest::collection::vec(any::<i16>(), 64)) {
            let block: [i16; 64] = block.try_into().unwrap();
            let mut out = [0; 16];
            transform::<4>(&block, &[i16::MAX; 64], &mut out, 4);
            transform::<2>(&block, &[i16::MIN; 64], &mut out, 2);
            mean(block[0], i16::MIN);
        }
    }

    #[test]
    fn one_sample_wraps_beyond_ten_bits() {
        assert_eq!(
            [mean(0, 1), mean(100, 8), mean(-12, 1), mean(500, 8), mean(520, 8)],
            [128, 228, 127, 255, 0]
        );
    }
}
