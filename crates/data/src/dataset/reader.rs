//! What the reading thread does: fills slots with rows in order, alone or with a few others that decode.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use tightfit_core::MemoryBudget;

use crate::dataset::batches::Shared;
use crate::dataset::fill::{Scratch, fill};
use crate::dataset::slot::{FreeRows, Row, Slot, TextPool};
use crate::error::{BadRow, DataError, Needed, RowFault};
use crate::source::FileList;
use crate::source::pipeline::SavedStates;
use crate::source::stream::{BadRead, Item, Payload, RowPlace, Stream};

/// The stack of a decoding thread: decoders keep a few KiB there.
const STACK_BYTES: usize = 512 << 10;

/// A reader without anything to decode with.
const NO_SCRATCH: &str = "a reader has no memory to decode in";

/// The reading thread.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    stream: Stream,
    /// One for each thread that decodes; the first is the reading thread's own.
    scratches: Vec<Scratch>,
    skip_bad: bool,
    /// Where large rows find memory that was not planned for.
    budget: MemoryBudget,
    /// Where states of a pipeline are saved, if they are, and the batches filled so far.
    states: Option<SavedStates>,
    batches: u64,
}

impl Reader {
    /// Rows that are larger than was planned for take what is free of `budget`.
    pub fn new(
        shared: Arc<Shared>,
        stream: Stream,
        scratches: Vec<Scratch>,
        skip_bad: bool,
        budget: &MemoryBudget,
    ) -> Reader {
        let budget = budget.clone();
        Reader { shared, stream, scratches, skip_bad, budget, states: None, batches: 0 }
    }

    /// Saves the states of the pipeline that rows come from.
    pub fn save_to(&mut self, states: SavedStates) {
        self.stream.resume(states.resume.clone());
        self.states = Some(states);
    }

    /// Saves the state after a batch, where that is to be done.
    fn save(&mut self) -> Result<(), DataError> {
        self.batches += 1;
        match &self.states {
            Some(states) if self.batches.is_multiple_of(states.every.max(1)) => {
                let number = states.first + self.batches / states.every.max(1) - 1;
                self.stream.save(&states.path(number))
            }
            _ => Ok(()),
        }
    }

    /// Fills slots until the rows or the pipeline end.
    pub fn run(&mut self) {
        while let Some(mut slot) = self.shared.take_free() {
            let start = Instant::now();
            let filled = self.fill(&mut slot).and_then(|filled| {
                if filled == Filled::Full {
                    self.save()?;
                }
                Ok(filled)
            });
            slot.end = self.stream.position();
            let cleared = match slot.rows < self.shared.layout.batch {
                true => slot.clear_rest(&self.shared.layout),
                false => Ok(()),
            };
            let filled = filled.and_then(|filled| cleared.map(|()| filled).map_err(DataError::from));
            if slot.rows > 0 && filled.is_ok() {
                self.shared.put_ready(slot, start.elapsed());
            } else {
                self.shared.give_back(slot);
            }
            match filled {
                Ok(Filled::Full) => {}
                Ok(Filled::AtEnd) => return self.shared.end(Ok(())),
                Err(error) => return self.shared.end(Err(error)),
            }
        }
    }

    fn fill(&mut self, slot: &mut Slot) -> Result<Filled, DataError> {
        if self.scratches.len() == 1 {
            return self.fill_alone(slot);
        }
        // Bad rows leave gaps that are closed up, and what is then missing is dealt again.
        while slot.rows < self.shared.layout.batch {
            if self.fill_together(slot)? == Filled::AtEnd {
                return Ok(Filled::AtEnd);
            }
        }
        Ok(Filled::Full)
    }

    fn fill_alone(&mut self, slot: &mut Slot) -> Result<Filled, DataError> {
        let Reader { shared, stream, scratches, skip_bad, budget, .. } = self;
        let scratch = scratches.first_mut().needed(NO_SCRATCH)?;
        let (mut rows, mut text) = slot.deal(&shared.layout)?;
        let (mut good, mut filled) = (0, Filled::Full);
        let mut next = rows.deal();
        while let Some(row) = &mut next {
            if shared.stops() {
                filled = Filled::AtEnd;
                break;
            }
            let bad = match stream.advance() {
                Ok(false) => {
                    filled = Filled::AtEnd;
                    break;
                }
                Err(bad) if bad.grows_to.is_some() => match stream.grow(bad, budget) {
                    Ok(()) => continue,
                    Err(bad) => Err(bad),
                },
                Err(bad) => Err(bad),
                Ok(true) => match stream.current() {
                    None => continue,
                    Some(item) => fill_row(shared, &item, row, &mut text, scratch),
                },
            };
            match bad {
                Ok(()) => {
                    good += 1;
                    next = rows.deal();
                }
                Err(bad) if bad.is_left_out(*skip_bad) => shared.skip(&bad.bad),
                Err(bad) => return Err(DataError::Row(bad.bad)),
            }
        }
        slot.close_up(&shared.layout, good)?;
        Ok(filled)
    }

    fn fill_together(&mut self, slot: &mut Slot) -> Result<Filled, DataError> {
        let Reader { shared, stream, scratches, skip_bad, .. } = self;
        let (own, others) = scratches.split_first_mut().needed(NO_SCRATCH)?;
        let (rows, _) = slot.deal(&shared.layout)?;
        let work = Work {
            stream,
            rows,
            dealt: 0,
            filled: Filled::Full,
            skip_bad: *skip_bad,
            bad: Vec::new(),
            large: None,
            is_over: false,
        };
        let work = Mutex::new(work);
        let started = thread::scope(|scope| {
            let mut started = Ok(());
            for scratch in others {
                let thread =
                    thread::Builder::new().name("tightfit-decode".to_string()).stack_size(STACK_BYTES);
                let spawned = thread.spawn_scoped(scope, || decode_rows(shared, &work, scratch));
                started = started.and(spawned.map(drop));
            }
            decode_rows(shared, &work, own);
            started
        });
        started.map_err(|e| DataError::Thread(format!("a decoding thread cannot start: {e}")))?;
        let Work { dealt, filled, mut bad, large, .. } =
            work.into_inner().unwrap_or_else(PoisonError::into_inner);
        bad.sort_by_key(|(row, _)| *row);
        for (_, bad) in bad {
            if !bad.is_left_out(*skip_bad) {
                return Err(DataError::Row(bad.bad));
            }
            shared.skip(&bad.bad);
        }
        slot.close_up(&shared.layout, dealt)?;
        // Nothing else is under way now, so that what fits does not depend on threads.
        let grown = large.map_or(Ok(()), |large| self.stream.grow(large, &self.budget));
        grown.map_err(|bad| DataError::Row(bad.bad))?;
        Ok(filled)
    }
}

/// Whether there may be more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    Full,
    AtEnd,
}

/// What decoding threads share while they fill one slot.
struct Work<'a> {
    stream: &'a mut Stream,
    rows: FreeRows<'a>,
    /// Rows dealt out.
    dealt: usize,
    filled: Filled,
    skip_bad: bool,
    /// Bad rows by the number of the row they were, or would have been, dealt.
    bad: Vec<(usize, BadRead)>,
    /// The record that the window has to grow to before there are more rows.
    large: Option<BadRead>,
    /// True when an error has made further rows pointless.
    is_over: bool,
}

impl Work<'_> {
    fn put_bad(&mut self, row: usize, bad: BadRead) {
        self.is_over |= !bad.is_left_out(self.skip_bad);
        self.bad.push((row, bad));
    }
}

/// What a thread takes along of the row it was dealt.
enum Taken {
    Image,
    Record {
        offset: u64,
        bytes: usize,
    },
    /// Filled already, or bad.
    Nothing,
}

/// Fills rows until there are no more.
fn decode_rows(shared: &Shared, work: &Mutex<Work<'_>>, scratch: &mut Scratch) {
    let mut no_text = 0;
    let mut text = TextPool::empty(&mut no_text);
    while let Some((index, mut row, taken)) = take_row(shared, work, scratch, &mut text) {
        let payload = match taken {
            Taken::Nothing => continue,
            Taken::Image => match shared.list.files.get(row.position.file as usize) {
                Some(file) => Payload::Image(file),
                None => continue,
            },
            // It was put there by this thread.
            Taken::Record { offset, bytes } => Payload::Record { offset, data: &scratch.record[..bytes] },
        };
        let item = Item { position: *row.position, payload };
        let filled = fill(&shared.layout, &item.payload, &mut row, &mut text, &mut scratch.fill);
        *row.is_good = filled.is_ok();
        if let Err(fault) = filled {
            let bad = bad_row(&shared.list, &item, fault);
            lock(work).put_bad(index, BadRead { bad, can_skip: true, grows_to: None });
        }
    }
}

/// Takes the next row of the stream along, with its number among the rows dealt.
fn take_row<'a>(
    shared: &Shared,
    work: &Mutex<Work<'a>>,
    scratch: &mut Scratch,
    text: &mut TextPool<'_>,
) -> Option<(usize, Row<'a>, Taken)> {
    let mut work = lock(work);
    if work.is_over || work.filled == Filled::AtEnd {
        return None;
    }
    let mut row = work.rows.deal()?;
    let index = work.dealt;
    loop {
        if shared.stops() {
            work.filled = Filled::AtEnd;
            return None;
        }
        match work.stream.advance() {
            Ok(true) => break,
            Ok(false) => {
                work.filled = Filled::AtEnd;
                return None;
            }
            Err(bad) if bad.grows_to.is_some() => {
                (work.large, work.is_over) = (Some(bad), true);
                return None;
            }
            Err(bad) => {
                work.put_bad(index, bad);
                if work.is_over {
                    return None;
                }
            }
        }
    }
    work.dealt += 1;
    let item = work.stream.current()?;
    *row.position = item.position;
    let fault = match &item.payload {
        Payload::Image(_) => return Some((index, row, Taken::Image)),
        Payload::Record { offset, data } if data.len() <= scratch.record.len() => {
            scratch.record[..data.len()].copy_from_slice(data);
            return Some((index, row, Taken::Record { offset: *offset, bytes: data.len() }));
        }
        // The others are no more than a copy, and a large record stays in the window; so it is done at once.
        Payload::Record { .. } | Payload::Row { .. } | Payload::Element(_) => {
            match fill(&shared.layout, &item.payload, &mut row, text, &mut scratch.fill) {
                Ok(()) => {
                    *row.is_good = true;
                    return Some((index, row, Taken::Nothing));
                }
                Err(fault) => fault,
            }
        }
    };
    let bad = bad_row(&shared.list, &item, fault);
    work.put_bad(index, BadRead { bad, can_skip: true, grows_to: None });
    Some((index, row, Taken::Nothing))
}

fn fill_row(
    shared: &Shared,
    item: &Item<'_>,
    row: &mut Row<'_>,
    text: &mut TextPool<'_>,
    scratch: &mut Scratch,
) -> Result<(), BadRead> {
    let text_bytes = text.used_bytes();
    *row.position = item.position;
    match fill(&shared.layout, &item.payload, row, text, &mut scratch.fill) {
        Ok(()) => {
            *row.is_good = true;
            Ok(())
        }
        Err(fault) => {
            text.go_back(text_bytes);
            Err(BadRead { bad: bad_row(&shared.list, item, fault), can_skip: true, grows_to: None })
        }
    }
}

fn bad_row(list: &FileList, item: &Item<'_>, fault: RowFault) -> Box<BadRow> {
    let RowPlace { file, record } = item.position;
    let path: PathBuf = list.path(file).to_path_buf();
    let (record, offset) = match &item.payload {
        Payload::Image(_) => (None, None),
        Payload::Element(_) => (Some(record), None),
        Payload::Record { offset, .. } => (Some(record), Some(*offset)),
        Payload::Row { header, .. } => {
            let before = record.saturating_mul(header.row_bytes() as u64);
            (Some(record), Some(header.data_offset.saturating_add(before)))
        }
    };
    Box::new(BadRow { path, record, offset, fault })
}

fn lock<'w, 'a>(work: &'w Mutex<Work<'a>>) -> MutexGuard<'w, Work<'a>> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}
