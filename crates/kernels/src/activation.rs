//! Activation functions.

use crate::Isa;
use crate::error::{KernelError, check_exact};
use crate::math;
use crate::simd::{Kernel, Simd, dispatch};

/// A function of one float. NaN goes in, NaN comes out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// x
    #[default]
    None,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// min(max(x, min), max)
    Clamp {
        /// The least result.
        min: f32,
        /// The greatest result.
        max: f32,
    },
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// tanh x
    Tanh,
    /// x · sigmoid(x)
    Swish,
    /// x/2 · (1 + erf(x/√2))
    Gelu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
    GeluTanh,
    /// x · relu6(x + 3) / 6
    HardSwish,
    /// relu6(x + 3) / 6
    HardSigmoid,
    /// x, or alpha · x below 0
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// x, or alpha · (e^x - 1) below 0
    Elu {
        /// The limit below 0, negated.
        alpha: f32,
    },
    /// Elu with alpha 1.67326324, times 1.05070098
    Selu,
    /// ln(1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// e^x
    Exp,
    /// The error function.
    Erf,
}

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_SCALE: f32 = 1.050_701;

impl Activation {
    /// The bounds, when the function does nothing but clamp (None clamps to the infinities).
    pub(crate) fn clamp_range(self) -> Option<(f32, f32)> {
        match self {
            Activation::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::Relu6 => Some((0.0, 6.0)),
            Activation::Clamp { min, max } => Some((min, max)),
            _ => None,
        }
    }

    /// Replaces each value by the function of it.
    pub fn apply_in_place(self, isa: Isa, values: &mut [f32]) {
        let (to, count) = (values.as_mut_ptr(), values.len());
        // SAFETY: the slice is valid for reads and writes.
        unsafe { self.apply_raw(isa, to, to, count) }
    }

    /// Writes the function of each value of `from` to `to`.
    ///
    /// # Errors
    /// [`KernelError::Length`] when the lengths differ.
    pub fn apply(self, isa: Isa, from: &[f32], to: &mut [f32]) -> Result<(), KernelError> {
        check_exact("the output", from.len(), to.len())?;
        // SAFETY: both slices have this length.
        unsafe { self.apply_raw(isa, from.as_ptr(), to.as_mut_ptr(), from.len()) }
        Ok(())
    }

    /// # Safety
    /// `from` can be read and `to` written for `count` floats; they are the same or do not overlap.
    pub(crate) unsafe fn apply_raw(self, isa: Isa, from: *const f32, to: *mut f32, count: usize) {
        if self == Activation::None && std::ptr::eq(from, to) {
            return;
        }
        dispatch(isa, Apply { activation: self, from, to, count })
    }
}

struct Apply {
    activation: Activation,
    from: *const f32,
    to: *mut f32,
    count: usize,
}

impl Kernel for Apply {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        let half = s.splat(0.5);
        let one = s.splat(1.0);
        match self.activation {
            Activation::None => self.map(s, |x| x),
            Activation::Relu => self.map(s, |x| s.max(zero, x)),
            Activation::Relu6 => self.map(s, |x| s.min(s.splat(6.0), s.max(zero, x))),
            Activation::Clamp { min, max } => self.map(s, |x| s.min(s.splat(max), s.max(s.splat(min), x))),
            Activation::Sigmoid => self.map(s, |x| math::sigmoid(s, x)),
            Activation::Tanh => self.map(s, |x| math::tanh(s, x)),
            Activation::Swish => self.map(s, |x| {
                // Minus infinity times 0 would be NaN; the limit is 0, and below -104 the product is 0 anyway.
                s.mul(s.max(s.splat(-1e4), x), math::sigmoid(s, x))
            }),
            Activation::Gelu => self.map(s, |x| {
                let erf = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
                s.mul(s.mul(half, s.max(s.splat(-1e4), x)), s.add(one, erf))
            }),
            Activation::GeluTanh => self.map(s, |x| {
                let x = s.max(s.splat(-1e4), x);
                let cube = s.mul(s.mul(x, x), s.mul(x, s.splat(0.044_715)));
                let inner = s.mul(s.splat(0.797_884_6), s.add(x, cube));
                s.mul(s.mul(half, x), s.add(one, math::tanh(s, inner)))
            }),
            Activation::HardSwish => self.map(s, |x| s.mul(s.max(s.splat(-1e4), x), hard_sigmoid(s, x))),
            Activation::HardSigmoid => self.map(s, |x| hard_sigmoid(s, x)),
            Activation::LeakyRelu { alpha } => {
                self.map(s, |x| s.select_lt(x, zero, s.mul(x, s.splat(alpha)), x))
            }
            Activation::Elu { alpha } => self.map(s, |x| elu(s, x, alpha)),
            Activation::Selu => self.map(s, |x| s.mul(s.splat(SELU_SCALE), elu(s, x, SELU_ALPHA))),
            Activation::Softplus => self.map(s, |x| math::softplus(s, x)),
            Activation::Softsign => self.map(s, |x| s.div(x, s.add(one, s.abs(x)))),
            Activation::Exp => self.map(s, |x| math::exp(s, x)),
            Activation::Erf => self.map(s, |x| math::erf(s, x)),
        }
    }
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let shifted = s.add(x, s.splat(3.0));
    s.mul(s.min(s.splat(6.0), s.max(s.splat(0.0), shifted)), s.splat(1.0 / 6.0))
}

#[inline(always)]
fn elu<S: Simd>(s: S, x: S::V, alpha: f32) -> S::V {
    let zero = s.splat(0.0);
    // The argument is held at or below 0, where the polynomial is good; positive lanes take x itself.
    let below = math::exp_minus_1_of_negative(s, s.min(zero, x));
    s.select_lt(x, zero, s.mul(below, s.splat(alpha)), x)
}

impl Apply {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, f: impl Fn(S::V) -> S::V) {
        let mut i = 0;
        // SAFETY: `apply_raw`'s caller vouches for `count` floats on both sides, and i + LANES <= count.
        unsafe {
            while i + 2 * S::LANES <= self.count {
                let (a, b) = (s.load(self.from.add(i)), s.load(self.from.add(i + S::LANES)));
                let (a, b) = (f(a), f(b));
                s.store(self.to.add(i), a);
                s.store(self.to.add(i + S::LANES), b);
                i += 2 * S::LANES;
            }
            while i < self.count {
                let rest = (self.count - i).min(S::LANES);
                let x = f(s.load_partial(self.from.add(i), rest));
                s.store_partial(self.to.add(i), x, rest);
                i += rest;
            }
        }
    }
}
