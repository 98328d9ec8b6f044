//! Sums to bytes, 16 at a time.

use super::dot::COLUMNS;
use super::multiplier::Rescale;
use crate::base::simd::Simd;

/// Stores the bytes of sums, with what is added to each, of the channels from `first` on, of which `count` are there. Must run where
/// [`Simd`]'s instructions are.
#[inline(always)]
pub(crate) fn store<S: Simd>(
    rescale: &Rescale<'_>,
    (first, count): (usize, usize),
    sums: &[i32; COLUMNS],
    bias: Option<&[i32]>,
    to: &mut [u8],
) {
    let (bias, to) = (bias.map(|bias| &bias[first..first + count]), &mut to[..count]);
    #[cfg(target_arch = "x86_64")]
    if S::LANES == 16 {
        // SAFETY: a vector of 16 floats is there only where AVX-512 is.
        return unsafe {
            if rescale.exact.is_empty() {
                x86::store(own(rescale.multipliers, first, count), rescale, sums, bias, to);
            } else {
                x86::store_exactly(own(rescale.exact, first, count), rescale, sums, bias, to);
            }
        };
    }
    let mut sums = *sums;
    for (sum, bias) in sums.iter_mut().zip(bias.unwrap_or_default()) {
        *sum = sum.wrapping_add(*bias);
    }
    if !rescale.exact.is_empty() {
        for (c, to) in to.iter_mut().enumerate() {
            *to = rescale.exactly(first + c, sums[c] as f64) as u8;
        }
        return;
    }
    let mut multipliers = [rescale.multipliers[0]; COLUMNS];
    if rescale.multipliers.len() > 1 {
        multipliers[..count].copy_from_slice(&rescale.multipliers[first..first + count]);
    }
    let mut bytes = [0u8; COLUMNS];
    let mut c = 0;
    while c < COLUMNS {
        bytes[c] = rescale.bounded(multipliers[c].apply(sums[c])) as u8;
        c += 1;
    }
    to.copy_from_slice(&bytes[..count]);
}

/// Those of some channels, or the one of all.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn own<T>(all: &[T], first: usize, count: usize) -> &[T] {
    if all.len() == 1 { all } else { &all[first..first + count] }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, Rescale};
    use crate::affine::multiplier::Multiplier;

    /// `multipliers` is one, or as many as bytes are stored, at most 16; so is `bias`.
    ///
    /// # Safety
    /// The processor has AVX-512 with DQ, BW and VL.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn store(
        multipliers: &[Multiplier],
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
        bias: Option<&[i32]>,
        to: &mut [u8],
    ) {
        let pairs = (1u64 << (2 * to.len())) - 1;
        let mask = (pairs >> to.len()) as u16;
        // SAFETY: no more is read and written than the mask says.
        unsafe {
            let mut sums = _mm512_loadu_si512(sums.as_ptr().cast());
            if let Some(bias) = bias {
                sums = _mm512_add_epi32(sums, _mm512_maskz_loadu_epi32(mask, bias.as_ptr()));
            }
            let (values, shifts) = if let [one] = multipliers {
                (_mm512_set1_epi32(one.value), _mm512_set1_epi32(one.shift))
            } else {
                let at = multipliers.as_ptr().cast::<i32>();
                let low = _mm512_maskz_loadu_epi32(pairs as u16, at);
                apart(low, _mm512_maskz_loadu_epi32((pairs >> 16) as u16, at.wrapping_add(16)))
            };
            let bytes = bounded(scaled(values, shifts, sums), rescale);
            _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, bytes);
        }
    }

    /// The same of sums that are multiplied as numbers: see [`Rescale::exactly`].
    ///
    /// # Safety
    /// As of [`store`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn store_exactly(
        exact: &[f64],
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
        bias: Option<&[i32]>,
        to: &mut [u8],
    ) {
        let mask = ((1u32 << to.len()) - 1) as u16;
        // Beyond these the bounds are what remains.
        let (most, half, sign) =
            (_mm512_set1_pd((1 << 30) as f64), _mm512_set1_pd(0.5), _mm512_set1_pd(-0.0));
        let eight = |sums: __m256i, factors: __m512d| {
            let number = _mm512_mul_pd(_mm512_cvtepi32_pd(sums), factors);
            let number = _mm512_add_pd(number, _mm512_or_pd(half, _mm512_and_pd(number, sign)));
            let is_number = _mm512_cmp_pd_mask::<_CMP_ORD_Q>(number, number);
            let number = _mm512_max_pd(number, _mm512_or_pd(most, sign));
            _mm512_maskz_cvttpd_epi32(is_number, _mm512_min_pd(number, most))
        };
        // SAFETY: no more is read and written than the mask says.
        unsafe {
            let mut sums = _mm512_loadu_si512(sums.as_ptr().cast());
            if let Some(bias) = bias {
                sums = _mm512_add_epi32(sums, _mm512_maskz_loadu_epi32(mask, bias.as_ptr()));
            }
            let [low, high] = if let [one] = exact {
                [_mm512_set1_pd(*one); 2]
            } else {
                let high = exact.as_ptr().wrapping_add(8);
                [
                    _mm512_maskz_loadu_pd(mask as u8, exact.as_ptr()),
                    _mm512_maskz_loadu_pd((mask >> 8) as u8, high),
                ]
            };
            let low = eight(_mm512_castsi512_si256(sums), low);
            let high = eight(_mm512_extracti32x8_epi32::<1>(sums), high);
            let all = _mm512_inserti32x8::<1>(_mm512_castsi256_si512(low), high);
            _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, bounded(all, rescale));
        }
    }

    /// The bytes of integers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in crate::affine) fn bounded(integers: __m512i, rescale: &Rescale<'_>) -> __m128i {
        let integers = _mm512_add_epi32(integers, _mm512_set1_epi32(rescale.zero));
        let integers = _mm512_max_epi32(integers, _mm512_set1_epi32(rescale.bounds.0));
        _mm512_cvtepi32_epi8(_mm512_min_epi32(integers, _mm512_set1_epi32(rescale.bounds.1)))
    }

    /// Values and shifts of multipliers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn apart(low: __m512i, high: __m512i) -> (__m512i, __m512i) {
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let values = _mm512_permutex2var_epi32(low, even, high);
        let shifts = _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
        (values, shifts)
    }

    /// Sums by multipliers of these values and shifts: see [`Multiplier::apply`]. No shift is more than 31.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in crate::affine) fn scaled(values: __m512i, shifts: __m512i, sums: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let left = _mm512_max_epi32(shifts, zero);
        let right = _mm512_max_epi32(_mm512_sub_epi32(zero, shifts), zero);
        let x = _mm512_sllv_epi32(sums, left);
        let half = _mm512_set1_epi64(1 << 30);
        let of_even = _mm512_add_epi64(_mm512_mul_epi32(x, values), half);
        let odd = _mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(values, 32));
        let of_odd = _mm512_add_epi64(odd, half);
        let product =
            _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(of_even, 31), _mm512_slli_epi64(of_odd, 1));
        let one = _mm512_set1_epi32(1);
        let mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
        let rest = _mm512_and_si512(product, mask);
        let threshold = _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(product, 31));
        let is_more = _mm512_cmpgt_epi32_mask(rest, threshold);
        let quotient = _mm512_srav_epi32(product, right);
        _mm512_mask_add_epi32(quotient, is_more, quotient, one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::Multiplier;
    use crate::base::cpu::Isa;
    use crate::base::simd::{Kernel, dispatch};

    struct Store<'a>(&'a Rescale<'a>, &'a [i32; COLUMNS], &'a [i32], usize, &'a mut [u8]);

    impl Kernel for Store<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            store::<S>(self.0, (0, self.3), self.1, Some(self.2), self.4);
        }
    }

    #[test]
    fn vectors_multiply_numbers_as_single_sums_do() {
        let reals = [0.5, 0.25, 1e-3, 3e-5, 1.7, -0.3, 0.0, 5.0, 1e-7, f64::INFINITY];
        let all: [f64; COLUMNS] = std::array::from_fn(|c| reals[c % reals.len()]);
        for step in 0..2000i32 {
            let exact = if step % 5 == 0 { &all[2..3] } else { &all[..] };
            let rescale = Rescale { multipliers: &[], exact, zero: 7, bounds: (-128, 127) };
            let sums: [i32; COLUMNS] = std::array::from_fn(|c| match (step % 7, c) {
                (0, _) => (step - 1000) * (c as i32 - 5),
                (1, 0..4) => [i32::MAX, i32::MIN, 0, -1][c],
                _ => (step * 7919 + c as i32 * 131).wrapping_mul(step % 311).wrapping_sub(step * 40),
            });
            let expected: [u8; COLUMNS] = std::array::from_fn(|c| rescale.exactly(c, sums[c] as f64) as u8);
            let (bias, count) = ([0; COLUMNS], step as usize % COLUMNS + 1);
            let mut bytes = [99; COLUMNS + 1];
            for isa in Isa::ALL {
                dispatch(isa, Store(&rescale, &sums, &bias, count, &mut bytes));
                assert_eq!(bytes[..count], expected[..count], "{isa:?} {step}");
                assert!(bytes[count..].iter().all(|byte| *byte == 99));
            }
        }
    }

    #[test]
    fn vectors_round_as_single_sums_do() {
        let reals = [0.5, 0.25, 1e-3, 3e-5, 1.0, 1.7, 0.999_999, 2f64.powi(-31), 0.3, 0.0, 5.0, 1e-7];
        let multipliers: [Multiplier; COLUMNS] =
            std::array::from_fn(|c| Multiplier::of(reals[c % reals.len()]));
        let rescale = Rescale { multipliers: &multipliers, exact: &[], zero: -3, bounds: (-120, 125) };
        for step in 0..5000i32 {
            let sums: [i32; COLUMNS] = std::array::from_fn(|c| {
                (step * 7919 + c as i32 * 131).wrapping_mul(step % 311).wrapping_sub(step * 40)
            });
            let expected: [u8; COLUMNS] =
                std::array::from_fn(|c| rescale.bounded(multipliers[c].apply(sums[c])) as u8);
            for isa in Isa::ALL {
                let bias: Vec<i32> = (0..COLUMNS as i32).map(|c| c * 37 - 300).collect();
                let before = std::array::from_fn(|c| sums[c].wrapping_sub(bias[c]));
                let count = step as usize % COLUMNS + 1;
                let mut bytes = [99; COLUMNS + 1];
                dispatch(isa, Store(&rescale, &before, &bias, count, &mut bytes));
                assert_eq!(bytes[..count], expected[..count], "{isa:?} {step}");
                assert!(bytes[count..].iter().all(|byte| *byte == 99));
            }
        }
    }
}
