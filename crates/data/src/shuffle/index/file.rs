//! The file of an index. All numbers are little endian.
//!
//! ```text
//! header       80 bytes
//! offsets      for each block of 32,768 records (the last may have fewer), width bytes a record
//! table        for each block 32 bytes: u64 base | u64 slope | i64 least | u32 width | u32 CRC of the block's offsets
//! ```
//!
//! Record i of a block begins at `base + i * slope + least + delta`, where delta is the number of `width` (0 to 8) bytes
//! that is stored: records of equal size need none, and others as many as they stray from a straight line. The header:
//!
//! ```text
//!  0 "TFINDEX\0" | u32 version | u32 records of a block
//! 16 u64 bytes of the data | u64 nanoseconds of its last change | u64 records | u64 where the table is
//! 48 u64 number, u64 offset and u64 bytes of the largest record | u32 CRC of the table | u32 CRC of the 76 bytes before
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use tightfit_core::{Buffer, MemoryBudget, Reservation};
use tightfit_format::tfrecord::{FOOTER_BYTES, HEADER_BYTES, masked_crc};

use crate::error::DataError;
use crate::source::FileStamp;

const MAGIC: [u8; 8] = *b"TFINDEX\0";
const VERSION: u32 = 1;

/// Records of a block.
pub const BLOCK_RECORDS: usize = 1 << 15;

/// Bytes of the header.
pub const FILE_HEADER_BYTES: usize = 80;

/// Bytes of a block in the table.
pub const TABLE_ENTRY_BYTES: usize = 32;

/// The widest a delta gets.
pub const MAX_WIDTH: usize = 8;

/// Bytes around a record's data.
pub const FRAMING_BYTES: u64 = (HEADER_BYTES + FOOTER_BYTES) as u64;

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub stamp: FileStamp,
    pub records: u64,
    pub table_at: u64,
    pub largest_record: u64,
    pub largest_offset: u64,
    /// Bytes of the largest record's data.
    pub largest_bytes: u64,
    pub table_crc: u32,
}

impl Header {
    pub fn to_bytes(self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((BLOCK_RECORDS as u32).to_le_bytes());
        bytes.extend(self.stamp.bytes.to_le_bytes());
        bytes.extend(self.stamp.modified_ns.to_le_bytes());
        for number in
            [self.records, self.table_at, self.largest_record, self.largest_offset, self.largest_bytes]
        {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.table_crc.to_le_bytes());
        bytes.extend(masked_crc(&bytes).to_le_bytes());
        let mut header = [0; FILE_HEADER_BYTES];
        header.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        header
    }

    /// `None` for anything else than a right header of this version.
    pub fn parse(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<Header> {
        let (before, crc) = bytes.split_last_chunk::<4>()?;
        let is_ours = bytes.starts_with(&MAGIC)
            && number(bytes, 8, 4)? == u64::from(VERSION)
            && number(bytes, 12, 4)? == BLOCK_RECORDS as u64
            && masked_crc(before) == u32::from_le_bytes(*crc);
        let stamp = FileStamp { bytes: number(bytes, 16, 8)?, modified_ns: number(bytes, 24, 8)? };
        let header = Header {
            stamp,
            records: number(bytes, 32, 8)?,
            table_at: number(bytes, 40, 8)?,
            largest_record: number(bytes, 48, 8)?,
            largest_offset: number(bytes, 56, 8)?,
            largest_bytes: number(bytes, 64, 8)?,
            table_crc: number(bytes, 72, 4)? as u32,
        };
        (is_ours && header.records <= stamp.bytes / FRAMING_BYTES).then_some(header)
    }
}

/// The number of `width` bytes (at most 8) at `at`.
pub fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let mut whole = [0; 8];
    let stored = bytes.get(at..at.checked_add(width)?)?;
    whole.get_mut(..width)?.copy_from_slice(stored);
    Some(u64::from_le_bytes(whole))
}

/// A block of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub base: u64,
    pub slope: u64,
    pub least: i64,
    /// Where its deltas are in the index.
    pub at: u64,
    pub width: u32,
    pub crc: u32,
}

impl Block {
    pub fn to_bytes(self) -> [u8; TABLE_ENTRY_BYTES] {
        let mut bytes = [0; TABLE_ENTRY_BYTES];
        let numbers = [self.base, self.slope, self.least.cast_unsigned()];
        let last = u64::from(self.width) | u64::from(self.crc) << 32;
        let words = numbers.into_iter().chain([last]).flat_map(u64::to_le_bytes);
        bytes.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        bytes
    }

    fn parse(bytes: &[u8], at: u64) -> Option<Block> {
        let block = Block {
            base: number(bytes, 0, 8)?,
            slope: number(bytes, 8, 8)?,
            least: number(bytes, 16, 8)?.cast_signed(),
            at,
            width: number(bytes, 24, 4)? as u32,
            crc: number(bytes, 28, 4)? as u32,
        };
        (block.width as usize <= MAX_WIDTH).then_some(block)
    }

    /// Where record `record` of the block begins, its delta given.
    pub fn offset(&self, record: u64, delta: u64) -> u64 {
        let line = self.base.wrapping_add(record.wrapping_mul(self.slope));
        line.wrapping_add(self.least.cast_unsigned()).wrapping_add(delta)
    }
}

/// What of an index is in memory.
#[derive(Debug)]
pub struct FileIndex {
    pub header: Header,
    pub blocks: Vec<Block>,
    /// Bytes of the largest block of deltas.
    pub block_bytes: usize,
    reservation: Reservation,
}

impl FileIndex {
    pub fn held_bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// Records of block `block`.
    pub fn block_records(&self, block: usize) -> usize {
        let before = block as u64 * BLOCK_RECORDS as u64;
        self.header.records.saturating_sub(before).min(BLOCK_RECORDS as u64) as usize
    }

    /// The index at `place`, all its CRCs checked; `None` when there is none, it is damaged, or of other data.
    ///
    /// # Errors
    /// The budget's error.
    pub fn read(
        place: &Path,
        stamp: &FileStamp,
        budget: &MemoryBudget,
    ) -> Result<Option<FileIndex>, DataError> {
        let Ok(mut file) = File::open(place) else { return Ok(None) };
        let Ok(Some(header)) = read_header(&mut file) else { return Ok(None) };
        let count = header.records.div_ceil(BLOCK_RECORDS as u64);
        let index_bytes = header.table_at.checked_add(count.saturating_mul(TABLE_ENTRY_BYTES as u64));
        // No memory is taken on the word of a header that the file cannot keep.
        if header.stamp != *stamp || file.metadata().map(|m| m.len()).ok() != index_bytes {
            return Ok(None);
        }
        let table_bytes = count.saturating_mul((TABLE_ENTRY_BYTES + size_of::<Block>()) as u64);
        let mut reservation = budget.try_reserve("record index", table_bytes)?;
        let Ok(Some((blocks, block_bytes))) = read_table(&mut file, &header, count) else { return Ok(None) };
        reservation.shrink(count * size_of::<Block>() as u64);
        let index = FileIndex { header, blocks, block_bytes, reservation };
        let mut buffer = Buffer::new(budget, "record index", block_bytes)?;
        let is_whole = index.check_blocks(&mut file, &mut buffer).unwrap_or(false);
        Ok(is_whole.then_some(index))
    }

    fn check_blocks(&self, file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
        file.seek(SeekFrom::Start(FILE_HEADER_BYTES as u64))?;
        for (number, block) in self.blocks.iter().enumerate() {
            let deltas = buffer.get_mut(..self.block_records(number) * block.width as usize);
            let deltas = deltas.ok_or(io::ErrorKind::InvalidData)?;
            file.read_exact(deltas)?;
            if masked_crc(deltas) != block.crc {
                return Ok(false);
            }
        }
        Ok(file.stream_position()? == self.header.table_at)
    }
}

/// The header of an index; `None` when it is no right one.
fn read_header(file: &mut File) -> io::Result<Option<Header>> {
    let mut bytes = [0; FILE_HEADER_BYTES];
    file.read_exact(&mut bytes)?;
    Ok(Header::parse(&bytes))
}

/// The table of `count` blocks, for which memory is reserved, and the bytes of the largest block.
fn read_table(file: &mut File, header: &Header, count: u64) -> io::Result<Option<(Vec<Block>, usize)>> {
    let count = usize::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; count.checked_mul(TABLE_ENTRY_BYTES).ok_or(io::ErrorKind::InvalidData)?];
    file.seek(SeekFrom::Start(header.table_at))?;
    file.read_exact(&mut bytes)?;
    if masked_crc(&bytes) != header.table_crc {
        return Ok(None);
    }
    let mut blocks = Vec::with_capacity(count);
    let (mut at, mut largest_bytes) = (FILE_HEADER_BYTES as u64, 0);
    let mut records_left = header.records;
    for entry in bytes.chunks_exact(TABLE_ENTRY_BYTES) {
        let Some(block) = Block::parse(entry, at) else { return Ok(None) };
        let records = records_left.min(BLOCK_RECORDS as u64);
        records_left -= records;
        let bytes = records * u64::from(block.width);
        largest_bytes = bytes.max(largest_bytes);
        at += bytes;
        blocks.push(block);
    }
    Ok((at == header.table_at).then_some((blocks, largest_bytes as usize)))
}
