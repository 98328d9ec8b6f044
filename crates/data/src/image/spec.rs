//! The operations by name, as a pipeline's description has them.

use tightfit_core::DType;

use super::op::ImageOp;
use super::pixel::ImageError;
use super::resample::ResizeMethod;
use crate::Preprocess;

/// The value of an argument.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Argument<'a> {
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// A name.
    Text(&'a str),
    /// Several numbers.
    Numbers(&'a [f64]),
}

/// An operation that can be asked for by name.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpSpec {
    /// What [`ImageOp::name`] says.
    pub name: &'static str,
    /// The names of its arguments, those of TensorFlow's function; in `[]` those that can be left out. `size`, the
    /// `offset` of a box and `range` are two numbers: height and width, y and x, lower and upper.
    pub arguments: &'static [&'static str],
    build: fn(&Arguments<'_>) -> Result<ImageOp, ImageError>,
}

struct Arguments<'a> {
    op: &'static str,
    given: &'a [(&'a str, Argument<'a>)],
}

impl<'a> Arguments<'a> {
    fn error<T>(&self, why: &'static str) -> Result<T, ImageError> {
        Err(ImageError::Argument { op: self.op, why })
    }

    fn get(&self, name: &str) -> Option<Argument<'a>> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Result<f64, ImageError> {
        match self.get(name) {
            Some(Argument::Number(value)) => Ok(value),
            Some(_) => self.error("an argument is not a number"),
            None => self.error("an argument is missing"),
        }
    }

    fn float(&self, name: &str) -> Result<f32, ImageError> {
        Ok(self.number(name)? as f32)
    }

    fn float_or(&self, name: &str, default: f32) -> Result<f32, ImageError> {
        if self.get(name).is_none() { Ok(default) } else { self.float(name) }
    }

    /// Whole numbers from 0 that float64 tells apart.
    fn whole(&self, value: f64) -> Result<u64, ImageError> {
        if (0.0..9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0 {
            return Ok(value as u64);
        }
        self.error("an argument must be a whole number, at least 0")
    }

    fn seed(&self) -> Result<u64, ImageError> {
        self.whole(self.number("seed")?)
    }

    fn flag(&self, name: &str) -> Result<bool, ImageError> {
        match self.get(name) {
            Some(Argument::Flag(value)) => Ok(value),
            Some(_) => self.error("an argument is not true or false"),
            None => Ok(false),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, ImageError> {
        match self.get(name) {
            Some(Argument::Text(value)) => Ok(Some(value)),
            Some(_) => self.error("an argument is not a name"),
            None => Ok(None),
        }
    }

    fn numbers(&self, name: &str) -> Result<&'a [f64], ImageError> {
        match self.get(name) {
            Some(Argument::Numbers(values)) => Ok(values),
            Some(_) => self.error("an argument is not a list of numbers"),
            None => self.error("an argument is missing"),
        }
    }

    fn pair(&self, name: &str) -> Result<[usize; 2], ImageError> {
        let [first, second] = *self.numbers(name)? else {
            return self.error("an argument must be two numbers");
        };
        Ok([self.whole(first)? as usize, self.whole(second)? as usize])
    }

    fn range(&self) -> Result<[f32; 2], ImageError> {
        match *self.numbers("range")? {
            [low, high] => Ok([low as f32, high as f32]),
            _ => self.error("its range must be two numbers"),
        }
    }

    fn channels(&self, name: &str, default: f32) -> Result<[f32; 4], ImageError> {
        let values = self.numbers(name)?;
        if values.is_empty() || values.len() > 4 {
            return self.error("it takes one to four numbers, one for each channel");
        }
        let mut channels = [default; 4];
        for (to, value) in channels.iter_mut().zip(values) {
            *to = *value as f32;
        }
        Ok(channels)
    }

    fn method(&self) -> Result<ResizeMethod, ImageError> {
        let Some(name) = self.text("method")? else { return Ok(ResizeMethod::default()) };
        ResizeMethod::by_name(name).map_or_else(|| self.error("its method is none of TensorFlow's"), Ok)
    }

    fn dtype(&self) -> Result<DType, ImageError> {
        let name = self.text("dtype")?;
        let dtype = DType::ALL.into_iter().find(|dtype| Some(dtype.name()) == name);
        dtype.map_or_else(|| self.error("its dtype must be the name of an element type"), Ok)
    }
}

/// Every operation.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "resize",
        arguments: &["size", "[method]", "[antialias]", "[preserve_aspect_ratio]"],
        build: |a| {
            Ok(ImageOp::Resize {
                size: a.pair("size")?,
                method: a.method()?,
                antialias: a.flag("antialias")?,
                preserve_aspect_ratio: a.flag("preserve_aspect_ratio")?,
            })
        },
    },
    OpSpec {
        name: "resize_with_pad",
        arguments: &["size", "[method]", "[antialias]"],
        build: |a| {
            let (size, method) = (a.pair("size")?, a.method()?);
            Ok(ImageOp::ResizeWithPad { size, method, antialias: a.flag("antialias")? })
        },
    },
    OpSpec {
        name: "resize_with_crop_or_pad",
        arguments: &["size"],
        build: |a| Ok(ImageOp::ResizeWithCropOrPad { size: a.pair("size")? }),
    },
    OpSpec {
        name: "central_crop",
        arguments: &["fraction"],
        build: |a| Ok(ImageOp::CentralCrop { fraction: a.number("fraction")? }),
    },
    OpSpec {
        name: "crop_to_bounding_box",
        arguments: &["offset", "size"],
        build: |a| Ok(ImageOp::CropToBoundingBox { offset: a.pair("offset")?, size: a.pair("size")? }),
    },
    OpSpec {
        name: "pad_to_bounding_box",
        arguments: &["offset", "size"],
        build: |a| Ok(ImageOp::PadToBoundingBox { offset: a.pair("offset")?, size: a.pair("size")? }),
    },
    OpSpec { name: "flip_left_right", arguments: &[], build: |_| Ok(ImageOp::FlipLeftRight) },
    OpSpec { name: "flip_up_down", arguments: &[], build: |_| Ok(ImageOp::FlipUpDown) },
    OpSpec {
        name: "rot90",
        arguments: &["[k]"],
        build: |a| {
            let k = if a.get("k").is_some() { a.number("k")? } else { 1.0 };
            // Negative ones turn clockwise.
            if k.fract() != 0.0 || k.abs() > 1e9 {
                return a.error("its k must be a whole number");
            }
            Ok(ImageOp::Rot90 { k: (k as i64).rem_euclid(4) as u32 })
        },
    },
    OpSpec { name: "transpose", arguments: &[], build: |_| Ok(ImageOp::Transpose) },
    OpSpec {
        name: "random_crop",
        arguments: &["size", "seed"],
        build: |a| Ok(ImageOp::RandomCrop { size: a.pair("size")?, seed: a.seed()? }),
    },
    OpSpec {
        name: "random_flip_left_right",
        arguments: &["seed"],
        build: |a| Ok(ImageOp::RandomFlipLeftRight { seed: a.seed()? }),
    },
    OpSpec {
        name: "random_flip_up_down",
        arguments: &["seed"],
        build: |a| Ok(ImageOp::RandomFlipUpDown { seed: a.seed()? }),
    },
    OpSpec {
        name: "random_brightness",
        arguments: &["max_delta", "seed"],
        build: |a| Ok(ImageOp::RandomBrightness { max_delta: a.float("max_delta")?, seed: a.seed()? }),
    },
    OpSpec {
        name: "random_contrast",
        arguments: &["range", "seed"],
        build: |a| Ok(ImageOp::RandomContrast { range: a.range()?, seed: a.seed()? }),
    },
    OpSpec {
        name: "random_hue",
        arguments: &["max_delta", "seed"],
        build: |a| Ok(ImageOp::RandomHue { max_delta: a.float("max_delta")?, seed: a.seed()? }),
    },
    OpSpec {
        name: "random_saturation",
        arguments: &["range", "seed"],
        build: |a| Ok(ImageOp::RandomSaturation { range: a.range()?, seed: a.seed()? }),
    },
    OpSpec {
        name: "convert_image_dtype",
        arguments: &["dtype", "[saturate]"],
        build: |a| Ok(ImageOp::ConvertImageDType { dtype: a.dtype()?, saturate: a.flag("saturate")? }),
    },
    OpSpec { name: "cast", arguments: &["dtype"], build: |a| Ok(ImageOp::Cast { dtype: a.dtype()? }) },
    OpSpec {
        name: "per_image_standardization",
        arguments: &[],
        build: |_| Ok(ImageOp::PerImageStandardization),
    },
    OpSpec {
        name: "rescale",
        arguments: &["scale", "[offset]"],
        build: |a| Ok(ImageOp::Rescale { scale: a.float("scale")?, offset: a.float_or("offset", 0.0)? }),
    },
    OpSpec {
        name: "normalize",
        arguments: &["mean", "std"],
        build: |a| Ok(ImageOp::Normalize { mean: a.channels("mean", 0.0)?, std: a.channels("std", 1.0)? }),
    },
    OpSpec {
        name: "preprocess",
        arguments: &["mode"],
        build: |a| match a.text("mode")?.map(str::parse::<Preprocess>) {
            Some(Ok(preprocess)) => Ok(ImageOp::Preprocess(preprocess)),
            _ => a.error("its mode must be tf, torch, caffe, unit or none"),
        },
    },
    OpSpec {
        name: "adjust_brightness",
        arguments: &["delta"],
        build: |a| Ok(ImageOp::AdjustBrightness { delta: a.float("delta")? }),
    },
    OpSpec {
        name: "adjust_contrast",
        arguments: &["factor"],
        build: |a| Ok(ImageOp::AdjustContrast { factor: a.float("factor")? }),
    },
    OpSpec {
        name: "adjust_saturation",
        arguments: &["factor"],
        build: |a| Ok(ImageOp::AdjustSaturation { factor: a.float("factor")? }),
    },
    OpSpec {
        name: "adjust_hue",
        arguments: &["delta"],
        build: |a| Ok(ImageOp::AdjustHue { delta: a.float("delta")? }),
    },
    OpSpec {
        name: "adjust_gamma",
        arguments: &["[gamma]", "[gain]"],
        build: |a| {
            Ok(ImageOp::AdjustGamma { gamma: a.float_or("gamma", 1.0)?, gain: a.float_or("gain", 1.0)? })
        },
    },
    OpSpec { name: "rgb_to_grayscale", arguments: &[], build: |_| Ok(ImageOp::RgbToGrayscale) },
    OpSpec { name: "grayscale_to_rgb", arguments: &[], build: |_| Ok(ImageOp::GrayscaleToRgb) },
    OpSpec { name: "rgb_to_hsv", arguments: &[], build: |_| Ok(ImageOp::RgbToHsv) },
    OpSpec { name: "hsv_to_rgb", arguments: &[], build: |_| Ok(ImageOp::HsvToRgb) },
];

/// The operation called `name` with these arguments; `None` when there is none of this name.
///
/// # Errors
/// [`ImageError::Argument`] when one is missing, unknown, or not of its kind. Whether its value can be says
/// [`ImageOp::output`].
pub fn op_by_name(name: &str, given: &[(&str, Argument<'_>)]) -> Option<Result<ImageOp, ImageError>> {
    let spec = OPS.iter().find(|spec| spec.name == name)?;
    let is_known = |given: &str| spec.arguments.iter().any(|known| known.trim_matches(['[', ']']) == given);
    let arguments = Arguments { op: spec.name, given };
    if given.iter().any(|(name, _)| !is_known(name)) {
        return Some(arguments.error("it has no argument of this name"));
    }
    Some((spec.build)(&arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_built_under_its_own_name() {
        for spec in OPS {
            let given: Vec<(&str, Argument<'_>)> = spec
                .arguments
                .iter()
                .map(|name| name.trim_matches(['[', ']']))
                .map(|name| match name {
                    "offset" if spec.name == "rescale" => (name, Argument::Number(1.0)),
                    "size" | "offset" | "range" => (name, Argument::Numbers(&[1.0, 2.0])),
                    "mean" | "std" => (name, Argument::Numbers(&[1.0, 2.0, 3.0])),
                    "method" => (name, Argument::Text("lanczos5")),
                    "dtype" => (name, Argument::Text("uint16")),
                    "mode" => (name, Argument::Text("caffe")),
                    "antialias" | "preserve_aspect_ratio" | "saturate" => (name, Argument::Flag(true)),
                    _ => (name, Argument::Number(0.0)),
                })
                .collect();
            assert_eq!(op_by_name(spec.name, &given).unwrap().unwrap().name(), spec.name);
            let unknown = op_by_name(spec.name, &[("none", Argument::Flag(true))]).unwrap();
            assert!(matches!(unknown, Err(ImageError::Argument { .. })), "{}", spec.name);
            let needs_any = spec.arguments.iter().any(|name| !name.starts_with('['));
            assert_eq!(op_by_name(spec.name, &[]).unwrap().is_err(), needs_any, "{}", spec.name);
        }
        assert!(op_by_name("resise", &[]).is_none());
    }

    #[test]
    fn every_random_operation_draws_from_a_stream_of_its_own() {
        let mut streams = Vec::new();
        for (place, spec) in OPS.iter().enumerate().filter(|(_, spec)| spec.arguments.contains(&"seed")) {
            let given = spec.arguments.iter().map(|name| match *name {
                "size" | "range" => (*name, Argument::Numbers(&[1.0, 2.0])),
                name => (name, Argument::Number(0.25 * f64::from(name != "seed"))),
            });
            let op = op_by_name(spec.name, &given.collect::<Vec<_>>()).unwrap().unwrap();
            streams.push((op.seed(), place as u64));
        }
        assert_eq!(streams.len(), 7);
        assert!(streams.iter().all(|(drawn, place)| *drawn == Some((0, *place))), "{streams:?}");
    }

    #[test]
    fn arguments_reach_the_operation() {
        let size = ("size", Argument::Numbers(&[3.0, 4.0]));
        let op = op_by_name("resize", &[size, ("method", Argument::Text("area"))]).unwrap().unwrap();
        let (method, size) = (ResizeMethod::Area, [3, 4]);
        assert_eq!(op, ImageOp::Resize { size, method, antialias: false, preserve_aspect_ratio: false });
        let op = op_by_name("rot90", &[("k", Argument::Number(-1.0))]).unwrap().unwrap();
        assert_eq!(op, ImageOp::Rot90 { k: 3 });
        for bad in [-1.0, 0.5, 1e300, f64::NAN] {
            assert!(op_by_name("random_flip_up_down", &[("seed", Argument::Number(bad))]).unwrap().is_err());
        }
    }
}
