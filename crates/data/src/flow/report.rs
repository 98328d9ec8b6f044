//! What each stage of a pipeline did, and which one holds the others up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stage::{Meter, Part};

/// What one stage did.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// What it is called.
    pub name: String,
    /// The numbers of the stages it reads from.
    pub inputs: Vec<usize>,
    /// Elements it gave.
    pub elements: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Time it worked itself, its inputs left out, in all threads. Quick stages are looked at now and then only.
    pub work_time: Duration,
    /// Time that whoever takes its elements waited for its threads.
    pub wait_time: Duration,
    /// Threads of its own that work; 0 when it works in its taker's.
    pub threads: u64,
    /// Bytes it holds, and the most it has held.
    pub held_bytes: u64,
    /// The most bytes it has held.
    pub peak_bytes: u64,
    /// Elements it left out because something was wrong with them.
    pub skipped: u64,
    /// What was wrong with the first of them.
    pub messages: Vec<String>,
    /// What it does to each element, and the time that took in all threads, where that is several things.
    pub parts: Vec<(String, Duration)>,
}

/// What the stages of a pipeline did, sources first.
#[derive(Debug, Clone)]
pub struct Report {
    /// The stages.
    pub stages: Vec<StageReport>,
    /// Time that whoever takes the elements did other things.
    pub taker_time: Duration,
}

/// Work that is done one after the other: the time it takes in all, and the part of it that takes longest.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    total: Duration,
    longest: Duration,
    /// Whose part that is; nothing for whoever takes the elements.
    stage: Option<usize>,
}

impl Line {
    fn add(&mut self, time: Duration, stage: Option<usize>) {
        self.total += time;
        if time > self.longest {
            (self.longest, self.stage) = (time, stage);
        }
    }

    /// The same work shared out among `threads`.
    fn shared(self, threads: u64) -> Line {
        Line { total: self.total / u32::try_from(threads.max(1)).unwrap_or(u32::MAX), ..self }
    }
}

impl Report {
    /// Reads the meters of a pipeline, whose elements were taken by someone who was away for `taker_time`.
    pub fn new(meters: &[Arc<Meter>], taker_time: Duration) -> Report {
        Report { stages: meters.iter().map(|meter| stage(meter, meters)).collect(), taker_time }
    }

    /// The number of the stage that the others wait for; nothing when all of them wait for whoever takes the elements.
    ///
    /// Stages between two others with threads work one after the other. Of all such lines, and of all threads with the
    /// line that they get their elements from, the one with most to do is what the others wait for, and in it the stage
    /// that takes longest.
    pub fn bottleneck(&self) -> Option<usize> {
        let top = self.stages.len().checked_sub(1)?;
        let mut taker = Line::default();
        taker.add(self.taker_time, None);
        let mut lines = Vec::new();
        self.follow(top, &mut taker, &mut lines);
        lines.push(taker);
        lines.into_iter().max_by_key(|line| line.total).and_then(|line| line.stage)
    }

    /// Adds stage `index`, and those it reads from, to `line`, which is done when it comes to one with threads: there
    /// others begin.
    fn follow(&self, index: usize, line: &mut Line, lines: &mut Vec<Line>) {
        let Some(stage) = self.stages.get(index) else { return };
        // Stages were opened after those that they read from.
        let inputs = stage.inputs.iter().filter(|input| **input < index);
        if stage.threads == 0 {
            line.add(stage.work_time, Some(index));
            inputs.for_each(|input| self.follow(*input, line, lines));
            return;
        }
        let mut pulled = Line::default();
        inputs.for_each(|input| self.follow(*input, &mut pulled, lines));
        let mut all = pulled;
        all.add(stage.work_time, Some(index));
        lines.extend([pulled, all.shared(stage.threads)]);
    }
}

fn read(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

fn stage(meter: &Meter, all: &[Arc<Meter>]) -> StageReport {
    let threads = read(&meter.threads);
    let work_ns = if threads > 0 {
        read(&meter.busy_ns)
    } else {
        let inputs = meter.inputs.iter().filter_map(|input| all.get(*input));
        let inputs_ns: u64 = inputs.map(|input| read(&input.inclusive_ns)).sum();
        read(&meter.inclusive_ns).saturating_sub(inputs_ns)
    };
    let (skipped, messages) = meter.skipped();
    let part = |part: &Part| (part.name.clone(), Duration::from_nanos(read(&part.busy_ns)));
    StageReport {
        skipped,
        messages,
        name: meter.name.clone(),
        inputs: meter.inputs.clone(),
        elements: read(&meter.elements),
        bytes: read(&meter.bytes),
        work_time: Duration::from_nanos(work_ns),
        wait_time: Duration::from_nanos(read(&meter.wait_ns)),
        threads,
        held_bytes: read(&meter.held_bytes),
        peak_bytes: read(&meter.peak_bytes),
        parts: meter.parts.iter().map(part).collect(),
    }
}
