//! Images: header, decoding, operations on pixels, encoding.
//!
//! The way of an image: its [`ImageHeader`] says what decoding takes, [`DecodeOptions`] decode it, [`ImageOp`]s follow
//! one another, each from given memory into given memory, [`encode_png`] or [`encode_jpeg`] makes a file of it again.
//!
//! Decoding is held against TensorFlow's `decode_image`: PNG, BMP and GIF give the same pixels, and JPEG those of
//! `decode_jpeg` with `dct_method="INTEGER_ACCURATE"`, or with its default, which is coarser and differs by up to 7 of 255, by
//! 1 on average, where [`DecodeOptions::decode_by`] is told so. A grey picture becomes RGB by repeating its value, RGB becomes grey by
//! (9797 R + 19234 G + 3737 B) / 32768 rounded down (JPEG: its own luma; a PNG with a gamma: in linear light), alpha is dropped, 16 bits become 8 by dropping
//! the lower ones: all as TensorFlow does.

mod adjust;
mod bmp;
mod color;
mod decode;
mod decode_image;
mod dtype;
mod encode;
mod geometry;
mod gif;
mod header;
mod jpeg;
mod jpeg_encode;
mod lanes;
mod op;
mod pixel;
mod png_chunks;
mod png_grey;
mod random;
mod resample;
mod resize;
mod spans;
mod spec;

pub use decode::decode;
pub use decode_image::{DecodeOptions, Decoded};
pub use encode::{encode_png, encode_png_heap_bytes};
pub use header::{ImageFormat, ImageHeader};
pub use jpeg::{JpegDecoding, JpegTransform};
pub use jpeg_encode::{JpegEncoding, encode_jpeg, encode_jpeg_scratch_bytes};
pub use op::ImageOp;
pub use pixel::{ImageError, ImageType};
pub use resample::ResizeMethod;
pub use resize::{Resizer, WEIGHT_BYTES};
pub use spec::{Argument, OPS, OpSpec, op_by_name};
