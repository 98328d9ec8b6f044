//! Pixels as coded pictures: EncodeJpeg, EncodeJpegVariableQuality and EncodePng.
//!
//! EncodeJpeg: uint8 `[height, width, channels]`, grey or RGB, becomes a scalar string, byte for byte TensorFlow's, with every
//! attribute: `format` (what the picture has where it is empty), `quality`, `progressive`, `optimize_size`,
//! `chroma_downsampling`, densities and `xmp_metadata`; the second one takes the quality as an input. EncodePng: uint8 or
//! uint16 `[.., height, width, channels]` of one to four channels, a string for each image; the files hold the pixels that
//! they were made of, and are compressed otherwise than TensorFlow's, whatever `compression` says.

use tightfit_core::{DType, Shape, StringRef, TensorView};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::int_input;
use crate::pictures::{self, Encoding, JpegForm};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "EncodeJpeg", import: import_jpeg },
    Registration {
        name: "EncodeJpegVariableQuality",
        import: |_| {
            pictures::provided()?;
            Ok(Box::new(EncodeJpeg { form: Form::usual(), channels: None }))
        },
    },
    Registration { name: "EncodePng", import: import_png },
];

/// The longest side that a JPEG is encoded with.
const JPEG_MAX_SIDE: usize = 65_500;

/// The form of a JPEG, as a node says it.
#[derive(Debug, Clone)]
struct Form {
    /// `None` where an input says it.
    quality: Option<u8>,
    is_progressive: bool,
    is_optimized: bool,
    halves_colours: bool,
    density: [u16; 2],
    is_metric: bool,
    xmp: Box<[u8]>,
}

impl Form {
    /// The usual one, of a quality that an input says.
    fn usual() -> Form {
        Form {
            quality: None,
            is_progressive: false,
            is_optimized: false,
            halves_colours: true,
            density: [300; 2],
            is_metric: false,
            xmp: Box::default(),
        }
    }

    fn with(&self, quality: u8) -> Encoding<'_> {
        Encoding::Jpeg(JpegForm {
            quality,
            is_progressive: self.is_progressive,
            is_optimized: self.is_optimized,
            halves_colours: self.halves_colours,
            density: self.density,
            is_metric: self.is_metric,
            xmp: &self.xmp,
        })
    }
}

fn import_jpeg(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    pictures::provided()?;
    let quality = attributes.int_or("quality", 95)?;
    let density = |name: &str| {
        let n = attributes.int_or(name, 300)?;
        // As libjpeg keeps them.
        Ok::<_, OpError>(n as u16)
    };
    let channels = match attributes.text_or("format", "")? {
        "" => None,
        "grayscale" => Some(1),
        "rgb" => Some(3),
        other => {
            return Err(OpError::attribute("format", format!("is {other}; grayscale and rgb are possible")));
        }
    };
    let form = Form {
        quality: Some(to_quality(quality).map_err(|why| OpError::attribute("quality", why))?),
        is_progressive: attributes.bool_or("progressive", false)?,
        is_optimized: attributes.bool_or("optimize_size", false)?,
        halves_colours: attributes.bool_or("chroma_downsampling", true)?,
        density: [density("x_density")?, density("y_density")?],
        is_metric: match attributes.text_or("density_unit", "in")? {
            "in" => false,
            "cm" => true,
            other => {
                return Err(OpError::attribute(
                    "density_unit",
                    format!("is {other}; in and cm are possible"),
                ));
            }
        },
        xmp: attributes.bytes_or("xmp_metadata", b"")?.into(),
    };
    Ok(Box::new(EncodeJpeg { form, channels }))
}

fn to_quality(quality: i64) -> Result<u8, String> {
    match quality {
        0..=100 => Ok(quality as u8),
        _ => Err(format!("is {quality}; 0 to 100 are possible")),
    }
}

/// The string of a coded picture.
fn encoded(
    run: &Run<'_>,
    shape: [usize; 3],
    pixels: TensorView<'_>,
    how: &Encoding<'_>,
    scratch: &mut [u8],
) -> Result<StringRef, OpError> {
    let refused = |why: String| OpError::input(0, format!("cannot be encoded: {why}"));
    let pictures = pictures::provided()?;
    let needed = pictures.encoding_bytes(shape, pixels.dtype(), how).map_err(refused)?;
    let _heap = run.reserve("encoding of pictures", needed.heap)?;
    let mut text = run.new_string(&[]);
    let mut write = |bytes: &[u8]| {
        if let Ok(so_far) = &text {
            text = run.extended_string(*so_far, bytes);
        }
        text.is_ok()
    };
    let result = pictures.encode(shape, pixels, how, scratch, &mut write);
    let text = text?;
    result.map_err(refused)?;
    Ok(text)
}

/// EncodeJpeg and EncodeJpegVariableQuality.
#[derive(Debug)]
struct EncodeJpeg {
    form: Form,
    /// How many channels there must be.
    channels: Option<usize>,
}

impl Operator for EncodeJpeg {
    fn name(&self) -> &'static str {
        if self.form.quality.is_some() { "EncodeJpeg" } else { "EncodeJpegVariableQuality" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let image = shared::input(inputs, 0)?;
        shared::need_type(0, image, &[DType::U8])?;
        shared::dims_of_rank(0, image, 3)?;
        if self.form.quality.is_none() {
            let quality = shared::input(inputs, 1)?;
            shared::need_type(1, quality, &[DType::I32])?;
            shared::dims_of_rank(1, quality, 0)?;
        }
        Ok(vec![Fact::new(DType::String, Dims::scalar())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let shape = call.inputs.first().map(|image| &image.shape[..]);
        let Some(&[height, width, channels]) = shape else { return Memory::default() };
        // The most that there can be of each need be no picture: channels are then those of the largest that is one.
        let channels = self.channels.unwrap_or(if channels < 3 { 1 } else { 3 });
        let [height, width] = [height, width].map(|side| side.min(JPEG_MAX_SIDE));
        // What cannot be encoded the run refuses.
        let bytes = pictures::provided()
            .and_then(|p| {
                p.encoding_bytes([height, width, channels], DType::U8, &self.form.with(0))
                    .map_err(OpError::Invalid)
            })
            .map_or(0, |bytes| bytes.scratch);
        Memory { scratch_bytes: bytes, string_bytes: 1024, ..Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        run.set_output_shape(0, Shape::SCALAR).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pixels = run.input(0)?;
        let &[height, width, channels] = &pixels.shape()[..] else {
            return Err(OpError::input(0, format!("is of shape {}; rank 3 is needed", pixels.shape())));
        };
        if !self.channels.map_or(matches!(channels, 1 | 3), |needed| needed == channels) {
            let needed = self.channels.map_or("1 or 3".to_string(), |channels| channels.to_string());
            return Err(OpError::input(0, format!("has {channels} channels; {needed} are needed")));
        }
        let quality = match self.form.quality {
            Some(quality) => quality,
            None => to_quality(int_input(run, 1)?).map_err(|why| OpError::input(1, why))?,
        };
        let scratch = run.scratch()?;
        let text = encoded(run, [height, width, channels], pixels, &self.form.with(quality), scratch)?;
        run.out::<StringRef>(0)?.fill(text);
        Ok(())
    }
}

fn import_png(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    pictures::provided()?;
    match attributes.int_or("compression", -1)? {
        -1..=9 => Ok(Box::new(EncodePng)),
        n => Err(OpError::attribute("compression", format!("is {n}; -1 to 9 are possible"))),
    }
}

/// EncodePng.
#[derive(Debug)]
struct EncodePng;

impl Operator for EncodePng {
    fn name(&self) -> &'static str {
        "EncodePng"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let image = shared::input(inputs, 0)?;
        shared::need_type(0, image, &[DType::U8, DType::U16])?;
        let dims = match image.dims.get() {
            None => Dims::UNKNOWN,
            Some([before @ .., _, _, _]) => Dims::new(before),
            Some(_) => {
                return Err(OpError::input(0, format!("is of shape {}; rank 3 is needed", image.dims)));
            }
        };
        Ok(vec![Fact::new(DType::String, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let [before @ .., _, _, _] = &shape[..] else { return None };
        reshape::set(run, 0, before.iter().copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pixels = run.input(0)?;
        let &[.., height, width, channels] = &pixels.shape()[..] else {
            return Err(OpError::input(0, format!("is of shape {}; rank 3 is needed", pixels.shape())));
        };
        if height * width == 0 || !(1..=4).contains(&channels) {
            let why = format!("is of shape {}; pixels of 1 to 4 channels are needed", pixels.shape());
            return Err(OpError::input(0, why));
        }
        let (shape, bytes) = (Shape::new(&[height, width, channels])?, pixels.dtype().bytes());
        let out = run.out::<StringRef>(0)?;
        for (to, image) in out.iter_mut().zip(pixels.bytes().chunks_exact(shape.elements() * bytes)) {
            let image = TensorView::new(pixels.dtype(), shape, image)
                .ok_or(OpError::Internal("an image is of other bytes than its shape"))?;
            *to = encoded(run, [height, width, channels], image, &Encoding::Png, &mut [])?;
        }
        Ok(())
    }
}
