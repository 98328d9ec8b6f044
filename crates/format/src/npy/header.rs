//! The header of a .npy file: a Python dictionary, read and written.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tightfit_core::Shape;

use super::{MAGIC, NpyType};
use crate::error::{FormatError, Place, Problem};
use crate::tfrecord::read_up_to;

/// The longest header accepted. Ten dimensions fill a few hundred bytes; only structured arrays, which are refused,
/// have more.
pub const MAX_HEADER_BYTES: usize = 4096;

/// What the header of a .npy file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NpyHeader {
    /// The elements.
    pub element: NpyType,
    /// True when they are stored with the highest byte first; readers swap them.
    pub is_big_endian: bool,
    /// True when the first dimension varies fastest in the file. Never set for fewer than two dimensions.
    pub is_fortran_order: bool,
    /// The shape; rows are along its first dimension.
    pub shape: Shape,
    /// Where the data begins.
    pub data_offset: u64,
    data_bytes: u64,
}

impl NpyHeader {
    /// Reads the header from `read`, which stands at the file's start; afterwards it stands at the data. `path` is
    /// for the error.
    ///
    /// # Errors
    /// [`FormatError`] when it cannot be read, is no .npy header, or describes an array that is not supported
    /// (objects, records, dates) or cannot be addressed.
    pub fn read(read: &mut impl Read, path: &Arc<Path>) -> Result<NpyHeader, FormatError> {
        let error = |offset: u64, problem| FormatError::new(path, Place::Offset(offset), problem);
        let mut fill = |what, offset: u64, out: &mut [u8]| {
            let needed_bytes = out.len() as u64;
            let found = read_up_to(read, out).map_err(|e| error(offset, Problem::Io(e)))?;
            let present_bytes = found.len() as u64;
            if present_bytes == needed_bytes {
                return Ok(());
            }
            Err(error(offset, Problem::Truncated { what, needed_bytes, present_bytes }))
        };
        let mut head = [0; 10];
        fill("the header", 0, &mut head)?;
        let [m0, m1, m2, m3, m4, m5, major, _minor, low, high] = head;
        if [m0, m1, m2, m3, m4, m5] != *MAGIC {
            return Err(error(0, Problem::invalid("a .npy file", "other bytes")));
        }
        let (length, text_offset) = match major {
            1 => (usize::from(u16::from_le_bytes([low, high])), 10),
            2 | 3 => {
                let mut rest = [0; 2];
                fill("the header", 10, &mut rest)?;
                (u32::from_le_bytes([low, high, rest[0], rest[1]]) as usize, 12)
            }
            _ => {
                return Err(error(6, Problem::invalid("format version 1, 2 or 3", major.to_string())));
            }
        };
        let mut text = [0; MAX_HEADER_BYTES];
        let Some(text) = text.get_mut(..length) else {
            let (limit, found) = (MAX_HEADER_BYTES as u64, length as u64);
            return Err(error(8, Problem::Limit { name: "bytes of header", limit, found }));
        };
        fill("the header", text_offset, text)?;
        let fields = Fields::parse(text).map_err(|problem| error(text_offset, problem))?;
        fields.header(text_offset + length as u64).map_err(|problem| error(text_offset, problem))
    }

    /// Rows: the first dimension; 1 for a scalar.
    pub fn rows(&self) -> u64 {
        self.shape.first().map_or(1, |rows| *rows as u64)
    }

    /// The shape of one row.
    pub fn row_shape(&self) -> &[usize] {
        self.shape.split_first().map_or(&[], |(_, row)| row)
    }

    /// Bytes of one row in the file.
    pub fn row_bytes(&self) -> usize {
        // No more than the data's bytes, unless there are no rows.
        self.row_shape().iter().product::<usize>().saturating_mul(self.element.bytes())
    }

    /// Bytes of the data.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }
}

/// The dictionary of a header.
struct Fields<'a> {
    descr: &'a str,
    is_fortran_order: bool,
    dims: [usize; tightfit_core::MAX_RANK],
    rank: usize,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Problem> {
        let mut tokens = Tokens(text);
        let (mut descr, mut is_fortran_order, mut shape) = (None, None, None);
        tokens.expect(b'{')?;
        while !tokens.accept(b'}') {
            let key = tokens.string()?;
            tokens.expect(b':')?;
            match key {
                "descr" => descr = Some(tokens.string()?),
                "fortran_order" => is_fortran_order = Some(tokens.boolean()?),
                "shape" => shape = Some(tokens.tuple()?),
                _ => return Err(Problem::invalid("descr, fortran_order or shape", format!("{key:?}"))),
            }
            if !tokens.accept(b',') {
                tokens.expect(b'}')?;
                break;
            }
        }
        match (descr, is_fortran_order, shape) {
            (Some(descr), Some(is_fortran_order), Some((dims, rank))) => {
                Ok(Fields { descr, is_fortran_order, dims, rank })
            }
            _ => Err(Problem::invalid("descr, fortran_order and shape", "fewer keys")),
        }
    }

    fn header(&self, data_offset: u64) -> Result<NpyHeader, Problem> {
        let unsupported = |what| Problem::Unsupported {
            what,
            advice: "arrays of numbers, bools, byte strings and unicode strings are supported: convert it first",
        };
        let (element, is_big_endian) = NpyType::parse(self.descr)
            .ok_or_else(|| unsupported(format!("an array of dtype {:?}", self.descr)))?;
        let dims = self
            .dims
            .get(..self.rank)
            .ok_or_else(|| Problem::Io(crate::defect("more dimensions were counted than there are")))?;
        let shape = Shape::new(dims).map_err(|e| unsupported(e.to_string()))?;
        let data_bytes = (shape.elements() as u64)
            .checked_mul(element.bytes() as u64)
            .filter(|bytes| *bytes <= isize::MAX as u64)
            .ok_or_else(|| unsupported(format!("{shape} elements of {} bytes", element.bytes())))?;
        Ok(NpyHeader {
            element,
            is_big_endian: is_big_endian && element.swapped_bytes() > 1,
            is_fortran_order: self.is_fortran_order && shape.iter().filter(|d| **d != 1).count() > 1,
            shape,
            data_offset,
            data_bytes,
        })
    }
}

/// The tokens of a Python literal.
struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_space();
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Problem> {
        if self.accept(byte) { Ok(()) } else { Err(self.unexpected(format!("'{}'", byte as char))) }
    }

    fn unexpected(&self, expected: String) -> Problem {
        let found = self.0.get(..40).unwrap_or(self.0);
        Problem::invalid(expected, format!("{:?}", String::from_utf8_lossy(found)))
    }

    fn word(&mut self, is_part: impl Fn(u8) -> bool) -> Result<&'a str, Problem> {
        self.skip_space();
        let end = self.0.iter().position(|b| !is_part(*b)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(word).map_err(|_| self.unexpected("a text".to_string()))
    }

    fn string(&mut self) -> Result<&'a str, Problem> {
        let quote = if self.accept(b'\'') { b'\'' } else { b'"' };
        if quote == b'"' && !self.accept(b'"') {
            return Err(Problem::Unsupported {
                what: "an array of records".to_string(),
                advice: "save each field as a separate array",
            });
        }
        let mut parts = self.0.splitn(2, |b| *b == quote);
        let (Some(text), Some(rest)) = (parts.next(), parts.next()) else {
            return Err(self.unexpected("a closed string".to_string()));
        };
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| self.unexpected("a text".to_string()))
    }

    fn boolean(&mut self) -> Result<bool, Problem> {
        match self.word(|b| b.is_ascii_alphabetic())? {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(self.unexpected("True or False".to_string())),
        }
    }

    fn tuple(&mut self) -> Result<([usize; tightfit_core::MAX_RANK], usize), Problem> {
        let mut dims = [0; tightfit_core::MAX_RANK];
        let mut rank = 0;
        self.expect(b'(')?;
        while !self.accept(b')') {
            let number = self.word(|b| b.is_ascii_digit())?;
            // Python 2 wrote long integers with an L.
            self.accept(b'L');
            let dim = number.parse().map_err(|_| self.unexpected("a dimension".to_string()))?;
            let limit = dims.len() as u64;
            let slot = dims.get_mut(rank);
            *slot.ok_or(Problem::Limit { name: "dimensions", limit, found: limit + 1 })? = dim;
            rank += 1;
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok((dims, rank))
    }
}

/// The header of a .npy file in C order, padded to a multiple of 64 bytes, or to `padded_bytes` if that is more.
pub(super) fn header(element: NpyType, dims: impl Iterator<Item = u64>, padded_bytes: usize) -> Vec<u8> {
    let mut shape: Vec<String> = dims.map(|d| d.to_string()).collect();
    if shape.len() == 1 {
        shape.push(String::new());
    }
    let shape = shape.join(", ");
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    let total_bytes = (10 + text.len() + 1).max(padded_bytes).next_multiple_of(64);
    let mut header = Vec::with_capacity(total_bytes);
    header.extend_from_slice(MAGIC);
    // At most a few hundred bytes, so the length fits version 1.
    header.extend([1, 0]);
    header.extend(((total_bytes - 10) as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(total_bytes - 1, b' ');
    header.push(b'\n');
    header
}

/// The header of an array of this shape.
pub fn header_of(element: NpyType, shape: &[u64]) -> Vec<u8> {
    header(element, shape.iter().copied(), 0)
}
