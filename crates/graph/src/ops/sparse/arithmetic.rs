//! Sparse tensors with each other, and reduced: SparseAdd, SparseSparseMaximum and Minimum, SparseSoftmax,
//! SparseReduceSum and Max, and those that give a sparse tensor.
//!
//! A sparse tensor is coordinates `[elements, rank]`, values `[elements]` and a shape `[rank]`, int64. SparseAdd merges two
//! whose coordinates are in order, and drops sums of two elements below its threshold; SparseSparseMaximum and Minimum take an element that
//! is not there for 0. SparseSoftmax is over the last axis of the elements that are there. The reductions are over the axes
//! of their fourth input. How many elements there are depends on the data.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{SparseReduce, sparse_add, sparse_reduce, sparse_softmax, sparse_sparse_extreme};

use super::common::{
    Parts, at_most_rows, check_count, countable_sizes, dims_in, give_dims, room, room_bytes, set_rows,
    shape_fact,
};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

macro_rules! reductions {
    ($($name:literal => $is_max:literal, $is_sparse:literal;)*) => {
        &[
            Registration { name: "SparseAdd", import: |_| Ok(Box::new(SparseAdd)) },
            Registration { name: "SparseSparseMaximum", import: |_| Ok(Box::new(Extreme { is_largest: true })) },
            Registration { name: "SparseSparseMinimum", import: |_| Ok(Box::new(Extreme { is_largest: false })) },
            Registration { name: "SparseSoftmax", import: |_| Ok(Box::new(SparseSoftmax)) },
            $(Registration {
                name: $name,
                import: |a| Ok(Box::new(Reduce {
                    name: $name,
                    is_max: $is_max,
                    is_sparse: $is_sparse,
                    keeps_dims: a.bool_or("keep_dims", false)?,
                })),
            }),*
        ]
    };
}

pub(crate) const OPS: &[Registration] = reductions! {
    "SparseReduceSum" => false, false;
    "SparseReduceMax" => true, false;
    "SparseReduceSumSparse" => false, true;
    "SparseReduceMaxSparse" => true, true;
};

const A: Parts = Parts::from(0);
const B: Parts = Parts::from(3);

/// Facts of two sparse tensors merged: how many elements there are at most, and how many axes.
fn merged(inputs: &[&Fact]) -> Result<(Dim, Dim, DType), OpError> {
    let ((a, rank), (b, other)) = (A.infer(inputs)?, B.infer(inputs)?);
    let values = shared::input(inputs, A.values)?;
    shared::need_type(B.values, shared::input(inputs, B.values)?, &[values.dtype])?;
    if !(values.dtype.is_float() || values.dtype.is_integer()) {
        return Err(OpError::input(A.values, format!("is of type {}, which is not supported", values.dtype)));
    }
    let rank = shared::extent::agree(rank, other, false)
        .ok_or_else(|| OpError::input(B.shape, format!("is of {other} axes, not of {rank}")))?;
    Ok((a.plus(b), rank, values.dtype))
}

/// Refuses two sparse tensors of different shapes.
fn check_same_shape(run: &Run<'_>) -> Result<(), OpError> {
    let (a, b) = (A.dims(run)?, B.dims(run)?);
    if a[..] == b[..] {
        return Ok(());
    }
    Err(OpError::input(B.shape, format!("is {:?}, not {:?}", &b[..], &a[..])))
}

/// SparseAdd.
#[derive(Debug)]
struct SparseAdd;

impl Operator for SparseAdd {
    fn name(&self) -> &'static str {
        "SparseAdd"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (most, rank, dtype) = merged(inputs)?;
        let threshold = shared::input(inputs, 6)?;
        shared::need_type(6, threshold, &[dtype])?;
        shared::dims_of_rank(6, threshold, 0)?;
        let dims = dims_in(inputs, A.shape)?;
        Ok(vec![at_most_rows(DType::I64, most, &[rank]), at_most_rows(dtype, most, &[]), shape_fact(&dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set(run, 2, [run.shape(A.shape).elements()])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        check_same_shape(run)?;
        let (a, b) =
            ((A.coordinates(run)?, run.input(A.values)?), (B.coordinates(run)?, run.input(B.values)?));
        let threshold = run.input(6)?;
        let count = sparse_add(a, b, threshold, None)?;
        set_rows(run, 0, count, a.0.rank())?;
        let (rows, mut values) = (run.out(0)?, run.output(1)?);
        sparse_add(a, b, threshold, Some((rows, &mut values)))?;
        let dims = A.dims(run)?;
        give_dims(run, 2, dims.len(), dims.iter().copied())
    }
}

/// SparseSparseMaximum and SparseSparseMinimum.
#[derive(Debug)]
struct Extreme {
    is_largest: bool,
}

impl Operator for Extreme {
    fn name(&self) -> &'static str {
        if self.is_largest { "SparseSparseMaximum" } else { "SparseSparseMinimum" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (most, rank, dtype) = merged(inputs)?;
        Ok(vec![at_most_rows(DType::I64, most, &[rank]), at_most_rows(dtype, most, &[])])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds how many elements there are.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        check_same_shape(run)?;
        let (a, b) =
            ((A.coordinates(run)?, run.input(A.values)?), (B.coordinates(run)?, run.input(B.values)?));
        let dims = A.dims(run)?;
        a.0.check(self.name(), &dims)?;
        b.0.check(self.name(), &dims)?;
        let count = sparse_sparse_extreme(self.is_largest, a, b, None)?;
        set_rows(run, 0, count, a.0.rank())?;
        let (rows, mut values) = (run.out(0)?, run.output(1)?);
        sparse_sparse_extreme(self.is_largest, a, b, Some((rows, &mut values)))?;
        Ok(())
    }
}

/// SparseSoftmax.
#[derive(Debug)]
struct SparseSoftmax;

impl Operator for SparseSoftmax {
    fn name(&self) -> &'static str {
        "SparseSoftmax"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, rank) = A.infer(inputs)?;
        let values = shared::input(inputs, A.values)?;
        shared::need_type(A.values, values, &[DType::F32, DType::F64, DType::F16])?;
        if rank.size().is_some_and(|rank| rank < 2) {
            return Err(OpError::input(A.shape, format!("is of {rank} axes; at least 2 are needed")));
        }
        Ok(vec![Fact::new(values.dtype, Dims::new([count]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, A.values)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        order_of_values(call)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        // A shape has no negative dimension; whether coordinates lie in it TensorFlow does not ask.
        let rank = countable_sizes(run, A.shape)?.len();
        let coordinates = A.coordinates(run)?;
        let (order, _) = room::<u32>(run.scratch()?, coordinates.len())?;
        // As in TensorFlow the elements come out in the order of their coordinates, however they come in.
        let mut classes = SparseReduce { is_reduced: [false; MAX_RANK], keeps_dims: false, is_max: false };
        classes.is_reduced[rank.saturating_sub(1)] = true;
        classes.sort(&coordinates, order)?;
        Ok(sparse_softmax(&coordinates, run.input(A.values)?, order, &mut run.output(0)?)?)
    }
}

/// Room for the number of each element, sorted.
fn order_of_values(call: &Call<'_>) -> Memory {
    Memory::scratch(room_bytes::<u32>(call.inputs.get(A.values).map_or(0, |values| values.shape.elements())))
}

/// SparseReduceSum and its like.
#[derive(Debug)]
struct Reduce {
    name: &'static str,
    is_max: bool,
    /// The result is a sparse tensor too.
    is_sparse: bool,
    keeps_dims: bool,
}

impl Reduce {
    fn kernel(&self, axes: &[i64], rank: usize) -> Result<SparseReduce, OpError> {
        let mut is_reduced = [false; MAX_RANK];
        for axis in axes {
            let axis = shared::axis(*axis, rank)
                .ok_or_else(|| OpError::input(3, format!("names {axis}, no axis of {rank}")))?;
            is_reduced[axis] = true;
        }
        Ok(SparseReduce { is_reduced, keeps_dims: self.keeps_dims, is_max: self.is_max })
    }
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        self.name
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, _) = A.infer(inputs)?;
        check_count(0, count)?;
        let (values, axes) = (shared::input(inputs, 1)?, shared::input(inputs, 3)?);
        shared::need_type(3, axes, &[DType::I32])?;
        if !(values.dtype.is_float() || values.dtype.is_integer()) {
            return Err(OpError::input(1, format!("is of type {}, which is not supported", values.dtype)));
        }
        let dims = dims_in(inputs, 2)?;
        let reduced = match (dims.get(), axes.ints()) {
            (Some(dims), Some(axes)) => {
                let kernel = self.kernel(&axes, dims.len())?;
                let kept = kernel.axes(dims.len()).map(|axis| axis.map_or(Dim::Known(1), |axis| dims[axis]));
                Dims::new(kept.collect::<Vec<_>>())
            }
            (Some(dims), None) if self.keeps_dims => Dims::of_rank(dims.len()),
            _ => Dims::UNKNOWN,
        };
        if !self.is_sparse {
            return Ok(vec![Fact::new(values.dtype, reduced)]);
        }
        let rank = reduced.rank().map_or(Dim::Unknown, |rank| Dim::Known(rank as i64));
        Ok(vec![
            at_most_rows(DType::I64, count, &[rank]),
            at_most_rows(values.dtype, count, &[]),
            shape_fact(&reduced),
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        order_of_values(call)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (dims, axes) = (A.dims(run).ok()?, run.ints::<MAX_RANK>(3).ok()?);
        let kernel = self.kernel(&axes, dims.len()).ok()?;
        if self.is_sparse {
            return reshape::set(run, 2, [kernel.axes(dims.len()).count()]);
        }
        reshape::set(run, 0, kernel.axes(dims.len()).map(|axis| axis.map_or(1, |axis| dims[axis] as usize)))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (coordinates, dims) = (A.coordinates(run)?, countable_sizes(run, A.shape)?);
        let kernel = self.kernel(&run.ints::<MAX_RANK>(3)?, dims.len())?;
        let values = run.input(1)?;
        let (order, _) = room::<u32>(run.scratch()?, coordinates.len())?;
        kernel.sort(&coordinates, order)?;
        let size = |axis: Option<usize>| axis.map_or(1, |axis| dims[axis]);
        if !self.is_sparse {
            let mut output = run.output(0)?;
            output.bytes().fill(0);
            // As in TensorFlow only the place in all of the output counts. Of one outside of it there is no element.
            let mut place = |_: usize, row: &[i64]| {
                let place = kernel.axes(dims.len()).fold(0i64, |sum, axis| {
                    sum.wrapping_mul(size(axis)).wrapping_add(axis.map_or(0, |axis| row[axis]))
                });
                usize::try_from(place).unwrap_or(usize::MAX)
            };
            return Ok(sparse_reduce(&kernel, &coordinates, values, order, &mut place, &mut output)?);
        }
        let (count, rank) = (kernel.count(&coordinates, order), kernel.axes(dims.len()).count());
        run.set_output_shape(0, Shape::new(&[count, rank])?)?;
        run.set_output_shape(1, Shape::new(&[count])?)?;
        let (rows, mut output) = (run.out::<i64>(0)?, run.output(1)?);
        let mut place = |number: usize, row: &[i64]| {
            let to = rows.get_mut(number * rank..(number + 1) * rank).unwrap_or_default();
            for (to, axis) in to.iter_mut().zip(kernel.axes(dims.len())) {
                *to = axis.map_or(0, |axis| row[axis]);
            }
            number
        };
        sparse_reduce(&kernel, &coordinates, values, order, &mut place, &mut output)?;
        give_dims(run, 2, rank, kernel.axes(dims.len()).map(size))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, flag, refuses, scalar, tensor};

    #[test]
    fn elements_of_both_are_merged() {
        let a = [tensor(&[2, 1], &[0i64, 2]), tensor(&[2], &[1f32, -2.0]), tensor(&[1], &[4i64])];
        let b = [tensor(&[2, 1], &[2i64, 3]), tensor(&[2], &[2.5f32, 4.0]), tensor(&[1], &[4i64])];
        let both = [a.to_vec(), b.to_vec()].concat();
        let with = |threshold: f32| [both.clone(), vec![scalar(threshold)]].concat();
        let shape = tensor(&[1], &[4i64]);
        let sum = [tensor(&[3, 1], &[0i64, 2, 3]), tensor(&[3], &[1f32, 0.5, 4.0]), shape.clone()];
        check("SparseAdd", &[], &with(0.0), &sum);
        // The threshold is for what is in both.
        let kept = [tensor(&[2, 1], &[0i64, 3]), tensor(&[2], &[1f32, 4.0]), shape];
        check("SparseAdd", &[], &with(2.0), &kept);
        let rows = tensor(&[3, 1], &[0i64, 2, 3]);
        check("SparseSparseMinimum", &[], &both, &[rows.clone(), tensor(&[3], &[0f32, -2.0, 0.0])]);
        check("SparseSparseMaximum", &[], &both, &[rows, tensor(&[3], &[1f32, 2.5, 4.0])]);
        let mut with_nan = both.clone();
        with_nan[1] = tensor(&[2], &[f32::NAN, f32::NAN]);
        for name in ["SparseSparseMinimum", "SparseSparseMaximum"] {
            let extremes = crate::testing::run(name, &[], &with_nan).unwrap();
            assert!(extremes[1].values::<f32>()[..2].iter().all(|v| v.is_nan()), "{name}");
        }
        let mut odd = both.clone();
        odd[5] = tensor(&[1], &[5i64]);
        refuses("SparseSparseMaximum", &[], &odd, "not [4]");
    }

    #[test]
    fn rows_are_reduced() {
        let sparse = [
            tensor(&[4, 2], &[0i64, 1, 0, 2, 2, 0, 2, 2]),
            tensor(&[4], &[1f32, 2.0, -3.0, -4.0]),
            tensor(&[2], &[3i64, 3]),
        ];
        let over = |axes: &[i32]| [sparse.to_vec(), vec![tensor(&[axes.len()], axes)]].concat();
        check("SparseReduceSum", &[], &over(&[1]), &[tensor(&[3], &[3f32, 0.0, -7.0])]);
        check("SparseReduceMax", &[], &over(&[-1]), &[tensor(&[3], &[2f32, 0.0, -3.0])]);
        let kept = [tensor(&[3, 2], &[0i64, 0, 0, 1, 0, 2]), tensor(&[3], &[-3f32, 1.0, -2.0])];
        let [rows, values] = kept;
        let outputs = [rows, values, tensor(&[2], &[1i64, 3])];
        check("SparseReduceSumSparse", &[("keep_dims", flag(true))], &over(&[0]), &outputs);
        refuses("SparseReduceSum", &[], &over(&[2]), "no axis");
        let mut with_zero = over(&[0]);
        with_zero[1] = tensor(&[4], &[1f32, -1.0, -0.0, -4.0]);
        let sums = crate::testing::run("SparseReduceSumSparse", &[], &with_zero).unwrap();
        assert!(sums[1].values::<f32>()[0].is_sign_positive(), "-0 alone adds up to 0");
        check("SparseReduceSum", &[], &over(&[1, -1]), &[tensor(&[3], &[3f32, 0.0, -7.0])]);
        // Coordinates along what is reduced are not looked at, nor any of a sparse result.
        let mut far = over(&[1]);
        far[0] = tensor(&[4, 2], &[0i64, 1, 0, 200, 2, 0, 2, -2]);
        check("SparseReduceSum", &[], &far, &[tensor(&[3], &[3f32, 0.0, -7.0])]);
        far[3] = tensor(&[1], &[0i32]);
        refuses("SparseReduceSum", &[], &far, "lie in the shape");
        let rows = tensor(&[4, 1], &[-2i64, 0, 1, 200]);
        let outputs = [rows, tensor(&[4], &[-4f32, -3.0, 1.0, 2.0]), tensor(&[1], &[3i64])];
        check("SparseReduceSumSparse", &[], &far, &outputs);
        let softmax = tensor(&[4], &[0.268_941_43f32, 0.731_058_6, 0.731_058_6, 0.268_941_43]);
        check_close("SparseSoftmax", &[], &sparse, &softmax, 1e-6);
        let unsorted = [
            tensor(&[4, 2], &[2i64, 2, 0, 2, 2, 0, 0, 1]),
            tensor(&[4], &[-4f32, 2.0, -3.0, 1.0]),
            sparse[2].clone(),
        ];
        check_close("SparseSoftmax", &[], &unsorted, &softmax, 1e-6);
        let mut negative = sparse.clone();
        negative[2] = tensor(&[2], &[2i64, -1]);
        refuses("SparseSoftmax", &[], &negative, "-1");
    }

    #[test]
    fn elements_can_be_counted() {
        let huge = [tensor(&[1, 2], &[0i64, 0]), tensor(&[1], &[1f32]), tensor(&[2], &[i64::MAX, 20])];
        refuses("SparseSoftmax", &[], &huge, "more elements than can be counted");
        let reduced = [&huge[..], &[tensor(&[1], &[0i32])]].concat();
        refuses("SparseReduceSum", &[], &reduced, "more elements than can be counted");
    }
}
