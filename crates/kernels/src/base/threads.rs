//! A small pool of threads for kernels, which works for many callers at once.
//!
//! A run hands out task numbers 0..tasks. Each worker has neighbouring ones of its own and takes them in order, so that it
//! finds in its caches what it did in the run before; whoever has none left takes the last of another's. Each caller works
//! on its own run, and a worker takes one task of each run in turn, so that none waits for another to end. Workers spin
//! for a short while after a run, since in a network the next one follows in microseconds, and then sleep. A worker that
//! wakes late costs nothing: the caller waits only for tasks that were taken. Nothing is allocated per run.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::cpu::Isa;
use crate::base::denormals::FlushDenormals;

/// The stack of a worker in bytes. Kernels keep no more than a few KiB on it.
pub const WORKER_STACK_BYTES: usize = 256 << 10;

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(100);

/// How often the caller looks for the last task's end before it gives its core away.
const SPINS_BEFORE_YIELD: u32 = 2000;

/// Runs that have workers at a time; one more is done by its caller alone.
const MAX_RUNS: usize = 64;

/// What `ThreadPool::run` calls for each task: `f(task_index, worker_index)`.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Which of `total` units part `number` of `parts` has: parts differ by one at most, and so do as many neighbouring parts
/// for each thread.
pub(crate) fn share(total: usize, parts: usize, number: usize) -> Range<usize> {
    let (size, larger) = (total / parts, total % parts);
    let begin = |number: usize| number * size + number * larger / parts;
    begin(number)..begin(number + 1)
}

/// A fixed number of threads, which work on the runs of any number of callers. The thread that calls [`ThreadPool::run`]
/// is worker 0 of its run.
#[derive(Debug)]
pub struct ThreadPool {
    isa: Isa,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// The system gave fewer threads than were asked for.
#[derive(Debug)]
#[non_exhaustive]
pub struct ThreadError {
    /// Threads asked for, the caller's among them.
    pub wanted: usize,
    /// Threads there were, the caller's among them.
    pub given: usize,
    /// What the system says.
    pub source: std::io::Error,
}

impl ThreadError {
    /// `given` of `wanted` threads, and what the system says of the next.
    pub fn new(wanted: usize, given: usize, source: std::io::Error) -> ThreadError {
        ThreadError { wanted, given, source }
    }
}

impl std::fmt::Display for ThreadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ThreadError { wanted, given, source } = self;
        write!(f, "the system gave {given} of {wanted} threads: {source}; ask for fewer")
    }
}

impl std::error::Error for ThreadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<ThreadError> for std::io::Error {
    fn from(error: ThreadError) -> std::io::Error {
        std::io::Error::new(error.source.kind(), error)
    }
}

/// Tasks of a run that a worker has and nobody has taken yet: the first one in the low half, the end in the high half.
struct Own(AtomicU64);

impl Own {
    fn set(&self, tasks: Range<usize>) {
        self.0.store((tasks.end as u64) << 32 | tasks.start as u64, Ordering::SeqCst);
    }

    /// Takes the first task, or with `last` the last one.
    fn take(&self, last: bool) -> Option<usize> {
        let mut own = self.0.load(Ordering::Acquire);
        loop {
            let (first, end) = (own & u64::from(u32::MAX), own >> 32);
            if first >= end {
                return None;
            }
            let (task, rest) = if last { (end - 1, (end - 1) << 32 | first) } else { (first, own + 1) };
            match self.0.compare_exchange_weak(own, rest, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(task as usize),
                Err(now) => own = now,
            }
        }
    }
}

/// The place of a run. On cache lines of its own: callers do not disturb each other.
#[repr(align(128))]
struct Slot {
    /// The tasks of each worker. Whoever has taken one is part of the run that it belongs to, and until it is counted in
    /// `done` that run cannot end, so `task` stays as it is.
    own: Box<[Own]>,
    /// Tasks that nobody has taken.
    left: AtomicUsize,
    /// What is to be done: written by the caller while no task is left of the run before, read by those who have taken one.
    task: UnsafeCell<*const Task<'static>>,
    done: AtomicUsize,
    has_panicked: AtomicBool,
}

struct Shared {
    slots: Box<[Slot]>,
    /// A bit for each slot that a caller has.
    held: AtomicU64,
    /// A bit for each slot that has tasks nobody has taken.
    waiting: AtomicU64,
    is_stopping: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

// SAFETY: the task of a slot is written only by the caller that holds the slot, between runs, and read only by those who have
// taken a task.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in a slot is used only during a run, which outlives no borrow of its closure.
unsafe impl Send for Shared {}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn new(threads: usize) -> Slot {
        Slot {
            own: (0..threads).map(|_| Own(AtomicU64::new(0))).collect(),
            left: AtomicUsize::new(0),
            task: UnsafeCell::new(std::ptr::from_ref::<Task<'static>>(&|_, _| ())),
            done: AtomicUsize::new(0),
            has_panicked: AtomicBool::new(false),
        }
    }

    /// Takes the worker's next task, or where it has none left the last one of another.
    fn take(&self, worker: usize) -> Option<usize> {
        let threads = self.own.len();
        let mut others = (1..threads).map(|further| &self.own[(worker + further) % threads]);
        self.own[worker].take(false).or_else(|| others.find_map(|other| other.take(true)))
    }
}

impl Shared {
    /// Does one task of a slot; false where none is left.
    fn work(&self, number: usize, worker: usize) -> bool {
        let slot = &self.slots[number];
        let Some(index) = slot.take(worker) else { return false };
        if slot.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Before the task is counted, and so before the caller can begin the slot's next run.
            self.waiting.fetch_and(!(1 << number), Ordering::SeqCst);
        }
        // SAFETY: a task of this run is ours, so the run is not over and nobody writes what is to be done; the caller of
        // `run` keeps the closure alive until all tasks are done.
        let task = unsafe { &**slot.task.get() };
        if catch_unwind(AssertUnwindSafe(|| task(index, worker))).is_err() {
            slot.has_panicked.store(true, Ordering::Relaxed);
        }
        slot.done.fetch_add(1, Ordering::Release);
        true
    }

    fn has_work(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) != 0 || self.is_stopping.load(Ordering::SeqCst)
    }

    fn worker(&self, worker: usize) {
        let _flush = FlushDenormals::new();
        let mut next = 0;
        while !self.is_stopping.load(Ordering::Relaxed) {
            while let Some(number) = first_from(self.waiting.load(Ordering::Acquire), next) {
                self.work(number, worker);
                next = number + 1;
            }
            let idle = Instant::now();
            while !self.has_work() && idle.elapsed() < SPIN {
                for _ in 0..16 {
                    std::hint::spin_loop();
                }
            }
            if self.has_work() {
                continue;
            }
            let mut guard = lock(&self.sleep);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            while !self.has_work() {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn wake_all(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
    }

    /// A slot of the caller's own; `None` where all are held.
    fn hold(&self) -> Option<Held<'_>> {
        let mut held = self.held.load(Ordering::Relaxed);
        loop {
            let number = (!held).trailing_zeros() as usize;
            if number >= MAX_RUNS {
                return None;
            }
            match self.held.compare_exchange_weak(
                held,
                held | 1 << number,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(Held { shared: self, number }),
                Err(now) => held = now,
            }
        }
    }
}

/// The first bit that is set in `bits`, counted from bit `from` on and around.
fn first_from(bits: u64, from: usize) -> Option<usize> {
    let from = from % MAX_RUNS;
    (bits != 0).then(|| (from + bits.rotate_right(from as u32).trailing_zeros() as usize) % MAX_RUNS)
}

/// A slot that a caller has, until it is dropped.
struct Held<'s> {
    shared: &'s Shared,
    number: usize,
}

impl Held<'_> {
    /// Runs all tasks; true where one of them panicked.
    fn run(&self, task: *const Task<'static>, tasks: usize) -> bool {
        let Held { shared, number } = self;
        let slot = &shared.slots[*number];
        // SAFETY: no task is left of the run before, and nobody else has the slot.
        unsafe { *slot.task.get() = task };
        slot.done.store(0, Ordering::Relaxed);
        slot.left.store(tasks, Ordering::Relaxed);
        // The bit comes first: whoever takes the last task takes it away.
        shared.waiting.fetch_or(1 << number, Ordering::SeqCst);
        let workers = slot.own.len();
        slot.own.iter().enumerate().for_each(|(worker, own)| own.set(share(tasks, workers, worker)));
        shared.wake_all();
        while shared.work(*number, 0) {}
        let mut spins = 0u32;
        while slot.done.load(Ordering::Acquire) < tasks {
            spins = spins.saturating_add(1);
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        slot.has_panicked.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.held.fetch_and(!(1 << self.number), Ordering::Release);
    }
}

impl ThreadPool {
    /// A pool that works on `threads` threads, the caller's among them (0 counts as 1), with the fastest vector
    /// instructions that there are.
    ///
    /// # Errors
    /// [`ThreadError`] when the system gives a thread less.
    pub fn new(threads: usize) -> Result<ThreadPool, ThreadError> {
        ThreadPool::with_isa(threads, Isa::detect())
    }

    /// The same with these vector instructions, or the fastest where the processor does not have them.
    ///
    /// # Errors
    /// [`ThreadError`] when the system gives a thread less.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<ThreadPool, ThreadError> {
        let isa = if isa.is_available() { isa } else { Isa::detect() };
        let shared = Arc::new(Shared {
            slots: (0..MAX_RUNS).map(|_| Slot::new(threads.max(1))).collect(),
            held: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = ThreadPool { isa, shared, workers: Vec::new() };
        for worker in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name(format!("tightfit-{worker}"))
                .stack_size(WORKER_STACK_BYTES)
                .spawn(move || shared.worker(worker))
                .map_err(|source| ThreadError { wanted: threads, given: worker, source })?;
            pool.workers.push(thread);
        }
        Ok(pool)
    }

    /// The vector instructions that its kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads work on a run: `worker_index` is below it.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(task_index, worker_index)` once for each index below `tasks`, and returns when all calls have. No two
    /// calls at a time have one `worker_index`. Other threads may run tasks of their own meanwhile.
    ///
    /// # Panics
    /// When a task panicked, after all others are done.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        // The caller is a worker as well.
        let _flush = FlushDenormals::new();
        let has_parts = tasks > 1 && tasks <= u32::MAX as usize && !self.workers.is_empty();
        let Some(held) = has_parts.then(|| self.shared.hold()).flatten() else {
            (0..tasks).for_each(|index| task(index, 0));
            return;
        };
        // SAFETY: only the lifetime is changed, and no call outlives this function: it waits for all tasks.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        let has_panicked = held.run(task, tasks);
        drop(held);
        assert!(!has_panicked, "a task of the thread pool panicked");
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.sleep));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics, so it has nothing to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 2, 3, 8] {
            let pool = ThreadPool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads.max(1));
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|index, worker| {
                    assert!(worker < pool.threads());
                    counts[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn shares_make_up_the_whole() {
        for (total, parts) in [(0, 1), (1, 1), (5, 3), (14, 4), (56, 12), (2, 3)] {
            let shares: Vec<_> = (0..parts).map(|number| share(total, parts, number)).collect();
            assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..total).collect::<Vec<_>>());
            let sizes = || shares.iter().map(|share| share.len());
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
            let half = |shares: &[Range<usize>]| shares.iter().map(|share| share.len()).sum::<usize>();
            let (first, second) = shares.split_at(parts / 2);
            assert!(parts % 2 == 1 || half(first).abs_diff(half(second)) <= 1);
        }
    }

    #[test]
    fn many_short_runs() {
        let pool = ThreadPool::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        for run in 0..20_000 {
            let tasks = run % 5;
            pool.run(tasks, &|index, _| {
                sum.fetch_add(index + 1, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 4000 * (1 + 3 + 6 + 10));
    }

    #[test]
    fn runs_after_a_sleep() {
        let pool = ThreadPool::new(2).unwrap();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(3));
            // Each task waits for the other, so this ends only when the worker has woken.
            let arrived = AtomicUsize::new(0);
            pool.run(2, &|_, _| {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = ThreadPool::new(2).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(10, &|index, _| assert!(index != 3, "the test's own panic"));
        }));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        pool.run(10, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn nested_and_concurrent_runs() {
        let pool = ThreadPool::new(2).unwrap();
        let count = AtomicUsize::new(0);
        let inner = |_: usize, _: usize| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..100).for_each(|_| pool.run(4, &|_, _| pool.run(3, &inner))));
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 2 * 100 * 4 * 3);
    }

    #[test]
    fn bits_are_found_in_turn() {
        assert_eq!(first_from(0, 3), None);
        assert_eq!(
            [0, 1, 2, 5, 6, 63, 64].map(|from| first_from(0b10_0001, from)),
            [0, 5, 5, 5, 0, 0, 0].map(Some)
        );
        assert_eq!(first_from(1 << 63, 9), Some(63));
    }

    #[test]
    fn workers_serve_callers_in_turn() {
        // One caller has a long run; those of another get a worker's help all the same, each within one of its tasks.
        let pool = ThreadPool::new(2).unwrap();
        let is_over = AtomicBool::new(false);
        let helped = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    pool.run(1000, &|_, _| std::thread::sleep(Duration::from_micros(20)));
                }
            });
            // Ends only when a worker took a task of this caller.
            while helped.load(Ordering::Relaxed) < 20 {
                pool.run(8, &|_, worker| {
                    helped.fetch_add(worker, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(20));
                });
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn no_two_tasks_at_a_time_have_one_worker_index() {
        let pool = ThreadPool::new(3).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let busy: Vec<AtomicBool> = (0..3).map(|_| AtomicBool::new(false)).collect();
                    for _ in 0..500 {
                        pool.run(7, &|_, worker| {
                            assert!(!busy[worker].swap(true, Ordering::SeqCst));
                            std::hint::spin_loop();
                            busy[worker].store(false, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
    }

    #[test]
    fn more_callers_than_slots() {
        let pool = ThreadPool::new(2).unwrap();
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..MAX_RUNS + 6 {
                scope.spawn(|| {
                    pool.run(3, &|_, _| {
                        count.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(1));
                    });
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 3 * (MAX_RUNS + 6));
    }
}
