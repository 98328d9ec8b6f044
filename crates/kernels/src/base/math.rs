//! Vector exponential, tanh, sigmoid, erf and erfc, to about one part in 10^7 where nothing else is said. The polynomials are minimax fits made for
//! these ranges. NaN goes in, NaN comes out.

use crate::base::simd::Simd;

/// c[0] + c[1]·x + c[2]·x² ...
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, c: [f32; N]) -> S::V {
    let mut sum = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = s.mul_add(sum, x, s.splat(c[i]));
    }
    sum
}

/// (e^x - 1 - x) / x² for |x| <= ln 2 / 2.
#[inline(always)]
fn exp_tail<S: Simd>(s: S, x: S::V) -> S::V {
    polynomial(s, x, [0.499_999_93, 0.166_665_2, 0.041_668_39, 0.008_368_718, 0.001_381_459])
}

/// ln 2 in two parts, the first with zeros at the end, so that n · LN2_HIGH is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x; infinity above 88.73, 0 below -104.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-105.0), s.min(s.splat(89.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    s.scale_pow2(exp_of_rest(s, n, s.mul_add(n, s.splat(-LN2_HIGH), x)), n)
}

/// e^x, in fewer instructions: it may be 0 below -87.3, and infinite above 88.3.
#[inline(always)]
pub(crate) fn exp_flushed<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-105.0), s.min(s.splat(89.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    s.scale_pow2_flushed(exp_of_rest(s, n, s.mul_add(n, s.splat(-LN2_HIGH), x)), n)
}

/// e^x / 2^n of an integral `n`, the nearest to x / ln 2, and `x - n · LN2_HIGH`.
#[inline(always)]
fn exp_of_rest<S: Simd>(s: S, n: S::V, rest: S::V) -> S::V {
    let r = s.mul_add(n, s.splat(-LN2_LOW), rest);
    s.mul_add(exp_tail(s, r), s.mul(r, r), s.add(r, s.splat(1.0)))
}

/// e^x - 1 for x <= 0, to the same relative error near 0.
#[inline(always)]
pub(crate) fn exp_minus_1_of_negative<S: Simd>(s: S, x: S::V) -> S::V {
    let near = s.mul_add(exp_tail(s, x), s.mul(x, x), x);
    let far = s.sub(exp_flushed(s, x), s.splat(1.0));
    s.select_lt(x, s.splat(-0.34), far, near)
}

/// 1 + e^-x, to two parts in 10^7; exactly 1 at infinity, and infinity at minus infinity. Above 1e38 it may be infinite.
#[inline(always)]
fn one_and_exp_of_minus<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-88.9), s.min(s.splat(88.0), x));
    let (n, power) = s.split_pow2(s.mul(x, s.splat(-std::f32::consts::LOG2_E)));
    let rest = s.mul_add(n, s.splat(-LN2_HIGH), s.sub(s.splat(0.0), x));
    let r = s.mul_add(n, s.splat(-LN2_LOW), rest);
    let square = s.mul(r, r);
    // As in `exp_tail`, and one after the other in as few steps as there can be.
    let low = s.mul_add(r, s.splat(0.166_665_2), s.splat(0.499_999_93));
    let high = s.mul_add(r, s.splat(0.008_368_718), s.splat(0.041_668_39));
    let high = s.mul_add(square, s.splat(0.001_381_459), high);
    let p = s.mul_add(s.mul_add(high, square, low), square, s.add(r, s.splat(1.0)));
    s.mul_add(p, power, s.splat(1.0))
}

/// 1 / (1 + e^-x); exactly 0 at minus infinity and 1 at infinity.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    s.div(s.splat(1.0), one_and_exp_of_minus(s, x))
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn swish<S: Simd>(s: S, x: S::V) -> S::V {
    s.div(x, one_and_exp_of_minus(s, x))
}

/// tanh x, to three parts in 10^7; exactly -1 and 1 at the infinities, -0 at -0.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // A quotient of polynomials of the square, fitted up to 9: there the difference from 1 is below a float's last bit. It is
    // above 1 at 9.6.
    let x = s.max(s.splat(-9.6), s.min(s.splat(9.6), x));
    let square = s.mul(x, x);
    let over = polynomial(s, square, [1.0, 0.133_809_75, 0.003_495_527, 2.060_804_8e-5, 1.335_320_6e-8]);
    let under = polynomial(s, square, [1.0, 0.467_142_9, 0.025_876_751, 3.285_533_5e-4, 7.775_966e-7]);
    let value = s.div(s.mul(x, over), under);
    s.max(s.splat(-1.0), s.min(s.splat(1.0), value))
}

/// The error function, 2/√π ∫ e^-t² dt from 0 to x; exactly -1 and 1 beyond ±4.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let magnitude = s.abs(x);
    let near = polynomial(
        s,
        s.mul(x, x),
        [
            std::f32::consts::FRAC_2_SQRT_PI,
            -0.376_123_26,
            0.112_801_8,
            -0.026_711_308,
            0.004_917_548,
            -0.000_563_140_95,
        ],
    );
    let near = s.mul(near, x);
    // ln(1 - erf) on 1..4; from 4 on the difference from 1 is below a float's last bit.
    let log = polynomial(
        s,
        s.min(s.splat(4.0), magnitude),
        [-0.002_619_055_6, -1.117_621_7, -0.654_239_5, -0.088_800_15, 0.014_831_992, -0.001_157_240_7],
    );
    let far = s.copysign(s.sub(s.splat(1.0), exp_flushed(s, log)), x);
    s.select_lt(magnitude, s.splat(1.0), near, far)
}

/// 1 - erf(x), to five parts in 10^7, also where that is small; 0 from 10 on.
#[inline(always)]
pub(crate) fn erfc<S: Simd>(s: S, x: S::V) -> S::V {
    let magnitude = s.min(s.splat(11.0), s.abs(x));
    // The square in two parts: the first is that of a number of few bits, so that none is lost of the exponential.
    let few = s.mul(s.round(s.mul(magnitude, s.splat(16.0))), s.splat(1.0 / 16.0));
    let (high, low) = (s.mul(few, few), s.mul(s.sub(magnitude, few), s.add(magnitude, few)));
    let n = s.round(s.mul(s.add(high, low), s.splat(-std::f32::consts::LOG2_E)));
    let rest = s.sub(s.sub(s.mul(n, s.splat(-LN2_HIGH)), high), low);
    let gaussian = s.scale_pow2_flushed(exp_of_rest(s, n, rest), n);
    // erfc(x) e^x² in t = 1 / (1 + x / 2), which is 1 at 0.
    let t = s.div(s.splat(1.0), s.mul_add(magnitude, s.splat(0.5), s.splat(1.0)));
    let scaled = polynomial(
        s,
        t,
        [
            0.282_086_1,
            0.282_376_56,
            0.243_129_13,
            0.202_434_45,
            -0.025_638_118,
            0.276_027_53,
            -0.484_859_38,
            0.283_164_23,
            -0.058_720_507,
        ],
    );
    let above = s.mul(gaussian, s.mul(t, scaled));
    s.select_lt(x, s.splat(0.0), s.sub(s.splat(2.0), above), above)
}

/// ln(1 + e^x), without overflow and without loss for very negative x.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let y = exp_flushed(s, s.sub(s.splat(0.0), s.abs(x)));
    // ln(1 + y) = 2 atanh(y / (2 + y)), by the series of atanh; the argument is at most 1/3.
    let z = s.div(y, s.add(y, s.splat(2.0)));
    let series =
        polynomial(s, s.mul(z, z), [2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0, 2.0 / 13.0]);
    s.mul_add(series, z, s.max(s.splat(0.0), x))
}
