//! Threads of their own between two stages: `prefetch`, and `map` with several threads, in order or not.
//!
//! Elements go round in blocks, which are made when they are first needed and then used again: a thread takes a free
//! block, fills it from the input under a lock, does its operations to it without, and puts it where the taker finds
//! it. There are never more blocks than the knobs allow, so whoever is faster waits. Where there is no thread left,
//! whoever takes the elements fills the blocks.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tightfit_core::MemoryBudget;

use super::worker::{Block, Shared, State, Worker, lock};
use crate::error::DataError;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::json::{Args, Read};
use crate::flow::maps::{Chain, MapOp, schema_of};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage, add, has_waited};
use crate::flow::state::{StateReader, StateWriter};

/// A block is full with this many elements, ...
const BLOCK_ELEMENTS: usize = 256;

/// ... or this many bytes, ...
const BLOCK_BYTES: usize = 32 << 10;

/// ... or when filling it has taken this long: a slow input is not waited for.
const BLOCK_TIME: Duration = Duration::from_millis(1);
use crate::flow::tuner::Knobs;

/// The stack of a thread; decoders keep a few KiB there.
const STACK_BYTES: usize = 512 << 10;

/// See the module.
pub(crate) struct Parallel {
    shared: Arc<Shared>,
    schema: Arc<Schema>,
    ops: Vec<Arc<dyn MapOp>>,
    budget: MemoryBudget,
    /// Whether there are threads for it; without, whoever takes the elements does the work, through `own`.
    has_threads: bool,
    threads: Vec<JoinHandle<()>>,
    own: Option<Worker>,
    /// Threads that are not on the bench, as far as this knows.
    awake: usize,
    /// The block that elements are lent from, and the number of the one that is lent.
    block: Option<Block>,
    at: usize,
    meter: Arc<Meter>,
    context: Context,
}

/// How a parallel stage is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParallelOptions {
    /// Threads, if there are as many; `None` to leave that to the tuner.
    pub threads: Option<usize>,
    /// Elements that wait, at most; `None` to leave that to the tuner.
    pub elements: Option<usize>,
    /// Whether elements come in the order of the input.
    pub is_ordered: bool,
}

/// Elements made ready before they are asked for, by a thread of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prefetch {
    /// Elements that wait, about; `None` for as many as are worth it.
    pub elements: Option<usize>,
}

impl StageSpec for Prefetch {
    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("prefetch", &[&input]);
        let options = ParallelOptions { threads: Some(1), elements: self.elements, is_ordered: true };
        let stage = Parallel::new(input, Vec::new(), options, meter.clone(), context)?;
        Ok(context.node(stage, meter))
    }
}

pub(crate) fn read_prefetch(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let elements = if args.value().is_null() { None } else { Some(args.number()? as usize) };
    Ok(Arc::new(Prefetch { elements }))
}

struct Shared {
    input: Mutex<Input>,
    state: Mutex<State>,
    /// Told when a block is free, a knob was turned or the pause is over; when one is ready or there are no more; and
    /// when a thread is done with its block.
    freed: Condvar,
    filled: Condvar,
    parked: Condvar,
    knobs: Arc<Knobs>,
    is_ordered: bool,
    /// The number of the pass over the data.
    epoch: AtomicU64,
}

struct Input {
    node: Node,
    /// The number of the next block.
    next: u64,
    is_at_end: bool,
}

#[derive(Default)]
struct State {
    free: Vec<Block>,
    ready: VecDeque<Block>,
    /// Blocks that exist.
    blocks: usize,
    /// The number of the block that the taker gets next.
    next: u64,
    /// The number behind the last block, once it is known.
    end: Option<u64>,
    /// Bytes of all blocks.
    held_bytes: usize,
    /// Threads that are filling a block.
    working: usize,
    is_paused: bool,
    stops: bool,
    failure: Option<DataError>,
}

/// Some elements on their way.
#[derive(Default)]
struct Block {
    number: u64,
    inputs: Vec<Element>,
    outputs: Vec<Element>,
    /// How many of `outputs` are in use.
    elements: usize,
    /// Errors, each with the number of elements before it.
    errors: VecDeque<(usize, DataError)>,
    held_bytes: usize,
    /// True when it was made of a saved state, and is none of those that go round.
    is_extra: bool,
}

impl Parallel {
    pub fn new(
        input: Node,
        ops: Vec<Arc<dyn MapOp>>,
        options: ParallelOptions,
        meter: Arc<Meter>,
        context: &Context,
    ) -> Result<Parallel, DataError> {
        let schema = Arc::new(schema_of(&ops, input.schema())?);
        let has_threads = context.tuner.claim();
        // Without anything to do, a second thread would only wait for the first.
        let max_threads = if ops.is_empty() { 1 } else { options.threads.unwrap_or(context.threads).max(1) };
        let knobs = Arc::new(Knobs {
            threads: AtomicUsize::new(1),
            max_threads,
            is_fixed: options.threads.is_some(),
            depth: AtomicUsize::new(options.elements.unwrap_or(1).max(1)),
            max_depth: options.elements.map(|elements| elements.max(1)),
            block_bytes: AtomicUsize::new(0),
            full: AtomicU64::new(0),
            meter: meter.clone(),
        });
        meter.threads.store(knobs.threads.load(Ordering::Relaxed) as u64, Ordering::Relaxed);
        context.tuner.add(knobs.clone());
        let shared = Arc::new(Shared {
            input: Mutex::new(Input { node: input, next: 0, is_at_end: false }),
            state: Mutex::new(State::default()),
            freed: Condvar::new(),
            filled: Condvar::new(),
            parked: Condvar::new(),
            knobs,
            is_ordered: options.is_ordered,
            epoch: AtomicU64::new(0),
        });
        let budget = context.budget.clone();
        let context = context.clone();
        Ok(Parallel { shared, schema, ops, budget, threads: Vec::new(), block: None, at: 0, meter, context })
        if has_threads {
            meter.threads.store(1, Ordering::Relaxed);
            context.tuner.add(knobs.clone());
        }
        let shared = Arc::new(Shared::new(input, knobs, options.is_ordered));
        Ok(Parallel {
            shared,
            schema,
            ops,
            budget: context.budget.clone(),
            has_threads,
            threads: Vec::new(),
            own: None,
            awake: 1,
            block: None,
            at: 0,
            meter,
            context: context.clone(),
        })
    }

    fn worker(&self, number: usize) -> Result<Worker, DataError> {
        let input = lock(&self.shared.input).node.schema().clone();
        let Context { names, budget, .. } = &self.context;
        let chain = Chain::new(&self.ops, &input, self.meter.clone(), names, budget)?;
        Ok(Worker::new(self.shared.clone(), chain, number, self.schema.clone(), budget))
    }

    /// Starts the threads that the knobs ask for and are not there yet, and wakes those that are.
    fn start_threads(&mut self) -> Result<(), DataError> {
        if !self.has_threads {
            if self.own.is_none() {
                self.own = Some(self.worker(0)?);
            }
            return Ok(());
        }
        let wanted = self.shared.knobs.threads.load(Ordering::Relaxed);
        while self.threads.len() < wanted {
            let number = self.threads.len();
            let worker = self.worker(number)?;
            let builder = thread::Builder::new().name(format!("tightfit-{number}")).stack_size(STACK_BYTES);
            let thread = builder.spawn(move || worker.run());
            self.threads.push(thread.map_err(|e| DataError::Thread(format!("a thread cannot start: {e}")))?);
        }
        if mem::replace(&mut self.awake, wanted) < wanted {
            // Under the lock, so that none is about to sit down that has not seen the knob.
            let _state = lock(&self.shared.state);
            self.shared.bench.notify_all();
        }
        Ok(())
    }

    /// Gives the block back that was lent from, and takes the next; `None` behind the last.
    fn next_block(&mut self) -> Result<Option<Block>, DataError> {
        let old = self.block.take();
        let mut start = None;
        let mut state = lock(&self.shared.state);
        if let Some(old) = old {
            state.give_back(old, &self.shared.knobs);
        }
        let result = loop {
            if let Some(error) = state.failure.take() {
                break Err(error);
            }
            if let Some(block) = state.take_ready(self.shared.is_ordered) {
                break Ok(Some(block));
            }
            if state.end.is_some_and(|end| state.next >= end) {
                break Ok(None);
            }
            if let Some(own) = &mut self.own {
                let block = state.take_free();
                drop(state);
                own.fill(block);
                state = lock(&self.shared.state);
                continue;
            }
            start.get_or_insert_with(Instant::now);
            self.shared.freed.notify_one();
            state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        self.shared.freed.notify_one();
        if let Some(start) = start {
            let waited = start.elapsed();
            has_waited(waited);
            add(&self.meter.wait_ns, waited.as_nanos() as u64);
        }
        result
    }

    /// Waits until no thread works on a block.
    fn pause(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.shared.state);
        state.is_paused = true;
        while state.working > 0 {
            state = self.shared.parked.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn go_on(&self, mut state: MutexGuard<'_, State>) {
        state.is_paused = false;
        drop(state);
        self.shared.freed.notify_all();
    }
}

impl Stage for Parallel {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        loop {
            if let Some(block) = &mut self.block {
                self.at = self.at.wrapping_add(1);
                if block.errors.front().is_some_and(|(before, _)| *before <= self.at) {
                    self.at = self.at.wrapping_sub(1);
                    return block.errors.pop_front().map_or(Ok(false), |(_, error)| Err(error));
                }
                if self.at < block.elements {
                    return Ok(true);
                }
            }
            self.context.tuner.tune();
            self.start_threads()?;
            match self.next_block()? {
                Some(block) => (self.block, self.at) = (Some(block), usize::MAX),
                None => return Ok(false),
            }
        }
    }

    fn current(&self) -> ElementView<'_> {
        match self.block.as_ref().and_then(|block| block.outputs.get(self.at)) {
            Some(element) => element.view(),
            None => ElementView::new(&self.schema, &[], &[], &[], Default::default()),
        }
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        if let Some(element) = self.block.as_mut().and_then(|block| block.outputs.get_mut(self.at)) {
            mem::swap(element, out);
        }
        Ok(())
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        let old = self.block.take();
        let mut state = self.pause();
        if let Some(old) = old {
            state.give_back(old, &self.shared.knobs);
        }
        while let Some(mut block) = state.ready.pop_front() {
            block.elements = 0;
            block.errors.clear();
            state.free.push(block);
        }
        let mut input = lock(&self.shared.input);
        (input.next, input.is_at_end) = (0, false);
        (state.next, state.end, state.failure) = (0, None, None);
        self.shared.epoch.store(epoch, Ordering::Relaxed);
        let reset = input.node.reset(epoch);
        drop(input);
        self.go_on(state);
        reset
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        let mut own = self.pause();
        let mut save = |state: &mut StateWriter| {
            lock(&self.shared.input).node.save(state)?;
            own.ready.make_contiguous().sort_by_key(|block| block.number);
            let behind = self.at.wrapping_add(1);
            let current = self.block.iter().map(|block| (block, behind));
            let blocks = || current.clone().chain(own.ready.iter().map(|block| (block, 0)));
            let elements = blocks().map(|(block, from)| block.elements.saturating_sub(from)).sum::<usize>();
            let errors = blocks().map(|(block, _)| block.errors.len()).sum::<usize>();
            state.numbers(&[elements as u64, errors as u64])?;
            let mut before = 0;
            for (block, from) in blocks() {
                for (at, error) in &block.errors {
                    state.numbers(&[(before + at.saturating_sub(from)) as u64])?;
                    state.text(&error.to_string())?;
                }
                before += block.elements.saturating_sub(from);
            }
            for (block, from) in blocks() {
                for element in block.outputs.iter().take(block.elements).skip(from) {
                    state.element(&element.view())?;
                }
            }
            Ok(())
        };
        let saved = save(state);
        self.go_on(own);
        saved
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        lock(&self.shared.input).node.restore(state)?;
        let [elements, errors] = state.numbers()?;
        // What was saved is one block, in front of all others.
        let mut block = Block::extra();
        for _ in 0..errors {
            let [before] = state.numbers()?;
            block.errors.push_back((before as usize, DataError::Saved(state.text()?)));
        }
        for _ in 0..elements {
            let mut element = Element::new(self.schema.clone(), "saved state", &self.budget);
            state.element(&mut element)?;
            block.outputs.push(element);
            block.elements += 1;
        }
        (self.block, self.at) = (Some(block), usize::MAX);
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        if self.ops.is_empty() { lock(&self.shared.input).node.rows() } else { None }
    }
}

impl Drop for Parallel {
    fn drop(&mut self) {
        lock(&self.shared.state).stops = true;
        self.shared.freed.notify_all();
        self.shared.bench.notify_all();
        for thread in self.threads.drain(..) {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

/// One thread.
struct Worker {
    shared: Arc<Shared>,
    chain: Chain,
    number: usize,
    schema: Arc<Schema>,
    budget: MemoryBudget,
}

impl Worker {
    fn run(mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.fill_blocks())).is_err() {
            let mut state = lock(&self.shared.state);
            state.failure = Some(DataError::Thread("a thread of the pipeline panicked".to_string()));
            state.end = Some(0);
            state.working -= 1;
            drop(state);
            self.shared.filled.notify_one();
            self.shared.parked.notify_all();
        }
    }

    fn fill_blocks(&mut self) {
        while let Some(mut block) = self.take_free() {
            let end = self.pull(&mut block);
            self.chain.begin_pass(self.shared.epoch.load(Ordering::Relaxed));
            let start = Instant::now();
            self.work(&mut block);
            let took_ns = start.elapsed().as_nanos() as u64;
            self.shared.knobs.meter.busy_ns.fetch_add(took_ns, Ordering::Relaxed);
            let held = block.inputs.iter().chain(&block.outputs).map(Element::held_bytes).sum();
            let before = mem::replace(&mut block.held_bytes, held);
            let is_empty = block.elements == 0 && block.errors.is_empty() && end.is_some();
            let mut state = lock(&self.shared.state);
            if is_empty {
                state.free.push(block);
            } else {
                state.ready.push_back(block);
            }
            if let Some(end) = end {
                state.end = Some(state.end.map_or(end, |known| known.min(end)));
            }
            state.working -= 1;
            state.held_bytes = (state.held_bytes + held).saturating_sub(before);
            self.shared.knobs.meter.holds(state.held_bytes);
            let is_paused = state.is_paused;
            drop(state);
            self.shared.filled.notify_one();
            if is_paused {
                self.shared.parked.notify_all();
            }
        }
    }

    /// A free block; `None` when there is nothing more to do.
    fn take_free(&self) -> Option<Block> {
        let knobs = &self.shared.knobs;
        let mut state = lock(&self.shared.state);
        loop {
            if state.stops {
                return None;
            }
            let threads = knobs.threads.load(Ordering::Relaxed);
            let may_work = self.number < threads && !state.is_paused && state.end.is_none();
            // One block is lent from, one is with each thread, and the rest wait.
            let limit = knobs.block_limit();
            if may_work && state.ready.len() + state.working + 1 < limit {
                if let Some(block) = state.free.pop() {
                    state.working += 1;
                    return Some(block);
                }
                if state.blocks < limit {
                    state.blocks += 1;
                    state.working += 1;
                    return Some(Block::default());
                }
            }
            state = self.shared.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fills the inputs of `block`; the number behind the last block when this is it.
    fn pull(&mut self, block: &mut Block) -> Option<u64> {
        let mut input = lock(&self.shared.input);
        block.number = input.next;
        block.elements = 0;
        if input.is_at_end {
            return Some(input.next);
        }
        let start = Instant::now();
        let mut bytes = 0;
        while block.elements < BLOCK_ELEMENTS && bytes < BLOCK_BYTES {
            let more = match input.node.advance() {
                Ok(true) => {
                    let schema = input.node.schema().clone();
                    let pulled = if self.chain.is_empty() { &mut block.outputs } else { &mut block.inputs };
                    if block.elements == pulled.len() {
                        pulled.push(Element::new(schema, "prefetch", &self.budget));
                    }
                    match pulled.get_mut(block.elements) {
                        Some(element) => {
                            let origin = input.node.current().origin();
                            let taken = input.node.take(element);
                            bytes += element.view().values().len() + element.view().text().len();
                            taken.map(|()| true).map_err(|error| match error {
                                DataError::Budget(error) => self.chain.names().bad(origin, error.into()),
                                error => error,
                            })
                        }
                        None => Ok(true),
                    }
                }
                other => other,
            };
            match more {
                Ok(true) => block.elements += 1,
                Ok(false) => {
                    input.is_at_end = true;
                    // Behind this block, if there is anything in it.
                    input.next += u64::from(block.elements > 0 || !block.errors.is_empty());
                    return Some(input.next);
                }
                Err(error) => {
                    block.errors.push_back((block.elements, error));
                    break;
                }
            }
            // A whole block of quick elements takes less than that, and looking at the clock takes longer than some.
            if input.node.is_slow() && start.elapsed() > BLOCK_TIME {
                break;
            }
        }
        input.next += 1;
        None
    }

    /// Makes the outputs of `block` of its inputs.
    fn work(&mut self, block: &mut Block) {
        if self.chain.is_empty() {
            return;
        }
        let mut read_errors = mem::take(&mut block.errors);
        let mut kept = 0;
        for index in 0..block.elements {
            if kept == block.outputs.len() {
                block.outputs.push(Element::new(self.schema.clone(), "map", &self.budget));
            }
            let (Some(input), Some(out)) = (block.inputs.get(index), block.outputs.get_mut(kept)) else {
                break;
            };
            match self.chain.run(&input.view(), out) {
                Ok(Verdict::Keep) => kept += 1,
                Ok(Verdict::Drop) => {}
                Err(error) => block.errors.push_back((kept, error)),
            }
        }
        // What could not be read comes behind all that was.
        block.errors.extend(read_errors.drain(..).map(|(_, error)| (kept, error)));
        block.elements = kept;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Blocks are moved in and out whole, so a panic elsewhere cannot have broken what is inside.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
