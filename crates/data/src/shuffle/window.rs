//! The window of a shuffle: records that stand next to each other in the new order, read in the order of the files.

use std::thread;

use bytemuck::{Pod, Zeroable};
use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::source::SourceFile;
use tightfit_format::tfrecord::{FOOTER_BYTES, HEADER_BYTES, is_plain_header, masked_crc};

use super::index::{IndexedFile, RecordIndex};
use crate::error::{DataError, Defect, Needed, io_error};

/// Where records are close to each other they are read together with what is between them, up to this many bytes:
/// copying these takes no longer than another call of the system.
const GAP_BYTES: u64 = 2 << 10;

/// What is read together with its gaps at most.
const STAGING_BYTES: usize = 64 << 10;

/// The stack of a reading thread, of which little is touched.
const STACK_BYTES: usize = 256 << 10;

/// What a thread takes: the touched part of its stack, and what the allocator keeps for it.
const THREAD_BYTES: usize = 64 << 10;

/// Below this many bytes starting threads is not worth it.
const THREADS_FROM_BYTES: usize = 256 << 10;

/// A record of the window.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Entry {
    /// Its number in the whole sequence.
    pub record: u64,
    /// Where it is in its file.
    pub offset: u64,
    /// Where it is in the window.
    pub start: u32,
    /// Bytes there, with what the format puts around its data.
    pub bytes: u32,
    /// Its place in the new order, from the first of the window.
    pub slot: u32,
    state: u32,
}

/// What is known of a record in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    /// The CRC of its data is wrong.
    BadData,
    /// The CRC of its length is wrong.
    BadLength,
    /// It is larger than the window, so it is not there.
    TooLarge,
}

const STATES: [State; 4] = [State::Good, State::BadData, State::BadLength, State::TooLarge];

impl Entry {
    /// A record that is still to be found.
    pub fn new(record: u64, slot: u32) -> Entry {
        Entry { record, offset: 0, start: 0, bytes: 0, slot, state: State::Good as u32 }
    }

    pub fn state(&self) -> Result<State, Defect> {
        STATES.get(self.state as usize).copied().needed("a record is in a state that is none")
    }

    pub fn set_state(&mut self, state: State) {
        self.state = state as u32;
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.bytes))
    }

    fn is_there(&self) -> bool {
        self.state != State::TooLarge as u32
    }
}

/// Puts entries, each of which has another slot below their number, in the order of their slots.
pub fn by_slot(entries: &mut [Entry]) {
    for at in 0..entries.len() {
        while let Some(slot) = entries.get(at).map(|e| e.slot as usize).filter(|slot| *slot != at) {
            // Each exchange brings one entry to where it stays.
            if slot >= entries.len() {
                break;
            }
            entries.swap(at, slot);
        }
    }
}

/// What reads a window: a staging buffer for each thread.
#[derive(Debug)]
pub struct Fetch {
    stagings: Vec<Buffer>,
}

impl Fetch {
    /// For `threads` threads, out of `budget`.
    pub fn new(threads: usize, budget: &MemoryBudget) -> Result<Fetch, DataError> {
        let staging = |_| Buffer::new(budget, "shuffle read buffers", STAGING_BYTES + THREAD_BYTES);
        Ok(Fetch { stagings: (0..threads.max(1)).map(staging).collect::<Result<_, _>>()? })
    }

    /// Bytes that it takes.
    pub fn bytes(threads: usize) -> usize {
        threads.max(1) * (STAGING_BYTES + THREAD_BYTES)
    }

    /// Reads what `entries` stand for into `data`. They are in the order of the files, and without gaps in `data`.
    pub fn read(
        &mut self,
        index: &RecordIndex,
        entries: &mut [Entry],
        data: &mut [u8],
    ) -> Result<(), DataError> {
        let stagings = self.stagings.split_first_mut();
        let (own, others) = stagings.needed("records are read without a buffer")?;
        if others.is_empty() || data.len() < THREADS_FROM_BYTES {
            return read_part(index, entries, data, staging_of(own));
        }
        let parts = others.len() + 1;
        let part_entries = entries.len().div_ceil(parts).max(1);
        let mut rest = (entries, data);
        thread::scope(|scope| {
            let mut reading = Vec::new();
            for staging in others {
                let (entries, data) = split_front(&mut rest, part_entries);
                let read = move || read_part(index, entries, data, staging_of(staging));
                let thread =
                    thread::Builder::new().name("tightfit-shuffle".to_string()).stack_size(STACK_BYTES);
                match thread.spawn_scoped(scope, read) {
                    Ok(thread) => reading.push(thread),
                    Err(e) => return Err(DataError::Thread(format!("a reading thread cannot start: {e}"))),
                }
            }
            let (entries, data) = rest;
            let last = read_part(index, entries, data, staging_of(own));
            // Of several errors the one that is first in the files.
            for thread in reading {
                let panicked = |_| Err(DataError::Thread("a reading thread panicked".to_string()));
                thread.join().unwrap_or_else(panicked)?;
            }
            last
        })
    }
}

/// The part of a thread's buffer that is read into; the rest of it stands for the thread's stack and is never touched.
fn staging_of(buffer: &mut Buffer) -> &mut [u8] {
    &mut buffer[..STAGING_BYTES]
}

/// Takes `count` entries and their bytes.
fn split_front<'a>(
    rest: &mut (&'a mut [Entry], &'a mut [u8]),
    count: usize,
) -> (&'a mut [Entry], &'a mut [u8]) {
    let (entries, data) = std::mem::take(rest);
    let (front, back) = entries.split_at_mut(count.min(entries.len()));
    let front_bytes = front.iter().map(|e| e.bytes as usize).sum::<usize>();
    let (front_data, back_data) = data.split_at_mut(front_bytes.min(data.len()));
    *rest = (back, back_data);
    (front, front_data)
}

/// The file that entries are read from.
struct Open<'i> {
    file: &'i IndexedFile,
    source: std::sync::Arc<SourceFile>,
    /// The number of the first record after it.
    end: u64,
}

impl<'i> Open<'i> {
    /// Opens the file of record `record`, which has to be the one that was indexed.
    fn new(index: &'i RecordIndex, record: u64) -> Result<Open<'i>, DataError> {
        let beyond = || DataError::Spec(format!("there is no record {record}"));
        let file = index.file_of(record).ok_or_else(beyond)?;
        let source = SourceFile::open(file.path()).map_err(DataError::Format)?;
        file.check(&source.metadata().map_err(|error| io_error(file.path(), error))?)?;
        Ok(Open { file, source, end: file.first_record() + file.records() })
    }
}

/// Reads `entries` into `data`, which begins at the first of them.
fn read_part(
    index: &RecordIndex,
    mut entries: &mut [Entry],
    data: &mut [u8],
    staging: &mut [u8],
) -> Result<(), DataError> {
    let origin = entries.first().map_or(0, |e| e.start);
    let mut open: Option<Open<'_>> = None;
    while let Some(first) = entries.first() {
        if !first.is_there() {
            entries = &mut entries[1..];
            continue;
        }
        let open = match &mut open {
            Some(open) if first.record < open.end => open,
            open => open.insert(Open::new(index, first.record)?),
        };
        let run = Run::at(entries, open.end, staging.len());
        let (read, rest) = entries.split_at_mut(run.entries);
        run.read(open, read, data, origin, staging)?;
        entries = rest;
    }
    Ok(())
}

/// Entries that are read by one call of the system.
struct Run {
    entries: usize,
    offset: u64,
    bytes: usize,
    /// True when there are gaps between them.
    is_staged: bool,
}

impl Run {
    /// The longest run at the start of `entries` of records before `file_end`.
    fn at(entries: &[Entry], file_end: u64, staging_bytes: usize) -> Run {
        let offset = entries.first().map_or(0, |e| e.offset);
        let (mut dense, mut staged) = ((0, offset), (0, offset));
        let (mut is_dense, mut end) = (true, offset);
        for (number, entry) in entries.iter().enumerate() {
            let gap_bytes = entry.offset.saturating_sub(end);
            if !entry.is_there() || entry.record >= file_end || gap_bytes > GAP_BYTES {
                break;
            }
            end = entry.end();
            is_dense &= gap_bytes == 0;
            if is_dense {
                dense = (number + 1, end);
            }
            if end - offset <= staging_bytes as u64 {
                staged = (number + 1, end);
            } else if !is_dense {
                break;
            }
        }
        let is_staged = staged.0 > dense.0;
        let (entries, end) = if is_staged { staged } else { dense };
        Run { entries: entries.max(1), offset, bytes: (end - offset) as usize, is_staged }
    }

    fn read(
        &self,
        open: &Open<'_>,
        entries: &mut [Entry],
        data: &mut [u8],
        origin: u32,
        staging: &mut [u8],
    ) -> Result<(), DataError> {
        let no_room = || DataError::Defect("a record lies beyond its window");
        if self.is_staged {
            let staging = staging.get_mut(..self.bytes).ok_or_else(no_room)?;
            open.source.read_exact_at(self.offset, staging).map_err(DataError::Format)?;
            for entry in entries.iter() {
                let from = staging.get((entry.offset - self.offset) as usize..);
                let from = from.and_then(|from| from.get(..entry.bytes as usize)).ok_or_else(no_room)?;
                place_of(data, entry, origin).ok_or_else(no_room)?.copy_from_slice(from);
            }
        } else {
            let start = entries.first().map_or(0, |e| (e.start - origin) as usize);
            let end = start.checked_add(self.bytes).ok_or_else(no_room)?;
            let place = data.get_mut(start..end).ok_or_else(no_room)?;
            open.source.read_exact_at(self.offset, place).map_err(DataError::Format)?;
        }
        for entry in entries {
            let record = place_of(data, entry, origin).ok_or_else(no_room)?;
            match check(record) {
                Some(state) => entry.set_state(state),
                None => return Err(open.file.changed()),
            }
        }
        Ok(())
    }
}

fn place_of<'d>(data: &'d mut [u8], entry: &Entry, origin: u32) -> Option<&'d mut [u8]> {
    let start = entry.start.checked_sub(origin)? as usize;
    data.get_mut(start..)?.get_mut(..entry.bytes as usize)
}

/// Whether a record, with what is around its data, is right; `None` when it is right and of another size.
fn check(whole: &[u8]) -> Option<State> {
    let (header, rest) = whole.split_first_chunk::<HEADER_BYTES>()?;
    let (data, crc) = rest.split_last_chunk::<FOOTER_BYTES>()?;
    if !is_plain_header(header) {
        return Some(State::BadLength);
    }
    let length: [u8; 8] = *header.first_chunk()?;
    if u64::from_le_bytes(length) != data.len() as u64 {
        return None;
    }
    let is_right = masked_crc(data) == u32::from_le_bytes(*crc);
    Some(if is_right { State::Good } else { State::BadData })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_back_to_their_slots() {
        let slots = [3u32, 0, 4, 2, 1, 5];
        let mut entries: Vec<_> = slots.iter().map(|slot| Entry::new(u64::from(*slot) * 7, *slot)).collect();
        by_slot(&mut entries);
        assert!(entries.iter().enumerate().all(|(at, e)| e.slot as usize == at && e.record == at as u64 * 7));
    }

    #[test]
    fn runs_end_at_gaps_files_and_staging() {
        let entry = |record, offset, bytes| Entry { offset, bytes, ..Entry::new(record, 0) };
        let run = |entries: &[Entry], end| {
            let run = Run::at(entries, end, 1000);
            (run.entries, run.bytes, run.is_staged)
        };
        let list = [entry(0, 0, 100), entry(1, 100, 100), entry(2, 200, 5000), entry(4, 5300, 50)];
        assert_eq!(run(&list, 9), (3, 5200, false), "dense runs may be larger than the staging buffer");
        assert_eq!(run(&list, 2), (2, 200, false), "a file ends");
        let list = [entry(0, 0, 100), entry(2, 300, 100), entry(3, 400, 100), entry(9, 900, 200)];
        assert_eq!(run(&list, 99), (3, 500, true), "the staging buffer is full");
        let list = [entry(0, 0, 100), entry(9, 100 + GAP_BYTES + 1, 100)];
        assert_eq!(run(&list, 99), (1, 100, false), "too far to read through");
        let list = [entry(0, 0, 100), entry(1, 100, 2000), entry(3, 2300, 10)];
        assert_eq!(run(&list, 99), (2, 2100, false), "more is dense than staged");
        let mut large = entry(1, 100, 0);
        large.set_state(State::TooLarge);
        assert_eq!(run(&[entry(0, 0, 100), large], 99), (1, 100, false));
    }
}
