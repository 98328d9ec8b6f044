//! How long a run of a plan takes on this machine, before there is one.
//!
//! A step takes as long as its multiplications and additions do at the rate at which the machine is measured to do them, or as the
//! bytes that it reads and writes do, whichever is longer ([`Roofline`]). A
//! streamed weight is read while the step computes that it is for, at the rate at which a part of it is read now.

use std::time::{Duration, Instant};

use tightfit_core::Buffer;
use tightfit_graph::GraphError;
use tightfit_graph::plan::{Plan, Step};
use tightfit_kernels::ThreadPool;

use crate::error::Error;
use crate::model::Model;
use crate::roofline::Roofline;

/// How long each figure is measured.
const TIME: Duration = Duration::from_millis(15);

/// Bytes that are read to measure memory and files, as far as the budget has them.
const MOST_BYTES: u64 = 8 << 20;

/// Bytes of a part of a file.
const PART_BYTES: u64 = 256 << 10;

/// What products achieve of the machine's most, and other steps of the rate at which it reads memory. Measured on the networks of
/// `bench`, by `bench/expected.py`.
const OF_FLOPS: f64 = 0.6;
const OF_BYTES: f64 = 0.35;

/// How much faster convolutions are that have the scratch for Winograd's way.
const OF_SCRATCH: f64 = 1.8;

/// What each step takes besides: it is handed to the threads, and they wait for each other.
const STEP_SECONDS: f64 = 2e-6;

/// How long a run is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Expected {
    /// Seconds of one run. Loops are taken to turn once.
    pub seconds: f64,
    /// How many of them pass while threads wait for the file.
    pub waiting_seconds: f64,
}

/// What the machine does in a second.
struct Rates {
    /// What steps achieve of what it does at most.
    achieved: Roofline,
    /// Bytes of the file that streamed weights are in.
    file_bytes: f64,
}

impl Expected {
    /// Measures the machine for a moment, and adds up what the steps of a plan of `model` take. Takes up to 8 MiB of the model's budget
    /// for the while.
    ///
    /// # Errors
    /// [`Error::Graph`] where a weight cannot be read, and where the budget has no 256 KiB.
    pub fn of(plan: &Plan, model: &Model) -> Result<Expected, Error> {
        Ok(Rates::measure(plan, model)?.run(plan))
    }
}

impl Rates {
    fn measure(plan: &Plan, model: &Model) -> Result<Rates, Error> {
        let budget = model.graph().budget();
        let most_bytes = (budget.free_bytes() / 2).clamp(PART_BYTES, MOST_BYTES);
        let mut memory = Buffer::new(budget, "speed (runtime)", most_bytes as usize)?;
        // Pages that nobody has written to are one page of zeros.
        memory.fill(1);
        let file_bytes = file_rate(plan, model, &mut memory)?;
        let pool =
            ThreadPool::with_isa(plan.options.threads, plan.options.isa).map_err(GraphError::Threads)?;
        let most = Roofline::of(&pool, &memory, TIME);
        let achieved = Roofline { flops: most.flops * OF_FLOPS, read_bytes: most.read_bytes * OF_BYTES };
        Ok(Rates { achieved, file_bytes })
    }

    fn run(&self, plan: &Plan) -> Expected {
        let steps = plan.all().flat_map(|plan| plan.steps.iter().map(move |step| self.step(plan, step)));
        steps.fold(Expected::default(), |all, own| Expected {
            seconds: all.seconds + own.seconds,
            waiting_seconds: all.waiting_seconds + own.waiting_seconds,
        })
    }

    fn step(&self, plan: &Plan, step: &Step) -> Expected {
        if step.is_alias || step.region().is_some() {
            return Expected::default();
        }
        let streamed = step.stream.as_ref();
        let in_blocks = streamed.filter(|stream| stream.block_bytes > 0);
        let in_rows = streamed.filter(|stream| stream.block_bytes == 0);
        let moved_bytes =
            plan.moved_bytes(step) - in_rows.map_or(0.0, |stream| stream.constant.bytes() as f64);
        let faster = if plan.has_most_scratch(step) { OF_SCRATCH } else { 1.0 };
        let operations = plan.operations(step).unwrap_or(0.0) / faster;
        let seconds = self.achieved.least_seconds(operations, moved_bytes) + STEP_SECONDS;
        let file_seconds = in_blocks.map_or(0.0, |stream| stream.constant.bytes() as f64 / self.file_bytes);
        Expected { seconds: seconds.max(file_seconds), waiting_seconds: (file_seconds - seconds).max(0.0) }
    }
}

/// Bytes in a second at which streamed weights are read now: some parts of them. Any number where none is streamed.
fn file_rate(plan: &Plan, model: &Model, memory: &mut [u8]) -> Result<f64, Error> {
    let steps = plan.all().flat_map(|plan| &plan.steps);
    let streams = steps.filter_map(|step| Some((step, step.stream.as_ref()?)));
    let (begin, mut read_bytes) = (Instant::now(), 0);
    for (step, stream) in streams.filter(|(_, stream)| stream.block_bytes > 0) {
        let bytes = stream.constant.bytes().min(memory.len()).min(PART_BYTES as usize);
        stream.constant.read_at(0, &mut memory[..bytes]).map_err(|source| GraphError::Node {
            file: model.graph().file.clone(),
            node: step.name.to_string(),
            op: step.op_name().to_string(),
            source: Box::new(source),
        })?;
        read_bytes += bytes as u64;
        if read_bytes >= MOST_BYTES {
            break;
        }
    }
    Ok((read_bytes.max(1) as f64) / begin.elapsed().as_secs_f64().max(1e-9))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tightfit_core::MemoryBudget;

    use super::*;
    use crate::fit::{Bound, FitOptions};
    use crate::model::OpenOptions;

    #[test]
    fn a_run_takes_as_long_as_its_steps() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.pb");
        let budget = MemoryBudget::new(64 << 20);
        let model = Model::open(path, &OpenOptions::default(), &budget).unwrap();
        let fit =
            Bound::new(&model, &FitOptions { threads: 1, ..FitOptions::default() }).unwrap().fit().unwrap();
        let of = |flops: f64, read_bytes: f64| {
            Rates { achieved: Roofline { flops, read_bytes }, file_bytes: 1.0 }.run(&fit.plan)
        };
        // What takes no time but to be handed over.
        let least = of(f64::INFINITY, f64::INFINITY);
        let steps = fit.plan.steps.iter().filter(|step| !step.is_alias).count();
        assert!((least.seconds / (steps as f64 * STEP_SECONDS) - 1.0).abs() < 1e-9, "{least:?}");
        let work_of = |step: &Step| {
            let faster = if fit.plan.has_most_scratch(step) { OF_SCRATCH } else { 1.0 };
            fit.plan.operations(step).map(|work| work / faster)
        };
        let work: f64 = fit.plan.steps.iter().filter_map(work_of).sum();
        let computed = of(1e6, f64::INFINITY).seconds - least.seconds;
        assert!(work > 0.0 && (computed / (work / 1e6) - 1.0).abs() < 1e-9, "{computed}");
        assert!(of(1e6, 1e3).seconds > of(1e6, f64::INFINITY).seconds);
        // No weight of it is streamed.
        assert_eq!(of(1e6, 1e3).waiting_seconds, 0.0);
        let used_bytes = budget.used_bytes();
        assert!(Expected::of(&fit.plan, &model).unwrap().seconds > 0.0);
        assert_eq!(budget.used_bytes(), used_bytes);
    }
}
