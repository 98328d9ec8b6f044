//! What each stage of a pipeline did, and which one holds the others up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::scaled;
use super::stage::{Meter, Part};

/// What one stage did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StageReport {
    /// What it is called.
    pub name: String,
    /// The numbers of the stages it reads from.
    pub inputs: Vec<usize>,
    /// Elements it gave.
    pub elements: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Time it worked itself, its inputs and waiting left out, in all threads. Of quick stages some blocks of elements are
    /// timed, and stand for those between them.
    pub work_time: Duration,
    /// Time of the threads it works in, working or not: its own, or those that take its elements. What the stages of the
    /// same threads work adds up to no more.
    pub thread_time: Duration,
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
#[non_exhaustive]
pub struct Report {
    /// The stages.
    pub stages: Vec<StageReport>,
    /// Time that whoever takes the elements did other things between them.
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
    /// Reads the meters of a pipeline, whose elements were taken within `total_time` by someone who did other things for
    /// `taker_time`.
    pub fn new(meters: &[Arc<Meter>], taker_time: Duration, total_time: Duration) -> Report {
        let mut stages: Vec<_> = meters.iter().map(|meter| stage(meter)).collect();
        // Stages come after those that they read from, so whoever takes their elements is known before they are.
        let mut takers = vec![total_time; stages.len()];
        for (index, (stage, meter)) in stages.iter_mut().zip(meters).enumerate().rev() {
            let of_taker = takers.get(index).copied().unwrap_or(total_time);
            stage.thread_time = if stage.threads > 0 { meter.awake.time() } else { of_taker };
            for input in stage.inputs.iter().filter(|input| **input < index) {
                if let Some(taker) = takers.get_mut(*input) {
                    *taker = stage.thread_time;
                }
            }
        }
        Report { stages, taker_time }
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

fn stage(meter: &Meter) -> StageReport {
    let threads = read(&meter.threads);
    let work_ns = match threads {
        0 => meter.own.ns(),
        _ => read(&meter.busy_ns).saturating_add(read(&meter.pull_own_ns)),
    };
    // The only part is all of the work, and not timed by itself.
    let only = u64::from(meter.parts.len() == 1);
    let parts_ns = || meter.parts.iter().map(|part| read(&part.busy_ns).max(only));
    // What of the stage's work is none of the parts' is shared out among them.
    let times = work_ns as f64 / parts_ns().fold(0, u64::saturating_add).max(1) as f64;
    let parts = meter.parts.iter().zip(parts_ns());
    let part = |(part, ns): (&Part, u64)| (part.name.clone(), Duration::from_nanos(scaled(ns, times)));
    let (skipped, messages) = meter.skipped();
    StageReport {
        skipped,
        messages,
        name: meter.name.clone(),
        inputs: meter.inputs.clone(),
        elements: read(&meter.elements),
        bytes: read(&meter.bytes),
        work_time: Duration::from_nanos(work_ns),
        thread_time: Duration::ZERO,
        wait_time: Duration::from_nanos(read(&meter.wait_ns)),
        threads,
        held_bytes: read(&meter.held_bytes),
        peak_bytes: read(&meter.peak_bytes),
        parts: parts.map(part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Instant;

    use tightfit_core::MemoryBudget;

    use super::*;
    use crate::flow::{FunctionOp, Map, MapMode, Pipeline, PipelineSpec, Prefetch, Range, Skip};

    /// An operation that takes `time` for each element: quick ones keep the processor busy.
    fn takes(name: &'static str, time: Duration, mode: MapMode) -> Map {
        takes_noted(name, time, mode, &Arc::default())
    }

    /// The same; adds the nanoseconds that it really took to `spent_ns`.
    fn takes_noted(name: &'static str, time: Duration, mode: MapMode, spent_ns: &Arc<AtomicU64>) -> Map {
        let spent_ns = spent_ns.clone();
        let op = FunctionOp::filter(name, move |_| {
            let start = Instant::now();
            if time > Duration::from_millis(1) {
                sleep(time);
            }
            while start.elapsed() < time {}
            spent_ns.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
            true
        });
        Map { mode, ..Map::new(op) }
    }

    /// Two stages of which the first takes three times as long, what they really took, and how much more that was.
    fn three_to_one(unit: Duration, modes: [MapMode; 2]) -> ([Map; 2], impl Fn() -> f64) {
        let spent: [Arc<AtomicU64>; 2] = Default::default();
        let stages = [
            takes_noted("three", unit * 3, modes[0], &spent[0]),
            takes_noted("one", unit, modes[1], &spent[1]),
        ];
        let ratio = move || spent[0].load(Ordering::Relaxed) as f64 / spent[1].load(Ordering::Relaxed) as f64;
        (stages, ratio)
    }

    /// Stages of which each element is timed have the time that they really took, but for when the machine took the
    /// processor away between two looks at the clock.
    const TIMED: std::ops::Range<f64> = 0.6..1.7;

    /// What is found of a pipeline of `stages` over so many numbers.
    fn measured(
        numbers: i64,
        threads: usize,
        stages: [Map; 2],
        is_apart: bool,
        is_ahead: bool,
    ) -> (Report, Duration) {
        let [first, second] = stages;
        let mut spec = PipelineSpec::new(Range { start: 0, stop: numbers, step: 1 }).then(first);
        if is_apart {
            spec = spec.then(Skip(0));
        }
        spec = spec.then(second);
        if is_ahead {
            spec = spec.then(Prefetch::default());
        }
        let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(4 << 20), threads).unwrap();
        let start = Instant::now();
        while pipeline.advance().unwrap() {}
        (pipeline.report(), start.elapsed())
    }

    fn ratio(report: &Report, name: &str, other: &str) -> f64 {
        let time = |name| report.stages.iter().find(|stage| stage.name == name).unwrap().work_time;
        time(name).as_secs_f64() / time(other).as_secs_f64()
    }

    /// Holds the sums of the stages that work in the same threads against the time of these.
    fn assert_sums(report: &Report, elapsed: Duration) {
        let stages = &report.stages;
        let mut first = 0;
        // A row of stages: those without threads before one that has some work in its threads.
        for (last, stage) in stages.iter().enumerate() {
            if stage.threads == 0 && last + 1 < stages.len() {
                continue;
            }
            let together = &stages[first..=last];
            let worked: Duration = together.iter().map(|stage| stage.work_time).sum();
            assert!(together.iter().all(|other| other.thread_time == stage.thread_time), "{report:#?}");
            assert!(worked <= stage.thread_time, "{report:#?}");
            assert!(stage.thread_time <= elapsed * stage.threads.max(1) as u32, "{report:#?} {elapsed:?}");
            first = last + 1;
        }
        assert!(report.taker_time <= elapsed);
    }

    #[test]
    fn stages_have_the_shares_that_they_take_and_these_add_up_to_no_more_than_there_was() {
        let inline = MapMode::Inline;
        // Each element is timed of the first, and hardly any of the second; the clock costs as much as their work.
        for (numbers, unit) in [(40, Duration::from_millis(2)), (200_000, Duration::from_nanos(400))] {
            for is_ahead in [false, true] {
                let (stages, real) = three_to_one(unit, [inline; 2]);
                let (report, elapsed) = measured(numbers, 1, stages, true, is_ahead);
                assert_sums(&report, elapsed);
                let found = ratio(&report, "three", "one");
                assert!((1.3..9.0).contains(&found), "{found} {report:#?}");
                let found = found / real();
                assert!(numbers > 40 || TIMED.contains(&found), "{found} {report:#?}");
                assert!(ratio(&report, "three", "range") > 1.5, "{report:#?}");
                let worked: Duration = report.stages.iter().map(|stage| stage.work_time).sum();
                assert!(worked >= unit * 3 * numbers as u32, "{worked:?} {report:#?}");
            }
        }
    }

    #[test]
    fn what_several_threads_work_is_a_part_of_their_time() {
        let of = |threads| MapMode::Parallel { threads: Some(threads), is_ordered: true };
        let unit = Duration::from_millis(2);
        let (stages, real) = three_to_one(unit, [of(2), of(1)]);
        let (report, elapsed) = measured(60, 3, stages, true, false);
        assert_sums(&report, elapsed);
        let found = ratio(&report, "three", "one");
        assert!((1.3..9.0).contains(&found), "{found} {report:#?}");
        let found = found / real();
        assert!(TIMED.contains(&found), "{found} {report:#?}");
        assert_eq!(report.bottleneck(), Some(1), "{report:#?}");
    }

    #[test]
    fn the_time_of_parts_is_that_of_their_stage() {
        for mode in [MapMode::Inline, MapMode::default()] {
            let quick = Duration::from_micros(3);
            let stages = [takes("three", quick * 3, mode), takes("one", quick, mode)];
            let (report, elapsed) = measured(20_000, 1, stages, false, false);
            assert_sums(&report, elapsed);
            let stage = &report.stages[1];
            let [(_, three), (_, one)] = &*stage.parts else { panic!("{report:#?}") };
            let found = three.as_secs_f64() / one.as_secs_f64();
            assert!((1.3..9.0).contains(&found), "{found} {report:#?}");
            assert!(*three + *one <= stage.work_time, "{report:#?}");
        }
    }
}
