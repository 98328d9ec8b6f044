//! `tf.io.decode_image`: coded images with the channels and the element type asked for.
//!
//! What TensorFlow refuses is refused: four channels of a JPEG or GIF, one of a GIF, a BMP or a JPEG of four inks. A BMP
//! of 8 bits is one channel, its palette is ignored. PNG: a 16-bit result of 8 bits is `value * 257`; of the other
//! formats it is `value * 256`. float32 is from 0 to 1. EXIF is ignored. How far pixels of JPEGs differ is said in
//! [`super`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tightfit_core::DType;

use super::bmp::Bmp;
use super::decode::{self, grey_of};
use super::gif;
use super::header::{ImageFormat, ImageHeader};
use super::jpeg::{self, JpegDecoding};
use super::pixel::{ImageError, ImageType};
use super::png_grey::Grey;
use crate::error::clamped;

const OP: &str = "decode_image";

/// What `tf.io.decode_image` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DecodeOptions {
    /// 1, 3 or 4; 0 for what the image has.
    pub channels: usize,
    /// uint8, uint16 or float32.
    #[serde(serialize_with = "crate::flow::identity::dtype")]
    pub dtype: DType,
    /// Whether all frames of a GIF come out, one after the other; otherwise the first
    /// (`expand_animations=False`).
    pub expand_animations: bool,
}

/// What an image is decoded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoded {
    /// One frame.
    pub image: ImageType,
    /// How many there are: `[frames, height, width, channels]` where it is more than one.
    pub frames: usize,
    /// Bytes of scratch that decoding takes.
    pub scratch_bytes: usize,
}

impl Decoded {
    /// Bytes of all frames.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`].
    pub fn bytes(&self) -> Result<usize, ImageError> {
        let bytes = self.image.bytes()?.checked_mul(self.frames);
        bytes.ok_or(ImageError::TooLarge { shape: self.image.shape })
    }
}

/// A decoder's pixels.
#[derive(Debug, Clone, Copy)]
struct Native {
    channels: usize,
    is_wide: bool,
    /// What an alpha channel is filled with.
    filler: u16,
    /// What 8 bits are multiplied by to be 16.
    widening: u16,
}

impl DecodeOptions {
    /// Output and scratch bytes that suffice for the first frame of every image with this header, its other bytes
    /// being what they may.
    pub fn most_bytes(&self, header: &ImageHeader) -> [u64; 2] {
        let channels = if self.channels == 0 { 4 } else { self.channels };
        let pixels = header.width as u64 * header.height as u64;
        [pixels * (channels * self.dtype.bytes()) as u64, header.pixel_bytes]
    }

    /// What the image `bytes`, whose header is `header`, becomes.
    ///
    /// # Errors
    /// [`ImageError::Argument`], [`ImageError::DType`], [`ImageError::Codec`].
    pub fn output(&self, bytes: &[u8], header: &ImageHeader) -> Result<Decoded, ImageError> {
        let refuse = |why| Err(ImageError::Argument { op: OP, why });
        if !matches!(self.dtype, DType::U8 | DType::U16 | DType::F32) {
            return Err(ImageError::DType { op: OP, dtype: self.dtype });
        }
        let own = match (header.format, self.channels) {
            (_, 2 | 5..) => return refuse("channels must be 0, 1, 3 or 4"),
            (ImageFormat::Jpeg, 4) => return refuse("a JPEG does not have four channels"),
            (ImageFormat::Jpeg, 1) if is_ink(header) => {
                return refuse("a JPEG of four inks does not become grey");
            }
            (ImageFormat::Gif, 1 | 4) => return refuse("a GIF has three channels"),
            (ImageFormat::Bmp, 1) => return refuse("a BMP does not become grey"),
            (ImageFormat::Jpeg, _) => {
                if header.is_grey() {
                    1
                } else {
                    3
                }
            }
            (ImageFormat::Gif, _) => 3,
            (ImageFormat::Bmp, _) => Bmp::new(bytes, [header.height, header.width])?.channels,
            (ImageFormat::Png, _) => png_channels(bytes)?,
        };
        let channels = if self.channels == 0 { own } else { self.channels };
        let mut decoded = Decoded {
            image: ImageType::new([header.height, header.width, channels], self.dtype),
            frames: 1,
            scratch_bytes: clamped(header.pixel_bytes),
        };
        match header.format {
            ImageFormat::Gif => {
                let [frames, height, width] = gif::size(bytes).map_err(codec)?;
                decoded.image.shape = [height, width, 3];
                decoded.frames = if self.expand_animations { frames } else { 1 };
                decoded.scratch_bytes = 0;
            }
            ImageFormat::Bmp => decoded.scratch_bytes = 0,
            ImageFormat::Jpeg if self.is_direct(header, channels) => decoded.scratch_bytes = 0,
            _ => {}
        }
        decoded.bytes()?;
        Ok(decoded)
    }

    /// Whether a JPEG's pixels come out as they are wanted.
    fn is_direct(&self, header: &ImageHeader, channels: usize) -> bool {
        let own = if header.is_grey() || channels == 1 { 1 } else { 3 };
        self.dtype == DType::U8 && !is_ink(header) && own == channels && (own == 3 || header.is_grey())
    }

    /// Decodes the image `bytes`, whose header is `header`, to the start of `out`. Both slices may be longer than
    /// [`DecodeOptions::output`] says, and are of any alignment.
    ///
    /// # Errors
    /// Those of [`DecodeOptions::output`], and [`ImageError::Memory`].
    pub fn decode(
        &self,
        bytes: &[u8],
        header: &ImageHeader,
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<Decoded, ImageError> {
        self.decode_by(JpegDecoding::default(), bytes, header, out, scratch)
    }

    /// [`DecodeOptions::decode`] with a choice of how JPEGs are decoded.
    ///
    /// # Errors
    /// As there.
    pub fn decode_by(
        &self,
        jpeg: JpegDecoding,
        bytes: &[u8],
        header: &ImageHeader,
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<Decoded, ImageError> {
        let decoded = self.output(bytes, header)?;
        let (needed_bytes, found_bytes) = (decoded.bytes()?, out.len());
        let memory = |what, needed_bytes, found_bytes| ImageError::Memory { what, needed_bytes, found_bytes };
        let out = out.get_mut(..needed_bytes).ok_or(memory("output", needed_bytes, found_bytes))?;
        let (needed_bytes, found_bytes) = (decoded.scratch_bytes, scratch.len());
        let scratch = scratch.get_mut(..needed_bytes).ok_or(memory("scratch", needed_bytes, found_bytes))?;
        // Decoders are written not to panic, but they are many lines of other people's.
        let result =
            catch_unwind(AssertUnwindSafe(|| self.fill(jpeg, bytes, header, &decoded, out, scratch)));
        result.unwrap_or_else(|_| Err(ImageError::Codec("the decoder gave up".to_string())))?;
        Ok(decoded)
    }

    fn fill(
        &self,
        jpeg: JpegDecoding,
        bytes: &[u8],
        header: &ImageHeader,
        decoded: &Decoded,
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), ImageError> {
        let [height, width, channels] = decoded.image.shape;
        match header.format {
            ImageFormat::Gif => {
                let size = [height, width];
                // Decoded to the front, spread from the back.
                let count = decoded.frames * height * width * 3;
                gif::decode(bytes, size, &mut out[..count]).map_err(codec)?;
                widen(self.dtype, count, out);
            }
            ImageFormat::Bmp => {
                let count = height * width * channels;
                Bmp::new(bytes, [height, width])?.pixels(width, channels, &mut out[..count]);
                widen(self.dtype, count, out);
            }
            ImageFormat::Jpeg if decoded.scratch_bytes == 0 => {
                let size = [header.height, header.width];
                jpeg::decode(bytes, size, if channels == 1 { 1 } else { 3 }, jpeg, out)
                    .map_err(ImageError::Codec)?;
            }
            ImageFormat::Jpeg => {
                let wanted = if channels == 1 { 1 } else { 3 };
                let size = [header.height, header.width];
                let own = jpeg::decode(bytes, size, wanted, jpeg, scratch).map_err(ImageError::Codec)?;
                let native = Native { channels: own, is_wide: false, filler: 255, widening: 256 };
                self.convert(native, None, decoded.image, scratch, out);
            }
            ImageFormat::Png => {
                let color = decode::png(bytes, header, scratch).map_err(ImageError::Codec)?;
                let bits =
                    bytes.get(24).ok_or_else(|| ImageError::Codec("a PNG without a header".to_string()))?;
                let bits = u32::from(*bits).min(16);
                let native = Native {
                    channels: color.channels,
                    is_wide: color.is_wide,
                    filler: ((1u32 << bits) - 1) as u16,
                    widening: 257,
                };
                let is_cut = self.dtype == DType::U8;
                let grey = decode::grey(bytes, color, channels, is_cut).map_err(ImageError::Codec)?;
                self.convert(native, grey.as_ref(), decoded.image, scratch, out);
            }
        }
        Ok(())
    }

    /// A decoder's pixels as they are wanted.
    fn convert(
        &self,
        native: Native,
        managed: Option<&Grey>,
        image: ImageType,
        pixels: &[u8],
        out: &mut [u8],
    ) {
        let sample_bytes = if native.is_wide { 2 } else { 1 };
        let pixel_bytes = native.channels * sample_bytes;
        let channels = image.shape[2];
        let has_alpha = native.channels.is_multiple_of(2);
        for (pixel, to) in pixels.chunks_exact(pixel_bytes).zip(out.chunks_exact_mut(image.pixel_bytes())) {
            let sample = |channel: usize| match pixel.get(channel * sample_bytes..) {
                Some([high, low, ..]) if native.is_wide => u16::from_be_bytes([*high, *low]),
                Some([byte, ..]) => u16::from(*byte),
                _ => 0,
            };
            let rgb = if native.channels < 3 { [sample(0); 3] } else { [sample(0), sample(1), sample(2)] };
            let alpha = if has_alpha { sample(native.channels - 1) } else { native.filler };
            let grey = match managed {
                _ if native.channels < 3 => rgb[0],
                Some(managed) => managed.of(rgb),
                None => grey_of(rgb, native.is_wide),
            };
            let samples = match channels {
                1 => [grey, 0, 0, 0],
                2 => [grey, alpha, 0, 0],
                _ => [rgb[0], rgb[1], rgb[2], alpha],
            };
            let wide = |v: u16| if native.is_wide { v } else { v.wrapping_mul(native.widening) };
            match self.dtype {
                DType::U8 => {
                    for (to, v) in to.iter_mut().zip(samples) {
                        *to = if native.is_wide { (v >> 8) as u8 } else { v as u8 };
                    }
                }
                DType::U16 => {
                    for (to, v) in to.as_chunks_mut::<2>().0.iter_mut().zip(samples) {
                        *to = wide(v).to_ne_bytes();
                    }
                }
                _ => {
                    let is_png = native.widening == 257;
                    let scale = if is_png { 1.0 / 65535.0 } else { 1.0 / 255.0 };
                    for (to, v) in to.as_chunks_mut::<4>().0.iter_mut().zip(samples) {
                        *to = (f32::from(if is_png { wide(v) } else { v }) * scale).to_ne_bytes();
                    }
                }
            }
        }
    }
}

/// Spreads the first `count` bytes of `out` to elements of `dtype`, from the back.
fn widen(dtype: DType, count: usize, out: &mut [u8]) {
    match dtype {
        DType::U16 => {
            for i in (0..count).rev() {
                let value = u16::from(out[i]) * 256;
                out[2 * i..2 * i + 2].copy_from_slice(&value.to_ne_bytes());
            }
        }
        DType::F32 => {
            for i in (0..count).rev() {
                let value = f32::from(out[i]) * (1.0 / 255.0);
                out[4 * i..4 * i + 4].copy_from_slice(&value.to_ne_bytes());
            }
        }
        _ => {}
    }
}

fn codec(error: io::Error) -> ImageError {
    ImageError::Codec(error.to_string())
}

fn is_ink(header: &ImageHeader) -> bool {
    header.format == ImageFormat::Jpeg && header.components == 4
}

/// Channels of a PNG: of a palette four where it has transparent colours.
fn png_channels(bytes: &[u8]) -> Result<usize, ImageError> {
    match bytes.get(25) {
        Some(0) => Ok(1),
        Some(4) => Ok(2),
        Some(3) => Ok(if has_transparency(bytes) { 4 } else { 3 }),
        Some(2) => Ok(3),
        Some(6) => Ok(4),
        _ => Err(ImageError::Codec("a PNG of an unknown colour type".to_string())),
    }
}

/// Whether a tRNS chunk comes before the pixels. Source: the PNG specification, 5.3 and 11.3.1.
fn has_transparency(bytes: &[u8]) -> bool {
    let mut at = 8usize;
    while let Some([a, b, c, d, kind @ ..]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        match kind {
            b"tRNS" => return true,
            b"IDAT" | b"IEND" => return false,
            _ => at = at.saturating_add(12).saturating_add(u32::from_be_bytes([*a, *b, *c, *d]) as usize),
        }
    }
    false
}
