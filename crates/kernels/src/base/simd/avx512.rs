//! [`Simd`] by AVX-512.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Proof that the processor has AVX-512 F, BW, DQ, VL and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The processor has the instructions, and the caller is compiled for them.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Avx512(())
    }
}

/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,popcnt")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

macro_rules! ops {
    ($($name:ident($($arg:ident: $ty:ty),*) = $body:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> __m512 {
            // SAFETY: the token is the proof that the processor has the instructions.
            unsafe { $body }
        }
    )* };
}

#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the memory, the token for the instructions.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: as in `load`; masked lanes are not touched.
        unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
    }

    #[inline(always)]
    unsafe fn expand(self, from: *const f32, left: usize, marks: u32) -> __m512 {
        // SAFETY: as in `load_partial`. In one instruction with the load it takes some processors several times as long.
        unsafe {
            let floats = if left >= 16 { self.load(from) } else { self.load_partial(from, left) };
            _mm512_maskz_expand_ps(marks as __mmask16, floats)
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: as in `load`.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, v: __m512, count: usize) {
        // SAFETY: as in `load_partial`.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), v) }
    }

    #[inline(always)]
    fn spread(self, v: __m512, places: &[i32; 16]) -> __m512 {
        // SAFETY: the processor has the instructions, and there are sixteen numbers to load.
        unsafe { _mm512_permutexvar_ps(_mm512_loadu_si512(places.as_ptr().cast()), v) }
    }

    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    ops! {
        splat(x: f32) = _mm512_set1_ps(x);
        add(a: __m512, b: __m512) = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) = _mm512_div_ps(a, b);
        mul_add(a: __m512, b: __m512, c: __m512) = _mm512_fmadd_ps(a, b, c);
        min(a: __m512, b: __m512) = _mm512_min_ps(a, b);
        max(a: __m512, b: __m512) = _mm512_max_ps(a, b);
        round(x: __m512) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        scale_pow2(x: __m512, n: __m512) = _mm512_scalef_ps(x, n);
        select_lt(a: __m512, b: __m512, x: __m512, y: __m512) =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x);
        abs(x: __m512) = _mm512_abs_ps(x);
        copysign(magnitude: __m512, sign: __m512) = {
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, magnitude), _mm512_and_ps(bit, sign))
        };
    }
}
