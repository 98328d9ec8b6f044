//! The functions of one number that elementwise kernels apply, for f32 and f64 alike.
//!
//! Coefficients of erf and erfc: S. Moshier, Cephes Mathematical Library, double/ndtr.

use bytemuck::Pod;

/// f32 or f64.
pub(crate) trait Float:
    Pod
    + Send
    + Sync
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Rem<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::iter::Sum
{
    const EPSILON: Self;
    fn of(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn exp(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    fn erfc(self) -> Self;
    fn log(self) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round_ties_even(self) -> Self;
    fn is_nan(self) -> bool;
    fn exp_m1(self) -> Self;
    fn ln_1p(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn asin(self) -> Self;
    fn acos(self) -> Self;
    fn atan(self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn asinh(self) -> Self;
    fn acosh(self) -> Self;
    fn atanh(self) -> Self;
    /// Itself, but 0 of its sign in place of a denormal: for functions that look at the bits, whatever the thread's
    /// mode (see [`crate::base::denormals::FlushDenormals`]).
    fn flushed(self) -> Self;
    /// A denormal, by its bits.
    fn is_subnormal(self) -> bool;
    fn atan2(self, x: Self) -> Self;
    /// The number next to this one on the way to `to`.
    fn next_after(self, to: Self) -> Self;
    fn copysign(self, sign: Self) -> Self;

    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::of(1.0) / (Self::of(1.0) + (-self).exp())
    }

    /// The larger one, or NaN if either is.
    #[inline(always)]
    fn max_nan(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }

    /// The smaller one, or NaN if either is.
    #[inline(always)]
    fn min_nan(self, other: Self) -> Self {
        if self < other || self.is_nan() { self } else { other }
    }
}

macro_rules! float {
    ($F:ident, $erf:expr, $erfc:expr) => {
        impl Float for $F {
            const EPSILON: Self = $F::EPSILON;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $F
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            float!(@methods $F, exp = $F::exp, tanh = $F::tanh, erf = $erf, erfc = $erfc, log = $F::ln, abs = $F::abs,
                sqrt = $F::sqrt, floor = $F::floor, ceil = $F::ceil, round_ties_even = $F::round_ties_even,
                exp_m1 = $F::exp_m1, ln_1p = $F::ln_1p, sin = $F::sin, cos = $F::cos, tan = $F::tan,
                asin = $F::asin, acos = $F::acos, atan = $F::atan, sinh = $F::sinh, cosh = $F::cosh,
                asinh = asinh_of, acosh = acosh_of, atanh = atanh_of);
            #[inline(always)]
            fn is_nan(self) -> bool {
                $F::is_nan(self)
            }
            #[inline(always)]
            fn is_subnormal(self) -> bool {
                $F::is_subnormal(self)
            }
            #[inline(always)]
            fn atan2(self, x: Self) -> Self {
                $F::atan2(self, x)
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                $F::copysign(self, sign)
            }
            fn next_after(self, to: Self) -> Self {
                if $F::is_nan(self) || $F::is_nan(to) {
                    $F::NAN
                } else if self == to {
                    to
                } else if self == 0.0 {
                    $F::from_bits(1).copysign(to)
                } else if (self < to) == (self > 0.0) {
                    $F::from_bits(self.to_bits() + 1)
                } else {
                    $F::from_bits(self.to_bits() - 1)
                }
            }
            #[inline(always)]
            fn flushed(self) -> Self {
                if $F::abs(self) < $F::MIN_POSITIVE { $F::copysign(0.0, self) } else { self }
            }
        }
    };
    (@methods $F:ident, $($name:ident = $path:expr),*) => {
        $(#[inline(always)]
        fn $name(self) -> Self {
            #[allow(clippy::redundant_closure_call)]
            ($path)(self)
        })*
    };
}

float!(f32, |x| erf_f64(x as f64) as f32, |x| erfc_f64(x as f64) as f32);
float!(f64, erf_by_square, erfc_f64);

/// [`erf_f64`], and NaN where the square is infinite or nearly so, as in TensorFlow's kernel for float64.
fn erf_by_square(x: f64) -> f64 {
    if x.abs() >= 1.340_780_783_004_729_5e154 { f64::NAN } else { erf_f64(x) }
}

/// Where a square is past the range, or its root all of it.
const LARGE: f64 = 1e9;

fn asinh_of<F: Float>(x: F) -> F {
    let x = x.to_f64();
    let size = x.abs();
    F::of(if size > LARGE { (size.ln() + std::f64::consts::LN_2).copysign(x) } else { x.asinh() })
}

fn acosh_of<F: Float>(x: F) -> F {
    let x = x.to_f64();
    F::of(if x > LARGE { x.ln() + std::f64::consts::LN_2 } else { x.acosh() })
}

/// By the size, so that it is as exact near -1 as near 1.
fn atanh_of<F: Float>(x: F) -> F {
    let x = x.to_f64();
    F::of(x.abs().atanh().copysign(x))
}

#[inline(always)]
fn polynomial_f64(x: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

pub(crate) fn erf_f64(x: f64) -> f64 {
    if x.abs() > 1.0 {
        return 1.0 - erfc_f64(x);
    }
    let z = x * x;
    let numerator = [
        9.604_973_739_870_516,
        9.002_601_972_038_427e1,
        2.232_005_345_946_843e3,
        7.003_325_141_128_051e3,
        5.559_230_130_103_949e4,
    ];
    let denominator = [
        1.0,
        3.356_171_416_475_031e1,
        5.213_579_497_801_527e2,
        4.594_323_829_709_801e3,
        2.262_900_006_138_909e4,
        4.926_739_426_086_359e4,
    ];
    x * polynomial_f64(z, &numerator) / polynomial_f64(z, &denominator)
}

pub(crate) fn erfc_f64(x: f64) -> f64 {
    let size = x.abs();
    if size <= 1.0 || x.is_nan() {
        return 1.0 - erf_f64(x);
    }
    // Less than the least number; the polynomials of infinity are infinite.
    if size > 30.0 {
        return if x < 0.0 { 2.0 } else { 0.0 };
    }
    let ratio = if size < 8.0 {
        polynomial_f64(
            size,
            &[
                2.461_969_814_735_305e-10,
                5.641_895_648_310_688e-1,
                7.463_210_564_422_699,
                4.863_719_709_856_814e1,
                1.965_208_329_560_771e2,
                5.264_451_949_954_773e2,
                9.345_285_271_719_576e2,
                1.027_551_886_895_157e3,
                5.575_353_353_693_994e2,
            ],
        ) / polynomial_f64(
            size,
            &[
                1.0,
                1.322_819_511_547_449_9e1,
                8.670_721_408_859_897e1,
                3.549_377_788_878_198_6e2,
                9.757_085_017_432_055e2,
                1.823_909_166_879_097_3e3,
                2.246_337_608_187_109_8e3,
                1.656_663_091_941_613_5e3,
                5.575_353_408_177_277e2,
            ],
        )
    } else {
        polynomial_f64(
            size,
            &[
                5.641_895_835_477_551e-1,
                1.275_366_707_599_781,
                5.019_050_422_511_805,
                6.160_210_979_930_536,
                7.409_742_699_504_489,
                2.978_866_653_721_002_4,
            ],
        ) / polynomial_f64(
            size,
            &[
                1.0,
                2.260_528_632_201_173,
                9.396_035_249_380_014,
                1.204_895_398_080_966_6e1,
                1.708_144_507_475_659e1,
                9.608_968_090_632_859,
                3.369_076_451_000_815,
            ],
        )
    };
    let tail = (-x * x).exp() * ratio;
    if x < 0.0 { 2.0 - tail } else { tail }
}

/// ln |gamma(x)|, by Lanczos' approximation with g = 7 and nine terms, and reflection below 1/2.
pub(crate) fn lgamma(x: f64) -> f64 {
    use std::f64::consts::PI;
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x.is_infinite() {
        return f64::INFINITY;
    }
    // So near to 0 gamma is 1 / x; the logarithm looks at the bits, so denormals have theirs as TensorFlow's have.
    if x.abs() < 1e-17 {
        return -x.abs().ln();
    }
    for root in [1.0, 2.0] {
        if (x - root).abs() < 0.1 {
            let z = x - root;
            return near_one(z) + if root == 2.0 { z.ln_1p() } else { 0.0 };
        }
    }
    if x < 0.5 {
        // A pole at each integer that is not positive.
        let sine = (PI * (x - x.round())).sin().abs();
        return if x == x.floor() { f64::INFINITY } else { (PI / sine).ln() - lgamma(1.0 - x) };
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum: f64 = TERMS[0] + TERMS[1..].iter().zip(1..).map(|(c, i)| c / (x + i as f64)).sum::<f64>();
    0.5 * (2.0 * PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// ln gamma(1 + z) for |z| < 0.1, where Lanczos' sum would lose its digits: -γ z and, from the second power on,
/// ζ(k) (-z)^k / k.
fn near_one(z: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    const ZETA: [f64; 15] = [
        1.644_934_066_848_226_4,
        1.202_056_903_159_594_2,
        1.082_323_233_711_138_2,
        1.036_927_755_143_37,
        1.017_343_061_984_449,
        1.008_349_277_381_923,
        1.004_077_356_197_944_3,
        1.002_008_392_826_082_2,
        1.000_994_575_127_818,
        1.000_494_188_604_119_4,
        1.000_246_086_553_308,
        1.000_122_713_347_578_4,
        1.000_061_248_135_058_7,
        1.000_030_588_236_307,
        1.000_015_282_259_408_6,
    ];
    let series = ZETA.iter().enumerate().rev().fold(0.0, |sum, (i, zeta)| -z * (sum + zeta / (i + 2) as f64));
    z * (-series - EULER)
}

/// The derivative of ln gamma, by its asymptotic series from 10 on, recurrence and reflection below. At a pole it is
/// NaN, as TensorFlow's is, but for -infinity at 0's side of it.
pub(crate) fn digamma(x: f64) -> f64 {
    use std::f64::consts::PI;
    if x <= 0.0 {
        if x == x.floor() {
            return f64::NAN;
        }
        return digamma(1.0 - x) - PI / (PI * (x - x.round())).tan();
    }
    let mut x = x;
    let mut sum = 0.0;
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let z = 1.0 / (x * x);
    let series = polynomial_f64(
        z,
        &[
            1.0 / 12.0,
            -691.0 / 32760.0,
            1.0 / 132.0,
            -1.0 / 240.0,
            1.0 / 252.0,
            -1.0 / 120.0,
            1.0 / 12.0,
            0.0,
        ],
    );
    sum + x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of C's math library.
    #[test]
    fn special_functions() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 2e-14 * b.abs().max(1.0), "{a} {b}");
        close(erf_f64(0.3), 0.328_626_759_459_127_4);
        close(erf_f64(-1.7), -0.983_790_458_590_774_6);
        close(erfc_f64(2.5), 4.069_520_174_449_589e-4);
        assert!((erfc_f64(9.0) / 4.137_031_746_513_811e-37 - 1.0).abs() < 1e-13);
        close(lgamma(0.1), 2.252_712_651_734_206);
        close(lgamma(10.5), 13.940_625_219_403_763);
        close(lgamma(-1.5), 0.860_047_015_376_481_2);
        close(lgamma(0.93), 0.044_579_486_589_279_24);
        close(lgamma(2.07), 0.031_152_372_144_252_15);
        assert!((lgamma(1.000_000_1) / -5.772_155_829_918_507e-8 - 1.0).abs() < 1e-9);
        close(lgamma(-1e-20), 46.051_701_859_880_914);
        close(lgamma(-1e-6), 13.815_511_135_180_762);
        assert_eq!(digamma(-1e-20), 1e20);
        assert!((digamma(-1e-6) / 999_999.422_782_690_3 - 1.0).abs() < 1e-15);
        assert_eq!(atanh_of(-0.5f64), -atanh_of(0.5f64));
        assert_eq!((acosh_of(3e38f32), asinh_of(-3e38f32)), (89.289_99, -89.289_99));
        assert!(acosh_of(f64::MAX).is_finite() && acosh_of(0.5f64).is_nan());
        assert_eq!(acosh_of(f64::INFINITY), f64::INFINITY);
        close(digamma(1.0), -0.577_215_664_901_532_9);
        close(digamma(-0.5), 0.036_489_973_978_576_5);
        close(digamma(30.25), 3.392_876_200_343_285);
    }
}
