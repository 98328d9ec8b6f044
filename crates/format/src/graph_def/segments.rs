//! Values of a repeated field that do not stand in the file as one run of elements: in several runs, each after a tag of
//! its own, or as numbers of variable length, as TensorFlow writes halves. They stay in the file all the same; a short
//! index says where to begin to read.

use crate::error::{FormatError, Problem};
use crate::source::SourceFile;

type Result<T> = std::result::Result<T, FormatError>;

/// Values of one segment of variable length: what is decoded in vain to reach one of them is less than this.
const VARINTS_MAX: u64 = 2048;
/// More bytes than this between two values are no tag: a new segment begins.
const GAP_MAX_BYTES: u64 = 8;
/// A varint of 64 bits has no more bytes.
const VARINT_BYTES: usize = 10;
/// Bytes of the file that are looked at a time.
const WINDOW_BYTES: usize = 4 << 10;

/// How the values of a segment are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Little-endian, each of as many bytes as it has in memory.
    Fixed,
    /// Protobuf's numbers of variable length.
    Varint,
}

/// Values that follow each other, the same number of bytes between any two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// The number of the first value.
    first: u64,
    /// Where it stands in the file.
    offset: u64,
    /// Bytes between the end of a value and the next.
    gap_bytes: u8,
    form: Form,
}

/// Where the values of a repeated field stand in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    list: Box<[Segment]>,
    values: u64,
    /// Bytes of a value in memory.
    value_bytes: usize,
}

impl Segments {
    /// Bytes of memory that the index takes.
    pub fn index_bytes(&self) -> u64 {
        size_of_val(&*self.list) as u64
    }

    /// Bytes of the values in memory.
    pub fn bytes(&self) -> u64 {
        self.values * self.value_bytes as u64
    }

    /// Fills `out` with the bytes from `at` on of the values as they are in memory.
    ///
    /// # Errors
    /// [`FormatError`] when `source` cannot be read, is not the file it was, or has no such bytes.
    pub fn read_at(&self, source: &SourceFile, at: u64, out: &mut [u8]) -> Result<()> {
        let value_bytes = self.value_bytes as u64;
        let mut at = at;
        let mut rest = out;
        while !rest.is_empty() {
            let value = at / value_bytes;
            let number = self.list.partition_point(|segment| segment.first <= value);
            let segment = number.checked_sub(1).and_then(|i| self.list.get(i));
            let Some(segment) = segment.filter(|_| value < self.values) else {
                let found = format!("bytes at {at} of {}", self.bytes());
                return Err(source.error_at(0, Problem::invalid("a part of a tensor's values", found)));
            };
            let end = self.list.get(number).map_or(self.values, |next| next.first);
            let bytes = (end * value_bytes - at).min(rest.len() as u64) as usize;
            let (part, tail) = rest.split_at_mut(bytes);
            self.read_segment(source, segment, at - segment.first * value_bytes, part)?;
            at += bytes as u64;
            rest = tail;
        }
        Ok(())
    }

    /// Reads the bytes from `at` on of a segment's values.
    fn read_segment(&self, source: &SourceFile, segment: &Segment, at: u64, out: &mut [u8]) -> Result<()> {
        let value_bytes = self.value_bytes as u64;
        let (skipped, phase) = (at / value_bytes, (at % value_bytes) as usize);
        let gap_bytes = u64::from(segment.gap_bytes);
        if segment.form == Form::Fixed && gap_bytes == 0 {
            return source.read_exact_at(segment.offset + at, out);
        }
        let mut window = Window::new(source, segment.offset);
        match segment.form {
            Form::Fixed => window.skip(skipped * (value_bytes + gap_bytes)),
            Form::Varint => {
                for _ in 0..skipped {
                    window.varint()?;
                    window.skip(gap_bytes);
                }
            }
        }
        let (head, body) =
            out.split_at_mut(if phase == 0 { 0 } else { out.len().min(self.value_bytes - phase) });
        let pieces = Some((phase, head)).filter(|(_, head)| !head.is_empty()).into_iter();
        for (from, piece) in pieces.chain(body.chunks_mut(self.value_bytes).map(|piece| (0, piece))) {
            let value = match segment.form {
                Form::Fixed => window.fixed(self.value_bytes)?,
                Form::Varint => window.varint()?,
            };
            piece.copy_from_slice(&value.to_le_bytes()[from..][..piece.len()]);
            window.skip(gap_bytes);
        }
        Ok(())
    }
}

/// Finds the segments of values whose places it is told, one by one or in runs. Nothing is kept but the last.
pub(super) struct Finder {
    open: Option<(Segment, u64, u64)>,
    form: Form,
    value_bytes: usize,
    /// Values so far.
    values: u64,
}

impl Finder {
    /// For values of `value_bytes` in memory, written with a variable length or with that one.
    pub fn new(value_bytes: usize, is_varint: bool) -> Finder {
        let form = if is_varint { Form::Varint } else { Form::Fixed };
        Finder { open: None, form, value_bytes, values: 0 }
    }

    /// A run of `count` values of `bytes` together at `offset`; true when it begins a segment.
    pub fn run(&mut self, offset: u64, bytes: u64, count: u64) -> bool {
        let first = self.values;
        self.values += count;
        let end = offset + bytes;
        if let Some((segment, last_end, held)) = &mut self.open {
            let gap = offset.checked_sub(*last_end).filter(|gap| *gap <= GAP_MAX_BYTES);
            let follows = count == 1
                && gap.is_some_and(|gap| *held == 1 || gap == u64::from(segment.gap_bytes))
                && (self.form == Form::Fixed || *held < VARINTS_MAX);
            if let (true, Some(gap)) = (follows, gap) {
                segment.gap_bytes = gap as u8;
                *last_end = end;
                *held += 1;
                return false;
            }
        }
        self.open = Some((Segment { first, offset, gap_bytes: 0, form: self.form }, end, count));
        true
    }
}

/// The segments of a field, found again and kept.
pub(super) struct Builder {
    finder: Finder,
    list: Vec<Segment>,
}

impl Builder {
    /// Room for `segments`, which a [`Finder`] has counted.
    pub fn new(finder: Finder, segments: usize) -> Builder {
        Builder { finder, list: Vec::with_capacity(segments) }
    }

    /// As [`Finder::run`].
    pub fn run(&mut self, offset: u64, bytes: u64, count: u64) {
        let is_new = self.finder.run(offset, bytes, count);
        let Some((segment, ..)) = self.finder.open else { return };
        match self.list.last_mut() {
            Some(last) if !is_new => *last = segment,
            _ => self.list.push(segment),
        }
    }

    /// The first `values` of what was found.
    pub fn finish(self, values: u64) -> Segments {
        let value_bytes = self.finder.value_bytes;
        Segments { list: self.list.into(), values: values.min(self.finder.values), value_bytes }
    }
}

/// Bytes of the index of so many segments.
pub(super) fn index_bytes(segments: u64) -> u64 {
    segments.saturating_mul(size_of::<Segment>() as u64)
}

/// A position in a file, and a few bytes of it.
struct Window<'s> {
    source: &'s SourceFile,
    /// Where the window begins in the file.
    start: u64,
    at: usize,
    filled: usize,
    bytes: [u8; WINDOW_BYTES],
}

impl Window<'_> {
    fn new(source: &SourceFile, start: u64) -> Window<'_> {
        Window { source, start, at: 0, filled: 0, bytes: [0; WINDOW_BYTES] }
    }

    fn skip(&mut self, bytes: u64) {
        if bytes <= (self.filled - self.at) as u64 {
            self.at += bytes as usize;
        } else {
            self.start += self.at as u64 + bytes;
            (self.at, self.filled) = (0, 0);
        }
    }

    /// Makes `bytes` there, or as many as the file has.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        if self.filled - self.at >= bytes {
            return Ok(());
        }
        self.start += self.at as u64;
        self.filled = self.source.len().saturating_sub(self.start).min(WINDOW_BYTES as u64) as usize;
        self.at = 0;
        self.source.read_exact_at(self.start, &mut self.bytes[..self.filled])
    }

    fn damaged(&self) -> FormatError {
        let expected = "the values that were there when the file was opened";
        self.source.error_at(self.start + self.at as u64, Problem::invalid(expected, "others"))
    }

    fn fixed(&mut self, bytes: usize) -> Result<u64> {
        self.fill(bytes)?;
        let mut value = [0; 8];
        let there = self.bytes[self.at..self.filled].get(..bytes);
        value[..bytes].copy_from_slice(there.ok_or_else(|| self.damaged())?);
        self.at += bytes;
        Ok(u64::from_le_bytes(value))
    }

    fn varint(&mut self) -> Result<u64> {
        self.fill(VARINT_BYTES)?;
        let mut value = 0;
        for (i, byte) in self.bytes[self.at..self.filled].iter().take(VARINT_BYTES).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(self.damaged())
    }
}
