//! As much of the zip format as .npz files need: entries stored on writing; stored and deflated ones, and zip64, on
//! reading. Source: PKWARE's APPNOTE.TXT 6.3.9, sections 4.3 to 4.5.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Take, Write};
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget, Reservation};

use crate::compress::inflate::{Inflater, Wrapping};
use crate::error::{FormatError, Place, Problem};

/// Heap bytes that reading one entry takes, at most: the input buffer and an inflater.
pub const ENTRY_BYTES: u64 = INPUT_BYTES as u64 + UNPACK_BYTES;

/// What the allocator adds to a block.
const BLOCK_BYTES: u64 = 32;

/// What unpacking a deflated entry takes.
const UNPACK_BYTES: u64 = 64 << 10;

const INPUT_BYTES: usize = 32 << 10;
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const IN_EXTRA: u32 = u32::MAX;
/// 1 January 1980, so that equal arrays make equal files.
const DATE: u16 = 0x0021;
const UTF8_NAME: u16 = 1 << 11;
const ENCRYPTED: u16 = 1;
/// Bytes of the fixed part of a central entry, and of a local header.
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Sizes and offset of an entry where 32 bits do not hold them, and what they begin with.
const MAX_EXTRA_BYTES: usize = 28;

/// The most bytes that an entry takes in the directory, which a [`ZipWriter`] holds until the end.
pub fn entry_bytes(name: &str) -> usize {
    CENTRAL_BYTES + MAX_EXTRA_BYTES + name.len()
}

/// Writes a zip file, entry after entry.
#[derive(Debug)]
pub struct ZipWriter<W: Write + Seek> {
    write: W,
    central: Vec<u8>,
    entries: u64,
}

impl<W: Write + Seek> ZipWriter<W> {
    /// A zip file that begins at the start of `write`.
    pub fn new(write: W) -> Self {
        Self::with_directory(write, 0)
    }

    /// The same with room for a directory of `bytes`: what [`entry_bytes`] says of each entry.
    pub fn with_directory(write: W, bytes: usize) -> Self {
        ZipWriter { write, central: Vec::with_capacity(bytes), entries: 0 }
    }

    /// Appends the entry `name`, whose `bytes` bytes `content` writes. They are stored as they are.
    ///
    /// # Errors
    /// Whatever is written to or `content` reports, and `InvalidInput` when `content` writes another number of bytes
    /// or the name is longer than 65,535 bytes.
    pub fn entry(
        &mut self,
        name: &str,
        bytes: u64,
        content: impl FnOnce(&mut CrcWriter<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let name_bytes =
            u16::try_from(name.len()).map_err(|_| invalid("a name of more than 65,535 bytes"))?;
        let offset = self.write.stream_position()?;
        let is_large = bytes >= u64::from(IN_EXTRA);
        self.write.write_all(&local_header(name, name_bytes, bytes, is_large, 0))?;
        let mut crc = CrcWriter { write: &mut self.write, hasher: crc32fast::Hasher::new(), bytes: 0 };
        content(&mut crc)?;
        let (written_bytes, crc) = (crc.bytes, crc.hasher.finalize());
        if written_bytes != bytes {
            return Err(invalid("an entry of another size than announced"));
        }
        let end = self.write.stream_position()?;
        self.write.seek(SeekFrom::Start(offset))?;
        self.write.write_all(&local_header(name, name_bytes, bytes, is_large, crc))?;
        self.write.seek(SeekFrom::Start(end))?;
        self.put_central(name, name_bytes, bytes, offset, crc);
        self.entries += 1;
        Ok(())
    }

    fn put_central(&mut self, name: &str, name_bytes: u16, bytes: u64, offset: u64, crc: u32) {
        let mut extra = Vec::new();
        let mut fit = |value: u64, twice: bool| {
            u32::try_from(value).ok().filter(|v| *v != IN_EXTRA).unwrap_or_else(|| {
                (0..if twice { 2 } else { 1 }).for_each(|_| extra.extend(value.to_le_bytes()));
                IN_EXTRA
            })
        };
        let (bytes_32, offset_32) = (fit(bytes, true), fit(offset, false));
        let version: u16 = if extra.is_empty() { 20 } else { 45 };
        let out = &mut self.central;
        out.extend(CENTRAL.to_le_bytes());
        out.extend([version, version, UTF8_NAME, 0, 0, DATE].map(u16::to_le_bytes).as_flattened());
        out.extend([crc, bytes_32, bytes_32].map(u32::to_le_bytes).as_flattened());
        let extra_bytes = if extra.is_empty() { 0 } else { extra.len() as u16 + 4 };
        out.extend([name_bytes, extra_bytes, 0, 0, 0, 0, 0].map(u16::to_le_bytes).as_flattened());
        out.extend(offset_32.to_le_bytes());
        out.extend(name.as_bytes());
        if !extra.is_empty() {
            out.extend([1, extra.len() as u16].map(u16::to_le_bytes).as_flattened());
            out.extend(extra);
        }
    }

    /// Writes the directory; what was written to, not flushed.
    ///
    /// # Errors
    /// Whatever is written to reports.
    pub fn finish(mut self) -> io::Result<W> {
        let start = self.write.stream_position()?;
        self.write.write_all(&self.central)?;
        let bytes = self.central.len() as u64;
        let fits = |value: u64, max: u64| if value < max { value } else { max };
        let entries_16 = fits(self.entries, 0xffff) as u16;
        let (bytes_32, start_32) = (fits(bytes, 0xffff_ffff) as u32, fits(start, 0xffff_ffff) as u32);
        if entries_16 == u16::MAX || bytes_32 == IN_EXTRA || start_32 == IN_EXTRA {
            let end = start + bytes;
            self.write.write_all(&END_64.to_le_bytes())?;
            self.write.write_all(&44u64.to_le_bytes())?;
            self.write.write_all([45u16, 45, 0, 0, 0, 0].map(u16::to_le_bytes).as_flattened())?;
            let rest = [self.entries, self.entries, bytes, start];
            self.write.write_all(rest.map(u64::to_le_bytes).as_flattened())?;
            self.write.write_all([LOCATOR_64, 0].map(u32::to_le_bytes).as_flattened())?;
            self.write.write_all(&end.to_le_bytes())?;
            self.write.write_all(&1u32.to_le_bytes())?;
        }
        self.write.write_all(&END.to_le_bytes())?;
        self.write.write_all([0, 0, entries_16, entries_16].map(u16::to_le_bytes).as_flattened())?;
        self.write.write_all([bytes_32, start_32].map(u32::to_le_bytes).as_flattened())?;
        self.write.write_all(&[0; 2])?;
        Ok(self.write)
    }
}

fn local_header(name: &str, name_bytes: u16, bytes: u64, is_large: bool, crc: u32) -> Vec<u8> {
    let mut out = LOCAL.to_le_bytes().to_vec();
    let version = if is_large { 45 } else { 20 };
    out.extend([version, UTF8_NAME, 0, 0, DATE].map(u16::to_le_bytes).as_flattened());
    let bytes_32 = if is_large { IN_EXTRA } else { bytes as u32 };
    out.extend([crc, bytes_32, bytes_32].map(u32::to_le_bytes).as_flattened());
    out.extend([name_bytes, if is_large { 20 } else { 0 }].map(u16::to_le_bytes).as_flattened());
    out.extend(name.as_bytes());
    if is_large {
        out.extend([1u16, 16].map(u16::to_le_bytes).as_flattened());
        out.extend([bytes, bytes].map(u64::to_le_bytes).as_flattened());
    }
    out
}

/// Writes the content of an entry and sums it up.
#[derive(Debug)]
pub struct CrcWriter<'a, W> {
    write: &'a mut W,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl<W: Write> Write for CrcWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write.write(bytes)?;
        self.hasher.update(crate::first(bytes, written)?);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write.flush()
    }
}

/// An entry of a zip file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipEntry {
    /// Its name.
    pub name: String,
    /// Its bytes when unpacked, as the directory says.
    pub bytes: u64,
    is_deflated: bool,
    packed_bytes: u64,
    crc: u32,
    local_offset: u64,
}

/// Reads the entries of a zip file.
#[derive(Debug)]
pub struct ZipReader<R> {
    path: Arc<Path>,
    read: R,
    entries: Vec<ZipEntry>,
    budget: MemoryBudget,
    _metadata: Reservation,
}

impl<R: Read + Seek> ZipReader<R> {
    /// Reads the directory of `read`, which is called `path` in errors; its memory, and that of each entry's reader,
    /// comes out of `budget`.
    ///
    /// # Errors
    /// [`FormatError`] when it cannot be read, is no zip file, or does not fit the budget.
    pub fn new(path: Arc<Path>, mut read: R, budget: &MemoryBudget) -> Result<Self, FormatError> {
        let files = Files { path: &path };
        let directory = find_directory(&files, &mut read, budget)?;
        let mut metadata = budget
            .try_reserve("zip directory", INPUT_BYTES as u64)
            .map_err(|e| files.error(directory.offset, Problem::Budget(e)))?;
        files.seek(&mut read, directory.offset)?;
        // As many as it says; each takes its bytes of the file and of the budget before there is another.
        let mut entries = Vec::new();
        let mut buffered = BufReader::with_capacity(INPUT_BYTES, &mut read);
        let mut offset = directory.offset;
        for _ in 0..directory.entries {
            // Vec doubles, and holds the old and the new list while it does; 3 covers both. The name is a block by itself.
            let entry_bytes = 3 * size_of::<ZipEntry>() as u64 + BLOCK_BYTES;
            let (entry, bytes) = central_entry(&files, &mut buffered, offset, &mut metadata)?;
            metadata.try_grow(entry_bytes).map_err(|e| files.error(offset, Problem::Budget(e)))?;
            entries.push(entry);
            offset += bytes;
        }
        Ok(ZipReader { path, read, entries, budget: budget.clone(), _metadata: metadata })
    }

    /// The entries in the directory's order.
    pub fn entries(&self) -> &[ZipEntry] {
        &self.entries
    }

    /// What is read from is called this.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The unpacked content of an entry, whose CRC is checked when its end is reached.
    ///
    /// # Errors
    /// [`FormatError`] when there is no such entry, its header is broken, or its reader does not fit the budget.
    pub fn content(&mut self, index: usize) -> Result<Content<&mut R>, FormatError> {
        let data_offset = self.data_offset(index)?;
        let ZipReader { path, read, entries, budget, .. } = self;
        let entry = entries.get(index);
        Content::new(read, entry, data_offset, &Files { path }, budget)
    }

    /// As [`ZipReader::content`], through `read`, another reader of the same file. Many entries can be read side by side
    /// this way.
    ///
    /// # Errors
    /// As [`ZipReader::content`].
    pub fn content_through<S: Read + Seek>(
        &self,
        index: usize,
        mut read: S,
    ) -> Result<Content<S>, FormatError> {
        let data_offset = self.data_offset_through(index, &mut read)?;
        Content::new(read, self.entries.get(index), data_offset, &Files { path: &self.path }, &self.budget)
    }

    /// Where the content of an entry stands in the file as it is; `None` when it is packed.
    ///
    /// # Errors
    /// As [`ZipReader::content`].
    pub fn stored_at_through(
        &self,
        index: usize,
        read: &mut (impl Read + Seek),
    ) -> Result<Option<u64>, FormatError> {
        let data_offset = self.data_offset_through(index, read)?;
        Ok(self.entries.get(index).filter(|entry| !entry.is_deflated).map(|_| data_offset))
    }

    /// Where the bytes of an entry begin.
    fn data_offset(&mut self, index: usize) -> Result<u64, FormatError> {
        let ZipReader { path, read, entries, .. } = self;
        data_offset(&Files { path }, entries, index, read)
    }

    fn data_offset_through(&self, index: usize, read: &mut (impl Read + Seek)) -> Result<u64, FormatError> {
        data_offset(&Files { path: &self.path }, &self.entries, index, read)
    }
}

fn data_offset(
    files: &Files<'_>,
    entries: &[ZipEntry],
    index: usize,
    read: &mut (impl Read + Seek),
) -> Result<u64, FormatError> {
    let missing = || Problem::invalid(format!("entry {index}"), format!("{} entries", entries.len()));
    let entry = entries.get(index).ok_or_else(|| files.error(0, missing()))?;
    let at = entry.local_offset;
    files.seek(read, at)?;
    let mut head = [0; LOCAL_BYTES];
    files.fill(read, at, &mut head)?;
    if u32_at(&head, 0) != LOCAL {
        return Err(files.error(at, Problem::invalid("a local header", "other bytes")));
    }
    let skip = u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
    Ok(at.saturating_add(LOCAL_BYTES as u64).saturating_add(skip))
}

type Packed<R> = Take<BufReader<R>>;

#[derive(Debug)]
enum Unpack<R> {
    Stored(Packed<R>),
    Deflated(Box<Inflater<Packed<R>>>),
}

/// The unpacked bytes of an entry.
#[derive(Debug)]
pub struct Content<R> {
    unpack: Unpack<R>,
    hasher: crc32fast::Hasher,
    left_bytes: u64,
    crc: u32,
    _reservation: Reservation,
}

impl<R: Read + Seek> Content<R> {
    fn new(
        mut read: R,
        entry: Option<&ZipEntry>,
        data_offset: u64,
        files: &Files<'_>,
        budget: &MemoryBudget,
    ) -> Result<Content<R>, FormatError> {
        let missing = || files.error(data_offset, Problem::invalid("an entry", "none"));
        let entry = entry.ok_or_else(missing)?;
        // An entry of a few bytes needs no more room for them.
        let input_bytes = entry.packed_bytes.clamp(1, INPUT_BYTES as u64);
        let unpack_bytes = if entry.is_deflated { UNPACK_BYTES } else { 0 };
        let reservation = budget
            .try_reserve("unpacking", input_bytes.saturating_add(unpack_bytes))
            .map_err(|e| files.error(data_offset, Problem::Budget(e)))?;
        files.seek(&mut read, data_offset)?;
        let packed = BufReader::with_capacity(input_bytes as usize, read).take(entry.packed_bytes);
        let unpack = if entry.is_deflated {
            Unpack::Deflated(Box::new(Inflater::new(Wrapping::Raw, packed)))
        } else {
            Unpack::Stored(packed)
        };
        let (left_bytes, crc) = (entry.bytes, entry.crc);
        let hasher = crc32fast::Hasher::new();
        Ok(Content { unpack, hasher, left_bytes, crc, _reservation: reservation })
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = out.len().min(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
        let out = out.get_mut(..room).ok_or_else(|| crate::defect("an entry is longer than its room"))?;
        if out.is_empty() {
            return Ok(0);
        }
        let bytes = match &mut self.unpack {
            Unpack::Stored(read) => read.read(out)?,
            Unpack::Deflated(read) => read.read(out)?,
        };
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(crate::first(out, bytes)?);
        self.left_bytes -= bytes as u64;
        if self.left_bytes == 0 && self.hasher.clone().finalize() != self.crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the CRC of the zip entry is wrong"));
        }
        Ok(bytes)
    }
}

struct Directory {
    offset: u64,
    entries: u64,
}

struct Files<'a> {
    path: &'a Arc<Path>,
}

impl Files<'_> {
    fn error(&self, offset: u64, problem: Problem) -> FormatError {
        FormatError::new(self.path, Place::Offset(offset), problem)
    }

    fn seek(&self, read: &mut impl Seek, offset: u64) -> Result<(), FormatError> {
        read.seek(SeekFrom::Start(offset)).map_err(|e| self.error(offset, Problem::Io(e)))?;
        Ok(())
    }

    fn fill(&self, read: &mut impl Read, offset: u64, out: &mut [u8]) -> Result<(), FormatError> {
        read.read_exact(out).map_err(|error| {
            let needed_bytes = out.len() as u64;
            self.error(
                offset,
                match error.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        Problem::Truncated { what: "the zip file", needed_bytes, present_bytes: 0 }
                    }
                    _ => Problem::Io(error),
                },
            )
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// Finds the directory through the end record, which stands before a comment of at most 65,535 bytes.
fn find_directory(
    files: &Files<'_>,
    read: &mut (impl Read + Seek),
    budget: &MemoryBudget,
) -> Result<Directory, FormatError> {
    let file_bytes = read.seek(SeekFrom::End(0)).map_err(|e| files.error(0, Problem::Io(e)))?;
    let tail_bytes = file_bytes.min(END_BYTES + u64::from(u16::MAX));
    let tail_offset = file_bytes - tail_bytes;
    let mut tail = Buffer::new(budget, "zip directory", tail_bytes as usize)
        .map_err(|e| files.error(tail_offset, Problem::Budget(e)))?;
    files.seek(read, tail_offset)?;
    files.fill(read, tail_offset, &mut tail)?;
    let is_end = |bytes: &[u8]| {
        u32_at(bytes, 0) == END && bytes.len() - END_BYTES as usize == usize::from(u16_at(bytes, 20))
    };
    let end = (END_BYTES as usize..=tail.len()).find_map(|back| {
        tail.get(tail.len() - back..).filter(|bytes| is_end(bytes)).map(|bytes| (back as u64, bytes))
    });
    let Some((back, end)) = end else {
        return Err(files.error(tail_offset, Problem::invalid("a zip file", "no end of a zip directory")));
    };
    let (entries, offset) = (u64::from(u16_at(end, 10)), u64::from(u32_at(end, 16)));
    let end_offset = file_bytes - back;
    if entries < 0xffff && offset < 0xffff_ffff {
        return Ok(Directory { offset, entries });
    }
    let Some(locator_offset) = end_offset.checked_sub(LOCATOR_BYTES) else {
        return Ok(Directory { offset, entries });
    };
    let mut locator = [0; LOCATOR_BYTES as usize];
    files.seek(read, locator_offset)?;
    files.fill(read, locator_offset, &mut locator)?;
    if u32_at(&locator, 0) != LOCATOR_64 {
        return Ok(Directory { offset, entries });
    }
    let at = u64_at(&locator, 8);
    let mut end = [0; 56];
    files.seek(read, at)?;
    files.fill(read, at, &mut end)?;
    if u32_at(&end, 0) != END_64 {
        return Err(files.error(at, Problem::invalid("the end of a zip64 directory", "other bytes")));
    }
    Ok(Directory { offset: u64_at(&end, 48), entries: u64_at(&end, 32) })
}

/// An entry of the directory at `offset`, and the bytes it takes there.
fn central_entry(
    files: &Files<'_>,
    read: &mut impl Read,
    offset: u64,
    metadata: &mut Reservation,
) -> Result<(ZipEntry, u64), FormatError> {
    let mut head = [0; CENTRAL_BYTES];
    files.fill(read, offset, &mut head)?;
    if u32_at(&head, 0) != CENTRAL {
        return Err(files.error(offset, Problem::invalid("an entry of the zip directory", "other bytes")));
    }
    let [name_bytes, extra_bytes, comment_bytes] = [28, 30, 32].map(|at| usize::from(u16_at(&head, at)));
    let rest_bytes = name_bytes + extra_bytes + comment_bytes;
    metadata.try_grow(rest_bytes as u64).map_err(|e| files.error(offset, Problem::Budget(e)))?;
    let mut rest = vec![0; rest_bytes];
    files.fill(read, offset + CENTRAL_BYTES as u64, &mut rest)?;
    let parts = rest.split_at_checked(name_bytes);
    let parts = parts.and_then(|(name, rest)| Some((name, rest.get(..extra_bytes)?)));
    let (name, extra) = parts.ok_or_else(|| {
        files.error(offset, Problem::Io(crate::defect("an entry's name is longer than what was read")))
    })?;
    let mut large = zip64_values(extra);
    let mut value = |at| match u32_at(&head, at) {
        IN_EXTRA => large.next().unwrap_or(u64::from(IN_EXTRA)),
        value => u64::from(value),
    };
    let (bytes, packed_bytes, local_offset) = (value(24), value(20), value(42));
    let name = String::from_utf8_lossy(name).into_owned();
    let advice = "write it with numpy.savez or numpy.savez_compressed";
    let unsupported = |what| files.error(offset, Problem::Unsupported { what, advice });
    if u16_at(&head, 8) & ENCRYPTED != 0 {
        return Err(unsupported(format!("the encrypted entry {name:?}")));
    }
    let is_deflated = match u16_at(&head, 10) {
        0 => false,
        8 => true,
        method => return Err(unsupported(format!("the entry {name:?} of compression method {method}"))),
    };
    let entry = ZipEntry { name, bytes, is_deflated, packed_bytes, crc: u32_at(&head, 16), local_offset };
    Ok((entry, (CENTRAL_BYTES + rest_bytes) as u64))
}

/// The values of the zip64 extra field, in the order of the fields that point there.
fn zip64_values(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut field: &[u8] = &[];
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let (content, next) = rest.split_at(usize::from(u16_at(head, 2)).min(rest.len()));
        if u16_at(head, 0) == 1 {
            field = content;
        }
        extra = next;
    }
    field.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b))
}
