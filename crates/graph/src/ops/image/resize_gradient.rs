//! Gradients of resizes by the image: ResizeBilinearGrad, ResizeBicubicGrad and ResizeNearestNeighborGrad.
//!
//! The first input is the gradient of the resized images `[batch, height, width, channels]`, float32, and the second the images
//! that were resized, of whose type (float32, float64; bilinear float16 and bfloat16 too), height and width the output is; batch and
//! channels are the gradient's. ResizeNearestNeighborGrad
//! is of numbers of one type, and has the images' `[height, width]` (int32) as its second input.

use tightfit_core::DType;
use tightfit_kernels::{Alignment, Interpolation, resize_gradient};

use super::resize::{alignment, size};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ResizeBilinearGrad", import: |a| import(a, Interpolation::Bilinear) },
    Registration { name: "ResizeBicubicGrad", import: |a| import(a, Interpolation::Bicubic) },
    Registration { name: "ResizeNearestNeighborGrad", import: |a| import(a, Interpolation::Nearest) },
];

fn import(attributes: &Attributes<'_>, how: Interpolation) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ResizeGrad { how, alignment: alignment(attributes)? }))
}

/// The operator.
#[derive(Debug)]
struct ResizeGrad {
    how: Interpolation,
    alignment: Alignment,
}

impl Operator for ResizeGrad {
    fn name(&self) -> &'static str {
        match self.how {
            Interpolation::Bicubic => "ResizeBicubicGrad",
            Interpolation::Nearest => "ResizeNearestNeighborGrad",
            _ => "ResizeBilinearGrad",
        }
    }

    fn grows_with(&self, input: usize) -> bool {
        self.how == Interpolation::Nearest && input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (gradient, second) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let made = shared::dims_of_rank(0, gradient, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if self.how == Interpolation::Nearest {
            if !gradient.dtype.is_float() && !gradient.dtype.is_integer() {
                return Err(OpError::input(0, format!("is of type {}; numbers are needed", gradient.dtype)));
            }
            let [height, width] = size(1, second)?;
            return Ok(vec![Fact::new(gradient.dtype, Dims::new([made[0], height, width, made[3]]))]);
        }
        shared::need_type(0, gradient, &[DType::F32])?;
        shared::need_float(1, second)?;
        let image = shared::dims_of_rank(1, second, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if made[1..3].iter().chain(&image[1..3]).any(|side| matches!(side, Dim::Known(..1))) {
            let why = format!("is of shape {}, and the gradient of {}", second.dims, gradient.dims);
            return Err(OpError::input(1, why));
        }
        Ok(vec![Fact::new(second.dtype, Dims::new([made[0], image[1], image[2], made[3]]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if self.how != Interpolation::Nearest {
            let (made, image) = (run.shape(0), run.shape(1));
            return reshape::set(run, 0, [*made.first()?, *image.get(1)?, *image.get(2)?, *made.get(3)?]);
        }
        let (made, size) = (run.shape(0), run.ints::<2>(1).ok()?);
        let [height, width] = <[i64; 2]>::try_from(&*size).ok()?.map(|n| usize::try_from(n).ok());
        reshape::set(run, 0, [*made.first()?, height?, width?, *made.get(3)?])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let gradient = run.input(0)?;
        Ok(resize_gradient(self.how, self.alignment, gradient, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn gradients_go_to_what_pixels_were_made_of() {
        let dy = tensor(&[1, 1, 4, 1], &[1f32, 2.0, 4.0, 8.0]);
        let image = tensor(&[1, 1, 2, 1], &[0f32; 2]);
        // Every other pixel is half of one and half of the next, or of the last alone.
        let dx = tensor(&[1, 1, 2, 1], &[2f32, 13.0]);
        check("ResizeBilinearGrad", &[], &[dy.clone(), image.clone()], &[dx]);
        let size = tensor(&[2], &[1i32, 2]);
        check("ResizeNearestNeighborGrad", &[], &[dy, size.clone()], &[tensor(&[1, 1, 2, 1], &[3f32, 12.0])]);
        let whole = tensor(&[1, 1, 3, 1], &[5i32, 6, 7]);
        let corners = [("align_corners", flag(true))];
        check("ResizeNearestNeighborGrad", &corners, &[whole, size], &[tensor(&[1, 1, 2, 1], &[5i32, 13])]);
    }

    #[test]
    fn images_and_channels_are_as_many_as_the_gradient_has() {
        let dy = tensor(&[1, 1, 4, 1], &[1f32, 2.0, 4.0, 8.0]);
        for (images, channels) in [(0, 1), (3, 1), (1, 2)] {
            let image = tensor(&[images, 1, 2, channels], &vec![0f32; images * 2 * channels]);
            let dx = tensor(&[1, 1, 2, 1], &[2f32, 13.0]);
            check("ResizeBilinearGrad", &[], &[dy.clone(), image], &[dx]);
        }
        let none = tensor(&[0, 1, 4, 1], &[0f32; 0]);
        let image = tensor(&[2, 1, 2, 1], &[0f32; 4]);
        check("ResizeBicubicGrad", &[], &[none, image], &[tensor(&[0, 1, 2, 1], &[0f32; 0])]);
        let flat = tensor(&[1, 0, 2, 1], &[0f32; 0]);
        refuses("ResizeBicubicGrad", &[], &[dy, flat], "[1, 0, 2, 1]");
    }
}
