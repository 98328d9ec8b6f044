//! A small pool of threads for kernels.
//!
//! A run hands out task numbers 0..tasks; whoever is free takes the next. Workers spin for a short while after a run,
//! since in a network the next one follows in microseconds, and then sleep. A worker that wakes late costs nothing:
//! the caller waits only for tasks that were taken. Nothing is allocated per run.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::denormals::FlushDenormals;

/// The stack of a worker in bytes. Kernels keep no more than a few KiB on it.
pub const WORKER_STACK_BYTES: usize = 256 << 10;

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(100);

/// How often the caller looks for the last task's end before it gives its core away.
const SPINS_BEFORE_YIELD: u32 = 2000;

/// What `ThreadPool::run` calls for each task: `f(task_index, worker_index)`.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A fixed number of threads that work on one run at a time. The thread that calls [`ThreadPool::run`] is worker 0.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a run, so that a run from another thread, or from within a task, goes inline instead.
    running: Mutex<()>,
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

/// The run at hand: written by the caller while no task is left of the run before, read by those who have taken one.
struct Job {
    task: *const Task<'static>,
    tasks: usize,
}

struct Shared {
    /// The run's number in the high half, the tasks not yet taken in the low half. Whoever lowers the low half by
    /// one has taken a task, and until it is counted in `done` the run cannot end, so the job stays as it is.
    state: AtomicU64,
    job: UnsafeCell<Job>,
    done: AtomicUsize,
    panicked: AtomicBool,
    stopping: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

// SAFETY: `job` is written only between runs and read only by holders of a task, as `state` tells.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only during a run, which outlives no borrow of its closure.
unsafe impl Send for Shared {}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Takes one task, if any is left.
    fn take(&self) -> Option<(&Task<'static>, usize)> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let left = state as u32;
            if left == 0 {
                return None;
            }
            match self.state.compare_exchange_weak(state, state - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: a task of this run is ours, so the run is not over and nobody writes the job; the
                    // caller of `run` keeps the closure alive until all tasks are done.
                    let (job, task) = unsafe {
                        let job = &*self.job.get();
                        (job, &*job.task)
                    };
                    return Some((task, job.tasks - left as usize));
                }
                Err(now) => state = now,
            }
        }
    }

    /// Works until no task is left to take.
    fn work(&self, worker: usize) {
        while let Some((task, index)) = self.take() {
            if catch_unwind(AssertUnwindSafe(|| task(index, worker))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }

    fn has_work(&self) -> bool {
        self.state.load(Ordering::SeqCst) as u32 != 0 || self.stopping.load(Ordering::SeqCst)
    }

    fn worker(&self, worker: usize) {
        let _flush = FlushDenormals::new();
        while !self.stopping.load(Ordering::Relaxed) {
            self.work(worker);
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
}

impl ThreadPool {
    /// A pool that works on `threads` threads, the caller's among them; 0 counts as 1.
    ///
    /// # Errors
    /// [`ThreadError`] when the system gives a thread less.
    pub fn new(threads: usize) -> Result<ThreadPool, ThreadError> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: std::ptr::from_ref::<Task<'static>>(&|_, _| ()), tasks: 0 }),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = ThreadPool { shared, workers: Vec::new(), running: Mutex::new(()) };
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

    /// How many threads work on a run: `worker_index` is below it.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(task_index, worker_index)` once for each index below `tasks`, and returns when all calls have.
    /// A run from within a task, or while another thread's goes on, is done inline as worker 0.
    ///
    /// # Panics
    /// When a task panicked, after all others are done.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        // The caller is a worker as well.
        let _flush = FlushDenormals::new();
        let guard = (tasks > 1 && tasks <= u32::MAX as usize && !self.workers.is_empty())
            .then(|| self.running.try_lock().ok())
            .flatten();
        let Some(guard) = guard else {
            (0..tasks).for_each(|index| task(index, 0));
            return;
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed, and no call outlives this function: it waits for `done`.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: no task is left of the run before, and the lock keeps other runs out.
        unsafe { *shared.job.get() = Job { task, tasks } };
        shared.done.store(0, Ordering::Relaxed);
        let run = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
        shared.state.store(run | tasks as u64, Ordering::SeqCst);
        shared.wake_all();
        shared.work(0);
        let mut spins = 0u32;
        while shared.done.load(Ordering::Acquire) < tasks {
            spins = spins.saturating_add(1);
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let panicked = shared.panicked.swap(false, Ordering::Relaxed);
        drop(guard);
        assert!(!panicked, "a task of the thread pool panicked");
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
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
}
