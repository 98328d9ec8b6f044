//! Pixels as PNG files, as `tf.io.encode_png` takes them: uint8 or uint16, one to four channels.

use std::io::Write;

use image::ExtendedColorType;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder, ImageError as CodecError};
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
    let color = match (image.dtype, channels) {
        (DType::U8, 1) => ExtendedColorType::L8,
        (DType::U8, 2) => ExtendedColorType::La8,
        (DType::U8, 3) => ExtendedColorType::Rgb8,
        (DType::U8, 4) => ExtendedColorType::Rgba8,
        (DType::U16, 1) => ExtendedColorType::L16,
        (DType::U16, 2) => ExtendedColorType::La16,
        (DType::U16, 3) => ExtendedColorType::Rgb16,
        (DType::U16, 4) => ExtendedColorType::Rgba16,
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
    let encoder = PngEncoder::new_with_quality(file, CompressionType::Default, FilterType::Adaptive);
    let result = encoder.write_image(pixels, width, height, color);
    result.map_err(|error: CodecError| ImageError::Codec(error.to_string()))
}
