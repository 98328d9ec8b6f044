//! Weights that pass through a double-buffered window, filled by a thread that reads ahead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tightfit_core::{Buffer, MemoryBudget, Part, Shared};
use tightfit_kernels::ThreadError;

use crate::error::GraphError;
use crate::ir::Constant;
use crate::operator::{EachBlock, OpError, WeightStream};
use crate::plan::{Plan, StreamPlan};

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
/// of the next run follows the last of this one. A branch that is not taken is passed over.
pub struct Window {
    ahead: Arc<Ahead>,
    reader: Option<JoinHandle<()>>,
    read_bytes: Arc<AtomicU64>,
}

/// What the reader and the consumer share.
struct Ahead {
    blocks: Vec<Block>,
    /// Both halves of the window. One is written by the reader only while `state` says that it is empty, and read by
    /// the consumer only while it says that it is full; the mutex orders the two.
    memory: Shared<'static, u8>,
    /// Bytes of a half.
    half_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Blocks filled since the start; the `n`th is in half `n % 2`.
    filled: u64,
    /// Blocks given back since the start.
    consumed: u64,
    /// What is added to the number of a block since the start for its place in the list, which is taken round and round.
    shift: u64,
    /// True while the reader fills a half.
    is_reading: bool,
    /// True while the consumer waits for the reader to stop.
    is_seeking: bool,
    error: Option<OpError>,
}

impl Ahead {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block that is the `number`th since the start.
    fn block(&self, state: &State, number: u64) -> &Block {
        &self.blocks[((number + state.shift) % self.blocks.len() as u64) as usize]
    }

    /// The memory of `block`, the `number`th since the start: the front of its half.
    ///
    /// # Safety
    /// The half is the caller's, as `state` tells.
    unsafe fn memory(&self, block: &Block, number: u64) -> Part<'_, u8> {
        // SAFETY: the halves are apart, a block is at most a half (rule 1 of `plan::validate`), and the caller vouches
        // for the rest.
        unsafe { self.memory.part((number % 2) as usize * self.half_bytes, block.bytes) }
    }
}

impl Window {
    /// The window of a plan, or `None` where nothing is streamed in blocks.
    ///
    /// # Errors
    /// [`GraphError::Budget`] when the window does not fit, [`GraphError::Threads`] when the system gives no thread to
    /// read ahead.
    pub fn new(plan: &Plan, budget: &MemoryBudget) -> Result<Option<Window>, GraphError> {
        let blocks = all_blocks(plan);
        if blocks.is_empty() {
            return Ok(None);
        }
        let memory = Buffer::new(budget, "window", plan.window_bytes())?;
        let ahead = Arc::new(Ahead {
            blocks,
            memory: memory.into(),
            half_bytes: plan.block_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let read_bytes = Arc::new(AtomicU64::new(0));
        let (for_reader, counter) = (ahead.clone(), read_bytes.clone());
        let reader = std::thread::Builder::new()
            .name("read-ahead".into())
            .stack_size(STACK_BYTES)
            .spawn(move || read_ahead(&for_reader, &counter))
            .map_err(|source| GraphError::Threads(ThreadError::new(2, 1, source)))?;
        Ok(Some(Window { ahead, reader: Some(reader), read_bytes }))
    }

    /// Bytes read from files so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Makes the block of this number in the plan the next one.
    fn seek(&self, block: u64) {
        let ahead = &*self.ahead;
        let count = ahead.blocks.len() as u64;
        let mut state = ahead.state();
        if (state.consumed + state.shift) % count == block {
            return;
        }
        state.is_seeking = true;
        while state.is_reading {
            state = ahead.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.consumed = state.filled;
        state.shift = (block + count - state.filled % count) % count;
        state.is_seeking = false;
        drop(state);
        ahead.changed.notify_all();
    }

    /// Calls `each` with the next block.
    fn next_block(&self, each: &mut dyn FnMut(&[u8]) -> Result<(), OpError>) -> Result<(), OpError> {
        let ahead = &*self.ahead;
        let mut state = ahead.state();
        while state.filled == state.consumed {
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if self.reader.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(OpError::Invalid(
                    "the thread that reads weights has ended after an earlier error".into(),
                ));
            }
            state = ahead.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.consumed;
        let block = ahead.block(&state, number);
        drop(state);
        // SAFETY: the half is full and stays so until `consumed` is raised below, after the last use of the part.
        let memory = unsafe { ahead.memory(block, number) };
        let result = each(&memory);
        drop(memory);
        ahead.state().consumed += 1;
        ahead.changed.notify_all();
        result
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.ahead.stop.store(true, Ordering::Relaxed);
        // The lock is taken so that the reader is either before its check of `stop` or already waiting.
        drop(self.ahead.state());
        self.ahead.changed.notify_all();
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has nothing more to give; its block is never marked full.
            let _ = reader.join();
        }
    }
}

/// The blocks of a plan in the order of [`StreamPlan::first_block`].
fn all_blocks(plan: &Plan) -> Vec<Block> {
    let mut blocks = Vec::new();
    for step in &plan.steps {
        if let Some(stream) = step.stream.as_ref().filter(|stream| stream.block_bytes > 0) {
            blocks.extend(blocks_of(&stream.constant, stream.block_bytes));
        }
        blocks.extend(step.region().into_iter().flat_map(|region| &region.bodies).flat_map(all_blocks));
    }
    blocks
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

fn read_ahead(ahead: &Ahead, read_bytes: &AtomicU64) {
    loop {
        let mut state = ahead.state();
        while (state.filled - state.consumed == 2 || state.is_seeking) && !ahead.stop.load(Ordering::Relaxed)
        {
            state = ahead.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if ahead.stop.load(Ordering::Relaxed) {
            return;
        }
        let number = state.filled;
        let block = ahead.block(&state, number);
        state.is_reading = true;
        drop(state);
        // SAFETY: fewer than two blocks are full, so this half is empty until `filled` is raised below, after the last
        // use of the part; `is_reading` keeps the consumer from making it another block's.
        let mut memory = unsafe { ahead.memory(block, number) };
        let result = block.constant.read_at(block.offset, &mut memory);
        drop(memory);
        read_bytes.fetch_add(block.bytes as u64, Ordering::Relaxed);
        let mut state = ahead.state();
        state.is_reading = false;
        match result {
            Ok(()) => state.filled += 1,
            Err(error) => state.error = Some(error),
        }
        let failed = state.error.is_some();
        drop(state);
        ahead.changed.notify_all();
        if failed {
            return;
        }
    }
}

/// The stream of one step.
pub struct StepStream<'a> {
    /// The window, for a weight that comes in blocks.
    pub window: Option<&'a Window>,
    /// The weight, and its blocks.
    pub plan: &'a StreamPlan,
}

impl WeightStream for StepStream<'_> {
    fn blocks(&self, each: &mut EachBlock<'_>) -> Result<(), OpError> {
        let window =
            self.window.ok_or(OpError::Internal("a weight that is read in pieces was read in blocks"))?;
        let total = self.plan.constant.bytes();
        if total > 0 {
            window.seek(self.plan.first_block);
        }
        for start in (0..total).step_by(self.plan.block_bytes.max(1)) {
            window.next_block(&mut |bytes| each(start as u64, bytes))?;
        }
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OpError> {
        self.plan.constant.read_at(offset, bytes)
    }
}
