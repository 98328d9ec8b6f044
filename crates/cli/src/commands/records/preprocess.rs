//! `records preprocess`: what a pipeline makes, stored.

use clap::Args;
use serde_json::json;
use tightfit::pipeline::{StoreOptions, Stored, read_spec, store};
use tightfit::records::{MAX_SHARDS, total_bytes};
use tightfit::{Access, display_bytes, limits};

use crate::args::{LimitFlags, OutputFlag, SpecArg, SummaryFlags, count};
use crate::failure::Failure;
use crate::progress::Watch;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit records preprocess pipeline.json --output digits.tfrecord.gz \\
      --shards 8 --memory 256MiB";

/// Run a pipeline once and store its elements as tf.train.Examples
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records preprocess SPEC --output FILE [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    spec: SpecArg,
    #[command(flatten)]
    output: OutputFlag,
    /// Distribute the elements over OUT-00000-of-0000N and so on
    #[arg(long, value_name = "N", value_parser = count::<MAX_SHARDS>, help_heading = "Output")]
    shards: Option<usize>,
    #[command(flatten)]
    summary: SummaryFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let Flags { spec: SpecArg { spec: source }, output, shards, summary, limits } = flags;
    let output = output.path(&summary)?;
    let (budget, threads) = super::budget(&limits)?;
    let source = stdio::data_of(&source)?;
    let spec = read_spec(&source, &Access::everything(), threads, &budget)?;
    let options = StoreOptions { output, shards, threads };
    // How much a pipeline reads is known only where it is files and nothing else.
    let bar = Watch::new(summary.is_quiet(), || total_bytes(std::slice::from_ref(&source), false, &budget));
    let stored = store(&spec, &options, &budget, stop_flag());
    drop(bar);
    let stored = stored?;
    summary.say(&text(&options, &stored));
    summary.print_json(|| json(&options, &stored, budget.peak_bytes()))
}

/// Elements that were left out because something was wrong with them.
fn skipped(stored: &Stored) -> u64 {
    stored.report.stages.iter().map(|stage| stage.skipped).sum()
}

fn text(options: &StoreOptions, stored: &Stored) -> String {
    let seconds = stored.elapsed.as_secs_f64();
    let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
    let files = options.shards.map_or(String::new(), |shards| format!(" in {}", count_of(shards, "shard")));
    let mut text = format!(
        "{}: {}{files}, {} in {seconds:.2} s, peak memory {peak}\n",
        stdio::shown(options.output.display().to_string()),
        count_of(stored.records(), "record"),
        display_bytes(stored.bytes)
    );
    let skipped = skipped(stored);
    if skipped > 0 {
        text.push_str(&format!("skipped {}\n", count_of(skipped, "bad element")));
        for why in stored.report.stages.iter().flat_map(|stage| &stage.messages) {
            text.push_str(&format!("  {}\n", why.replace('\n', " ")));
        }
    }
    text
}

fn json(options: &StoreOptions, stored: &Stored, budget_peak_bytes: u64) -> serde_json::Value {
    json!({
        "records": stored.records(),
        "bytes": stored.bytes,
        "output": options.output.display().to_string(),
        "shards": stored.shards,
        "skipped": skipped(stored),
        "seconds": stored.elapsed.as_secs_f64(),
        "budget_peak_bytes": budget_peak_bytes,
        "peak_resident_bytes": limits::peak_resident_bytes(),
    })
}
