//! Gradients of sparse segments by their data: SparseSegmentSumGrad, SparseSegmentMeanGrad and SparseSegmentSqrtNGrad.
//!
//! Inputs: the gradient of the segments, `[segments, ..]` (float32 and float64; float16 and bfloat16 are converted around it), the row of
//! the data that each entry was taken from and the segment that it went to (vectors of int32 or int64), and how many rows the data
//! has (an int32 scalar). The output is `[rows, ..]`.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{SegmentOp, segment_gradient};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{int_input, need_index_type};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "SparseSegmentSumGrad", import: |_| of("SparseSegmentSumGrad", SegmentOp::Sum) },
    Registration { name: "SparseSegmentMeanGrad", import: |_| of("SparseSegmentMeanGrad", SegmentOp::Mean) },
    Registration {
        name: "SparseSegmentSqrtNGrad",
        import: |_| of("SparseSegmentSqrtNGrad", SegmentOp::SqrtN),
    },
];

fn of(name: &'static str, op: SegmentOp) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SegmentGradient { name, op }))
}

/// The operator.
#[derive(Debug)]
struct SegmentGradient {
    name: &'static str,
    op: SegmentOp,
}

const COUNT: usize = 3;

impl Operator for SegmentGradient {
    fn name(&self) -> &'static str {
        self.name
    }

    fn grows_with(&self, input: usize) -> bool {
        input == COUNT
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (gradient, count) = (shared::input(inputs, 0)?, shared::input(inputs, COUNT)?);
        shared::need_type(0, gradient, &[DType::F32, DType::F64])?;
        for index in 1..COUNT {
            let list = shared::input(inputs, index)?;
            need_index_type(index, list)?;
            shared::dims_of_rank(index, list, 1)?;
        }
        shared::need_type(COUNT, count, &[DType::I32])?;
        shared::dims_of_rank(COUNT, count, 0)?;
        let rows = match count.dims_value().as_deref() {
            Some([Dim::Known(..0)]) => return Err(OpError::input(COUNT, "asks for fewer rows than none")),
            Some([rows]) => *rows,
            _ => Dim::Unknown,
        };
        Ok(vec![match gradient.dims.get() {
            Some([]) => return Err(OpError::input(0, "is a scalar; a first axis is needed")),
            Some([_, others @ ..]) => Fact::new(gradient.dtype, Dims::new([&[rows], others].concat())),
            None => Fact::new(gradient.dtype, Dims::UNKNOWN),
        }])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let segments = call.inputs.first().and_then(|info| info.shape.first().copied()).unwrap_or(0);
        Memory::scratch(segments.saturating_mul(size_of::<u64>()))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let rows = usize::try_from(int_input(run, COUNT).ok()?).ok()?;
        let shape = run.shape(0);
        crate::operator::reshape::set(run, 0, [rows].into_iter().chain(shape.get(1..)?.iter().copied()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let inputs = [run.input(0)?, run.input(1)?, run.input(2)?];
        let segments: Shape = *inputs[0].shape();
        let counts = &mut run.scratch_of::<u64>()?[..segments.first().copied().unwrap_or(0)];
        Ok(segment_gradient(self.op, inputs, counts, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn rows_get_their_part_of_a_segment() {
        let dy = tensor(&[2, 1], &[12f32, 5.0]);
        let (rows, segments) = (tensor(&[5], &[2i32, 0, 2, 2, 1]), tensor(&[5], &[0i32, 0, 0, 0, 1]));
        let with = |count: i32| [dy.clone(), rows.clone(), segments.clone(), scalar(count)];
        check("SparseSegmentSumGrad", &[], &with(4), &[tensor(&[4, 1], &[12f32, 5.0, 36.0, 0.0])]);
        check("SparseSegmentMeanGrad", &[], &with(3), &[tensor(&[3, 1], &[3f32, 5.0, 9.0])]);
        check("SparseSegmentSqrtNGrad", &[], &with(3), &[tensor(&[3, 1], &[6f32, 5.0, 18.0])]);
        refuses("SparseSegmentSumGrad", &[], &with(2), "2");
        refuses("SparseSegmentSumGrad", &[], &with(-1), "fewer");
    }

    /// TensorFlow looks at nothing else then.
    #[test]
    fn of_no_rows_nothing_is_asked() {
        let inputs =
            [tensor(&[1], &[1f32]), tensor(&[2], &[7i32, 1]), tensor(&[2], &[5i32, 0]), scalar(0i32)];
        check("SparseSegmentMeanGrad", &[], &inputs, &[tensor::<f32>(&[0], &[])]);
    }
}
