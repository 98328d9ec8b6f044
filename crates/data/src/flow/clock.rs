//! How the time of a thread is shared out among the stages that work in it.
//!
//! A look at the clock takes longer than some stages need for an element, so time is measured by blocks of elements: the
//! time of every block, and in some of them also at each change from one stage to another. What a stage took by itself in
//! such a block, its inputs and waiting left out, is its part of that block and of those since the last one like it. So the
//! parts add up to the time there was, whatever the clock costs. Where elements take long, every block is one of these.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stage::{Meter, add};

/// Looks at the clock take a part of the time like that, at most.
const LOOKS_PART: u64 = 50;

/// Calls of whoever takes the elements that are a block: as many as take about so long, up to a limit.
const BLOCK_NS: u64 = 200_000;
const BLOCK_CALLS: u32 = 256;

/// What a look at the clock takes, in nanoseconds.
static LOOK_NS: LazyLock<u64> = LazyLock::new(|| {
    const LOOKS: u32 = 64;
    let times = (0..4).map(|_| {
        let start = Instant::now();
        for _ in 0..LOOKS {
            std::hint::black_box(Instant::now());
        }
        start.elapsed() / LOOKS
    });
    times.min().map_or(0, nanoseconds)
});

thread_local! {
    /// Whether this thread looks at the clock at each change of stage.
    static IS_TIMED: Cell<bool> = const { Cell::new(false) };
    /// Time in the present block that is not the present stage's own.
    static ELSEWHERE_NS: Cell<u64> = const { Cell::new(0) };
    /// Pairs of looks at the clock in the present block.
    static LOOKS: Cell<u64> = const { Cell::new(0) };
    /// Time that this thread has waited for others.
    static WAITED_NS: Cell<u64> = const { Cell::new(0) };
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Adds to a figure of this thread.
fn count(figure: &'static std::thread::LocalKey<Cell<u64>>, more: u64) {
    figure.set(figure.get().wrapping_add(more));
}

/// Says that this thread has waited for others.
pub(crate) fn has_waited(time: Duration) {
    count(&WAITED_NS, nanoseconds(time));
    count(&ELSEWHERE_NS, nanoseconds(time));
}

/// The time at which a part of a stage's work begins, in the blocks in which changes are timed.
pub(crate) fn part_begins() -> Option<Instant> {
    IS_TIMED.get().then(Instant::now)
}

/// The time since `start`, and the time now, at which the next part begins.
pub(crate) fn part_ends(start: Instant) -> (u64, Instant) {
    let now = Instant::now();
    count(&LOOKS, 1);
    (nanoseconds(now.duration_since(start)), now)
}

/// The time that a stage took by itself.
#[derive(Debug, Default)]
pub(crate) struct Own {
    ns: AtomicU64,
    /// That in the present block.
    fresh_ns: AtomicU64,
}

impl Own {
    /// Does the work of this stage.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        if !IS_TIMED.get() {
            return work();
        }
        let outside_ns = ELSEWHERE_NS.replace(0);
        let start = Instant::now();
        let result = work();
        let took_ns = nanoseconds(start.elapsed());
        // One of the two looks is among what the stage took, the other among what its taker took.
        let look_ns = *LOOK_NS;
        let own_ns = took_ns.saturating_sub(ELSEWHERE_NS.get().saturating_add(look_ns));
        add(&self.fresh_ns, own_ns);
        ELSEWHERE_NS.set(outside_ns.wrapping_add(took_ns).wrapping_add(look_ns));
        count(&LOOKS, 1);
        result
    }

    /// What it took in all blocks that are over.
    pub fn ns(&self) -> u64 {
        self.ns.load(Ordering::Relaxed)
    }

    fn fresh_ns(&self) -> u64 {
        self.fresh_ns.load(Ordering::Relaxed)
    }

    fn settle(&self, times: f64) {
        add(&self.ns, scaled(self.fresh_ns.swap(0, Ordering::Relaxed), times));
    }
}

pub(crate) fn scaled(ns: u64, times: f64) -> u64 {
    (ns as f64 * times) as u64
}

/// The blocks of a thread, or of several that work one at a time.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// The stages that work in them.
    stages: Vec<Arc<Meter>>,
    /// Whether changes of stage are timed in the present block.
    is_timed: bool,
    /// Time of the blocks since the last in which they were, and how much it is to become.
    skipped_ns: u64,
    to_skip_ns: u64,
    /// What is left to chance, so that nothing periodic is always met in the same place.
    random: u64,
    elsewhere_ns: u64,
    waited_ns: u64,
    looks: u64,
}

/// A block that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Time of the block without waiting.
    pub worked_ns: u64,
    /// What no stage took of it, and of blocks before whose parts were not known.
    pub rest_ns: u64,
    /// What the times of parts in it stand for: `None` if it was not timed.
    pub times: Option<f64>,
}

impl Blocks {
    /// Those in which `stages` work.
    pub fn new(stages: Vec<Arc<Meter>>) -> Blocks {
        Blocks {
            stages,
            is_timed: true,
            skipped_ns: 0,
            to_skip_ns: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            elsewhere_ns: 0,
            waited_ns: 0,
            looks: 0,
        }
    }

    /// Does `work`, which is part of the present block.
    pub fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let was_timed = IS_TIMED.replace(self.is_timed);
        let elsewhere_ns = ELSEWHERE_NS.replace(self.elsewhere_ns);
        let looks = LOOKS.replace(self.looks);
        let waited_ns = WAITED_NS.get();
        let result = work();
        let waited_ns = WAITED_NS.get().wrapping_sub(waited_ns);
        self.waited_ns = self.waited_ns.wrapping_add(waited_ns);
        self.looks = LOOKS.replace(looks);
        self.elsewhere_ns = ELSEWHERE_NS.replace(elsewhere_ns.wrapping_add(waited_ns));
        IS_TIMED.set(was_timed);
        result
    }

    /// Ends the present block, which took `took`; what is done next is part of another.
    pub fn end(&mut self, took: Duration) -> Ended {
        let took_ns = nanoseconds(took);
        let worked_ns = took_ns.saturating_sub(self.waited_ns);
        let own_ns = took_ns.saturating_sub(self.elsewhere_ns);
        let cost_ns = self.looks.saturating_mul(2).saturating_mul(*LOOK_NS);
        (self.elsewhere_ns, self.waited_ns, self.looks) = (0, 0, 0);
        if !self.is_timed {
            self.skipped_ns = self.skipped_ns.saturating_add(worked_ns);
            self.is_timed = self.skipped_ns >= self.to_skip_ns;
            return Ended { worked_ns, rest_ns: 0, times: None };
        }
        let parts_ns = self.stages.iter().map(|stage| stage.own.fresh_ns()).fold(own_ns, u64::saturating_add);
        let all_ns = self.skipped_ns.saturating_add(worked_ns);
        // What the looks took is nobody's.
        let times = all_ns as f64 / parts_ns.max(1) as f64;
        self.stages.iter().for_each(|stage| stage.own.settle(times));
        self.skipped_ns = 0;
        self.to_skip_ns = self.chance(cost_ns.saturating_mul(LOOKS_PART).saturating_sub(worked_ns));
        self.is_timed = self.to_skip_ns == 0;
        Ended { worked_ns, rest_ns: scaled(own_ns, times), times: Some(times) }
    }

    /// Half to one and a half of `ns`.
    fn chance(&mut self, ns: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ns / 2 + scaled(ns, (self.random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// Measures the thread of whoever takes the elements of a pipeline.
#[derive(Debug)]
pub(crate) struct Taker {
    blocks: Blocks,
    /// When the present block began.
    start: Option<Instant>,
    calls: u32,
    /// Calls that are a block.
    block_calls: u32,
    away_ns: u64,
    total_ns: u64,
}

impl Taker {
    /// That of a pipeline of which `stages` work in that thread.
    pub fn new(stages: Vec<Arc<Meter>>) -> Taker {
        Taker { blocks: Blocks::new(stages), start: None, calls: 0, block_calls: 1, away_ns: 0, total_ns: 0 }
    }

    /// The stages that work in that thread are `stages` from now on.
    pub fn goes_on_with(&mut self, stages: Vec<Arc<Meter>>) {
        self.blocks = Blocks::new(stages);
        (self.start, self.calls) = (None, 0);
    }

    /// It asks for the next element, which `advance` makes.
    pub fn takes<E>(&mut self, advance: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        if self.calls == self.block_calls {
            self.end_block();
        }
        self.start.get_or_insert_with(Instant::now);
        self.calls += 1;
        let more = self.blocks.work(advance);
        if !matches!(more, Ok(true)) {
            self.end_block();
            // What it does past the end or an error is nobody's business.
            self.start = None;
        }
        more
    }

    fn end_block(&mut self) {
        let Some(start) = self.start.take() else { return };
        let now = Instant::now();
        let took = now.duration_since(start);
        let ended = self.blocks.end(took);
        self.away_ns = self.away_ns.saturating_add(ended.rest_ns);
        self.total_ns = self.total_ns.saturating_add(nanoseconds(took));
        (self.start, self.calls) = (Some(now), 0);
        self.block_calls = match ended.worked_ns {
            ns if ns < BLOCK_NS / 2 => (self.block_calls * 2).min(BLOCK_CALLS),
            ns if ns > BLOCK_NS * 2 => (self.block_calls / 2).max(1),
            _ => self.block_calls,
        };
    }

    /// Time it was away between two elements.
    pub fn away(&self) -> Duration {
        Duration::from_nanos(self.away_ns)
    }

    /// Time in all.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_ns)
    }
}

/// The time for which the threads of a stage were there to work.
#[derive(Debug, Default)]
pub(crate) struct Awake(Mutex<(u64, Option<Instant>, u64)>);

impl Awake {
    /// `begin` threads more, and `end` threads less, are there from now on.
    fn change(&self, begin: u64, end: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (threads, since, past_ns) = &mut *state;
        let now = Instant::now();
        if let Some(since) = since.replace(now) {
            let each_ns = nanoseconds(now.duration_since(since));
            *past_ns = past_ns.saturating_add(each_ns.saturating_mul(*threads));
        }
        *threads = (*threads + begin).saturating_sub(end);
    }

    /// A thread begins to be there.
    pub fn gets_up(&self) {
        self.change(1, 0);
    }

    /// A thread is no longer there.
    pub fn sits_down(&self) {
        self.change(0, 1);
    }

    /// The time of all threads so far.
    pub fn time(&self) -> Duration {
        self.change(0, 0);
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(state.2)
    }
}
