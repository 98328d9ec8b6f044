//! Deals out the threads and the memory of a pipeline: stages with threads of their own get as many as their share of
//! the work asks for, by the time each has measured; and as many blocks may wait as even out who is faster now and
//! slower then, while the budget has room for them. Each stage has a thread at least, and there are [`Slots`] to work
//! in, so that never more of them work at once than there are to be in all.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tightfit_core::MemoryBudget;

use super::stage::Meter;
use super::stages::worker::Shared;

/// Time between two looks at the figures: short at first, then longer and longer up to the last.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);
const LAST_INTERVAL: Duration = Duration::from_millis(50);

/// Blocks that wait, at most, where nothing was asked for: more do not make anything faster.
const MAX_DEPTH: usize = 8;

/// What can be changed while a stage runs: how many of its threads work, and how many blocks wait.
#[derive(Debug)]
pub(crate) struct Knobs {
    /// Threads that may work, and the most there may be.
    pub threads: AtomicUsize,
    pub max_threads: usize,
    /// Whether it was asked for that many, whatever there is to do.
    pub is_fixed: bool,
    /// Blocks that may be ready before they are asked for, and the most there may be.
    pub depth: AtomicUsize,
    pub max_depth: Option<usize>,
    /// Bytes of the largest block so far.
    pub block_bytes: AtomicUsize,
    /// Times that a thread had to wait as enough blocks were ready.
    pub full: AtomicU64,
    pub meter: Arc<Meter>,
}

impl Knobs {
    /// Blocks that may exist: one is lent from, one is with each thread, and the rest wait.
    pub fn block_limit(&self) -> usize {
        let depth = self.depth.load(Ordering::Relaxed);
        depth.saturating_add(self.threads.load(Ordering::Relaxed).max(1)).saturating_add(1)
    }
}

thread_local! {
    /// Whether this thread has a slot.
    static HAS_SLOT: Cell<bool> = const { Cell::new(false) };
    /// Whether it had one when it began to wait for memory.
    static HAD_SLOT: Cell<bool> = const { Cell::new(false) };
}

/// What threads need to work, as many as may work at once. One that waits for other threads leaves its slot to them.
#[derive(Debug)]
struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    fn enter(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        HAS_SLOT.set(true);
    }

    fn leave(&self) {
        HAS_SLOT.set(false);
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}

/// The stages of a pipeline that have threads.
#[derive(Debug)]
pub(crate) struct Tuner {
    threads: usize,
    slots: Slots,
    budget: MemoryBudget,
    start: Instant,
    /// When to look next, in nanoseconds from the start.
    next_ns: AtomicU64,
    known: Mutex<Known>,
    /// The stages that may hold memory for later use.
    holders: Mutex<Vec<Weak<Shared>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

#[derive(Debug, Default)]
struct Known {
    interval: Duration,
    /// When it was looked last.
    looked_ns: u64,
    stages: Vec<Stage>,
    loads: Vec<Load>,
}

#[derive(Debug)]
struct Stage {
    knobs: Arc<Knobs>,
    /// The figures at the last look.
    busy_ns: u64,
    pull_ns: u64,
    wait_ns: u64,
    full: u64,
}

/// What a stage did between two looks, and the threads it is to have.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// Time that one thread at a time took to get elements, ...
    serial_ns: u64,
    /// ... and that all took to work on them.
    work_ns: u64,
    max_threads: usize,
    is_fixed: bool,
    threads: usize,
}

impl Load {
    /// Time that each thread works.
    fn each_ns(&self) -> u64 {
        self.serial_ns.saturating_add(self.work_ns) / self.threads.max(1) as u64
    }

    /// Whether one thread more makes it faster: not if there is one that does nothing but get elements.
    fn gains(&self) -> bool {
        self.threads < self.max_threads && self.each_ns() > self.serial_ns
    }
}

impl Tuner {
    /// A tuner that deals out `threads`, and room for blocks while `budget` has some.
    pub fn new(threads: usize, budget: &MemoryBudget) -> Tuner {
        let known = Known { interval: FIRST_INTERVAL, ..Known::default() };
        Tuner {
            threads,
            slots: Slots { free: Mutex::new(threads), freed: Condvar::new() },
            budget: budget.clone(),
            start: Instant::now(),
            next_ns: AtomicU64::new(FIRST_INTERVAL.as_nanos() as u64),
            known: Mutex::new(known),
            holders: Mutex::default(),
        }
    }

    /// Makes a stage known that keeps blocks to use them again.
    pub fn add_holder(&self, shared: &Arc<Shared>) {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(shared));
    }

    /// Gives back all memory that is only kept to be used again, now and from now on.
    pub fn relieve(&self) {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        holders.iter().filter_map(Weak::upgrade).for_each(|shared| shared.relieve());
    }

    /// This thread begins to wait for memory: another may work in its place.
    pub fn sit_down(&self) {
        HAD_SLOT.set(HAS_SLOT.get());
        if HAS_SLOT.get() {
            self.slots.leave();
        }
    }

    /// It goes on.
    pub fn get_up(&self) {
        if HAD_SLOT.replace(false) {
            self.slots.enter();
        }
    }

    /// Waits until this thread may work. Not to be called by one that works already, nor by whoever takes the elements,
    /// who always may.
    pub fn enter(&self) {
        self.slots.enter();
    }

    /// This thread works no more.
    pub fn leave(&self) {
        self.slots.leave();
    }

    /// Calls `wait`, which waits for other threads, so that one of them may work in place of this one.
    pub fn without_slot<T>(&self, wait: impl FnOnce() -> T) -> T {
        let had_slot = HAS_SLOT.get();
        if had_slot {
            self.slots.leave();
        }
        let result = wait();
        if had_slot {
            self.slots.enter();
        }
        result
    }

    /// Makes a stage known.
    pub fn add(&self, knobs: Arc<Knobs>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.stages.push(Stage { knobs, busy_ns: 0, pull_ns: 0, wait_ns: 0, full: 0 });
        known.loads.push(Load::default());
    }

    /// Turns the knobs, if it is time for that.
    pub fn tune(&self) {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        let due_ns = self.next_ns.load(Ordering::Relaxed);
        if now_ns < due_ns {
            return;
        }
        // Whoever comes while this one looks finds that it is not time yet.
        let mine = self.next_ns.compare_exchange(due_ns, u64::MAX, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_err() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { interval, looked_ns, stages, loads } = &mut *known;
        let elapsed_ns = now_ns - std::mem::replace(looked_ns, now_ns);
        for (stage, load) in stages.iter_mut().zip(loads.iter_mut()) {
            *load = stage.load();
        }
        deal(self.threads, elapsed_ns, loads);
        for (stage, load) in stages.iter_mut().zip(loads.iter()) {
            stage.turn(load.threads, &self.budget);
        }
        *interval = (*interval * 2).min(LAST_INTERVAL);
        self.next_ns.store(now_ns + interval.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// What was added to a figure since it was `before`, which becomes what it is now.
fn since(figure: &AtomicU64, before: &mut u64) -> u64 {
    let now = figure.load(Ordering::Relaxed);
    now.wrapping_sub(std::mem::replace(before, now))
}

impl Stage {
    fn load(&mut self) -> Load {
        let Stage { knobs, .. } = self;
        Load {
            serial_ns: since(&knobs.meter.pull_ns, &mut self.pull_ns),
            work_ns: since(&knobs.meter.busy_ns, &mut self.busy_ns),
            max_threads: knobs.max_threads,
            is_fixed: knobs.is_fixed,
            threads: 1,
        }
    }

    /// Takes the threads it was dealt, and lets more blocks wait when whoever takes them had to wait though at other
    /// times enough were ready; more of either only while there is room in the budget.
    fn turn(&mut self, threads: usize, budget: &MemoryBudget) {
        let knobs = &self.knobs;
        let waited_ns = since(&knobs.meter.wait_ns, &mut self.wait_ns);
        let was_full = since(&knobs.full, &mut self.full) > 0;
        let block_bytes = knobs.block_bytes.load(Ordering::Relaxed) as u64;
        let free_bytes = budget.free_bytes();
        let has_room = free_bytes >= block_bytes.saturating_mul(2);
        if has_room || threads < knobs.threads.load(Ordering::Relaxed) {
            knobs.threads.store(threads, Ordering::Relaxed);
            knobs.meter.threads.store(threads as u64, Ordering::Relaxed);
        }
        let depth = knobs.depth.load(Ordering::Relaxed);
        let max_depth = knobs.max_depth.unwrap_or(MAX_DEPTH);
        let is_uneven = was_full && waited_ns > FIRST_INTERVAL.as_nanos() as u64 / 10;
        if free_bytes < block_bytes && depth > 1 {
            knobs.depth.store(depth - 1, Ordering::Relaxed);
        } else if has_room && depth < max_depth && (is_uneven || knobs.max_depth.is_some()) {
            knobs.depth.store(depth + 1, Ordering::Relaxed);
        }
    }
}

/// Deals `threads` out after `elapsed_ns`: one to each stage; as many as they are to have to those of a fixed number; then
/// always one more to the stage whose threads have most to do, as long as that helps it (others would only wait for that
/// one) and those that hardly ever work leave one.
fn deal(threads: usize, elapsed_ns: u64, loads: &mut [Load]) {
    for load in loads.iter_mut().filter(|load| load.is_fixed) {
        load.threads = load.max_threads.min(threads);
    }
    let works = |load: &&Load| load.each_ns() > elapsed_ns / 4;
    let used: usize = loads.iter().filter(works).map(|load| load.threads).sum();
    for _ in used..threads {
        let busiest = loads.iter_mut().filter(|load| !load.is_fixed).max_by_key(|load| load.each_ns());
        match busiest {
            Some(load) if load.gains() => load.threads += 1,
            _ => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt<const N: usize>(threads: usize, loads: [(u64, u64, Option<usize>); N]) -> [usize; N] {
        let mut loads = loads.map(|(serial_ns, work_ns, fixed)| Load {
            serial_ns,
            work_ns,
            max_threads: fixed.unwrap_or(threads),
            is_fixed: fixed.is_some(),
            threads: 1,
        });
        deal(threads, 100, &mut loads);
        loads.map(|load| load.threads)
    }

    #[test]
    fn threads_go_where_the_work_is() {
        assert_eq!(dealt(8, [(0, 100, None), (0, 300, None)]), [2, 6]);
        assert_eq!(dealt(8, [(0, 100, Some(1)), (0, 300, None)]), [1, 7]);
        assert_eq!(dealt(3, [(0, 100, None), (0, 90, Some(2)), (0, 300, None)]), [1, 2, 1]);
        assert_eq!(dealt(4, [(0, 100, Some(3)), (0, 300, None)]), [3, 1]);
        assert_eq!(dealt(4, [(0, 0, Some(1))]), [1]);
        assert_eq!(dealt(4, []), [0; 0]);
        // One that hardly ever works keeps no thread from others.
        assert_eq!(dealt(2, [(0, 90, None), (5, 0, Some(1))]), [2, 1]);
        assert_eq!(dealt(2, [(0, 90, None), (50, 0, Some(1))]), [1, 1]);
        // The second waits for one that gets its elements, however many work on them.
        assert_eq!(dealt(8, [(0, 50, None), (300, 300, None)]), [1, 2]);
        // Nothing to do.
        assert_eq!(dealt(8, [(0, 0, None), (0, 0, None)]), [1, 1]);
    }

    #[test]
    fn blocks_wait_only_where_that_helps_and_there_is_room() {
        let budget = MemoryBudget::new(1000);
        let meter = Arc::new(Meter::default());
        let knobs = Arc::new(Knobs {
            threads: AtomicUsize::new(1),
            max_threads: 4,
            is_fixed: false,
            depth: AtomicUsize::new(1),
            max_depth: None,
            block_bytes: AtomicUsize::new(300),
            full: AtomicU64::new(0),
            meter: meter.clone(),
        });
        let mut stage = Stage { knobs: knobs.clone(), busy_ns: 0, pull_ns: 0, wait_ns: 0, full: 0 };
        let mut turn = |threads, waits: u64, is_full| {
            meter.wait_ns.fetch_add(waits * 10_000_000, Ordering::Relaxed);
            knobs.full.fetch_add(is_full, Ordering::Relaxed);
            stage.turn(threads, &budget);
            (knobs.threads.load(Ordering::Relaxed), knobs.depth.load(Ordering::Relaxed))
        };
        // It is always waited for: a queue would be empty. Never: it would be full.
        assert_eq!(turn(1, 1, 0), (1, 1));
        assert_eq!(turn(1, 0, 1), (1, 1));
        assert_eq!(turn(3, 1, 1), (3, 2));
        let most = budget.try_reserve("test", 500).unwrap();
        assert_eq!(turn(4, 1, 1), (3, 2));
        assert_eq!(turn(2, 1, 1), (2, 2));
        let rest = budget.try_reserve("test", 300).unwrap();
        assert_eq!(turn(1, 1, 1), (1, 1));
        assert_eq!(turn(1, 1, 1), (1, 1));
        drop((most, rest));
        let last = (0..20).map(|_| turn(1, 1, 1)).last();
        assert_eq!(last, Some((1, MAX_DEPTH)));
    }
}
