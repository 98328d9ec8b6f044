//! Special functions, computed in float64 for every type.

pub(crate) mod bessel;
pub(crate) mod gamma;
pub(crate) mod gamma_slope;
pub(crate) mod integrals;

/// The coefficient of the highest power first.
#[inline(always)]
pub(super) fn polynomial(x: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::{bessel::*, gamma::*, integrals::*};

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 2e-13 * b.abs().max(1e-3), "{a} {b}");
    }

    /// Values of M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, and identities.
    #[test]
    fn functions_have_their_values() {
        close(j0(0.0), 1.0);
        close(j1(3.0) * y0(3.0) - j0(3.0) * y1(3.0), 2.0 / (std::f64::consts::PI * 3.0));
        close(j1(9.0) * y0(9.0) - j0(9.0) * y1(9.0), 2.0 / (std::f64::consts::PI * 9.0));
        for x in [0.5, 3.0, 12.0] {
            close(i0(x) * k1(x) + i1(x) * k0(x), 1.0 / x);
            close(i0e(x) * k1e(x) + i1e(x) * k0e(x), 1.0 / x);
        }
        close(zeta(2.0, 1.0), std::f64::consts::PI.powi(2) / 6.0);
        close(polygamma(1.0, 1.0), std::f64::consts::PI.powi(2) / 6.0);
        close(polygamma(2.0, 1.0), -2.0 * zeta(3.0, 1.0));
        for x in [0.3, 4.0, 9.0] {
            close(igamma(1.0, x), 1.0 - (-x).exp());
            close(igamma(3.5, x) + igammac(3.5, x), 1.0);
            close(igammac(1.0, x), (-x).exp());
        }
        close(betainc(1.0, 3.0, 0.3), 1.0 - 0.7f64.powi(3));
        close(betainc(2.5, 0.5, 0.9), 1.0 - betainc(0.5, 2.5, 0.1));
        close(ndtri(0.975), 1.959_963_984_540_054);
        close(ndtri(1e-20), -9.262_340_089_798_408);
        close(erfinv(0.5), 0.476_936_276_204_469_9);
        close(erfinv(1e-5), 8.862_269_254_759_58e-6);
        close(expint(1.0), 1.895_117_816_355_936_8);
        close(spence(2.0), -std::f64::consts::PI.powi(2) / 12.0);
        close(dawsn(1.0), 0.538_079_506_912_768_4);
        close(fresnel_cos(1.0), 0.779_893_400_376_822_8);
        close(fresnel_sin(1.0), 0.438_259_147_390_354_77);
        const INF: f64 = f64::INFINITY;
        assert_eq!([(1.0, INF), (INF, 1.0), (INF, INF)].map(|(a, x)| igamma(a, x)), [1.0, 0.0, 0.0]);
        assert_eq!([(1.0, INF), (INF, 1.0), (INF, INF)].map(|(a, x)| igammac(a, x)), [0.0, 1.0, 0.0]);
        assert!(zeta(0.5, 1.0).is_nan() && igamma(-1.0, 1.0).is_nan() && betainc(0.0, 1.0, 0.5).is_nan());
        assert_eq!((ndtri(0.0), zeta(1.0, 2.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
