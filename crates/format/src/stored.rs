//! The values of a tensor where a checkpoint has them: in one place of a shard, or in parts.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{FormatError, Problem};
use crate::source::SourceFile;

type Result<T> = std::result::Result<T, FormatError>;

/// The values of a tensor in the shards of a checkpoint.
///
/// A checksum covers each place from its first byte to its last, so it is checked when those have been read in this order,
/// in pieces of any size: a whole read, a copy and a pass of streamed weights all are. Once it was right it is not
/// computed again.
pub struct Stored {
    /// The shape as far as parts tell it apart: axes that every part has all of are one with the axis before them.
    dims: Vec<u64>,
    parts: Vec<Part>,
    element_bytes: u64,
    bytes: u64,
}

/// A block of the tensor's elements, and the array that it is a block of.
struct Part {
    place: Place,
    /// For each axis: where the block begins in the tensor, how long it is, where it begins in the array, and how long
    /// that is.
    extents: Vec<Extent>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub start: u64,
    pub length: u64,
    pub array_start: u64,
    pub array_length: u64,
}

/// Bytes of a shard.
pub(crate) struct Place {
    source: Arc<SourceFile>,
    key: Box<str>,
    offset: u64,
    bytes: u64,
    crc: u32,
    progress: Mutex<Progress>,
}

/// How far the bytes have been read in order, and the checksum of those.
#[derive(Default)]
struct Progress {
    bytes: u64,
    crc: u32,
    is_right: bool,
}

impl Place {
    /// # Errors
    /// [`FormatError`] when the shard ends before.
    pub fn new(source: Arc<SourceFile>, key: &str, offset: u64, bytes: u64, crc: u32) -> Result<Place> {
        let present_bytes = source.len().saturating_sub(offset);
        if bytes > present_bytes {
            let problem = Problem::Truncated { what: "a tensor", needed_bytes: bytes, present_bytes };
            return Err(source.error_at(offset, problem));
        }
        Ok(Place { source, key: key.into(), offset, bytes, crc, progress: Mutex::default() })
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> Result<()> {
        self.source.read_exact_at(self.offset + at, out)?;
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.is_right {
            return Ok(());
        }
        if at == 0 {
            *progress = Progress::default();
        }
        // Whoever reads on where it stands extends it: it is the checksum of so many first bytes, whoever has read them.
        if progress.bytes != at {
            return Ok(());
        }
        progress.crc = crc32c::crc32c_append(progress.crc, out);
        progress.bytes = at + out.len() as u64;
        if progress.bytes < self.bytes {
            return Ok(());
        }
        progress.is_right = progress.crc == self.crc;
        if progress.is_right {
            return Ok(());
        }
        progress.bytes = 0;
        Err(wrong_checksum(&self.source, self.offset, &self.key))
    }
}

/// The product of the dimensions, where elements of 16 bytes would still have less than 2^63 bytes.
pub(crate) fn elements(shape: &[i64]) -> Option<u64> {
    let count = shape.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?))?;
    (count <= i64::MAX as u64 / 16).then_some(count)
}

/// The error of a tensor that is not what was saved.
pub(crate) fn wrong_checksum(source: &SourceFile, offset: u64, key: &str) -> FormatError {
    let expected = format!("the values of '{key}' with the checksum that the index has of them");
    let found = "others; the checkpoint is damaged, or its files are not of one save";
    source.error_at(offset, Problem::invalid(expected, found))
}

impl Stored {
    /// All of one place.
    pub(crate) fn whole(place: Place, element_bytes: u64) -> Stored {
        let bytes = place.bytes;
        let length = bytes / element_bytes;
        let extent = Extent { start: 0, length, array_start: 0, array_length: length };
        let parts = vec![Part { place, extents: vec![extent] }];
        Stored { dims: vec![length], parts, element_bytes, bytes }
    }

    /// A tensor of `shape` out of blocks; `None` where they do not cover it exactly.
    pub(crate) fn of_parts(
        shape: &[u64],
        parts: Vec<(Place, Vec<Extent>)>,
        element_bytes: u64,
    ) -> Option<Stored> {
        let signed = shape.iter().map(|d| i64::try_from(*d).ok()).collect::<Option<Vec<i64>>>()?;
        let count = elements(&signed)?;
        let volume = |extents: &[Extent]| extents.iter().map(|e| e.length).product::<u64>();
        let mut covered = 0u64;
        for (place, extents) in &parts {
            let is_inside = |(e, size): (&Extent, &u64)| {
                e.start + e.length <= *size && e.array_start + e.length <= e.array_length
            };
            let array =
                extents.iter().map(|e| i64::try_from(e.array_length).ok()).collect::<Option<Vec<_>>>()?;
            if extents.len() != shape.len()
                || !extents.iter().zip(shape).all(is_inside)
                || elements(&array)?.checked_mul(element_bytes)? != place.bytes
            {
                return None;
            }
            covered = covered.checked_add(volume(extents))?;
        }
        let apart = |a: &[Extent], b: &[Extent]| {
            let both = a.iter().zip(b);
            volume(a) == 0
                || volume(b) == 0
                || both
                    .into_iter()
                    .any(|(a, b)| a.start + a.length <= b.start || b.start + b.length <= a.start)
        };
        let pairs = parts.iter().enumerate().flat_map(|(i, a)| parts.iter().skip(i + 1).map(move |b| (a, b)));
        if covered != count || !pairs.into_iter().all(|(a, b)| apart(&a.1, &b.1)) {
            return None;
        }
        let parts = parts.into_iter().map(|(place, extents)| Part { place, extents }).collect();
        let mut stored = Stored { dims: shape.to_vec(), parts, element_bytes, bytes: count * element_bytes };
        stored.merge();
        Some(stored)
    }

    /// Makes one axis of the last two for as long as every part has all of the last.
    fn merge(&mut self) {
        while let [.., _, size] = self.dims[..] {
            let is_whole = |e: &Extent| e.length == size && e.array_length == size;
            if !self.parts.iter().all(|part| part.extents.last().is_some_and(is_whole)) {
                return;
            }
            self.dims.pop();
            self.dims.iter_mut().rev().take(1).for_each(|dim| *dim *= size);
            for part in &mut self.parts {
                part.extents.pop();
                for e in part.extents.iter_mut().rev().take(1) {
                    e.start *= size;
                    e.length *= size;
                    e.array_start *= size;
                    e.array_length *= size;
                }
            }
        }
    }

    /// Bytes of the values in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the heap that the description takes.
    pub fn heap_bytes(&self) -> u64 {
        use tightfit_core::{block_bytes, list_bytes};
        let part = |part: &Part| list_bytes(&part.extents) + block_bytes(part.place.key.len() as u64);
        block_bytes(16 + size_of::<Stored>() as u64)
            + list_bytes(&self.dims)
            + list_bytes(&self.parts)
            + self.parts.iter().map(part).sum::<u64>()
    }

    /// Fills `out` with the bytes from `at` on of the values as they are in memory.
    ///
    /// # Errors
    /// [`FormatError`] when a shard cannot be read, for bytes outside of the values, and for a checksum that is wrong.
    pub fn read_at(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let found = self.run_at(at).filter(|(.., bytes)| *bytes > 0);
            let Some((part, from, run_bytes)) = found else {
                return Err(self.outside(at));
            };
            let bytes = run_bytes.min(rest.len() as u64);
            let (head, tail) = rest.split_at_mut(bytes as usize);
            part.place.read_at(from, head)?;
            at += bytes;
            rest = tail;
        }
        Ok(())
    }

    /// The part that has the byte `at`, where in its place, and how many bytes follow each other from there.
    fn run_at(&self, at: u64) -> Option<(&Part, u64, u64)> {
        let (mut element, phase) = (at / self.element_bytes, at % self.element_bytes);
        if at >= self.bytes {
            return None;
        }
        let mut coordinates = [0; crate::limits::RANK.max as usize];
        let coordinates = coordinates.get_mut(..self.dims.len())?;
        for (coordinate, dim) in coordinates.iter_mut().zip(&self.dims).rev() {
            *coordinate = element.checked_rem(*dim)?;
            element /= *dim;
        }
        let has = |part: &&Part| {
            let mut both = part.extents.iter().zip(&*coordinates);
            both.all(|(e, at)| (e.start..e.start + e.length).contains(at))
        };
        let part = self.parts.iter().find(has)?;
        let mut index = 0;
        let mut run = 1;
        for (e, at) in part.extents.iter().zip(&*coordinates) {
            index = index * e.array_length + (at - e.start) + e.array_start;
            run = e.start + e.length - at;
        }
        Some((part, index * self.element_bytes + phase, run * self.element_bytes - phase))
    }

    fn outside(&self, at: u64) -> FormatError {
        let problem =
            Problem::invalid("a part of a tensor's values", format!("bytes at {at} of {}", self.bytes));
        match self.parts.first() {
            Some(part) => part.place.source.error_at(part.place.offset, problem),
            None => FormatError::new(&std::path::Path::new("").into(), crate::Place::Whole, problem),
        }
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Stored) -> bool {
        std::ptr::eq(self, other)
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({} bytes in {} parts)", self.bytes, self.parts.len())
    }
}
