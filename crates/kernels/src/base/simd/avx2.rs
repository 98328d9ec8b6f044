//! [`Simd`] by AVX2 and FMA.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has the instructions, and the caller is compiled for them.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Avx2(())
    }
}

/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx2,fma,popcnt")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

macro_rules! ops {
    ($($name:ident($($arg:ident: $ty:ty),*) = $body:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> __m256 {
            // SAFETY: the token is the proof that the processor has the instructions.
            unsafe { $body }
        }
    )* };
}

/// A lane is on while its number is below `count`.
#[inline(always)]
fn mask(count: usize) -> __m256i {
    // SAFETY: called only with a token in hand.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

/// For each byte how many of its bits are set before each.
static PLACES: [[i32; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 1;
        while bit < 8 {
            table[byte][bit] = table[byte][bit - 1] + (byte >> (bit - 1) & 1) as i32;
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// 2^n for integral n in -126..=127, 0 for -127 and infinity for 128.
#[inline(always)]
fn pow2(n: __m256) -> __m256 {
    // SAFETY: called only with a token in hand.
    unsafe {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    }
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for the memory, the token for the instructions.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: as in `load`; masked lanes are not touched.
        unsafe { _mm256_maskload_ps(from, mask(count)) }
    }

    #[inline(always)]
    unsafe fn expand(self, from: *const f32, left: usize, marks: u32) -> __m256 {
        // SAFETY: as in `load_partial`; a row of the table is 32 bytes.
        unsafe {
            let floats = if left >= 8 { self.load(from) } else { self.load_partial(from, left) };
            let places = _mm256_loadu_si256(PLACES[(marks & 0xff) as usize].as_ptr().cast());
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let is_marked = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(marks as i32), bits), bits);
            _mm256_and_ps(_mm256_permutevar8x32_ps(floats, places), _mm256_castsi256_ps(is_marked))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: as in `load`.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, v: __m256, count: usize) {
        // SAFETY: as in `load_partial`.
        unsafe { _mm256_maskstore_ps(to, mask(count), v) }
    }

    #[inline(always)]
    fn spread(self, v: __m256, places: &[i32; 16]) -> __m256 {
        // SAFETY: the processor has the instructions, and there are eight numbers to load.
        unsafe { _mm256_permutevar8x32_ps(v, _mm256_loadu_si256(places.as_ptr().cast())) }
    }

    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn split_pow2(self, x: __m256) -> (__m256, __m256) {
        // Beside 3 · 2^22 no bits are left for a fraction: the lowest are n + 127, which is 2^n where the exponent stands.
        const SHIFT: f32 = 12_582_912.0 + 127.0;
        let shifted = self.add(x, self.splat(SHIFT));
        // SAFETY: the token is the proof that the processor has the instructions.
        let power = unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(shifted))) };
        (self.sub(shifted, self.splat(SHIFT)), power)
    }

    ops! {
        splat(x: f32) = _mm256_set1_ps(x);
        add(a: __m256, b: __m256) = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) = _mm256_div_ps(a, b);
        mul_add(a: __m256, b: __m256, c: __m256) = _mm256_fmadd_ps(a, b, c);
        min(a: __m256, b: __m256) = _mm256_min_ps(a, b);
        max(a: __m256, b: __m256) = _mm256_max_ps(a, b);
        round(x: __m256) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        scale_pow2(x: __m256, n: __m256) = {
            let half = Avx2(()).round(_mm256_mul_ps(n, _mm256_set1_ps(0.5)));
            _mm256_mul_ps(_mm256_mul_ps(x, pow2(half)), pow2(_mm256_sub_ps(n, half)))
        };
        scale_pow2_flushed(x: __m256, n: __m256) = _mm256_mul_ps(x, pow2(_mm256_max_ps(n, _mm256_set1_ps(-127.0))));
        select_lt(a: __m256, b: __m256, x: __m256, y: __m256) =
            _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        abs(x: __m256) = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
        copysign(magnitude: __m256, sign: __m256) = {
            let bit = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign))
        };
    }
}
