//! Pixels as PNG files, as `tf.io.encode_png` takes them: uint8 or uint16, one to four channels.

use std::io::Write;

use png::{BitDepth, ColorType, Compression, Encoder, Filter};
use tightfit_core::DType;

use super::pixel::{ImageError, ImageType};

const OP: &str = "encode_png";

/// What the encoder takes for its tables and state.
const TABLES_BYTES: usize = 1 << 20;

/// The most bytes of heap that [`encode_png`] takes beside pixels and file: the coded image, and a copy of 16-bit
/// pixels with the highest byte first.
///
/// # Errors
/// [`ImageError::TooLarge`].
pub fn encode_png_heap_bytes(image: ImageType) -> Result<usize, ImageError> {
    let bytes = image.bytes()?.checked_mul(3).and_then(|bytes| bytes.checked_add(TABLES_BYTES));
    bytes.ok_or(ImageError::TooLarge { shape: image.shape })
}

/// Writes the pixels of `image`, 16-bit ones in this machine's order, as a PNG file to `file`.
///
/// # Errors
/// [`ImageError::DType`], [`ImageError::Shape`], [`ImageError::Memory`] when `pixels` are not as many as said, and
/// [`ImageError::Codec`] with what writing reports.
pub fn encode_png(image: ImageType, pixels: &[u8], file: impl Write) -> Result<(), ImageError> {
    let [height, width, channels] = image.shape;
    let shape = |why| ImageError::Shape { op: OP, shape: image.shape, why };
    let depth = if image.dtype == DType::U16 { BitDepth::Sixteen } else { BitDepth::Eight };
    let color = match (image.dtype, channels) {
        (DType::U8 | DType::U16, 1) => ColorType::Grayscale,
        (DType::U8 | DType::U16, 2) => ColorType::GrayscaleAlpha,
        (DType::U8 | DType::U16, 3) => ColorType::Rgb,
        (DType::U8 | DType::U16, 4) => ColorType::Rgba,
        (DType::U8 | DType::U16, _) => return Err(shape("it takes one to four channels")),
        (dtype, _) => return Err(ImageError::DType { op: OP, dtype }),
    };
    // Larger ones its own decoder refuses.
    let side = |side: usize| u32::try_from(side).ok().filter(|side| (1..1 << 31).contains(side));
    let (Some(width), Some(height)) = (side(width), side(height)) else {
        return Err(shape("its sides must be 1 to 2^31 - 1"));
    };
    let (needed_bytes, found_bytes) = (image.bytes()?, pixels.len());
    if found_bytes != needed_bytes {
        return Err(ImageError::Memory { what: "input", needed_bytes, found_bytes });
    }
    let mut encoder = Encoder::new(file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.set_compression(Compression::Balanced);
    encoder.set_filter(Filter::Adaptive);
    let mut swapped = Vec::new();
    let samples = match depth {
        BitDepth::Sixteen => {
            swapped.reserve_exact(pixels.len());
            let (words, _) = pixels.as_chunks::<2>();
            swapped.extend(words.iter().flat_map(|word| u16::from_ne_bytes(*word).to_be_bytes()));
            &swapped
        }
        _ => pixels,
    };
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(samples)?;
        writer.finish()
    });
    written.map_err(|error| ImageError::Codec(error.to_string()))
}
