//! Sparse tensors under other shapes, in order, joined and cut: SparseReshape, SparseReorder, SparseConcat, SparseSlice,
//! SparseSplit.
//!
//! A sparse tensor is coordinates `[elements, rank]`, values `[elements]` of any type and a shape `[rank]`, int64. How many
//! elements a part has depends on the data; it is at most all.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{
    Coordinates, SplitAxis, copy_elements, gather_sorted, sort_coordinates, sparse_part, sparse_reshape,
};

use super::common::{
    Parts, at_most_rows, check_count, countable_sizes, dims_in, give_dims, room, room_bytes, set_rows,
    shape_fact, sizes,
};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{agree, int_input};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "SparseReshape", import: |_| Ok(Box::new(SparseReshape)) },
    Registration { name: "SparseReorder", import: |_| Ok(Box::new(SparseReorder)) },
    Registration { name: "SparseConcat", import: import_concat },
    Registration { name: "SparseSlice", import: |_| Ok(Box::new(SparseSlice)) },
    Registration {
        name: "SparseSplit",
        import: |a| match a.outputs("num_split")? {
            0 => Err(OpError::attribute("num_split", "is 0; at least 1 is needed")),
            parts => Ok(Box::new(SparseSplit { parts })),
        },
    },
];

/// SparseReshape: coordinates, the shape that they are in, and that which they shall be in.
#[derive(Debug)]
struct SparseReshape;

/// The shape asked for, with a number for -1.
fn resolved(from: &[i64], asked: &[i64]) -> Result<[i64; MAX_RANK], OpError> {
    let mut to = [0; MAX_RANK];
    to[..asked.len()].copy_from_slice(asked);
    let product =
        |dims: &[i64]| dims.iter().filter(|dim| **dim != -1).try_fold(1i64, |n, dim| n.checked_mul(*dim));
    let overflow = || OpError::input(2, "asks for more elements than can be counted");
    let have = product(from).ok_or_else(|| OpError::input(1, "has too many elements"))?;
    let others = product(asked).ok_or_else(overflow)?;
    if let Some(dim) = asked.iter().find(|d| **d < -1) {
        return Err(OpError::input(2, format!("asks for a dimension of {dim}")));
    }
    match asked.iter().position(|d| *d == -1) {
        Some(_) if asked.iter().filter(|d| **d == -1).count() > 1 => {
            Err(OpError::input(2, "has more than one -1"))
        }
        Some(_) if others == 0 => Err(OpError::input(2, "has a -1 beside a 0")),
        Some(at) if have % others == 0 => {
            to[at] = have / others;
            Ok(to)
        }
        None if have == others => Ok(to),
        _ => Err(OpError::input(2, format!("asks for the shape {asked:?} where there are {have} places"))),
    }
}

impl Operator for SparseReshape {
    fn name(&self) -> &'static str {
        "SparseReshape"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let indices = shared::input(inputs, 0)?;
        for (index, rank) in [(0, 2), (1, 1), (2, 1)] {
            let fact = shared::input(inputs, index)?;
            shared::need_type(index, fact, &[DType::I64])?;
            shared::dims_of_rank(index, fact, rank)?;
        }
        let (count, columns) =
            indices.dims.get().map_or((Dim::Unknown, None), |dims| (dims[0], dims[1].size()));
        let from = shared::input(inputs, 1)?;
        let axes = from.dims.get().and_then(|dims| dims[0].size());
        if columns.zip(axes).is_some_and(|(columns, axes)| columns != axes)
            && !indices.is_bound
            && !from.is_bound
        {
            return Err(OpError::input(
                0,
                format!("is of shape {} for the axes of {}", indices.dims, from.dims),
            ));
        }
        let asked = shared::input(inputs, 2)?;
        let rank = asked.dims.get().map_or(Dim::Unknown, |dims| dims[0]);
        let mut shape = Fact::new(DType::I64, Dims::new([rank]));
        // Where it is sure that there is one.
        if let (Some(mut dims), Some(_)) = (asked.dims_value(), columns.zip(axes)) {
            let rest = dims.iter().position(|dim| *dim == Dim::Known(-1));
            let product = |dims: &[Dim]| {
                dims.iter().filter(|d| **d != Dim::Known(-1)).fold(Dim::Known(1), |n, dim| n.times(*dim))
            };
            if let Some(at) = rest {
                let have = from.dims_value().map_or(Dim::Unknown, |dims| product(&dims));
                dims[at] = match product(&dims) {
                    Dim::Known(0) => Dim::Unknown,
                    others => have.divided_by(others),
                };
            }
            shape = Fact::of_dims(DType::I64, Dims::new([rank]), &dims);
        }
        Ok(vec![Fact::new(DType::I64, Dims::new([count, rank])), shape])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (count, rank) = (*run.shape(0).first()?, run.shape(2).elements());
        reshape::set(run, 0, [count, rank])?;
        reshape::set(run, 1, [rank])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (from, asked) = (sizes(run, 1)?, run.ints::<MAX_RANK>(2)?);
        let to = resolved(&from, &asked)?;
        let to = &to[..asked.len()];
        let shape = run.shape(0);
        if shape.rank() != 2 || shape[1] != from.len() {
            return Err(OpError::input(0, format!("is of shape {shape} for {} axes", from.len())));
        }
        let coordinates = Coordinates::new(run.slice(0)?, shape[0], shape[1])?;
        sparse_reshape(&coordinates, &from, to, run.out(0)?)?;
        give_dims(run, 1, to.len(), to.iter().copied())
    }
}

/// SparseReorder.
#[derive(Debug)]
struct SparseReorder;

impl Operator for SparseReorder {
    fn name(&self) -> &'static str {
        "SparseReorder"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, rank) = Parts::from(0).infer(inputs)?;
        check_count(0, count)?;
        let values = shared::input(inputs, 1)?;
        Ok(vec![Fact::new(DType::I64, Dims::new([count, rank])), Fact::new(values.dtype, Dims::new([count]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(room_bytes::<u32>(call.inputs.get(1).map_or(0, |values| values.shape.elements())))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        run.set_output_shape(0, run.shape(0)).ok()?;
        run.set_output_shape(1, run.shape(1)).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let coordinates = Parts::from(0).coordinates(run)?;
        let values = run.input(1)?;
        let (order, _) = room::<u32>(run.scratch()?, coordinates.len())?;
        sort_coordinates(&coordinates, order)?;
        let outputs = (run.out(0)?, run.out_bytes(1)?);
        Ok(gather_sorted(&coordinates, (values.bytes(), values.dtype().bytes()), order, outputs)?)
    }
}

fn import_concat(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SparseConcat { axis: attributes.int("concat_dim")?, count: attributes.count("N")? }))
}

/// SparseConcat: all coordinates, then all values, then all shapes.
#[derive(Debug)]
struct SparseConcat {
    axis: i64,
    count: usize,
}

impl SparseConcat {
    fn parts(&self) -> impl Iterator<Item = Parts> + Clone {
        let count = self.count;
        (0..count).map(move |n| Parts { indices: n, values: count + n, shape: 2 * count + n })
    }

    fn axis(&self, rank: usize) -> Result<usize, OpError> {
        shared::axis(self.axis, rank)
            .ok_or_else(|| OpError::attribute("concat_dim", format!("is {}, no axis of {rank}", self.axis)))
    }
}

impl Operator for SparseConcat {
    fn name(&self) -> &'static str {
        "SparseConcat"
    }

    fn grows_with(&self, input: usize) -> bool {
        input >= 2 * self.count
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (mut total, mut rank) = (Dim::Known(0), Dim::Unknown);
        let first = shared::input(inputs, self.count)?;
        let mut dims: Option<Vec<Dim>> = None;
        let mut is_open = false;
        for parts in self.parts() {
            shared::need_type(parts.values, shared::input(inputs, parts.values)?, &[first.dtype])?;
            let (count, axes) = parts.infer(inputs)?;
            total = total.plus(count);
            rank = agree(rank, axes, false).ok_or_else(|| {
                OpError::input(parts.shape, format!("is of {axes} axes, unlike one before it"))
            })?;
            let shape = shared::input(inputs, parts.shape)?;
            let Some(sizes) = shape.dims_value() else {
                is_open = true;
                continue;
            };
            let axis = self.axis(sizes.len())?;
            dims = Some(match dims {
                None => sizes,
                Some(mut dims) => {
                    for (n, (a, b)) in dims.iter_mut().zip(sizes).enumerate() {
                        *a = if n == axis {
                            a.plus(b)
                        } else {
                            agree(*a, b, shape.is_bound)
                                .ok_or_else(|| OpError::input(parts.shape, "is unlike one before it"))?
                        };
                    }
                    dims
                }
            });
        }
        if let Some(rank) = rank.size() {
            self.axis(rank)?;
        }
        check_count(0, total)?;
        let shape = match dims.filter(|_| !is_open) {
            Some(dims) => shape_fact(&Dims::new(dims)),
            None => Fact::new(DType::I64, Dims::new([rank])),
        };
        Ok(vec![
            Fact::new(DType::I64, Dims::new([total, rank])),
            Fact::new(first.dtype, Dims::new([total])),
            shape,
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let numbers: usize = call.inputs.iter().take(self.count).map(|i| i.shape.elements()).sum();
        let values = call.inputs.iter().skip(self.count).take(self.count);
        let elements: usize = values.map(|i| i.shape.elements()).sum();
        Memory::scratch(room_bytes::<i64>(numbers).saturating_add(room_bytes::<u32>(elements)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let total = self.parts().map(|parts| run.shape(parts.values).elements()).sum();
        let rank = run.shape(2 * self.count).elements();
        reshape::set(run, 0, [total, rank])?;
        reshape::set(run, 1, [total])?;
        reshape::set(run, 2, [rank])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let first = sizes(run, 2 * self.count)?;
        let (axis, rank) = (self.axis(first.len())?, first.len());
        let total = run.output_shape(1).elements();
        let (rows, scratch) = room::<i64>(run.scratch()?, total * rank)?;
        let (mut offset, mut at) = (0i64, 0);
        for parts in self.parts() {
            let (coordinates, dims) = (parts.coordinates(run)?, parts.dims(run)?);
            let is_like = dims.len() == rank && (0..rank).all(|n| n == axis || dims[n] == first[n]);
            if !is_like {
                return Err(OpError::input(
                    parts.shape,
                    format!("is {:?}, unlike {:?} before", &dims[..], &first[..]),
                ));
            }
            for n in 0..coordinates.len() {
                let to = &mut rows[at..at + rank];
                to.copy_from_slice(coordinates.row(n));
                to[axis] = to[axis].wrapping_add(offset);
                at += rank;
            }
            offset = offset
                .checked_add(dims[axis])
                .ok_or_else(|| OpError::input(parts.shape, "makes the axis too long"))?;
        }
        let joined = Coordinates::new(rows, total, rank)?;
        let (order, _) = room::<u32>(scratch, total)?;
        sort_coordinates(&joined, order)?;
        let bytes = run.output_dtype(1).bytes();
        let (to, to_values) = (run.out::<i64>(0)?, run.out_bytes(1)?);
        for (to, n) in to.chunks_exact_mut(rank.max(1)).zip(order.iter()) {
            to.copy_from_slice(joined.row(*n as usize));
        }
        for (place, n) in to_values.chunks_exact_mut(bytes).zip(order.iter()) {
            // There are few tensors: which of them an element is of is counted off.
            let mut element = *n as usize;
            for parts in self.parts() {
                let values = run.input(parts.values)?;
                let count = values.shape().elements();
                if element < count {
                    copy_elements(values.bytes(), bytes, std::iter::once(element), place)?;
                    break;
                }
                element -= count;
            }
        }
        give_dims(run, 2, rank, (0..rank).map(|n| if n == axis { offset } else { first[n] }))
    }
}

/// SparseSlice: a sparse tensor, where a part of it begins, and how large that is.
#[derive(Debug)]
struct SparseSlice;

/// The size of a slice that ends where its tensor does; before its tensor one may begin.
fn cut(dim: i64, start: i64, size: i64) -> i64 {
    if start < dim.saturating_sub(size) { size } else { dim.saturating_sub(start).max(0) }
}

impl Operator for SparseSlice {
    fn name(&self) -> &'static str {
        "SparseSlice"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, rank) = Parts::from(0).infer(inputs)?;
        for index in 3..5 {
            let fact = shared::input(inputs, index)?;
            shared::need_type(index, fact, &[DType::I64])?;
            shared::dims_of_rank(index, fact, 1)?;
        }
        let values = shared::input(inputs, 1)?;
        Ok(vec![
            at_most_rows(DType::I64, count, &[rank]),
            at_most_rows(values.dtype, count, &[]),
            Fact::new(DType::I64, Dims::new([rank])),
        ])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // How many elements there are the run finds.
        reshape::set(run, 2, [run.shape(2).elements()])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (coordinates, dims) = (Parts::from(0).coordinates(run)?, countable_sizes(run, 2)?);
        let (start, size) = (run.ints::<MAX_RANK>(3)?, sizes(run, 4)?);
        if start.len() != dims.len() || size.len() != dims.len() {
            return Err(OpError::input(
                3,
                format!("and 4 are of {} and {} axes; {} are needed", start.len(), size.len(), dims.len()),
            ));
        }
        let values = run.input(1)?;
        let elements = (values.bytes(), values.dtype().bytes());
        let count = sparse_part(&coordinates, elements, (&start, &size), None)?;
        set_rows(run, 0, count, dims.len())?;
        let outputs = (run.out(0)?, run.out_bytes(1)?);
        sparse_part(&coordinates, elements, (&start, &size), Some(outputs))?;
        give_dims(run, 2, dims.len(), (0..dims.len()).map(|n| cut(dims[n], start[n], size[n])))
    }
}

/// SparseSplit: an axis, and a sparse tensor; all coordinates, all values and all shapes of its parts.
#[derive(Debug)]
struct SparseSplit {
    parts: usize,
}

const SPLIT: Parts = Parts::from(1);

impl Operator for SparseSplit {
    fn name(&self) -> &'static str {
        "SparseSplit"
    }

    fn max_outputs(&self, _: usize) -> usize {
        self.parts.saturating_mul(3)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, rank) = SPLIT.infer(inputs)?;
        let (axis, values) = (shared::input(inputs, 0)?, shared::input(inputs, 2)?);
        shared::need_type(0, axis, &[DType::I64])?;
        shared::dims_of_rank(0, axis, 0)?;
        let rows = std::iter::repeat_n(at_most_rows(DType::I64, count, &[rank]), self.parts);
        let values = std::iter::repeat_n(at_most_rows(values.dtype, count, &[]), self.parts);
        let dims = dims_in(inputs, 3)?;
        let shapes = (0..self.parts as i64).map(|part| {
            let known = axis.int().zip(dims.get()).and_then(|(axis, dims)| {
                let (axis, mut dims) = (shared::axis(axis, dims.len())?, dims.to_vec());
                let size = dims[axis].size().filter(|n| *n >= self.parts)? as i64;
                dims[axis] = Dim::Known(SplitAxis { size, parts: self.parts as i64 }.part(part).1);
                Some(shape_fact(&Dims::new(dims)))
            });
            known.unwrap_or_else(|| Fact::new(DType::I64, Dims::new([rank])))
        });
        Ok(rows.chain(values).chain(shapes).collect())
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let rank = run.shape(3).elements();
        (2 * self.parts..3 * self.parts).try_for_each(|output| reshape::set(run, output, [rank]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (coordinates, dims) = (SPLIT.coordinates(run)?, countable_sizes(run, SPLIT.shape)?);
        let axis = int_input(run, 0)?;
        let axis = shared::axis(axis, dims.len())
            .ok_or_else(|| OpError::input(0, format!("is {axis}, no axis of {}", dims.len())))?;
        if dims[axis] < self.parts as i64 {
            let why = format!("is {} for an axis of {}", self.parts, dims[axis]);
            return Err(OpError::attribute("num_split", why));
        }
        coordinates.check("SparseSplit", &dims)?;
        let split = SplitAxis { size: dims[axis], parts: self.parts as i64 };
        let values = run.input(2)?;
        let elements = (values.bytes(), values.dtype().bytes());
        for part in 0..self.parts {
            let (mut start, mut size) = ([0; MAX_RANK], [0; MAX_RANK]);
            size[..dims.len()].copy_from_slice(&dims);
            (start[axis], size[axis]) = split.part(part as i64);
            let of = (&start[..dims.len()], &size[..dims.len()]);
            let count = sparse_part(&coordinates, elements, of, None)?;
            let [rows, to, shape] = [part, self.parts + part, 2 * self.parts + part];
            run.set_output_shape(rows, Shape::new(&[count, dims.len()])?)?;
            run.set_output_shape(to, Shape::new(&[count])?)?;
            let outputs = (run.out(rows)?, run.out_bytes(to)?);
            sparse_part(&coordinates, elements, of, Some(outputs))?;
            give_dims(run, shape, dims.len(), size.iter().copied())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, refuses, run, scalar, tensor};

    #[test]
    fn coordinates_follow_the_shape() {
        let (indices, from) = (tensor(&[2, 2], &[0i64, 2, 1, 0]), tensor(&[2], &[2i64, 3]));
        let to = tensor(&[2], &[3i64, -1]);
        let moved = tensor(&[2, 2], &[1i64, 0, 1, 1]);
        check("SparseReshape", &[], &[indices.clone(), from.clone(), to], &[moved, tensor(&[2], &[3i64, 2])]);
        refuses("SparseReshape", &[], &[indices.clone(), from.clone(), tensor(&[1], &[5i64])], "6 places");
        let empty = tensor(&[2], &[-1i64, -1]);
        refuses("SparseReshape", &[], &[indices.clone(), from, empty], "more than one");
        // Though the shape that comes out is known.
        let (three, six) = (tensor(&[3], &[1i64, 2, 3]), tensor(&[1], &[6i64]));
        refuses("SparseReshape", &[], &[indices, three, six], "for the axes of");
    }

    #[test]
    fn elements_are_put_in_order_and_joined() {
        let shape = tensor(&[2], &[2i64, 3]);
        let a = (tensor(&[2, 2], &[1i64, 0, 0, 2]), tensor(&[2], &[5f32, 6.0]));
        let sorted = (tensor(&[2, 2], &[0i64, 2, 1, 0]), tensor(&[2], &[6f32, 5.0]));
        check("SparseReorder", &[], &[a.0, a.1, shape.clone()], &[sorted.0.clone(), sorted.1.clone()]);
        let b = (tensor(&[1, 2], &[0i64, 1]), tensor(&[1], &[7f32]), tensor(&[2], &[2i64, 2]));
        let inputs = [sorted.0, b.0, sorted.1, b.1, shape, b.2];
        let joined = [tensor(&[3, 2], &[0i64, 2, 0, 4, 1, 0]), tensor(&[3], &[6f32, 7.0, 5.0])];
        let [rows, values] = joined;
        let outputs = [rows, values, tensor(&[2], &[2i64, 5])];
        check("SparseConcat", &[("concat_dim", int(-1)), ("N", int(2))], &inputs, &outputs);
        refuses("SparseConcat", &[("concat_dim", int(0)), ("N", int(2))], &inputs, "unlike");
    }

    #[test]
    fn parts_begin_at_zero() {
        let sparse =
            [tensor(&[3, 2], &[0i64, 1, 0, 4, 1, 2]), tensor(&[3], &[1i32, 2, 3]), tensor(&[2], &[2i64, 5])];
        let inputs = [sparse.to_vec(), vec![tensor(&[2], &[0i64, 2]), tensor(&[2], &[2i64, 9])]].concat();
        let part = [tensor(&[2, 2], &[0i64, 2, 1, 0]), tensor(&[2], &[2i32, 3]), tensor(&[2], &[2i64, 3])];
        check("SparseSlice", &[], &inputs, &part);
        let split = [vec![scalar(1i64)], sparse.to_vec()].concat();
        let outputs = run("SparseSplit", &[("num_split", int(2))], &split).unwrap();
        let mut from_behind = split.clone();
        from_behind[0] = scalar(-1i64);
        check("SparseSplit", &[("num_split", int(2))], &from_behind, &outputs);
        let mut outside = split.clone();
        outside[1] = tensor(&[3, 2], &[0i64, 1, 0, 4, 1, 1 << 20]);
        refuses("SparseSplit", &[("num_split", int(2))], &outside, "SparseSplit");
        assert_eq!(outputs[0], tensor(&[2, 2], &[0i64, 1, 1, 2]));
        assert_eq!(outputs[3], tensor(&[1], &[2i32]));
        assert_eq!((&outputs[4], &outputs[5]), (&tensor(&[2], &[2i64, 3]), &tensor(&[2], &[2i64, 2])));
        refuses("SparseSplit", &[("num_split", int(6))], &split, "num_split");
    }
}
