//! Running sums and products along an axis: Cumsum, Cumprod, and CumulativeLogsumexp, which is the logarithm of the sum of
//! exponentials.
//!
//! Inputs: the tensor, and the axis (int32 or int64). Shape and type: the input's, a number, for CumulativeLogsumexp a
//! float. With `exclusive` each element is that of the elements before it; with `reverse` the last comes first.

use tightfit_core::DType;
use tightfit_kernels::{ScanOp, cumulative_logsumexp, scan};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Cumsum", import: |attributes| import(attributes, Some(ScanOp::Sum)) },
    Registration { name: "Cumprod", import: |attributes| import(attributes, Some(ScanOp::Prod)) },
    Registration { name: "CumulativeLogsumexp", import: |attributes| import(attributes, None) },
];

fn import(attributes: &Attributes<'_>, op: Option<ScanOp>) -> Result<Box<dyn Operator>, OpError> {
    let (exclusive, reverse) =
        (attributes.bool_or("exclusive", false)?, attributes.bool_or("reverse", false)?);
    Ok(Box::new(Scan { op, exclusive, reverse }))
}

/// The operator.
#[derive(Debug)]
struct Scan {
    /// `None` for the logarithm of sums of exponentials.
    op: Option<ScanOp>,
    exclusive: bool,
    reverse: bool,
}

fn axis_of(axis: i64, rank: usize) -> Result<usize, OpError> {
    shared::axis(axis, rank)
        .ok_or_else(|| OpError::input(1, format!("is {axis}, no axis of a tensor of rank {rank}")))
}

impl Operator for Scan {
    fn name(&self) -> &'static str {
        match self.op {
            Some(ScanOp::Sum) => "Cumsum",
            Some(ScanOp::Prod) => "Cumprod",
            None => "CumulativeLogsumexp",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axis) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        if self.op.is_none() {
            shared::need_float(0, input)?;
        }
        if !(input.dtype.is_float() || input.dtype.is_integer() || input.dtype.is_complex()) {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", input.dtype)));
        }
        shared::need_type(1, axis, &[DType::I32, DType::I64])?;
        if let (Some(axis), Some(rank)) = (axis.int(), input.dims.rank()) {
            axis_of(axis, rank)?;
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let axis = crate::ops::shared::extent::int_input(run, 1)?;
        let axis = axis_of(axis, input.shape().rank())?;
        let (pool, direction) = (run.pool, (self.exclusive, self.reverse));
        match self.op {
            Some(op) => scan(pool, op, axis, direction, input, &mut run.output(0)?)?,
            None => cumulative_logsumexp(pool, axis, direction, input, &mut run.output(0)?)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, refuses_shapes_as_it_runs, run, scalar, tensor};

    #[test]
    fn runs_along_the_axis() {
        let x = tensor(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        check("Cumsum", &[], &[x.clone(), scalar(1i32)], &[tensor(&[2, 3], &[1i32, 3, 6, 4, 9, 15])]);
        check(
            "Cumprod",
            &[("exclusive", flag(true)), ("reverse", flag(true))],
            &[x.clone(), scalar(-2i64)],
            &[tensor(&[2, 3], &[4i32, 5, 6, 1, 1, 1])],
        );
        refuses("Cumsum", &[], &[x.clone(), scalar(2i32)], "no axis");
        let vector = [x, tensor(&[1], &[1i32])];
        refuses("Cumsum", &[], &vector, "a scalar is needed");
        refuses_shapes_as_it_runs("Cumsum", &[], &vector, "a scalar is needed");
    }

    #[test]
    fn logarithms_of_infinities() {
        const INF: f32 = f32::INFINITY;
        let x = tensor(&[6], &[-INF, -INF, 1.0f32, INF, -INF, 0.0]);
        let expected = tensor(&[6], &[-INF, -INF, 1.0f32, INF, INF, INF]);
        check("CumulativeLogsumexp", &[], &[x, scalar(0i32)], &[expected]);
        let of_two =
            run("CumulativeLogsumexp", &[], &[tensor(&[3], &[INF, INF, 1.0]), scalar(0i32)]).unwrap();
        let sums: Vec<f32> = of_two[0].values();
        assert!(sums[0] == INF && sums[1].is_nan() && sums[2].is_nan(), "{sums:?}");
    }
}
