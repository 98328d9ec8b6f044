//! Images: header, decoding, resizing.
//!
//! Decoding is held against TensorFlow's `decode_image`: PNG, BMP and GIF give the same pixels. JPEG goes through
//! another inverse DCT and chroma upsampling than TensorFlow's libjpeg-turbo, so values differ by a few units of 255
//! where colours change sharply, and by at most one or two elsewhere. A grey picture becomes RGB by repeating its
//! value, RGB becomes grey by (9798 R + 19234 G + 3736 B) / 32768 rounded down (JPEG: its own luma), alpha is dropped,
//! 16 bits become 8 by dropping the lower ones: all as TensorFlow does.

mod decode;
mod header;
mod resize;

pub use decode::decode;
pub use header::{ImageFormat, ImageHeader};
pub use resize::{Resizer, WEIGHT_BYTES};
