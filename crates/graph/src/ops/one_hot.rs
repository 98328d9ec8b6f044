//! OneHot: a new axis with one value where its index says, and another elsewhere.
//!
//! Inputs: indices of uint8, int8, int32 or int64, the size `depth` of the new axis, and the scalars `on_value` and
//! `off_value` of any one type. Attribute `axis` says where the new axis goes, -1 for last. An index that is not below
//! `depth` or is negative has no place: all are `off_value`.

use tightfit_core::DType;
use tightfit_kernels::one_hot;

use super::Registration;
use super::extent::{need_index_type, not_negative};
use crate::attributes::Attributes;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Run};
use crate::reshape;

pub(super) const OPS: &[Registration] = &[Registration { name: "OneHot", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.int_or("axis", -1)? {
        axis @ ..-1 => Err(OpError::attribute("axis", format!("is {axis}; at least -1 is needed"))),
        axis => Ok(Box::new(OneHot { axis })),
    }
}

/// The operator.
#[derive(Debug)]
struct OneHot {
    axis: i64,
}

impl OneHot {
    /// Where the new axis is, in a result of `rank`.
    fn axis(&self, rank: usize) -> Result<usize, OpError> {
        let why = || {
            OpError::attribute("axis", format!("is {}, no axis of a tensor of {rank} dimensions", self.axis))
        };
        super::axis(self.axis, rank).ok_or_else(why)
    }
}

impl Operator for OneHot {
    fn name(&self) -> &'static str {
        "OneHot"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (indices, depth) = (super::input(inputs, 0)?, super::input(inputs, 1)?);
        let (on, off) = (super::input(inputs, 2)?, super::input(inputs, 3)?);
        super::need_type(0, indices, &[DType::U8, DType::I8, DType::I32, DType::I64])?;
        need_index_type(1, depth)?;
        super::need_type(3, off, &[on.dtype])?;
        for (i, scalar) in [(1, depth), (2, on), (3, off)] {
            if scalar.dims.elements().known().is_some_and(|n| n != 1) {
                return Err(OpError::input(i, format!("is of shape {}; a scalar is needed", scalar.dims)));
            }
        }
        let Some(dims) = indices.dims.get() else { return Ok(vec![Fact::new(on.dtype, Dims::UNKNOWN)]) };
        let size = depth.dims_value().and_then(|v| v.first().copied()).unwrap_or(Dim::Unknown);
        let mut dims = dims.to_vec();
        dims.insert(self.axis(dims.len() + 1)?, not_negative(1, size)?);
        Ok(vec![Fact::new(on.dtype, Dims::new(dims))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let axis = self.axis(shape.rank() + 1).ok()?;
        let depth = usize::try_from(reshape::int(run, 1)?).ok()?;
        let (before, after) = shape.split_at(axis);
        reshape::set(run, 0, before.iter().copied().chain([depth]).chain(after.iter().copied()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (indices, on, off) = (run.input(0)?, run.input(2)?, run.input(3)?);
        let mut output = run.output(0)?;
        let axis = self.axis(output.shape().rank())?;
        Ok(one_hot(run.pool, axis, indices, (on.bytes(), off.bytes()), &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn marks_places() {
        let rest = [scalar(2i32), scalar(1f32), scalar(0f32)];
        let run = |axis, indices: Tensor, expected: Tensor| {
            check("OneHot", &[("axis", int(axis))], &[&[indices], &rest[..]].concat(), &[expected]);
        };
        run(-1, tensor(&[2], &[1i32, 0]), tensor(&[2, 2], &[0f32, 1.0, 1.0, 0.0]));
        run(0, tensor(&[3], &[1i64, 0, 7]), tensor(&[2, 3], &[0f32, 1.0, 0.0, 1.0, 0.0, 0.0]));
        run(1, tensor(&[1, 2], &[1i8, -1]), tensor(&[1, 2, 2], &[0f32, 0.0, 1.0, 0.0]));
        run(-1, scalar(1u8), tensor(&[2], &[0f32, 1.0]));
        let bad = [scalar(0i32), scalar(-1i32), scalar(1f32), scalar(0f32)];
        refuses("OneHot", &[], &bad, "-1");
        refuses("OneHot", &[("axis", int(2))], &[&[scalar(0i32)], &rest[..]].concat(), "axis");
    }
}
