//! NumPy's .npy files: header, rows streamed in either direction.
//!
//! The format is that of numpy's `lib/format.py`: `\x93NUMPY`, version (1, 2 or 3), the header's length (u16 in
//! version 1, else u32, little endian), a Python dictionary with `descr`, `fortran_order` and `shape`, padded so that
//! the data behind it is aligned. bfloat16 has no name in numpy; the raw type `<V2` that ml_dtypes writes stands
//! for it.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{DType, Shape, TensorView};

use crate::error::{FormatError, Place, Problem};
use crate::tfrecord::read_up_to;

/// The bytes a .npy file begins with.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header accepted. Ten dimensions fill a few hundred bytes; only structured arrays, which are refused,
/// have more.
pub const MAX_HEADER_BYTES: usize = 4096;

/// Headers written are padded to this, which has room for any row count.
const WRITTEN_HEADER_BYTES: usize = 384;

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
            let have = read_up_to(read, out).map_err(|e| error(offset, Problem::Io(e)))?;
            let (needed_bytes, present_bytes) = (out.len() as u64, have as u64);
            if have == out.len() {
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
        self.shape.get(1..).unwrap_or_default()
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
        let dims = self.dims.get(..self.rank).unwrap_or_default();
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
        let found = String::from_utf8_lossy(self.0.get(..self.0.len().min(40)).unwrap_or_default());
        Problem::invalid(expected, format!("{found:?}"))
    }

    fn word(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        self.skip_space();
        let end = self.0.iter().position(|b| !is_part(*b)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(word).unwrap_or_default()
    }

    fn string(&mut self) -> Result<&'a str, Problem> {
        let quote = if self.accept(b'\'') { b'\'' } else { b'"' };
        if quote == b'"' && !self.accept(b'"') {
            return Err(Problem::Unsupported {
                what: "an array of records".to_string(),
                advice: "save each field as an array of its own",
            });
        }
        let end = self.0.iter().position(|b| *b == quote);
        let end = end.ok_or_else(|| self.unexpected("a closed string".to_string()))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        std::str::from_utf8(text).map_err(|_| self.unexpected("a text".to_string()))
    }

    fn boolean(&mut self) -> Result<bool, Problem> {
        match self.word(|b| b.is_ascii_alphabetic()) {
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
            let number = self.word(|b| b.is_ascii_digit());
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

/// Reads the rows of a .npy file in order.
#[derive(Debug)]
pub struct NpyReader<R> {
    path: Arc<Path>,
    read: R,
    header: NpyHeader,
    row: u64,
    /// Bytes of a row that the file broke off in.
    cut_off_bytes: usize,
}

impl<R: Read> NpyReader<R> {
    /// Reads the header of `read`, which is called `path` in errors.
    ///
    /// # Errors
    /// As [`NpyHeader::read`].
    pub fn new(path: Arc<Path>, mut read: R) -> Result<Self, FormatError> {
        let header = NpyHeader::read(&mut read, &path)?;
        Ok(NpyReader { path, read, header, row: 0, cut_off_bytes: 0 })
    }

    /// The header.
    pub fn header(&self) -> &NpyHeader {
        &self.header
    }

    /// The number of the next row.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Fills `out` with as many whole rows as it has room for and the file still has; how many. Multi-byte elements
    /// come out little-endian.
    ///
    /// # Errors
    /// [`FormatError`] when the file is shorter than its header says, cannot be read, or is in Fortran order, whose
    /// rows are scattered over the whole file.
    pub fn read_rows(&mut self, out: &mut [u8]) -> Result<usize, FormatError> {
        if self.header.is_fortran_order {
            return Err(self.error(Problem::Unsupported {
                what: "rows of an array in Fortran order".to_string(),
                advice: "save it with numpy.ascontiguousarray",
            }));
        }
        let left = self.header.rows() - self.row;
        let row_bytes = self.header.row_bytes();
        let room = out.len().checked_div(row_bytes).map_or(left, |rows| (rows as u64).min(left));
        let wanted_bytes = room as usize * row_bytes;
        let Some(wanted) = out.get_mut(..wanted_bytes) else {
            return Err(self.error(Problem::Io(crate::defect("rows are longer than their room"))));
        };
        let have = self.read_up_to(wanted)?;
        // Rows before the place where a file breaks off are good; the next call says that it does.
        let rows = have.checked_div(row_bytes).map_or(room, |rows| rows as u64);
        if rows == 0 && wanted_bytes > 0 {
            let (needed_bytes, present_bytes) = (row_bytes as u64, (have + self.cut_off_bytes) as u64);
            return Err(self.error(Problem::Truncated { what: "a row", needed_bytes, present_bytes }));
        }
        self.cut_off_bytes = have.checked_rem(row_bytes).unwrap_or(0);
        self.row += rows;
        Ok(rows as usize)
    }

    /// Fills `out`, which must have exactly the data's bytes, with the whole array in C order, turning one in Fortran
    /// order.
    ///
    /// # Errors
    /// [`FormatError`] as [`NpyReader::read_rows`], and when `out` has another size.
    pub fn read_all(&mut self, out: &mut [u8]) -> Result<(), FormatError> {
        if out.len() as u64 != self.header.data_bytes || self.row > 0 {
            let found = format!("{} bytes", out.len());
            return Err(
                self.error(Problem::invalid(format!("{} bytes of room", self.header.data_bytes), found))
            );
        }
        if !self.header.is_fortran_order {
            self.fill(out)?;
            self.row = self.header.rows();
            return Ok(());
        }
        let shape = self.header.shape;
        let strides = shape.strides();
        let bytes = self.header.element.bytes();
        let mut index = [0usize; tightfit_core::MAX_RANK];
        let mut chunk = [0; 4096];
        let per_chunk = (chunk.len() / bytes.max(1)).max(1);
        let elements = shape.elements();
        let mut done = 0;
        while done < elements {
            let count = per_chunk.min(elements - done);
            let Some(part) = chunk.get_mut(..count * bytes) else {
                return Err(self.error(Problem::Unsupported {
                    what: "strings of more than 4096 bytes in Fortran order".to_string(),
                    advice: "save it with numpy.ascontiguousarray",
                }));
            };
            self.fill(part)?;
            for element in part.chunks_exact(bytes.max(1)) {
                let at: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
                if let Some(to) = out.get_mut(at * bytes..(at + 1) * bytes) {
                    to.copy_from_slice(element);
                }
                for (i, dim) in index.iter_mut().zip(shape.iter()) {
                    *i += 1;
                    if *i < *dim {
                        break;
                    }
                    *i = 0;
                }
            }
            done += count;
        }
        self.row = self.header.rows();
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), FormatError> {
        let have = self.read_up_to(out)?;
        if have < out.len() {
            let (needed_bytes, present_bytes) = (out.len() as u64, have as u64);
            return Err(self.error(Problem::Truncated { what: "the data", needed_bytes, present_bytes }));
        }
        Ok(())
    }

    fn read_up_to(&mut self, out: &mut [u8]) -> Result<usize, FormatError> {
        let have = read_up_to(&mut self.read, out).map_err(|e| self.error(Problem::Io(e)))?;
        if self.header.is_big_endian {
            let Some(read) = out.get_mut(..have) else {
                return Err(self.error(Problem::Io(crate::defect("more was read than there is room for"))));
            };
            swap(read, self.header.element.swapped_bytes());
        }
        Ok(have)
    }

    fn error(&self, problem: Problem) -> FormatError {
        let row_offset = self.row.saturating_mul(self.header.row_bytes() as u64);
        FormatError::new(&self.path, Place::Offset(self.header.data_offset + row_offset), problem)
    }
}

impl<R: Read + Seek> NpyReader<R> {
    /// Goes to row `row` of an array in C order.
    ///
    /// # Errors
    /// [`FormatError`] when the array has fewer rows, and when the position cannot be set.
    pub fn skip_to_row(&mut self, row: u64) -> Result<(), FormatError> {
        if row > self.header.rows() {
            let found = format!("{}", self.header.rows());
            return Err(self.error(Problem::invalid(format!("at least {row} rows"), found)));
        }
        let before_bytes = row.checked_mul(self.header.row_bytes() as u64);
        let offset = before_bytes.and_then(|bytes| self.header.data_offset.checked_add(bytes));
        let offset = offset.ok_or(io::ErrorKind::InvalidInput.into());
        offset
            .and_then(|offset| self.read.seek(SeekFrom::Start(offset)))
            .map_err(|error| self.error(Problem::Io(error)))?;
        self.row = row;
        Ok(())
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
    let end = element.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    element.get(..end).unwrap_or_default()
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

/// The header of a .npy file in C order, padded to a multiple of 64 bytes, or to `padded_bytes` if that is more.
fn header(element: NpyType, dims: impl Iterator<Item = u64>, padded_bytes: usize) -> Vec<u8> {
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

/// Writes `tensor`, which holds no strings, as a whole .npy file.
///
/// # Errors
/// Whatever `write` reports.
pub fn write_tensor(write: &mut impl Write, tensor: &TensorView<'_>) -> io::Result<()> {
    let dims = tensor.shape().iter().map(|d| *d as u64);
    write.write_all(&header(NpyType::Plain(tensor.dtype()), dims, 0))?;
    write.write_all(tensor.bytes())
}

/// Writes a .npy file row by row, the row count unknown until the end: the header is rewritten then.
#[derive(Debug)]
pub struct NpyWriter<W: Write + Seek> {
    write: W,
    start: u64,
    element: NpyType,
    row_shape: Shape,
    row_bytes: usize,
    rows: u64,
}

impl<W: Write + Seek> NpyWriter<W> {
    /// Begins a file at the position of `write`. Strings of unknown length cannot be written this way: spool them
    /// with [`crate::spool::ArraySpool`].
    ///
    /// # Errors
    /// Whatever `write` reports.
    pub fn new(mut write: W, element: NpyType, row_shape: Shape) -> io::Result<Self> {
        let start = write.stream_position()?;
        let row_bytes = row_shape.elements().saturating_mul(element.bytes());
        let mut writer = NpyWriter { write, start, element, row_shape, row_bytes, rows: 0 };
        writer.write_header()?;
        Ok(writer)
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// Whatever is written to reports, and `InvalidInput` when `bytes` are not whole rows.
    pub fn write_rows(&mut self, rows: usize, bytes: &[u8]) -> io::Result<()> {
        if rows.checked_mul(self.row_bytes) != Some(bytes.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole rows"));
        }
        self.write.write_all(bytes)?;
        self.rows += rows as u64;
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the row count into the header and gives back what was written to, positioned at the end, not flushed.
    ///
    /// # Errors
    /// Whatever is written to reports.
    pub fn finish(mut self) -> io::Result<W> {
        self.write.seek(SeekFrom::Start(self.start))?;
        self.write_header()?;
        self.write.seek(SeekFrom::End(0))?;
        Ok(self.write)
    }

    fn write_header(&mut self) -> io::Result<()> {
        let dims = std::iter::once(self.rows).chain(self.row_shape.iter().map(|d| *d as u64));
        self.write.write_all(&header(self.element, dims, WRITTEN_HEADER_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn path() -> Arc<Path> {
        Arc::from(Path::new("x.npy"))
    }

    fn reader(bytes: &[u8]) -> Result<NpyReader<&[u8]>, FormatError> {
        NpyReader::new(path(), bytes)
    }

    fn with_text(version: u8, text: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn goes_on_at_any_row() {
        let mut bytes = with_text(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3, 2), }\n");
        bytes.extend(0..12);
        for row in 0..=3 {
            let mut reader = NpyReader::new(path(), Cursor::new(&bytes)).unwrap();
            reader.skip_to_row(row).unwrap();
            let mut rows = [0; 12];
            let read = reader.read_rows(&mut rows).unwrap();
            assert_eq!((read as u64, reader.row()), (3 - row, 3));
            assert!(rows[..read * 4].iter().copied().eq(row as u8 * 4..12));
        }
        assert!(NpyReader::new(path(), Cursor::new(&bytes)).unwrap().skip_to_row(4).is_err());
    }

    #[test]
    fn headers_numpy_writes() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }   \n";
        for version in [1, 2, 3] {
            let header = *reader(&with_text(version, text)).unwrap().header();
            assert_eq!(header.element, NpyType::Plain(DType::F32));
            assert_eq!((header.rows(), header.row_shape(), header.row_bytes()), (3, &[2][..], 8));
            assert_eq!(header.data_bytes(), 24);
        }
        for (descr, element, is_big) in [
            ("|S7", NpyType::Bytes(7), false),
            (">U3", NpyType::Unicode(3), true),
            (">i2", NpyType::Plain(DType::I16), true),
            ("|b1", NpyType::Plain(DType::Bool), false),
            ("<V2", NpyType::Plain(DType::BF16), false),
        ] {
            let text = format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': (), }}");
            let header = *reader(&with_text(1, &text)).unwrap().header();
            assert_eq!((header.element, header.is_big_endian, header.rows()), (element, is_big, 1));
            assert!(!header.is_fortran_order);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        for (text, reason) in [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "dtype"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "records"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", "a dimension"),
            ("{'descr': '<f4', 'fortran_order': False}", "shape"),
            ("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (), }", "True or False"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807,2)}", "elements"),
            ("{'descr': '|S9223372036854775807', 'fortran_order': False, 'shape': (9,)}", "elements"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1)}", "dimensions"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", "a dimension"),
            ("", "'{'"),
        ] {
            let error = reader(&with_text(1, text)).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("x.npy"), "{text}: {error}");
        }
        assert!(reader(&with_text(4, "{}")).unwrap_err().to_string().contains("version"));
        assert!(reader(b"PK\x03\x04abcdefgh").unwrap_err().to_string().contains(".npy"));
        assert!(reader(&with_text(2, &" ".repeat(5000))).unwrap_err().to_string().contains("4096"));
    }

    #[test]
    fn writes_rows_and_reads_them_back() {
        let row_shape = Shape::new(&[3]).unwrap();
        let mut writer =
            NpyWriter::new(Cursor::new(Vec::new()), NpyType::Plain(DType::I32), row_shape).unwrap();
        let values: Vec<i32> = (0..30).collect();
        writer.write_rows(4, bytemuck::cast_slice(&values[..12])).unwrap();
        writer.write_rows(6, bytemuck::cast_slice(&values[12..])).unwrap();
        assert!(writer.write_rows(1, &[0; 11]).is_err());
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(bytes.len(), WRITTEN_HEADER_BYTES + 120);
        let mut reader = reader(&bytes).unwrap();
        assert_eq!(&*reader.header().shape, [10, 3]);
        let mut rows = [0i32; 12];
        let mut all = Vec::new();
        loop {
            let count = reader.read_rows(bytemuck::cast_slice_mut(&mut rows)).unwrap();
            if count == 0 {
                break;
            }
            all.extend_from_slice(&rows[..count * 3]);
        }
        assert_eq!(all, values);
    }

    #[test]
    fn swaps_big_endian_and_turns_fortran_order() {
        let mut bytes = with_text(1, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }");
        for value in [0i16, 10, 1, 11, 2, 12] {
            bytes.extend(value.to_be_bytes());
        }
        let mut whole = [0i16; 6];
        reader(&bytes).unwrap().read_all(bytemuck::cast_slice_mut(&mut whole)).unwrap();
        assert_eq!(whole, [0, 1, 2, 10, 11, 12]);
        assert!(reader(&bytes).unwrap().read_rows(&mut [0; 6]).is_err());
        bytes.pop();
        let error = reader(&bytes).unwrap().read_all(bytemuck::cast_slice_mut(&mut whole)).unwrap_err();
        assert!(matches!(error.problem(), Problem::Truncated { .. }));
    }

    #[test]
    fn gives_the_rows_before_a_broken_end() {
        let mut bytes = with_text(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (5, 4), }");
        bytes.extend(0..10);
        let mut reader = reader(&bytes).unwrap();
        let mut out = [0; 16];
        assert_eq!(reader.read_rows(&mut out).unwrap(), 2);
        let error = reader.read_rows(&mut out).unwrap_err();
        assert!(matches!(error.problem(), Problem::Truncated { needed_bytes: 4, present_bytes: 2, .. }));
        assert_eq!(error.place(), Place::Offset(reader.header().data_offset + 8));
    }

    #[test]
    fn strings() {
        assert_eq!(trim_zeros(b"ab\0c\0\0"), b"ab\0c");
        assert_eq!(trim_zeros(b"\0\0"), b"");
        let ucs4: Vec<u8> = "zé\u{1f600}\0".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        let mut out = [0; 16];
        let bytes = utf8_of_ucs4(&ucs4, &mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out[..bytes]).unwrap(), "zé\u{1f600}");
        assert_eq!(utf8_of_ucs4(&0xd800u32.to_le_bytes(), &mut out), None);
        assert_eq!(utf8_of_ucs4(&ucs4, &mut out[..6]), None);
    }

    fn read_everything(bytes: &[u8]) {
        let Ok(mut reader) = reader(bytes) else { return };
        let mut out = [0; 64];
        while matches!(reader.read_rows(&mut out), Ok(1..)) && reader.row() < 1000 {}
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            random in proptest::collection::vec(any::<u8>(), 0..200),
            text in "[{}(), :'LTrueFals0-9<>SUfidcrshapnoe_|]{0,120}",
            edit in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            read_everything(&random);
            read_everything(&with_text(1, &text));
            let mut valid = with_text(1, "{'descr': '<U4', 'fortran_order': False, 'shape': (3, 2), }");
            valid.extend([7; 96]);
            let at = edit.index(valid.len());
            read_everything(&valid[..at]);
            valid[at] = byte;
            read_everything(&valid);
        }
    }
}
