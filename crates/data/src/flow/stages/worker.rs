//! What a parallel stage shares with its threads, and what these do.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tightfit_core::MemoryBudget;

use crate::error::DataError;
use crate::flow::ahead::{Filling, Taker};
use crate::flow::clock::Blocks;
use crate::flow::element::{Element, Schema};
use crate::flow::maps::{Chain, Verdict};
use crate::flow::stage::Node;
use crate::flow::tuner::{Knobs, Tuner};

/// A block is full with this many elements, ...
const BLOCK_ELEMENTS: usize = 256;

/// ... or this many bytes, before or after the operations, ...
const BLOCK_BYTES: usize = 32 << 10;

/// ... or when filling it has taken this long: a slow input is not waited for.
const BLOCK_TIME: Duration = Duration::from_millis(1);

/// Where elements took less than this, ...
const QUICK: Duration = Duration::from_micros(4);

/// ... the clock is looked at after so many.
const ELEMENTS_UNSEEN: usize = 16;

/// What the threads of a stage and whoever takes its elements have in common.
pub(crate) struct Shared {
    pub(super) input: Mutex<Input>,
    pub(super) state: Mutex<State>,
    /// Told when there is room for one block more, or a pause is over.
    pub(super) freed: Condvar,
    /// Told when a block is ready, or there are no more.
    pub(super) filled: Condvar,
    /// Told when a thread is done with its block during a pause.
    pub(super) parked: Condvar,
    /// Where threads wait that the knobs have no use for.
    pub(super) bench: Condvar,
    pub(super) knobs: Arc<Knobs>,
    tuner: Arc<Tuner>,
    /// Elements that are taken into the next block.
    block_elements: AtomicUsize,
}

pub(super) struct Input {
    pub node: Node,
    /// Of its time, and what an element took of it last.
    blocks: Blocks,
    element_time: Duration,
    /// The number of the next block.
    pub next: u64,
    pub is_at_end: bool,
    /// The number of the pass over the data.
    pub epoch: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub free: Vec<Block>,
    pub ready: VecDeque<Block>,
    /// Blocks that exist.
    pub blocks: usize,
    /// The number of the block that the taker gets next.
    pub next: u64,
    /// The number after the last block, once it is known.
    pub end: Option<u64>,
    /// Bytes of all blocks.
    held_bytes: usize,
    /// Threads that are filling a block.
    pub working: usize,
    pub is_paused: bool,
    pub stops: bool,
    pub failure: Option<DataError>,
    /// Who waits for the next block.
    pub taker: Option<Taker>,
    /// True once memory was short: blocks are not kept to be used again.
    is_short: bool,
}

/// Some elements on their way.
#[derive(Default)]
pub(super) struct Block {
    pub number: u64,
    inputs: Vec<Element>,
    pub outputs: Vec<Element>,
    /// How many of `outputs` are in use.
    pub elements: usize,
    /// Errors, each with the number of elements before it.
    pub errors: VecDeque<(usize, DataError)>,
    held_bytes: usize,
    /// Bytes of the elements that were last in it.
    used_bytes: usize,
    /// True when it was made of a saved state, and is none of those that go round.
    pub is_extra: bool,
}

impl Block {
    /// A block beside those that go round.
    pub fn extra() -> Block {
        Block { is_extra: true, ..Block::default() }
    }

    /// Gives its memory back when it has become much more than its elements need: the next ones are hardly ever all as
    /// large as the largest before them.
    fn trim(&mut self) {
        // Without the tables of their fields, which they need whatever is in them.
        let buffers = self.inputs.iter().chain(&self.outputs).map(Element::buffer_bytes);
        if buffers.sum::<usize>() > 2 * (self.used_bytes + BLOCK_BYTES) {
            self.inputs.clear();
            self.outputs.clear();
        }
    }
}

impl Shared {
    pub(super) fn new(node: Node, blocks: Blocks, knobs: Arc<Knobs>, tuner: Arc<Tuner>) -> Shared {
        Shared {
            input: Mutex::new(Input {
                node,
                blocks,
                element_time: Duration::MAX,
                next: 0,
                is_at_end: false,
                epoch: 0,
            }),
            tuner,
            state: Mutex::new(State::default()),
            freed: Condvar::new(),
            filled: Condvar::new(),
            parked: Condvar::new(),
            bench: Condvar::new(),
            knobs,
            // Grows with what is learnt of the elements.
            block_elements: AtomicUsize::new(1),
        }
    }

    /// Waits until no thread works on a block.
    pub(super) fn wait_until_parked(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        while state.working > 0 {
            state = self.parked.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits until the block that comes next is ready, or there is none, or something went wrong.
    pub(super) fn wait_for_news(&self) {
        let mut state = lock(&self.state);
        state.taker = Some(Taker::this());
        while !state.has_news() {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.taker = None;
    }

    /// Who waits for block `number`, if it is the next.
    pub(crate) fn taker_of(&self, number: u64) -> Option<Taker> {
        let state = lock(&self.state);
        state.taker.clone().filter(|_| state.next == number)
    }

    /// Whether its threads are to be done soon, whatever becomes of their blocks.
    pub(crate) fn hurries(&self) -> bool {
        let state = lock(&self.state);
        state.stops || state.is_paused
    }

    /// Gives back the memory of blocks that are only kept to be used again, and keeps no more of them.
    pub(crate) fn relieve(&self) {
        let mut state = lock(&self.state);
        state.is_short = true;
        let free = mem::take(&mut state.free);
        state.blocks -= free.len();
        let held = free.iter().map(|block| block.held_bytes).sum();
        state.held_bytes = state.held_bytes.saturating_sub(held);
        drop(state);
        drop(free);
        self.freed.notify_all();
    }
}

impl State {
    /// The block that comes next, if it is ready.
    pub fn take_ready(&mut self) -> Option<Block> {
        let next = self.next;
        let at = self.ready.iter().position(|block| block.number == next)?;
        self.next += 1;
        self.ready.remove(at)
    }

    /// Whether there is an answer for whoever asks for the next block.
    fn has_news(&self) -> bool {
        let is_next = |block: &Block| block.number == self.next;
        self.failure.is_some()
            || self.end.is_some_and(|end| self.next >= end)
            || self.ready.iter().any(is_next)
    }

    /// A block to be filled.
    pub fn take_free(&mut self) -> Block {
        self.working += 1;
        self.free.pop().unwrap_or_else(|| {
            self.blocks += 1;
            Block::default()
        })
    }

    /// Takes a block back that is no longer needed.
    pub fn give_back(&mut self, mut block: Block, knobs: &Knobs) {
        (block.elements, self.blocks) = (0, self.blocks - usize::from(!block.is_extra));
        block.errors.clear();
        // A restored block has not been counted, and after a knob was turned back there may be too many.
        if block.is_extra || self.is_short || self.blocks >= knobs.block_limit() {
            self.held_bytes = self.held_bytes.saturating_sub(block.held_bytes);
            return;
        }
        self.blocks += 1;
        self.free.push(block);
    }

    /// Whether one more block can be filled before one of those there are is asked for.
    fn has_room(&self, knobs: &Knobs) -> bool {
        let limit = knobs.block_limit();
        let elements = self.ready.iter().map(|block| block.elements).sum::<usize>();
        self.ready.len() + self.working + 1 < limit
            && (!self.free.is_empty() || self.blocks < limit)
            && knobs.max_depth.is_none_or(|max| elements < max)
    }
}

/// One thread.
pub(super) struct Worker {
    shared: Arc<Shared>,
    chain: Chain,
    number: usize,
    schema: Arc<Schema>,
    budget: MemoryBudget,
    filling: Option<Arc<Filling>>,
    /// Of the time it works on what it has got.
    blocks: Blocks,
}

impl Worker {
    pub fn new(
        shared: Arc<Shared>,
        chain: Chain,
        number: usize,
        schema: Arc<Schema>,
        budget: &MemoryBudget,
    ) -> Worker {
        Worker {
            shared,
            chain,
            number,
            schema,
            budget: budget.clone(),
            filling: None,
            blocks: Blocks::new(Vec::new()),
        }
    }

    /// Fills blocks until there is nothing more to do.
    pub fn run(mut self) {
        let filling = Filling::begin(self.shared.clone());
        self.filling = Some(filling.clone());
        let shared = self.shared.clone();
        shared.knobs.meter.awake.gets_up();
        while let Some(block) = self.wait_for_free() {
            self.fill(block);
            filling.end_block();
        }
        shared.knobs.meter.awake.sits_down();
    }

    /// A free block; `None` when there is nothing more to do.
    fn wait_for_free(&self) -> Option<Block> {
        let Shared { knobs, freed, bench, .. } = &*self.shared;
        let mut state = lock(&self.shared.state);
        loop {
            if state.stops {
                return None;
            }
            if self.number >= knobs.threads.load(Ordering::Relaxed).max(1) {
                // What it was woken for is another's now.
                freed.notify_one();
                knobs.meter.awake.sits_down();
                state = bench.wait(state).unwrap_or_else(PoisonError::into_inner);
                knobs.meter.awake.gets_up();
                continue;
            }
            if !state.is_paused && state.end.is_none() {
                if state.has_room(knobs) {
                    return Some(state.take_free());
                }
                knobs.full.fetch_add(1, Ordering::Relaxed);
            }
            state = freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fills `block`, which [`State::take_free`] gave, and puts it where the taker finds it.
    fn fill(&mut self, block: Block) {
        let shared = self.shared.clone();
        let is_done = catch_unwind(AssertUnwindSafe(|| self.try_fill(block))).is_ok();
        // Only now, so that what it has made is there before another begins.
        shared.tuner.leave();
        if !is_done {
            let mut state = lock(&self.shared.state);
            state.failure = Some(DataError::Thread("a thread of the pipeline panicked".to_string()));
            state.end = Some(0);
            state.blocks -= 1;
            self.hand_over(state);
        }
    }

    fn try_fill(&mut self, mut block: Block) {
        block.trim();
        let end = self.pull(&mut block);
        let pulled = block.elements;
        let is_empty = pulled == 0 && block.errors.is_empty() && end.is_some();
        let worked_ns = self.work_timed(&mut block);
        let Knobs { meter, block_bytes, .. } = &*self.shared.knobs;
        meter.busy_ns.fetch_add(worked_ns, Ordering::Relaxed);
        if pulled > 0 {
            self.learn(pulled, block.used_bytes, worked_ns);
        }
        let held = block.inputs.iter().chain(&block.outputs).map(Element::held_bytes).sum();
        let before = mem::replace(&mut block.held_bytes, held);
        block_bytes.fetch_max(held, Ordering::Relaxed);
        let mut state = lock(&self.shared.state);
        if is_empty {
            state.free.push(block);
        } else {
            state.ready.push_back(block);
        }
        if let Some(end) = end {
            state.end = Some(state.end.map_or(end, |known| known.min(end)));
        }
        state.held_bytes = (state.held_bytes + held).saturating_sub(before);
        meter.holds(state.held_bytes);
        self.hand_over(state);
    }

    /// The work on a block is done.
    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        state.working -= 1;
        let is_paused = state.is_paused;
        drop(state);
        self.shared.filled.notify_one();
        if is_paused {
            self.shared.parked.notify_all();
        }
    }

    /// Decides how many elements the next block is to have from what `elements` of them took: so many that handing
    /// them over costs little beside, and no more, so that a block is neither large nor long in the making.
    fn learn(&self, elements: usize, bytes: usize, worked_ns: u64) {
        let by_bytes = (BLOCK_BYTES as u64).saturating_mul(elements as u64) / (bytes as u64).max(1);
        let by_time = (BLOCK_TIME.as_nanos() as u64).saturating_mul(elements as u64) / worked_ns.max(1);
        let most = by_bytes.min(by_time).clamp(1, BLOCK_ELEMENTS as u64) as usize;
        let next = most.min(2 * elements).min(self.shared.knobs.max_depth.unwrap_or(usize::MAX));
        self.shared.block_elements.store(next, Ordering::Relaxed);
    }

    /// Fills the inputs of `block`; the number after the last block when this is it.
    fn pull(&mut self, block: &mut Block) -> Option<u64> {
        let shared = self.shared.clone();
        let mut input = lock(&shared.input);
        // Who has a slot never waits for this lock, so one that is to get a slot gets it.
        shared.tuner.enter();
        // It is put back below; a thread that panics ends the stage.
        let mut blocks = mem::replace(&mut input.blocks, Blocks::new(Vec::new()));
        let start = Instant::now();
        let end = blocks.work(|| self.pull_from(&mut input, block));
        let took = start.elapsed();
        let ended = blocks.end(took);
        input.blocks = blocks;
        input.element_time = took / u32::try_from(block.elements.max(1)).unwrap_or(u32::MAX);
        let meter = &shared.knobs.meter;
        meter.pull_ns.fetch_add(ended.worked_ns, Ordering::Relaxed);
        meter.pull_own_ns.fetch_add(ended.rest_ns, Ordering::Relaxed);
        end
    }

    fn pull_from(&mut self, input: &mut Input, block: &mut Block) -> Option<u64> {
        block.number = input.next;
        if let Some(filling) = &self.filling {
            filling.set_block(block.number);
        }
        (block.elements, block.used_bytes) = (0, 0);
        self.chain.begin_pass(input.epoch);
        if input.is_at_end {
            return Some(input.next);
        }
        let limit = self.shared.block_elements.load(Ordering::Relaxed);
        let start = Instant::now();
        while block.elements < limit && block.used_bytes < BLOCK_BYTES {
            let more = match input.node.advance() {
                Ok(true) => self.pull_element(&mut input.node, block).map(|()| true),
                other => other,
            };
            match more {
                Ok(true) => block.elements += 1,
                Ok(false) => {
                    input.is_at_end = true;
                    // After this block, if there is anything in it.
                    input.next += u64::from(block.elements > 0 || !block.errors.is_empty());
                    return Some(input.next);
                }
                Err(error) => {
                    block.errors.push_back((block.elements, error));
                    break;
                }
            }
            // Looking at the clock takes longer than some elements.
            let looks = input.element_time > QUICK || block.elements.is_multiple_of(ELEMENTS_UNSEEN);
            if looks && start.elapsed() > BLOCK_TIME {
                break;
            }
        }
        input.next += 1;
        None
    }

    /// Takes the element that `node` stands at.
    fn pull_element(&self, node: &mut Node, block: &mut Block) -> Result<(), DataError> {
        let pulled = if self.chain.is_empty() { &mut block.outputs } else { &mut block.inputs };
        if block.elements == pulled.len() {
            pulled.push(Element::new(node.schema().clone(), "prefetch", &self.budget));
        }
        let Some(element) = pulled.get_mut(block.elements) else { return Ok(()) };
        let origin = node.current().origin();
        node.take(element).map_err(|error| match error {
            DataError::Budget(error) => self.chain.names().bad(origin, error.into()),
            error => error,
        })?;
        block.used_bytes += used_bytes(element);
        Ok(())
    }

    /// Makes the outputs of `block` of its inputs; how many nanoseconds that took.
    fn work_timed(&mut self, block: &mut Block) -> u64 {
        let mut blocks = mem::replace(&mut self.blocks, Blocks::new(Vec::new()));
        let start = Instant::now();
        blocks.work(|| self.work(block));
        let ended = blocks.end(start.elapsed());
        self.blocks = blocks;
        if let Some(times) = ended.times {
            self.chain.settle(times);
        }
        ended.worked_ns
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
                Ok(Verdict::Keep) => {
                    block.used_bytes += used_bytes(out);
                    kept += 1;
                }
                Ok(Verdict::Drop) => {}
                Err(error) => block.errors.push_back((kept, error)),
            }
        }
        // What could not be read comes after all that was.
        block.errors.extend(read_errors.drain(..).map(|(_, error)| (kept, error)));
        block.elements = kept;
    }
}

fn used_bytes(element: &Element) -> usize {
    let view = element.view();
    view.values().len() + view.text().len()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Blocks are moved in and out whole, so a panic elsewhere cannot have broken what is inside.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
