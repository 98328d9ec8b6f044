//! The regularised incomplete beta function: Betainc.
//!
//! Inputs: a, b and x of float32 or float64, all of one shape but for scalars. Output: their shape.

use tightfit_core::DType;
use tightfit_kernels::betainc;

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::same_dims;

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "Betainc", import: |_| Ok(Box::new(Betainc)) }];

/// The operator.
#[derive(Debug)]
struct Betainc;

impl Operator for Betainc {
    fn name(&self) -> &'static str {
        "Betainc"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        let mut has_open_rank = false;
        for at in 0..3 {
            let input = shared::input(inputs, at)?;
            shared::need_type(at, input, &[DType::F32, DType::F64])?;
            shared::need_type(at, input, &[first.dtype])?;
            has_open_rank |= input.dims.rank().is_none();
        }
        let others =
            inputs.iter().copied().take(3).enumerate().filter(|(_, fact)| fact.dims.rank() != Some(0));
        let dims = same_dims(others)?;
        // One of which nothing is known may be a scalar, or have what the others leave open.
        let all_scalar = inputs.iter().take(3).all(|fact| fact.dims.rank() == Some(0));
        let dims = match (all_scalar, has_open_rank && dims.rank().is_none()) {
            (true, _) => Dims::scalar(),
            (_, true) => Dims::UNKNOWN,
            _ => dims,
        };
        Ok(vec![Fact::new(first.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shapes = [0, 1, 2].map(|input| run.shape(input));
        let shape = shapes.into_iter().find(|shape| shape.rank() > 0).unwrap_or(shapes[0]);
        shapes.iter().all(|own| own.rank() == 0 || *own == shape).then_some(())?;
        run.set_output_shape(0, shape).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let inputs = [run.input(0)?, run.input(1)?, run.input(2)?];
        Ok(betainc(run.pool, inputs, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, refuses, scalar, tensor};

    #[test]
    fn scalars_go_with_any_shape() {
        let inputs = [scalar(1.0f32), tensor(&[2], &[3.0f32, 1.0]), scalar(0.3f32)];
        check_close("Betainc", &[], &inputs, &tensor(&[2], &[1.0 - 0.7f32.powi(3), 0.3]), 1e-6);
        // The ends of the range are the same of NaN too; infinite shapes are none.
        let ends = [scalar(f32::NAN), scalar(2.0f32), tensor(&[3], &[1.0f32, 0.0, 0.5])];
        let found = crate::testing::run("Betainc", &[], &ends).unwrap();
        let found = found[0].values::<f32>();
        assert!(found[..2] == [1.0, 0.0] && found[2].is_nan(), "{found:?}");
        let zero = [scalar(2.0f64), scalar(2.0f64), scalar(-0.0f64)];
        crate::testing::check("Betainc", &[], &zero, &[scalar(0.0f64)]);
        let bad = [tensor(&[1], &[1.0f32]), tensor(&[2], &[3.0f32, 1.0]), scalar(0.3f32)];
        refuses("Betainc", &[], &bad, "");
    }
}
