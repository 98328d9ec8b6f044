//! QuantizedResizeBilinear: images `[batch, height, width, channels]` of uint8 or float32 with their range, and
//! `[height, width]` of the output (int32).
//!
//! Outputs: the images in that size and the same range. Bytes are resized in fixed point, as TensorFlow does, which is beside
//! the exact value by up to a few of 256 steps. Sums of 32 bits are refused.

use tightfit_core::DType;
use tightfit_kernels::{Alignment, Interpolation, quantized_resize, resize};

use super::convert::{check_numbers, give, number, with_range};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::image::resize::{alignment, size};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration {
    name: "QuantizedResizeBilinear",
    import: |a| Ok(Box::new(Resize { alignment: alignment(a)? })),
}];

/// The operator.
#[derive(Debug)]
struct Resize {
    alignment: Alignment,
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "QuantizedResizeBilinear"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let images = shared::input(inputs, 0)?;
        shared::need_type(0, images, &[DType::U8, DType::F32])?;
        let [height, width] = size(1, shared::input(inputs, 1)?)?;
        check_numbers(inputs, 2..4)?;
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if dims[1..].contains(&Dim::Known(0)) {
            return Err(OpError::input(0, format!("is of shape {}, images without pixels", images.dims)));
        }
        Ok(with_range(Fact::new(images.dtype, Dims::new([dims[0], height, width, dims[3]]))))
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        (2..4).try_for_each(|end| shared::dims_of_rank(end, shared::input(inputs, end)?, 0).map(drop))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let range = (number(run, 2)?, number(run, 3)?);
        let (from, to) = (run.shape(0), run.output_shape(0));
        let wrong = || OpError::Internal("images of other than four axes are resized");
        let from: [usize; 4] = from[..].try_into().map_err(|_| wrong())?;
        let to = [*to.get(1).ok_or_else(wrong)?, *to.get(2).ok_or_else(wrong)?];
        match run.dtype(0) {
            DType::U8 => quantized_resize(self.alignment, from, to, run.slice(0)?, run.out(0)?)?,
            _ => {
                let images = run.input(0)?;
                resize(run.pool, Interpolation::Bilinear, self.alignment, images, &mut run.output(0)?)?;
            }
        }
        give(run, 1, range)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, scalar, tensor};

    #[test]
    fn images_keep_their_range() {
        let x = tensor(&[1, 2, 2, 1], &[0u8, 100, 200, 50]);
        let aligned = [("align_corners", flag(true))];
        let inputs = [x, tensor(&[2], &[3i32, 3]), scalar(-1f32), scalar(3f32)];
        let expected = tensor(&[1, 3, 3, 1], &[0u8, 50, 100, 100, 88, 75, 200, 125, 50]);
        check("QuantizedResizeBilinear", &aligned, &inputs, &[expected, scalar(-1f32), scalar(3f32)]);
        let mut other = inputs.to_vec();
        other[1] = tensor(&[2], &[0i32, 3]);
        refuses("QuantizedResizeBilinear", &aligned, &other, "no height and width");
    }
}
