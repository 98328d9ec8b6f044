//! LRN: each element over a power of the squares of its neighbouring channels, `x / (bias + alpha * sum)^beta`, the sum
//! over channels (last axis) at most `depth_radius` away.
//!
//! Shape: the input's, `[batch, height, width, channels]`. float32 (float16 and bfloat16 are converted around it).

use tightfit_core::DType;
use tightfit_kernels::{LocalResponse, local_response_norm};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "LRN", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let radius = attributes.int_or("depth_radius", 5)?;
    let depth_radius = usize::try_from(radius)
        .map_err(|_| OpError::attribute("depth_radius", format!("is {radius}; it must not be negative")))?;
    Ok(Box::new(Lrn {
        norm: LocalResponse {
            depth_radius,
            bias: attributes.float_of_type_or("bias", 1.0)?,
            alpha: attributes.float_of_type_or("alpha", 1.0)?,
            beta: attributes.float_of_type_or("beta", 0.5)?,
        },
    }))
}

/// The operator.
#[derive(Debug)]
struct Lrn {
    norm: LocalResponse,
}

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "LRN"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32])?;
        shared::dims_of_rank(0, input, 4)?;
        Ok(vec![Fact::new(DType::F32, input.dims.clone())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        Ok(local_response_norm(run.pool, self.norm, input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, float, int, run, tensor};

    #[test]
    fn neighbours_count() {
        let x = [1.0f32, 2.0, 3.0, 4.0];
        let attributes =
            [("depth_radius", int(1)), ("bias", float(1.0)), ("alpha", float(0.5)), ("beta", float(1.0))];
        let sums = [5.0f32, 14.0, 29.0, 25.0];
        let expected: Vec<f32> = x.iter().zip(sums).map(|(x, s)| x / (1.0 + 0.5 * s)).collect();
        let inputs = [tensor(&[1, 1, 1, 4], &x)];
        check_close("LRN", &attributes, &inputs, &tensor(&[1, 1, 1, 4], &expected), 1e-6);
        // The power is that of a logarithm.
        for (bias, beta) in [(f32::NAN, 0.0), (-1.0, 2.0), (f32::INFINITY, 0.0)] {
            let attributes = [("alpha", float(0.0)), ("bias", float(bias)), ("beta", float(beta))];
            let output = run("LRN", &attributes, &inputs).unwrap();
            assert!(output[0].values::<f32>().iter().all(|x| x.is_nan()), "{bias} {beta}");
        }
    }
}
