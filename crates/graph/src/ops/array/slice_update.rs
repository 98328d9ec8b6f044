//! What StridedSlice takes of a tensor, written: TensorStridedSliceUpdate, the same of variables (StridedSliceAssign and
//! ResourceStridedSliceAssign), and StridedSliceGrad, which writes into zeros.
//!
//! Inputs: a tensor (for StridedSliceGrad a shape, a vector of the type of the next ones), the vectors `begin`, `end` and
//! `strides` (int32 or int64) with the masks of [`strided_slice`](super::strided_slice), and what is written: for StridedSliceGrad
//! of the shape of the slice, for the others one that broadcasts to it. The output is the whole tensor.

use tightfit_core::MAX_RANK;
use tightfit_kernels::{copy, strided_update};

use super::strided_slice::{StridedSlice, Taken, slice_of};
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, not_negative, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "TensorStridedSliceUpdate", import: update },
    Registration {
        name: "StridedSliceGrad",
        import: |attributes| Ok(Box::new(SliceGradient { slice: slice_of(attributes)? })),
    },
];

/// A slice of a tensor, or of a variable, replaced.
pub(crate) fn update(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SliceUpdate { slice: slice_of(attributes)? }))
}

/// Checks the three vectors.
fn check_vectors(inputs: &[&Fact]) -> Result<(), OpError> {
    let mut entries = None;
    for index in 1..4 {
        let vector = shared::input(inputs, index)?;
        need_index_type(index, vector)?;
        let len = vector_len(index, vector)?;
        if entries.is_some() && len.is_some() && len != entries {
            return Err(OpError::input(index, "has not as many elements as input 1"));
        }
        entries = entries.or(len);
    }
    Ok(())
}

/// Elements between neighbours of what is written along each axis of the tensor; 0 where one is for all. `None` where it
/// does not broadcast to the slice.
fn source_steps(written: &[usize], taken: &Taken) -> Option<[usize; MAX_RANK]> {
    let dims = &taken.dims[..taken.output_rank];
    // What is written may have more axes than the slice where those are of one element.
    let (more, written) = written.split_at(written.len().saturating_sub(dims.len()));
    let mut along = [0; MAX_RANK];
    let mut step = 1;
    for (axis, size) in written.iter().enumerate().rev() {
        let at = axis + dims.len() - written.len();
        match *size {
            1 => {}
            size if size as i64 == dims[at] => {
                let place = taken.becomes.iter().position(|becomes| *becomes == Some(at))?;
                along[place] = step;
            }
            _ => return None,
        }
        step *= size;
    }
    more.iter().all(|size| *size == 1).then_some(along)
}

fn write(slice: &StridedSlice, run: &mut Run<'_>, has_tensor: bool, must_equal: bool) -> Result<(), OpError> {
    let written = run.input(4)?;
    let shape = run.output_shape(0);
    let rank = shape.rank();
    let taken = slice.taken(run, &shape)?;
    let dims = &taken.dims[..taken.output_rank];
    let is_equal = written.shape().iter().map(|size| *size as i64).eq(dims.iter().copied());
    // Into nothing anything is written.
    let steps = match dims.contains(&0) {
        true => Some([0; MAX_RANK]),
        false => source_steps(written.shape(), &taken),
    };
    let steps = steps.filter(|_| is_equal || !must_equal).ok_or_else(|| {
        OpError::input(4, format!("is of shape {} for a slice of {dims:?}", written.shape()))
    })?;
    let before = if has_tensor && !run.is_in_place(0) { Some(run.input(0)?) } else { None };
    let mut output = run.output(0)?;
    match before {
        Some(before) => copy(run.pool, before, &mut output)?,
        None if !has_tensor => output.bytes().fill(0),
        None => {}
    }
    let place = (&taken.first[..rank], &taken.steps[..rank], &taken.sizes[..rank]);
    Ok(strided_update(run.pool, written, &steps[..rank], place, &mut output)?)
}

/// A slice of a tensor replaced.
#[derive(Debug)]
struct SliceUpdate {
    slice: StridedSlice,
}

impl Operator for SliceUpdate {
    fn name(&self) -> &'static str {
        "TensorStridedSliceUpdate"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (tensor, written) = (shared::input(inputs, 0)?, shared::input(inputs, 4)?);
        check_vectors(inputs)?;
        shared::need_type(4, written, &[tensor.dtype])?;
        Ok(vec![Fact::new(tensor.dtype, tensor.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        write(&self.slice, run, true, false)
    }
}

/// A slice of zeros replaced.
#[derive(Debug)]
struct SliceGradient {
    slice: StridedSlice,
}

impl Operator for SliceGradient {
    fn name(&self) -> &'static str {
        "StridedSliceGrad"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (shape, written) = (shared::input(inputs, 0)?, shared::input(inputs, 4)?);
        check_vectors(inputs)?;
        shared::need_type(0, shape, &[inputs[1].dtype])?;
        let rank = vector_len(0, shape)?;
        let dims = match shape.dims_value() {
            Some(dims) => {
                Dims::new(dims.into_iter().map(|dim| not_negative(0, dim)).collect::<Result<Vec<_>, _>>()?)
            }
            None => rank.map_or(Dims::UNKNOWN, Dims::of_rank),
        };
        Ok(vec![Fact::new(written.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        write(&self.slice, run, false, true)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn slices_are_written() {
        let x = tensor(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        let vector = |values: &[i32]| tensor(&[values.len()], values);
        let at = [vector(&[0, -1]), vector(&[2, -4]), vector(&[1, -2])];
        let with = |first: &Tensor, written: Tensor| [&[first.clone()], &at[..], &[written]].concat();
        let written = tensor(&[2, 2], &[10i32, 20, 30, 40]);
        let after = tensor(&[2, 3], &[20i32, 2, 10, 40, 5, 30]);
        check("TensorStridedSliceUpdate", &[], &with(&x, written.clone()), &[after.clone()]);
        check("ResourceStridedSliceAssign", &[], &with(&x, written.clone()), &[after]);
        let all = tensor(&[2, 3], &[7i32, 2, 7, 7, 5, 7]);
        check("StridedSliceAssign", &[], &with(&x, scalar(7i32)), &[all]);
        let row = tensor(&[2, 3], &[9i32, 2, 8, 9, 5, 8]);
        check("TensorStridedSliceUpdate", &[], &with(&x, tensor(&[1, 2], &[8i32, 9])), &[row]);
        let shape = vector(&[2, 3]);
        let gradient = tensor(&[2, 3], &[20i32, 0, 10, 40, 0, 30]);
        check("StridedSliceGrad", &[], &with(&shape, written), &[gradient]);
        refuses("StridedSliceGrad", &[], &with(&shape, scalar(7i32)), "for a slice of");
        refuses("TensorStridedSliceUpdate", &[], &with(&x, vector(&[1, 2, 3])), "for a slice of");
    }

    #[test]
    fn axes_come_and_go() {
        let x = tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]);
        let vector = |values: &[i64]| tensor(&[values.len()], values);
        let masks = [("new_axis_mask", int(1)), ("shrink_axis_mask", int(2))];
        let at = [vector(&[0, 1, 0]), vector(&[0, 0, 2]), vector(&[1, 1, 1])];
        let inputs = [&[x], &at[..], &[tensor(&[1, 2], &[8f32, 9.0])]].concat();
        check("TensorStridedSliceUpdate", &masks, &inputs, &[tensor(&[2, 2], &[1f32, 2.0, 8.0, 9.0])]);
    }
}
