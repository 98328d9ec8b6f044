//! The nearest rows that do not rise: IsotonicRegression.
//!
//! Input: `[.., n]`, numbers. Outputs: the nearest values by squares, floats of type `output_dtype`, and the numbers of the
//! runs of equal ones, int32; both of the input's shape.

use tightfit_core::DType;
use tightfit_kernels::isotonic_regression;

use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration {
    name: "IsotonicRegression",
    import: |a| Ok(Box::new(IsotonicRegression { dtype: a.dtype_or("output_dtype", DType::F32)? })),
}];

/// The operator.
#[derive(Debug)]
struct IsotonicRegression {
    dtype: DType,
}

impl Operator for IsotonicRegression {
    fn name(&self) -> &'static str {
        "IsotonicRegression"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !(input.dtype.is_float() || input.dtype.is_integer()) || input.dims.rank() == Some(0) {
            return Err(OpError::input(0, format!("is {input}; rows of numbers are needed")));
        }
        Ok(vec![Fact::new(self.dtype, input.dims.clone()), Fact::new(DType::I32, input.dims.clone())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(call.inputs.first().and_then(|input| input.shape.last()).map_or(16, |n| n * 16))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, scratch) = (run.input(0)?, run.scratch()?);
        let (mut output, mut segments) = (run.output(0)?, run.output(1)?);
        Ok(isotonic_regression(input, &mut output, &mut segments, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, tensor};

    #[test]
    fn rises_become_their_mean() {
        let input = tensor(&[2, 3], &[1i32, 2, 0, 1, 2, 6]);
        let (values, segments) =
            (tensor(&[2, 3], &[1.5f32, 1.5, 0.0, 3.0, 3.0, 3.0]), tensor(&[2, 3], &[0i32, 0, 1, 0, 0, 0]));
        check("IsotonicRegression", &[], &[input], &[values, segments]);
    }
}
