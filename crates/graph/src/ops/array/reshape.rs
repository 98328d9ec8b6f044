//! The same elements under another shape: Reshape, Squeeze, ExpandDims.
//!
//! Types: any. Shapes: Reshape takes the shape from its second input, one element of which may be -1; Squeeze removes
//! the axes of `squeeze_dims`, or every axis of size 1; ExpandDims adds one at the axis of its second input. Costs
//! nothing: the output is the input's memory.

use tightfit_core::{DType, MAX_RANK};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::scalar_or_vector_len;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Reshape", import: |_| Ok(Box::new(Reshape)) },
    Registration { name: "ExpandDims", import: |_| Ok(Box::new(ExpandDims)) },
    Registration { name: "Squeeze", import: squeeze },
];

fn squeeze(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Squeeze { axes: attributes.ints_or_empty("squeeze_dims")? }))
}

/// The fact of `input` under another shape: integers keep their values.
fn reshaped(input: &Fact, dims: Dims) -> Fact {
    match input.dims_value() {
        Some(values) => Fact::of_dims(input.dtype, dims, &values),
        None => Fact::new(input.dtype, dims),
    }
}

/// Reshape.
#[derive(Debug)]
pub struct Reshape;

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, shape) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, shape, &[DType::I32, DType::I64])?;
        let rank = scalar_or_vector_len(1, shape)?;
        let Some(mut dims) = shape.dims_value() else {
            if rank == Some(1) {
                // What the one size is given as, a run holds against the number of elements.
                return Ok(vec![Fact::at_most(input.dtype, Dims::new([input.dims.elements()]))]);
            }
            return Ok(vec![Fact::new(input.dtype, rank.map_or(Dims::UNKNOWN, Dims::of_rank))]);
        };
        if dims.iter().any(|d| matches!(d, Dim::Known(..-1))) {
            return Err(OpError::input(1, format!("asks for the shape {}", Dims::new(dims))));
        }
        let elements = input.dims.elements();
        let open: Vec<usize> = (0..dims.len()).filter(|i| dims[*i] == Dim::Known(-1)).collect();
        match open[..] {
            [] => {}
            [axis] => {
                let product = |dims: &[Dim], skips: fn(&Dim) -> bool| {
                    dims.iter().filter(|d| !skips(d)).fold(Dim::Known(1), |n, d| n.times(*d))
                };
                let others = product(&dims, |d| *d == Dim::Known(-1));
                dims[axis] = match (elements, others, input.dims.get()) {
                    // Where there are no elements, TensorFlow leaves the zeros of both shapes out.
                    (_, Dim::Known(0), Some(from)) => {
                        let others = product(&dims, |d| matches!(d, Dim::Known(-1 | 0)));
                        match (product(from, |d| *d == Dim::Known(0)), others) {
                            (Dim::Known(a), Dim::Known(b)) => {
                                a.checked_div(b).map_or(Dim::Unknown, Dim::Known)
                            }
                            (a, b) => a.divided_by(b),
                        }
                    }
                    (_, Dim::Known(0), None) => Dim::Unknown,
                    _ => elements.divided_by(others),
                };
                if let (Dim::Known(n), Dim::Known(m @ 1..), Dim::Unknown) = (elements, others, dims[axis]) {
                    return Err(OpError::input(
                        1,
                        format!("asks for a multiple of {m} elements where there are {n}"),
                    ));
                }
            }
            _ => return Err(OpError::input(1, "has more than one -1")),
        }
        let dims = Dims::new(dims);
        if let (Dim::Known(have), Dim::Known(want)) = (elements, dims.elements())
            && have != want
        {
            return Err(OpError::input(
                1,
                format!("asks for the shape {dims} where there are {have} elements"),
            ));
        }
        Ok(vec![reshaped(input, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (elements, asked) = (run.shape(0).elements(), run.ints::<MAX_RANK>(1).ok()?);
        let others =
            |n: usize, d: &i64| if *d == -1 { Some(n) } else { n.checked_mul(usize::try_from(*d).ok()?) };
        let others = asked.iter().try_fold(1usize, others)?;
        let rest = match asked.iter().filter(|d| **d == -1).count() {
            0 => (others == elements).then_some(0)?,
            1 => (others > 0 && elements.is_multiple_of(others)).then(|| elements / others)?,
            _ => return None,
        };
        reshape::set(run, 0, asked.iter().map(|d| if *d == -1 { rest } else { *d as usize }))
    }

    shares_memory!();
}

/// ExpandDims.
#[derive(Debug)]
struct ExpandDims;

impl Operator for ExpandDims {
    fn name(&self) -> &'static str {
        "ExpandDims"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axis) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, axis, &[DType::I32, DType::I64])?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]) };
        let Some(axis) = axis.int() else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(dims.len() + 1))]);
        };
        let axis = shared::axis(axis, dims.len() + 1).ok_or_else(|| OpError::input(1, "is not an axis"))?;
        let mut expanded = dims.to_vec();
        expanded.insert(axis, Dim::Known(1));
        Ok(vec![reshaped(input, Dims::new(expanded))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let (before, after) = shape.split_at(reshape::axis(run, 1, shape.rank() + 1)?);
        reshape::set(run, 0, before.iter().copied().chain([1]).chain(after.iter().copied()))
    }

    shares_memory!();
}

/// Squeeze.
#[derive(Debug)]
struct Squeeze {
    axes: Vec<i64>,
}

impl Operator for Squeeze {
    fn name(&self) -> &'static str {
        "Squeeze"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]) };
        if self.axes.is_empty() {
            // An open dimension may be 1 or not.
            let is_open = dims.iter().any(|d| d.known().is_none());
            let kept: Vec<Dim> = dims.iter().copied().filter(|d| *d != Dim::Known(1)).collect();
            return Ok(vec![reshaped(input, if is_open { Dims::UNKNOWN } else { Dims::new(kept) })]);
        }
        let mut kept = vec![true; dims.len()];
        for axis in &self.axes {
            let axis = shared::axis(*axis, dims.len()).ok_or_else(|| {
                OpError::attribute("squeeze_dims", format!("has {axis}, no axis of {}", input.dims))
            })?;
            if dims[axis].known().is_some_and(|n| n != 1) {
                let why = format!("has {axis}, which is not of size 1 in {}", input.dims);
                return Err(OpError::attribute("squeeze_dims", why));
            }
            kept[axis] = false;
        }
        let dims: Vec<Dim> = dims.iter().zip(kept).filter(|(_, keep)| *keep).map(|(d, _)| *d).collect();
        Ok(vec![reshaped(input, Dims::new(dims))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let mut is_kept = [true; MAX_RANK];
        for (kept, dim) in is_kept.iter_mut().zip(shape.iter()) {
            *kept = !self.axes.is_empty() || *dim != 1;
        }
        for axis in &self.axes {
            let axis = shared::axis(*axis, shape.rank()).filter(|axis| shape[*axis] == 1)?;
            is_kept[axis] = false;
        }
        reshape::set(run, 0, shape.iter().zip(is_kept).filter(|(_, kept)| *kept).map(|(d, _)| *d))
    }

    shares_memory!();
}
