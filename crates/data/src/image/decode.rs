//! Coded images into 8-bit pixels in given memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bmp::Bmp;
use super::gif;
use super::header::{ImageFormat, ImageHeader};
use super::jpeg::{self, JpegDecoding};
use super::png_chunks::{self, Needed};
use super::png_grey::{Grey, Narrow, Wide};
use crate::error::clamped;

/// Decodes the image `bytes`, whose header is `header`, into `out`, which has at least the header's `pixel_bytes`.
/// The pixels come out as `[height, width, channels]`; the channels, returned, are 1 if `channels` is 1 or the image is
/// grey, else 3.
///
/// # Errors
/// What the decoder says of a broken image; also when it wants more memory than the header promised.
pub fn decode(bytes: &[u8], header: &ImageHeader, channels: usize, out: &mut [u8]) -> Result<usize, String> {
    // Decoders are written not to panic, but they are many lines of other people's; a record must not end the run.
    let decoded = catch_unwind(AssertUnwindSafe(|| match header.format {
        ImageFormat::Jpeg => {
            let wanted = if channels == 1 { 1 } else { 3 };
            jpeg::decode(bytes, [header.height, header.width], wanted, JpegDecoding::default(), out)
        }
        ImageFormat::Png => {
            let color = png(bytes, header, out)?;
            let pixels = header.width * header.height;
            match grey(bytes, color, channels, true)? {
                Some(grey) => {
                    grey_in_place(&grey, color, pixels, out);
                    Ok(1)
                }
                None => reduce(color, channels, pixels, out),
            }
        }
        ImageFormat::Bmp => bmp(bytes, header, channels, out),
        ImageFormat::Gif => gif(bytes, header, channels, out),
    }));
    decoded.unwrap_or_else(|_| Err("the decoder gave up".to_string()))
}

const OTHER_SIZE: &str = "its size is not what its header says";

/// A BMP; one of bytes is grey.
fn bmp(bytes: &[u8], header: &ImageHeader, channels: usize, out: &mut [u8]) -> Result<usize, String> {
    let bmp = Bmp::new(bytes, [header.height, header.width]).map_err(|error| error.to_string())?;
    let color = PixelKind { channels: bmp.channels.min(3), is_wide: false };
    let pixels = header.width * header.height;
    bmp.pixels(header.width, color.channels, out.get_mut(..pixels * color.channels).ok_or(OTHER_SIZE)?);
    reduce(color, channels, pixels, out)
}

/// The first frame of a GIF.
fn gif(bytes: &[u8], header: &ImageHeader, channels: usize, out: &mut [u8]) -> Result<usize, String> {
    let [_, height, width] = gif::size(bytes).map_err(|error| error.to_string())?;
    if [height, width] != [header.height, header.width] {
        return Err(OTHER_SIZE.to_string());
    }
    let frame = out.get_mut(..height * width * 3).ok_or(OTHER_SIZE)?;
    gif::decode(bytes, [height, width], frame).map_err(|error| error.to_string())?;
    reduce(PixelKind { channels: 3, is_wide: false }, channels, height * width, out)
}

/// What makes the colours of a PNG grey, where it takes more than their sum; of 16 bits the higher byte will be kept if
/// `is_cut`.
pub(super) fn grey(
    bytes: &[u8],
    color: PixelKind,
    channels: usize,
    is_cut: bool,
) -> Result<Option<Grey>, String> {
    if channels != 1 || !color.has_color() {
        return Ok(None);
    }
    Ok(png_chunks::gamma(bytes)?.map(|gamma| match color.is_wide {
        true => Grey::Wide(Box::new(Wide::new(gamma, png_chunks::significant_bits(bytes), is_cut))),
        false => Grey::Narrow(Box::new(Narrow::new(gamma))),
    }))
}

fn grey_in_place(grey: &Grey, color: PixelKind, pixels: usize, out: &mut [u8]) {
    for i in 0..pixels {
        if color.is_wide {
            let at = 2 * i * color.channels;
            let rgb = [at, at + 2, at + 4].map(|at| u16::from_be_bytes([out[at], out[at + 1]]));
            out[i] = (grey.of(rgb) >> 8) as u8;
        } else {
            let at = i * color.channels;
            out[i] = grey.of([at, at + 1, at + 2].map(|at| u16::from(out[at]))) as u8;
        }
    }
}

/// A decoder's pixels: one channel or three, and alpha beside them where it is two or four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelKind {
    pub channels: usize,
    /// Whether they have 16 bits, the higher first.
    pub is_wide: bool,
}

impl PixelKind {
    fn has_color(self) -> bool {
        self.channels > 2
    }
}

/// Decodes the PNG `bytes` into `out` as it is, fewer than 8 bits as 8; what is said of transparent colours is alpha.
pub(super) fn png(bytes: &[u8], header: &ImageHeader, out: &mut [u8]) -> Result<PixelKind, String> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_adler32(false);
    let mut decoder = png::Decoder::new_with_options(Needed::new(bytes), options);
    decoder.set_limits(png::Limits { bytes: clamped(header.heap_bytes) });
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    if reader.info().size() != (header.width as u32, header.height as u32) {
        return Err(OTHER_SIZE.to_string());
    }
    let (color, depth) = reader.output_color_type();
    let size = reader.output_buffer_size().and_then(|size| out.get_mut(..size));
    reader.next_frame(size.ok_or(OTHER_SIZE)?).map_err(|e| e.to_string())?;
    reader.finish().map_err(|e| e.to_string())?;
    drop(reader);
    if !png_chunks::is_finished(bytes) {
        return Err("the file ends inside the image".to_string());
    }
    Ok(PixelKind { channels: color.samples(), is_wide: depth == png::BitDepth::Sixteen })
}

/// The grey of a colour, as libpng has it: rounded when `is_wide`, cut off when not.
pub(super) fn grey_of(rgb: [u16; 3], is_wide: bool) -> u16 {
    let [r, g, b] = rgb.map(u32::from);
    let half = if is_wide { 1 << 14 } else { 0 };
    ((9797 * r + 19234 * g + 3737 * b + half) >> 15) as u16
}

/// Turns decoded pixels in place into 8 bits and 1 or 3 channels, and returns which.
fn reduce(color: PixelKind, channels: usize, pixels: usize, out: &mut [u8]) -> Result<usize, String> {
    let pixel_bytes = color.channels * if color.is_wide { 2 } else { 1 };
    let reduced = if channels == 1 || !color.has_color() { 1 } else { 3 };
    if pixel_bytes == reduced {
        return Ok(reduced);
    }
    let out = pixels.checked_mul(pixel_bytes).and_then(|bytes| out.get_mut(..bytes)).ok_or(OTHER_SIZE)?;
    for at in 0..pixels {
        let mut pixel = [0; MAX_PIXEL_BYTES];
        pixel[..pixel_bytes].copy_from_slice(&out[at * pixel_bytes..(at + 1) * pixel_bytes]);
        let made = match (color.is_wide, color.has_color(), reduced) {
            (false, true, 1) => [grey_of([pixel[0], pixel[1], pixel[2]].map(u16::from), false) as u8, 0, 0],
            (false, ..) => [pixel[0], pixel[1], pixel[2]],
            (true, true, 1) => {
                let wide = [0, 2, 4].map(|at| u16::from_be_bytes([pixel[at], pixel[at + 1]]));
                [(grey_of(wide, true) >> 8) as u8, 0, 0]
            }
            // The higher bytes.
            (true, ..) => [pixel[0], pixel[2], pixel[4]],
        };
        out[at * reduced..(at + 1) * reduced].copy_from_slice(&made[..reduced]);
    }
    Ok(reduced)
}

/// Bytes of four channels of 16 bits.
const MAX_PIXEL_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces_in_place() {
        let kind = |channels, is_wide| PixelKind { channels, is_wide };
        let mut rgba = [1, 2, 3, 99, 4, 5, 6, 99];
        assert_eq!(reduce(kind(4, false), 3, 2, &mut rgba), Ok(3));
        assert_eq!(rgba[..6], [1, 2, 3, 4, 5, 6]);
        let mut rgb = [255, 255, 255, 10, 20, 30];
        assert_eq!(reduce(kind(3, false), 1, 2, &mut rgb), Ok(1));
        assert_eq!(rgb[..2], [255, 18]);
        let mut grey = [7, 255, 8, 0];
        assert_eq!(reduce(kind(2, false), 3, 2, &mut grey), Ok(1));
        assert_eq!(grey[..2], [7, 8]);
        let mut wide = [0x12, 0x34, 0xab, 0xcd];
        assert_eq!(reduce(kind(1, true), 3, 2, &mut wide), Ok(1));
        assert_eq!(wide[..2], [0x12, 0xab]);
        let mut wide = [0x12, 0x34, 0xab, 0xcd, 0x56, 0x78, 0xff, 0xff];
        assert_eq!(reduce(kind(4, true), 3, 1, &mut wide), Ok(3));
        assert_eq!(wide[..3], [0x12, 0xab, 0x56]);
        assert!(reduce(kind(4, true), 3, 2, &mut wide).is_err());
    }
}
