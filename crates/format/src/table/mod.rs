//! The sorted table that LevelDB has made up and a checkpoint's index is one of: blocks of entries whose keys share what
//! they begin with, an index of the blocks, and a footer that says where the index stands.

use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};

use crate::error::{FormatError, Problem};
use crate::limits;
use crate::source::SourceFile;

type Result<T> = std::result::Result<T, FormatError>;

/// What the file ends with.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Two handles of at most 20 bytes each, and the magic.
const FOOTER_BYTES: u64 = 48;
/// After each block: how it is compressed, and a checksum.
const TRAILER_BYTES: u64 = 5;
/// No shorter copy makes as much of so few bytes: 64 of 3.
const SNAPPY_RATIO: u64 = 22;
const PURPOSE: &str = "index of a checkpoint";

/// Takes a key, its value and the offset of their block.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8], u64) -> Result<()>;

/// Calls `visit` with every key and value of the table, in the order of the keys, and with the offset of their block.
///
/// # Errors
/// [`FormatError`] for a file that is no table, lies about a length or has a wrong checksum, for keys out of order, for
/// blocks that do not fit the budget, and those of `visit`.
pub(crate) fn for_each(source: &Arc<SourceFile>, budget: &MemoryBudget, visit: Visit<'_>) -> Result<()> {
    let index = footer(source)?;
    let blocks = Block::read(source, index, budget)?;
    let mut last: Vec<u8> = Vec::new();
    let mut is_first = true;
    let mut separators = Entries::new(&blocks)?;
    while let Some((_, handle)) = separators.next()? {
        let mut rest = handle;
        let (Some(offset), Some(bytes)) = (varint(&mut rest), varint(&mut rest)) else {
            return Err(blocks.damaged("where a block stands"));
        };
        let block = Block::read(source, Handle { offset, bytes }, budget)?;
        let mut entries = Entries::new(&block)?;
        while let Some((key, value)) = entries.next()? {
            if !is_first && key <= last.as_slice() {
                return Err(block.damaged("keys in order"));
            }
            is_first = false;
            last.clear();
            last.extend_from_slice(key);
            visit(key, value, offset)?;
        }
    }
    Ok(())
}

/// A place in the file.
#[derive(Debug, Clone, Copy)]
struct Handle {
    offset: u64,
    bytes: u64,
}

/// Where the index of the blocks stands.
fn footer(source: &SourceFile) -> Result<Handle> {
    let expected = "a table, as a checkpoint's index is one";
    let Some(at) = source.len().checked_sub(FOOTER_BYTES) else {
        return Err(source.error_at(0, Problem::invalid(expected, format!("{} bytes", source.len()))));
    };
    let mut footer = [0; FOOTER_BYTES as usize];
    source.read_exact_at(at, &mut footer)?;
    let (mut handles, magic) = footer.split_at(FOOTER_BYTES as usize - 8);
    if magic != MAGIC.to_le_bytes() {
        return Err(source.error_at(at, Problem::invalid(expected, "another ending of the file")));
    }
    let mut number = || varint(&mut handles);
    let numbers = (number(), number(), number(), number());
    let (Some(_), Some(_), Some(offset), Some(bytes)) = numbers else {
        return Err(source.error_at(at, Problem::invalid("where the table's index stands", "other bytes")));
    };
    Ok(Handle { offset, bytes })
}

/// A block in memory, decompressed.
struct Block<'s> {
    source: &'s SourceFile,
    offset: u64,
    data: Buffer,
}

impl<'s> Block<'s> {
    fn read(source: &'s SourceFile, handle: Handle, budget: &MemoryBudget) -> Result<Block<'s>> {
        let Handle { offset, bytes } = handle;
        let at = |problem| source.error_at(offset, problem);
        let whole = bytes.checked_add(TRAILER_BYTES);
        let end = whole.and_then(|whole| whole.checked_add(offset));
        let room = source.len().saturating_sub(FOOTER_BYTES);
        let (Some(whole), Some(..)) = (whole, end.filter(|end| *end <= room)) else {
            let present_bytes = room.saturating_sub(offset);
            let problem =
                Problem::Truncated { what: "a block of the table", needed_bytes: bytes, present_bytes };
            return Err(at(problem));
        };
        let buffer = |bytes: u64| {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            Buffer::new(budget, PURPOSE, bytes).map_err(|error| at(Problem::Budget(error)))
        };
        let mut raw = buffer(whole)?;
        source.read_exact_at(offset, &mut raw)?;
        let Some((content, [compression, stored @ ..])) =
            raw.split_last_chunk::<{ TRAILER_BYTES as usize }>()
        else {
            return Err(at(Problem::invalid("a block of the table", "too few bytes")));
        };
        let computed = crc32c::crc32c_append(crc32c::crc32c(content), &[*compression]);
        if unmasked(u32::from_le_bytes(*stored)) != computed {
            return Err(at(Problem::invalid("a block with the checksum after it", "another checksum")));
        }
        let data = match compression {
            0 => {
                let mut data = buffer(bytes)?;
                data.copy_from_slice(content);
                data
            }
            1 => {
                let bad = || at(Problem::invalid("a block compressed with snappy", "something else"));
                let bytes = snap::raw::decompress_len(content).map_err(|_| bad())?;
                if bytes as u64 > SNAPPY_RATIO * content.len() as u64 {
                    return Err(bad());
                }
                let mut data = buffer(bytes as u64)?;
                let made = snap::raw::Decoder::new().decompress(content, &mut data).map_err(|_| bad())?;
                if made != bytes {
                    return Err(bad());
                }
                data
            }
            other => {
                let what = format!("a block of a checkpoint's index is compressed in way {other}");
                return Err(at(Problem::Unsupported { what, advice: "save it again" }));
            }
        };
        Ok(Block { source, offset, data })
    }

    fn damaged(&self, expected: &'static str) -> FormatError {
        self.source.error_at(self.offset, Problem::invalid(expected, "others in a block of the table"))
    }
}

/// The entries of a block, one after the other.
struct Entries<'b> {
    block: &'b Block<'b>,
    rest: &'b [u8],
    key: Vec<u8>,
}

impl<'b> Entries<'b> {
    /// After the entries stand the places where keys share nothing with those before, and how many those are.
    fn new(block: &'b Block<'b>) -> Result<Entries<'b>> {
        let data: &[u8] = &block.data;
        let entries = data.split_last_chunk::<4>().and_then(|(rest, count)| {
            let restarts = (u32::from_le_bytes(*count) as usize).checked_mul(4)?;
            rest.get(..rest.len().checked_sub(restarts)?)
        });
        let rest = entries.ok_or_else(|| block.damaged("the places where entries begin"))?;
        Ok(Entries { block, rest, key: Vec::new() })
    }

    fn next(&mut self) -> Result<Option<(&[u8], &'b [u8])>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let damaged = || self.block.damaged("an entry");
        let mut rest = self.rest;
        let mut number = || varint(&mut rest).and_then(|n| usize::try_from(n).ok());
        let (Some(shared), Some(own), Some(value)) = (number(), number(), number()) else {
            return Err(damaged());
        };
        let entry = rest.split_at_checked(own).and_then(|(own, rest)| {
            let (value, rest) = rest.split_at_checked(value)?;
            Some((own, value, rest))
        });
        let Some((own, value, rest)) = entry.filter(|_| shared <= self.key.len()) else {
            return Err(damaged());
        };
        let limits::Limit { name, max } = limits::NAME_BYTES;
        let found = (shared + own.len()) as u64;
        if found > max {
            let problem = Problem::Limit { name, limit: max, found };
            return Err(self.block.source.error_at(self.block.offset, problem));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(own);
        self.rest = rest;
        Ok(Some((&self.key, value)))
    }
}

/// A number of variable length from the front; `None` where there is none.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(i + 1..)?;
            return Some(value);
        }
    }
    None
}

/// The checksum that was stored masked, so that a checksum over stored checksums means something.
pub(crate) fn unmasked(stored: u32) -> u32 {
    stored.wrapping_sub(0xa282_ead8).rotate_left(15)
}

pub(crate) mod write;

#[cfg(test)]
pub(crate) mod tests;
