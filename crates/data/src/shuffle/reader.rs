//! Reads a data set in random order through one window.
//!
//! The window takes as many of the next positions as it has room for, reads their records in the order of the files and
//! lends them in the new order. The order does not depend on the window, the threads or where reading began: these
//! decide only how many records are read at once.

use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::tfrecord::{FOOTER_BYTES, HEADER_BYTES, RecordFault};

use super::index::{IndexCursor, RecordIndex, RecordPlace};
use super::order::{Mixing, Order, Sequence};
use super::window::{Entry, Fetch, State, by_slot};
use crate::error::{DataError, Needed, RowFault};

/// Bytes that a record takes in the window besides its own.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

/// A window that holds something else than was put there.
const OTHER_ENTRIES: &str = "a window of records has others than its order says";

/// Bytes around a record's data.
const FRAMING_BYTES: u64 = (HEADER_BYTES + FOOTER_BYTES) as u64;

/// Of a window of records of mean size this share is used at most, so that it rarely has to be cut because its records
/// are larger than the mean.
const USED_SHARE: f64 = 0.97;

/// What to read in which order.
#[derive(Debug, Clone)]
pub struct ShuffleOptions {
    /// The order.
    pub order: Order,
    /// What tells orders apart.
    pub seed: u64,
    /// Each pass over the data has an order of its own.
    pub epoch: u64,
    /// The parts that the positions are dealt to, and which of them this is: part i of n has the positions p with
    /// p mod n = i.
    pub shard: (u64, u64),
    /// Bytes of the window. [`ShuffleReader::fixed_bytes`] are taken besides.
    pub window_bytes: usize,
    /// Threads that read. More than there are processors keep a disk busy.
    pub threads: usize,
}

impl ShuffleOptions {
    /// A uniform order of one part, read by one thread.
    pub fn new(seed: u64, window_bytes: usize) -> ShuffleOptions {
        ShuffleOptions { order: Order::Uniform, seed, epoch: 0, shard: (1, 0), window_bytes, threads: 1 }
    }
}

/// One record, lent by a [`ShuffleReader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShuffledRecord<'a> {
    /// The file.
    pub path: &'a Path,
    /// The file's number in the list.
    pub file: u32,
    /// The record's number in its file, from 0.
    pub index: u64,
    /// Where it begins, in bytes of the file.
    pub offset: u64,
    /// Its data, the CRC checked.
    pub data: &'a [u8],
}

/// Reads the records of an index in random order.
#[derive(Debug)]
pub struct ShuffleReader {
    cursor: IndexCursor,
    options: ShuffleOptions,
    mixing: Mixing,
    sequence: Sequence,
    entries: Buffer,
    data: Buffer,
    fetch: Fetch,
    /// The window holds `filled` records from position `first` on; the next to be lent is `next` of it.
    first: u64,
    filled: usize,
    next: usize,
    windows: u64,
}

impl ShuffleReader {
    /// A reader before the first record; its memory comes out of `budget`.
    ///
    /// # Errors
    /// The budget's error; [`DataError::Spec`] for a part that there is not.
    pub fn new(
        index: Arc<RecordIndex>,
        options: ShuffleOptions,
        budget: &MemoryBudget,
    ) -> Result<ShuffleReader, DataError> {
        let (parts, part) = options.shard;
        if part >= parts {
            return Err(DataError::Spec(format!("there is no part {part} of {parts}")));
        }
        let (entry_bytes, data_bytes) = split_window(&index, options.window_bytes as u64);
        let mixing = mixing_of(&index, options.order, entry_bytes / ENTRY_BYTES);
        Ok(ShuffleReader {
            sequence: Sequence::new(options.order, mixing, options.seed, options.epoch),
            entries: Buffer::new(budget, "shuffle window", entry_bytes as usize)?,
            data: Buffer::new(budget, "shuffle window", data_bytes as usize)?,
            fetch: Fetch::new(options.threads, budget)?,
            cursor: IndexCursor::new(index, budget)?,
            options,
            mixing,
            first: 0,
            filled: 0,
            next: 0,
            windows: 0,
        })
    }

    /// Bytes that a reader takes besides its window.
    pub fn fixed_bytes(index: &RecordIndex, threads: usize) -> usize {
        IndexCursor::bytes(index) + Fetch::bytes(threads)
    }

    /// Bytes of a window that holds all records; a larger one is of no use.
    pub fn whole_bytes(index: &RecordIndex) -> u64 {
        let used = index.bytes().saturating_add(index.records().saturating_mul(ENTRY_BYTES));
        (used as f64 / USED_SHARE) as u64 + ENTRY_BYTES
    }

    /// Bytes of the smallest window that holds every record.
    pub fn least_window_bytes(index: &RecordIndex) -> u64 {
        index.largest().map_or(0, |place| place.bytes.saturating_add(FRAMING_BYTES + ENTRY_BYTES))
    }

    /// How far the order mixes.
    pub fn mixing(&self) -> Mixing {
        self.mixing
    }

    /// Records of this part.
    pub fn records(&self) -> u64 {
        let (parts, part) = self.options.shard;
        self.mixing.records.saturating_sub(part).div_ceil(parts)
    }

    /// Records that have been lent, bad ones included. With the options it is all that [`ShuffleReader::seek`] needs to
    /// go on in another process.
    pub fn position(&self) -> u64 {
        self.first + self.next as u64
    }

    /// How many times the window was filled.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Goes to the place where `position` records have been lent.
    pub fn seek(&mut self, position: u64) {
        let position = position.min(self.records());
        match position.checked_sub(self.first).filter(|at| *at <= self.filled as u64) {
            Some(at) => self.next = at as usize,
            None => (self.first, self.filled, self.next) = (position, 0, 0),
        }
    }

    /// Goes to the start of the order of `epoch`.
    pub fn reset(&mut self, epoch: u64) {
        self.options.epoch = epoch;
        self.sequence = Sequence::new(self.options.order, self.mixing, self.options.seed, epoch);
        (self.first, self.filled, self.next) = (0, 0, 0);
    }

    /// Goes on to the next record; false when there is none.
    ///
    /// # Errors
    /// [`DataError::Row`] for a record that is broken or larger than the window; the next call goes on with the one
    /// after it. [`DataError`] when a file cannot be read or has changed; the next call tries again.
    pub fn advance(&mut self) -> Result<bool, DataError> {
        if self.next == self.filled {
            let position = self.position();
            // Nothing is lent until the window is filled.
            (self.first, self.filled, self.next) = (position, 0, 0);
            if position >= self.records() {
                return Ok(false);
            }
            self.filled = self.fill(position)?;
        }
        let entry = *self.entries().get(self.next).needed(OTHER_ENTRIES)?;
        self.next += 1;
        let fault = match entry.state()? {
            State::Good => return Ok(true),
            State::BadData => RowFault::Record(RecordFault::DataCrc),
            State::BadLength => RowFault::Record(RecordFault::LengthCrc),
            State::TooLarge => {
                let place = self.cursor.locate(entry.record)?.needed(OTHER_ENTRIES)?;
                let needed_bytes = place.bytes.saturating_add(FRAMING_BYTES + ENTRY_BYTES);
                RowFault::Window { needed_bytes, window_bytes: self.options.window_bytes as u64 }
            }
        };
        let place = self.place_of(&entry).needed(OTHER_ENTRIES)?;
        Err(self.cursor.index().bad_record(&place, fault))
    }

    /// The record that the last [`ShuffleReader::advance`] went to; `None` before the first.
    pub fn current(&self) -> Option<ShuffledRecord<'_>> {
        let entry = self.entries().get(self.next.checked_sub(1)?).filter(|_| self.next <= self.filled)?;
        if entry.state() != Ok(State::Good) {
            return None;
        }
        let RecordPlace { file, index, offset, .. } = self.place_of(entry)?;
        let whole = self.data.get(entry.start as usize..)?.get(..entry.bytes as usize)?;
        let data = whole.get(HEADER_BYTES..whole.len().checked_sub(FOOTER_BYTES)?)?;
        let path = self.cursor.index().files().get(file as usize)?.path();
        Some(ShuffledRecord { path, file, index, offset, data })
    }

    fn place_of(&self, entry: &Entry) -> Option<RecordPlace> {
        let index = self.cursor.index();
        let file = index.file_number(entry.record)?;
        let first = index.files().get(file)?.first_record();
        let (index, bytes) = (entry.record - first, u64::from(entry.bytes).saturating_sub(FRAMING_BYTES));
        Some(RecordPlace { file: file as u32, index, offset: entry.offset, bytes })
    }

    fn entries(&self) -> &[Entry] {
        bytemuck::cast_slice(&self.entries)
    }

    /// Fills the window with the records from `position` on; how many there are.
    fn fill(&mut self, position: u64) -> Result<usize, DataError> {
        let count = self.count_at(position);
        let ShuffleReader { cursor, sequence, options, entries, data, fetch, .. } = self;
        let entries: &mut [Entry] = bytemuck::cast_slice_mut(entries);
        let mut entries = entries.get_mut(..count).needed(OTHER_ENTRIES)?;
        let (parts, part) = options.shard;
        for (slot, entry) in entries.iter_mut().enumerate() {
            let at = part + (position + slot as u64) * parts;
            *entry = Entry::new(sequence.record_at(at).needed(OTHER_ENTRIES)?, slot as u32);
        }
        entries.sort_unstable_by_key(|entry| entry.record);
        let mut used_bytes = locate(cursor, entries, data.len())?;
        if used_bytes > data.len() as u64 {
            by_slot(entries);
            let fits = fitting(entries, data.len() as u64);
            entries = &mut entries[..fits];
            entries.sort_unstable_by_key(|entry| entry.record);
            used_bytes = entries.iter().map(|entry| u64::from(entry.bytes)).sum();
        }
        let mut start = 0;
        for entry in entries.iter_mut() {
            entry.start = start;
            start += entry.bytes;
        }
        let data = data.get_mut(..used_bytes as usize).needed(OTHER_ENTRIES)?;
        fetch.read(cursor.index(), entries, data)?;
        by_slot(entries);
        self.windows += 1;
        Ok(entries.len())
    }

    /// How many records from `position` on the window is to be filled with: at least one.
    fn count_at(&self, position: u64) -> usize {
        let room = (self.entries.len() / size_of::<Entry>()) as u64;
        let (parts, part) = self.options.shard;
        let end = position.saturating_add(room).min(self.records());
        let [from, to] = [position, end].map(|at| at.saturating_mul(parts).saturating_add(part));
        let end = self.sequence.window_end(from, to).saturating_sub(part).div_ceil(parts).min(end);
        end.saturating_sub(position).clamp(1, room.max(1)) as usize
    }
}

/// Of a window the bytes for entries and those for records.
fn split_window(index: &RecordIndex, window_bytes: u64) -> (u64, u64) {
    let window_bytes = window_bytes.max(ENTRY_BYTES);
    let mean_bytes = index.mean_bytes();
    let room = (window_bytes as f64 * USED_SHARE / (mean_bytes + ENTRY_BYTES) as f64) as u64;
    let room = room.clamp(1, index.records().max(1));
    // Places in the window are numbers of 32 bits.
    let data_bytes = (window_bytes - room.saturating_mul(ENTRY_BYTES).min(window_bytes)).min(u32::MAX.into());
    // The largest record has to fit, even if fewer of the others do.
    let largest_bytes = index.largest().map_or(0, |place| place.bytes.saturating_add(FRAMING_BYTES));
    let most_bytes = (window_bytes - ENTRY_BYTES).min(u32::MAX.into());
    let data_bytes = data_bytes.max(largest_bytes.min(most_bytes));
    let room = room.min((window_bytes - data_bytes) / ENTRY_BYTES).min(data_bytes / FRAMING_BYTES).max(1);
    (room * ENTRY_BYTES, data_bytes)
}

fn mixing_of(index: &RecordIndex, order: Order, room: u64) -> Mixing {
    let records = index.records();
    match order {
        Order::Uniform => Mixing { records, block_records: 1, group_blocks: records.max(1) },
        Order::Blocks { block_bytes, mix_bytes } => {
            let block_records = (block_bytes / index.mean_bytes()).max(1);
            let blocks = records.div_ceil(block_records).max(1);
            let mixed = mix_bytes.map_or(room, |bytes| bytes / index.mean_bytes());
            let group_blocks = if mixed < records { mixed / block_records } else { blocks };
            Mixing { records, block_records, group_blocks: group_blocks.clamp(1, blocks) }
        }
    }
}

/// Finds where `entries`, which ascend by record, are; the bytes of those that are no larger than the window.
fn locate(cursor: &mut IndexCursor, entries: &mut [Entry], window_bytes: usize) -> Result<u64, DataError> {
    let mut used_bytes = 0;
    for entry in entries {
        let place = cursor.locate(entry.record)?.needed(OTHER_ENTRIES)?;
        let whole_bytes = place.bytes.saturating_add(FRAMING_BYTES);
        entry.offset = place.offset;
        match u32::try_from(whole_bytes) {
            Ok(bytes) if bytes as usize <= window_bytes => entry.bytes = bytes,
            _ => entry.set_state(State::TooLarge),
        }
        used_bytes += u64::from(entry.bytes);
    }
    Ok(used_bytes)
}

/// How many of the first `entries` have room in `window_bytes`.
fn fitting(entries: &[Entry], window_bytes: u64) -> usize {
    let mut used_bytes = 0;
    let fits = |entry: &&Entry| {
        used_bytes += u64::from(entry.bytes);
        used_bytes <= window_bytes
    };
    entries.iter().take_while(fits).count()
}
