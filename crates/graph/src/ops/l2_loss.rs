//! L2Loss: half the sum of the squares of all elements, a scalar. Types: every float type.

use tightfit_core::MAX_RANK;
use tightfit_kernels::{ReduceOp, reduce};

use super::Registration;
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Run};

pub(super) const OPS: &[Registration] = &[Registration { name: "L2Loss", import: |_| Ok(Box::new(L2Loss)) }];

/// The operator.
#[derive(Debug)]
struct L2Loss;

impl Operator for L2Loss {
    fn name(&self) -> &'static str {
        "L2Loss"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = super::input(inputs, 0)?;
        super::need_float(0, input)?;
        Ok(vec![Fact::new(input.dtype, Dims::scalar())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let axes: [usize; MAX_RANK] = std::array::from_fn(|axis| axis);
        let mut output = run.output(0)?;
        Ok(reduce(run.pool, ReduceOp::L2Loss, &axes[..input.shape().rank()], input, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor};

    #[test]
    fn half_the_squares() {
        check("L2Loss", &[], &[tensor(&[2, 2], &[1.0f32, 2.0, 3.0, 4.0])], &[scalar(15.0f32)]);
        check("L2Loss", &[], &[tensor(&[0], &[0.0f64; 0])], &[scalar(0.0f64)]);
        // Each square is a float16, the sum of them is not before it is halved.
        let halves = |values: &[f32]| values.iter().map(|x| half::f16::from_f32(*x)).collect::<Vec<_>>();
        check(
            "L2Loss",
            &[],
            &[tensor(&[2], &halves(&[250.0, 250.0]))],
            &[scalar(half::f16::from_f32(62500.0))],
        );
        check("L2Loss", &[], &[tensor(&[1], &halves(&[300.0]))], &[scalar(half::f16::INFINITY)]);
        refuses("L2Loss", &[], &[scalar(1i32)], "int32");
    }
}
