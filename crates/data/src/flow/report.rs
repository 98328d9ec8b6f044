//! What each stage of a pipeline did, and which one holds the others up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stage::Meter;

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

impl StageReport {
    /// Time it worked for each of the threads that do.
    fn load(&self) -> Duration {
        self.work_time / u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX)
    }
}

/// What the stages of a pipeline did, sources first.
#[derive(Debug, Clone)]
pub struct Report {
    /// The stages.
    pub stages: Vec<StageReport>,
}

impl Report {
    /// Reads the meters of a pipeline.
    pub fn new(meters: &[Arc<Meter>]) -> Report {
        Report { stages: meters.iter().map(|meter| stage(meter, meters)).collect() }
    }

    /// The number of the stage that the others wait for: the one whose threads have worked longest.
    pub fn bottleneck(&self) -> Option<usize> {
        let stages = self.stages.iter().enumerate();
        stages.max_by_key(|(_, stage)| stage.load()).map(|(index, _)| index)
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
    let part = |part: &super::stage::Part| (part.name.clone(), Duration::from_nanos(read(&part.busy_ns)));
    let (skipped, messages) = meter.skipped();
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
