//! Activation functions.

use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact};
use crate::base::math;
use crate::base::simd::{Kernel, Simd, dispatch};

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

/// Goes over all values with one expression of `$x`. A closure in its place would be compiled without the vector
/// instructions, and called for each vector.
macro_rules! map {
    ($apply:ident, $s:ident, $x:ident => $result:expr) => {{
        let mut i = 0;
        while i < $apply.count {
            let left = ($apply.count - i).min(S::LANES);
            let (from, to) = ($apply.from.wrapping_add(i), $apply.to.wrapping_add(i));
            // SAFETY: `apply_raw`'s caller vouches for `count` floats on both sides, of which `left` are left.
            unsafe {
                let $x = if left == S::LANES { $s.load(from) } else { $s.load_partial(from, left) };
                let result = $result;
                if left == S::LANES {
                    $s.store(to, result);
                } else {
                    $s.store_partial(to, result, left);
                }
            }
            i += left;
        }
    }};
}

impl Kernel for Apply {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        let one = s.splat(1.0);
        match self.activation {
            Activation::None => map!(self, s, x => x),
            Activation::Relu => map!(self, s, x => s.max(zero, x)),
            Activation::Relu6 => map!(self, s, x => s.min(s.splat(6.0), s.max(zero, x))),
            Activation::Clamp { min, max } => {
                let (min, max) = (s.splat(min), s.splat(max));
                map!(self, s, x => s.min(max, s.max(min, x)))
            }
            Activation::Sigmoid => map!(self, s, x => math::sigmoid(s, x)),
            Activation::Tanh => map!(self, s, x => math::tanh(s, x)),
            Activation::Swish => map!(self, s, x => s.mul(x, math::sigmoid(s, x))),
            Activation::Gelu => map!(self, s, x => gelu(s, x)),
            Activation::GeluTanh => map!(self, s, x => gelu_tanh(s, x)),
            Activation::HardSwish => map!(self, s, x => s.mul(x, hard_sigmoid(s, x))),
            Activation::HardSigmoid => map!(self, s, x => hard_sigmoid(s, x)),
            Activation::LeakyRelu { alpha } => {
                let alpha = s.splat(alpha);
                map!(self, s, x => s.select_lt(x, zero, s.mul(x, alpha), x))
            }
            Activation::Elu { alpha } => map!(self, s, x => elu(s, x, alpha)),
            Activation::Selu => map!(self, s, x => s.mul(s.splat(SELU_SCALE), elu(s, x, SELU_ALPHA))),
            Activation::Softplus => map!(self, s, x => math::softplus(s, x)),
            Activation::Softsign => map!(self, s, x => s.div(x, s.add(one, s.abs(x)))),
            Activation::Exp => map!(self, s, x => math::exp(s, x)),
            Activation::Erf => map!(self, s, x => math::erf(s, x)),
        }
    }
}

#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let erf = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), erf))
}

#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let cube = s.mul(s.mul(x, x), s.mul(x, s.splat(0.044_715)));
    let tanh = math::tanh(s, s.mul(s.splat(0.797_884_6), s.add(x, cube)));
    s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), tanh))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A published approximation is no reference for 1e-6: the series, and for large x the continued fraction.
    fn erf(x: f64) -> f64 {
        let magnitude = x.abs();
        let result = if magnitude < 2.5 {
            let mut term = magnitude;
            let mut sum = term;
            for n in 1..100 {
                term *= -magnitude * magnitude / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            std::f64::consts::FRAC_2_SQRT_PI * sum
        } else {
            let tail = (1..60).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (magnitude + tail));
            1.0 - (-magnitude * magnitude).exp() / (magnitude + tail) / std::f64::consts::PI.sqrt()
        };
        result.copysign(x)
    }

    fn reference(activation: Activation, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let elu = |alpha: f64| if x < 0.0 { alpha * x.exp_m1() } else { x };
        match activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Clamp { min, max } => x.clamp(f64::from(min), f64::from(max)),
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Swish => x * sigmoid(x),
            Activation::Gelu => x / 2.0 * (1.0 + erf(x / 2f64.sqrt())),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                x / 2.0 * (1.0 + inner.tanh())
            }
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            Activation::Elu { alpha } => elu(f64::from(alpha)),
            Activation::Selu => 1.050_700_987_355_480_5 * elu(1.673_263_242_354_377_2),
            Activation::Softplus => {
                if x > 30.0 {
                    x
                } else {
                    x.exp().ln_1p()
                }
            }
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Exp => x.exp(),
            Activation::Erf => erf(x),
        }
    }

    const ALL: [Activation; 18] = [
        Activation::None,
        Activation::Relu,
        Activation::Relu6,
        Activation::Clamp { min: -0.5, max: 1.5 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Swish,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::LeakyRelu { alpha: 0.2 },
        Activation::Elu { alpha: 0.7 },
        Activation::Selu,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Exp,
        Activation::Erf,
    ];

    fn isas() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    #[test]
    fn agrees_with_the_definitions() {
        let mut inputs: Vec<f32> = (-20_000..20_000).map(|i| i as f32 * 1e-3 + 1.7e-4).collect();
        inputs.extend((-300..300).flat_map(|e| [1.37 * 1.1f32.powi(e / 4), -1.37 * 1.1f32.powi(e)]));
        inputs.extend([0.0, 0.34, -0.34, 0.625, -0.625, 1.0, -1.0, 4.0, -4.0, 88.0, -87.0, 60.5, -60.5]);
        inputs.retain(|x| x.abs() < 87.0);
        for (isa, activation) in isas().flat_map(|isa| ALL.map(|a| (isa, a))) {
            let mut outputs = vec![0.0; inputs.len()];
            activation.apply(isa, &inputs, &mut outputs).unwrap();
            let mut in_place = inputs.clone();
            activation.apply_in_place(isa, &mut in_place);
            assert_eq!(outputs, in_place);
            for (x, y) in inputs.iter().zip(&outputs) {
                let expected = reference(activation, f64::from(*x));
                // 1 + erf and 1 + tanh cancel for negative x, in TensorFlow's kernels as well; x + 3 does near -3.
                let absolute = match activation {
                    Activation::Gelu | Activation::GeluTanh => 2e-7 * f64::from(x.abs()),
                    Activation::HardSwish | Activation::HardSigmoid => 1e-6,
                    _ => 1e-37,
                };
                let error = (f64::from(*y) - expected).abs();
                assert!(
                    error <= 1e-6 * expected.abs() + absolute,
                    "{activation:?} of {x} is {expected}, not {y}, on {isa:?}"
                );
            }
        }
    }

    #[test]
    fn limits() {
        let infinity = f32::INFINITY;
        for isa in isas() {
            let of = |activation: Activation, x: f32| {
                let mut values = [x; 5];
                activation.apply_in_place(isa, &mut values);
                values[4]
            };
            for activation in ALL {
                assert!(of(activation, f32::NAN).is_nan(), "{activation:?} on {isa:?}");
            }
            for (activation, low, high) in [
                (Activation::Sigmoid, 0.0, 1.0),
                (Activation::Tanh, -1.0, 1.0),
                (Activation::Erf, -1.0, 1.0),
                (Activation::Exp, 0.0, infinity),
                (Activation::HardSigmoid, 0.0, 1.0),
                (Activation::Softplus, 0.0, infinity),
                (Activation::Relu6, 0.0, 6.0),
                (Activation::Elu { alpha: 2.0 }, -2.0, infinity),
            ] {
                assert_eq!(of(activation, -infinity), low, "{activation:?} on {isa:?}");
                assert_eq!(of(activation, infinity), high, "{activation:?} on {isa:?}");
            }
            // Minus infinity times 0, as where they are computed apart.
            for activation in
                [Activation::Swish, Activation::Gelu, Activation::GeluTanh, Activation::HardSwish]
            {
                assert!(of(activation, -infinity).is_nan(), "{activation:?} on {isa:?}");
                assert_eq!(of(activation, infinity), infinity, "{activation:?} on {isa:?}");
            }
            assert_eq!(of(Activation::Exp, 0.0), 1.0);
            assert_eq!(of(Activation::Exp, 88.8), infinity);
            assert!(of(Activation::Exp, 88.7) < infinity);
            assert_eq!(of(Activation::Exp, -110.0), 0.0);
            assert_eq!(of(Activation::Tanh, -0.0).to_bits(), (-0.0f32).to_bits());
        }
    }
}
