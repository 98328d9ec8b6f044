//! QuantizedConcat: tensors of quantised integers joined along an axis, over a range that holds all of theirs.
//!
//! Inputs: the axis, an int32 scalar, N tensors of uint8 or int32, and the minimum and the maximum of each. Outputs: the
//! tensors joined, with the lowest minimum, at most 0, and the highest maximum; of int32 both are as far from 0 as the
//! farther one. A tensor of another range is rounded to what the common one has.

use tightfit_core::{DType, MAX_RANK, TensorView, TensorViewMut};
use tightfit_kernels::{copy_into, requantize};

use super::convert::{check_numbers, give, number, range, with_range};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{agree, axis_input, known_axis};

pub(crate) const OPS: &[Registration] = &[Registration {
    name: "QuantizedConcat",
    import: |a| Ok(Box::new(QuantizedConcat { count: a.count("N")? })),
}];

/// The operator.
#[derive(Debug)]
struct QuantizedConcat {
    /// How many tensors are joined.
    count: usize,
}

const AXIS: usize = 0;
const FIRST: usize = 1;

impl QuantizedConcat {
    /// The inputs that are tensors.
    fn tensors(&self) -> std::ops::Range<usize> {
        FIRST..FIRST + self.count
    }

    /// The range that all are given, of integers of `dtype`.
    fn common(&self, run: &Run<'_>, dtype: DType) -> Result<(f32, f32), OpError> {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for input in self.tensors() {
            low = low.min(number(run, input + self.count)?);
            high = high.max(number(run, input + 2 * self.count)?);
        }
        low = low.min(0.0);
        let farthest = low.abs().max(high.abs());
        Ok(if dtype == DType::I32 { (-farthest, farthest) } else { (low, high) })
    }
}

impl Operator for QuantizedConcat {
    fn name(&self) -> &'static str {
        "QuantizedConcat"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        if self.count == 0 || inputs.len() != FIRST + 3 * self.count {
            let why = format!("takes {} inputs for {} tensors", FIRST + 3 * self.count, self.count);
            return Err(OpError::Invalid(why));
        }
        check_numbers(inputs, FIRST + self.count..inputs.len())?;
        let first = inputs[FIRST];
        shared::need_type(FIRST, first, &[DType::U8, DType::I32])?;
        let parts = &inputs[self.tensors()];
        for (at, part) in parts.iter().enumerate() {
            shared::need_type(FIRST + at, part, &[first.dtype])?;
        }
        let Some(rank) = parts.iter().find_map(|part| part.dims.rank()) else {
            return Ok(with_range(Fact::new(first.dtype, Dims::UNKNOWN)));
        };
        let Some(axis) = known_axis(AXIS, inputs[AXIS], rank)? else {
            return Ok(with_range(Fact::new(first.dtype, Dims::of_rank(rank))));
        };
        let is_bound = parts.iter().any(|part| part.is_bound);
        let (mut dims, mut sum) = (vec![Dim::Unknown; rank], Dim::Known(0));
        for (at, part) in parts.iter().enumerate() {
            let differs =
                || OpError::input(FIRST + at, format!("is of shape {}, unlike one before it", part.dims));
            let Some(own) = part.dims.get() else {
                sum = Dim::Unknown;
                continue;
            };
            if own.len() != rank {
                return Err(differs());
            }
            sum = sum.plus(own[axis]);
            for (other, dim) in dims.iter_mut().enumerate().filter(|(other, _)| *other != axis) {
                *dim = agree(*dim, own[other], is_bound).ok_or_else(differs)?;
            }
        }
        dims[axis] = sum;
        Ok(with_range(Fact::new(first.dtype, Dims::new(dims))))
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // A tensor whose range is another is converted before it is put in its place.
        let parts = call.inputs.get(self.tensors()).unwrap_or_default();
        let bytes = parts.iter().map(|part| part.shape.elements() * part.dtype.bytes()).max();
        Memory::scratch(bytes.unwrap_or(0))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dtype = run.dtype(FIRST);
        let ends = self.common(run, dtype)?;
        let common = range(dtype, ends.0, ends.1)?;
        let rank = run.output_shape(0).rank();
        let axis = axis_input(run, AXIS, rank)?;
        let scratch = run.scratch()?;
        let mut output = run.output(0)?;
        let mut begin = [0; MAX_RANK];
        for input in self.tensors() {
            let part = run.input(input)?;
            let own = range(dtype, number(run, input + self.count)?, number(run, input + 2 * self.count)?)?;
            let converted = &mut scratch[..part.bytes().len()];
            if own == common {
                copy_into(run.pool, part, &begin[..rank], &mut output)?;
            } else {
                let shape = *part.shape();
                let no_room = OpError::Internal("the scratch holds a tensor");
                let mut view = TensorViewMut::new(dtype, shape, converted).ok_or(no_room)?;
                requantize(run.pool, part, (own, common), &mut view)?;
                let view = TensorView::new(dtype, shape, converted);
                let view = view.ok_or(OpError::Internal("a tensor was converted"))?;
                copy_into(run.pool, view, &begin[..rank], &mut output)?;
            }
            begin[axis] += part.shape()[axis];
        }
        give(run, 1, ends)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let first = run.shape(FIRST);
        let axis = reshape::axis(run, AXIS, first.rank())?;
        let mut sum = 0usize;
        for input in self.tensors() {
            let own = run.shape(input);
            (own.rank() == first.rank() && (0..own.rank()).all(|at| at == axis || own[at] == first[at]))
                .then_some(())?;
            sum = sum.checked_add(own[axis])?;
        }
        reshape::set(run, 0, first.iter().enumerate().map(|(at, dim)| if at == axis { sum } else { *dim }))?;
        (1..3).try_for_each(|output| reshape::set(run, output, []))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, refuses, scalar, tensor};

    #[test]
    fn integers_of_other_ranges_are_converted() {
        let (a, b) = (tensor(&[1, 2], &[0u8, 255]), tensor(&[1, 2], &[0u8, 255]));
        let inputs = [scalar(1i32), a, b, scalar(0.0f32), scalar(0.0f32), scalar(1.0f32), scalar(2.0f32)];
        let joined = tensor(&[1, 4], &[0u8, 128, 0, 255]);
        let two = [("N", int(2))];
        check("QuantizedConcat", &two, &inputs, &[joined, scalar(0.0f32), scalar(2.0f32)]);
        let mut same = inputs.clone();
        (same[0], same[5]) = (scalar(0i32), scalar(2.0f32));
        let joined = tensor(&[2, 2], &[0u8, 255, 0, 255]);
        check("QuantizedConcat", &two, &same, &[joined, scalar(0.0f32), scalar(2.0f32)]);
        let mut other = inputs;
        other[2] = tensor(&[3, 1], &[1u8, 2, 3]);
        refuses("QuantizedConcat", &two, &other, "unlike one before it");
    }
}
