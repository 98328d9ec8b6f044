//! What the operations on images are done to: arguments, element types and shapes.

use tightfit_core::DType;

use super::{ImageOp, fitted, padded};
use crate::image::adjust;
use crate::image::dtype::is_number;
use crate::image::pixel::{ImageError, ImageType, is_sample};
use crate::image::resample::ResizeMethod;

impl ImageOp {
    /// Checks arguments, element type and shape.
    pub(super) fn check(&self, input: ImageType) -> Result<(), ImageError> {
        let op = self.name();
        if input.shape.contains(&0) {
            return Err(ImageError::Shape { op, shape: input.shape, why: "it has no pixels" });
        }
        self.check_arguments(op)?;
        self.check_dtype(op, input.dtype)?;
        self.check_shape(op, input.shape)
    }

    fn check_arguments(&self, op: &'static str) -> Result<(), ImageError> {
        let require = |holds: bool, why| if holds { Ok(()) } else { Err(ImageError::Argument { op, why }) };
        match *self {
            ImageOp::Resize { size, .. }
            | ImageOp::ResizeWithPad { size, .. }
            | ImageOp::ResizeWithCropOrPad { size }
            | ImageOp::CropToBoundingBox { size, .. }
            | ImageOp::PadToBoundingBox { size, .. }
            | ImageOp::RandomCrop { size, .. } => {
                // Positions are computed in float32 and kept in 32 bits.
                require(size.iter().all(|side| (1..1 << 24).contains(side)), "its size must be 1 to 2^24 - 1")
            }
            ImageOp::CentralCrop { fraction } => {
                require(fraction > 0.0 && fraction <= 1.0, "its fraction must be above 0 and up to 1")
            }
            ImageOp::AdjustHue { delta } => require(delta.abs() <= 1.0, "its delta must be -1 to 1"),
            ImageOp::AdjustGamma { gamma, .. } => require(gamma >= 0.0, "its gamma must be at least 0"),
            ImageOp::RandomBrightness { max_delta, .. } => {
                require(max_delta >= 0.0, "its max_delta must be at least 0")
            }
            ImageOp::RandomHue { max_delta, .. } => {
                require((0.0..=0.5).contains(&max_delta), "its max_delta must be 0 to 0.5")
            }
            ImageOp::RandomContrast { range: [low, high], .. }
            | ImageOp::RandomSaturation { range: [low, high], .. } => {
                require(low >= 0.0 && low < high, "its lower must be at least 0 and below its upper")
            }
            ImageOp::Normalize { std, .. } => require(!std.contains(&0.0), "its std must not be 0"),
            _ => Ok(()),
        }
    }

    fn check_dtype(&self, op: &'static str, dtype: DType) -> Result<(), ImageError> {
        let is_taken = match *self {
            ImageOp::ConvertImageDType { dtype: to, .. } | ImageOp::Cast { dtype: to } => {
                if !is_number(to) {
                    return Err(ImageError::DType { op, dtype: to });
                }
                is_number(dtype)
            }
            ImageOp::RgbToHsv | ImageOp::HsvToRgb => matches!(dtype, DType::F16 | DType::F32),
            ImageOp::Resize { method: ResizeMethod::Nearest, .. }
            | ImageOp::ResizeWithPad { method: ResizeMethod::Nearest, .. }
            | ImageOp::ResizeWithCropOrPad { .. }
            | ImageOp::CentralCrop { .. }
            | ImageOp::CropToBoundingBox { .. }
            | ImageOp::PadToBoundingBox { .. }
            | ImageOp::FlipLeftRight
            | ImageOp::FlipUpDown
            | ImageOp::Rot90 { .. }
            | ImageOp::Transpose
            | ImageOp::RandomCrop { .. }
            | ImageOp::RandomFlipLeftRight { .. }
            | ImageOp::RandomFlipUpDown { .. }
            | ImageOp::GrayscaleToRgb => dtype != DType::String,
            _ => is_sample(dtype),
        };
        if is_taken { Ok(()) } else { Err(ImageError::DType { op, dtype }) }
    }

    fn check_shape(&self, op: &'static str, shape: [usize; 3]) -> Result<(), ImageError> {
        let [height, width, channels] = shape;
        let require =
            |holds: bool, why| if holds { Ok(()) } else { Err(ImageError::Shape { op, shape, why }) };
        match *self {
            ImageOp::Resize { size, preserve_aspect_ratio, .. } => {
                require(is_addressed(shape), "a side or line is too long to be resized")?;
                let size = if preserve_aspect_ratio { fitted(size, [height, width]) } else { size };
                require(!size.contains(&0), "fitted into the size no pixel is left")
            }
            ImageOp::ResizeWithPad { size, .. } => {
                require(is_addressed(shape), "a side or line is too long to be resized")?;
                let (at, inner) = padded(size, shape);
                require(!inner.contains(&0), "fitted into the size no pixel is left")?;
                require(
                    at[0] + inner[0] <= size[0] && at[1] + inner[1] <= size[1],
                    "it does not fit into the size",
                )
            }
            ImageOp::CropToBoundingBox { offset, size } => {
                let fits = |axis: usize, side: usize| offset[axis].saturating_add(size[axis]) <= side;
                require(fits(0, height) && fits(1, width), "the box is not inside it")
            }
            ImageOp::PadToBoundingBox { offset, size } => {
                let fits = |axis: usize, side: usize| offset[axis].saturating_add(side) <= size[axis];
                require(fits(0, height) && fits(1, width), "it does not fit into the box")
            }
            ImageOp::RandomCrop { size, .. } => {
                require(size[0] <= height && size[1] <= width, "it is smaller than the crop")
            }
            ImageOp::GrayscaleToRgb => require(channels == 1, "it takes one channel"),
            ImageOp::Normalize { .. } => require(channels <= 4, "it takes up to four channels"),
            ImageOp::AdjustContrast { .. } | ImageOp::RandomContrast { .. } => {
                require(channels <= adjust::MAX_CHANNELS, "it takes up to 192 channels")
            }
            ImageOp::Preprocess(preprocess) if preprocess.needs_rgb() => {
                require(channels == 3, "it takes three channels")
            }
            ImageOp::AdjustHue { .. }
            | ImageOp::AdjustSaturation { .. }
            | ImageOp::RandomHue { .. }
            | ImageOp::RandomSaturation { .. }
            | ImageOp::RgbToGrayscale
            | ImageOp::RgbToHsv
            | ImageOp::HsvToRgb => require(channels == 3, "it takes three channels"),
            _ => Ok(()),
        }
    }
}

/// Positions along an axis are float32, those in an image 32 bits.
fn is_addressed([height, width, channels]: [usize; 3]) -> bool {
    let line = width.saturating_mul(channels);
    let is_short = height < 1 << 24 && width < 1 << 24;
    is_short && line < 1 << 28 && line.saturating_mul(height) < 1 << 32
}
