//! Threads of their own between two stages: `prefetch`, and `map` with several threads, in order or not.
//!
//! Elements go round in blocks, which are made when they are first needed and then used again: a thread takes a free
//! block, fills it from the input under a lock, does its operations to it without, and puts it where the taker finds
//! it. There are never more blocks than the knobs allow, so whoever is faster waits.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tightfit_core::MemoryBudget;

use super::inline::Inline;
use super::worker::{Block, Shared, State, Worker, lock};
use crate::error::DataError;
use crate::flow::clock::{Blocks, has_waited};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::maps::{Chain, MapOp, last_of, schemas_of};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage, add};
use crate::flow::state::{StateReader, StateWriter};
use crate::flow::tuner::Knobs;

/// The stack of a thread; decoders keep a few KiB there.
const STACK_BYTES: usize = 512 << 10;

/// See the module.
pub(crate) struct Parallel {
    shared: Arc<Shared>,
    schema: Arc<Schema>,
    /// Those before and after each operation.
    schemas: Vec<Arc<Schema>>,
    ops: Vec<Arc<dyn MapOp>>,
    budget: MemoryBudget,
    threads: Vec<JoinHandle<()>>,
    /// Threads that are not on the bench, as far as this knows.
    awake: usize,
    /// The block that elements are lent from, and the number of the one that is lent.
    block: Option<Block>,
    at: usize,
    meter: Arc<Meter>,
    context: Context,
}

/// How a parallel stage is opened. Its elements come in the order of the input even where that was not asked for: what
/// has come so far is then a beginning of what a run without threads gives, which can be gone on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParallelOptions {
    /// Threads, if there are as many; `None` to leave that to the tuner.
    pub threads: Option<usize>,
    /// Elements that wait, at most; `None` to leave that to the tuner.
    pub elements: Option<usize>,
}

/// Elements made ready before they are asked for, by a thread of its own.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Prefetch {
    /// Elements that wait, about; `None` for as many as are worth it.
    pub elements: Option<usize>,
}

impl StageSpec for Prefetch {
    fn identity(&self) -> serde_json::Value {
        identity::of("prefetch", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("prefetch", &[&input]);
        let options = ParallelOptions { threads: Some(1), elements: self.elements };
        open(input, Vec::new(), options, meter, context)
    }
}

pub(crate) fn read_prefetch(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let elements = if args.value().is_null() { None } else { Some(args.number()? as usize) };
    Ok(Arc::new(Prefetch { elements }))
}

/// Opens a stage that does `ops` to the elements of `input`: with threads, or without any where there are to be none.
pub(crate) fn open(
    input: Node,
    ops: Vec<Arc<dyn MapOp>>,
    options: ParallelOptions,
    meter: Arc<Meter>,
    context: &mut Context,
) -> Result<Node, DataError> {
    if context.is_synchronous {
        let stage = Inline::new(input, &ops, meter.clone(), context)?;
        return Ok(context.node(stage, meter));
    }
    let stage = Parallel::new(input, ops, options, meter.clone(), context)?;
    Ok(context.node(stage, meter))
}

impl Parallel {
    fn new(
        input: Node,
        ops: Vec<Arc<dyn MapOp>>,
        options: ParallelOptions,
        meter: Arc<Meter>,
        context: &Context,
    ) -> Result<Parallel, DataError> {
        let schemas = schemas_of(&ops, input.schema())?;
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
        meter.threads.store(1, Ordering::Relaxed);
        context.tuner.add(knobs.clone());
        let blocks = Blocks::new(context.meters_of_thread(&input));
        let shared = Arc::new(Shared::new(input, blocks, knobs, context.tuner.clone()));
        context.tuner.add_holder(&shared);
        Ok(Parallel {
            shared,
            schema: last_of(&schemas)?,
            schemas,
            ops,
            budget: context.budget.clone(),
            threads: Vec::new(),
            awake: 1,
            block: None,
            at: 0,
            meter,
            context: context.clone(),
        })
    }

    fn worker(&self, number: usize) -> Result<Worker, DataError> {
        let Context { names, budget, .. } = &self.context;
        let chain = Chain::new(&self.ops, &self.schemas, self.meter.clone(), names, budget)?;
        Ok(Worker::new(self.shared.clone(), chain, number, self.schema.clone(), budget))
    }

    /// Starts the threads that the knobs ask for and are not there yet, and wakes those that are.
    fn start_threads(&mut self) -> Result<(), DataError> {
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

    /// Gives the block back that was lent from, and takes the next; `None` after the last.
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
            if let Some(block) = state.take_ready() {
                break Ok(Some(block));
            }
            if state.end.is_some_and(|end| state.next >= end) {
                break Ok(None);
            }
            drop(state);
            start.get_or_insert_with(Instant::now);
            self.shared.freed.notify_one();
            self.context.tuner.without_slot(|| self.shared.wait_for_news());
            state = lock(&self.shared.state);
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
        lock(&self.shared.state).is_paused = true;
        self.budget.wake();
        self.context.tuner.without_slot(|| self.shared.wait_until_parked())
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
        (input.next, input.is_at_end, input.epoch) = (0, false, epoch);
        (state.next, state.end, state.failure) = (0, None, None);
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
                    save_error((before + at.saturating_sub(from)) as u64, error, state)?;
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
        // What was saved is one block, before all others.
        let block = restore_block(&self.schema, &self.budget, state)?;
        (self.block, self.at) = (Some(block), usize::MAX);
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        if self.ops.is_empty() { lock(&self.shared.input).node.rows() } else { None }
    }
}

/// Writes down that an error comes after `before` elements.
pub(super) fn save_error(before: u64, error: &DataError, state: &mut StateWriter) -> Result<(), DataError> {
    state.numbers(&[before])?;
    state.error(error)
}

/// What was written down of the elements and errors that waited.
pub(super) fn restore_block(
    schema: &Arc<Schema>,
    budget: &MemoryBudget,
    state: &mut StateReader,
) -> Result<Block, DataError> {
    let [elements, errors] = state.numbers()?;
    let mut block = Block::extra();
    for _ in 0..errors {
        let [before] = state.numbers()?;
        block.errors.push_back((before as usize, state.error()?));
    }
    for _ in 0..elements {
        let mut element = Element::new(schema.clone(), "saved state", budget);
        state.element(&mut element)?;
        block.outputs.push(element);
        block.elements += 1;
    }
    Ok(block)
}

impl Drop for Parallel {
    fn drop(&mut self) {
        lock(&self.shared.state).stops = true;
        self.budget.wake();
        self.shared.freed.notify_all();
        self.shared.bench.notify_all();
        for thread in self.threads.drain(..) {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}
