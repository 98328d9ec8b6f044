//! [`Simd`] in plain Rust.

use super::Simd;

/// Needs nothing of the processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 4;
type V = [f32; LANES];

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// 2^n for integral n in -126..=127.
#[inline(always)]
fn pow2(n: f32) -> f32 {
    f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23)
}

#[inline(always)]
fn round(x: f32) -> f32 {
    // Adding 1.5·2^23 leaves no bits for a fraction, and the sum is rounded to nearest even.
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

impl Simd for Portable {
    type V = V;
    const LANES: usize = LANES;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller vouches for the memory.
        unsafe { from.cast::<V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, count: usize) -> V {
        let mut v = [0.0; LANES];
        for (i, x) in v.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` floats.
            *x = unsafe { from.add(i).read_unaligned() };
        }
        v
    }

    #[inline(always)]
    unsafe fn expand(self, from: *const f32, _left: usize, marks: u32) -> V {
        let (mut v, mut next) = ([0.0; LANES], from);
        for (_, x) in v.iter_mut().enumerate().filter(|(i, _)| marks >> i & 1 == 1) {
            // SAFETY: the caller vouches for as many floats as bits.
            *x = unsafe { next.read_unaligned() };
            next = next.wrapping_add(1);
        }
        v
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: V) {
        // SAFETY: the caller vouches for the memory.
        unsafe { to.cast::<V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, v: V, count: usize) {
        for (i, x) in v.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` floats.
            unsafe { to.add(i).write_unaligned(*x) };
        }
    }

    #[inline(always)]
    fn spread(self, v: V, places: &[i32; 16]) -> V {
        std::array::from_fn(|i| v[places[i] as usize % LANES])
    }

    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        // Where the target has no fused instruction, `f32::mul_add` is a slow library call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn round(self, x: V) -> V {
        x.map(round)
    }

    #[inline(always)]
    fn scale_pow2(self, x: V, n: V) -> V {
        zip(x, n, |x, n| {
            let half = round(n * 0.5);
            x * pow2(half) * pow2(n - half)
        })
    }

    #[inline(always)]
    fn select_lt(self, a: V, b: V, x: V, y: V) -> V {
        std::array::from_fn(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }

    #[inline(always)]
    fn abs(self, x: V) -> V {
        x.map(f32::abs)
    }

    #[inline(always)]
    fn copysign(self, magnitude: V, sign: V) -> V {
        zip(magnitude, sign, f32::copysign)
    }
}
