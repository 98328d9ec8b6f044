//! The inverse cosine transform of libjpeg's `JDCT_IFAST`: the factorisation of Arai, Agui and Nakajima in integers of 16
//! bits, with 8 bits of fraction in the constants and 2 in the samples. Products and samples are cut off, not rounded.

/// Bits of fraction that coefficients have once they are multiplied by [`scaled`] quantisation.
const PASS_BITS: u32 = 2;

const C1082: i32 = 277;
const C1414: i32 = 362;
const C1847: i32 = 473;
/// Less 1, so that it has 16 bits as well.
const C2613: i32 = 669 - 256;

/// What the factorisation leaves to quantisation, for each row or column: `cos(k pi / 16) * sqrt(2)`, 1 for the first.
/// The products of two, with 14 bits of fraction, are libjpeg's.
#[rustfmt::skip]
const SCALES: [i32; 64] = [
    16384, 22725, 21407, 19266, 16384, 12873, 8867, 4520,
    22725, 31521, 29692, 26722, 22725, 17855, 12299, 6270,
    21407, 29692, 27969, 25172, 21407, 16819, 11585, 5906,
    19266, 26722, 25172, 22654, 19266, 15137, 10426, 5315,
    16384, 22725, 21407, 19266, 16384, 12873, 8867, 4520,
    12873, 17855, 16819, 15137, 12873, 10114, 6967, 3552,
    8867, 12299, 11585, 10426, 8867, 6967, 4799, 2446,
    4520, 6270, 5906, 5315, 4520, 3552, 2446, 1247,
];

/// What coefficients are multiplied by, for a quantisation table in the order of rows.
pub(super) fn scaled(quant: &[u16; 64]) -> [i16; 64] {
    const SHIFT: u32 = 14 - PASS_BITS;
    std::array::from_fn(|at| {
        ((i64::from(quant[at]) * i64::from(SCALES[at]) + (1 << (SHIFT - 1))) >> SHIFT) as i16
    })
}

type Lanes = [i16; 8];

#[inline(always)]
fn each(a: Lanes, b: Lanes, f: impl Fn(i16, i16) -> i16) -> Lanes {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    each(a, b, i16::wrapping_add)
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    each(a, b, i16::wrapping_sub)
}

/// The product with a constant. As in libjpeg-turbo's code for vectors what is multiplied has 14 bits; no picture has more.
#[inline(always)]
fn times(a: Lanes, constant: i32) -> Lanes {
    a.map(|x| ((i32::from(x.wrapping_shl(2)) * constant) >> 10) as i16)
}

/// Transforms eight columns at once.
#[inline(always)]
fn pass(v: [Lanes; 8]) -> [Lanes; 8] {
    let (sum, difference) = (add(v[0], v[4]), sub(v[0], v[4]));
    let outer = add(v[2], v[6]);
    let inner = sub(times(sub(v[2], v[6]), C1414), outer);
    let even = [add(sum, outer), add(difference, inner), sub(difference, inner), sub(sum, outer)];

    let (z13, z10) = (add(v[5], v[3]), sub(v[5], v[3]));
    let (z11, z12) = (add(v[1], v[7]), sub(v[1], v[7]));
    let first = add(z11, z13);
    let middle = times(sub(z11, z13), C1414);
    let z5 = times(add(z10, z12), C1847);
    let second = sub(add(sub(times(z10, -C2613), z10), z5), first);
    let third = sub(middle, second);
    let fourth = add(sub(times(z12, C1082), z5), third);
    [
        add(even[0], first),
        add(even[1], second),
        add(even[2], third),
        sub(even[3], fourth),
        add(even[3], fourth),
        sub(even[2], third),
        sub(even[1], second),
        sub(even[0], first),
    ]
}

#[inline(always)]
fn turned(v: [Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|y| std::array::from_fn(|x| v[x][y]))
}

/// Transforms `block`, multiplied by `quant` of [`scaled`], to eight lines of eight samples `stride` bytes apart at the
/// start of `out`.
pub(super) fn transform(block: &[i16; 64], quant: &[i16; 64], out: &mut [u8], stride: usize) {
    let values: [Lanes; 8] =
        std::array::from_fn(|y| std::array::from_fn(|x| block[8 * y + x].wrapping_mul(quant[8 * y + x])));
    let samples = turned(pass(turned(pass(values))));
    for (y, line) in samples.iter().enumerate() {
        for (to, value) in out[y * stride..y * stride + 8].iter_mut().zip(line) {
            *to = sample(*value);
        }
    }
}

/// The same of a block whose coefficients but the first are 0.
pub(super) fn transform_flat(first: i16, quant: i16, out: &mut [u8], stride: usize) {
    let sample = sample(first.wrapping_mul(quant));
    for y in 0..8 {
        out[y * stride..y * stride + 8].fill(sample);
    }
}

#[inline(always)]
fn sample(value: i16) -> u8 {
    ((value >> (PASS_BITS + 3)).clamp(-128, 127) + 128) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::idct;
    use super::*;

    proptest! {
        #[test]
        fn samples_are_near_those_of_the_accurate_one(block in proptest::collection::vec(-30..30i16, 64)) {
            let block: [i16; 64] = block.try_into().unwrap();
            let (mut fast, mut accurate) = ([0u8; 64], [0u8; 64]);
            transform(&block, &scaled(&[3; 64]), &mut fast, 8);
            idct::transform(&block, &[3; 64], &mut accurate, 8);
            for (a, b) in fast.iter().zip(accurate) {
                // Of blocks full of large coefficients it is the coarser by far.
                prop_assert!(a.abs_diff(b) <= 16, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_flat_block_is_the_same_by_both_ways() {
        let quant = scaled(&[16; 64]);
        for first in [-500, -3, 0, 7, 100, 900] {
            let mut block = [0; 64];
            block[0] = first;
            let (mut whole, mut flat) = ([0u8; 64], [0u8; 64]);
            transform(&block, &quant, &mut whole, 8);
            transform_flat(first, quant[0], &mut flat, 8);
            assert_eq!(whole, flat);
        }
    }
}
