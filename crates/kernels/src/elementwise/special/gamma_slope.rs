//! Derivatives of the incomplete gamma function, and of samples of the gamma distribution, by their shape.

use crate::elementwise::float::{digamma, lgamma};

/// Which derivative by `a` is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// The lower incomplete gamma function at `x`.
    Igamma,
    /// The sample `x` of the gamma distribution of shape `a`.
    Sample,
}

/// Terms after which a sum ends where it is not exact before.
const TERMS: usize = 500;

fn by_series(of: Of, a: f64, x: f64) -> f64 {
    let (mut r, mut term, mut sum) = (a, 1.0, 1.0);
    let (mut term_slope, mut sum_slope) = (0.0f64, 0.0f64);
    for _ in 0..TERMS {
        r += 1.0;
        let factor = x / r;
        term_slope = factor * term_slope - x / (r * r) * term;
        sum_slope += term_slope;
        term *= factor;
        sum += term;
        if term_slope.abs() <= f64::EPSILON * sum_slope.abs() {
            break;
        }
    }
    let log_slope = x.ln() - digamma(a + 1.0);
    match of {
        Of::Igamma => (a * x.ln() - x - lgamma(a + 1.0)).exp() * (sum * log_slope + sum_slope),
        Of::Sample => -(sum_slope + sum * log_slope) * x / a,
    }
}

fn by_fraction(of: Of, a: f64, x: f64) -> f64 {
    const BIG: f64 = 1.0 / f64::EPSILON;
    let mut y = 1.0 - a;
    let mut z = x + y + 1.0;
    let mut c = 0.0;
    let (mut p2, mut q2, mut p1, mut q1) = (1.0, x, x + 1.0, z * x);
    // What follows these as `a` grows.
    let (mut dp2, mut dq2, mut dp1, mut dq1) = (0.0, 0.0, 0.0, -x);
    let mut value = p1 / q1;
    let mut slope = (dp1 - value * dq1) / q1;
    for _ in 0..TERMS {
        c += 1.0;
        y += 1.0;
        z += 2.0;
        let yc = y * c;
        let (p, q) = (p1 * z - p2 * yc, q1 * z - q2 * yc);
        let dp = dp1 * z - p1 - dp2 * yc + p2 * c;
        let dq = dq1 * z - q1 - dq2 * yc + q2 * c;
        if q != 0.0 {
            value = p / q;
            let before = slope;
            slope = (dp - value * dq) / q;
            if (slope - before).abs() <= f64::EPSILON {
                break;
            }
        }
        (p2, p1, q2, q1) = (p1, p, q1, q);
        (dp2, dp1, dq2, dq1) = (dp1, dp, dq1, dq);
        if p.abs() > BIG {
            for part in [&mut p2, &mut p1, &mut q2, &mut q1, &mut dp2, &mut dp1, &mut dq2, &mut dq1] {
                *part /= BIG;
            }
        }
    }
    let log_slope = x.ln() - digamma(a);
    match of {
        Of::Igamma => -(a * x.ln() - x - lgamma(a)).exp() * (value * log_slope + slope),
        Of::Sample => (slope + value * log_slope) * x,
    }
}

fn derivative(of: Of, a: f64, x: f64, is_single: bool) -> f64 {
    if x == 0.0 {
        return 0.0;
    }
    if !(x >= 0.0 && a > 0.0) {
        return f64::NAN;
    }
    // Where the density is nothing in the type that is computed in, TensorFlow takes its slope for nothing as well; a denormal is
    // nothing to its threads.
    let least = if is_single { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE }.ln();
    if !(a * x.ln() - x - lgamma(a) >= least) {
        return 0.0;
    }
    if x > 1.0 && x > a { by_fraction(of, a, x) } else { by_series(of, a, x) }
}

/// The derivative of the lower incomplete gamma function of `a` at `x`, by `a`, of float32 if `is_single`, else of float64.
pub(crate) fn igamma_slope(a: f64, x: f64, is_single: bool) -> f64 {
    derivative(Of::Igamma, a, x, is_single)
}

/// The derivative of a sample `x` of the gamma distribution of shape `a`, by `a`, as [`igamma_slope`] has the type.
pub(crate) fn sample_slope(a: f64, x: f64, is_single: bool) -> f64 {
    derivative(Of::Sample, a, x, is_single)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::special::gamma::igamma;

    #[test]
    fn slopes_are_those_of_small_steps() {
        for (a, x) in [(0.5, 0.25), (2.0, 0.75), (3.0, 9.0), (12.5, 8.0), (0.75, 4.0)] {
            let step = 1e-5;
            let expected = (igamma(a + step, x) - igamma(a - step, x)) / (2.0 * step);
            assert!((igamma_slope(a, x, false) - expected).abs() < 1e-8, "{a} {x}: {expected}");
            // A sample stays where as much lies below it.
            let density = ((a - 1.0) * f64::ln(x) - x - lgamma(a)).exp();
            assert!((sample_slope(a, x, false) + expected / density).abs() < 1e-6, "{a} {x}");
        }
        assert_eq!((igamma_slope(2.0, 0.0, false), sample_slope(2.0, 0.0, false)), (0.0, 0.0));
        assert!(igamma_slope(-1.0, 1.0, false).is_nan() && sample_slope(1.0, -1.0, false).is_nan());
        // TensorFlow's RandomGammaGrad of 38 at 0.25 is 0 in float32, and 0.0064 in float64.
        assert_eq!(sample_slope(38.0, 0.25, true), 0.0);
        assert!(sample_slope(38.0, 0.25, false) > 0.0);
        // The density of 40 at 1.654 is 5.1e-39, a denormal.
        assert_eq!(sample_slope(40.0, 1.654, true), 0.0);
        assert!((sample_slope(40.0, 1.654, false) - 0.137_840_1).abs() < 1e-6);
    }
}
