//! Pieces of a tensor without gaps: Slice, Split, SplitV.
//!
//! Types: any, strings included. Slice takes the int32 or int64 vectors `begin` and `size`, a size of -1 meaning all
//! that is left. Split takes the axis first and gives `num_split` equal pieces; SplitV takes the tensor, the sizes
//! (one of which may be -1) and the axis. Sizes that are not known when memory is planned are bound by the input's.

use tightfit_core::MAX_RANK;
use tightfit_kernels::slice;

use crate::dim::{Dim, Dims, MOST_DIMS};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{
    Cut, Indices, SMALL_BYTES, axis_input, check_cut, known_axis, minus, need_index_type, not_negative,
    shape_of, vector_len,
};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Slice", import: |_| Ok(Box::new(Slice)) },
    Registration { name: "Split", import: |a| Ok(Box::new(Split { count: count(a)? })) },
    Registration { name: "SplitV", import: |a| Ok(Box::new(SplitV { count: count(a)? })) },
];

fn count(attributes: &Attributes<'_>) -> Result<usize, OpError> {
    match attributes.outputs("num_split")? {
        0 => Err(OpError::attribute("num_split", "is 0")),
        count => Ok(count),
    }
}

/// A box of a tensor.
#[derive(Debug)]
pub struct Slice;

impl Slice {
    /// The first row that is taken, where the slice is of whole rows, and known.
    pub fn first_of_rows(&self, inputs: &[&Fact]) -> Option<usize> {
        let shape = inputs.first()?.dims.concrete()?;
        let (begin, size) = (inputs.get(1)?.ints()?, inputs.get(2)?.ints()?);
        let is_whole = |axis: usize| {
            let (begin, size) = (begin.get(axis).copied(), size.get(axis).copied());
            begin == Some(0) && (size == Some(-1) || size == Some(shape[axis] as i64))
        };
        let first = begin.first().copied()?;
        usize::try_from(first).ok().filter(|_| (1..shape.rank()).all(is_whole))
    }
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0 || input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, begin, size) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        let mut rank = input.dims.rank();
        for (i, vector) in [(1, begin), (2, size)] {
            need_index_type(i, vector)?;
            let len = vector_len(i, vector)?;
            if rank.is_some() && len.is_some() && len != rank {
                return Err(OpError::input(i, "has not one element for each axis"));
            }
            rank = rank.or(len);
        }
        let Some(rank) = rank.filter(|rank| *rank <= MOST_DIMS) else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]);
        };
        let whole = input.dims.get().map_or(vec![Dim::Unknown; rank], <[Dim]>::to_vec);
        let (begins, sizes) = (begin.dims_value(), size.dims_value());
        let mut is_bound = vec![false; rank];
        let mut dims = Vec::with_capacity(rank);
        for (axis, whole) in whole.into_iter().enumerate() {
            let at = |values: &Option<Vec<Dim>>| {
                values.as_ref().and_then(|v| v.get(axis).copied()).unwrap_or(Dim::Unknown)
            };
            let (begin, size) = (at(&begins), at(&sizes));
            check_box(axis, whole, begin, size, input.is_bound)?;
            let len = if size == Dim::Known(-1) { minus(whole, begin) } else { size };
            is_bound[axis] = len == Dim::Unknown && whole != Dim::Unknown;
            dims.push(match len {
                Dim::Unknown => whole,
                // Only of a tensor that is smaller than its bound, where nothing may be left.
                Dim::Known(..0) => Dim::Known(0),
                len => len,
            });
        }
        let values = match (input.dims_value(), begin.int(), &dims[..]) {
            (Some(values), Some(begin), [Dim::Known(len)]) if !is_bound[0] => {
                let end = usize::try_from(begin + len).ok();
                end.and_then(|end| values.get(begin as usize..end).map(<[Dim]>::to_vec))
            }
            _ => None,
        };
        let dims = Dims::new(dims);
        Ok(vec![match values {
            Some(values) => Fact::of_dims(input.dtype, dims, &values),
            None if is_bound.contains(&true) => Fact::at_most_where(input.dtype, dims, |axis| is_bound[axis]),
            None => Fact::new(input.dtype, dims),
        }])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds and checks the shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let (begin, size) = (run.ints::<MAX_RANK>(1)?, run.ints::<MAX_RANK>(2)?);
        let rank = input.shape().rank();
        if let Some((i, _)) = [(1, &begin), (2, &size)].into_iter().find(|(_, vector)| vector.len() != rank) {
            return Err(OpError::input(i, "has not one element for each axis"));
        }
        let (mut first, mut dims) = ([0; MAX_RANK], [0i64; MAX_RANK]);
        for axis in 0..rank {
            let whole = input.shape()[axis] as i64;
            check_box(axis, Dim::Known(whole), Dim::Known(begin[axis]), Dim::Known(size[axis]), false)?;
            first[axis] = begin[axis] as usize;
            dims[axis] = if size[axis] == -1 { whole - begin[axis] } else { size[axis] };
        }
        let target = shape_of(2, &dims[..rank])?;
        let is_whole = |axis: usize| dims[axis] as usize == input.shape()[axis];
        let is_of_rows = (1..rank).all(is_whole);
        let is_all = is_of_rows && (rank == 0 || is_whole(0));
        check_cut(&input, Cut { is_all, is_of_rows }, &target)?;
        run.set_output_shape(0, target)?;
        let mut output = run.output(0)?;
        if output.bytes().is_empty() {
            return Ok(());
        }
        Ok(slice(run.pool, input, &first[..rank], &mut output)?)
    }
}

/// Checks that a box lies in the tensor, as far as it is known.
fn check_box(axis: usize, whole: Dim, begin: Dim, size: Dim, is_bound: bool) -> Result<(), OpError> {
    let bad = |begin: i64, size: i64| {
        let why =
            format!("and 1 ask for {size} elements from {begin} on, of an axis ({axis}) of size {whole}");
        Err(OpError::input(2, why))
    };
    match (whole, begin, size) {
        (_, Dim::Known(begin), Dim::Known(size)) if begin < 0 || size < -1 => bad(begin, size),
        (Dim::Known(whole), Dim::Known(begin), Dim::Known(size)) if !is_bound => {
            let end = begin.checked_add(size.max(0));
            if end.is_none_or(|end| end > whole) { bad(begin, size) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Equal pieces.
#[derive(Debug)]
struct Split {
    count: usize,
}

impl Operator for Split {
    fn name(&self) -> &'static str {
        "Split"
    }

    fn max_outputs(&self, _inputs: usize) -> usize {
        self.count
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (axis, input) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let Some(dims) = input.dims.get() else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN); self.count]);
        };
        let Some(axis) = known_axis(0, axis, dims.len())? else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(dims.len())); self.count]);
        };
        let count = self.count as i64;
        let mut dims = dims.to_vec();
        dims[axis] = match dims[axis] {
            Dim::Known(n) if n % count != 0 && !input.is_bound => {
                let why = format!("of shape {} cannot be split into {count} along axis {axis}", input.dims);
                return Err(OpError::input(1, why));
            }
            Dim::Known(n) => Dim::Known((n + count - 1) / count),
            dim => dim.divided_by(Dim::Known(count)),
        };
        Ok(vec![Fact::new(input.dtype, Dims::new(dims)); self.count])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(1);
        let axis = reshape::axis(run, 0, shape.rank())?;
        shape[axis].is_multiple_of(self.count).then_some(())?;
        let part = reshape::shape(
            shape.iter().enumerate().map(|(i, d)| if i == axis { d / self.count } else { *d }),
        )?;
        (0..self.count).try_for_each(|output| run.set_output_shape(output, part).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let axis = axis_input(run, 0, run.shape(1).rank())?;
        run_split(run, 1, axis)
    }
}

/// Pieces of given sizes.
#[derive(Debug)]
struct SplitV {
    count: usize,
}

impl SplitV {
    /// The sizes with the one that is -1 found out.
    fn sizes(&self, whole: Dim, sizes: &[Dim], is_bound: bool) -> Result<Vec<Dim>, OpError> {
        let is_rest = |dim: &Dim| *dim == Dim::Known(-1);
        // A single piece is the whole; TensorFlow does not work its size out.
        if sizes.len() == 1 && sizes.iter().any(is_rest) {
            return Err(OpError::input(1, "gives no size to the only piece"));
        }
        if sizes.len() != self.count || sizes.iter().filter(|d| is_rest(d)).count() > 1 {
            return Err(OpError::input(
                1,
                format!("does not give {} sizes, one of them -1 at most", self.count),
            ));
        }
        let sum = sizes.iter().filter(|d| !is_rest(d)).fold(Dim::Known(0), |sum, d| sum.plus(*d));
        let rest = minus(whole, sum);
        let has_rest = sizes.iter().any(is_rest);
        if let Dim::Known(rest) = rest
            && !is_bound
            && (rest < 0 || (rest > 0 && !has_rest))
        {
            return Err(OpError::input(1, format!("gives sizes that do not make up {whole}")));
        }
        sizes.iter().map(|d| if is_rest(d) { Ok(rest) } else { not_negative(1, *d) }).collect()
    }
}

impl Operator for SplitV {
    fn name(&self) -> &'static str {
        "SplitV"
    }

    fn max_outputs(&self, _inputs: usize) -> usize {
        self.count
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, sizes, axis) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        need_index_type(1, sizes)?;
        shared::dims_of_rank(1, sizes, 1)?;
        let Some(dims) = input.dims.get() else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN); self.count]);
        };
        let Some(axis) = known_axis(2, axis, dims.len())? else {
            return Ok(vec![Fact::at_most(input.dtype, input.dims.clone()); self.count]);
        };
        let Some(sizes) = sizes.dims_value() else {
            return Ok(vec![Fact::at_most_along(input.dtype, input.dims.clone(), axis); self.count]);
        };
        let sizes = self.sizes(dims[axis], &sizes, input.is_bound)?;
        Ok(sizes
            .into_iter()
            .map(|size| {
                let mut dims = dims.to_vec();
                dims[axis] = size;
                Fact::new(input.dtype, Dims::new(dims))
            })
            .collect())
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds and checks the shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.shape(0);
        let axis = axis_input(run, 2, shape.rank())?;
        let sizes = Indices::new(run, 1)?;
        let whole = shape[axis] as i64;
        let each = || (0..sizes.len()).map(|i| sizes.get(i));
        if self.count == 1 && each().next() == Some(-1) {
            return Err(OpError::input(1, "gives no size to the only piece"));
        }
        let sum: i64 = each().filter(|n| *n != -1).fold(0, i64::saturating_add);
        let rests = each().filter(|n| *n == -1).count();
        let is_whole = if rests == 0 { sum == whole } else { sum <= whole };
        if sizes.len() != self.count || rests > 1 || each().any(|n| n < -1) || !is_whole {
            return Err(OpError::input(1, format!("gives sizes that do not make up {whole}")));
        }
        for (i, size) in each().take(self.count).enumerate() {
            let size = if size == -1 { whole.saturating_sub(sum) } else { size };
            let mut dims = [0i64; MAX_RANK];
            dims.iter_mut().zip(shape.iter()).for_each(|(to, from)| *to = *from as i64);
            dims[axis] = size;
            run.set_output_shape(i, shape_of(1, &dims[..shape.rank()])?)?;
        }
        run_split(run, 0, axis)
    }
}

/// Cuts a tensor into the outputs, which follow one another in its memory.
fn run_small_split(run: &mut Run<'_>, whole: &[u8]) -> Result<(), OpError> {
    let mut rest = whole;
    for i in 0..run.outputs() {
        let out = run.out_bytes(i)?;
        let Some((part, after)) = rest.split_at_checked(out.len()) else {
            return Err(OpError::Internal("parts are more than the whole"));
        };
        out.copy_from_slice(part);
        rest = after;
    }
    Ok(())
}

/// Cuts input `from` into the outputs, one after the other along `axis`.
fn run_split(run: &mut Run<'_>, from: usize, axis: usize) -> Result<(), OpError> {
    let whole = run.bytes(from)?;
    if whole.len() <= SMALL_BYTES && (0..axis).all(|before| run.dim(from, before) == Some(1)) {
        return run_small_split(run, whole);
    }
    let input = run.input(from)?;
    let rank = input.shape().rank();
    let mut begin = [0; MAX_RANK];
    for i in 0..run.outputs() {
        let mut output = run.output(i)?;
        let size = output.shape().get(axis).copied().ok_or(OpError::Internal("a part has no such axis"))?;
        if !output.bytes().is_empty() {
            slice(run.pool, input, &begin[..rank], &mut output)?;
        }
        begin[axis] += size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tightfit_core::DType;

    #[test]
    fn pieces_make_up_the_whole() {
        let x = tensor(&[4], &[0i8, 1, 2, 3]);
        let one = [("num_split", int(1))];
        check("SplitV", &one, &[x.clone(), tensor(&[1], &[4i32]), scalar(0i32)], &[x.clone()]);
        for size in [3i32, 5, -1, -2] {
            refuses("SplitV", &one, &[x.clone(), tensor(&[1], &[size]), scalar(0i32)], "input 1");
        }
        let (two, sizes) = ([("num_split", int(2))], tensor(&[1, 2], &[1i64, 3]));
        refuses_shapes_as_it_runs("SplitV", &two, &[x, sizes, scalar(0i32)], "a vector is needed");
    }

    #[test]
    fn slices() {
        let x = tensor(&[2, 3], &[0i8, 1, 2, 3, 4, 5]);
        let v = |a: i32, b: i32| tensor(&[2], &[a, b]);
        check("Slice", &[], &[x.clone(), v(0, 1), v(2, 2)], &[tensor(&[2, 2], &[1i8, 2, 4, 5])]);
        check("Slice", &[], &[x.clone(), v(1, 0), v(-1, -1)], &[tensor(&[1, 3], &[3i8, 4, 5])]);
        check("Slice", &[], &[x.clone(), v(2, 0), v(0, 3)], &[tensor::<i8>(&[0, 3], &[])]);
        refuses("Slice", &[], &[x.clone(), v(1, 0), v(2, 1)], "ask for 2");
        refuses("Slice", &[], &[x.clone(), v(-1, 0), v(1, 1)], "ask for");
        let none = tensor::<i32>(&[0], &[]);
        refuses_shapes_as_it_runs(
            "Slice",
            &[],
            &[x.clone(), none.clone(), none.clone()],
            "one element for each axis",
        );
        refuses_shapes_as_it_runs("StridedSlice", &[], &[x, none.clone(), none, v(1, 1)], "as many elements");
    }

    #[test]
    fn splits() {
        let x = tensor(&[2, 4], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let halves = [tensor(&[2, 2], &[0f32, 1.0, 4.0, 5.0]), tensor(&[2, 2], &[2f32, 3.0, 6.0, 7.0])];
        check("Split", &[("num_split", int(2))], &[scalar(-1i32), x.clone()], &halves);
        refuses("Split", &[("num_split", int(3))], &[scalar(1i32), x.clone()], "split into 3");
        let parts = [tensor(&[2, 1], &[0f32, 4.0]), tensor(&[2, 3], &[1f32, 2.0, 3.0, 5.0, 6.0, 7.0])];
        let three = [("num_split", int(2))];
        check("SplitV", &three, &[x.clone(), tensor(&[2], &[1i64, -1]), scalar(1i32)], &parts);
        check("SplitV", &three, &[x.clone(), tensor(&[2], &[1i32, 3]), scalar(1i32)], &parts);
        refuses("SplitV", &three, &[x.clone(), tensor(&[2], &[1i32, 2]), scalar(1i32)], "make up");
        refuses("SplitV", &three, &[x, tensor(&[2], &[-1i32, -1]), scalar(1i32)], "sizes");
    }

    #[test]
    fn a_batch_is_split_in_shares() {
        let batch = Dim::of(crate::dim::Symbol::BATCH).times(Dim::Known(2));
        let x = Fact::new(DType::F32, Dims::new([batch, Dim::Known(3)]));
        let axis = Fact::of_dims(DType::I32, Dims::scalar(), &[Dim::Known(0)]);
        let facts = operator("Split", &[("num_split", int(2))]).unwrap().infer(&[&axis, &x]).unwrap();
        assert_eq!(facts[1].dims, Dims::new([batch.divided_by(Dim::Known(2)), Dim::Known(3)]));
    }
}
