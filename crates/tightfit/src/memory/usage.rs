//! What a job takes while it runs: by line of its plan, now, at most, and over time.
//!
//! The numbers are the budget's own counters by purpose. Each purpose belongs to one line of the plan, so that what was
//! planned and what was taken stand side by side.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tightfit_core::{BudgetError, MemoryBudget, Reservation};

use crate::memory::lines::Lines;
use crate::memory::process;

/// Bytes of the budget in use, and the most that were, by line of the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In use now.
    pub used: Lines,
    /// The most that each line's purposes held. Several of one line need not have held it at one time.
    pub peak: Lines,
    /// The most that was in use at once.
    pub peak_bytes: u64,
}

impl Usage {
    /// What is reserved from `budget`.
    pub fn of(budget: &MemoryBudget) -> Usage {
        let mut usage = Usage { peak_bytes: budget.peak_bytes(), ..Usage::default() };
        budget.for_each_purpose(&mut |purpose, held_bytes, peak_bytes| {
            *line(&mut usage.used, purpose) += held_bytes;
            *line(&mut usage.peak, purpose) += peak_bytes;
        });
        usage
    }
}

/// The line of the plan that a purpose belongs to.
fn line<'l>(lines: &'l mut Lines, purpose: &str) -> &'l mut u64 {
    // What describes a model, and what is done to the description, is part of the runtime.
    const STRUCTURE: [&str; 9] =
        ["model", "graph", "fold", "plan", "import", "infer", "runtime", "thread", "copying tensor"];
    match purpose {
        "weights" => &mut lines.weights_bytes,
        "window" => &mut lines.window_bytes,
        "arena" | "strings" | "data-dependent memory" => &mut lines.arena_bytes,
        "sink" | "output" => &mut lines.sink_bytes,
        _ if STRUCTURE.iter().any(|part| purpose.contains(part)) => &mut lines.runtime_bytes,
        // Files and their lists, records, decoders, stages.
        _ => &mut lines.pipeline_bytes,
    }
}

/// What was in use at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the recording began.
    pub seconds: f64,
    /// Bytes in use by line of the plan.
    pub used: Lines,
    /// Bytes of the process that were resident.
    pub resident_bytes: u64,
}

/// The most samples that are kept. With twice as many, of each two only the larger one is.
const MAX_SAMPLES: usize = 512;

/// The time between two samples of a short job.
const FIRST_INTERVAL: Duration = Duration::from_millis(1);

/// Samples of a whole job in memory that does not grow: the longer it takes, the further they are apart.
#[derive(Debug)]
struct History {
    begin: Instant,
    interval: Duration,
    samples: Vec<Sample>,
}

impl History {
    fn new() -> History {
        let samples = Vec::with_capacity(MAX_SAMPLES);
        History { begin: Instant::now(), interval: FIRST_INTERVAL, samples }
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() == MAX_SAMPLES {
            for kept in 0..MAX_SAMPLES / 2 {
                let (a, b) = (self.samples[2 * kept], self.samples[2 * kept + 1]);
                self.samples[kept] = if b.resident_bytes > a.resident_bytes { b } else { a };
            }
            self.samples.truncate(MAX_SAMPLES / 2);
            self.interval = self.interval.saturating_mul(2);
        }
        self.samples.push(sample);
    }

    fn take_sample(&mut self, budget: &MemoryBudget) {
        let mut used = Lines::default();
        budget.for_each_purpose(&mut |purpose, held_bytes, _| *line(&mut used, purpose) += held_bytes);
        let resident_bytes = process::resident().map_or(0, |resident| resident.total_bytes());
        self.push(Sample { seconds: self.begin.elapsed().as_secs_f64(), used, resident_bytes });
    }
}

/// Bytes of the stack of the thread that records.
const STACK_BYTES: usize = 64 << 10;

/// Records what is in use until it is asked what it has seen.
#[derive(Debug)]
pub struct Recorder {
    budget: MemoryBudget,
    _reservation: Reservation,
    history: Arc<Mutex<History>>,
    // Dropping it wakes the thread.
    ends: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// The memory that it takes out of the budget, in bytes, however long the job is: samples, a stack, and code that
    /// nobody else executes, the drawing of what it has seen included.
    pub const MEMORY_BYTES: u64 = 384 << 10;

    /// Starts to record what is reserved from `budget`. Where the system gives no thread for it, only the first moment and
    /// the last are recorded.
    ///
    /// # Errors
    /// [`BudgetError`] when its memory is not free.
    pub fn start(budget: &MemoryBudget) -> Result<Recorder, BudgetError> {
        let _reservation = budget.try_reserve("sink", Recorder::MEMORY_BYTES)?;
        let history = Arc::new(Mutex::new(History::new()));
        lock(&history).take_sample(budget);
        let (ends, ended) = mpsc::channel::<()>();
        let (seen, from) = (history.clone(), budget.clone());
        let record = move || {
            let mut interval = FIRST_INTERVAL;
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let mut history = lock(&seen);
                history.take_sample(&from);
                interval = history.interval;
            }
        };
        let name = "tightfit-record".to_string();
        let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(record).ok();
        Ok(Recorder { budget: budget.clone(), _reservation, history, ends: Some(ends), thread })
    }

    /// All that was seen, in the order of time.
    pub fn finish(mut self) -> Vec<Sample> {
        self.end();
        let mut history = lock(&self.history);
        history.take_sample(&self.budget);
        std::mem::take(&mut history.samples)
    }

    fn end(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but what is in the history.
            thread.join().ok();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    // A history is whole after every statement but one that cannot fail.
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_lines_of_the_plan() {
        let budget = MemoryBudget::new(1000);
        let held =
            ["weights", "window", "arena", "strings", "model structure", "sink", "file list", "runtime"];
        let mut held: Vec<_> = held.iter().map(|purpose| budget.try_reserve(purpose, 10).unwrap()).collect();
        held.remove(0);
        let usage = Usage::of(&budget);
        let lines = |lines: Lines| lines.named().map(|(_, bytes)| bytes);
        assert_eq!(lines(usage.used), [20, 0, 10, 20, 10, 10]);
        assert_eq!(lines(usage.peak), [20, 10, 10, 20, 10, 10]);
        assert_eq!((usage.peak_bytes, usage.used.total_bytes()), (80, budget.used_bytes()));
    }

    #[test]
    fn a_long_history_keeps_its_peaks_and_its_size() {
        let mut history = History::new();
        let (mut at_ms, mut peak_ms) = (0, None);
        while at_ms < 10_000_000 {
            let is_peak = peak_ms.is_none() && at_ms >= 5_000_000;
            peak_ms = if is_peak { Some(at_ms) } else { peak_ms };
            let resident_bytes = if is_peak { 99 } else { 1 };
            history.push(Sample { seconds: at_ms as f64, resident_bytes, ..Sample::default() });
            assert!(history.samples.len() <= MAX_SAMPLES && history.samples.capacity() == MAX_SAMPLES);
            at_ms += history.interval.as_millis() as u64;
        }
        let peak_ms = peak_ms.unwrap() as f64;
        assert!(history.samples.is_sorted_by(|a, b| a.seconds < b.seconds));
        assert_eq!(history.samples[0].seconds, 0.0);
        assert!(
            history.samples.iter().any(|sample| sample.seconds == peak_ms && sample.resident_bytes == 99)
        );
        assert!(history.samples.len() >= MAX_SAMPLES / 2 && history.interval >= 256 * FIRST_INTERVAL);
    }

    #[test]
    fn a_recorder_sees_the_first_moment_and_the_last() {
        let budget = MemoryBudget::new(Recorder::MEMORY_BYTES + 1000);
        assert!(Recorder::start(&MemoryBudget::new(1000)).is_err());
        let first = budget.try_reserve("arena", 1).unwrap();
        let recorder = Recorder::start(&budget).unwrap();
        let _second = budget.try_reserve("weights", 7).unwrap();
        drop(first);
        let samples = recorder.finish();
        assert_eq!(samples.first().unwrap().used.arena_bytes, 1);
        let sink_bytes = Recorder::MEMORY_BYTES;
        assert_eq!(samples.last().unwrap().used, Lines { weights_bytes: 7, sink_bytes, ..Lines::default() });
    }
}
