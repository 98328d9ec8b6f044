//! `records preprocess`: what a pipeline makes, stored.

use serde_json::json;
use tightfit::pipeline::{StoreOptions, Stored, read_spec, store};
use tightfit::records::{MAX_SHARDS, total_bytes};
use tightfit::{Access, display_bytes, limits};

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::progress::Watch;
use crate::system::{Start, stop_flag};
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "records preprocess",
    positional: "SPEC",
    about: "Runs a pipeline (JSON, a .json file, or data files) once and stores its elements as tf.Examples",
    flags: &[&["output", "shards", "memory", "threads", "json", "quiet"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let output = super::output(args, COMMAND.name)?;
    let shards = args.count("shards", MAX_SHARDS)?;
    let (budget, threads) = super::budget(args)?;
    let spec = read_spec(args.model(), &Access::everything(), threads, &budget)?;
    let options = StoreOptions { output, shards, threads };
    // How much a pipeline reads is known only where it is files and nothing else.
    let bar = Watch::new(args.has("quiet"), || total_bytes(args.paths(), false, &budget));
    let stored = store(&spec, &options, &budget, stop_flag());
    drop(bar);
    let stored = stored?;
    super::say(args, &text(&options, &stored));
    match args.has("json") {
        true => print(&format!("{:#}\n", json(&options, &stored, budget.peak_bytes()))),
        false => Ok(()),
    }
}

/// Elements that were left out because something was wrong with them.
fn skipped(stored: &Stored) -> u64 {
    stored.report.stages.iter().map(|stage| stage.skipped).sum()
}

fn text(options: &StoreOptions, stored: &Stored) -> String {
    let seconds = stored.elapsed.as_secs_f64();
    let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
    let files = options.shards.map_or(String::new(), |shards| format!(" in {shards} shards"));
    let mut text = format!(
        "{}: {} records{files}, {} in {seconds:.2} s, peak memory {peak}\n",
        options.output.display(),
        stored.records(),
        display_bytes(stored.bytes)
    );
    let skipped = skipped(stored);
    if skipped > 0 {
        text.push_str(&format!("skipped {skipped} bad elements\n"));
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
