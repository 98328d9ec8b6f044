//! Deals out the threads of a pipeline: stages with threads of their own get as many as their share of the work asks
//! for, by the time each has measured, and never more than there are in all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stages::parallel::Knobs;

/// Time between two looks at the figures.
const INTERVAL: Duration = Duration::from_millis(50);

/// The stages of a pipeline that have threads.
#[derive(Debug)]
pub(crate) struct Tuner {
    threads: usize,
    start: Instant,
    /// When to look next, in nanoseconds from the start.
    next_ns: AtomicU64,
    stages: Mutex<Vec<Stage>>,
}

#[derive(Debug)]
struct Stage {
    knobs: Arc<Knobs>,
    /// The figures at the last look.
    busy_ns: u64,
    wait_ns: u64,
}

impl Tuner {
    /// A tuner that deals out `threads`.
    pub fn new(threads: usize) -> Tuner {
        let (next_ns, stages) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        Tuner { threads, start: Instant::now(), next_ns, stages }
    }

    /// Makes a stage known.
    pub fn add(&self, knobs: Arc<Knobs>) {
        let stage = Stage { knobs, busy_ns: 0, wait_ns: 0 };
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push(stage);
    }

    /// Turns the knobs, if it is time for that.
    pub fn tune(&self) {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        let due_ns = self.next_ns.load(Ordering::Relaxed);
        let next_ns = now_ns + INTERVAL.as_nanos() as u64;
        let is_mine =
            self.next_ns.compare_exchange(due_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now_ns < due_ns || !is_mine {
            return;
        }
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let busy_ns: Vec<u64> = stages.iter_mut().map(Stage::busy_since).collect();
        let max: Vec<usize> = stages.iter().map(|stage| stage.knobs.max_threads).collect();
        for (stage, threads) in stages.iter_mut().zip(share(self.threads, &busy_ns, &max)) {
            stage.knobs.threads.store(threads, Ordering::Relaxed);
            stage.knobs.meter.threads.store(threads as u64, Ordering::Relaxed);
            stage.deepen();
        }
    }
}

impl Stage {
    /// Time its threads worked since the last look.
    fn busy_since(&mut self) -> u64 {
        let now = self.knobs.meter.busy_ns.load(Ordering::Relaxed);
        now - std::mem::replace(&mut self.busy_ns, now)
    }

    /// Lets one block more wait when whoever takes them had to wait though there is one already.
    fn deepen(&mut self) {
        let now = self.knobs.meter.wait_ns.load(Ordering::Relaxed);
        let waited_ns = now - std::mem::replace(&mut self.wait_ns, now);
        let depth = self.knobs.depth.load(Ordering::Relaxed);
        if waited_ns > INTERVAL.as_nanos() as u64 / 10 && depth < self.knobs.max_depth.min(MAX_DEPTH) {
            self.knobs.depth.store(depth + 1, Ordering::Relaxed);
        }
    }
}

/// Blocks that wait, at most, where nothing was asked for: more do not make anything faster.
const MAX_DEPTH: usize = 8;

/// Deals `threads` out among stages that were busy for `busy_ns`, so that the one that is busiest by thread is as
/// little so as can be: one each, then always one more for that. At most `max` each.
fn share(threads: usize, busy_ns: &[u64], max: &[usize]) -> Vec<usize> {
    let mut dealt = vec![1; busy_ns.len()];
    for _ in dealt.len()..threads {
        let load = |i: &usize| {
            let (busy_ns, threads, max) = (busy_ns.get(*i)?, dealt.get(*i)?, max.get(*i)?);
            (threads < max).then(|| *busy_ns / *threads as u64)
        };
        let Some(busiest) = (0..dealt.len()).filter(|i| load(i).is_some()).max_by_key(load) else { break };
        if let Some(threads) = dealt.get_mut(busiest) {
            *threads += 1;
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn threads_go_where_the_work_is() {
        assert_eq!(share(8, &[100, 300], &[8, 8]), [2, 6]);
        assert_eq!(share(8, &[100, 300], &[8, 2]), [6, 2]);
        assert_eq!(share(2, &[1, 1, 1], &[8, 8, 8]), [1, 1, 1]);
        assert_eq!(share(4, &[0], &[1]), [1]);
        assert_eq!(share(4, &[], &[]), [0; 0]);
    }
}
