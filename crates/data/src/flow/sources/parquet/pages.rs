//! The pages of a row group, read where they lie in the file, a page at a time, into memory of the budget. A page holds
//! its reservation until the last array that refers to it is gone.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use tightfit_core::{BudgetError, Buffer, MemoryBudget, Reservation};

use super::delta;
use super::external;
use super::header::{PageHeader, PageKind};
use super::thrift::ThriftError;
use crate::error::clamped;
use crate::storage::StoredFile;

const PURPOSE: &str = "parquet page";

/// What is read for the header of a page at first, and after each page for that of the next.
const HEADER_BYTES: usize = 512;

/// The largest header: statistics of long strings are in it.
const MAX_HEADER_BYTES: usize = 4 << 20;

/// Where a column of a row group lies, and what it is.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub name: Arc<str>,
    /// Its number in the row group.
    pub leaf: usize,
    pub from: u64,
    pub to: u64,
    pub values: u64,
    pub codec: Compression,
    pub physical: Type,
    /// Bytes of a value in the file: of byte arrays, the least.
    pub stored_bytes: usize,
    /// Bytes of a value in an array, with its levels.
    pub decoded_bytes: u64,
    pub has_repetitions: bool,
    pub has_definitions: bool,
}

/// What the values of pages take that are decoded for one batch, where that is known from the pages only.
#[derive(Debug)]
pub(super) struct Ledger {
    state: Mutex<LedgerState>,
}

#[derive(Debug)]
struct LedgerState {
    reservation: Reservation,
    /// What the page takes that each column is at.
    last: Vec<u64>,
}

impl Ledger {
    pub fn new(leaves: usize, budget: &MemoryBudget) -> std::result::Result<Ledger, BudgetError> {
        let reservation = budget.try_reserve("parquet values", 0)?;
        Ok(Ledger { state: Mutex::new(LedgerState { reservation, last: vec![0; leaves] }) })
    }

    /// A page is begun, whose values take `bytes`.
    fn page(&self, leaf: usize, bytes: u64) -> std::result::Result<(), BudgetError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reservation.try_grow(bytes)?;
        if let Some(last) = state.last.get_mut(leaf) {
            *last = bytes;
        }
        Ok(())
    }

    /// A batch is gone; the pages that the columns are at may still give values.
    pub fn begin_batch(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = state.last.iter().fold(0u64, |all, bytes| all.saturating_add(*bytes));
        state.reservation.shrink(bytes);
    }

    /// A row group is gone.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last.fill(0);
        state.reservation.shrink(0);
    }

    /// Bytes it holds.
    pub fn held_bytes(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reservation.bytes() as usize
    }
}

/// A buffer that bytes are lent from.
struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads the pages of a chunk one after the other.
pub(super) struct ChunkPages {
    file: Arc<StoredFile>,
    chunk: Chunk,
    budget: MemoryBudget,
    ledger: Arc<Ledger>,
    /// Where the next header begins.
    at: u64,
    /// Values of the pages before it.
    seen: u64,
    /// The next header and its bytes, once it was looked at.
    next: Option<(PageHeader, usize)>,
    /// What was read after the last page, from `at` on.
    ahead: Vec<u8>,
    _held: Reservation,
    _dictionary: Option<Reservation>,
}

impl ChunkPages {
    pub fn new(
        file: Arc<StoredFile>,
        chunk: Chunk,
        budget: &MemoryBudget,
        ledger: Arc<Ledger>,
    ) -> Result<ChunkPages> {
        let held = budget.try_reserve("parquet column", 4 * HEADER_BYTES as u64).map_err(external)?;
        Ok(ChunkPages {
            file,
            at: chunk.from,
            chunk,
            budget: budget.clone(),
            ledger,
            seen: 0,
            next: None,
            ahead: Vec::new(),
            _held: held,
            _dictionary: None,
        })
    }

    fn wrong(&self, why: impl std::fmt::Display) -> ParquetError {
        ParquetError::General(format!("column {:?}, page at byte {}: {why}", self.chunk.name, self.at))
    }

    fn buffer(&self, bytes: usize) -> Result<Buffer> {
        Buffer::new(&self.budget, PURPOSE, bytes).map_err(external)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(out, offset).map_err(external)
    }

    /// The header of the next page that is no index; `None` after the last.
    fn look(&mut self) -> Result<Option<(PageHeader, usize)>> {
        while self.next.is_none() {
            if self.seen >= self.chunk.values || self.at >= self.chunk.to {
                return Ok(None);
            }
            let (header, bytes) = self.read_header()?;
            if self.at.saturating_add((bytes + header.compressed_bytes) as u64) > self.chunk.to {
                return Err(self.wrong("it goes beyond its column"));
            }
            if header.kind == PageKind::Other {
                self.pass(&header, bytes);
            } else {
                self.next = Some((header, bytes));
            }
        }
        Ok(self.next)
    }

    fn read_header(&mut self) -> Result<(PageHeader, usize)> {
        let most = clamped(self.chunk.to - self.at).min(MAX_HEADER_BYTES);
        match PageHeader::read(&self.ahead) {
            Ok(found) => return Ok(found),
            Err(ThriftError::Broken) => return Err(self.wrong("no header of a page")),
            Err(ThriftError::Short) => {}
        }
        let mut bytes = HEADER_BYTES;
        loop {
            let mut window = self.buffer(bytes.min(most))?;
            let have = self.read_at(&mut window, self.at)?;
            match PageHeader::read(&window[..have.min(window.len())]) {
                Ok(found) => return Ok(found),
                Err(ThriftError::Short) if have == window.len() && bytes < most => bytes *= 16,
                Err(_) => return Err(self.wrong("no header of a page")),
            }
        }
    }

    /// Goes after a page.
    fn pass(&mut self, header: &PageHeader, header_bytes: usize) {
        self.at += (header_bytes + header.compressed_bytes) as u64;
        if header.kind != PageKind::Dictionary {
            self.seen = self.seen.saturating_add(u64::from(header.values));
        }
        self.next = None;
        self.ahead.clear();
    }

    /// What the page has in the file, and after it what the next header may be.
    fn read_stored(&mut self, header: &PageHeader, header_bytes: usize) -> Result<(Buffer, Vec<u8>)> {
        let from = self.at + header_bytes as u64;
        let behind = clamped(self.chunk.to.saturating_sub(from));
        let ahead_bytes = behind.saturating_sub(header.compressed_bytes).min(HEADER_BYTES);
        let mut stored = self.buffer(header.compressed_bytes + ahead_bytes)?;
        if self.read_at(&mut stored, from)? < header.compressed_bytes {
            return Err(self.wrong("the file ends in it"));
        }
        let (page, ahead) = stored.split_at(header.compressed_bytes);
        if let Some(expected) = header.crc {
            let mut crc = flate2::Crc::new();
            crc.update(page);
            if crc.sum() != expected {
                return Err(self.wrong("its checksum is another"));
            }
        }
        let ahead = ahead.to_vec();
        Ok((stored, ahead))
    }

    /// The page as it is decoded.
    fn decompress(&self, header: &PageHeader, stored: Buffer) -> Result<Bytes> {
        let levels = match header.kind {
            PageKind::DataV2 => header.definition_bytes as usize + header.repetition_bytes as usize,
            _ => 0,
        };
        if levels > header.uncompressed_bytes.min(header.compressed_bytes) {
            return Err(self.wrong("levels that are longer than the page"));
        }
        if self.chunk.codec == Compression::UNCOMPRESSED || !header.is_compressed {
            if header.uncompressed_bytes != header.compressed_bytes {
                return Err(self.wrong("another size than it says"));
            }
            return Ok(Bytes::from_owner(Owner(stored)).slice(..header.compressed_bytes));
        }
        // `read_stored` has read as much, and there are no more levels than that.
        let (levels_stored, body_stored) = stored[..header.compressed_bytes].split_at(levels);
        let mut page = self.buffer(header.uncompressed_bytes)?;
        let (head, body) = page.split_at_mut(levels);
        head.copy_from_slice(levels_stored);
        // Some writers store nothing for a page of nulls.
        if !(body.is_empty() && body_stored.is_empty()) {
            super::decompress::decompress(self.chunk.codec, body_stored, body, &self.budget).map_err(
                |error| match error {
                    ParquetError::General(why) => self.wrong(why),
                    error => error,
                },
            )?;
        }
        Ok(Bytes::from_owner(Owner(page)))
    }

    /// Reserves what decoding the page will take beside it, and refuses counts that cannot be.
    fn check(&mut self, header: &PageHeader, page: &[u8]) -> Result<()> {
        let values = u64::from(header.values);
        if header.kind == PageKind::Dictionary {
            let least_bytes = values.saturating_mul(self.chunk.stored_bytes as u64);
            if least_bytes > page.len() as u64 {
                return Err(self.wrong(format!("a dictionary of {values} values in {} bytes", page.len())));
            }
            let bytes = values.saturating_mul(self.chunk.decoded_bytes).saturating_add(page.len() as u64);
            self._dictionary = Some(self.budget.try_reserve("parquet dictionary", bytes).map_err(external)?);
            return Ok(());
        }
        let mut bytes = 0u64;
        if self.chunk.has_repetitions {
            // How many values a row has is not known before they are decoded. Arrays grow by doubling.
            bytes = values.saturating_mul(self.chunk.decoded_bytes).saturating_mul(2);
        }
        if self.chunk.physical == Type::BYTE_ARRAY {
            bytes = bytes.saturating_add(self.delta_bytes(header, page)?);
        }
        self.ledger.page(self.chunk.leaf, bytes).map_err(external)
    }

    /// What byte arrays take that are written as differences.
    fn delta_bytes(&self, header: &PageHeader, page: &[u8]) -> Result<u64> {
        let values = u64::from(header.values);
        let broken = |_| self.wrong("broken lengths of byte arrays");
        let data =
            || self.values(header, page).ok_or_else(|| self.wrong("levels that are longer than the page"));
        let most = match header.encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let count = delta::count(data()?).map_err(broken)?;
                Some((count, 0))
            }
            Encoding::DELTA_BYTE_ARRAY => {
                let data = data()?;
                let prefixes = delta::walk(data, values).map_err(broken)?;
                let suffixes =
                    data.get(prefixes.end..).ok_or(delta::NoDeltas).and_then(delta::count).map_err(broken)?;
                // The suffixes are in the page.
                Some((suffixes, prefixes.sum.saturating_add(page.len() as u64).saturating_mul(2)))
            }
            _ => None,
        };
        match most {
            Some((count, _)) if count > values => Err(self.wrong("more byte arrays than values")),
            // Lengths, twice over.
            Some((_, bytes)) => Ok(values.saturating_mul(16).saturating_add(bytes)),
            None => Ok(0),
        }
    }

    /// What stands after the levels.
    fn values<'a>(&self, header: &PageHeader, page: &'a [u8]) -> Option<&'a [u8]> {
        if header.kind == PageKind::DataV2 {
            return page.get(header.definition_bytes as usize + header.repetition_bytes as usize..);
        }
        let mut rest = page;
        for has_levels in [self.chunk.has_repetitions, self.chunk.has_definitions] {
            if has_levels {
                let (bytes, behind) = rest.split_first_chunk::<4>()?;
                rest = behind.get(u32::from_le_bytes(*bytes) as usize..)?;
            }
        }
        Some(rest)
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        let Some((header, header_bytes)) = self.look()? else {
            return Ok(None);
        };
        let (stored, ahead) = self.read_stored(&header, header_bytes)?;
        let buf = self.decompress(&header, stored)?;
        self.check(&header, &buf)?;
        self.pass(&header, header_bytes);
        self.ahead = ahead;
        let (num_values, encoding) = (header.values, header.encoding);
        Ok(Some(match header.kind {
            PageKind::Dictionary => {
                Page::DictionaryPage { buf, num_values, encoding, is_sorted: header.is_sorted }
            }
            PageKind::DataV2 => Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls: header.nulls,
                num_rows: header.rows,
                def_levels_byte_len: header.definition_bytes,
                rep_levels_byte_len: header.repetition_bytes,
                is_compressed: false,
                statistics: None,
            },
            _ => Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding: header.definition_encoding,
                rep_level_encoding: header.repetition_encoding,
                statistics: None,
            },
        }))
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.next_page().transpose()
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.next_page()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Ok(self.look()?.map(|(header, _)| PageMetadata {
            num_rows: (header.kind == PageKind::DataV2).then_some(header.rows as usize),
            num_levels: (header.kind != PageKind::Dictionary).then_some(header.values as usize),
            is_dict: header.kind == PageKind::Dictionary,
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if let Some((header, bytes)) = self.look()? {
            self.pass(&header, bytes);
        }
        Ok(())
    }
}
