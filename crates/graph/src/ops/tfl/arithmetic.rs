//! Sums, differences and products of quantised tensors: tfl.add, tfl.sub, tfl.mul, tfl.squared_difference.
//!
//! int8, uint8 and int16, each input with a scale and a zero point of its own; shapes are broadcast. The attribute
//! `fused_activation_function` bounds the output, `pot_scale_int16` says that int16 of scales that are powers of two are only
//! shifted.

use tightfit_core::DType;
use tightfit_kernels::{Affine, AffinePair, AffinePairOp, Multiplier};

use super::affine::{self, Fused};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.add", import: |a| import(a, "tfl.add", AffinePairOp::Add) },
    Registration { name: "tfl.sub", import: |a| import(a, "tfl.sub", AffinePairOp::Sub) },
    Registration { name: "tfl.mul", import: |a| import(a, "tfl.mul", AffinePairOp::Mul) },
    Registration {
        name: "tfl.squared_difference",
        import: |a| import(a, "tfl.squared_difference", AffinePairOp::SquaredDifference),
    },
];

fn import(
    attributes: &Attributes<'_>,
    name: &'static str,
    op: AffinePairOp,
) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Pair {
        name,
        op,
        inputs: [affine::input(attributes, 0)?, affine::input(attributes, 1)?],
        output: affine::output(attributes)?,
        activation: Fused::import(attributes)?,
        is_shifted: attributes.bool_or("pot_scale_int16", false)?,
    }))
}

/// The operator.
#[derive(Debug)]
pub struct Pair {
    name: &'static str,
    op: AffinePairOp,
    inputs: [Affine; 2],
    output: Affine,
    activation: Fused,
    is_shifted: bool,
}

/// The exponent of a scale that is a power of two.
fn exponent(scale: f32) -> Option<i32> {
    let log = scale.ln() * (1.0 / 2f32.ln());
    ((log - log.round()).abs() < 1e-3).then_some(log.round() as i32)
}

impl Pair {
    fn kernel(&self, dtype: DType) -> Result<AffinePair, OpError> {
        let [a, b] = self.inputs;
        let bounds = self.activation.bounds(dtype, self.output)?;
        let mut pair = AffinePair {
            op: self.op,
            zeros: [a.zero, b.zero],
            left_shift: 0,
            inputs: [Multiplier::default(); 2],
            shifts: None,
            output: Multiplier::default(),
            zero: self.output.zero,
            bounds,
        };
        if self.op == AffinePairOp::Mul {
            // Of floats, as TFLite multiplies them.
            pair.output = Multiplier::of((a.scale * b.scale / self.output.scale) as f64);
            return Ok(pair);
        }
        if let (true, DType::I16, Some(shifts)) = (self.is_shifted, dtype, self.shifts()) {
            pair.shifts = Some(shifts);
            pair.output = Multiplier { value: 1 << 30, shift: 1 };
            return Ok(pair);
        }
        let squares = self.op == AffinePairOp::SquaredDifference;
        pair.left_shift = match (squares, dtype) {
            (true, _) => 7,
            (false, DType::I16) => 15,
            _ => 20,
        };
        let twice = 2.0 * a.scale.max(b.scale) as f64;
        pair.inputs = [a, b].map(|input| Multiplier::of(input.scale as f64 / twice));
        let shifted = (1u64 << (pair.left_shift * (1 + squares as u32))) as f32;
        let numerator = if squares { twice * twice } else { twice };
        pair.output = Multiplier::of(numerator / (shifted * self.output.scale) as f64);
        Ok(pair)
    }

    /// How far integers of powers of two are shifted to the right, one of them not at all.
    fn shifts(&self) -> Option<[u32; 2]> {
        let output = exponent(self.output.scale)?;
        let shift = |input: &Affine| Some(u32::try_from(output - exponent(input.scale)?).ok()?.min(31));
        let shifts = [shift(&self.inputs[0])?, shift(&self.inputs[1])?];
        shifts.contains(&0).then_some(shifts)
    }
}

impl Operator for Pair {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, a, &[DType::I8, DType::U8, DType::I16])?;
        shared::need_type(1, b, &[a.dtype])?;
        Ok(vec![Fact::new(a.dtype, shared::broadcast(a, b)?)])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0, 1])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::elementwise(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let kernel = self.kernel(run.output_dtype(0))?;
        let (a, b, pool) = (run.src(0)?, run.src(1)?, run.pool);
        Ok(kernel.run(pool, a, b, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, floats, ints, refuses, tensor, text};

    #[test]
    fn inputs_of_other_scales_are_added() {
        let attributes = [
            ("input_scale", floats(&[0.1, 0.025])),
            ("input_zero_point", ints(&[10, -128])),
            ("output_scale", floats(&[0.05])),
            ("output_zero_point", ints(&[-50])),
        ];
        let inputs = [tensor(&[2, 2], &[10i8, 20, -10, 100]), tensor(&[2], &[-128i8, -28])];
        // 0 + 0, 1 + 2.5, -2 + 0, 9 + 2.5
        check("tfl.add", &attributes, &inputs, &[tensor(&[2, 2], &[-50i8, 20, -90, 127])]);
        check("tfl.sub", &attributes, &inputs, &[tensor(&[2, 2], &[-50i8, -80, -90, 80])]);
        check("tfl.mul", &attributes, &inputs, &[tensor(&[2, 2], &[-50i8, 0, -50, 127])]);
        let relu = [attributes.as_slice(), &[("fused_activation_function", text("RELU6"))]].concat();
        check("tfl.add", &relu, &inputs, &[tensor(&[2, 2], &[-50i8, 20, -50, 70])]);
        let mut wrong = attributes;
        wrong[0].1 = floats(&[0.1, -1.0]);
        refuses("tfl.add", &wrong, &inputs, "positive");
    }
}
