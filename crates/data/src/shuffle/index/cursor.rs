//! Looks records up in an index, one block of it in memory.

use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::source::SourceFile;
use tightfit_format::tfrecord::masked_crc;

use super::file::{BLOCK_RECORDS, Block, FILE_HEADER_BYTES, FRAMING_BYTES, Header, number};
use super::{IndexedFile, RecordIndex};
use crate::error::DataError;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordPlace {
    /// The file's number in the list.
    pub file: u32,
    /// The record's number in its file, from 0.
    pub index: u64,
    /// Where it begins (its length field), in bytes of the file.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

/// Looks records up. Ascending numbers are fast: each block of the index is read once.
#[derive(Debug)]
pub struct IndexCursor {
    index: Arc<RecordIndex>,
    buffer: Buffer,
    /// The number of the open file, and the block of it that is in the buffer.
    open: Option<(usize, Arc<SourceFile>)>,
    loaded: Option<(usize, usize)>,
}

impl IndexCursor {
    /// A cursor over `index`; its block comes out of `budget`.
    ///
    /// # Errors
    /// The budget's error.
    pub fn new(index: Arc<RecordIndex>, budget: &MemoryBudget) -> Result<IndexCursor, DataError> {
        let buffer = Buffer::new(budget, "record index", IndexCursor::bytes(&index))?;
        Ok(IndexCursor { index, buffer, open: None, loaded: None })
    }

    /// Bytes that a cursor over `index` takes.
    pub fn bytes(index: &RecordIndex) -> usize {
        index.files.iter().map(|file| file.index.block_bytes).max().unwrap_or_default()
    }

    /// The index.
    pub fn index(&self) -> &Arc<RecordIndex> {
        &self.index
    }

    /// Where record `record` of the whole sequence is; `None` beyond the last.
    ///
    /// # Errors
    /// [`DataError`] when the index cannot be read on, because it was damaged or replaced.
    pub fn locate(&mut self, record: u64) -> Result<Option<RecordPlace>, DataError> {
        let index = self.index.clone();
        let Some(number) = index.file_number(record) else { return Ok(None) };
        let Some(file) = index.files.get(number) else { return Ok(None) };
        let in_file = record - file.first;
        let (block, in_block) = (in_file / BLOCK_RECORDS as u64, in_file % BLOCK_RECORDS as u64);
        let block = block as usize;
        self.load(number, file, block)?;
        let damaged = || damaged(file);
        let entry = file.index.blocks.get(block).ok_or_else(damaged)?;
        let offset = self.offset(entry, in_block).ok_or_else(damaged)?;
        // A record ends where the next begins.
        let end = if in_file + 1 == file.records() {
            file.bytes()
        } else if in_block + 1 < BLOCK_RECORDS as u64 {
            self.offset(entry, in_block + 1).ok_or_else(damaged)?
        } else {
            file.index.blocks.get(block + 1).ok_or_else(damaged)?.base
        };
        let bytes = end.checked_sub(offset).and_then(|whole| whole.checked_sub(FRAMING_BYTES));
        let bytes = bytes.filter(|_| end <= file.bytes()).ok_or_else(damaged)?;
        Ok(Some(RecordPlace { file: number as u32, index: in_file, offset, bytes }))
    }

    fn offset(&self, block: &Block, record: u64) -> Option<u64> {
        let width = block.width as usize;
        Some(block.offset(record, number(&self.buffer, record as usize * width, width)?))
    }

    fn load(&mut self, file_number: usize, file: &IndexedFile, block: usize) -> Result<(), DataError> {
        if self.loaded == Some((file_number, block)) {
            return Ok(());
        }
        self.loaded = None;
        let source = match &self.open {
            Some((open, source)) if *open == file_number => source.clone(),
            _ => {
                let source = open(file)?;
                self.open = Some((file_number, source.clone()));
                source
            }
        };
        let entry = file.index.blocks.get(block).ok_or_else(|| damaged(file))?;
        let deltas = self.buffer.get_mut(..file.index.block_records(block) * entry.width as usize);
        let deltas = deltas.ok_or_else(|| damaged(file))?;
        source.read_exact_at(entry.at, deltas).map_err(DataError::Format)?;
        if masked_crc(deltas) != entry.crc {
            return Err(damaged(file));
        }
        self.loaded = Some((file_number, block));
        Ok(())
    }
}

/// Opens the index of a file, which has to be the one that was read before.
fn open(file: &IndexedFile) -> Result<Arc<SourceFile>, DataError> {
    let source = SourceFile::open(&file.place).map_err(DataError::Format)?;
    let mut header = [0; FILE_HEADER_BYTES];
    source.read_exact_at(0, &mut header).map_err(DataError::Format)?;
    if Header::parse(&header) == Some(file.index.header) { Ok(source) } else { Err(file.changed()) }
}

fn damaged(file: &IndexedFile) -> DataError {
    let why = "this index was damaged while it was in use; start again".to_string();
    DataError::Index { path: file.place.clone(), why }
}
