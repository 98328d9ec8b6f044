//! Protobuf's binary encoding, written. A message stands after its length, so each is counted before it is written;
//! tensor values are counted by their range and copied from their file in small pieces.

use std::io::{self, Write};

use crate::error::FormatError;
use crate::source::SourceFile;

const VARINT: u32 = 0;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// Writes the fields of a message, any number of times the same.
pub(crate) type Body<'a> = &'a dyn Fn(&mut dyn Sink) -> io::Result<()>;

/// Reads tensor values out of a file, from an offset among them on.
pub(crate) type ReadAt<'a> = &'a dyn Fn(&SourceFile, u64, &mut [u8]) -> Result<(), FormatError>;

/// Takes the parts of messages.
pub(crate) trait Sink {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// `bytes` bytes that `read` takes out of the tensor values' file, from an offset among them on.
    fn file(&mut self, bytes: u64, read: ReadAt) -> io::Result<()>;
    /// A nested message, or a packed list.
    fn message(&mut self, number: u32, body: Body) -> io::Result<()>;
}

/// Counts what would be written. A nested message is gone over once, whatever its depth.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn file(&mut self, bytes: u64, _: ReadAt) -> io::Result<()> {
        self.0 += bytes;
        Ok(())
    }

    fn message(&mut self, number: u32, body: Body) -> io::Result<()> {
        let before = self.0;
        body(self)?;
        let bytes = self.0 - before;
        tag(self, number, LENGTH)?;
        varint(self, bytes)
    }
}

/// Writes into `out`.
pub(crate) struct Encoder<'a, W> {
    pub out: &'a mut W,
    /// Where ranges are read from, when there are any.
    pub source: Option<&'a SourceFile>,
    /// What passes through at a time; not empty.
    pub scratch: &'a mut [u8],
}

impl<W: Write> Sink for Encoder<'_, W> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    fn file(&mut self, bytes: u64, read: ReadAt) -> io::Result<()> {
        let no_source =
            || io::Error::new(io::ErrorKind::InvalidInput, "tensor values in a file, but no file");
        let source = self.source.ok_or_else(no_source)?;
        let mut done = 0;
        while done < bytes {
            let piece = (bytes - done).min(self.scratch.len() as u64);
            let part = &mut self.scratch[..piece as usize];
            read(source, done, part).map_err(io::Error::other)?;
            self.out.write_all(part)?;
            done += piece;
        }
        Ok(())
    }

    fn message(&mut self, number: u32, body: Body) -> io::Result<()> {
        let mut count = Count::default();
        body(&mut count)?;
        tag(self, number, LENGTH)?;
        varint(self, count.0)?;
        body(self)
    }
}

pub(crate) fn varint(sink: &mut dyn Sink, mut value: u64) -> io::Result<()> {
    let mut out = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        out[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    out[length] = value as u8;
    sink.raw(&out[..=length])
}

fn tag(sink: &mut dyn Sink, number: u32, wire_type: u32) -> io::Result<()> {
    varint(sink, u64::from(number << 3 | wire_type))
}

/// A field of variable length; a negative number is written with all its 64 bits.
pub(crate) fn int(sink: &mut dyn Sink, number: u32, value: i64) -> io::Result<()> {
    tag(sink, number, VARINT)?;
    varint(sink, value as u64)
}

/// As [`int`], left out when 0, as a reader takes 0 for a field that is not there.
pub(crate) fn int_or_nothing(sink: &mut dyn Sink, number: u32, value: i64) -> io::Result<()> {
    if value == 0 { Ok(()) } else { int(sink, number, value) }
}

pub(crate) fn float(sink: &mut dyn Sink, number: u32, value: f32) -> io::Result<()> {
    tag(sink, number, FIXED32)?;
    sink.raw(&value.to_le_bytes())
}

pub(crate) fn bytes(sink: &mut dyn Sink, number: u32, value: &[u8]) -> io::Result<()> {
    tag(sink, number, LENGTH)?;
    varint(sink, value.len() as u64)?;
    sink.raw(value)
}

/// As [`bytes`], left out when empty.
pub(crate) fn text_or_nothing(sink: &mut dyn Sink, number: u32, value: &str) -> io::Result<()> {
    if value.is_empty() { Ok(()) } else { bytes(sink, number, value.as_bytes()) }
}
