//! Sums and means of quantised numbers over axes: tfl.mean, tfl.sum.
//!
//! int8, uint8 and int16; the second input lists the axes, as integers, and `keep_dims` leaves them with size 1. The output has a
//! scale and a zero point of its own.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{AffineSum, Multiplier, ReduceOp};

use super::affine;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::math::reduce::{Reduce, reduced_axes};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.mean", import: |a| import(a, true) },
    Registration { name: "tfl.sum", import: |a| import(a, false) },
];

fn import(attributes: &Attributes<'_>, is_mean: bool) -> Result<Box<dyn Operator>, OpError> {
    let (input, output) = (affine::input(attributes, 0)?, affine::output(attributes)?);
    let sum = AffineSum {
        is_mean,
        multiplier: Multiplier::of(input.scale as f64 / output.scale as f64),
        from_zero: input.zero,
        zero: output.zero,
    };
    let op = if is_mean { ReduceOp::Mean } else { ReduceOp::Sum };
    Ok(Box::new(Sum { sum, shape: Reduce { op, keep_dims: attributes.bool_or("keep_dims", false)? } }))
}

/// The operator.
#[derive(Debug)]
struct Sum {
    sum: AffineSum,
    /// The same of plain integers, whose output's shape it is.
    shape: Reduce,
}

impl Operator for Sum {
    fn name(&self) -> &'static str {
        if self.sum.is_mean { "tfl.mean" } else { "tfl.sum" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::need_type(0, shared::input(inputs, 0)?, &[DType::I8, DType::U8, DType::I16])?;
        self.shape.infer(inputs)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        self.shape.reshape(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool) = (run.input(0)?, run.pool);
        let is_reduced = reduced_axes(&run.ints::<MAX_RANK>(1)?, input.shape().rank())?;
        Ok(self.sum.run(pool, &is_reduced, input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, floats, ints, tensor};

    #[test]
    fn means_have_a_scale_of_their_own() {
        let attributes = [
            ("input_scale", floats(&[0.5])),
            ("input_zero_point", ints(&[1])),
            ("output_scale", floats(&[0.25])),
            ("output_zero_point", ints(&[-1])),
            ("keep_dims", flag(true)),
        ];
        let x = tensor(&[2, 2], &[1i8, 3, 5, 9]);
        let inputs = [x, tensor(&[1], &[1i32])];
        check("tfl.mean", &attributes, &inputs, &[tensor(&[2, 1], &[1i8, 11])]);
        check("tfl.sum", &attributes, &inputs, &[tensor(&[2, 1], &[3i8, 23])]);
    }
}
