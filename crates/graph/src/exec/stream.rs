//! Weights that pass through a double-buffered window, filled by a thread that reads ahead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tightfit_core::{BudgetError, Buffer, MemoryBudget};

use crate::ir::Constant;
use crate::operator::{EachBlock, OpError, WeightStream};
use crate::plan::Plan;

/// Stack of the reading thread: it only calls the system.
const STACK_BYTES: usize = 64 << 10;

/// One block of a weight.
#[derive(Debug, Clone)]
struct Block {
    constant: Arc<Constant>,
    offset: u64,
    bytes: usize,
}

/// The window over all streamed weights of a plan: blocks come in the order of the plan's steps, and the first block
/// of the next run follows the last of this one.
pub struct Window {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    read_bytes: Arc<AtomicU64>,
    _memory: Buffer,
}

struct Shared {
    blocks: Vec<Block>,
    /// The two halves of the window.
    halves: [Half; 2],
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

struct Half {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: a half is written by the reader only while `State` says it is empty, and read by the consumer only while it
// says it is full; the mutex orders the two.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[derive(Default)]
struct State {
    /// Blocks filled since the start; block `n` is in half `n % 2`.
    filled: u64,
    /// Blocks given back since the start.
    consumed: u64,
    error: Option<OpError>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// The window of a plan, or `None` where nothing is streamed in blocks.
    ///
    /// # Errors
    /// [`BudgetError`] when the window does not fit.
    pub fn new(plan: &Plan, budget: &MemoryBudget) -> Result<Option<Window>, BudgetError> {
        let blocks: Vec<Block> = plan
            .steps
            .iter()
            .filter_map(|s| s.stream.as_ref())
            .filter(|s| s.block_bytes > 0)
            .flat_map(|s| blocks_of(&s.constant, s.block_bytes))
            .collect();
        if blocks.is_empty() {
            return Ok(None);
        }
        let bytes = plan.block_bytes;
        let mut memory = Buffer::new(budget, "window", 2 * bytes)?;
        let start = memory.as_mut_ptr();
        let halves = [Half { start, bytes }, Half { start: start.wrapping_add(bytes), bytes }];
        let shared = Arc::new(Shared {
            blocks,
            halves,
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let read_bytes = Arc::new(AtomicU64::new(0));
        let (for_reader, counter) = (shared.clone(), read_bytes.clone());
        let reader = std::thread::Builder::new()
            .name("read-ahead".into())
            .stack_size(STACK_BYTES)
            .spawn(move || read_ahead(&for_reader, &counter))
            .ok();
        Ok(Some(Window { shared, reader, read_bytes, _memory: memory }))
    }

    /// Bytes read from files so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Calls `each` with the next block.
    fn next_block(&self, each: &mut dyn FnMut(&[u8]) -> Result<(), OpError>) -> Result<(), OpError> {
        let shared = &*self.shared;
        let mut state = shared.state();
        while state.filled == state.consumed {
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if self.reader.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(OpError::Invalid(
                    "the thread that reads weights has ended after an earlier error".into(),
                ));
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.consumed;
        drop(state);
        let block = &shared.blocks[(number % shared.blocks.len() as u64) as usize];
        let half = &shared.halves[(number % 2) as usize];
        // SAFETY: the half is full and stays so until `consumed` is raised below; the block fits it, see `read_ahead`.
        let bytes = unsafe { std::slice::from_raw_parts(half.start, block.bytes) };
        let result = each(bytes);
        shared.state().consumed += 1;
        shared.changed.notify_all();
        result
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // The lock is taken so that the reader is either before its check of `stop` or already waiting.
        drop(self.shared.state());
        self.shared.changed.notify_all();
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has nothing more to give; its block is never marked full.
            let _ = reader.join();
        }
    }
}

fn blocks_of(constant: &Arc<Constant>, block_bytes: usize) -> impl Iterator<Item = Block> + use<> {
    let (constant, total) = (constant.clone(), constant.bytes());
    let starts = (0..total).step_by(block_bytes.max(1));
    starts.map(move |start| Block {
        constant: constant.clone(),
        offset: start as u64,
        bytes: block_bytes.min(total - start),
    })
}

fn read_ahead(shared: &Shared, read_bytes: &AtomicU64) {
    for number in 0u64.. {
        let mut state = shared.state();
        while state.filled - state.consumed == 2 && !shared.stop.load(Ordering::Relaxed) {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let block = &shared.blocks[(number % shared.blocks.len() as u64) as usize];
        let half = &shared.halves[(number % 2) as usize];
        // SAFETY: fewer than two blocks are full, so this half is empty and nobody else uses it.
        let memory = unsafe { std::slice::from_raw_parts_mut(half.start, half.bytes) };
        let result = block.constant.read_at(block.offset, &mut memory[..block.bytes]);
        read_bytes.fetch_add(block.bytes as u64, Ordering::Relaxed);
        let mut state = shared.state();
        match result {
            Ok(()) => state.filled += 1,
            Err(error) => state.error = Some(error),
        }
        let failed = state.error.is_some();
        drop(state);
        shared.changed.notify_all();
        if failed {
            return;
        }
    }
}

/// The stream of one step.
pub struct StepStream<'a> {
    /// The window, for a weight that comes in blocks.
    pub window: Option<&'a Window>,
    /// The weight.
    pub constant: &'a Constant,
    /// Bytes of a block.
    pub block_bytes: usize,
}

impl WeightStream for StepStream<'_> {
    fn blocks(&self, each: &mut EachBlock<'_>) -> Result<(), OpError> {
        let window =
            self.window.ok_or(OpError::Internal("a weight that is read in pieces was read in blocks"))?;
        let total = self.constant.bytes();
        for start in (0..total).step_by(self.block_bytes.max(1)) {
            window.next_block(&mut |bytes| each(start as u64, bytes))?;
        }
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OpError> {
        self.constant.read_at(offset, bytes)
    }
}
