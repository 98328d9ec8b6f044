//! Sums to bytes, 16 at a time.

use super::dot::COLUMNS;
use super::multiplier::{Multiplier, Rescale};
use crate::base::simd::Simd;

/// The bytes of sums of the channels from `first` on, of which `count` are there. Must run where [`Simd`]'s instructions are.
#[inline(always)]
pub(crate) fn requantize<S: Simd>(
    rescale: &Rescale<'_>,
    first: usize,
    count: usize,
    sums: &[i32; COLUMNS],
) -> [u8; COLUMNS] {
    let multipliers = rescale.multipliers;
    let mut own = [multipliers[0]; COLUMNS];
    if multipliers.len() > 1 {
        own[..count].copy_from_slice(&multipliers[first..first + count]);
    }
    #[cfg(target_arch = "x86_64")]
    if S::LANES == 16 {
        // SAFETY: a vector of 16 floats is there only where AVX-512 is.
        return unsafe { x86::requantize(&own, rescale, sums) };
    }
    let mut bytes = [0u8; COLUMNS];
    let mut c = 0;
    while c < COLUMNS {
        bytes[c] = rescale.bounded(own[c].apply(sums[c])) as u8;
        c += 1;
    }
    bytes
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, Multiplier, Rescale};

    /// # Safety
    /// The processor has AVX-512 with DQ, BW and VL.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn requantize(
        multipliers: &[Multiplier; COLUMNS],
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
    ) -> [u8; COLUMNS] {
        let at = multipliers.as_ptr().cast::<i32>();
        // SAFETY: 16 pairs of two integers, value and shift, and 16 sums.
        let (low, high, sums) = unsafe {
            (
                _mm512_loadu_si512(at.cast()),
                _mm512_loadu_si512(at.add(16).cast()),
                _mm512_loadu_si512(sums.as_ptr().cast()),
            )
        };
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let values = _mm512_permutex2var_epi32(low, even, high);
        let shifts = _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
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
        let integer = _mm512_mask_add_epi32(quotient, is_more, quotient, one);
        let integer = _mm512_add_epi32(integer, _mm512_set1_epi32(rescale.zero));
        let integer = _mm512_max_epi32(integer, _mm512_set1_epi32(rescale.bounds.0));
        let integer = _mm512_min_epi32(integer, _mm512_set1_epi32(rescale.bounds.1));
        let mut bytes = [0; COLUMNS];
        // SAFETY: 16 bytes.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(integer)) };
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cpu::Isa;
    use crate::base::simd::{Kernel, dispatch};

    struct Run<'a>(&'a Rescale<'a>, &'a [i32; COLUMNS]);

    impl Kernel for Run<'_> {
        type Output = [u8; COLUMNS];

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> [u8; COLUMNS] {
            requantize::<S>(self.0, 0, COLUMNS, self.1)
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
                assert_eq!(dispatch(isa, Run(&rescale, &sums)), expected, "{isa:?} {step}");
            }
        }
    }
}
