//! The numbers of linear algebra: real and complex, single and double.

use bytemuck::{Pod, Zeroable};
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::elementwise::float::Float;

/// What decompositions compute with.
pub(crate) trait Scalar:
    Pod
    + Send
    + Sync
    + PartialEq
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The type of its parts and of its size.
    type Real: Float;
    /// True for numbers with an imaginary part.
    const IS_COMPLEX: bool;
    const ZERO: Self;
    const ONE: Self;
    fn real(x: Self::Real) -> Self;
    fn re(self) -> Self::Real;
    fn im(self) -> Self::Real;
    fn conj(self) -> Self;
    fn abs(self) -> Self::Real;
    /// The square of its size.
    fn abs2(self) -> Self::Real;
    fn sqrt(self) -> Self;

    fn times(self, factor: Self::Real) -> Self {
        self * Self::real(factor)
    }

    /// The sizes of its parts, added up.
    fn norm1(self) -> Self::Real {
        Float::abs(self.re()) + Float::abs(self.im())
    }

    fn is_finite(self) -> bool {
        self.re().to_f64().is_finite() && self.im().to_f64().is_finite()
    }
}

/// The least positive number that is not denormal, and what is next to 1.
pub(crate) trait Limits: Float {
    const LEAST: Self;
}

impl Limits for f32 {
    const LEAST: f32 = f32::MIN_POSITIVE;
}

impl Limits for f64 {
    const LEAST: f64 = f64::MIN_POSITIVE;
}

/// The larger of two numbers; the first where one is NaN.
pub(crate) fn larger<R: Float>(a: R, b: R) -> R {
    if a < b { b } else { a }
}

macro_rules! real_scalar {
    ($F:ty) => {
        impl Scalar for $F {
            type Real = $F;
            const IS_COMPLEX: bool = false;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            #[inline(always)]
            fn real(x: $F) -> Self {
                x
            }
            #[inline(always)]
            fn re(self) -> $F {
                self
            }
            #[inline(always)]
            fn im(self) -> $F {
                0.0
            }
            #[inline(always)]
            fn conj(self) -> Self {
                self
            }
            #[inline(always)]
            fn abs(self) -> $F {
                <$F>::abs(self)
            }
            #[inline(always)]
            fn abs2(self) -> $F {
                self * self
            }
            fn sqrt(self) -> Self {
                <$F>::sqrt(self)
            }
        }
    };
}

real_scalar!(f32);
real_scalar!(f64);

/// A complex number as it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(crate) struct Complex<F: Float> {
    pub re: F,
    pub im: F,
}

// SAFETY: two numbers of one type, one after the other, without padding.
unsafe impl Zeroable for Complex<f32> {}
// SAFETY: the same.
unsafe impl Zeroable for Complex<f64> {}
// SAFETY: the same; every pattern of bits is a number.
unsafe impl Pod for Complex<f32> {}
// SAFETY: the same.
unsafe impl Pod for Complex<f64> {}

impl<F: Float> Add for Complex<F> {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Complex { re: self.re + b.re, im: self.im + b.im }
    }
}

impl<F: Float> Sub for Complex<F> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Complex { re: self.re - b.re, im: self.im - b.im }
    }
}

impl<F: Float> Mul for Complex<F> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Complex { re: self.re * b.re - self.im * b.im, im: self.re * b.im + self.im * b.re }
    }
}

impl<F: Float> Div for Complex<F> {
    type Output = Self;
    /// By Smith's method, which does not overflow on the way.
    fn div(self, b: Self) -> Self {
        if Float::abs(b.re) >= Float::abs(b.im) {
            let ratio = b.im / b.re;
            let size = b.re + b.im * ratio;
            Complex { re: (self.re + self.im * ratio) / size, im: (self.im - self.re * ratio) / size }
        } else {
            let ratio = b.re / b.im;
            let size = b.re * ratio + b.im;
            Complex { re: (self.re * ratio + self.im) / size, im: (self.im * ratio - self.re) / size }
        }
    }
}

impl<F: Float> Neg for Complex<F> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Complex { re: -self.re, im: -self.im }
    }
}

macro_rules! complex_scalar {
    ($F:ty) => {
        impl Scalar for Complex<$F> {
            type Real = $F;
            const IS_COMPLEX: bool = true;
            const ZERO: Self = Complex { re: 0.0, im: 0.0 };
            const ONE: Self = Complex { re: 1.0, im: 0.0 };
            #[inline(always)]
            fn real(x: $F) -> Self {
                Complex { re: x, im: 0.0 }
            }
            #[inline(always)]
            fn re(self) -> $F {
                self.re
            }
            #[inline(always)]
            fn im(self) -> $F {
                self.im
            }
            #[inline(always)]
            fn conj(self) -> Self {
                Complex { re: self.re, im: -self.im }
            }
            #[inline(always)]
            fn abs(self) -> $F {
                self.re.hypot(self.im)
            }
            #[inline(always)]
            fn abs2(self) -> $F {
                self.re * self.re + self.im * self.im
            }
            fn sqrt(self) -> Self {
                let size = self.abs();
                if size == 0.0 {
                    return Self::ZERO;
                }
                // The part without cancellation first.
                let root = ((size + self.re.abs()) / 2.0).sqrt();
                let other = self.im / (2.0 * root);
                if self.re >= 0.0 {
                    Complex { re: root, im: other }
                } else {
                    Complex { re: other.abs(), im: root.copysign(self.im) }
                }
            }
        }
    };
}

complex_scalar!(f32);
complex_scalar!(f64);
