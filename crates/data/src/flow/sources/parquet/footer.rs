//! The footer of a file: its schema, and where the columns of its row groups lie.

use std::sync::Arc;

use parquet::basic::{LogicalType, Type};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::ColumnDescriptor;
use tightfit_core::{Buffer, MemoryBudget, Reservation};

use super::pages::Chunk;
use super::thrift::{LIST, STRUCT, Thrift, ThriftError};
use super::{fault_of, guarded};
use crate::error::RowFault;
use crate::storage::StoredFile;

const PURPOSE: &str = "parquet footer";

/// The least a file has: what it begins with, the length of the footer, and what it ends with.
const LEAST_BYTES: u64 = 12;

/// What a column of a row group takes once it is read, its statistics aside, and what a row group does.
const CHUNK_BYTES: u64 = 1536;

/// See the module.
pub(super) struct Footer {
    pub metadata: Arc<ParquetMetaData>,
    /// What it takes.
    pub held: Reservation,
}

fn wrong(why: impl Into<String>) -> RowFault {
    RowFault::Map(why.into())
}

/// Reads the footer of `file`.
pub(super) fn read(file: &StoredFile, budget: &MemoryBudget) -> Result<Footer, RowFault> {
    let len = file.len();
    if len < LEAST_BYTES {
        return Err(wrong(format!("no Parquet file: it has {len} bytes")));
    }
    let mut tail = [0; 8];
    file.read_at(&mut tail, len - 8).map_err(RowFault::Io)?;
    let [a, b, c, d, magic @ ..] = tail;
    match &magic {
        b"PAR1" => {}
        b"PARE" => return Err(wrong("the file is encrypted, which is not read")),
        _ => return Err(wrong("the file does not end as Parquet does: it is truncated or of another kind")),
    }
    let bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    let from = (len - 8).checked_sub(bytes).filter(|from| *from >= 4);
    let from = from.ok_or_else(|| wrong("a footer that is longer than the file"))?;
    let mut buffer = Buffer::new(budget, PURPOSE, bytes as usize).map_err(RowFault::Memory)?;
    if (file.read_at(&mut buffer, from).map_err(RowFault::Io)? as u64) < bytes {
        return Err(wrong("the file ends in its footer"));
    }
    let chunks = count_chunks(&buffer).map_err(|_| wrong("a broken footer"))?;
    let most_bytes =
        chunks.saturating_mul(CHUNK_BYTES).saturating_add(bytes.saturating_mul(8)).saturating_add(4096);
    let mut held = budget.try_reserve(PURPOSE, most_bytes).map_err(RowFault::Memory)?;
    let metadata = guarded(|| ParquetMetaDataReader::decode_metadata(&buffer)).map_err(fault_of)?;
    held.shrink(metadata.memory_size() as u64);
    Ok(Footer { metadata: Arc::new(metadata), held })
}

/// Row groups and their columns in a footer (`FileMetaData` of parquet.thrift), all of which is walked over.
fn count_chunks(footer: &[u8]) -> Result<u64, ThriftError> {
    let mut thrift = Thrift::new(footer);
    let (mut last, mut chunks) = (0, 0u64);
    while let Some(field) = thrift.field(&mut last)? {
        if (field.id, field.kind) != (4, LIST) {
            thrift.skip(field.kind)?;
            continue;
        }
        let (kind, groups) = thrift.list()?;
        if kind != STRUCT {
            return Err(ThriftError::Broken);
        }
        for _ in 0..groups {
            let mut last = 0;
            chunks += 1;
            while let Some(field) = thrift.field(&mut last)? {
                if (field.id, field.kind) == (1, LIST) {
                    let mut copy = thrift;
                    chunks += copy.list()?.1;
                }
                thrift.skip(field.kind)?;
            }
        }
    }
    Ok(chunks)
}

impl Footer {
    /// The rows of row group `group`.
    pub fn group_rows(&self, group: usize) -> Result<u64, RowFault> {
        let group =
            self.metadata.row_groups().get(group).ok_or_else(|| wrong("a row group that is not there"))?;
        u64::try_from(group.num_rows()).map_err(|_| wrong("a row group of negative rows"))
    }

    /// Rows of all row groups.
    pub fn rows(&self) -> Result<u64, RowFault> {
        let groups = 0..self.metadata.num_row_groups();
        groups.map(|group| self.group_rows(group)).try_fold(0u64, |all, rows| Ok(all.saturating_add(rows?)))
    }

    /// Where row group `group` begins; of one after the last, or without columns or a place, the start of the file. For
    /// messages only: what is read is found by [`Footer::chunk`], which refuses those.
    pub fn group_offset(&self, group: usize) -> u64 {
        let group = self.metadata.row_groups().get(group);
        let first = group.and_then(|group| group.columns().first());
        let from = first.map(|c| {
            c.dictionary_page_offset().map_or(c.data_page_offset(), |d| d.min(c.data_page_offset()))
        });
        from.and_then(|from| u64::try_from(from).ok()).unwrap_or(0)
    }

    /// Where leaf column `leaf` of row group `group` lies.
    pub fn chunk(&self, group: usize, leaf: usize) -> Result<Chunk, RowFault> {
        let group = self.metadata.row_groups().get(group);
        let column = group.and_then(|group| group.columns().get(leaf));
        let column = column.ok_or_else(|| wrong("a row group without a column of the schema"))?;
        let descr = column.column_descr();
        let name = descr.path().string();
        let broken = || wrong(format!("column {name:?}: a place that is none"));
        let number = |number: i64| u64::try_from(number).map_err(|_| broken());
        let data_from = number(column.data_page_offset())?;
        // Some writers have 0 for a dictionary that is not there.
        let dictionary = column.dictionary_page_offset().filter(|from| *from > 0);
        let from = dictionary.map_or(Ok(data_from), number)?.min(data_from);
        let to = from.checked_add(number(column.compressed_size())?).ok_or_else(broken)?;
        if !super::decompress::is_known(column.compression()) {
            return Err(wrong(format!(
                "column {name:?} is compressed with {}, which is not read",
                column.compression()
            )));
        }
        let (stored_bytes, array_bytes) = widths(descr)?;
        Ok(Chunk {
            leaf,
            from,
            to,
            values: number(column.num_values())?,
            codec: column.compression(),
            physical: descr.physical_type(),
            stored_bytes,
            // Two levels of 16 bits.
            decoded_bytes: array_bytes.saturating_add(4),
            has_repetitions: descr.max_rep_level() > 0,
            has_definitions: descr.max_def_level() > 0,
            name: name.into(),
        })
    }
}

/// Bytes of a value in a dictionary (of byte arrays, the least) and in an array.
fn widths(descr: &ColumnDescriptor) -> Result<(usize, u64), RowFault> {
    Ok(match descr.physical_type() {
        Type::BOOLEAN => (1, 1),
        Type::INT32 | Type::FLOAT => (4, 8),
        Type::INT64 | Type::DOUBLE => (8, 8),
        Type::INT96 => (12, 20),
        // A view, or the length before it.
        Type::BYTE_ARRAY => (4, 16),
        Type::FIXED_LEN_BYTE_ARRAY if descr.logical_type_ref() == Some(&LogicalType::Float16) => (2, 4),
        Type::FIXED_LEN_BYTE_ARRAY => {
            let fixed = usize::try_from(descr.type_length());
            let fixed = fixed.map_err(|_| wrong("values of a negative number of bytes"))?;
            (fixed, fixed as u64)
        }
    })
}
