//! Slices written to places that indices name: ScatterNd, TensorScatterUpdate, -Add, -Sub, -Max, -Min, and
//! ScatterNdNonAliasingAdd.
//!
//! The last axis of `indices` (int32 or int64) names a place in the first axes of the result, and `updates` holds what
//! comes there. ScatterNd adds up updates in zeros of the shape of its third input; the others start from a tensor,
//! whose memory they may take. Types: TensorScatterUpdate any, strings included; the others numbers, ScatterNd of
//! bools too, where one true makes the place true, and of strings, which are joined. An index out of range is an error
//! unless `bad_indices_policy` is IGNORE: then what belongs there goes nowhere.

use tightfit_core::{DType, Shape, StringRef, TensorView, TensorViewMut};
use tightfit_kernels::{BadIndex, Combine, copy, for_each_place, scatter_nd};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, not_negative, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ScatterNd", import: |a| Ok(Box::new(ScatterNd { bad: bad_index(a)? })) },
    Registration { name: "TensorScatterUpdate", import: |a| scatter(a, Combine::Update) },
    Registration { name: "TensorScatterAdd", import: |a| scatter(a, Combine::Add) },
    Registration { name: "TensorScatterSub", import: |a| scatter(a, Combine::Sub) },
    Registration { name: "TensorScatterMax", import: |a| scatter(a, Combine::Max) },
    Registration { name: "TensorScatterMin", import: |a| scatter(a, Combine::Min) },
    Registration { name: "ScatterNdNonAliasingAdd", import: |a| scatter(a, Combine::Add) },
];

/// Updates combined with a tensor.
pub(crate) fn scatter(attributes: &Attributes<'_>, how: Combine) -> Result<Box<dyn Operator>, OpError> {
    let takes_truths =
        !attributes.node().op.starts_with("Tensor") && matches!(how, Combine::Add | Combine::Sub);
    Ok(Box::new(Scatter { how, bad: bad_index(attributes)?, takes_truths }))
}

/// What `bad_indices_policy` says; on a CPU its default is to refuse.
pub(crate) fn bad_index(attributes: &Attributes<'_>) -> Result<BadIndex, OpError> {
    match attributes.text_or("bad_indices_policy", "")? {
        "" | "DEFAULT" | "ERROR" => Ok(BadIndex::Refused),
        "IGNORE" => Ok(BadIndex::PassedOver),
        other => {
            Err(OpError::attribute("bad_indices_policy", format!("is {other}; ERROR and IGNORE are meant")))
        }
    }
}

/// The most axes that a place is named in.
const MAX_DEPTH: usize = 7;

/// Checks what TensorFlow does of shapes that are there.
fn check_shapes(first: usize, target: Shape, indices: Shape, updates: Shape) -> Result<(), OpError> {
    let is_empty = [target, indices, updates].map(|shape| shape.elements() == 0);
    if is_empty != [false; 3] && !(is_empty[1] && is_empty[2]) {
        let why =
            format!("is of shape {indices} for updates of {updates} in {target}; all have elements, or none");
        return Err(OpError::input(first, why));
    }
    let depth = indices.last().copied().unwrap_or(0);
    if !is_empty[0] && !(1..=MAX_DEPTH).contains(&depth) {
        return Err(OpError::input(
            first,
            format!("names places of {depth} axes; 1 to {MAX_DEPTH} are supported"),
        ));
    }
    Ok(())
}

/// Checks that there is an update for each place; `first` is the number of the input with indices, updates come next.
fn check_updates(first: usize, target: &Dims, indices: &Fact, updates: &Fact) -> Result<(), OpError> {
    need_index_type(first, indices)?;
    if updates.dims.rank() == Some(0) {
        return Err(OpError::input(first + 1, "is a scalar; an update for each place is needed"));
    }
    if let (Some(target), Some(at), Some(by)) =
        (target.concrete(), indices.dims.concrete(), updates.dims.concrete())
        && !indices.is_bound
        && !updates.is_bound
    {
        check_shapes(first, target, at, by)?;
    }
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
struct ScatterNd {
    bad: BadIndex,
}

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
        check_shapes(0, run.output_shape(0), *indices.shape(), *updates.shape())?;
        if updates.dtype() == DType::String {
            return self.join(run, indices);
        }
        let mut output = run.output(0)?;
        output.bytes().fill(0);
        if updates.dtype() != DType::Bool {
            return Ok(scatter_nd(Combine::Add, self.bad, indices, updates, &mut output)?);
        }
        combine_truths(Combine::Add, self.bad, indices, updates, output)
    }
}

/// Combines truths: one is added where one of its updates is true, and a difference is true where an odd number is.
fn combine_truths(
    how: Combine,
    bad: BadIndex,
    indices: TensorView<'_>,
    updates: TensorView<'_>,
    output: TensorViewMut<'_>,
) -> Result<(), OpError> {
    let differs = OpError::Internal("bools were looked at as bytes of another number");
    let bytes = TensorView::new(DType::U8, *updates.shape(), updates.bytes());
    let output = TensorViewMut::new(DType::U8, *output.shape(), output.into_bytes());
    let (Some(bytes), Some(mut output)) = (bytes, output) else { return Err(differs) };
    // Of bytes of 0 and 1, the largest is 1 when one of them is.
    let how = if how == Combine::Add { Combine::Max } else { how };
    scatter_nd(how, bad, indices, bytes, &mut output)?;
    output.bytes().iter_mut().for_each(|byte| *byte &= 1);
    Ok(())
}

impl ScatterNd {
    /// Strings for one place become one, in the order of their indices.
    fn join(&self, run: &mut Run<'_>, indices: TensorView<'_>) -> Result<(), OpError> {
        let (updates, shape) = (run.slice::<StringRef>(1)?, run.output_shape(0));
        let len =
            updates.len().checked_div(indices.shape().split_last().map_or(0, |(_, at)| at.iter().product()));
        let len = len.unwrap_or(0);
        let output = run.out::<StringRef>(0)?;
        output.fill(StringRef::default());
        let mut joined = Ok(());
        for_each_place(indices, &shape, self.bad, &mut |n, start| {
            for (to, update) in output[start..][..len].iter_mut().zip(&updates[n * len..]) {
                match run.joined_strings(*to, *update) {
                    Ok(text) => *to = text,
                    Err(error) => joined = Err(error),
                }
            }
        })?;
        joined
    }
}

/// Combines updates with a tensor.
#[derive(Debug)]
struct Scatter {
    how: Combine,
    bad: BadIndex,
    /// Adds and subtracts truths too.
    takes_truths: bool,
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
        let is_complex = input.dtype.is_complex() && matches!(self.how, Combine::Add | Combine::Sub);
        let is_truth = input.dtype == DType::Bool && self.takes_truths;
        let is_number = input.dtype.is_float() || input.dtype.is_integer() || is_complex || is_truth;
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
        check_shapes(1, run.output_shape(0), *indices.shape(), *updates.shape())?;
        let tensor = if run.is_in_place(0) { None } else { Some(run.input(0)?) };
        let mut output = run.output(0)?;
        if let Some(tensor) = tensor {
            copy(run.pool, tensor, &mut output)?;
        }
        if updates.dtype() == DType::Bool && self.takes_truths {
            return combine_truths(self.how, self.bad, indices, updates, output);
        }
        Ok(scatter_nd(self.how, self.bad, indices, updates, &mut output)?)
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
        refuses("TensorScatterMin", &[], &[x.clone(), at, scalar(1f32)], "is a scalar");
    }

    #[test]
    fn bad_indices_are_refused_or_passed_over() {
        let inputs =
            [tensor(&[2], &[1f32, 2.0]), tensor(&[3, 1], &[1i32, 9, -1]), tensor(&[3], &[5f32, 6.0, 7.0])];
        let policy = |name| [("bad_indices_policy", text(name))];
        check("TensorScatterAdd", &policy("IGNORE"), &inputs, &[tensor(&[2], &[1f32, 7.0])]);
        for refusing in ["", "DEFAULT", "ERROR"] {
            refuses("TensorScatterAdd", &policy(refusing), &inputs, "9");
        }
        refuses("TensorScatterAdd", &policy("WRONG"), &[], "bad_indices_policy");
        let [_, at, by] = inputs;
        let asked = tensor(&[1], &[2i32]);
        check("ScatterNd", &policy("IGNORE"), &[at, by, asked], &[tensor(&[2], &[0f32, 5.0])]);
    }

    #[test]
    fn all_have_elements_or_none() {
        let none = tensor(&[0, 1], &[0i32; 0]);
        let x = tensor(&[3, 0], &[0f32; 0]);
        check("TensorScatterAdd", &[], &[x.clone(), none, tensor(&[0, 0], &[0f32; 0])], &[x.clone()]);
        let at = tensor(&[2, 1], &[0i32, 0]);
        refuses("TensorScatterAdd", &[], &[x, at, tensor(&[2, 0], &[0f32; 0])], "or none");
        let everywhere = [tensor(&[2, 0], &[0i32; 0]), tensor(&[2, 3], &[0f32; 6]), tensor(&[1], &[3i32])];
        refuses("ScatterNd", &[], &everywhere, "or none");
    }
}
