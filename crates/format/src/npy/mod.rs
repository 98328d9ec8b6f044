//! NumPy's .npy files: header, rows streamed in either direction.
//!
//! The format is that of numpy's `lib/format.py`: `\x93NUMPY`, version (1, 2 or 3), the header's length (u16 in
//! version 1, else u32, little endian), a Python dictionary with `descr`, `fortran_order` and `shape`, padded so that
//! the data after it is aligned. bfloat16 has no name in numpy; the raw type `<V2` that ml_dtypes writes stands
//! for it.

mod header;
mod reader;
mod writer;

use std::fmt;

use tightfit_core::DType;

pub use header::{MAX_HEADER_BYTES, NpyHeader, header_of};
pub use reader::NpyReader;
pub use writer::{NpyWriter, write_tensor};

/// The bytes a .npy file begins with.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The elements of a .npy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NpyType {
    /// Numbers, as this project has them in memory.
    Plain(DType),
    /// `|S<n>`: byte strings of n bytes, padded with zeros.
    Bytes(usize),
    /// `<U<n>`: strings of n code points of four bytes each, padded with zeros.
    Unicode(usize),
}

impl NpyType {
    /// Bytes of one element in the file.
    pub fn bytes(self) -> usize {
        match self {
            NpyType::Plain(dtype) => dtype.bytes(),
            NpyType::Bytes(bytes) => bytes,
            NpyType::Unicode(points) => points.saturating_mul(4),
        }
    }

    /// The type elements have in a tensor.
    pub fn dtype(self) -> DType {
        match self {
            NpyType::Plain(dtype) => dtype,
            NpyType::Bytes(_) | NpyType::Unicode(_) => DType::String,
        }
    }

    /// Bytes of each part that is [swapped](swap) in a big-endian file.
    pub fn swapped_bytes(self) -> usize {
        match self {
            NpyType::Plain(DType::C64) | NpyType::Unicode(_) => 4,
            NpyType::Plain(DType::C128) => 8,
            NpyType::Plain(dtype) => dtype.bytes(),
            NpyType::Bytes(_) => 1,
        }
    }

    /// The type and whether the file is big-endian, or `None` for a `descr` that is not supported.
    fn parse(descr: &str) -> Option<(NpyType, bool)> {
        let order = descr.chars().next()?;
        let is_big = match order {
            '<' | '|' | '=' => false,
            '>' => true,
            _ => return None,
        };
        let (kind, size) = descr.get(1..)?.split_at_checked(1)?;
        let size: usize = size.parse().ok()?;
        let dtype = match (kind, size) {
            ("S" | "a", _) => return Some((NpyType::Bytes(size), false)),
            ("U", _) => return Some((NpyType::Unicode(size), is_big)),
            ("f", 2) => DType::F16,
            ("f", 4) => DType::F32,
            ("f", 8) => DType::F64,
            ("i", 1) => DType::I8,
            ("i", 2) => DType::I16,
            ("i", 4) => DType::I32,
            ("i", 8) => DType::I64,
            ("u", 1) => DType::U8,
            ("u", 2) => DType::U16,
            ("u", 4) => DType::U32,
            ("u", 8) => DType::U64,
            ("b", 1) => DType::Bool,
            ("c", 8) => DType::C64,
            ("c", 16) => DType::C128,
            ("V", 2) => DType::BF16,
            _ => return None,
        };
        Some((NpyType::Plain(dtype), is_big))
    }
}

impl fmt::Display for NpyType {
    /// numpy's `descr`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = match self {
            NpyType::Bytes(bytes) => return write!(f, "|S{bytes}"),
            NpyType::Unicode(points) => return write!(f, "<U{points}"),
            NpyType::Plain(dtype) => *dtype,
        };
        f.write_str(match dtype {
            DType::F16 => "<f2",
            DType::F32 => "<f4",
            DType::F64 => "<f8",
            DType::BF16 => "<V2",
            DType::I8 => "|i1",
            DType::I16 => "<i2",
            DType::I32 => "<i4",
            DType::I64 => "<i8",
            DType::U8 => "|u1",
            DType::U16 => "<u2",
            DType::U32 => "<u4",
            DType::U64 => "<u8",
            DType::Bool => "|b1",
            DType::C64 => "<c8",
            DType::C128 => "<c16",
            // What an empty array of strings is.
            DType::String => "|S1",
        })
    }
}

/// Turns big-endian elements of `bytes` bytes into little-endian ones in place. The last may be cut off.
pub fn swap(data: &mut [u8], bytes: usize) {
    if bytes > 1 {
        data.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
    }
}

/// A `|S` element without the zeros that pad it.
pub fn trim_zeros(element: &[u8]) -> &[u8] {
    let mut text = element;
    while let [rest @ .., 0] = text {
        text = rest;
    }
    text
}

/// Writes a `<U` element (little-endian) as UTF-8 into `out`, without the zeros that pad it; its bytes, or `None`
/// when `out` has no room or a code point is none. A quarter of a byte string never needs more room than it has.
pub fn utf8_of_ucs4(element: &[u8], out: &mut [u8]) -> Option<usize> {
    let (points, _) = element.as_chunks::<4>();
    let end = points.iter().rposition(|p| *p != [0; 4]).map_or(0, |last| last + 1);
    let mut at = 0;
    for point in points.get(..end)? {
        let c = char::from_u32(u32::from_le_bytes(*point))?;
        let room = out.get_mut(at..at + c.len_utf8())?;
        c.encode_utf8(room);
        at += c.len_utf8();
    }
    Some(at)
}

#[cfg(test)]
mod tests;
