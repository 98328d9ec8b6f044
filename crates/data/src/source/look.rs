//! What the records of local files take: from the headers of the records, and from those of the images and texts in
//! them. Contents are passed over.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use tightfit_format::tfrecord::{FOOTER_BYTES, HEADER_BYTES, is_plain_header};

use crate::error::clamped;
use crate::image::ImageHeader;
use crate::storage::StoredFile;

/// What is read of a file at once.
const CHUNK_BYTES: usize = 4 << 10;

/// The most chunks that are read of all files together: seconds on a slow disk.
const MAX_CHUNKS: u32 = 1 << 16;

/// The most fields that are passed over in all files together.
const MAX_FIELDS: u32 = 1 << 22;

/// Features that are looked into, by name.
#[derive(Debug, Default)]
pub(crate) struct Features<'a> {
    /// Those that may be images.
    pub images: Vec<&'a [u8]>,
    /// Those that are text, as often as they are read.
    pub texts: Vec<&'a [u8]>,
}

/// The most that any record takes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Largest {
    pub record_bytes: u64,
    pub pixel_bytes: u64,
    pub heap_bytes: u64,
    /// Text of one row, and of all.
    pub text_bytes: u64,
    pub all_text_bytes: u64,
}

/// Looks through files one by one, as long as that is not too much.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    features: Features<'a>,
    pub largest: Largest,
    chunks_left: u32,
    fields_left: u32,
}

impl<'a> Look<'a> {
    pub fn new(features: Features<'a>) -> Look<'a> {
        let (chunks_left, fields_left) = (MAX_CHUNKS, MAX_FIELDS);
        Look { features, largest: Largest::default(), chunks_left, fields_left }
    }

    /// Looks through the uncompressed `file`, up to where it is broken: there whoever reads it stops. True when nothing was
    /// left out.
    pub fn file(&mut self, file: &StoredFile) -> bool {
        let mut chunk = Chunk { file, bytes: [0; CHUNK_BYTES], from: 0, have: 0, left: self.chunks_left };
        let mut at = 0;
        while let Some(head) = chunk.get(at, HEADER_BYTES).filter(|head| is_plain_header(head)) {
            let bytes = head.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
            let start = at + HEADER_BYTES as u64;
            let ends =
                start.checked_add(bytes).and_then(|end| Some((end, end.checked_add(FOOTER_BYTES as u64)?)));
            let Some((end, next)) = ends.filter(|(_, next)| *next <= file.len()) else { break };
            self.largest.record_bytes = self.largest.record_bytes.max(bytes);
            if !self.features.images.is_empty() || !self.features.texts.is_empty() {
                let text_bytes = self.record(&mut chunk, start..end);
                self.largest.text_bytes = self.largest.text_bytes.max(text_bytes);
                self.largest.all_text_bytes = self.largest.all_text_bytes.saturating_add(text_bytes);
            }
            at = next;
        }
        self.chunks_left = chunk.left;
        self.chunks_left > 0 && self.fields_left > 0
    }

    /// Looks into a tf.Example; the bytes of its text.
    fn record(&mut self, chunk: &mut Chunk<'_>, record: Range<u64>) -> u64 {
        let mut text_bytes = 0u64;
        let mut examples = Fields(record);
        while let Some((1, features)) = examples.next(chunk, &mut self.fields_left) {
            let mut entries = Fields(features);
            while let Some((number, entry)) = entries.next(chunk, &mut self.fields_left) {
                if number == 1 {
                    text_bytes = text_bytes.saturating_add(self.entry(chunk, entry));
                }
            }
        }
        text_bytes
    }

    /// Looks at a feature with its name; the bytes of its text.
    fn entry(&mut self, chunk: &mut Chunk<'_>, entry: Range<u64>) -> u64 {
        let (mut name, mut feature) = (0..0, 0..0);
        let mut parts = Fields(entry);
        while let Some((number, part)) = parts.next(chunk, &mut self.fields_left) {
            match number {
                1 => name = part,
                2 => feature = part,
                _ => {}
            }
        }
        let bytes = clamped(name.end - name.start);
        let Some(name) = chunk.get(name.start, bytes) else { return 0 };
        let is_image = self.features.images.contains(&name);
        let texts = self.features.texts.iter().filter(|text| **text == name).count() as u64;
        if !is_image && texts == 0 {
            return 0;
        }
        let mut text_bytes = 0u64;
        let mut lists = Fields(feature);
        while let Some((number, list)) = lists.next(chunk, &mut self.fields_left) {
            let mut values = Fields(list);
            while number == 1
                && let Some((1, value)) = values.next(chunk, &mut self.fields_left)
            {
                let bytes = value.end - value.start;
                text_bytes = text_bytes.saturating_add(bytes.saturating_mul(texts));
                if is_image {
                    let mut part = Part { chunk, range: value.clone(), at: value.start };
                    if let Ok(header) = ImageHeader::read(&mut part, bytes) {
                        self.largest.pixel_bytes = self.largest.pixel_bytes.max(header.pixel_bytes);
                        self.largest.heap_bytes = self.largest.heap_bytes.max(header.heap_bytes);
                    }
                }
            }
        }
        text_bytes
    }
}

/// A piece of a file.
struct Chunk<'f> {
    file: &'f StoredFile,
    bytes: [u8; CHUNK_BYTES],
    from: u64,
    have: usize,
    /// Chunks that may still be read.
    left: u32,
}

impl Chunk<'_> {
    /// The `bytes` bytes at `at`; `None` where the file or patience ends before, or they are more than a chunk.
    fn get(&mut self, at: u64, bytes: usize) -> Option<&[u8]> {
        let is_here = |from: u64, have: usize| {
            from <= at && at.checked_add(bytes as u64).is_some_and(|end| end <= from + have as u64)
        };
        if !is_here(self.from, self.have) {
            self.left = self.left.checked_sub(1)?;
            (self.from, self.have) = (at, self.file.read_at(&mut self.bytes, at).ok()?);
        }
        let from = usize::try_from(at.checked_sub(self.from)?).ok()?;
        self.bytes.get(..self.have)?.get(from..from.checked_add(bytes)?)
    }

    /// The number at `at` in groups of seven bits, and where it ends.
    fn varint(&mut self, mut at: u64, end: u64) -> Option<(u64, u64)> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.get(at, 1).filter(|_| at < end)?.first()?;
            at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((value, at));
            }
        }
        None
    }
}

/// The fields of a message that have a length; others are passed over. It ends where the message is broken.
struct Fields(Range<u64>);

impl Fields {
    fn next(&mut self, chunk: &mut Chunk<'_>, left: &mut u32) -> Option<(u64, Range<u64>)> {
        while self.0.start < self.0.end {
            *left = left.checked_sub(1)?;
            let end = self.0.end;
            let (key, at) = chunk.varint(self.0.start, end)?;
            let fixed = |bytes: u64| at.checked_add(bytes).filter(|next| *next <= end);
            self.0.start = match key & 7 {
                0 => chunk.varint(at, end)?.1,
                1 => fixed(8)?,
                5 => fixed(4)?,
                2 => {
                    let (bytes, start) = chunk.varint(at, end)?;
                    let next = start.checked_add(bytes).filter(|next| *next <= end)?;
                    self.0.start = next;
                    return Some((key >> 3, start..next));
                }
                _ => return None,
            };
        }
        None
    }
}

/// A part of a file as if it were one.
struct Part<'c, 'f> {
    chunk: &'c mut Chunk<'f>,
    range: Range<u64>,
    at: u64,
}

impl Read for Part<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = clamped(self.range.end.saturating_sub(self.at));
        let bytes = out.len().min(left).min(CHUNK_BYTES);
        let found = self.chunk.get(self.at, bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        out[..bytes].copy_from_slice(found);
        self.at += bytes as u64;
        Ok(bytes)
    }
}

impl Seek for Part<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => self.range.start.checked_add(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.range.end.checked_add_signed(by),
        };
        self.at = at.filter(|at| *at >= self.range.start).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at - self.range.start)
    }
}
