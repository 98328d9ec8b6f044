//! Slices that indices name: Gather, GatherV2, GatherNd.
//!
//! Gather and GatherV2 copy slices of `params` along an axis (Gather: the first): `params.shape[:axis] +
//! indices.shape[batch_dims:] + params.shape[axis+1:]`. GatherNd's last axis of indices names a place in the first
//! axes of `params`. Types: any, strings included; indices of int32 or int64, one out of range is an error. A table
//! that is a constant is read row by row from the file where weights are streamed: of an embedding only the rows that
//! a run needs.

use tightfit_core::TensorView;
use tightfit_kernels::{BadIndex, gather, gather_nd};

use super::scatter::bad_index;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, OpError, Operator, Run, Weight, WeightLayout, WeightStream, WeightUse};
use crate::ops::shared;
use crate::ops::shared::extent::{Indices, agree, axis_input, known_axis, need_index_type};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Gather", import: |_| Ok(Box::new(Gather { has_axis: false, batch_dims: 0 })) },
    Registration {
        name: "GatherV2",
        import: |a| Ok(Box::new(Gather { has_axis: true, batch_dims: batch_dims(a)? })),
    },
    Registration { name: "GatherNd", import: |a| Ok(Box::new(GatherNd { bad: bad_index(a)? })) },
];

fn batch_dims(attributes: &Attributes<'_>) -> Result<i64, OpError> {
    attributes.int_or("batch_dims", 0)
}

/// Gather and GatherV2.
#[derive(Debug)]
pub struct Gather {
    /// True when the axis is the third input.
    has_axis: bool,
    batch_dims: i64,
}

impl Gather {
    /// Along the first axis.
    pub(crate) const PLAIN: Gather = Gather { has_axis: false, batch_dims: 0 };

    /// The number of batch axes, for indices of `rank`.
    fn batch(&self, rank: usize) -> Result<usize, OpError> {
        let dims = if self.batch_dims < 0 { self.batch_dims + rank as i64 } else { self.batch_dims };
        let why =
            || OpError::attribute("batch_dims", format!("is {} for indices of {rank} axes", self.batch_dims));
        usize::try_from(dims).ok().filter(|d| *d <= rank).ok_or_else(why)
    }
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        if self.has_axis { "GatherV2" } else { "Gather" }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (params, indices) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, indices)?;
        let (Some(from), Some(at)) = (params.dims.get(), indices.dims.get()) else {
            return Ok(vec![Fact::new(params.dtype, Dims::UNKNOWN)]);
        };
        let batch = self.batch(at.len())?;
        if from.is_empty() {
            return Err(OpError::input(0, "is a scalar, which has nothing to gather"));
        }
        let axis =
            if self.has_axis { known_axis(2, shared::input(inputs, 2)?, from.len())? } else { Some(0) };
        let rank = from.len() - 1 + at.len() - batch;
        let Some(axis) = axis else { return Ok(vec![Fact::new(params.dtype, Dims::of_rank(rank))]) };
        if batch > axis {
            return Err(OpError::attribute("batch_dims", format!("is {batch}, more than the axis {axis}")));
        }
        let mut dims = Vec::with_capacity(rank);
        let is_bound = params.is_bound || indices.is_bound;
        for (a, b) in from[..batch].iter().zip(at) {
            let why = || {
                OpError::input(
                    1,
                    format!("of shape {} has other batch axes than {}", indices.dims, params.dims),
                )
            };
            dims.push(agree(*a, *b, is_bound).ok_or_else(why)?);
        }
        dims.extend(&from[batch..axis]);
        dims.extend(&at[batch..]);
        dims.extend(&from[axis + 1..]);
        let dims = Dims::new(dims);
        Ok(vec![match gathered_values(params, indices) {
            Some(values) => Fact::of_dims(params.dtype, dims, &values),
            None => Fact::new(params.dtype, dims),
        }])
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let [params, indices, ..] = call.inputs else { return None };
        let output = call.outputs.first()?.shape;
        let rows = indices.shape.rank();
        // Along the first axis; another one that gives the same shape is read in pieces as well.
        let is_by_row = self.batch_dims == 0
            && params.shape.rank() > 0
            && output.rank() == rows + params.shape.rank() - 1
            && output[..rows] == *indices.shape
            && output[rows..] == params.shape[1..];
        is_by_row.then_some(WeightUse { input: 0, layout: WeightLayout::Dense, block_bytes: 0 })
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (from, at) = (run.shape(0), run.shape(1));
        let batch = self.batch(at.rank()).ok()?;
        let axis = if self.has_axis { reshape::axis(run, 2, from.rank())? } else { 0 };
        (axis < from.rank() && batch <= axis && from[..batch] == at[..batch]).then_some(())?;
        let dims = from[..axis].iter().chain(&at[batch..]).chain(&from[axis + 1..]);
        reshape::set(run, 0, dims.copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let axis = if self.has_axis { axis_input(run, 2, run.shape(0).rank())? } else { 0 };
        match run.weight(0)? {
            Weight::Dense(params) => {
                let indices = run.input(1)?;
                let batch = self.batch(indices.shape().rank())?;
                Ok(gather(run.pool, (axis, batch), params, indices, &mut run.output(0)?)?)
            }
            Weight::Streamed(stream) => read_rows(run, stream, axis),
            Weight::Packed(_) => Err(OpError::Internal("a table was packed unasked")),
        }
    }
}

/// Reads the slices along `axis` from the file.
fn read_rows(run: &mut Run<'_>, stream: &dyn WeightStream, axis: usize) -> Result<(), OpError> {
    let from = run.shape(0);
    let indices = Indices::new(run, 1)?;
    let bytes = from[axis + 1..].iter().product::<usize>() * run.dtype(0).bytes();
    let outer: usize = from[..axis].iter().product();
    let mut rows = run.out_bytes(0)?.chunks_exact_mut(bytes.max(1));
    for block in 0..outer {
        for i in 0..indices.len() {
            let index = indices.index(1, i, from[axis])?;
            let Some(row) = rows.next() else { break };
            stream.read(((block * from[axis] + index) * bytes) as u64, row)?;
        }
    }
    Ok(())
}

/// The elements of a known vector at known indices.
fn gathered_values(params: &Fact, indices: &Fact) -> Option<Vec<Dim>> {
    if params.dims.rank()? != 1 {
        return None;
    }
    let values = params.dims_value()?;
    indices.ints()?.iter().map(|i| values.get(usize::try_from(*i).ok()?).copied()).collect()
}

/// GatherNd.
#[derive(Debug)]
struct GatherNd {
    bad: BadIndex,
}

/// The most axes that a place is named in.
const MAX_DEPTH: usize = 7;

impl Operator for GatherNd {
    fn name(&self) -> &'static str {
        "GatherNd"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (params, indices) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, indices)?;
        let (Some(from), Some(at)) = (params.dims.get(), indices.dims.get()) else {
            return Ok(vec![Fact::new(params.dtype, Dims::UNKNOWN)]);
        };
        let Some((depth, places)) = at.split_last() else {
            return Err(OpError::input(1, "is a scalar; its last axis must name a place"));
        };
        let Some(depth) = depth.size() else { return Ok(vec![Fact::new(params.dtype, Dims::UNKNOWN)]) };
        let Some(slice) = from.get(depth..) else {
            return Err(OpError::input(
                1,
                format!("names places of {depth} axes in a tensor of shape {}", params.dims),
            ));
        };
        Ok(vec![Fact::new(params.dtype, Dims::new([places, slice].concat()))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (from, at) = (run.shape(0), run.shape(1));
        let (depth, places) = at.split_last()?;
        reshape::set(run, 0, places.iter().chain(from.get(*depth..)?).copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (params, indices): (TensorView<'_>, TensorView<'_>) = (run.input(0)?, run.input(1)?);
        let (depth, places) = indices.shape().split_last().unwrap_or((&0, &[]));
        if params.shape().rank() == 0 {
            return Err(OpError::input(0, "is a scalar; there must be an axis to gather along"));
        }
        if places.iter().all(|d| *d > 0) {
            if params.shape().elements() == 0 {
                let why = format!("is of shape {}, which has nothing to gather", params.shape());
                return Err(OpError::input(0, why));
            }
            if *depth > MAX_DEPTH {
                let why = format!("names places of {depth} axes; at most {MAX_DEPTH} are supported");
                return Err(OpError::input(1, why));
            }
        }
        Ok(gather_nd(run.pool, self.bad, params, indices, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Held, TensorInfo};
    use crate::testing::*;
    use tightfit_core::{DType, Shape, StringRef};

    #[test]
    fn gathers() {
        let x = tensor(&[3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let at = tensor(&[2], &[2i32, 0]);
        let rows = tensor(&[2, 2], &[4f32, 5.0, 0.0, 1.0]);
        check("Gather", &[], &[x.clone(), at.clone()], &[rows.clone()]);
        check("GatherV2", &[], &[x.clone(), at, scalar(0i32)], &[rows]);
        let column = tensor(&[3], &[1f32, 3.0, 5.0]);
        check("GatherV2", &[], &[x.clone(), scalar(1i64), scalar(-1i64)], &[column]);
        let batched = [("batch_dims", int(1))];
        let picks = tensor(&[3, 1], &[1i32, 0, 1]);
        check("GatherV2", &batched, &[x.clone(), picks, scalar(1i32)], &[tensor(&[3, 1], &[1f32, 2.0, 5.0])]);
        let text = |offset| StringRef { offset, bytes: 1 };
        let texts = tensor(&[2], &[text(0), text(1)]);
        check("GatherV2", &[], &[texts, scalar(1i32), scalar(0i32)], &[scalar(text(1))]);
        refuses("GatherV2", &[], &[x.clone(), scalar(3i32), scalar(0i32)], "3");
        refuses("GatherV2", &[], &[x.clone(), scalar(0i32), scalar(2i32)], "no axis");
        let places = tensor(&[2, 2], &[2i32, 1, 0, 0]);
        check("GatherNd", &[], &[x.clone(), places], &[tensor(&[2], &[5f32, 0.0])]);
        check("GatherNd", &[], &[x.clone(), tensor(&[1, 1], &[1i64])], &[tensor(&[1, 2], &[2f32, 3.0])]);
        refuses("GatherNd", &[], &[x.clone(), tensor(&[1, 3], &[0i32, 0, 0])], "3 axes");
        let outside = [x, tensor(&[2, 2], &[2i32, 1, 3, 0])];
        refuses("GatherNd", &[], &outside, "3");
        let ignore = [("bad_indices_policy", crate::testing::text("IGNORE"))];
        check("GatherNd", &ignore, &outside, &[tensor(&[2], &[5f32, 0.0])]);
        let nothing = tensor(&[3, 0], &[0f32; 0]);
        refuses("GatherNd", &[], &[nothing.clone(), tensor(&[1, 1], &[0i32])], "nothing to gather");
        check("GatherNd", &[], &[nothing, tensor(&[0, 1], &[0i32; 0])], &[tensor(&[0, 0], &[0f32; 0])]);
        refuses("GatherNd", &[], &[scalar(1f32), tensor(&[5, 0], &[0i32; 0])], "is a scalar");
    }

    #[test]
    fn a_table_is_read_by_row() {
        let info = |dims: &[usize]| TensorInfo {
            dtype: DType::F32,
            shape: Shape::new(dims).unwrap(),
            is_bound: false,
            held: Held::Streamed,
        };
        let weight = |params: &[usize], indices: &[usize], output: &[usize]| {
            let (inputs, outputs) = ([info(params), info(indices)], [info(output)]);
            let call = Call {
                inputs: &inputs,
                outputs: &outputs,
                threads: 1,
                isa: tightfit_kernels::Isa::detect(),
                window_bytes: 1,
            };
            operator("GatherV2", &[]).unwrap().weight(&call).is_some()
        };
        assert!(weight(&[100, 8], &[2, 3], &[2, 3, 8]));
        assert!(!weight(&[100, 8], &[3], &[100, 3]));
    }
}
