//! Every operation on decoded images, by one interface: what it makes of a shape and a type, what scratch it takes,
//! and doing it. Nothing is allocated: the caller hands in the output and the scratch.
//!
//! For a pipeline whose images vary in size the plan asks [`ImageOp::largest_output`] and [`ImageOp::scratch_bytes`]
//! of the largest image; both do not shrink when a side of the input grows.

use tightfit_core::DType;

mod check;

use super::adjust;
use super::color;
use super::dtype::{self, Conversion};
use super::geometry::{self, Turn};
use super::pixel::{ImageError, ImageType};
use super::random::Draws;
use super::resample::{Resampling, ResizeMethod, Target};
use crate::Preprocess;

/// An operation on an image `[height, width, channels]`, with TensorFlow's name and meaning.
///
/// Unless said otherwise an operation keeps shape and element type, and takes uint8, uint16, float16, float32 and
/// float64. Those that only move pixels take every type but strings.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub enum ImageOp {
    /// `tf.image.resize`; float32 comes out, of nearest the element type that went in.
    Resize {
        /// `[height, width]` that come out.
        size: [usize; 2],
        /// The method.
        method: ResizeMethod,
        /// Whether kernels are widened when the image shrinks.
        antialias: bool,
        /// Whether `size` is what the image is fitted into without distorting it.
        preserve_aspect_ratio: bool,
    },
    /// `tf.image.resize_with_pad`: fitted into `size` and in the middle of it, with zeros around.
    ResizeWithPad {
        /// `[height, width]` that come out.
        size: [usize; 2],
        /// The method.
        method: ResizeMethod,
        /// Whether kernels are widened when the image shrinks.
        antialias: bool,
    },
    /// `tf.image.resize_with_crop_or_pad`: the middle, or zeros around.
    ResizeWithCropOrPad {
        /// `[height, width]` that come out.
        size: [usize; 2],
    },
    /// `tf.image.central_crop`.
    CentralCrop {
        /// The part of each side that stays, above 0 and up to 1.
        fraction: f64,
    },
    /// `tf.image.crop_to_bounding_box`.
    CropToBoundingBox {
        /// `[y, x]` of the first pixel.
        offset: [usize; 2],
        /// `[height, width]` that come out.
        size: [usize; 2],
    },
    /// `tf.image.pad_to_bounding_box`, with zeros.
    PadToBoundingBox {
        /// `[y, x]` of the image's first pixel.
        offset: [usize; 2],
        /// `[height, width]` that come out.
        size: [usize; 2],
    },
    /// `tf.image.flip_left_right`.
    FlipLeftRight,
    /// `tf.image.flip_up_down`.
    FlipUpDown,
    /// `tf.image.rot90`, counter-clockwise.
    Rot90 {
        /// How many times.
        k: u32,
    },
    /// `tf.image.transpose`.
    Transpose,
    /// `tf.image.random_crop`: a window whose place depends on seed and position, see [`ImageOp::run`].
    RandomCrop {
        /// `[height, width]` that come out.
        size: [usize; 2],
        /// The seed.
        seed: u64,
    },
    /// `tf.image.random_flip_left_right`, by seed and position.
    RandomFlipLeftRight {
        /// The seed.
        seed: u64,
    },
    /// `tf.image.random_flip_up_down`, by seed and position.
    RandomFlipUpDown {
        /// The seed.
        seed: u64,
    },
    /// `tf.image.random_brightness`: by -`max_delta` to `max_delta`.
    RandomBrightness {
        /// The most that is added or taken, at least 0.
        max_delta: f32,
        /// The seed.
        seed: u64,
    },
    /// `tf.image.random_contrast`.
    RandomContrast {
        /// The least and the greatest factor.
        range: [f32; 2],
        /// The seed.
        seed: u64,
    },
    /// `tf.image.random_hue`, for three channels.
    RandomHue {
        /// The most that the hue is turned by, from 0 to 0.5.
        max_delta: f32,
        /// The seed.
        seed: u64,
    },
    /// `tf.image.random_saturation`, for three channels.
    RandomSaturation {
        /// The least and the greatest factor.
        range: [f32; 2],
        /// The seed.
        seed: u64,
    },
    /// `tf.image.convert_image_dtype`: integers have the range of floats from 0 to 1. Types: integers up to 32 bits,
    /// float16, float32, float64.
    ConvertImageDType {
        /// The element type that comes out.
        #[serde(serialize_with = "crate::flow::identity::dtype")]
        dtype: DType,
        /// Whether integers that it cannot hold become the nearest.
        saturate: bool,
    },
    /// `tf.cast`, of and to the types of [`ImageOp::ConvertImageDType`].
    Cast {
        /// The element type that comes out.
        #[serde(serialize_with = "crate::flow::identity::dtype")]
        dtype: DType,
    },
    /// `tf.image.per_image_standardization`; float32 comes out.
    PerImageStandardization,
    /// `keras.layers.Rescaling`: `value * scale + offset`; float32 comes out.
    Rescale {
        /// What values are multiplied by.
        scale: f32,
        /// What is added then.
        offset: f32,
    },
    /// `(value - mean) / std`; float32 comes out.
    Normalize {
        /// By channel; of the four as many count as there are channels.
        mean: [f32; 4],
        /// By channel, not 0.
        std: [f32; 4],
    },
    /// Keras' preprocessings of values from 0 to 255; float32 comes out.
    Preprocess(Preprocess),
    /// `tf.image.adjust_brightness`.
    AdjustBrightness {
        /// What is added.
        delta: f32,
    },
    /// `tf.image.adjust_contrast`, for up to 192 channels.
    AdjustContrast {
        /// The factor.
        factor: f32,
    },
    /// `tf.image.adjust_saturation`, for three channels.
    AdjustSaturation {
        /// The factor.
        factor: f32,
    },
    /// `tf.image.adjust_hue`, for three channels.
    AdjustHue {
        /// By how much of a circle the hue is turned, from -1 to 1.
        delta: f32,
    },
    /// `tf.image.adjust_gamma`: `gain * value ^ gamma`.
    AdjustGamma {
        /// At least 0.
        gamma: f32,
        /// What the power is multiplied by.
        gain: f32,
    },
    /// `tf.image.rgb_to_grayscale`: three channels become one.
    RgbToGrayscale,
    /// `tf.image.grayscale_to_rgb`: one channel becomes three, of any type but strings.
    GrayscaleToRgb,
    /// `tf.image.rgb_to_hsv`, of three channels of float16 or float32.
    RgbToHsv,
    /// `tf.image.hsv_to_rgb`, of three channels of float16 or float32.
    HsvToRgb,
}

/// What an operation does to the shape, with the random ones settled.
#[derive(Debug, Clone, Copy)]
struct Placed {
    /// `[y, x]` in the source.
    from: [usize; 2],
    /// `[y, x]` in the result.
    to: [usize; 2],
    /// `[height, width]` of what is copied.
    size: [usize; 2],
}

impl ImageOp {
    /// Its name, that of TensorFlow's function without `tf.image.`; one of [`super::spec::OPS`].
    pub fn name(&self) -> &'static str {
        match self {
            ImageOp::Resize { .. } => "resize",
            ImageOp::ResizeWithPad { .. } => "resize_with_pad",
            ImageOp::ResizeWithCropOrPad { .. } => "resize_with_crop_or_pad",
            ImageOp::CentralCrop { .. } => "central_crop",
            ImageOp::CropToBoundingBox { .. } => "crop_to_bounding_box",
            ImageOp::PadToBoundingBox { .. } => "pad_to_bounding_box",
            ImageOp::FlipLeftRight => "flip_left_right",
            ImageOp::FlipUpDown => "flip_up_down",
            ImageOp::Rot90 { .. } => "rot90",
            ImageOp::Transpose => "transpose",
            ImageOp::RandomCrop { .. } => "random_crop",
            ImageOp::RandomFlipLeftRight { .. } => "random_flip_left_right",
            ImageOp::RandomFlipUpDown { .. } => "random_flip_up_down",
            ImageOp::RandomBrightness { .. } => "random_brightness",
            ImageOp::RandomContrast { .. } => "random_contrast",
            ImageOp::RandomHue { .. } => "random_hue",
            ImageOp::RandomSaturation { .. } => "random_saturation",
            ImageOp::ConvertImageDType { .. } => "convert_image_dtype",
            ImageOp::Cast { .. } => "cast",
            ImageOp::PerImageStandardization => "per_image_standardization",
            ImageOp::Rescale { .. } => "rescale",
            ImageOp::Normalize { .. } => "normalize",
            ImageOp::Preprocess(_) => "preprocess",
            ImageOp::AdjustBrightness { .. } => "adjust_brightness",
            ImageOp::AdjustContrast { .. } => "adjust_contrast",
            ImageOp::AdjustSaturation { .. } => "adjust_saturation",
            ImageOp::AdjustHue { .. } => "adjust_hue",
            ImageOp::AdjustGamma { .. } => "adjust_gamma",
            ImageOp::RgbToGrayscale => "rgb_to_grayscale",
            ImageOp::GrayscaleToRgb => "grayscale_to_rgb",
            ImageOp::RgbToHsv => "rgb_to_hsv",
            ImageOp::HsvToRgb => "hsv_to_rgb",
        }
    }

    /// True when its result depends on the position handed to [`ImageOp::run`].
    pub fn is_random(&self) -> bool {
        self.seed().is_some()
    }

    /// Of a random operation its seed, and the number of the stream it draws from: its place in [`super::spec::OPS`] once
    /// and for all, so that what is drawn does not change when operations are added.
    pub(super) fn seed(&self) -> Option<(u64, u64)> {
        match *self {
            ImageOp::RandomCrop { seed, .. } => Some((seed, 10)),
            ImageOp::RandomFlipLeftRight { seed } => Some((seed, 11)),
            ImageOp::RandomFlipUpDown { seed } => Some((seed, 12)),
            ImageOp::RandomBrightness { seed, .. } => Some((seed, 13)),
            ImageOp::RandomContrast { seed, .. } => Some((seed, 14)),
            ImageOp::RandomHue { seed, .. } => Some((seed, 15)),
            ImageOp::RandomSaturation { seed, .. } => Some((seed, 16)),
            _ => None,
        }
    }

    /// The shape and type that come out of `input`.
    ///
    /// # Errors
    /// Every one but [`ImageError::Memory`] and [`ImageError::Codec`].
    pub fn output(&self, input: ImageType) -> Result<ImageType, ImageError> {
        self.check(input)?;
        let output =
            ImageType { shape: self.output_shape(input.shape)?, dtype: self.output_dtype(input.dtype) };
        input.bytes()?;
        output.bytes()?;
        Ok(output)
    }

    /// What comes out of images of up to `input`'s height and width takes no more than this; of operations on a size of
    /// their own it is that size.
    ///
    /// # Errors
    /// As [`ImageOp::output`].
    pub fn largest_output(&self, input: ImageType) -> Result<ImageType, ImageError> {
        let mut largest = self.output(input)?;
        let [height, width, channels] = input.shape;
        match *self {
            ImageOp::Resize { size, preserve_aspect_ratio: true, .. } => {
                largest.shape = [size[0], size[1], channels];
            }
            ImageOp::CentralCrop { fraction } => {
                // Less is taken away of a side that is one shorter, when the halves come out even.
                let side = |side: usize| side.min((side as f64 * fraction) as usize + 2);
                largest.shape = [side(height), side(width), channels];
            }
            _ => {}
        }
        largest.bytes()?;
        Ok(largest)
    }

    /// The element type that comes out of one.
    pub fn output_dtype(&self, input: DType) -> DType {
        match *self {
            ImageOp::Resize { method, .. } | ImageOp::ResizeWithPad { method, .. } => {
                method.output_dtype(input)
            }
            ImageOp::ConvertImageDType { dtype, .. } | ImageOp::Cast { dtype } => dtype,
            ImageOp::PerImageStandardization
            | ImageOp::Rescale { .. }
            | ImageOp::Normalize { .. }
            | ImageOp::Preprocess(_) => DType::F32,
            _ => input,
        }
    }

    /// The shape that comes out of one, `[height, width, channels]` both.
    ///
    /// # Errors
    /// [`ImageError::Shape`] and [`ImageError::Argument`].
    pub fn output_shape(&self, input: [usize; 3]) -> Result<[usize; 3], ImageError> {
        let [height, width, channels] = input;
        let sized = |[height, width]: [usize; 2]| [height, width, channels];
        Ok(match *self {
            ImageOp::Resize { size, preserve_aspect_ratio, .. } => {
                sized(if preserve_aspect_ratio { fitted(size, [height, width]) } else { size })
            }
            ImageOp::ResizeWithPad { size, .. }
            | ImageOp::ResizeWithCropOrPad { size }
            | ImageOp::PadToBoundingBox { size, .. }
            | ImageOp::CropToBoundingBox { size, .. }
            | ImageOp::RandomCrop { size, .. } => sized(size),
            ImageOp::CentralCrop { fraction } => {
                sized([height, width].map(|side| side - 2 * border(side, fraction)))
            }
            ImageOp::Rot90 { k } if k % 2 == 1 => [width, height, channels],
            ImageOp::Transpose => [width, height, channels],
            ImageOp::RgbToGrayscale => [height, width, 1],
            ImageOp::GrayscaleToRgb => [height, width, 3],
            _ => input,
        })
    }

    /// Bytes of scratch that [`ImageOp::run`] takes for `input`, aligned to 4 bytes.
    ///
    /// # Errors
    /// As [`ImageOp::output`].
    pub fn scratch_bytes(&self, input: ImageType) -> Result<usize, ImageError> {
        self.output(input)?;
        let (ImageOp::Resize { size, method, antialias, .. }
        | ImageOp::ResizeWithPad { size, method, antialias }) = *self
        else {
            return Ok(0);
        };
        // Where the image is fitted into the size, less of it is used and takes no more.
        let bytes = Resampling { method, antialias, size }.scratch_bytes(input);
        bytes.ok_or(ImageError::TooLarge { shape: input.shape })
    }

    /// Does it to `pixels`, which are `input`, and writes what [`ImageOp::output`] says to the start of `output`.
    /// Slices may be longer than needed; all are aligned to their elements, `scratch` to 4 bytes. `position` is the
    /// number of the row, or whatever else tells rows apart: with the seed it alone decides what is random.
    ///
    /// # Errors
    /// Those of [`ImageOp::output`], and [`ImageError::Memory`].
    pub fn run(
        &self,
        input: ImageType,
        pixels: &[u8],
        output: &mut [u8],
        scratch: &mut [u8],
        position: u64,
    ) -> Result<ImageType, ImageError> {
        let result = self.output(input)?;
        let pixels = part("input", input.bytes()?, pixels.len(), |bytes| pixels.get(..bytes))?;
        let found_bytes = output.len();
        let out = part("output", result.bytes()?, found_bytes, move |bytes| output.get_mut(..bytes))?;
        let found_bytes = scratch.len();
        let scratch =
            part("scratch", self.scratch_bytes(input)?, found_bytes, move |bytes| scratch.get_mut(..bytes))?;
        self.settled(input.shape, position).apply(input, pixels, result, out, scratch)?;
        Ok(result)
    }

    /// The operation without chance that a random one is at `position`.
    fn settled(self, [height, width, _]: [usize; 3], position: u64) -> ImageOp {
        let Some((seed, stream)) = self.seed() else { return self };
        let mut draws = Draws::new(seed, stream, position);
        match self {
            ImageOp::RandomCrop { size, .. } => {
                let offset = [draws.below(height - size[0] + 1), draws.below(width - size[1] + 1)];
                ImageOp::CropToBoundingBox { offset, size }
            }
            ImageOp::RandomFlipLeftRight { .. } if draws.flip() => ImageOp::FlipLeftRight,
            ImageOp::RandomFlipUpDown { .. } if draws.flip() => ImageOp::FlipUpDown,
            ImageOp::RandomFlipLeftRight { .. } | ImageOp::RandomFlipUpDown { .. } => ImageOp::Rot90 { k: 0 },
            ImageOp::RandomBrightness { max_delta, .. } => {
                ImageOp::AdjustBrightness { delta: draws.uniform(-max_delta, max_delta) }
            }
            ImageOp::RandomContrast { range: [low, high], .. } => {
                ImageOp::AdjustContrast { factor: draws.uniform(low, high) }
            }
            ImageOp::RandomHue { max_delta, .. } => {
                ImageOp::AdjustHue { delta: draws.uniform(-max_delta, max_delta) }
            }
            ImageOp::RandomSaturation { range: [low, high], .. } => {
                ImageOp::AdjustSaturation { factor: draws.uniform(low, high) }
            }
            other => other,
        }
    }

    fn apply(
        self,
        input: ImageType,
        pixels: &[u8],
        output: ImageType,
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), ImageError> {
        if let Some(Placed { from, to, size }) = self.placed(input.shape) {
            geometry::place(input, pixels, from, size, output, out, to);
            return Ok(());
        }
        match self {
            ImageOp::Resize { method, antialias, .. } => {
                let size = [output.shape[0], output.shape[1]];
                let target = Target { bytes: out, offset: 0, stride: output.line_bytes() };
                return Resampling { method, antialias, size }.run(input, pixels, target, scratch);
            }
            ImageOp::ResizeWithPad { size, method, antialias } => {
                let (at, size) = padded(size, input.shape);
                geometry::clear_around(output, out, at, size);
                let offset = at[0] * output.line_bytes() + at[1] * output.pixel_bytes();
                let target = Target { bytes: out, offset, stride: output.line_bytes() };
                return Resampling { method, antialias, size }.run(input, pixels, target, scratch);
            }
            ImageOp::ConvertImageDType { dtype, saturate } => {
                let conversion = Conversion::Image { saturate };
                return dtype::run(self.name(), conversion, input.dtype, pixels, dtype, out);
            }
            ImageOp::Cast { dtype } => {
                return dtype::run(self.name(), Conversion::Cast, input.dtype, pixels, dtype, out);
            }
            ImageOp::FlipLeftRight => geometry::flip_left_right(input, pixels, out),
            ImageOp::FlipUpDown => geometry::flip_up_down(input, pixels, out),
            ImageOp::Rot90 { k } => match k % 4 {
                0 => out.copy_from_slice(pixels),
                1 => geometry::turn(Turn::Left, input, pixels, out),
                2 => geometry::rot180(input, pixels, out),
                _ => geometry::turn(Turn::Right, input, pixels, out),
            },
            ImageOp::Transpose => geometry::turn(Turn::Transpose, input, pixels, out),
            ImageOp::PerImageStandardization => adjust::standardize(input, pixels, output, out),
            ImageOp::Rescale { scale, offset } => {
                adjust::rescale(input, pixels, output, out, [scale, offset])
            }
            ImageOp::Normalize { mean, std } => {
                let count = input.shape[2];
                adjust::normalize(input, pixels, output, out, &mean[..count], &std[..count]);
            }
            ImageOp::Preprocess(preprocess) => adjust::preprocess(input, pixels, output, out, preprocess),
            ImageOp::AdjustBrightness { delta } => adjust::brightness(input, pixels, out, delta),
            ImageOp::AdjustContrast { factor } => adjust::contrast(input, pixels, out, factor),
            ImageOp::AdjustGamma { gamma, gain } => adjust::gamma(input, pixels, out, gamma, gain),
            ImageOp::AdjustSaturation { factor } => color::saturation(input, pixels, out, factor),
            ImageOp::AdjustHue { delta } => color::hue(input, pixels, out, delta),
            ImageOp::RgbToGrayscale => color::rgb_to_grayscale(input, pixels, output, out),
            ImageOp::GrayscaleToRgb => color::grayscale_to_rgb(input, pixels, out),
            ImageOp::RgbToHsv => color::rgb_to_hsv(input, pixels, out),
            ImageOp::HsvToRgb => color::hsv_to_rgb(input, pixels, out),
            // Copies of a window and what chance has settled: done above.
            _ => {}
        }
        Ok(())
    }

    /// Which window goes where, for the operations that are nothing else.
    fn placed(&self, [height, width, _]: [usize; 3]) -> Option<Placed> {
        let origin = [0; 2];
        match *self {
            ImageOp::CentralCrop { fraction } => {
                let from = [height, width].map(|side| border(side, fraction));
                Some(Placed { from, to: origin, size: [height - 2 * from[0], width - 2 * from[1]] })
            }
            ImageOp::CropToBoundingBox { offset, size } => Some(Placed { from: offset, to: origin, size }),
            ImageOp::PadToBoundingBox { offset, .. } => {
                Some(Placed { from: origin, to: offset, size: [height, width] })
            }
            ImageOp::ResizeWithCropOrPad { size } => {
                let half = |a: usize, b: usize| a.saturating_sub(b) / 2;
                let from = [half(height, size[0]), half(width, size[1])];
                let to = [half(size[0], height), half(size[1], width)];
                Some(Placed { from, to, size: [size[0].min(height), size[1].min(width)] })
            }
            _ => None,
        }
    }
}

fn part<T>(
    what: &'static str,
    needed_bytes: usize,
    found_bytes: usize,
    get: impl FnOnce(usize) -> Option<T>,
) -> Result<T, ImageError> {
    get(needed_bytes).ok_or(ImageError::Memory { what, needed_bytes, found_bytes })
}

/// Pixels that `central_crop` takes away at each end.
fn border(side: usize, fraction: f64) -> usize {
    let side = side as f64;
    ((side - side * fraction) / 2.0) as usize
}

/// What `preserve_aspect_ratio` makes of `size`.
fn fitted(size: [usize; 2], image: [usize; 2]) -> [usize; 2] {
    let scale = |axis: usize| size[axis] as f32 / image[axis] as f32;
    let scale = scale(0).min(scale(1));
    image.map(|side| (scale * side as f32).round_ties_even() as usize)
}

/// Where `resize_with_pad` puts the image in `size`, `[y, x]`, and how large.
fn padded(size: [usize; 2], [height, width, _]: [usize; 3]) -> ([usize; 2], [usize; 2]) {
    let image = [height as f32, width as f32];
    let size = size.map(|side| side as f32);
    let ratio = (image[1] / size[1]).max(image[0] / size[0]);
    let inner = image.map(|side| side / ratio);
    let at = [(size[0] - inner[0]) / 2.0, (size[1] - inner[1]) / 2.0];
    // A float below 0 becomes 0.
    (at.map(|at| at.floor() as usize), inner.map(|side| side.floor() as usize))
}
