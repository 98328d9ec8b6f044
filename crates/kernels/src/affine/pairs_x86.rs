//! [`AffinePair`] on bytes, 16 at a time, with AVX-512.

use std::arch::x86_64::*;

use super::multiplier::{Multiplier, Rescale};
use super::pairs::{AffinePair, AffinePairOp};
use super::requantize::x86::{bounded, scaled};

/// Bytes that are taken at once.
const LANES: usize = 16;

/// True for what [`run`] computes.
pub(super) fn can_compute(pair: &AffinePair) -> bool {
    let [a, b] = pair.inputs;
    pair.shifts.is_none() && pair.left_shift < 32 && [a, b, pair.output].iter().all(|own| own.shift < 32)
}

/// Computes each of the bytes, int8 or uint8, of two tensors of as many.
///
/// # Safety
/// The processor has AVX-512 with DQ, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run(pair: &AffinePair, from: [&[u8]; 2], is_signed: bool, to: &mut [u8]) {
    let rescale = Rescale { multipliers: &[], exact: &[], zero: pair.zero, bounds: pair.bounds };
    let shift = _mm_cvtsi32_si128(pair.left_shift as i32);
    let by =
        |own: Multiplier, x: __m512i| scaled(_mm512_set1_epi32(own.value), _mm512_set1_epi32(own.shift), x);
    let count = to.len().min(from[0].len()).min(from[1].len());
    for at in (0..count).step_by(LANES) {
        let mask = ((1u32 << (count - at).min(LANES)) - 1) as u16;
        let wide = |input: usize| {
            // SAFETY: no more is read than the mask says.
            let bytes = unsafe { _mm_maskz_loadu_epi8(mask, from[input].as_ptr().add(at).cast()) };
            let x = if is_signed { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
            _mm512_sub_epi32(x, _mm512_set1_epi32(pair.zeros[input]))
        };
        let brought = |input: usize| by(pair.inputs[input], _mm512_sll_epi32(wide(input), shift));
        let result = match pair.op {
            AffinePairOp::Add => _mm512_add_epi32(brought(0), brought(1)),
            AffinePairOp::Sub => _mm512_sub_epi32(brought(0), brought(1)),
            AffinePairOp::Mul => _mm512_mullo_epi32(wide(0), wide(1)),
            AffinePairOp::SquaredDifference => {
                let difference = _mm512_sub_epi32(brought(0), brought(1));
                _mm512_mullo_epi32(difference, difference)
            }
        };
        let bytes = bounded(by(pair.output, result), &rescale);
        // SAFETY: no more is written than the mask says.
        unsafe { _mm_mask_storeu_epi8(to.as_mut_ptr().add(at).cast(), mask, bytes) };
    }
}
