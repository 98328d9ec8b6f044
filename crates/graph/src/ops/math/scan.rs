//! Running sums and products along an axis: Cumsum and Cumprod.
//!
//! Inputs: the tensor, and the axis (int32 or int64). Shape and type: the input's, a number. With `exclusive` each
//! element is that of the elements before it; with `reverse` the last comes first.

use tightfit_core::DType;
use tightfit_kernels::{ScanOp, scan};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Cumsum", import: |attributes| import(attributes, ScanOp::Sum) },
    Registration { name: "Cumprod", import: |attributes| import(attributes, ScanOp::Prod) },
];

fn import(attributes: &Attributes<'_>, op: ScanOp) -> Result<Box<dyn Operator>, OpError> {
    let (exclusive, reverse) =
        (attributes.bool_or("exclusive", false)?, attributes.bool_or("reverse", false)?);
    Ok(Box::new(Scan { op, exclusive, reverse }))
}

/// The operator.
#[derive(Debug)]
struct Scan {
    op: ScanOp,
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
            ScanOp::Sum => "Cumsum",
            ScanOp::Prod => "Cumprod",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axis) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
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
        Ok(scan(run.pool, self.op, axis, (self.exclusive, self.reverse), input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, scalar, tensor};

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
        refuses("Cumsum", &[], &[x, scalar(2i32)], "no axis");
    }
}
