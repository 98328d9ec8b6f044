//! Coded pictures: DecodeJpeg, DecodeAndCropJpeg, DecodePng, DecodeGif, DecodeBmp, DecodeImage and ExtractJpegShape.
//!
//! The contents are a scalar string. DecodeJpeg, DecodePng and DecodeGif each take JPEG, PNG and GIF, as in TensorFlow, DecodeBmp
//! takes BMP, DecodeImage any. The output is `[height, width, channels]`, of DecodeGif `[frames, height, width, 3]`, and of
//! DecodeImage with `expand_animations` that for a GIF; uint8, of DecodePng also uint16, of DecodeImage also float32. Its memory is
//! reserved as it runs.
//!
//! Attributes: `channels` (0 for what the picture has), `dtype`, `expand_animations`, `dct_method` (INTEGER_FAST, as TensorFlow
//! decodes by itself, or INTEGER_ACCURATE), `fancy_upscaling`, `ratio` (of JPEGs, as libjpeg reduces them). What `try_recover_truncated` would make of
//! a truncated picture is an error. The decoders are [`crate::pictures`].

use tightfit_core::{DType, StringRef};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::pictures::{self, Decoding, Picture, PictureFormat};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "DecodeJpeg", import: |attributes| import(attributes, Which::Jpeg) },
    Registration { name: "DecodeAndCropJpeg", import: |attributes| import(attributes, Which::Crop) },
    Registration { name: "DecodePng", import: |attributes| import(attributes, Which::Png) },
    Registration { name: "DecodeGif", import: |attributes| import(attributes, Which::Gif) },
    Registration { name: "DecodeBmp", import: |attributes| import(attributes, Which::Bmp) },
    Registration { name: "DecodeImage", import: |attributes| import(attributes, Which::Image) },
    Registration { name: "ExtractJpegShape", import: import_shape },
];

/// Which of the operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Jpeg,
    Crop,
    Png,
    Gif,
    Bmp,
    Image,
}

fn import(attributes: &Attributes<'_>, which: Which) -> Result<Box<dyn Operator>, OpError> {
    pictures::provided()?;
    let channels = attributes.int_or("channels", 0)?;
    let of_gif = which == Which::Gif;
    let channels = match (which, usize::try_from(channels)) {
        (Which::Gif, _) => 3,
        (Which::Jpeg | Which::Crop, Ok(n @ (0 | 1 | 3 | 4))) => n,
        (_, Ok(n @ (0 | 1 | 3 | 4))) => n,
        _ => {
            return Err(OpError::attribute("channels", format!("is {channels}; 0, 1, 3 and 4 are possible")));
        }
    };
    let dtype = match which {
        Which::Png | Which::Image => attributes.dtype_or("dtype", DType::U8)?,
        _ => DType::U8,
    };
    let (mut is_accurate, mut ratio, mut repeats_colours) = (false, 1, false);
    if matches!(which, Which::Jpeg | Which::Crop) {
        ratio = match attributes.int_or("ratio", 1)? {
            ratio @ (1 | 2 | 4 | 8) => ratio as usize,
            other => {
                return Err(OpError::attribute("ratio", format!("is {other}; 1, 2, 4 and 8 are possible")));
            }
        };
        repeats_colours = !attributes.bool_or("fancy_upscaling", true)?;
        is_accurate = match attributes.text_or("dct_method", "")? {
            "" | "INTEGER_FAST" => false,
            "INTEGER_ACCURATE" => true,
            other => return Err(OpError::attribute("dct_method", format!("is {other}"))),
        };
    }
    let expands = which == Which::Image && attributes.bool_or("expand_animations", true)?;
    let has_frames = of_gif || expands;
    let decoding =
        Decoding { channels, dtype, has_frames, is_accurate, ratio, repeats_colours, columns: None };
    Ok(Box::new(DecodePicture { which, decoding }))
}

/// The operators that decode.
#[derive(Debug)]
struct DecodePicture {
    which: Which,
    decoding: Decoding,
}

/// The contents, which must be a scalar.
fn contents<'a>(run: &Run<'a>) -> Result<&'a [u8], OpError> {
    match run.slice::<StringRef>(0)? {
        &[text] => Ok(run.string(text)),
        _ => Err(OpError::input(0, "is no scalar")),
    }
}

fn need_contents(inputs: &[&Fact]) -> Result<(), OpError> {
    let contents = shared::input(inputs, 0)?;
    shared::need_type(0, contents, &[DType::String])?;
    shared::dims_of_rank(0, contents, 0).map(|_| ())
}

/// A part of a picture: the first row and column, rows and columns.
type Crop = [usize; 4];

impl DecodePicture {
    /// What is decoded for this operator; a GIF for another one than DecodeGif and DecodeImage must be one frame.
    fn inspect(&self, coded: &[u8]) -> Result<Picture, OpError> {
        let wanted = Decoding { has_frames: true, ..self.decoding };
        let picture = pictures::provided()?.inspect(coded, &wanted).map_err(|why| OpError::input(0, why))?;
        let refuse = |why: &str| Err(OpError::input(0, format!("is a {:?}, {why}", picture.format)));
        match (self.which, picture.format) {
            (Which::Crop, format) if format != PictureFormat::Jpeg => refuse("not a JPEG"),
            (Which::Bmp, format) if format != PictureFormat::Bmp => refuse("not a BMP"),
            (Which::Jpeg | Which::Png | Which::Gif, PictureFormat::Bmp) => {
                refuse("which DecodeBmp and DecodeImage decode")
            }
            (Which::Jpeg | Which::Png, PictureFormat::Gif) if picture.frames != 1 => {
                refuse("of several frames, which DecodeGif and DecodeImage decode")
            }
            _ => Ok(picture),
        }
    }

    /// Whether frames are an axis of the output.
    fn has_frames(&self, format: PictureFormat) -> bool {
        match self.which {
            Which::Gif => true,
            Which::Image => self.decoding.has_frames && format == PictureFormat::Gif,
            _ => false,
        }
    }

    /// The part that is asked for, inside of the picture.
    fn crop(&self, run: &Run<'_>, picture: &Picture) -> Result<Option<Crop>, OpError> {
        if self.which != Which::Crop {
            return Ok(None);
        }
        let window = run.ints::<4>(1)?;
        let part = <[i64; 4]>::try_from(&window[..]).ok().map(|part| part.map(usize::try_from));
        let Some([Ok(y), Ok(x), Ok(height), Ok(width)]) = part else {
            return Err(OpError::input(1, format!("is {:?}, no part of a picture", &window[..])));
        };
        let [rows, columns, _] = picture.shape;
        let is_inside = |at: usize, size: usize, whole: usize| {
            size > 0 && at.checked_add(size).is_some_and(|end| end <= whole)
        };
        if !is_inside(y, height, rows) || !is_inside(x, width, columns) {
            let why = format!("is {:?}, no part of a picture of {rows} by {columns}", &window[..]);
            return Err(OpError::input(1, why));
        }
        Ok(Some([y, x, height, width]))
    }

    fn dims(&self, picture: &Picture, crop: Option<Crop>) -> impl Iterator<Item = usize> {
        let [height, width, channels] = picture.shape;
        let [height, width] = crop.map_or([height, width], |[_, _, height, width]| [height, width]);
        let frames = self.has_frames(picture.format).then_some(picture.frames);
        frames.into_iter().chain([height, width, channels])
    }
}

impl Operator for DecodePicture {
    fn name(&self) -> &'static str {
        match self.which {
            Which::Jpeg => "DecodeJpeg",
            Which::Crop => "DecodeAndCropJpeg",
            Which::Png => "DecodePng",
            Which::Gif => "DecodeGif",
            Which::Bmp => "DecodeBmp",
            Which::Image => "DecodeImage",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        need_contents(inputs)?;
        let mut dims = vec![Dim::Unknown; 2];
        if self.which == Which::Crop {
            let window = shared::input(inputs, 1)?;
            shared::need_type(1, window, &[DType::I32])?;
            shared::dims_of_rank(1, window, 1)?;
        }
        dims.push(match self.decoding.channels {
            0 => Dim::Unknown,
            channels => Dim::Known(channels as i64),
        });
        let dims = match self.which {
            Which::Gif => Dims::new([vec![Dim::Unknown], dims].concat()),
            // A GIF has an axis more.
            Which::Image if self.decoding.has_frames => Dims::UNKNOWN,
            _ => Dims::new(dims),
        };
        Ok(vec![Fact::new(self.decoding.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let picture = self.inspect(contents(run).ok()?).ok()?;
        let crop = self.crop(run, &picture).ok()?;
        reshape::set(run, 0, self.dims(&picture, crop))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let coded = contents(run)?;
        let picture = self.inspect(coded)?;
        let crop = self.crop(run, &picture)?;
        let shape = reshape::shape(self.dims(&picture, crop))
            .ok_or_else(|| OpError::input(0, "is too large a picture"))?;
        run.set_output_shape(0, shape)?;
        let _heap = run.reserve("decoding of pictures", picture.heap_bytes)?;
        let mut scratch = run.room(picture.scratch_bytes)?;
        // One frame of several where no more are wanted.
        let columns = crop.map(|[_, x, _, width]| [x, width]);
        let wanted = Decoding { has_frames: self.has_frames(picture.format), columns, ..self.decoding };
        let decode = |out: &mut [u8], scratch: &mut [u8]| {
            let decoded = pictures::provided()?.decode(coded, &wanted, out, scratch);
            decoded.map_err(|why| OpError::input(0, why))
        };
        let Some([y, x, height, width]) = crop else {
            return decode(run.out_bytes(0)?, scratch.bytes());
        };
        let [rows, columns, channels] = picture.shape;
        let mut whole = run.room(rows * columns * channels)?;
        decode(whole.bytes(), scratch.bytes())?;
        let (line, part) = (columns * channels, width * channels);
        let out = run.out_bytes(0)?;
        for (to, from) in
            out.chunks_exact_mut(part).zip(whole.bytes().chunks_exact(line).skip(y).take(height))
        {
            to.copy_from_slice(&from[x * channels..][..part]);
        }
        Ok(())
    }
}

fn import_shape(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    pictures::provided()?;
    let output = attributes.dtype_or("output_type", DType::I32)?;
    if !matches!(output, DType::I32 | DType::I64) {
        return Err(OpError::attribute("output_type", format!("is {output}; int32 and int64 are possible")));
    }
    Ok(Box::new(ExtractJpegShape { output }))
}

/// The height, the width and the components of a JPEG.
#[derive(Debug)]
struct ExtractJpegShape {
    output: DType,
}

impl Operator for ExtractJpegShape {
    fn name(&self) -> &'static str {
        "ExtractJpegShape"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        need_contents(inputs)?;
        Ok(vec![Fact::new(self.output, Dims::new([Dim::Known(3)]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let wanted = Decoding {
            channels: 0,
            dtype: DType::U8,
            has_frames: false,
            is_accurate: false,
            ratio: 1,
            repeats_colours: false,
            columns: None,
        };
        let picture = pictures::provided()?.inspect(contents(run)?, &wanted);
        let picture = picture.map_err(|why| OpError::input(0, why))?;
        if picture.format != PictureFormat::Jpeg {
            return Err(OpError::input(0, format!("is a {:?}, not a JPEG", picture.format)));
        }
        let shape = [picture.shape[0], picture.shape[1], picture.components];
        match self.output {
            DType::I64 => run.out::<i64>(0)?.copy_from_slice(&shape.map(|n| n as i64)),
            _ => run.out::<i32>(0)?.copy_from_slice(&shape.map(|n| n as i32)),
        }
        Ok(())
    }
}
