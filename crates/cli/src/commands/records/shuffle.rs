//! `records shuffle`: records in random order.

use std::path::PathBuf;

use serde_json::json;
use tightfit::records::{ShuffleOptions, ShuffleProgress, Shuffling, shuffle};
use tightfit::{display_bytes, limits};

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::system::{Start, stop_flag};
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "records shuffle",
    positional: "FILE..",
    about: "Writes the records of TFRecord files, however large, in random order",
    flags: &[&["output", "seed", "epoch", "blocks", "index", "memory", "threads", "json", "quiet"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let output = super::output(args, COMMAND.name)?;
    let options = ShuffleOptions {
        sources: args.paths().to_vec(),
        output,
        seed: args.whole("seed")?.unwrap_or_default(),
        epoch: args.whole("epoch")?.unwrap_or_default(),
        block_bytes: args.bytes("blocks")?,
        index_folder: args.path("index"),
        threads: 1,
    };
    let (budget, threads) = super::budget(args)?;
    let options = ShuffleOptions { threads, ..options };
    let mut bar = Bar::new(args.has("quiet"), budget.limit_bytes());
    let done = shuffle(&options, &budget, stop_flag(), &mut |progress| match progress {
        ShuffleProgress::Writing(progress) => bar.show(progress),
        ShuffleProgress::Indexing { bytes, total_bytes } => bar.show_text(|| {
            let (bytes, total) = (display_bytes(*bytes), display_bytes(*total_bytes));
            format!("looking for records: {bytes} of {total}")
        }),
    });
    bar.clear();
    let done = done?;
    super::say(args, &text(&options.output, &done));
    match args.has("json") {
        true => print(&format!("{:#}\n", json(&options, &done))),
        false => Ok(()),
    }
}

fn text(output: &std::path::Path, done: &Shuffling) -> String {
    let seconds = (done.index_elapsed + done.shuffle_elapsed).as_secs_f64();
    let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
    let mut text =
        format!("{}: {} records in {seconds:.2} s, peak memory {peak}\n", output.display(), done.records);
    if done.mixing.block_records > 1 {
        let mixing = &done.mixing;
        text.push_str(&format!(
            "mixed: {} records, in {} blocks of {}\n",
            mixing.group_records(),
            mixing.group_blocks,
            mixing.block_records
        ));
    }
    text
}

fn json(options: &ShuffleOptions, done: &Shuffling) -> serde_json::Value {
    let output: &PathBuf = &options.output;
    json!({
        "records": done.records,
        "bytes": done.bytes,
        "output": output.display().to_string(),
        "seed": options.seed,
        "epoch": options.epoch,
        "order": if options.block_bytes.is_some() { "blocks" } else { "uniform" },
        "block_records": done.mixing.block_records,
        "mixed_blocks": done.mixing.group_blocks,
        "mixed_records": done.mixing.group_records(),
        "windows": done.windows,
        "index_seconds": done.index_elapsed.as_secs_f64(),
        "seconds": (done.index_elapsed + done.shuffle_elapsed).as_secs_f64(),
        "peak_resident_bytes": limits::peak_resident_bytes(),
    })
}
