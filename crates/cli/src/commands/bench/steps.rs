//! How long each step of a model takes, and what it achieves in that time.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tightfit::{Error, Feed, MemoryBudget, Roofline, Runner, whole};

use crate::failure::Failure;
use crate::table::columns;

/// Runs of which the shortest time of each step is taken.
const RUNS: usize = 10;

/// Bytes of one event of a trace, its node's name aside.
const EVENT_BYTES: usize = 160;

/// How long one step takes.
pub struct StepTime {
    node: String,
    op: &'static str,
    /// The shortest of some runs, in microseconds.
    micros: f64,
    /// Its share of all steps.
    share: f64,
    /// Multiplications and additions of a product with a weight.
    operations: Option<f64>,
    /// Bytes of its inputs and outputs.
    bytes: f64,
}

/// The `count` steps that take longest.
///
/// # Errors
/// What is wrong with a run.
pub fn slowest(runner: &mut Runner, feeds: &[Feed<'_>], count: usize) -> Result<Vec<StepTime>, Failure> {
    let mut shortest = vec![Duration::MAX; runner.context().plan().steps.len()];
    for _ in 0..RUNS {
        each_step(runner, feeds, &mut |step, begin, end| shortest[step] = shortest[step].min(end - begin))?;
    }
    let micros = |time: &Duration| time.as_secs_f64() * 1e6;
    let all: f64 = shortest.iter().map(micros).sum();
    let plan = runner.context().plan();
    let steps = plan.steps.iter().zip(&shortest).map(|(step, time)| StepTime {
        node: step.name.to_string(),
        op: step.op_name(),
        micros: micros(time),
        share: micros(time) / all.max(f64::MIN_POSITIVE),
        operations: plan.operations(step),
        bytes: plan.moved_bytes(step),
    });
    let mut steps: Vec<StepTime> = steps.collect();
    steps.sort_by(|a, b| b.micros.total_cmp(&a.micros));
    steps.truncate(count);
    Ok(steps)
}

/// Runs the model once; `each` is called with each step's position, and when it began and ended.
fn each_step(
    runner: &mut Runner,
    feeds: &[Feed<'_>],
    each: &mut dyn FnMut(usize, Instant, Instant),
) -> Result<(), Failure> {
    let mut begin = Instant::now();
    Ok(runner.run_steps(feeds, &mut |step| {
        let end = Instant::now();
        each(step, begin, end);
        begin = end;
    })?)
}

impl StepTime {
    /// Thousands of millions in a second.
    fn rate(&self, count: f64) -> f64 {
        count / self.micros.max(1e-3) / 1e3
    }

    /// The share of what the machine does at most, for the work and the bytes of this step.
    fn of_roofline(&self, roofline: &Roofline) -> f64 {
        roofline.least_seconds(self.operations.unwrap_or(0.0), self.bytes) / (self.micros.max(1e-3) * 1e-6)
    }

    /// As an object.
    pub fn json(&self, roofline: Option<&Roofline>) -> Value {
        json!({
            "node": self.node,
            "op": self.op,
            "us": self.micros,
            "share": self.share,
            "gflops": self.operations.map(|operations| self.rate(operations)),
            "gbytes_per_second": self.rate(self.bytes),
            "roofline_share": roofline.map(|roofline| self.of_roofline(roofline)),
        })
    }
}

/// The steps as a table, beside what the machine does at most where that is known.
pub fn table(steps: &[StepTime], roofline: Option<&Roofline>) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut head = vec!["time", "share", "GFLOP/s", "GB/s"];
    head.extend(roofline.map(|_| "roofline"));
    let numbers: Vec<usize> = (0..head.len()).collect();
    head.extend(["operator", "node"]);
    let rows = steps.iter().map(|step| {
        let operations = step.operations.map(|operations| format!("{:.1}", step.rate(operations)));
        let mut row = vec![
            format!("{:.0} us", step.micros),
            format!("{:.1} %", step.share * 100.0),
            operations.unwrap_or_default(),
            format!("{:.1}", step.rate(step.bytes)),
        ];
        row.extend(roofline.map(|roofline| format!("{:.0} %", step.of_roofline(roofline) * 100.0)));
        row.extend([step.op.to_string(), step.node.clone()]);
        row
    });
    let head = head.into_iter().map(str::to_string).collect();
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    format!("The slowest steps:\n{}", columns(&rows, &numbers))
}

/// Writes when each step of some runs began and how long it took, as a trace that Perfetto and Chrome show.
///
/// # Errors
/// What is wrong with a run, memory that is not free for it, and a file that cannot be written.
pub fn trace(
    runner: &mut Runner,
    feeds: &[Feed<'_>],
    path: &Path,
    budget: &MemoryBudget,
) -> Result<(), Failure> {
    let steps = runner.context().plan().steps.iter();
    let names: Vec<(String, &'static str)> =
        steps.map(|step| (Value::from(&*step.name).to_string(), step.op_name())).collect();
    let text_bytes: usize = names.iter().map(|(name, _)| RUNS * (name.len() + EVENT_BYTES)).sum();
    let _memory = budget.try_reserve("runtime", text_bytes as u64).map_err(Error::from)?;
    let mut text = String::with_capacity(text_bytes);
    text.push_str("{\"displayTimeUnit\": \"ns\", \"traceEvents\": [");
    let origin = Instant::now();
    let mut separator = "\n";
    for run in 0..RUNS {
        each_step(runner, feeds, &mut |step, begin, end| {
            let (name, op) = &names[step];
            let [ts, duration] = [begin - origin, end - begin].map(|time| time.as_nanos() as f64 / 1e3);
            let event = format_args!(
                "{{\"name\": {name}, \"cat\": \"{op}\", \"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"ts\": {ts:.3}, \
                 \"dur\": {duration:.3}, \"args\": {{\"run\": {run}}}}}"
            );
            // Text takes whatever is written to it.
            let _ = write!(text, "{separator}{event}");
            separator = ",\n";
        })?;
    }
    text.push_str("\n]}\n");
    whole::write(path, text.as_bytes()).map_err(|error| Error::io(path, error).into())
}
