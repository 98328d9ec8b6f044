//! What an image in memory is, and its values as float32.
//!
//! Values are read and written in blocks of at most [`BLOCK`] elements that stay in the first cache, so that an
//! operation on pixels is written once, for float32, and serves every element type.

use std::fmt;

use bytemuck::Pod;
use half::f16;
use tightfit_core::DType;

/// Elements of a block: whole pixels of 1, 2, 3 and 4 channels.
pub(crate) const BLOCK: usize = 192;

/// The shape and element type of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageType {
    /// `[height, width, channels]`.
    pub shape: [usize; 3],
    /// The type of one element.
    pub dtype: DType,
}

impl ImageType {
    /// An image of this shape, `[height, width, channels]`, and type.
    pub fn new(shape: [usize; 3], dtype: DType) -> ImageType {
        ImageType { shape, dtype }
    }

    /// Bytes of its elements.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] when a `usize` does not hold them.
    pub fn bytes(&self) -> Result<usize, ImageError> {
        let bytes = self.shape.iter().try_fold(self.dtype.bytes(), |bytes, side| bytes.checked_mul(*side));
        bytes
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or(ImageError::TooLarge { shape: self.shape })
    }

    /// Bytes of one line. Only for an image whose [`ImageType::bytes`] are known to fit.
    pub(crate) fn line_bytes(&self) -> usize {
        self.shape[1] * self.pixel_bytes()
    }

    /// Bytes of one pixel.
    pub(crate) fn pixel_bytes(&self) -> usize {
        self.shape[2] * self.dtype.bytes()
    }
}

impl fmt::Display for ImageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width, channels] = self.shape;
        write!(f, "{} [{height}, {width}, {channels}]", self.dtype)
    }
}

/// Why an operation cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// An element type it does not take.
    DType {
        /// The operation.
        op: &'static str,
        /// The type.
        dtype: DType,
    },
    /// An image of a shape it does not take.
    Shape {
        /// The operation.
        op: &'static str,
        /// `[height, width, channels]`.
        shape: [usize; 3],
        /// What it takes.
        why: &'static str,
    },
    /// An argument that cannot be.
    Argument {
        /// The operation.
        op: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// More bytes than can be addressed.
    TooLarge {
        /// `[height, width, channels]`.
        shape: [usize; 3],
    },
    /// Memory handed in that is too short, or not aligned to its elements.
    Memory {
        /// `input`, `output` or `scratch`.
        what: &'static str,
        /// Bytes it must have.
        needed_bytes: usize,
        /// Bytes it has.
        found_bytes: usize,
    },
    /// A coded image that cannot be decoded, or pixels that cannot be coded.
    Codec(String),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::DType { op, dtype } => write!(f, "{op} does not take {dtype}"),
            ImageError::Shape { op, shape: [height, width, channels], why } => {
                write!(f, "{op}: an image of shape [{height}, {width}, {channels}]: {why}")
            }
            ImageError::Argument { op, why } => write!(f, "{op}: {why}"),
            ImageError::TooLarge { shape: [height, width, channels] } => {
                write!(f, "an image of shape [{height}, {width}, {channels}] is more than memory can be")
            }
            ImageError::Memory { what, needed_bytes, found_bytes } => {
                write!(f, "the {what} needs {needed_bytes} aligned bytes; it has {found_bytes}")
            }
            ImageError::Codec(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ImageError {}

/// `bytes` as elements, when they are aligned to them.
pub(crate) fn elements<'a, T: Pod>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [T], ImageError> {
    let found_bytes = bytes.len();
    bytemuck::try_cast_slice(bytes).map_err(|_| ImageError::Memory {
        what,
        needed_bytes: found_bytes,
        found_bytes,
    })
}

/// `bytes` as elements to be written, when they are aligned to them.
pub(crate) fn elements_mut<'a, T: Pod>(
    what: &'static str,
    bytes: &'a mut [u8],
) -> Result<&'a mut [T], ImageError> {
    let found_bytes = bytes.len();
    let error = ImageError::Memory { what, needed_bytes: found_bytes, found_bytes };
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| error)
}

/// An element that resizing and the operations on colours read.
pub(crate) trait Sample: Pod {
    /// Its value.
    fn value(self) -> f32;
}

macro_rules! sample {
    ($($rust:ty: $value:expr),*) => { $(impl Sample for $rust {
        #[inline(always)]
        fn value(self) -> f32 {
            $value(self)
        }
    })* };
}

sample! { u8: f32::from, u16: f32::from, f32: |v| v, f16: f16::to_f32, f64: |v| v as f32 }

/// Calls `$body` with `$element` being the type of elements of `$dtype`, if it is one that images are computed with.
macro_rules! with_sample {
    ($op:expr, $dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            DType::U8 => {
                type $element = u8;
                $body
            }
            DType::U16 => {
                type $element = u16;
                $body
            }
            DType::F32 => {
                type $element = f32;
                $body
            }
            DType::F16 => {
                type $element = half::f16;
                $body
            }
            DType::F64 => {
                type $element = f64;
                $body
            }
            dtype => Err($crate::image::pixel::ImageError::DType { op: $op, dtype }),
        }
    };
}
pub(crate) use with_sample;

/// How values become float32 and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// As they are.
    Value,
    /// Integers between 0 and 1, as `tf.image.convert_image_dtype` has them; floats as they are.
    Unit,
}

/// Reads a block of elements of `dtype`, at any alignment.
#[inline(always)]
pub(crate) fn load(dtype: DType, range: Range, bytes: &[u8], block: &mut [f32]) {
    #[inline(always)]
    fn each<const N: usize>(bytes: &[u8], block: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        for (to, from) in block.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *to = value(*from);
        }
    }
    let is_unit = range == Range::Unit;
    match dtype {
        DType::U8 => {
            let scale = if is_unit { 1.0 / 255.0 } else { 1.0 };
            each(bytes, block, |[b]| f32::from(b) * scale);
        }
        DType::U16 => {
            let scale = if is_unit { 1.0 / 65535.0 } else { 1.0 };
            each(bytes, block, |b| f32::from(u16::from_ne_bytes(b)) * scale);
        }
        DType::F16 => each(bytes, block, |b| f16::from_ne_bytes(b).to_f32()),
        DType::F64 => each(bytes, block, |b| f64::from_ne_bytes(b) as f32),
        _ => each(bytes, block, f32::from_ne_bytes),
    }
}

/// Writes a block as elements of `dtype`. What an integer cannot hold becomes the nearest that it can.
#[inline(always)]
pub(crate) fn store(dtype: DType, range: Range, block: &[f32], bytes: &mut [u8]) {
    #[inline(always)]
    fn each<const N: usize>(block: &[f32], bytes: &mut [u8], value: impl Fn(f32) -> [u8; N]) {
        for (to, from) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(block) {
            *to = value(*from);
        }
    }
    let is_unit = range == Range::Unit;
    match dtype {
        DType::U8 => {
            let scale = if is_unit { 255.5 } else { 1.0 };
            each(block, bytes, |v| [(v * scale) as u8]);
        }
        DType::U16 => {
            let scale = if is_unit { 65535.5 } else { 1.0 };
            each(block, bytes, |v| ((v * scale) as u16).to_ne_bytes());
        }
        DType::F16 => each(block, bytes, |v| f16::from_f32(v).to_ne_bytes()),
        DType::F64 => each(block, bytes, |v| f64::from(v).to_ne_bytes()),
        _ => each(block, bytes, f32::to_ne_bytes),
    }
}

/// True for the types that [`load`] and [`store`] know.
pub(crate) fn is_sample(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::U16 | DType::F16 | DType::F32 | DType::F64)
}
