//! ArgMax and ArgMin: the place of the largest or smallest element along an axis, of equal ones the first.
//!
//! Inputs: the tensor, and the axis (int32 or int64). Shape: the input's without the axis, which must have elements.
//! Types: numbers and bools; the output is int64 or what `output_type` says.

use tightfit_core::DType;
use tightfit_kernels::{ArgOp, arg_reduce};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ArgMax", import: |attributes| import(attributes, ArgOp::Max) },
    Registration { name: "ArgMin", import: |attributes| import(attributes, ArgOp::Min) },
];

fn import(attributes: &Attributes<'_>, op: ArgOp) -> Result<Box<dyn Operator>, OpError> {
    let dtype = attributes.dtype_or("output_type", DType::I64)?;
    if !matches!(dtype, DType::I32 | DType::I64 | DType::I16 | DType::U16) {
        return Err(OpError::attribute("output_type", format!("is {dtype}, which places are not of")));
    }
    Ok(Box::new(ArgReduce { op, dtype }))
}

/// The operator.
#[derive(Debug)]
struct ArgReduce {
    op: ArgOp,
    dtype: DType,
}

const AXIS: usize = 1;

/// The most axes of TensorFlow's kernels.
const MAX_AXES: usize = 7;

/// As TensorFlow's kernels read it: of an int64 the lower half.
fn axis_of(axis: i64, rank: usize) -> Result<usize, OpError> {
    shared::axis(axis as i32 as i64, rank)
        .ok_or_else(|| OpError::input(AXIS, format!("is {axis}, no axis of a tensor of rank {rank}")))
}

impl Operator for ArgReduce {
    fn name(&self) -> &'static str {
        match self.op {
            ArgOp::Max => "ArgMax",
            ArgOp::Min => "ArgMin",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axis) = (shared::input(inputs, 0)?, shared::input(inputs, AXIS)?);
        if !(input.dtype.is_float() || input.dtype.is_integer() || input.dtype == DType::Bool) {
            return Err(OpError::input(
                0,
                format!("is of type {}; numbers or bools are needed", input.dtype),
            ));
        }
        shared::need_type(AXIS, axis, &[DType::I32, DType::I64])?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(self.dtype, Dims::UNKNOWN)]) };
        let Some(axis) = axis.int() else {
            return Ok(vec![Fact::new(self.dtype, Dims::of_rank(dims.len().saturating_sub(1)))]);
        };
        let mut kept = dims.to_vec();
        if kept.remove(axis_of(axis, dims.len())?) == Dim::Known(0) && !input.is_bound {
            return Err(OpError::input(
                0,
                format!("is of shape {}, with nothing along axis {axis}", input.dims),
            ));
        }
        Ok(vec![Fact::new(self.dtype, Dims::new(kept))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let axis = inputs.get(AXIS).and_then(|axis| axis.int());
        match (axis, inputs.first().and_then(|input| input.dims.rank())) {
            (Some(axis), Some(rank)) if i32::try_from(axis).is_err() => {
                Err(OpError::input(AXIS, format!("is {axis}, no axis of a tensor of rank {rank}")))
            }
            _ => Ok(()),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let axis = axis_of(reshape::int(run, AXIS)?, shape.rank()).ok()?;
        reshape::set(run, 0, shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| *d))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let axis = crate::ops::shared::extent::int_input(run, AXIS)?;
        let axis = axis_of(axis, input.shape().rank())?;
        let shape = input.shape();
        if shape[axis] == 0 || (shape.rank() > MAX_AXES && shape.elements() > 0) {
            let why = format!(
                "is of shape {shape}; 1 to {MAX_AXES} axes, and elements along axis {axis}, are needed"
            );
            return Err(OpError::input(0, why));
        }
        Ok(arg_reduce(run.pool, self.op, axis, input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, dtype, refuses, scalar, tensor};
    use tightfit_core::DType;

    #[test]
    fn the_first_of_equals() {
        let x = tensor(&[2, 3], &[1.0f32, 5.0, 5.0, 2.0, 0.0, 0.0]);
        check("ArgMax", &[], &[x.clone(), scalar(-1i32)], &[tensor(&[2], &[1i64, 0])]);
        let narrow = [("output_type", dtype(DType::I32))];
        check("ArgMin", &narrow, &[x.clone(), scalar(0i64)], &[tensor(&[3], &[0i32, 1, 1])]);
        refuses("ArgMax", &[], &[x, scalar(2i32)], "no axis");
        refuses("ArgMin", &[], &[tensor(&[0, 0], &[0f32; 0]), scalar(1i32)], "nothing along");
        // Nothing is beyond infinity but what is beyond the largest number.
        let infinite = [f32::NAN, f32::INFINITY, f32::MAX, 1.0];
        check("ArgMin", &[], &[tensor(&[4], &infinite), scalar(0i32)], &[scalar(3i64)]);
        check("ArgMin", &[], &[tensor(&[3], &infinite[..3]), scalar(0i32)], &[scalar(0i64)]);
        // Denormals are 0, and the first of equals is found.
        let small = [-2.5, f32::NAN, 0.0, -104.0, 9e-41].map(half::bf16::from_f32);
        check("ArgMax", &[], &[tensor(&[5], &small), scalar(0i32)], &[scalar(2i64)]);
    }
}
