//! Slices written to places that indices name: ScatterNd, TensorScatterUpdate, -Add, -Sub, -Max, -Min.
//!
//! The last axis of `indices` (int32 or int64) names a place in the first axes of the result, and `updates` holds what
//! comes there. ScatterNd adds up updates in zeros of the shape of its third input; the others start from a tensor,
//! whose memory they may take. Types: TensorScatterUpdate any, strings included; the others numbers, ScatterNd of
//! bools too, where one true makes the place true. An index out of range is an error.

use tightfit_core::{DType, TensorView, TensorViewMut};
use tightfit_kernels::{Combine, copy, scatter_nd};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, not_negative, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ScatterNd", import: |_| Ok(Box::new(ScatterNd)) },
    Registration { name: "TensorScatterUpdate", import: |_| Ok(Box::new(Scatter { how: Combine::Update })) },
    Registration { name: "TensorScatterAdd", import: |_| Ok(Box::new(Scatter { how: Combine::Add })) },
    Registration { name: "TensorScatterSub", import: |_| Ok(Box::new(Scatter { how: Combine::Sub })) },
    Registration { name: "TensorScatterMax", import: |_| Ok(Box::new(Scatter { how: Combine::Max })) },
    Registration { name: "TensorScatterMin", import: |_| Ok(Box::new(Scatter { how: Combine::Min })) },
];

/// Checks that there is an update for each place; `first` is the number of the input with indices, updates come next.
fn check_updates(first: usize, target: &Dims, indices: &Fact, updates: &Fact) -> Result<(), OpError> {
    need_index_type(first, indices)?;
    let (Some(target), Some(at), Some(by)) = (target.get(), indices.dims.get(), updates.dims.get()) else {
        return Ok(());
    };
    let Some((depth, places)) = at.split_last() else {
        return Err(OpError::input(first, "is a scalar; its last axis must name a place"));
    };
    if places.is_empty() {
        return Err(OpError::input(
            first,
            format!("is of shape {}; a row for each place is needed", indices.dims),
        ));
    }
    let Some(depth) = depth.size() else { return Ok(()) };
    let Some(slice) = target.get(depth..) else {
        return Err(OpError::input(first, format!("names places of {depth} axes in {} axes", target.len())));
    };
    let is_bound = indices.is_bound || updates.is_bound;
    let fits = |(a, b): (&Dim, &Dim)| is_bound || a.known().zip(b.known()).is_none_or(|(a, b)| a == b);
    let needed = places.iter().chain(slice);
    if by.len() != places.len() + slice.len() || !by.iter().zip(needed).all(fits) {
        let needed = Dims::new([places, slice].concat());
        return Err(OpError::input(first + 1, format!("is of shape {}; {needed} is needed", updates.dims)));
    }
    Ok(())
}

/// Adds up in zeros.
#[derive(Debug)]
struct ScatterNd;

impl Operator for ScatterNd {
    fn name(&self) -> &'static str {
        "ScatterNd"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (indices, updates, shape) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        need_index_type(2, shape)?;
        if updates.dtype == DType::String || updates.dtype.is_complex() {
            return Err(OpError::input(1, format!("is of type {}, which is not added up", updates.dtype)));
        }
        let rank = vector_len(2, shape)?;
        let dims = match shape.dims_value() {
            Some(dims) => {
                Dims::new(dims.into_iter().map(|d| not_negative(2, d)).collect::<Result<Vec<_>, _>>()?)
            }
            None => rank.map_or(Dims::UNKNOWN, Dims::of_rank),
        };
        check_updates(0, &dims, indices, updates)?;
        Ok(vec![Fact::new(updates.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 2)?;
        let (target, at, by) = (run.output_shape(0), run.shape(0), run.shape(1));
        let (depth, places) = at.split_last()?;
        by.iter().eq(places.iter().chain(target.get(*depth..)?)).then_some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (indices, updates) = (run.input(0)?, run.input(1)?);
        let mut output = run.output(0)?;
        output.bytes().fill(0);
        if updates.dtype() != DType::Bool {
            return Ok(scatter_nd(Combine::Add, indices, updates, &mut output)?);
        }
        // Of bools as bytes of 0 and 1, the largest is 1 when one of them is.
        let differs = OpError::Internal("bools were looked at as bytes of another number");
        let bytes = TensorView::new(DType::U8, *updates.shape(), updates.bytes());
        let out = TensorViewMut::new(DType::U8, *output.shape(), output.into_bytes());
        let (Some(bytes), Some(mut out)) = (bytes, out) else { return Err(differs) };
        Ok(scatter_nd(Combine::Max, indices, bytes, &mut out)?)
    }
}

/// Combines updates with a tensor.
#[derive(Debug)]
struct Scatter {
    how: Combine,
}

impl Operator for Scatter {
    fn name(&self) -> &'static str {
        match self.how {
            Combine::Add => "TensorScatterAdd",
            Combine::Sub => "TensorScatterSub",
            Combine::Max => "TensorScatterMax",
            Combine::Min => "TensorScatterMin",
            _ => "TensorScatterUpdate",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, indices, updates) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(2, updates, &[input.dtype])?;
        let is_number = input.dtype.is_float() || input.dtype.is_integer();
        if !is_number && self.how != Combine::Update {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", input.dtype)));
        }
        check_updates(1, &input.dims, indices, updates)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (target, at, by) = (run.shape(0), run.shape(1), run.shape(2));
        let (depth, places) = at.split_last()?;
        by.iter().eq(places.iter().chain(target.get(*depth..)?)).then_some(())?;
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (indices, updates) = (run.input(1)?, run.input(2)?);
        let tensor = if run.is_in_place(0) { None } else { Some(run.input(0)?) };
        let mut output = run.output(0)?;
        if let Some(tensor) = tensor {
            copy(run.pool, tensor, &mut output)?;
        }
        Ok(scatter_nd(self.how, indices, updates, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn scatters() {
        let at = tensor(&[3, 1], &[2i32, 0, 2]);
        let by = tensor(&[3], &[1f32, 2.0, 5.0]);
        let shape = tensor(&[1], &[4i32]);
        check(
            "ScatterNd",
            &[],
            &[at.clone(), by.clone(), shape.clone()],
            &[tensor(&[4], &[2f32, 0.0, 6.0, 0.0])],
        );
        let truths = bools(&[3], &[true, false, false]);
        check("ScatterNd", &[], &[at.clone(), truths, shape], &[bools(&[4], &[false, false, true, false])]);
        refuses("ScatterNd", &[], &[at.clone(), by.clone(), tensor(&[1], &[2i32])], "2");
        let short = tensor(&[2], &[1f32, 2.0]);
        refuses("ScatterNd", &[], &[at.clone(), short, tensor(&[1], &[4i32])], "needed");
        let x = tensor(&[3], &[3f32, 3.0, 3.0]);
        let run = |op, expected: [f32; 3]| {
            check(op, &[], &[x.clone(), at.clone(), by.clone()], &[tensor(&[3], &expected)]);
        };
        run("TensorScatterUpdate", [2.0, 3.0, 5.0]);
        run("TensorScatterAdd", [5.0, 3.0, 9.0]);
        run("TensorScatterSub", [1.0, 3.0, -3.0]);
        run("TensorScatterMax", [3.0, 3.0, 5.0]);
        run("TensorScatterMin", [2.0, 3.0, 1.0]);
    }
}
