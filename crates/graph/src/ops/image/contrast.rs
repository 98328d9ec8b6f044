//! AdjustContrastv2 and AdjustContrast: `(x - mean) * factor + mean`, with the mean of each channel over an image, of `[..,
//! height, width, channels]`.
//!
//! AdjustContrastv2 is of float32, with a scalar factor after the images. AdjustContrast is of float32, float64 and integers
//! up to 32 bits, has the least and the largest value of the output after the factor, and returns float32.

use tightfit_core::DType;
use tightfit_kernels::adjust_contrast;

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{Call, Memory, OpError, Operator, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "AdjustContrastv2", import: |_| Ok(Box::new(AdjustContrast { has_bounds: false })) },
    Registration { name: "AdjustContrast", import: |_| Ok(Box::new(AdjustContrast { has_bounds: true })) },
];

/// The operator.
#[derive(Debug)]
struct AdjustContrast {
    has_bounds: bool,
}

/// Images, and pixels and channels of each; `None` for fewer than three axes.
fn sizes(shape: &[usize]) -> Option<[usize; 3]> {
    let (images, [height, width, channels]) = shape.split_last_chunk::<3>()?;
    Some([images.iter().product(), height * width, *channels])
}

impl Operator for AdjustContrast {
    fn name(&self) -> &'static str {
        if self.has_bounds { "AdjustContrast" } else { "AdjustContrastv2" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        const OLD: &[DType] = &[DType::F32, DType::F64, DType::U8, DType::I8, DType::I16, DType::I32];
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, if self.has_bounds { OLD } else { &OLD[..1] })?;
        if input.dims.rank().is_some_and(|rank| rank < 3) {
            let why = format!("is of shape {}; at least 3 dimensions are needed", input.dims);
            return Err(OpError::input(0, why));
        }
        for index in 1..if self.has_bounds { 4 } else { 2 } {
            let number = shared::input(inputs, index)?;
            shared::need_type(index, number, &[DType::F32])?;
            shared::dims_of_rank(index, number, 0)?;
        }
        Ok(vec![Fact::new(DType::F32, input.dims.clone())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let means = sizes(&call.inputs[0].shape).map_or(0, |[images, _, channels]| images * channels);
        Memory::scratch(means.saturating_mul(size_of::<f64>()))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let number = |input: usize| match run.slice::<f32>(input)? {
            &[number] => Ok(number),
            _ => Err(OpError::input(input, "is no scalar")),
        };
        let factor = number(1)?;
        let bounds = if self.has_bounds { Some([number(2)?, number(3)?]) } else { None };
        let by = (factor, bounds);
        let sizes = sizes(&run.shape(0)).ok_or(OpError::Internal("an image of fewer than 3 dimensions"))?;
        let scratch = run.scratch()?;
        let means =
            scratch.get_mut(..sizes[0] * sizes[2] * size_of::<f64>()).map(bytemuck::try_cast_slice_mut);
        let Some(Ok(means)) = means else { return Err(OpError::Internal("less scratch than was planned")) };
        let out = run.out::<f32>(0)?;
        match run.dtype(0) {
            DType::F64 => adjust_contrast(run.pool, sizes, by, run.slice::<f64>(0)?, out, means)?,
            DType::U8 => adjust_contrast(run.pool, sizes, by, run.slice::<u8>(0)?, out, means)?,
            DType::I8 => adjust_contrast(run.pool, sizes, by, run.slice::<i8>(0)?, out, means)?,
            DType::I16 => adjust_contrast(run.pool, sizes, by, run.slice::<i16>(0)?, out, means)?,
            DType::I32 => adjust_contrast(run.pool, sizes, by, run.slice::<i32>(0)?, out, means)?,
            _ => adjust_contrast(run.pool, sizes, by, run.slice::<f32>(0)?, out, means)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor};

    #[test]
    fn channels_move_from_their_means() {
        let x = tensor(&[2, 1, 2, 2], &[1f32, 10.0, 3.0, 30.0, 5.0, 0.0, 5.0, 2.0]);
        let expected = tensor(&[2, 1, 2, 2], &[0f32, 0.0, 4.0, 40.0, 5.0, -1.0, 5.0, 3.0]);
        check("AdjustContrastv2", &[], &[x.clone(), scalar(2f32)], &[expected]);
        let bytes = tensor(&[1, 2, 1], &[10u8, 30]);
        let inputs = [bytes, scalar(3f32), scalar(0f32), scalar(45f32)];
        check("AdjustContrast", &[], &inputs, &[tensor(&[1, 2, 1], &[0f32, 45.0])]);
        let empty = [tensor(&[0, 2, 2, 3], &[0f32; 0]), scalar(2f32)];
        check("AdjustContrastv2", &[], &empty, &[tensor(&[0, 2, 2, 3], &[0f32; 0])]);
        refuses("AdjustContrastv2", &[], &[tensor(&[2, 2], &[0f32; 4]), scalar(2f32)], "3 dimensions");
    }
}
