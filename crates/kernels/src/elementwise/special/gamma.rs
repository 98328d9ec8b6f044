//! Gamma's relatives: incomplete gamma and beta functions, Riemann's zeta, the derivatives of digamma, and the inverse of
//! the normal distribution.
//!
//! Coefficients, intervals and series: S. Moshier, Cephes Mathematical Library.

use super::polynomial;
use crate::elementwise::float::{Float, digamma, lgamma};

const NDTRI_P0: [f64; 5] = [
    -59.963_350_101_410_79,
    98.001_075_418_599_97,
    -56.676_285_746_907_03,
    13.931_260_938_727_968,
    -1.239_165_838_673_812_5,
];
const NDTRI_Q0: [f64; 9] = [
    1.0,
    1.954_488_583_381_417_6,
    4.676_279_128_988_815,
    86.360_242_139_089_05,
    -225.462_687_854_119_37,
    200.260_212_380_060_66,
    -82.037_225_616_833_34,
    15.905_622_512_621_17,
    -1.183_316_211_213_3,
];
const NDTRI_P1: [f64; 9] = [
    4.055_448_923_059_624_5,
    31.525_109_459_989_388,
    57.162_819_224_642_13,
    44.080_507_389_320_08,
    14.684_956_192_885_803,
    2.186_633_068_507_902_5,
    -0.140_256_079_171_354_5,
    -0.035_042_462_682_784_82,
    -0.000_857_456_785_154_685_4,
];
const NDTRI_Q1: [f64; 9] = [
    1.0,
    15.779_988_325_646_675,
    45.390_763_512_887_92,
    41.317_203_825_467_2,
    15.042_538_569_290_75,
    2.504_649_462_083_094,
    -0.142_182_922_854_787_79,
    -0.038_080_640_769_157_83,
    -0.000_933_259_480_895_457_4,
];
const NDTRI_P2: [f64; 9] = [
    3.237_748_917_769_460_3,
    6.915_228_890_689_842,
    3.938_810_252_924_744_4,
    1.333_034_608_158_075_5,
    0.201_485_389_549_179_08,
    0.012_371_663_481_782_003,
    0.000_301_581_553_508_235_43,
    2.658_069_746_867_375_5e-6,
    6.239_745_391_849_833e-9,
];
const NDTRI_Q2: [f64; 9] = [
    1.0,
    6.024_270_393_647_42,
    3.679_835_638_561_608_7,
    1.377_020_994_890_813_2,
    0.216_236_993_594_496_63,
    0.013_420_400_608_854_318,
    0.000_328_014_464_682_127_74,
    2.892_478_647_453_806_8e-6,
    6.790_194_080_099_813e-9,
];

const EPSILON: f64 = f64::EPSILON / 2.0;
/// Terms of a series, or of a continued fraction, before it is left as it is.
const TERMS: usize = 5000;

/// x^a e^-x / Γ(a).
fn gamma_term(a: f64, x: f64) -> f64 {
    (a * x.ln() - x - lgamma(a)).exp()
}

fn igamma_series(a: f64, x: f64) -> f64 {
    let (mut r, mut term, mut sum) = (a, 1.0, 1.0);
    for _ in 0..TERMS {
        r += 1.0;
        term *= x / r;
        sum += term;
        if term <= EPSILON * sum {
            break;
        }
    }
    sum * gamma_term(a, x) / a
}

fn igammac_fraction(a: f64, x: f64) -> f64 {
    const BIG: f64 = 1.0 / f64::EPSILON;
    if x == f64::INFINITY {
        return 0.0;
    }
    let mut y = 1.0 - a;
    let mut z = x + y + 1.0;
    let mut c = 0.0;
    let (mut p2, mut q2, mut p1, mut q1) = (1.0, x, x + 1.0, z * x);
    let mut value = p1 / q1;
    for _ in 0..TERMS {
        c += 1.0;
        y += 1.0;
        z += 2.0;
        let (p, q) = (p1 * z - p2 * y * c, q1 * z - q2 * y * c);
        let is_done = q != 0.0 && {
            let r = p / q;
            let change = ((value - r) / r).abs();
            value = r;
            change <= EPSILON
        };
        if is_done {
            break;
        }
        (p2, p1, q2, q1) = (p1, p, q1, q);
        if p.abs() > BIG {
            (p2, p1, q2, q1) = (p2 / BIG, p1 / BIG, q2 / BIG, q1 / BIG);
        }
    }
    value * gamma_term(a, x)
}

/// The lower incomplete gamma function of a, regularised, at x.
pub(crate) fn igamma(a: f64, x: f64) -> f64 {
    if x == 0.0 {
        return 0.0;
    }
    if !(x >= 0.0 && a > 0.0) {
        return f64::NAN;
    }
    if a == f64::INFINITY {
        return 0.0;
    }
    if x > 1.0 && x > a { 1.0 - igammac_fraction(a, x) } else { igamma_series(a, x) }
}

/// 1 less that, exact where it is small.
pub(crate) fn igammac(a: f64, x: f64) -> f64 {
    if !(x >= 0.0 && a > 0.0) {
        return f64::NAN;
    }
    if a == f64::INFINITY {
        return if x == f64::INFINITY { 0.0 } else { 1.0 };
    }
    if x < 1.0 || x < a {
        if x == 0.0 { 1.0 } else { 1.0 - igamma_series(a, x) }
    } else {
        igammac_fraction(a, x)
    }
}

/// ln of the beta function.
fn lbeta(a: f64, b: f64) -> f64 {
    lgamma(a) + lgamma(b) - lgamma(a + b)
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let held = |x: f64| if x.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { x };
    let mut c = 1.0;
    let mut d = 1.0 / held(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for m in 1..TERMS {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / held(1.0 + even * d);
        c = held(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / held(1.0 + odd * d);
        c = held(1.0 + odd / c);
        value *= d * c;
        if (d * c - 1.0).abs() <= EPSILON {
            break;
        }
    }
    value
}

/// The incomplete beta function, regularised.
pub(crate) fn betainc(a: f64, b: f64, x: f64) -> f64 {
    if a <= 0.0 || b <= 0.0 {
        return f64::NAN;
    }
    // The ends of the range are the same of any two, even of NaN.
    if x == 0.0 || x == 1.0 {
        return x.abs();
    }
    if !(a.is_finite() && b.is_finite() && (0.0..=1.0).contains(&x)) {
        return f64::NAN;
    }
    let factor = (a * x.ln() + b * (-x).ln_1p() - lbeta(a, b)).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        factor * beta_fraction(a, b, x) / a
    } else {
        1.0 - factor * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// The sum of 1 / (q + n)^x over n from 0 on.
pub(crate) fn zeta(x: f64, q: f64) -> f64 {
    const FACTORS: [f64; 12] = [
        12.0,
        -720.0,
        30_240.0,
        -1_209_600.0,
        47_900_160.0,
        -1.892_437_580_318_379_2e9,
        7.472_424_96e10,
        -2.950_130_727_918_164e12,
        1.164_678_281_435_006_7e14,
        -4.597_978_722_407_473e15,
        1.815_210_540_194_354_7e17,
        -7.166_165_256_175_667e18,
    ];
    if x == 1.0 {
        return f64::INFINITY;
    }
    if !(x > 1.0) || q.is_nan() {
        return f64::NAN;
    }
    if x == f64::INFINITY && q.is_finite() {
        // The sum is of q^-x alone.
        return if q == 1.0 {
            1.0
        } else if q > 1.0 {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if q == f64::INFINITY {
        return 0.0;
    }
    if q <= 0.0 {
        if q == q.floor() {
            return if x == x.floor() && x % 2.0 == 0.0 { f64::INFINITY } else { f64::NAN };
        }
        if x != x.floor() {
            return f64::NAN;
        }
    }
    let mut sum = q.powf(-x);
    let mut a = q;
    let mut term = 0.0;
    let mut i = 0;
    while i < 9 || a <= 9.0 {
        i += 1;
        a += 1.0;
        term = a.powf(-x);
        sum += term;
        if (term / sum).abs() < EPSILON {
            return sum;
        }
        // So far below 0 that the sum would take forever.
        if i > 1 << 20 {
            return f64::NAN;
        }
    }
    let w = a;
    sum += term * w / (x - 1.0) - 0.5 * term;
    let (mut factor, mut k) = (1.0, 0.0);
    for divisor in FACTORS {
        factor *= x + k;
        term /= w;
        let next = factor * term / divisor;
        sum += next;
        if (next / sum).abs() < EPSILON {
            break;
        }
        k += 1.0;
        factor *= x + k;
        term /= w;
        k += 1.0;
    }
    sum
}

/// The n-th derivative of digamma.
pub(crate) fn polygamma(n: f64, x: f64) -> f64 {
    if n < 0.0 || n != n.floor() {
        return f64::NAN;
    }
    if n == 0.0 {
        return digamma(x);
    }
    let sign = if n % 2.0 == 0.0 { -1.0 } else { 1.0 };
    sign * lgamma(n + 1.0).exp() * zeta(n + 1.0, x)
}

/// The x below which the standard normal distribution has the share p.
pub(crate) fn ndtri(p: f64) -> f64 {
    const TAIL: f64 = 0.135_335_283_236_612_7;
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if !(0.0..1.0).contains(&p) {
        return f64::NAN;
    }
    let is_below = p <= 1.0 - TAIL;
    let b = if is_below { p } else { 1.0 - p };
    if b > TAIL {
        let y = b - 0.5;
        let square = y * y;
        let ratio = polynomial(square, &NDTRI_P0) / polynomial(square, &NDTRI_Q0);
        return (y + y * (square * ratio)) * (2.0 * std::f64::consts::PI).sqrt();
    }
    let x = (-2.0 * b.ln()).sqrt();
    let z = 1.0 / x;
    let ratio = if x < 8.0 {
        polynomial(z, &NDTRI_P1) / polynomial(z, &NDTRI_Q1)
    } else {
        polynomial(z, &NDTRI_P2) / polynomial(z, &NDTRI_Q2)
    };
    let value = x - x.ln() / x - z * ratio;
    if is_below { -value } else { value }
}

/// The inverse of the error function, with the digits that (x + 1) / 2 has in the type of x, as TensorFlow computes it.
pub(crate) fn erfinv<F: Float>(x: F) -> F {
    let share = F::of(0.5) * x + F::of(0.5);
    F::of(ndtri(share.to_f64()) * std::f64::consts::FRAC_1_SQRT_2)
}
