//! TFRecord files: a reader that lends records out of one bounded window, and a writer.
//!
//! The format is that of TensorFlow's `record_writer.h`. Each record is
//!
//! ```text
//! u64 length, little endian | u32 masked CRC-32C of those 8 bytes | data | u32 masked CRC-32C of data
//! ```
//!
//! where masking rotates the CRC right by 15 bits and adds `0xa282ead8`. A whole file may be compressed with gzip or
//! zlib; which, is found from its first bytes, never from its name.

use std::fmt;
use std::io::{self, Chain, Cursor, ErrorKind, Read, Seek, SeekFrom, Take, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

mod check;

pub use check::{CheckedRecord, GrowError, find_header};

use tightfit_core::{ALIGNMENT, Buffer, display_bytes};

pub use crate::compress::Compression;
use crate::compress::Decompressor;

/// Bytes before a record's data.
pub const HEADER_BYTES: usize = 12;

/// Bytes after a record's data.
pub const FOOTER_BYTES: usize = 4;

/// The most that is read at once: enough that system calls are not felt, and little enough that it is still in the
/// cache when its CRC is computed.
const READ_BYTES: usize = 256 << 10;

/// How many unread bytes are moved to have the next read begin at a multiple of [`ALIGNMENT`].
const MOVE_BYTES: usize = 4 << 10;

/// What of a file tells how it is compressed.
const HEAD_BYTES: usize = 16;

const CRC_MASK: u32 = 0xa282_ead8;

impl Compression {
    /// The compression of a TFRecord file that begins with `head` (16 bytes, fewer if the file has fewer). A plain
    /// file may begin with gzip's magic number as the length of its first record, so the length's CRC is looked at
    /// first.
    pub fn detect(head: &[u8]) -> Compression {
        if plain_length(head).is_some() {
            return Compression::None;
        }
        match *head {
            [a, b, ..] if a & 0x0f == 8 && a >> 4 <= 7 && u16::from_be_bytes([a, b]) % 31 == 0 => {
                Compression::Zlib
            }
            _ => Compression::of_text(head),
        }
    }
}

/// True when `head`, a file's first 12 bytes or more, is a valid header of an uncompressed record.
pub fn is_plain_header(head: &[u8]) -> bool {
    plain_length(head).is_some()
}

fn plain_length(head: &[u8]) -> Option<u64> {
    let length: [u8; 8] = head.get(..8)?.try_into().ok()?;
    let crc: [u8; 4] = head.get(8..12)?.try_into().ok()?;
    (masked_crc(&length) == u32::from_le_bytes(crc)).then(|| u64::from_le_bytes(length))
}

/// The masked CRC-32C of `data`.
pub fn masked_crc(data: &[u8]) -> u32 {
    masked(crc32c::crc32c(data))
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(CRC_MASK)
}

/// A record that could not be read.
pub struct RecordError {
    /// The file.
    pub path: Arc<Path>,
    /// The record's number in the file, from 0.
    pub record: u64,
    /// Where the record begins, in bytes of the uncompressed file.
    pub offset: u64,
    /// What is wrong.
    pub fault: RecordFault,
}

/// What is wrong with a record.
#[non_exhaustive]
pub enum RecordFault {
    /// The file could not be read.
    Io(io::Error),
    /// The compressed stream is broken.
    Compression(io::Error),
    /// The length's CRC is wrong, so where the next record begins is unknown.
    LengthCrc,
    /// The data's CRC is wrong.
    DataCrc,
    /// The file ends inside the record.
    Truncated,
    /// The record is larger than the window allows.
    TooLarge {
        /// Bytes of its data.
        bytes: u64,
        /// Bytes there is room for.
        limit_bytes: u64,
    },
}

impl RecordError {
    /// True when the reader goes on with the record after this one.
    pub fn can_continue(&self) -> bool {
        matches!(self.fault, RecordFault::DataCrc | RecordFault::TooLarge { .. })
    }
}

impl fmt::Debug for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::location::debug_error("RecordFault", self, f)
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordFault::Io(error) => write!(f, "cannot be read: {error}"),
            RecordFault::Compression(error) => write!(f, "the compressed stream is broken: {error}"),
            RecordFault::LengthCrc => {
                f.write_str("the CRC of its length is wrong: corrupt, or not a TFRecord file")
            }
            RecordFault::DataCrc => f.write_str("the CRC of its data is wrong"),
            RecordFault::Truncated => f.write_str("the file ends inside it"),
            RecordFault::TooLarge { bytes, limit_bytes } => write!(
                f,
                "it is {} long, but records may be {} here",
                display_bytes(*bytes),
                display_bytes(*limit_bytes)
            ),
        }
    }
}

impl fmt::Debug for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::location::debug_error("RecordError", self, f)
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, record {} at byte {}: {}",
            crate::location::Shown(&self.path),
            self.record,
            self.offset,
            self.fault
        )
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            RecordFault::Io(error) | RecordFault::Compression(error) => Some(error),
            _ => None,
        }
    }
}

/// One record, lent by a [`RecordReader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number in the file, from 0.
    pub index: u64,
    /// Where it begins (its length field), in bytes of the uncompressed file.
    pub offset: u64,
    /// Its data, the CRC checked.
    pub data: &'a [u8],
}

/// The file, with the bytes put back that were read to find its compression.
type Whole<R> = Chain<Take<Cursor<[u8; HEAD_BYTES]>>, R>;

/// Reads the records of one file in order.
pub struct RecordReader<R: Read> {
    path: Arc<Path>,
    compression: Compression,
    stream: Decompressor<Whole<R>>,
    window: Buffer,
    /// Unread bytes are `window[start..end]`; the byte at `start` is at `offset` of the uncompressed file.
    start: usize,
    end: usize,
    offset: u64,
    index: u64,
    /// Index, offset and the data's place in the window of the record found last.
    current: (u64, u64, Range<usize>),
    /// Bytes of a record too large for the window, still to be passed over.
    pass_over_bytes: u64,
    ended: bool,
}

impl<R: Read> RecordReader<R> {
    /// A reader of `read` that calls the file `path` in its errors and reads through `window`, which bounds the
    /// size of a record to 16 bytes less than its own. A window larger than the records saves system calls.
    ///
    /// # Errors
    /// [`RecordError`] when the first bytes cannot be read.
    pub fn new(path: Arc<Path>, mut read: R, window: Buffer) -> Result<Self, RecordError> {
        let mut head = [0; HEAD_BYTES];
        let found = read_up_to(&mut read, &mut head).map_err(|error| RecordError {
            path: path.clone(),
            record: 0,
            offset: 0,
            fault: RecordFault::Io(error),
        })?;
        let (compression, have) = (Compression::detect(found), found.len() as u64);
        let whole = Cursor::new(head).take(have).chain(read);
        let stream = Decompressor::new(compression, whole);
        Ok(RecordReader {
            path,
            compression,
            stream,
            window,
            start: 0,
            end: 0,
            offset: 0,
            index: 0,
            current: (0, 0, 0..0),
            pass_over_bytes: 0,
            ended: false,
        })
    }

    /// How the file is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The number of the next record, and where it begins, in bytes of the uncompressed file: what
    /// [`RecordReader::skip_to`] takes.
    pub fn next_place(&self) -> (u64, u64) {
        (self.index, self.offset.saturating_add(self.pass_over_bytes))
    }

    /// The largest record there is room for, in bytes of its data.
    pub fn max_record_bytes(&self) -> usize {
        self.window.len().saturating_sub(HEADER_BYTES + FOOTER_BYTES)
    }

    /// The window, to be used for the next file.
    pub fn into_window(self) -> Buffer {
        self.window
    }

    /// The next record, or `None` at the end of the file.
    ///
    /// # Errors
    /// [`RecordError`]. When it [can continue](RecordError::can_continue) the next call gives the record after the
    /// bad one, otherwise `None`.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        Ok(if self.advance()? { Some(self.current()) } else { None })
    }

    /// The record that the last [`RecordReader::advance`] found; empty before the first, after the last, and after a new
    /// window.
    pub fn current(&self) -> Record<'_> {
        let (index, offset, ref range) = self.current;
        // Where a record was found its place was checked; there is none elsewhere.
        Record { index, offset, data: self.window.get(range.clone()).unwrap_or_default() }
    }

    /// As [`RecordReader::next_record`], for callers that cannot borrow the record at once: true when there is one.
    ///
    /// # Errors
    /// As [`RecordReader::next_record`].
    pub fn advance(&mut self) -> Result<bool, RecordError> {
        self.current = (self.index, self.offset, 0..0);
        self.pass_over()?;
        if self.ended {
            return Ok(false);
        }
        match self.fill(HEADER_BYTES)? {
            0 => {
                self.ended = true;
                return Ok(false);
            }
            have if have < HEADER_BYTES => return Err(self.end_with(RecordFault::Truncated)),
            _ => {}
        }
        let Some(bytes) = plain_length(self.unread()?) else {
            return Err(self.end_with(RecordFault::LengthCrc));
        };
        let limit_bytes = self.max_record_bytes();
        let data_bytes = match usize::try_from(bytes) {
            Ok(data_bytes) if data_bytes <= limit_bytes => data_bytes,
            _ => {
                let error = self.error(RecordFault::TooLarge { bytes, limit_bytes: limit_bytes as u64 });
                self.pass_over_bytes = bytes.saturating_add((HEADER_BYTES + FOOTER_BYTES) as u64);
                self.index += 1;
                return Err(error);
            }
        };
        let Some(is_right) = self.fill_and_check(data_bytes)? else {
            return Err(self.end_with(RecordFault::Truncated));
        };
        let whole_bytes = HEADER_BYTES + data_bytes + FOOTER_BYTES;
        let (from, index, offset) = (self.start, self.index, self.offset);
        let error = (!is_right).then(|| self.error(RecordFault::DataCrc));
        self.consume(whole_bytes);
        self.index += 1;
        if let Some(error) = error {
            return Err(error);
        }
        let at = from + HEADER_BYTES;
        let found = at..at + data_bytes;
        if self.window.get(found.clone()).is_none() {
            return Err(self.end_with_io(crate::defect("a record lies outside of its window")));
        }
        self.current = (index, offset, found);
        Ok(true)
    }

    fn unread(&mut self) -> Result<&[u8], RecordError> {
        if self.window.get(self.start..self.end).is_none() {
            return Err(self.end_with_io(crate::defect("unread bytes lie outside of their window")));
        }
        Ok(&self.window[self.start..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads the whole record of `data_bytes` that begins the unread bytes, which the window has room for; whether the
    /// CRC of its data is right, or `None` when the file ends before.
    fn fill_and_check(&mut self, data_bytes: usize) -> Result<Option<bool>, RecordError> {
        let data_end = HEADER_BYTES + data_bytes;
        let whole_bytes = data_end + FOOTER_BYTES;
        self.make_room(whole_bytes);
        let (mut crc, mut at) = (0, HEADER_BYTES);
        while at < data_end {
            let have = match self.unread()?.len() {
                have if have > at => have,
                _ => self.read_until(at + 1, whole_bytes)?,
            };
            let to = have.min(data_end);
            if to <= at {
                return Ok(None);
            }
            let Some(part) = self.unread()?.get(at..to) else {
                return Err(self.end_with_io(crate::defect("more bytes were counted than were read")));
            };
            crc = crc32c::crc32c_append(crc, part);
            at = to;
        }
        if self.read_until(whole_bytes, whole_bytes)? < whole_bytes {
            return Ok(None);
        }
        let footer = self.unread()?.get(data_end..).and_then(|footer| footer.first_chunk());
        Ok(Some(footer.is_some_and(|footer| u32::from_le_bytes(*footer) == masked(crc))))
    }

    /// Reads until `bytes` (no more than the window) are unread or the file ends; how many are unread.
    fn fill(&mut self, bytes: usize) -> Result<usize, RecordError> {
        self.make_room(bytes);
        self.read_until(bytes, bytes)
    }

    /// Makes the window have room for `bytes` from the first unread one on. What is read next is put at a multiple of
    /// [`ALIGNMENT`], if little has to be moved for it: the system copies several times slower to other places.
    fn make_room(&mut self, bytes: usize) {
        let unread_bytes = self.end - self.start;
        let is_aligned = self.end.is_multiple_of(ALIGNMENT) || unread_bytes > MOVE_BYTES.min(bytes);
        let fits = bytes <= self.window.len() - self.start;
        if unread_bytes >= bytes || (fits && is_aligned && unread_bytes > 0) {
            return;
        }
        let aligned = unread_bytes.next_multiple_of(ALIGNMENT) - unread_bytes;
        let to = if aligned + bytes <= self.window.len() { aligned } else { 0 };
        self.window.copy_within(self.start..self.end, to);
        (self.start, self.end) = (to, to + unread_bytes);
    }

    /// As [`RecordReader::fill`], the room for `whole_bytes` having been made. Of a large record no more than the next
    /// one's header is read ahead: it would have to be moved.
    fn read_until(&mut self, bytes: usize, whole_bytes: usize) -> Result<usize, RecordError> {
        while self.end - self.start < bytes {
            let ahead = self.start + (whole_bytes + HEADER_BYTES).max(READ_BYTES);
            let to = ahead.min(self.end + READ_BYTES).next_multiple_of(ALIGNMENT).min(self.window.len());
            // An empty room would look like the end of the file.
            let room = self.window.get_mut(self.end..to).filter(|room| !room.is_empty());
            let read = room.ok_or_else(|| crate::defect("a record has no room in its window"));
            match read.and_then(|room| self.stream.read(room)) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.end_with_io(error)),
            }
        }
        Ok(self.end - self.start)
    }

    fn pass_over(&mut self) -> Result<(), RecordError> {
        let (record, offset) = (self.index.saturating_sub(1), self.offset);
        while self.pass_over_bytes > 0 && !self.ended {
            // An error is that of the record, not of the place in it.
            let have = self.fill(1).map_err(|error| RecordError { record, offset, ..error })?;
            if have == 0 {
                let error = self.end_with(RecordFault::Truncated);
                return Err(RecordError { record, offset, ..error });
            }
            let passed = have.min(usize::try_from(self.pass_over_bytes).unwrap_or(usize::MAX));
            self.consume(passed);
            self.pass_over_bytes -= passed as u64;
        }
        Ok(())
    }

    fn error(&self, fault: RecordFault) -> RecordError {
        RecordError { path: self.path.clone(), record: self.index, offset: self.offset, fault }
    }

    fn end_with(&mut self, fault: RecordFault) -> RecordError {
        self.ended = true;
        self.error(fault)
    }

    fn end_with_io(&mut self, error: io::Error) -> RecordError {
        let is_inflating = self.compression != Compression::None;
        self.end_with(match error.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof if is_inflating => {
                RecordFault::Compression(error)
            }
            _ => RecordFault::Io(error),
        })
    }
}

impl<R: Read + Seek> RecordReader<R> {
    /// Goes to record `index`, which begins at `offset` of the uncompressed file, on a reader that has read nothing
    /// yet. An uncompressed file is not read up to there; a compressed one is, and what is passed over is not checked
    /// but for the compressed stream's own sum.
    ///
    /// # Errors
    /// [`RecordError`] when the file ends before, or its position cannot be set.
    pub fn skip_to(&mut self, index: u64, offset: u64) -> Result<(), RecordError> {
        self.index = index;
        let Decompressor::None(whole) = &mut self.stream else {
            self.pass_over_bytes = offset;
            return Ok(());
        };
        self.offset = offset;
        let (head, file) = whole.get_mut();
        head.set_limit(0);
        let found =
            file.seek(SeekFrom::End(0)).and_then(|end| Ok((end, file.seek(SeekFrom::Start(offset))?)));
        match found {
            Ok((end, _)) if end < offset => Err(self.end_with(RecordFault::Truncated)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.end_with_io(error)),
        }
    }
}

/// Reads until `out` is full or the file ends; what was read.
pub(crate) fn read_up_to<'o>(read: &mut impl Read, out: &'o mut [u8]) -> io::Result<&'o mut [u8]> {
    let mut have = 0;
    while let Some(rest) = out.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match read.read(rest) {
            Ok(0) => break,
            Ok(bytes) => have += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.get_mut(..have).ok_or_else(|| crate::defect("more was read than there is room for"))
}

/// Writes records one after the other. Wrap the file in a `BufWriter` (small records), or in
/// `flate2::write::GzEncoder` for a compressed file.
#[derive(Debug)]
pub struct RecordWriter<W: Write> {
    write: W,
    records: u64,
}

impl<W: Write> RecordWriter<W> {
    /// A writer to `write`.
    pub fn new(write: W) -> Self {
        RecordWriter { write, records: 0 }
    }

    /// Appends one record.
    ///
    /// # Errors
    /// Whatever `write` reports.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        self.write.write_all(&length)?;
        self.write.write_all(&masked_crc(&length).to_le_bytes())?;
        self.write.write_all(data)?;
        self.write.write_all(&masked_crc(data).to_le_bytes())?;
        self.records += 1;
        Ok(())
    }

    /// Records written so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What is written to, not flushed.
    pub fn into_inner(self) -> W {
        self.write
    }
}

#[cfg(test)]
mod tests;
