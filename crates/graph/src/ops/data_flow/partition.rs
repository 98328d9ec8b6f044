//! Rows dealt out and brought together again: DynamicPartition, DynamicStitch, ParallelDynamicStitch.
//!
//! DynamicPartition sends each slice of `data` to the output that the int32 `partitions`, whose shape is the first
//! axes of `data`, names. DynamicStitch puts slice `i` of input `n` at row `indices[n][i]`; of several slices for one
//! row the last counts, and a row nobody names is 0. Types: any, strings included. How many rows there are depends on
//! data: memory is planned for all going to one output, and for as many rows as there are indices.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::dynamic_partition;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{Indices, agree};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "DynamicPartition", import: import_partition },
    Registration { name: "DynamicStitch", import: |_| Ok(Box::new(DynamicStitch)) },
    Registration { name: "ParallelDynamicStitch", import: |_| Ok(Box::new(DynamicStitch)) },
];

fn import_partition(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.outputs("num_partitions")? {
        0 => Err(OpError::attribute("num_partitions", "is 0")),
        count => Ok(Box::new(DynamicPartition { count })),
    }
}

/// Checks that `prefix` is the first axes of `data`, and returns the others.
fn behind<'d>(index: usize, prefix: &Fact, data: &'d Fact) -> Result<Option<&'d [Dim]>, OpError> {
    let (Some(first), Some(dims)) = (prefix.dims.get(), data.dims.get()) else { return Ok(None) };
    let is_bound = prefix.is_bound || data.is_bound;
    let fits =
        first.len() <= dims.len() && first.iter().zip(dims).all(|(a, b)| agree(*a, *b, is_bound).is_some());
    if fits {
        return Ok(Some(&dims[first.len()..]));
    }
    Err(OpError::input(index, format!("of shape {} is not the first axes of {}", prefix.dims, data.dims)))
}

/// The shape of `rows` slices of the shape that is after the first `rank` axes of `data`.
fn rows_shape(rows: usize, rank: usize, data: &Shape) -> Result<Shape, OpError> {
    let slice = data.get(rank..).ok_or(OpError::Internal("data have fewer axes than were inferred"))?;
    let mut dims = [0; MAX_RANK + 1];
    dims[0] = rows;
    dims[1..=slice.len()].copy_from_slice(slice);
    Ok(Shape::new(&dims[..=slice.len()])?)
}

/// Deals slices out.
#[derive(Debug)]
struct DynamicPartition {
    count: usize,
}

impl Operator for DynamicPartition {
    fn name(&self) -> &'static str {
        "DynamicPartition"
    }

    fn max_outputs(&self, _inputs: usize) -> usize {
        self.count
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (data, partitions) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, partitions, &[DType::I32])?;
        let Some(slice) = behind(1, partitions, data)? else {
            return Ok(vec![Fact::new(data.dtype, Dims::UNKNOWN); self.count]);
        };
        let dims = |rows| Dims::new([&[rows], slice].concat());
        let Some(ids) = partitions.ints() else {
            return Ok(vec![
                Fact::at_most_along(data.dtype, dims(partitions.dims.elements()), 0);
                self.count
            ]);
        };
        let mut rows = vec![0i64; self.count];
        for id in ids {
            if let Some(rows) = usize::try_from(id).ok().and_then(|id| rows.get_mut(id)) {
                *rows += 1;
            }
        }
        Ok(rows.into_iter().map(|rows| Fact::new(data.dtype, dims(Dim::Known(rows)))).collect())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (data, partitions) = (run.input(0)?, run.input(1)?);
        let ids = run.slice::<i32>(1)?;
        if let Some(id) =
            ids.iter().find(|id| usize::try_from(**id).is_ok_and(|id| id >= self.count) || **id < 0)
        {
            return Err(OpError::input(1, format!("has {id}, which is not in [0, {})", self.count)));
        }
        for id in 0..self.count {
            let rows = ids.iter().filter(|i| **i as usize == id).count();
            run.set_output_shape(id, rows_shape(rows, partitions.shape().rank(), data.shape())?)?;
            dynamic_partition(id as i32, partitions, data, &mut run.output(id)?)?;
        }
        Ok(())
    }
}

/// Brings slices together.
#[derive(Debug)]
struct DynamicStitch;

impl Operator for DynamicStitch {
    fn name(&self) -> &'static str {
        "DynamicStitch"
    }

    fn can_outgrow(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let count = inputs.len() / 2;
        if count == 0 || inputs.len() % 2 == 1 {
            return Err(OpError::input(inputs.len(), "is missing"));
        }
        let (indices, data) = inputs.split_at(count);
        let mut slice: Option<Vec<Dim>> = None;
        let mut rows = Dim::Known(0);
        let mut highest = Some(-1);
        for (i, (at, data_fact)) in indices.iter().zip(data).enumerate() {
            shared::need_type(i, at, &[DType::I32])?;
            shared::need_type(count + i, data_fact, &[data[0].dtype])?;
            let other = || {
                OpError::input(count + i, format!("of shape {} has other slices than before", data_fact.dims))
            };
            if let Some(behind) = behind(i, at, data_fact)? {
                let so_far = slice.get_or_insert_with(|| behind.to_vec());
                if so_far.len() != behind.len() {
                    return Err(other());
                }
                for (a, b) in so_far.iter_mut().zip(behind) {
                    *a = agree(*a, *b, data_fact.is_bound).ok_or_else(other)?;
                }
            }
            rows = rows.plus(at.dims.elements());
            highest = highest.zip(at.ints()).map(|(max, ints)| ints.into_iter().fold(max, i64::max));
        }
        let dtype = data[0].dtype;
        let Some(slice) = slice else { return Ok(vec![Fact::new(dtype, Dims::UNKNOWN)]) };
        let dims = |rows| Dims::new([&[rows], &slice[..]].concat());
        Ok(vec![match highest {
            Some(highest) => Fact::new(dtype, dims(Dim::Known(highest + 1))),
            None => Fact::at_most_along(dtype, dims(rows), 0),
        }])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds and checks the shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let count = run.inputs() / 2;
        let mut rows = 0;
        let mut most = 0;
        for i in 0..count {
            let indices = Indices::new(run, i)?;
            most += indices.len();
            for n in 0..indices.len() {
                let index = usize::try_from(indices.get(n))
                    .map_err(|_| OpError::input(i, format!("has {}, which is negative", indices.get(n))))?;
                rows = rows.max(index + 1);
            }
        }
        let shape = rows_shape(rows, run.shape(0).rank(), &run.shape(count))?;
        run.set_output_shape(0, shape).map_err(|_| {
            OpError::Unsupported(format!(
                "a row of {rows} is named by {most} indices; no memory was planned for it"
            ))
        })?;
        let out = run.out_bytes(0)?;
        out.fill(0);
        let bytes = out.len() / rows.max(1);
        for i in 0..count {
            let (indices, data) = (Indices::new(run, i)?, run.input(count + i)?);
            for n in 0..indices.len() {
                let row = indices.index(i, n, rows)? * bytes;
                out[row..row + bytes].copy_from_slice(&data.bytes()[n * bytes..(n + 1) * bytes]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn deals_out() {
        let x = tensor(&[3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let parts = [tensor(&[1, 2], &[2f32, 3.0]), tensor(&[2, 2], &[0f32, 1.0, 4.0, 5.0])];
        let two = [("num_partitions", int(2))];
        check("DynamicPartition", &two, &[x.clone(), tensor(&[3], &[1i32, 0, 1])], &parts);
        check(
            "DynamicPartition",
            &two[..1],
            &[scalar(7i8), scalar(1i32)],
            &[tensor::<i8>(&[0], &[]), tensor(&[1], &[7i8])],
        );
        refuses("DynamicPartition", &two, &[x.clone(), tensor(&[3], &[1i32, 2, 1])], "has 2");
        refuses("DynamicPartition", &two, &[x, tensor(&[2], &[1i32, 0])], "first axes");
    }

    #[test]
    fn brings_together() {
        let indices = [tensor(&[2], &[2i32, 0]), scalar(1i32)];
        let data = [tensor(&[2, 2], &[4i64, 5, 0, 1]), tensor(&[2], &[2i64, 3])];
        let inputs = [&indices[..], &data[..]].concat();
        check("DynamicStitch", &[], &inputs, &[tensor(&[3, 2], &[0i64, 1, 2, 3, 4, 5])]);
        let twice = [tensor(&[3], &[1i32, 0, 1]), tensor(&[3], &[7u8, 8, 9])];
        check("ParallelDynamicStitch", &[], &twice, &[tensor(&[2], &[8u8, 9])]);
        refuses("DynamicStitch", &[], &[tensor(&[1], &[-1i32]), tensor(&[1], &[1f32])], "negative");
        refuses("DynamicStitch", &[], &[tensor(&[2], &[0i32, 1]), tensor(&[1], &[1f32])], "first axes");
    }
}
