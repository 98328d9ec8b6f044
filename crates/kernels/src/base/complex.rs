//! Complex numbers, as they lie in memory, and their functions. Functions of complex64 are computed in float64.

use std::ops::{Add, Mul, Neg, Sub};

use bytemuck::{Pod, Zeroable};

/// A complex number: real part, then imaginary part.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
#[repr(C)]
pub(crate) struct Complex<F> {
    pub re: F,
    pub im: F,
}

// SAFETY: two numbers one after another, without padding; all zeros are the number 0.
unsafe impl<F: Zeroable> Zeroable for Complex<F> {}
// SAFETY: as above, and every bit pattern is one of its parts.
unsafe impl<F: Pod> Pod for Complex<F> {}

/// A part of a complex number.
pub(crate) trait Float:
    Pod
    + Send
    + Sync
    + PartialEq
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
{
    const ZERO: Self;
    fn wide(self) -> f64;
    fn of(x: f64) -> Self;
}

impl Float for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn wide(self) -> f64 {
        self as f64
    }

    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
}

impl Float for f64 {
    const ZERO: f64 = 0.0;

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
}

/// In float64.
pub(crate) type Wide = Complex<f64>;

pub(crate) const fn complex<F>(re: F, im: F) -> Complex<F> {
    Complex { re, im }
}

impl<F: Float> Complex<F> {
    pub const ZERO: Self = complex(F::ZERO, F::ZERO);

    pub fn wide(self) -> Wide {
        complex(self.re.wide(), self.im.wide())
    }

    pub fn of(x: Wide) -> Self {
        complex(F::of(x.re), F::of(x.im))
    }

    #[inline(always)]
    pub fn conj(self) -> Self {
        complex(self.re, -self.im)
    }
}

impl<F: Float> Add for Complex<F> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        complex(self.re + other.re, self.im + other.im)
    }
}

impl<F: Float> Sub for Complex<F> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        complex(self.re - other.re, self.im - other.im)
    }
}

impl<F: Float> Mul for Complex<F> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)
    }
}

impl<F: Float> Neg for Complex<F> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        complex(-self.re, -self.im)
    }
}

/// Functions, with the cuts and the zeros of C's.
impl Wide {
    pub const ONE: Wide = complex(1.0, 0.0);

    fn times(self, x: f64) -> Wide {
        complex(self.re * x, self.im * x)
    }

    /// Its product with i.
    fn turned(self) -> Wide {
        complex(-self.im, self.re)
    }

    /// Its product with -i.
    fn turned_back(self) -> Wide {
        complex(self.im, -self.re)
    }

    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub fn angle(self) -> f64 {
        self.im.atan2(self.re)
    }

    pub fn over(self, other: Wide) -> Wide {
        // By the larger part, so that no square overflows.
        if other.re.abs() >= other.im.abs() {
            let ratio = other.im / other.re;
            let scale = 1.0 / (other.re + other.im * ratio);
            complex((self.re + self.im * ratio) * scale, (self.im - self.re * ratio) * scale)
        } else {
            let ratio = other.re / other.im;
            let scale = 1.0 / (other.re * ratio + other.im);
            complex((self.re * ratio + self.im) * scale, (self.im * ratio - self.re) * scale)
        }
    }

    pub fn reciprocal(self) -> Wide {
        Wide::ONE.over(self)
    }

    pub fn exp(self) -> Wide {
        let size = self.re.exp();
        if self.im == 0.0 {
            return complex(size, self.im);
        }
        if size == 0.0 {
            return complex(0.0f64.copysign(self.im.cos()), 0.0f64.copysign(self.im.sin()));
        }
        complex(size * self.im.cos(), size * self.im.sin())
    }

    pub fn exp_m1(self) -> Wide {
        let half = (self.im / 2.0).sin();
        let near = self.re.exp_m1();
        complex(near - 2.0 * half * half * (near + 1.0), (near + 1.0) * self.im.sin())
    }

    pub fn ln(self) -> Wide {
        let size = self.abs();
        let near = (size - 1.0).abs() < 0.5;
        // Near 1 the size has lost what the logarithm is of.
        let re = if near {
            let (long, short) =
                if self.re.abs() > self.im.abs() { (self.re, self.im) } else { (self.im, self.re) };
            let long = long.abs();
            0.5 * ((long - 1.0) * (long + 1.0) + short * short).ln_1p()
        } else {
            size.ln()
        };
        complex(re, self.angle())
    }

    pub fn ln_1p(self) -> Wide {
        let re = 0.5 * (self.re * (2.0 + self.re) + self.im * self.im).ln_1p();
        let is_near = self.re.abs() < 0.5 && self.im.abs() < 0.5;
        let shifted = complex(1.0 + self.re, self.im);
        if is_near { complex(re, shifted.angle()) } else { shifted.ln() }
    }

    pub fn sqrt(self) -> Wide {
        if self.re == 0.0 && self.im == 0.0 {
            return complex(0.0, self.im);
        }
        if self.im.is_infinite() {
            return complex(f64::INFINITY, self.im);
        }
        let root = ((self.abs() + self.re.abs()) / 2.0).sqrt();
        let other = if root.is_infinite() { 0.0 } else { self.im.abs() / (2.0 * root) };
        if self.re >= 0.0 {
            complex(root, other.copysign(self.im))
        } else if self.re < 0.0 {
            complex(other, root.copysign(self.im))
        } else {
            complex(f64::NAN, f64::NAN)
        }
    }

    pub fn sinh(self) -> Wide {
        if self.im == 0.0 {
            return complex(self.re.sinh(), self.im);
        }
        if self.re == 0.0 {
            return complex(self.re, self.im.sin());
        }
        complex(self.re.sinh() * self.im.cos(), self.re.cosh() * self.im.sin())
    }

    pub fn cosh(self) -> Wide {
        if self.im == 0.0 || self.re == 0.0 {
            let sign = self.re * self.im;
            return complex(self.re.cosh() * self.im.cos(), sign * 0.0);
        }
        complex(self.re.cosh() * self.im.cos(), self.re.sinh() * self.im.sin())
    }

    pub fn tanh(self) -> Wide {
        if self.re.abs() > 20.0 {
            let small = 4.0 * self.im.sin() * self.im.cos() * (-2.0 * self.re.abs()).exp();
            return complex(1f64.copysign(self.re), small);
        }
        let (tan, sinh) = (self.im.tan(), self.re.sinh());
        let (beta, rho) = (1.0 + tan * tan, (1.0 + sinh * sinh).sqrt());
        if tan.is_infinite() {
            return complex(rho / sinh, 1.0 / tan);
        }
        let under = 1.0 + beta * sinh * sinh;
        complex(beta * rho * sinh / under, tan / under)
    }

    pub fn sin(self) -> Wide {
        self.turned().sinh().turned_back()
    }

    pub fn cos(self) -> Wide {
        self.turned().cosh()
    }

    pub fn tan(self) -> Wide {
        self.turned().tanh().turned_back()
    }

    /// The roots of 1 - z and of 1 + z.
    fn roots(self) -> [Wide; 2] {
        [complex(1.0 - self.re, -self.im).sqrt(), complex(1.0 + self.re, self.im).sqrt()]
    }

    pub fn asin(self) -> Wide {
        let [below, above] = self.roots();
        let product = below.conj() * above;
        complex(self.re.atan2((below * above).re), product.im.asinh())
    }

    pub fn acos(self) -> Wide {
        let [below, above] = self.roots();
        complex(2.0 * below.re.atan2(above.re), (above.conj() * below).im.asinh())
    }

    pub fn asinh(self) -> Wide {
        self.turned().asin().turned_back()
    }

    pub fn acosh(self) -> Wide {
        let below = complex(self.re - 1.0, self.im).sqrt();
        let above = complex(self.re + 1.0, self.im).sqrt();
        complex((below.conj() * above).re.asinh(), 2.0 * below.im.atan2(above.re))
    }

    pub fn atanh(self) -> Wide {
        let (re, im) = (self.re, self.im);
        let size = 0.25 * (4.0 * re / ((1.0 - re) * (1.0 - re) + im * im)).ln_1p();
        complex(size, 0.5 * (2.0 * im).atan2((1.0 - re) * (1.0 + re) - im * im))
    }

    pub fn atan(self) -> Wide {
        self.turned().atanh().turned_back()
    }

    pub fn sigmoid(self) -> Wide {
        (Wide::ONE + (-self).exp()).reciprocal()
    }

    /// Of size 1 in its direction; 0 of 0.
    pub fn sign(self) -> Wide {
        if self == Wide::ZERO { self } else { self.times(1.0 / self.abs()) }
    }

    pub fn pow(self, exponent: Wide) -> Wide {
        if self == Wide::ZERO {
            if exponent == Wide::ZERO {
                return Wide::ONE;
            }
            if exponent.re > 0.0 {
                return Wide::ZERO;
            }
        }
        (exponent * self.ln()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: Wide, b: Wide) {
        assert!((a - b).abs() <= 1e-13 * (1.0 + b.abs()), "{a:?} is not {b:?}");
    }

    #[test]
    fn functions_undo_each_other() {
        for re in [-3.0, -0.7, 0.0, 0.2, 1.1, 2.5] {
            for im in [-2.0, -0.4, 0.0, 0.3, 1.4] {
                let z = complex(re, im);
                near(z.sqrt() * z.sqrt(), z);
                near(z.exp().over(z.exp()), Wide::ONE);
                near(z.exp_m1() + Wide::ONE, z.exp());
                near(z.exp().ln().exp(), z.exp());
                near(z.sin() * z.sin() + z.cos() * z.cos(), Wide::ONE);
                near(z.tan() * z.cos(), z.sin());
                near(z.tanh() * z.cosh(), z.sinh());
                near(z.asin().sin(), z);
                near(z.acos().cos(), z);
                near(z.asinh().sinh(), z);
                near(z.acosh().cosh(), z);
                near(z.pow(complex(2.0, 0.0)), z * z);
                if z != Wide::ZERO {
                    near((z.ln_1p() - (z + Wide::ONE).ln()).exp(), Wide::ONE);
                    near(z.atan().tan(), z);
                    near(z.atanh().tanh(), z);
                    near(z.sign().times(z.abs()), z);
                    near(z.reciprocal() * z, Wide::ONE);
                }
            }
        }
        near(complex(0.0, 1.0).sigmoid() + complex(0.0, -1.0).sigmoid(), Wide::ONE);
    }
}
