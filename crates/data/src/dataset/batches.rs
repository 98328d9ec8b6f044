//! The bounded queue between the reading thread and whoever takes the batches.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tightfit_core::Reservation;

use crate::dataset::batch::Batch;
use crate::dataset::plan::PipelinePlan;
use crate::dataset::reader::Reader;
use crate::dataset::slot::{Layout, Slot};
use crate::error::{BadRow, DataError};
use crate::source::FileList;

/// Reasons of bad rows that are kept; more are only counted.
pub const KEPT_REASONS: usize = 8;

/// What a pipeline has done so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PipelineStats {
    /// Rows put into batches.
    pub rows: u64,
    /// Batches filled.
    pub batches: u64,
    /// Bad rows that were left out.
    pub skipped_rows: u64,
    /// The first of them: where and why.
    pub skipped: Vec<String>,
    /// Time spent reading and decoding.
    pub fill_time: Duration,
    /// Time the reader waited for a batch to be given back: then it is faster than its taker.
    pub reader_wait: Duration,
    /// Time the taker waited for a batch: then the reader is the bottleneck.
    pub taker_wait: Duration,
}

/// What the reading thread and the taker share.
pub(crate) struct Shared {
    pub layout: Layout,
    pub list: Arc<FileList>,
    state: Mutex<State>,
    /// A slot became free, or the pipeline stops.
    freed: Condvar,
    /// A batch became ready, or there are no more.
    filled: Condvar,
    stops: AtomicBool,
    _unbuffered: Reservation,
}

struct State {
    free: Vec<Slot>,
    ready: VecDeque<Slot>,
    /// Set when no more batches come; an error is told once.
    end: Option<Result<(), DataError>>,
    stats: PipelineStats,
}

impl Shared {
    /// `slots` are all free.
    pub fn new(layout: Layout, list: Arc<FileList>, slots: Vec<Slot>, unbuffered: Reservation) -> Shared {
        let ready = VecDeque::with_capacity(slots.len());
        let state = State { free: slots, ready, end: None, stats: PipelineStats::default() };
        Shared {
            layout,
            list,
            state: Mutex::new(state),
            freed: Condvar::new(),
            filled: Condvar::new(),
            stops: AtomicBool::new(false),
            _unbuffered: unbuffered,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Slots are moved in and out whole, so a panic elsewhere cannot have broken the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when the reader is to stop as soon as it can.
    pub fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    /// Gives an empty slot back.
    pub fn give_back(&self, slot: Slot) {
        self.state().free.push(slot);
        self.freed.notify_one();
    }

    /// The next free slot; `None` when the pipeline stops.
    pub fn take_free(&self) -> Option<Slot> {
        let start = Instant::now();
        let mut state = self.state();
        loop {
            if self.stops() {
                return None;
            }
            if let Some(mut slot) = state.free.pop() {
                state.stats.reader_wait += start.elapsed();
                (slot.rows, slot.text_bytes) = (0, 0);
                return Some(slot);
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands over a filled slot, which took `fill_time`.
    pub fn put_ready(&self, mut slot: Slot, fill_time: Duration) {
        let mut state = self.state();
        slot.skipped_rows = state.stats.skipped_rows;
        state.stats.rows += slot.rows as u64;
        state.stats.batches += 1;
        state.stats.fill_time += fill_time;
        state.ready.push_back(slot);
        drop(state);
        self.filled.notify_one();
    }

    /// Says that no more batches come.
    pub fn end(&self, result: Result<(), DataError>) {
        let mut state = self.state();
        if state.end.is_none() {
            state.end = Some(result);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Counts a row that is left out.
    pub fn skip(&self, bad: &BadRow) {
        let mut state = self.state();
        state.stats.skipped_rows += 1;
        if state.stats.skipped.len() < KEPT_REASONS {
            state.stats.skipped.push(bad.to_string());
        }
    }
}

/// The batches of a data set, read ahead in order by a thread of their own. Dropping it stops the thread.
pub struct Batches {
    shared: Arc<Shared>,
    plan: PipelinePlan,
    thread: Option<JoinHandle<()>>,
}

impl Batches {
    pub(crate) fn start(
        shared: Arc<Shared>,
        plan: PipelinePlan,
        mut reader: Reader,
    ) -> Result<Batches, DataError> {
        let theirs = shared.clone();
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| reader.run())).is_err() {
                theirs.end(Err(DataError::Thread("the reading thread panicked".to_string())));
            }
        };
        let thread = std::thread::Builder::new().name("tightfit-data".to_string()).spawn(run);
        let thread =
            thread.map_err(|e| DataError::Thread(format!("the reading thread cannot start: {e}")))?;
        Ok(Batches { shared, plan, thread: Some(thread) })
    }

    /// The next batch in order, or `None` after the last.
    ///
    /// # Errors
    /// [`DataError`] for the first row that cannot be used, unless such rows are skipped, and when reading fails. Rows
    /// before it in the same batch are not returned. Nothing comes after an error.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Batch>, DataError> {
        let start = Instant::now();
        let mut state = self.shared.state();
        loop {
            if let Some(slot) = state.ready.pop_front() {
                state.stats.taker_wait += start.elapsed();
                return Ok(Some(Batch::new(slot, self.shared.clone())));
            }
            if let Some(end) = &mut state.end {
                return std::mem::replace(end, Ok(())).map(|()| None);
            }
            state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What has been done so far.
    pub fn stats(&self) -> PipelineStats {
        self.shared.state().stats.clone()
    }

    /// The memory it holds.
    pub fn plan(&self) -> &PipelinePlan {
        &self.plan
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        // Under the lock, so that the reader cannot miss it between looking and waiting.
        let state = self.shared.state();
        self.shared.freed.notify_all();
        drop(state);
        if let Some(thread) = self.thread.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("plan", &self.plan).finish_non_exhaustive()
    }
}
