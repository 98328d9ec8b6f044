//! Tensors stacked along a new axis, and taken apart along one: Pack, Unpack.
//!
//! Types: any, strings included. Pack takes N tensors of one shape to one with a new axis of size N; Unpack gives
//! `num` tensors without the axis. Attribute `axis` may be negative.

use tightfit_core::MAX_RANK;
use tightfit_kernels::{copy_into, strided_slice};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{reshaped, same_dims};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Pack", import: |a| Ok(Box::new(Pack { axis: a.int_or("axis", 0)? })) },
    Registration { name: "Unpack", import: unpack },
];

fn unpack(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Unpack { count: attributes.outputs("num")?, axis: attributes.int_or("axis", 0)? }))
}

fn attribute_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let why = || OpError::attribute("axis", format!("is {axis}, no axis of a tensor of {rank} dimensions"));
    shared::axis(axis, rank).ok_or_else(why)
}

/// Stacks its inputs.
#[derive(Debug)]
struct Pack {
    axis: i64,
}

impl Operator for Pack {
    fn name(&self) -> &'static str {
        "Pack"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        for (i, input) in inputs.iter().enumerate() {
            if input.dtype != first.dtype {
                return Err(OpError::input(
                    i,
                    format!("is of type {}, unlike {} before", input.dtype, first.dtype),
                ));
            }
        }
        let dims = same_dims(inputs.iter().copied().enumerate())?;
        let Some(dims) = dims.get() else { return Ok(vec![Fact::new(first.dtype, Dims::UNKNOWN)]) };
        let mut stacked = dims.to_vec();
        stacked.insert(attribute_axis(self.axis, dims.len() + 1)?, Dim::Known(inputs.len() as i64));
        let values: Option<Vec<Vec<Dim>>> = inputs.iter().map(|i| i.dims_value()).collect();
        // After one another they lie only when the new axis is the first.
        let values = values.filter(|_| stacked.len() == 1);
        Ok(vec![match values {
            Some(values) => Fact::of_dims(first.dtype, Dims::new(stacked), &values.concat()),
            None => Fact::new(first.dtype, Dims::new(stacked)),
        }])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs.len() == 1 { Memory::alias(0) } else { Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        (1..run.inputs()).all(|i| run.shape(i) == shape).then_some(())?;
        let axis = shared::axis(self.axis, shape.rank() + 1)?;
        let (before, after) = shape.split_at(axis);
        let count = run.inputs();
        reshape::set(run, 0, before.iter().copied().chain([count]).chain(after.iter().copied()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.output_shape(0);
        let rank = shape.rank();
        let axis = attribute_axis(self.axis, rank)?;
        let mut output = run.output(0)?;
        let (mut begin, mut dims) = ([0; MAX_RANK], [0; MAX_RANK]);
        dims[..rank].copy_from_slice(&shape);
        dims[axis] = 1;
        for i in 0..run.inputs() {
            begin[axis] = i;
            let part = reshaped(run.input(i)?, &dims[..rank])?;
            copy_into(run.pool, part, &begin[..rank], &mut output)?;
        }
        Ok(())
    }
}

/// Takes its input apart.
#[derive(Debug)]
struct Unpack {
    count: usize,
    axis: i64,
}

impl Operator for Unpack {
    fn name(&self) -> &'static str {
        "Unpack"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn max_outputs(&self, _inputs: usize) -> usize {
        self.count
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let Some(dims) = input.dims.get() else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN); self.count]);
        };
        let axis = attribute_axis(self.axis, dims.len())?;
        let mut dims = dims.to_vec();
        let size = dims.remove(axis);
        if size.size().is_some_and(|n| n < self.count || (n > self.count && !input.is_bound)) {
            return Err(OpError::attribute(
                "num",
                format!("is {}, not the size of axis {axis} of {}", self.count, input.dims),
            ));
        }
        let values = input.dims_value().filter(|values| dims.is_empty() && values.len() == self.count);
        Ok((0..self.count)
            .map(|i| match &values {
                Some(values) => Fact::of_dims(input.dtype, Dims::scalar(), &values[i..=i]),
                None => Fact::new(input.dtype, Dims::new(dims.clone())),
            })
            .collect())
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let axis = shared::axis(self.axis, shape.rank())?;
        (shape[axis] == self.count).then_some(())?;
        let kept = reshape::shape(shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| *d))?;
        (0..self.count).try_for_each(|output| run.set_output_shape(output, kept).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let rank = input.shape().rank();
        let axis = attribute_axis(self.axis, rank)?;
        let (mut begin, mut sizes) = ([0; MAX_RANK], [0; MAX_RANK]);
        sizes[..rank].copy_from_slice(input.shape());
        sizes[axis] = 1;
        for i in 0..self.count {
            begin[axis] = i;
            let mut output = run.output(i)?;
            strided_slice(
                run.pool,
                input,
                &begin[..rank],
                &[1; MAX_RANK][..rank],
                &sizes[..rank],
                &mut output,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;
    use crate::testing::*;
    use tightfit_core::{DType, StringRef};

    #[test]
    fn stacks_and_takes_apart() {
        let (a, b) = (tensor(&[2], &[1i32, 2]), tensor(&[2], &[3i32, 4]));
        check("Pack", &[], &[a.clone(), b.clone()], &[tensor(&[2, 2], &[1i32, 2, 3, 4])]);
        let columns = tensor(&[2, 2], &[1i32, 3, 2, 4]);
        check("Pack", &[("axis", int(-1))], &[a.clone(), b.clone()], &[columns.clone()]);
        check("Pack", &[("axis", int(1))], &[a.clone()], &[tensor(&[2, 1], &[1i32, 2])]);
        check("Unpack", &[("num", int(2)), ("axis", int(1))], &[columns], &[a.clone(), b]);
        let text = StringRef { offset: 3, bytes: 1 };
        check("Pack", &[], &[scalar(text), scalar(text)], &[tensor(&[2], &[text, text])]);
        check("Unpack", &[("num", int(0))], &[tensor::<f32>(&[0, 3], &[])], &[]);
        refuses("Pack", &[], &[a.clone(), scalar(1i32)], "shape");
        refuses("Pack", &[("axis", int(2))], &[a.clone()], "axis");
        refuses("Unpack", &[("num", int(3))], &[a], "num");
    }

    #[test]
    fn a_shape_is_stacked_as_values() {
        let batch = Fact::of_dims(DType::I32, Dims::scalar(), &[Dim::of(Symbol::BATCH)]);
        let one = Fact::of_dims(DType::I32, Dims::scalar(), &[Dim::Known(1)]);
        let packed = operator("Pack", &[]).unwrap().infer(&[&batch, &one]).unwrap();
        assert_eq!(packed[0].dims_value(), Some(vec![Dim::of(Symbol::BATCH), Dim::Known(1)]));
        let unpacked = operator("Unpack", &[("num", int(2))]).unwrap().infer(&[&packed[0]]).unwrap();
        assert_eq!(unpacked[0].dims_value(), Some(vec![Dim::of(Symbol::BATCH)]));
    }
}
