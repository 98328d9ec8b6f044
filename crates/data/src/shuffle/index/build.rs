//! Builds an index: walks from record to record by their lengths, whose CRCs are checked, and writes down where each
//! begins.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget, Reservation};
use tightfit_format::source::SourceFile;
use tightfit_format::tfrecord::{HEADER_BYTES, RecordFault, is_plain_header, masked_crc};
use tightfit_format::whole::WholeFile;

use super::file::{
    BLOCK_RECORDS, Block, FILE_HEADER_BYTES, FRAMING_BYTES, Header, MAX_WIDTH, TABLE_ENTRY_BYTES,
};
use crate::error::{BadRow, DataError, Needed, RowFault, io_error};
use crate::source::FileStamp;

/// Called with the bytes that have been passed over; false ends the work.
pub type Progress<'p> = dyn FnMut(u64) -> bool + 'p;

/// Bytes read at once, where records are small.
const WINDOW_BYTES: usize = 256 << 10;

/// After a record of this size only the next header is read: what a window would read more takes longer than a call
/// of the system.
const SPARSE_FROM_BYTES: u64 = 16 << 10;

/// The buffer in front of the index.
const OUTPUT_BYTES: usize = 64 << 10;

/// Writes the index of the file `path`, which has the stamp `stamp`, to `output`, and gives it its name `place`.
///
/// # Errors
/// As [`super::RecordIndex::open`].
pub fn build(
    path: &Path,
    stamp: &FileStamp,
    mut output: WholeFile,
    place: &Path,
    budget: &MemoryBudget,
    progress: &mut Progress<'_>,
) -> Result<(), DataError> {
    let at_index = |error| io_error(place, error);
    let data = SourceFile::open(path).map_err(DataError::Format)?;
    let _output_bytes = budget.try_reserve("record index", OUTPUT_BYTES as u64)?;
    let mut write = BufWriter::with_capacity(OUTPUT_BYTES, &mut output);
    // The header is known last.
    write.write_all(&[0; FILE_HEADER_BYTES]).map_err(at_index)?;
    let mut walk = Walk::new(data, budget)?;
    let mut blocks = Blocks::new(budget)?;
    while let Some(offset) = walk.next_record()? {
        if walk.has_refilled() && !progress(offset) {
            return Err(DataError::Stopped);
        }
        if blocks.add(offset)? {
            blocks.write(&mut write).map_err(at_index)?;
        }
    }
    blocks.write(&mut write).map_err(at_index)?;
    write.write_all(&blocks.table).map_err(at_index)?;
    write.flush().map_err(at_index)?;
    drop(write);
    let (largest_bytes, largest_record, largest_offset) = walk.largest;
    let header = Header {
        stamp: *stamp,
        records: walk.records,
        table_at: blocks.written_bytes,
        largest_record,
        largest_offset,
        largest_bytes,
        table_crc: masked_crc(&blocks.table),
    };
    output.seek(SeekFrom::Start(0)).map_err(at_index)?;
    output.write_all(&header.to_bytes()).map_err(at_index)?;
    if FileStamp::of(path)? != *stamp {
        let why = "it was changed while it was indexed; start again".to_string();
        return Err(DataError::Index { path: path.to_path_buf(), why });
    }
    output.commit().map_err(at_index)
}

/// Goes from record to record.
struct Walk {
    data: Arc<SourceFile>,
    window: Buffer,
    /// The window holds the `filled` bytes of the file from `start` on.
    start: u64,
    filled: usize,
    at: u64,
    records: u64,
    /// Bytes of data, number and offset of the largest record.
    largest: (u64, u64, u64),
    last_bytes: u64,
    refilled: bool,
}

impl Walk {
    fn new(data: Arc<SourceFile>, budget: &MemoryBudget) -> Result<Walk, DataError> {
        let window_bytes = (data.len().min(WINDOW_BYTES as u64) as usize).max(HEADER_BYTES);
        let window = Buffer::new(budget, "window over a file of records", window_bytes)?;
        Ok(Walk {
            data,
            window,
            start: 0,
            filled: 0,
            at: 0,
            records: 0,
            largest: (0, 0, 0),
            last_bytes: 0,
            refilled: false,
        })
    }

    /// Where the next record begins; `None` at the end of the file.
    fn next_record(&mut self) -> Result<Option<u64>, DataError> {
        let offset = self.at;
        if offset == self.data.len() {
            return Ok(None);
        }
        let Some(header) = self.header()? else { return Err(self.bad(RecordFault::Truncated)) };
        if !is_plain_header(&header) {
            return Err(self.bad(RecordFault::LengthCrc));
        }
        let bytes = header.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        let end = offset.checked_add(FRAMING_BYTES).and_then(|end| end.checked_add(bytes));
        let Some(end) = end.filter(|end| *end <= self.data.len()) else {
            return Err(self.bad(RecordFault::Truncated));
        };
        if self.records == 0 || bytes > self.largest.0 {
            self.largest = (bytes, self.records, offset);
        }
        (self.at, self.last_bytes) = (end, bytes);
        self.records += 1;
        Ok(Some(offset))
    }

    /// The header of the record at `at`; `None` when the file ends in it.
    fn header(&mut self) -> Result<Option<[u8; HEADER_BYTES]>, DataError> {
        if let Some(header) = self.held_header() {
            return Ok(Some(header));
        }
        let wanted = if self.last_bytes < SPARSE_FROM_BYTES { self.window.len() } else { HEADER_BYTES };
        let present_bytes = self.data.len().saturating_sub(self.at);
        let read_bytes = present_bytes.min(wanted as u64) as usize;
        let window = &mut self.window[..read_bytes];
        self.data.read_exact_at(self.at, window).map_err(DataError::Format)?;
        (self.start, self.filled, self.refilled) = (self.at, read_bytes, true);
        Ok(self.held_header())
    }

    fn held_header(&self) -> Option<[u8; HEADER_BYTES]> {
        let from = usize::try_from(self.at.checked_sub(self.start)?).ok()?;
        self.window.get(..self.filled)?.get(from..)?.first_chunk().copied()
    }

    /// True when the file was read since this was last asked.
    fn has_refilled(&mut self) -> bool {
        std::mem::take(&mut self.refilled)
    }

    fn bad(&self, fault: RecordFault) -> DataError {
        DataError::Row(Box::new(BadRow {
            path: self.data.path().to_path_buf(),
            record: Some(self.records),
            offset: Some(self.at),
            fault: RowFault::Record(fault),
        }))
    }
}

/// The offsets of a block on their way into the index, and the table.
struct Blocks {
    /// Offsets as numbers of 8 bytes; packed in place.
    offsets: Buffer,
    count: usize,
    table: Vec<u8>,
    table_reservation: Reservation,
    written_bytes: u64,
}

impl Blocks {
    fn new(budget: &MemoryBudget) -> Result<Blocks, DataError> {
        Ok(Blocks {
            offsets: Buffer::new(budget, "record index", BLOCK_RECORDS * MAX_WIDTH)?,
            count: 0,
            table: Vec::new(),
            table_reservation: budget.try_reserve("record index", 0)?,
            written_bytes: FILE_HEADER_BYTES as u64,
        })
    }

    /// True when the block is full and has to be written.
    fn add(&mut self, offset: u64) -> Result<bool, DataError> {
        if self.count == 0 {
            // Twice, for the list grows by doubling.
            self.table_reservation.try_grow(2 * TABLE_ENTRY_BYTES as u64)?;
        }
        let at = self.count * MAX_WIDTH;
        // A block that is full was written and is empty again.
        self.offsets[at..at + MAX_WIDTH].copy_from_slice(&offset.to_le_bytes());
        self.count += 1;
        Ok(self.count == BLOCK_RECORDS)
    }

    /// Writes the block, if there is anything in it.
    fn write(&mut self, write: &mut impl Write) -> io::Result<()> {
        let numbers: &mut [u64] = bytemuck::cast_slice_mut(&mut self.offsets);
        let numbers = &numbers[..self.count];
        let (Some(base), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(()) };
        let (base, last) = (u64::from_le(*base), u64::from_le(*last));
        let slope = (last - base) / (self.count as u64 - 1).max(1);
        // Offsets are below 2^63, as files are, so their differences fit.
        let stray = |record: usize, offset: u64| {
            u64::from_le(offset).wrapping_sub(base.wrapping_add(record as u64 * slope)).cast_signed()
        };
        // The first stands on the line.
        let strays = numbers.iter().enumerate().map(|(record, offset)| stray(record, *offset));
        let (least, most) = strays.fold((0, 0), |(least, most), s| (s.min(least), s.max(most)));
        let width = (u64::BITS - most.wrapping_sub(least).cast_unsigned().leading_zeros()).div_ceil(8);
        for record in 0..self.count {
            // A delta is no wider than what it is packed out of, so nothing is overwritten before it is read.
            let from = record * MAX_WIDTH;
            let offset = super::file::number(&self.offsets, from, MAX_WIDTH);
            let offset = offset.needed("the offsets of a block are cut off")?;
            let delta = stray(record, offset.to_le()).wrapping_sub(least).cast_unsigned().to_le_bytes();
            let (to, width) = (record * width as usize, width as usize);
            self.offsets[to..to + width].copy_from_slice(&delta[..width]);
        }
        let deltas = &self.offsets[..self.count * width as usize];
        let block = Block { base, slope, least, at: self.written_bytes, width, crc: masked_crc(deltas) };
        write.write_all(deltas)?;
        self.table.extend(block.to_bytes());
        self.written_bytes += deltas.len() as u64;
        self.count = 0;
        Ok(())
    }
}
