//! `data bench`: how fast a pipeline is, and which stage holds it up.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tightfit::flow::StageReport;
use tightfit::pipeline::{Measured, measure, read_spec};
use tightfit::{Access, display_bytes, limits};

use crate::args::{JsonFlag, LimitFlags, SpecArg, seconds};
use crate::commands::records;
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::{columns, count_of, print};

const EXAMPLES: &str = "\
Examples:
  tightfit data bench pipeline.json --memory 64MiB";

/// Measure a pipeline: its speed, the stage that holds it up, bytes held
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit data bench SPEC [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    spec: SpecArg,
    /// Measure for S seconds [default: 10, or to the end of the data]
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true, help_heading = "Output")]
    seconds: Option<f64>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    limits: LimitFlags,
}

/// The longest measurement without `--seconds`.
const SECONDS: f64 = 10.0;

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let (budget, threads) = records::budget(&flags.limits)?;
    let seconds = flags.seconds.unwrap_or(SECONDS);
    let spec = read_spec(&stdio::data_of(&flags.spec.spec)?, &Access::everything(), threads, &budget)?;
    let measured = measure(&spec, threads, Duration::from_secs_f64(seconds), &budget, stop_flag())?;
    match flags.json.json {
        true => print(&format!("{:#}\n", json(&measured, budget.peak_bytes()))),
        false => print(&text(&measured, budget.peak_bytes())),
    }
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

fn json(measured: &Measured, budget_peak_bytes: u64) -> Value {
    let stage = |stage: &StageReport| {
        let parts =
            stage.parts.iter().map(|(name, time)| json!({"name": name, "seconds": time.as_secs_f64()}));
        json!({
            "name": stage.name,
            "inputs": stage.inputs,
            "elements": stage.elements,
            "bytes": stage.bytes,
            "work_seconds": stage.work_time.as_secs_f64(),
            "thread_seconds": stage.thread_time.as_secs_f64(),
            "wait_seconds": stage.wait_time.as_secs_f64(),
            "threads": stage.threads,
            "held_bytes": stage.held_bytes,
            "peak_bytes": stage.peak_bytes,
            "skipped": stage.skipped,
            "messages": stage.messages,
            "parts": parts.collect::<Vec<_>>(),
        })
    };
    let report = &measured.report;
    json!({
        "elements": measured.elements,
        "seconds": measured.elapsed.as_secs_f64(),
        "elements_per_second": rate(measured.elements, measured.elapsed),
        "source_bytes_per_second": rate(source_bytes(measured), measured.elapsed),
        "bottleneck": report.bottleneck().and_then(|index| report.stages.get(index)).map(|s| &s.name),
        "budget_peak_bytes": budget_peak_bytes,
        "peak_resident_bytes": limits::peak_resident_bytes(),
        "stages": report.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}

/// Bytes that came out of the sources.
fn source_bytes(measured: &Measured) -> u64 {
    measured.report.stages.iter().filter(|stage| stage.inputs.is_empty()).map(|stage| stage.bytes).sum()
}

/// Characters of a name in the table.
const SHOWN_NAME: usize = 40;

/// The name, cut off where it would widen the table: the options after it are in the description.
fn short(name: &str) -> String {
    match name.char_indices().nth(SHOWN_NAME) {
        Some((end, _)) => format!("{}..", name.get(..end).unwrap_or_default()),
        None => name.to_string(),
    }
}

fn text(measured: &Measured, budget_peak_bytes: u64) -> String {
    let elapsed = measured.elapsed;
    let megabytes = |bytes: u64| rate(bytes, elapsed) / 1e6;
    let mut text = format!(
        "{} in {:.2} s: {:.0} elements/s, {:.0} MB/s from the sources\n",
        count_of(measured.elements, "element"),
        elapsed.as_secs_f64(),
        rate(measured.elements, elapsed),
        megabytes(source_bytes(measured)),
    );
    let head = ["stage", "elements/s", "MB/s", "work", "waited for", "threads", "holds", "at most", ""];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    let slowest = measured.report.bottleneck();
    let share = |part: Duration, of: Duration| {
        format!("{:.0} %", 100.0 * part.as_secs_f64() / of.as_secs_f64().max(1e-9))
    };
    for (index, stage) in measured.report.stages.iter().enumerate() {
        rows.push(vec![
            if stage.parts.len() > 1 { "map".to_string() } else { short(&stage.name) },
            format!("{:.0}", rate(stage.elements, elapsed)),
            format!("{:.0}", megabytes(stage.bytes)),
            share(stage.work_time, stage.thread_time),
            if stage.threads > 0 { share(stage.wait_time, elapsed) } else { String::new() },
            if stage.threads > 0 { stage.threads.to_string() } else { String::new() },
            display_bytes(stage.held_bytes),
            display_bytes(stage.peak_bytes),
            if slowest == Some(index) { "<- the others wait for this".to_string() } else { String::new() },
        ]);
        if stage.parts.len() > 1 {
            for (name, time) in &stage.parts {
                let empty = String::new;
                rows.push(vec![
                    format!("  {}", short(name)),
                    empty(),
                    empty(),
                    share(*time, stage.thread_time),
                ]);
            }
        }
    }
    text.push_str(&columns(&rows, &[1, 2, 3, 4, 5, 6, 7]));
    let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
    text.push_str(&format!(
        "memory: reserved {} at most, peak of the process {peak}\n",
        display_bytes(budget_peak_bytes)
    ));
    text
}
