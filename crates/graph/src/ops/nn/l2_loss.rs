//! L2Loss: half the sum of the squares of all elements, a scalar. Types: every float type.

use tightfit_core::{DType, MAX_RANK, Shape, TensorView};
use tightfit_kernels::{BinaryOp, ReduceOp, Src, binary, reduce};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "L2Loss", import: |_| Ok(Box::new(L2Loss)) }];

/// The operator.
#[derive(Debug)]
struct L2Loss;

impl Operator for L2Loss {
    fn name(&self) -> &'static str {
        "L2Loss"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_float(0, input)?;
        Ok(vec![Fact::new(input.dtype, Dims::scalar())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let axes: [usize; MAX_RANK] = std::array::from_fn(|axis| axis);
        let mut output = run.output(0)?;
        reduce(run.pool, ReduceOp::SumOfSquares, &axes[..input.shape().rank()], input, &mut output)?;
        // 2 in each type: the sum is exact to halve.
        let two: &[u8] = match input.dtype() {
            DType::F64 => &2.0f64.to_le_bytes(),
            DType::F32 => &2.0f32.to_le_bytes(),
            // float16 and bfloat16 share these bits.
            _ => &0x4000u16.to_le_bytes(),
        };
        let mut aligned = [0u64; 1];
        let aligned: &mut [u8] = bytemuck::cast_slice_mut(&mut aligned);
        aligned[..two.len()].copy_from_slice(two);
        let two = TensorView::new(input.dtype(), Shape::SCALAR, &aligned[..two.len()])
            .ok_or(OpError::Internal("a constant of the wrong size"))?;
        Ok(binary(run.pool, BinaryOp::Div, Src::InPlace(input.dtype()), Src::View(two), &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor};

    #[test]
    fn half_the_squares() {
        check("L2Loss", &[], &[tensor(&[2, 2], &[1.0f32, 2.0, 3.0, 4.0])], &[scalar(15.0f32)]);
        check("L2Loss", &[], &[tensor(&[0], &[0.0f64; 0])], &[scalar(0.0f64)]);
        refuses("L2Loss", &[], &[scalar(1i32)], "int32");
    }
}
