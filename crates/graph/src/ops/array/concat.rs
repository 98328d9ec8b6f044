//! Tensors joined along an axis: Concat, ConcatV2, ParallelConcat, and ConcatOffset, which says where each would begin.
//!
//! Types: any, strings included. Shapes: equal but for the axis, which is the first input of Concat and the last of
//! ConcatV2, and may be negative; ParallelConcat joins along the first axis. ConcatOffset takes the axis and the
//! shapes as int32 or int64 vectors and gives, for each, where its tensor starts in the joined one.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{concat, copy_into};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{agree, axis_input, known_axis, need_index_type, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Concat", import: |_| Ok(Box::new(Concat { axis: Axis::First })) },
    Registration { name: "ConcatV2", import: |_| Ok(Box::new(Concat { axis: Axis::Last })) },
    Registration { name: "ParallelConcat", import: |_| Ok(Box::new(Concat { axis: Axis::Zero })) },
    Registration { name: "ConcatOffset", import: |_| Ok(Box::new(ConcatOffset)) },
];

/// Tensors that are joined in one pass over the output, of which a list fits the stack.
const FEW: usize = 16;
const FEW_FROM: usize = 2;

/// Where the axis is said.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Axis {
    /// In the first input.
    First,
    /// In the last input.
    Last,
    /// Nowhere: it is the first one.
    Zero,
}

/// Joins its inputs.
#[derive(Debug)]
struct Concat {
    axis: Axis,
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        match self.axis {
            Axis::First => "Concat",
            Axis::Last => "ConcatV2",
            Axis::Zero => "ParallelConcat",
        }
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let tensors = self.tensors(inputs.len());
        let first = shared::input(inputs, tensors.start)?;
        let Some(parts) = inputs.get(tensors.clone()).filter(|parts| !parts.is_empty()) else {
            return Err(OpError::input(inputs.len(), "is missing"));
        };
        for (i, part) in tensors.clone().zip(parts) {
            if part.dtype != first.dtype {
                return Err(OpError::input(
                    i,
                    format!("is of type {}, unlike {} before", part.dtype, first.dtype),
                ));
            }
        }
        let Some(rank) = parts.iter().find_map(|p| p.dims.rank()) else {
            return Ok(vec![Fact::new(first.dtype, Dims::UNKNOWN)]);
        };
        if rank == 0 {
            return Err(OpError::input(tensors.start, "is a scalar, which cannot be joined to others"));
        }
        let axis = match self.axis_position(inputs.len()) {
            Some(position) => {
                let axis = shared::input(inputs, position)?;
                if axis.dims.rank().is_some_and(|rank| rank > 1) {
                    return Err(OpError::input(
                        position,
                        format!("is of shape {}; a scalar is needed", axis.dims),
                    ));
                }
                known_axis(position, axis, rank)?
            }
            None => Some(0),
        };
        let Some(axis) = axis else { return Ok(vec![Fact::new(first.dtype, Dims::of_rank(rank))]) };
        let dims = Dims::new(joined(tensors.start, parts, rank, axis)?);
        let values: Option<Vec<Vec<Dim>>> = parts.iter().map(|p| p.dims_value()).collect();
        Ok(vec![match values.filter(|_| rank == 1) {
            Some(values) => Fact::of_dims(first.dtype, dims, &values.concat()),
            None => Fact::new(first.dtype, dims),
        }])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let tensors = self.tensors(run.inputs());
        let first = run.shape(tensors.start);
        let axis = match self.axis_position(run.inputs()) {
            Some(position) => reshape::axis(run, position, first.rank())?,
            None => 0,
        };
        let mut sum = 0usize;
        for input in tensors {
            let shape = run.shape(input);
            let is_like = |i: usize| i == axis || shape[i] == first[i];
            (shape.rank() == first.rank() && (0..first.rank()).all(is_like)).then_some(())?;
            sum = sum.checked_add(*shape.get(axis)?)?;
        }
        reshape::set(run, 0, first.iter().enumerate().map(|(i, d)| if i == axis { sum } else { *d }))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let tensors = self.tensors(run.inputs());
        let rank = run.output_shape(0).rank();
        let axis = match self.axis_position(run.inputs()) {
            Some(position) => axis_input(run, position, rank)?,
            None => 0,
        };
        let mut output = run.output(0)?;
        if let FEW_FROM..=FEW = tensors.len() {
            let mut parts = [run.input(tensors.start)?; FEW];
            for (part, input) in parts.iter_mut().zip(tensors.clone()) {
                *part = run.input(input)?;
            }
            return Ok(concat(run.pool, axis, &parts[..tensors.len()], &mut output)?);
        }
        let mut begin = [0; MAX_RANK];
        for i in tensors {
            let part = run.input(i)?;
            copy_into(run.pool, part, &begin[..rank], &mut output)?;
            begin[axis] += part.shape().get(axis).ok_or(OpError::Internal("a part has no such axis"))?;
        }
        Ok(())
    }
}

/// The dimensions of tensors of `rank` joined along `axis`; the first is input number `start`.
pub(crate) fn joined(start: usize, parts: &[&Fact], rank: usize, axis: usize) -> Result<Vec<Dim>, OpError> {
    let is_bound = parts.iter().any(|p| p.is_bound);
    let mut dims = vec![Dim::Unknown; rank];
    dims[axis] = Dim::Known(0);
    for (i, part) in parts.iter().enumerate() {
        let differs =
            || OpError::input(start + i, format!("of shape {} cannot be joined to others", part.dims));
        let Some(part_dims) = part.dims.get() else {
            dims[axis] = Dim::Unknown;
            continue;
        };
        if part_dims.len() != rank {
            return Err(differs());
        }
        for (k, (dim, part_dim)) in dims.iter_mut().zip(part_dims).enumerate() {
            *dim = if k == axis {
                // Once a size is open, the sum stays so.
                dim.plus(*part_dim)
            } else {
                agree(*dim, *part_dim, is_bound).ok_or_else(differs)?
            };
        }
    }
    Ok(dims)
}

impl Concat {
    /// Which of so many inputs are tensors to join.
    fn tensors(&self, inputs: usize) -> std::ops::Range<usize> {
        match self.axis {
            Axis::First => 1..inputs.max(1),
            Axis::Last => 0..inputs.saturating_sub(1),
            Axis::Zero => 0..inputs,
        }
    }

    fn axis_position(&self, inputs: usize) -> Option<usize> {
        match self.axis {
            Axis::First => Some(0),
            Axis::Last => inputs.checked_sub(1),
            Axis::Zero => None,
        }
    }
}

/// Where tensors of given shapes start in the one that joins them.
#[derive(Debug)]
struct ConcatOffset;

impl Operator for ConcatOffset {
    fn name(&self) -> &'static str {
        "ConcatOffset"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::need_type(0, shared::input(inputs, 0)?, &[DType::I32])?;
        let first = shared::input(inputs, 1)?;
        for (i, shape) in inputs.iter().enumerate().skip(1) {
            need_index_type(i, shape)?;
            if shape.dtype != first.dtype {
                return Err(OpError::input(
                    i,
                    format!("is of type {}, unlike {} before", shape.dtype, first.dtype),
                ));
            }
        }
        let lens = inputs.iter().enumerate().skip(1).map(|(i, shape)| vector_len(i, shape));
        let lens: Vec<usize> = lens.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let Some(rank) = lens.first().copied() else {
            return Ok(vec![Fact::new(first.dtype, Dims::of_rank(1)); inputs.len() - 1]);
        };
        if lens.iter().any(|len| *len != rank) || rank > MAX_RANK {
            return Err(OpError::input(
                1,
                format!("is a shape of {rank} dimensions, unlike others or too many"),
            ));
        }
        let axis = known_axis(0, inputs[0], rank)?;
        if let (Some(axis), Some(first)) = (axis, first.dims_value()) {
            for (i, shape) in inputs.iter().enumerate().skip(2) {
                let Some(shape) = shape.dims_value() else { continue };
                let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
                let other =
                    first.iter().zip(&shape).enumerate().find(|(at, dims)| *at != axis && differs(*dims));
                if let Some((at, _)) = other {
                    return Err(OpError::input(i, format!("is a shape with another axis {at} than input 1")));
                }
            }
        }
        let mut offset = Dim::Known(0);
        let dims = Dims::new([Dim::Known(rank as i64)]);
        let facts = inputs[1..].iter().map(|shape| {
            let Some(axis) = axis else { return Fact::new(first.dtype, dims.clone()) };
            let mut values = vec![Dim::Known(0); rank];
            values[axis] = offset;
            offset = offset.plus(
                shape.dims_value().map_or(Dim::Unknown, |v| v.get(axis).copied().unwrap_or(Dim::Unknown)),
            );
            Fact::of_dims(first.dtype, dims.clone(), &values)
        });
        Ok(facts.collect())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let rank = run.shape(1).elements();
        let axis = axis_input(run, 0, rank)?;
        let mut offset = 0i64;
        let first = run.ints::<MAX_RANK>(1)?;
        for i in 1..run.inputs() {
            let shape = run.ints::<MAX_RANK>(i)?;
            if let Some(at) = (0..rank).find(|at| *at != axis && shape.get(*at) != first.get(*at)) {
                return Err(OpError::input(i, format!("is a shape with another axis {at} than input 1")));
            }
            let size =
                shape.get(axis).copied().ok_or_else(|| OpError::input(i, "has fewer axes than input 1"))?;
            let too_large = || OpError::input(i, "is a shape that makes the joined tensor too large");
            match run.output_dtype(i - 1) {
                DType::I64 => set(run.out::<i64>(i - 1)?, axis, offset),
                _ => set(run.out::<i32>(i - 1)?, axis, i32::try_from(offset).map_err(|_| too_large())?),
            }
            offset = offset.checked_add(size).ok_or_else(too_large)?;
        }
        Ok(())
    }
}

/// All 0 but for one element.
fn set<T: Default + Copy>(out: &mut [T], axis: usize, value: T) {
    out.fill(T::default());
    if let Some(out) = out.get_mut(axis) {
        *out = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;
    use crate::testing::*;
    use tightfit_core::StringRef;

    #[test]
    fn joins() {
        let a = tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]);
        let b = tensor(&[2, 1], &[5f32, 6.0]);
        let joined = tensor(&[2, 3], &[1f32, 2.0, 5.0, 3.0, 4.0, 6.0]);
        check("ConcatV2", &[], &[a.clone(), b.clone(), scalar(-1i32)], &[joined.clone()]);
        check("Concat", &[], &[scalar(1i32), a.clone(), b.clone()], &[joined]);
        check("ConcatV2", &[], &[a.clone(), tensor::<f32>(&[0, 2], &[]), scalar(0i64)], &[a.clone()]);
        let rows = tensor(&[2, 1], &[1i16, 2]);
        check("ParallelConcat", &[], &[tensor(&[1, 1], &[1i16]), tensor(&[1, 1], &[2i16])], &[rows]);
        let text = |offset| tensor(&[1], &[StringRef { offset, bytes: 2 }]);
        let both = tensor(&[2], &[StringRef { offset: 0, bytes: 2 }, StringRef { offset: 2, bytes: 2 }]);
        check("ConcatV2", &[], &[text(0), text(2), scalar(0i32)], &[both]);
        refuses("ConcatV2", &[], &[a.clone(), b, scalar(0i32)], "cannot be joined");
        refuses("ConcatV2", &[], &[a.clone(), a, scalar(2i32)], "no axis");
    }

    #[test]
    fn offsets() {
        let (a, b) = (tensor(&[2], &[2i32, 3]), tensor(&[2], &[2i32, 4]));
        let expected = [tensor(&[2], &[0i32, 0]), tensor(&[2], &[0i32, 3])];
        check("ConcatOffset", &[], &[scalar(1i32), a, b], &expected);
    }

    #[test]
    fn shapes_are_joined_as_values() {
        let batch = Dim::of(Symbol::BATCH);
        let a = Fact::of_dims(DType::I32, Dims::new([Dim::Known(1)]), &[batch]);
        let b = Fact::of_dims(DType::I32, Dims::new([Dim::Known(1)]), &[Dim::Known(7)]);
        let axis = Fact::of_dims(DType::I32, Dims::scalar(), &[Dim::Known(0)]);
        let facts = operator("ConcatV2", &[]).unwrap().infer(&[&a, &b, &axis]).unwrap();
        assert_eq!(facts[0].dims_value(), Some(vec![batch, Dim::Known(7)]));
    }
}
