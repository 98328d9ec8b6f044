//! The inverse cosine transform of libjpeg's `JDCT_ISLOW`: the factorisation of Loeffler, Ligtenberg and Moschytz in
//! integers, with 13 bits of fraction in the constants and 2 in what is between the passes.
//!
//! Sums of samples of 16 bits wrap and the passes' results are cut to 16 bits, as in libjpeg-turbo's code for vectors;
//! that makes a difference only for coefficients that no picture has.

/// Bits of fraction in the constants.
const CONST_BITS: u32 = 13;

/// Bits of fraction between the passes.
const PASS_BITS: u32 = 2;

/// The constants, rounded to [`CONST_BITS`], in pairs of which the sums of products are taken.
const C541: i16 = 4433;
const C541_LESS_1847: i16 = -10704;
const C541_AND_765: i16 = 10703;
const C1175: i16 = 9633;
const C1175_LESS_1961: i16 = -6436;
const C1175_LESS_390: i16 = 6437;
const C298_LESS_899: i16 = -4927;
const LESS_899: i16 = -7373;
const C2053_LESS_2562: i16 = -4176;
const LESS_2562: i16 = -20995;
const C3072_LESS_2562: i16 = 4177;
const C1501_LESS_899: i16 = 4926;

/// Transforms `block`, multiplied by `quant`, to eight lines of eight samples `stride` bytes apart at the start of `out`.
#[inline(always)]
pub(super) fn transform(block: &[i16; 64], quant: &[i16; 64], out: &mut [u8], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE2.
    let samples = unsafe { vectors::samples(block, quant) };
    #[cfg(not(target_arch = "x86_64"))]
    let samples = samples(block, quant);
    for (y, line) in samples.iter().enumerate() {
        out[y * stride..y * stride + 8].copy_from_slice(line);
    }
}

/// The same of a block whose coefficients but the first are 0.
#[inline(always)]
pub(super) fn transform_flat(first: i16, quant: i16, out: &mut [u8], stride: usize) {
    let scaled = first.wrapping_mul(quant).wrapping_shl(PASS_BITS);
    let sample = ((i32::from(scaled) + (1 << (PASS_BITS + 2))) >> (PASS_BITS + 3)).clamp(-128, 127) + 128;
    for y in 0..8 {
        out[y * stride..y * stride + 8].fill(sample as u8);
    }
}

/// The transform one element at a time.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn samples(block: &[i16; 64], quant: &[i16; 64]) -> [[u8; 8]; 8] {
    let mut values = [0i16; 64];
    for ((value, coefficient), quant) in values.iter_mut().zip(block).zip(quant) {
        *value = coefficient.wrapping_mul(*quant);
    }
    if block[8..].iter().all(|coefficient| *coefficient == 0) {
        for at in 0..64 {
            values[at] = if at < 8 { values[at].wrapping_shl(PASS_BITS) } else { values[at - 8] };
        }
    } else {
        for x in 0..8 {
            let column = pass([0, 1, 2, 3, 4, 5, 6, 7].map(|y| values[8 * y + x]), CONST_BITS - PASS_BITS);
            for (y, value) in column.into_iter().enumerate() {
                values[8 * y + x] = value;
            }
        }
    }
    let mut samples = [[0; 8]; 8];
    for (line, values) in samples.iter_mut().zip(values.as_chunks::<8>().0) {
        *line = pass(*values, CONST_BITS + PASS_BITS + 3).map(|value| (value.clamp(-128, 127) + 128) as u8);
    }
    samples
}

/// Eight values of a line or column; the results are shifted by `shift` and cut to 16 bits.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn pass(values: [i16; 8], shift: u32) -> [i16; 8] {
    let sum = |a: i16, by_a: i16, b: i16, by_b: i16| {
        i32::from(a) * i32::from(by_a) + i32::from(b) * i32::from(by_b)
    };
    let narrow = |value: i32| {
        (value.wrapping_add(1 << (shift - 1)) >> shift).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    let [v0, v1, v2, v3, v4, v5, v6, v7] = values;
    let near = sum(v2, C541, v6, C541_LESS_1847);
    let far = sum(v2, C541_AND_765, v6, C541);
    let [plus, minus] = [v0.wrapping_add(v4), v0.wrapping_sub(v4)].map(|v| i32::from(v) << CONST_BITS);
    let even =
        [plus.wrapping_add(far), minus.wrapping_add(near), minus.wrapping_sub(near), plus.wrapping_sub(far)];
    let (z3, z4) = (v7.wrapping_add(v3), v5.wrapping_add(v1));
    let (z3, z4) = (sum(z3, C1175_LESS_1961, z4, C1175), sum(z3, C1175, z4, C1175_LESS_390));
    let odd = [
        sum(v7, LESS_899, v1, C1501_LESS_899).wrapping_add(z4),
        sum(v5, LESS_2562, v3, C3072_LESS_2562).wrapping_add(z3),
        sum(v5, C2053_LESS_2562, v3, LESS_2562).wrapping_add(z4),
        sum(v7, C298_LESS_899, v1, LESS_899).wrapping_add(z3),
    ];
    let mut out = [0; 8];
    for (at, (even, odd)) in even.into_iter().zip(odd).enumerate() {
        out[at] = narrow(even.wrapping_add(odd));
        out[7 - at] = narrow(even.wrapping_sub(odd));
    }
    out
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    //! The transform on eight columns at once, with what every x86-64 has.

    use std::arch::x86_64::*;

    use super::*;

    #[inline]
    #[target_feature(enable = "sse2")]
    fn pair(a: i16, b: i16) -> __m128i {
        _mm_set1_epi32(i32::from(a) & 0xffff | i32::from(b) << 16)
    }

    /// Sums of products of 32 bits: the first four lanes and the last four.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn sums(low: __m128i, high: __m128i, factors: __m128i) -> [__m128i; 2] {
        [_mm_madd_epi16(low, factors), _mm_madd_epi16(high, factors)]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn add(a: [__m128i; 2], b: [__m128i; 2]) -> [__m128i; 2] {
        [_mm_add_epi32(a[0], b[0]), _mm_add_epi32(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn subtract(a: [__m128i; 2], b: [__m128i; 2]) -> [__m128i; 2] {
        [_mm_sub_epi32(a[0], b[0]), _mm_sub_epi32(a[1], b[1])]
    }

    /// 16 bits to 32, times 2^[`CONST_BITS`].
    #[inline]
    #[target_feature(enable = "sse2")]
    fn scaled(v: __m128i) -> [__m128i; 2] {
        let zero = _mm_setzero_si128();
        [_mm_unpacklo_epi16(zero, v), _mm_unpackhi_epi16(zero, v)]
            .map(|half| _mm_srai_epi32::<{ 16 - CONST_BITS as i32 }>(half))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn narrow<const SHIFT: i32>(v: [__m128i; 2]) -> __m128i {
        let half = _mm_set1_epi32(1 << (SHIFT - 1));
        _mm_packs_epi32(
            _mm_srai_epi32::<SHIFT>(_mm_add_epi32(v[0], half)),
            _mm_srai_epi32::<SHIFT>(_mm_add_epi32(v[1], half)),
        )
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn pass<const SHIFT: i32>(v: [__m128i; 8]) -> [__m128i; 8] {
        let (low, high) = (_mm_unpacklo_epi16(v[2], v[6]), _mm_unpackhi_epi16(v[2], v[6]));
        let near = sums(low, high, pair(C541, C541_LESS_1847));
        let far = sums(low, high, pair(C541_AND_765, C541));
        let plus = scaled(_mm_add_epi16(v[0], v[4]));
        let minus = scaled(_mm_sub_epi16(v[0], v[4]));
        let even = [add(plus, far), add(minus, near), subtract(minus, near), subtract(plus, far)];
        let (z3, z4) = (_mm_add_epi16(v[7], v[3]), _mm_add_epi16(v[5], v[1]));
        let (low, high) = (_mm_unpacklo_epi16(z3, z4), _mm_unpackhi_epi16(z3, z4));
        let z3 = sums(low, high, pair(C1175_LESS_1961, C1175));
        let z4 = sums(low, high, pair(C1175, C1175_LESS_390));
        let (low, high) = (_mm_unpacklo_epi16(v[7], v[1]), _mm_unpackhi_epi16(v[7], v[1]));
        let odd0 = add(sums(low, high, pair(LESS_899, C1501_LESS_899)), z4);
        let odd3 = add(sums(low, high, pair(C298_LESS_899, LESS_899)), z3);
        let (low, high) = (_mm_unpacklo_epi16(v[5], v[3]), _mm_unpackhi_epi16(v[5], v[3]));
        let odd1 = add(sums(low, high, pair(LESS_2562, C3072_LESS_2562)), z3);
        let odd2 = add(sums(low, high, pair(C2053_LESS_2562, LESS_2562)), z4);
        [
            narrow::<SHIFT>(add(even[0], odd0)),
            narrow::<SHIFT>(add(even[1], odd1)),
            narrow::<SHIFT>(add(even[2], odd2)),
            narrow::<SHIFT>(add(even[3], odd3)),
            narrow::<SHIFT>(subtract(even[3], odd3)),
            narrow::<SHIFT>(subtract(even[2], odd2)),
            narrow::<SHIFT>(subtract(even[1], odd1)),
            narrow::<SHIFT>(subtract(even[0], odd0)),
        ]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn transposed(v: [__m128i; 8]) -> [__m128i; 8] {
        let (a0, a1) = (_mm_unpacklo_epi16(v[0], v[1]), _mm_unpackhi_epi16(v[0], v[1]));
        let (a2, a3) = (_mm_unpacklo_epi16(v[2], v[3]), _mm_unpackhi_epi16(v[2], v[3]));
        let (a4, a5) = (_mm_unpacklo_epi16(v[4], v[5]), _mm_unpackhi_epi16(v[4], v[5]));
        let (a6, a7) = (_mm_unpacklo_epi16(v[6], v[7]), _mm_unpackhi_epi16(v[6], v[7]));
        let (b0, b1) = (_mm_unpacklo_epi32(a0, a2), _mm_unpackhi_epi32(a0, a2));
        let (b2, b3) = (_mm_unpacklo_epi32(a4, a6), _mm_unpackhi_epi32(a4, a6));
        let (b4, b5) = (_mm_unpacklo_epi32(a1, a3), _mm_unpackhi_epi32(a1, a3));
        let (b6, b7) = (_mm_unpacklo_epi32(a5, a7), _mm_unpackhi_epi32(a5, a7));
        [
            _mm_unpacklo_epi64(b0, b2),
            _mm_unpackhi_epi64(b0, b2),
            _mm_unpacklo_epi64(b1, b3),
            _mm_unpackhi_epi64(b1, b3),
            _mm_unpacklo_epi64(b4, b6),
            _mm_unpackhi_epi64(b4, b6),
            _mm_unpacklo_epi64(b5, b7),
            _mm_unpackhi_epi64(b5, b7),
        ]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub fn samples(block: &[i16; 64], quant: &[i16; 64]) -> [[u8; 8]; 8] {
        let block: &[__m128i; 8] = &bytemuck::cast(*block);
        let quant: &[__m128i; 8] = &bytemuck::cast(*quant);
        let mut v = [_mm_setzero_si128(); 8];
        for y in 0..8 {
            v[y] = _mm_mullo_epi16(block[y], quant[y]);
        }
        let others = block[1..].iter().fold(_mm_setzero_si128(), |all, line| _mm_or_si128(all, *line));
        let is_zero = _mm_movemask_epi8(_mm_cmpeq_epi8(others, _mm_setzero_si128())) == 0xffff;
        v = if is_zero {
            [_mm_slli_epi16::<{ PASS_BITS as i32 }>(v[0]); 8]
        } else {
            pass::<{ (CONST_BITS - PASS_BITS) as i32 }>(v)
        };
        let v = transposed(pass::<{ (CONST_BITS + PASS_BITS + 3) as i32 }>(transposed(v)));
        let middle = _mm_set1_epi8(-128);
        let two = |y: usize| _mm_add_epi8(_mm_packs_epi16(v[y], v[y + 1]), middle);
        bytemuck::cast([two(0), two(2), two(4), two(6)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flat(block: &[i16; 64], quant: &[i16; 64]) -> [u8; 64] {
        let mut out = [0; 64];
        transform(block, quant, &mut out, 8);
        out
    }

    /// The transform's definition, in float64. Source: ITU-T T.81, A.3.3.
    fn defined(block: &[i16; 64], quant: &[i16; 64]) -> [f64; 64] {
        let mut out = [0.0; 64];
        let basis = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos() / 2.0
        };
        for (at, to) in out.iter_mut().enumerate() {
            for (of, (value, quant)) in block.iter().zip(quant).enumerate() {
                let value = f64::from(*value) * f64::from(*quant);
                *to += value * basis(at % 8, of % 8) * basis(at / 8, of / 8);
            }
            *to = (*to + 128.0).clamp(0.0, 255.0);
        }
        out
    }

    proptest! {
        #[test]
        fn one_element_or_eight_are_the_same(
            block in proptest::collection::vec(prop_oneof![4 => Just(0i16), 4 => -50..50i16, 1 => any::<i16>()], 64),
            quant in proptest::collection::vec(prop_oneof![8 => 1..255i16, 1 => any::<i16>()], 64),
        ) {
            let (block, quant): ([i16; 64], [i16; 64]) = (block.try_into().unwrap(), quant.try_into().unwrap());
            let whole: [u8; 64] = bytemuck::cast(samples(&block, &quant));
            prop_assert_eq!(flat(&block, &quant), whole);
            let mut first = [0; 64];
            first[0] = block[0];
            let mut out = [0; 64];
            transform_flat(first[0], quant[0], &mut out, 8);
            let whole: [u8; 64] = bytemuck::cast(samples(&first, &quant));
            prop_assert_eq!(out, whole);
        }

        #[test]
        fn samples_are_near_the_definition(block in proptest::collection::vec(-40..40i16, 64)) {
            let block: [i16; 64] = block.try_into().unwrap();
            let quant = [3; 64];
            for (found, exact) in flat(&block, &quant).iter().zip(defined(&block, &quant)) {
                prop_assert!((f64::from(*found) - exact).abs() < 1.0, "{} {}", found, exact);
            }
        }
    }
}
