//! Softmax and LogSoftmax over the last axis.
//!
//! Shape: the input's, of rank 1 or more. Types: every float type (float16 and bfloat16 are computed in float32). The
//! output may take the input's memory.

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Softmax", import: |_| Ok(Box::new(Softmax { is_log: false })) },
    Registration { name: "LogSoftmax", import: |_| Ok(Box::new(Softmax { is_log: true })) },
];

/// The operator.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    /// The logarithm of it.
    pub is_log: bool,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        if self.is_log { "LogSoftmax" } else { "Softmax" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_float(0, input)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.src(0)?;
        let mut output = run.output(0)?;
        if self.is_log {
            Ok(tightfit_kernels::log_softmax(run.pool, input, &mut output)?)
        } else {
            Ok(tightfit_kernels::softmax(run.pool, input, &mut output)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, refuses, refuses_shapes_as_it_runs, scalar, tensor};

    #[test]
    fn rows_add_up_to_one() {
        let values = [1.0f32, 2.0, 3.0, -1.0, 1000.0, 0.0];
        let mut expected = [0.0; 6];
        for (row, out) in values.chunks(3).zip(expected.chunks_mut(3)) {
            let max = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = row.iter().map(|x| (x - max).exp()).sum();
            out.iter_mut().zip(row).for_each(|(o, x)| *o = (x - max).exp() / sum);
        }
        check_close("Softmax", &[], &[tensor(&[2, 3], &values)], &tensor(&[2, 3], &expected), 1e-6);
        let logs = expected.map(f32::ln);
        let first = tensor(&[3], &values[..3]);
        check_close("LogSoftmax", &[], &[first], &tensor(&[3], &logs[..3]), 1e-6);
        refuses("Softmax", &[], &[scalar(1.0f32)], "rank 1 or more");
        refuses_shapes_as_it_runs("LogSoftmax", &[], &[scalar(1.0f32)], "rank 1 or more");
        refuses("Softmax", &[], &[tensor(&[1], &[1i32])], "int32");
    }
}
