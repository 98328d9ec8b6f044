//! Vectors of floats behind one trait, so that each kernel is written once and compiled for each [`Isa`].
//!
//! A value of a type that implements [`Simd`] is a token: it exists only when the processor has the instructions,
//! which is what makes the arithmetic methods safe to call. [`dispatch`] hands the token to a [`Kernel`], inside a
//! function compiled with the instructions enabled; everything from there to the arithmetic must be
//! `#[inline(always)]`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::base::cpu::Isa;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// Arithmetic on vectors of `LANES` floats.
pub(crate) trait Simd: Copy {
    /// The vector.
    type V: Copy;
    /// Floats in it.
    const LANES: usize;

    /// `x` in each lane.
    fn splat(self, x: f32) -> Self::V;
    /// The `LANES` floats at `from`.
    ///
    /// # Safety
    /// They can be read; no alignment is needed, not even a float's.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// The first `count <= LANES` floats at `from`, and zeros.
    ///
    /// # Safety
    /// `count` floats can be read; no alignment is needed.
    unsafe fn load_partial(self, from: *const f32, count: usize) -> Self::V;
    /// In each lane whose bit of `marks` is set the next float at `from`, and zeros in the others.
    ///
    /// # Safety
    /// `left` floats can be read, at least as many as bits are set in the lowest `LANES` of `marks`; no alignment is needed.
    unsafe fn expand(self, from: *const f32, left: usize, marks: u32) -> Self::V;
    /// Writes all lanes.
    ///
    /// # Safety
    /// `LANES` floats can be written; no alignment is needed.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Writes the first `count <= LANES` lanes.
    ///
    /// # Safety
    /// `count` floats can be written; no alignment is needed.
    unsafe fn store_partial(self, to: *mut f32, v: Self::V, count: usize);
    /// Asks for the cache line at `address` ahead of its use; any address will do.
    fn prefetch(self, address: *const f32);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, rounded once where the processor can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` when either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` when either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, ties to even, for |x| < 2^22.
    fn round(self, x: Self::V) -> Self::V;
    /// x · 2^n for integral n in -252..=254, with overflow to infinity and underflow through subnormals.
    fn scale_pow2(self, x: Self::V, n: Self::V) -> Self::V;
    /// The same for integral n in -1000..=128 and |x| between 0.5 and 2, where what is below the normal numbers may be 0, and
    /// anything times 2^128 infinite.
    #[inline(always)]
    fn scale_pow2_flushed(self, x: Self::V, n: Self::V) -> Self::V {
        self.scale_pow2(x, n)
    }
    /// The nearest integer n to x between -127 and 128, and 2^n, where that of -127 may be 0.
    #[inline(always)]
    fn split_pow2(self, x: Self::V) -> (Self::V, Self::V) {
        let n = self.round(x);
        (n, self.scale_pow2(self.splat(1.0), n))
    }
    /// `x` where a < b, else `y` (also when either is NaN).
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// |x|
    fn abs(self, x: Self::V) -> Self::V;
    /// In each lane `i`, lane `places[i]` of `v`, which must be one of its lanes.
    fn spread(self, v: Self::V, places: &[i32; 16]) -> Self::V;
    /// |magnitude| with the sign bit of `sign`.
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V;
}

/// A computation written over [`Simd`].
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// Runs it. Must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with the instructions of `isa`, or with those of [`Isa::Portable`] when the processor has them not.
#[inline]
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => {
            // SAFETY: the processor has the instructions.
            unsafe { avx512::run(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => {
            // SAFETY: the processor has the instructions.
            unsafe { avx2::run(kernel) }
        }
        _ => kernel.run(Portable),
    }
}
