//! Activation functions of float32, over slices and over the sums of a product.

use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact};
use crate::base::simd::dispatch;
use crate::elementwise::functions::{Activation, Apply};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::functions::{FunctionRow, UnaryOp, map_floats};

    /// erf and 1 - erf. A published approximation is no reference for 1e-6: the series, and for large x the continued
    /// fraction.
    fn error_functions(x: f64) -> (f64, f64) {
        let magnitude = x.abs();
        let (erf, erfc) = if magnitude < 2.5 {
            let mut term = magnitude;
            let mut sum = term;
            for n in 1..100 {
                term *= -magnitude * magnitude / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            let erf = std::f64::consts::FRAC_2_SQRT_PI * sum;
            (erf, 1.0 - erf)
        } else {
            let tail = (1..60).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (magnitude + tail));
            let erfc = (-magnitude * magnitude).exp() / (magnitude + tail) / std::f64::consts::PI.sqrt();
            (1.0 - erfc, erfc)
        };
        if x < 0.0 { (-erf, 2.0 - erfc) } else { (erf, erfc) }
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
            Activation::Gelu => x / 2.0 * error_functions(-x / 2f64.sqrt()).1,
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
            Activation::Elu => elu(1.0),
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
            Activation::Erf => error_functions(x).0,
            Activation::Erfc => error_functions(x).1,
            #[allow(unreachable_patterns)]
            other => defined(other, x),
        }
    }

    /// The definition of a function in the table, for those that have no reference of their own above.
    fn defined(activation: Activation, x: f64) -> f64 {
        let is_it = |row: &&FunctionRow| [row.op.of_f32(), row.op.epilogue()].contains(&Some(activation));
        let row = UnaryOp::TABLE.iter().find(is_it).unwrap();
        let mut values = [x];
        map_floats(Isa::Portable, row.op, &mut values);
        values[0]
    }

    fn all() -> impl Iterator<Item = Activation> {
        let with_parameters = [
            Activation::None,
            Activation::Clamp { min: -0.5, max: 1.5 },
            Activation::LeakyRelu { alpha: 0.2 },
        ];
        with_parameters.into_iter().chain(Activation::ALL.iter().copied())
    }

    fn isas() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    #[test]
    fn agrees_with_the_definitions() {
        let mut inputs: Vec<f32> = (-20_000..20_000).map(|i| i as f32 * 1e-3 + 1.7e-4).collect();
        inputs.extend((-300..300).flat_map(|e| [1.37 * 1.1f32.powi(e / 4), -1.37 * 1.1f32.powi(e)]));
        inputs.extend([0.0, 0.34, -0.34, 0.625, -0.625, 1.0, -1.0, 4.0, -4.0, 88.0, -87.0, 60.5, -60.5]);
        inputs.retain(|x| x.abs() < 87.0);
        for (isa, activation) in isas().flat_map(|isa| all().map(move |a| (isa, a))) {
            let mut outputs = vec![0.0; inputs.len()];
            activation.apply(isa, &inputs, &mut outputs).unwrap();
            let mut in_place = inputs.clone();
            activation.apply_in_place(isa, &mut in_place);
            assert_eq!(outputs, in_place);
            for (x, y) in inputs.iter().zip(&outputs) {
                let expected = reference(activation, f64::from(*x));
                // 1 + tanh cancels for negative x, in TensorFlow's kernel as well; x + 3 does near -3. What x / sqrt 2 is
                // rounded by, erfc multiplies by the square.
                let absolute = match activation {
                    Activation::Gelu => 1e-7 * f64::from(x * x) * expected.abs() + 1e-37,
                    Activation::GeluTanh => 2e-7 * f64::from(x.abs()),
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
    fn the_references_are_what_the_table_says() {
        for activation in Activation::ALL {
            for x in [-20.0, -3.5, -1.0, -0.25, 0.0, 0.5, 1.75, 6.5, 20.0] {
                let (expected, defined) = (reference(*activation, x), defined(*activation, x));
                let error = (expected - defined).abs();
                assert!(
                    error <= 1e-12 * expected.abs().max(1.0),
                    "{activation:?} of {x}: {expected}, {defined}"
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
            for activation in all() {
                assert!(of(activation, f32::NAN).is_nan(), "{activation:?} on {isa:?}");
            }
            for (activation, low, high) in [
                (Activation::Sigmoid, 0.0, 1.0),
                (Activation::Tanh, -1.0, 1.0),
                (Activation::Erf, -1.0, 1.0),
                (Activation::Erfc, 2.0, 0.0),
                (Activation::Exp, 0.0, infinity),
                (Activation::HardSigmoid, 0.0, 1.0),
                (Activation::Softplus, 0.0, infinity),
                (Activation::Relu6, 0.0, 6.0),
                (Activation::Elu, -1.0, infinity),
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
