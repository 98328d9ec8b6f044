//! Coded images into 8-bit pixels in given memory.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::bmp::BmpDecoder;
use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageResult, Limits};

use super::header::{ImageFormat, ImageHeader};
use super::png_chunks::{self, GreyTables, Needed};
use super::{gif, jpeg};

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
            jpeg::decode(bytes, [header.height, header.width], if channels == 1 { 1 } else { 3 }, out)
        }
        ImageFormat::Png => {
            let color = png(bytes, header, out)?;
            let pixels = header.width * header.height;
            match grey_tables(bytes, color, channels)? {
                Some(tables) => {
                    grey_in_place(&tables, usize::from(color.channel_count()), pixels, out);
                    Ok(1)
                }
                None => Ok(reduce(color, channels, pixels, out)),
            }
        }
        ImageFormat::Bmp => other(BmpDecoder::new(Cursor::new(bytes)), header, channels, out),
        ImageFormat::Gif => gif(bytes, header, channels, out),
    }));
    decoded.unwrap_or_else(|_| Err("the decoder gave up".to_string()))
}

fn limits(header: &ImageHeader) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(header.width as u32);
    limits.max_image_height = Some(header.height as u32);
    limits.max_alloc = Some(header.heap_bytes);
    limits
}

const OTHER_SIZE: &str = "its size is not what its header says";

/// The first frame of a GIF; the picture must be as large as its screen.
fn gif(bytes: &[u8], header: &ImageHeader, channels: usize, out: &mut [u8]) -> Result<usize, String> {
    let [_, height, width] = gif::size(bytes).map_err(|error| error.to_string())?;
    if [height, width] != [header.height, header.width] {
        return Err("a GIF whose frames are not as large as its screen".to_string());
    }
    let frame = out.get_mut(..height * width * 3).ok_or(OTHER_SIZE)?;
    gif::decode(bytes, [height, width], frame).map_err(|error| error.to_string())?;
    Ok(reduce(ColorType::Rgb8, channels, height * width, out))
}

/// What makes the colours of a PNG grey, where it takes more than their sum.
pub(super) fn grey_tables(
    bytes: &[u8],
    color: ColorType,
    channels: usize,
) -> Result<Option<GreyTables>, String> {
    if channels != 1 || !color.has_color() {
        return Ok(None);
    }
    match png_chunks::gamma(bytes)? {
        Some(_) if matches!(color, ColorType::Rgb16 | ColorType::Rgba16) => {
            Err("a PNG of 16 bits with a gamma does not become grey; decode it as RGB".to_string())
        }
        gamma => Ok(gamma.map(GreyTables::new)),
    }
}

fn grey_in_place(tables: &GreyTables, channels: usize, pixels: usize, out: &mut [u8]) {
    for i in 0..pixels {
        let Some(rgb) = out.get(i * channels..).and_then(|rest| rest.first_chunk::<3>().copied()) else {
            return;
        };
        if let Some(to) = out.get_mut(i) {
            *to = tables.grey(rgb);
        }
    }
}

/// Decodes the PNG `bytes` into `out` as it is, fewer than 8 bits as 8; what is said of transparent colours is alpha.
/// Samples of 16 bits are in this machine's order.
pub(super) fn png(bytes: &[u8], header: &ImageHeader, out: &mut [u8]) -> Result<ColorType, String> {
    native(PngDecoder::with_limits(Needed::new(bytes), limits(header)), header, out)
}

/// The grey of a colour, as libpng has it: rounded when `is_wide`, cut off when not.
pub(super) fn grey_of(rgb: [u16; 3], is_wide: bool) -> u16 {
    let [r, g, b] = rgb.map(u32::from);
    let half = if is_wide { 1 << 14 } else { 0 };
    ((9797 * r + 19234 * g + 3737 * b + half) >> 15) as u16
}

fn other<D: ImageDecoder>(
    decoder: ImageResult<D>,
    header: &ImageHeader,
    channels: usize,
    out: &mut [u8],
) -> Result<usize, String> {
    let color = native(decoder, header, out)?;
    Ok(reduce(color, channels, header.width * header.height, out))
}

fn native<D: ImageDecoder>(
    decoder: ImageResult<D>,
    header: &ImageHeader,
    out: &mut [u8],
) -> Result<ColorType, String> {
    let mut decoder = decoder.map_err(|e| e.to_string())?;
    decoder.set_limits(limits(header)).map_err(|e| e.to_string())?;
    if decoder.dimensions() != (header.width as u32, header.height as u32) {
        return Err(OTHER_SIZE.to_string());
    }
    let color = decoder.color_type();
    let size = usize::try_from(decoder.total_bytes()).ok().and_then(|size| out.get_mut(..size));
    decoder.read_image(size.ok_or(OTHER_SIZE)?).map_err(|e| e.to_string())?;
    Ok(color)
}

/// Turns decoded pixels in place into 8 bits and 1 or 3 channels, and returns which.
fn reduce(color: ColorType, channels: usize, pixels: usize, out: &mut [u8]) -> usize {
    let is_wide = matches!(color, ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16);
    let is_grey = !color.has_color();
    let sample_bytes = if is_wide { 2 } else { 1 };
    let pixel_bytes = usize::from(color.channel_count()) * sample_bytes;
    let reduced = if channels == 1 || is_grey { 1 } else { 3 };
    if pixel_bytes == reduced {
        return reduced;
    }
    for i in 0..pixels {
        let sample = |channel: usize| {
            let at = i * pixel_bytes + channel * sample_bytes;
            let byte = |at: usize| out.get(at).copied().unwrap_or_default();
            // The decoder's wide samples are in this machine's order.
            if is_wide { u16::from_ne_bytes([byte(at), byte(at + 1)]) } else { u16::from(byte(at)) }
        };
        let narrow = |value: u16| if is_wide { (value >> 8) as u8 } else { value as u8 };
        let pixel = if is_grey {
            [narrow(sample(0)); 3]
        } else if reduced == 1 {
            [narrow(grey_of([sample(0), sample(1), sample(2)], is_wide)); 3]
        } else {
            [sample(0), sample(1), sample(2)].map(narrow)
        };
        for (to, value) in out.iter_mut().skip(i * reduced).take(reduced).zip(pixel) {
            *to = value;
        }
    }
    reduced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces_in_place() {
        let mut rgba = [1, 2, 3, 99, 4, 5, 6, 99];
        assert_eq!(reduce(ColorType::Rgba8, 3, 2, &mut rgba), 3);
        assert_eq!(rgba[..6], [1, 2, 3, 4, 5, 6]);
        let mut rgb = [255, 255, 255, 10, 20, 30];
        assert_eq!(reduce(ColorType::Rgb8, 1, 2, &mut rgb), 1);
        assert_eq!(rgb[..2], [255, 18]);
        let mut grey = [7, 255, 8, 0];
        assert_eq!(reduce(ColorType::La8, 3, 2, &mut grey), 1);
        assert_eq!(grey[..2], [7, 8]);
        let mut wide: [u8; 4] = bytemuck::cast([0x1234u16, 0xabcd]);
        assert_eq!(reduce(ColorType::L16, 3, 2, &mut wide), 1);
        assert_eq!(wide[..2], [0x12, 0xab]);
    }
}
