//! `records shuffle`: records in random order.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tightfit::records::{ShuffleOptions, ShuffleProgress, Shuffling, shuffle};
use tightfit::{display_bytes, limits};

use crate::args::{LimitFlags, OutputFlag, SummaryFlags, size, whole};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit records shuffle 'train-*.tfrecord' --output shuffled.tfrecord \\
      --seed 7 --memory 128MiB";

/// Write the records of TFRecord files, however large, in random order
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records shuffle FILE... --output FILE [OPTIONS]")]
pub struct Flags {
    /// TFRecord files, folders and globs, - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputFlag,
    /// Choose the random order [default: 0]
    #[arg(long, value_name = "N", value_parser = whole, help_heading = "Order")]
    seed: Option<u64>,
    /// Choose another order of the same seed [default: 0]
    #[arg(long, value_name = "N", value_parser = whole, help_heading = "Order")]
    epoch: Option<u64>,
    /// Keep neighbours together in blocks of this size, for disks that seek
    /// [default: shuffle single records]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Order")]
    blocks: Option<u64>,
    /// Keep the indexes of records in DIR [default: beside the data]
    #[arg(long, value_name = "DIR", help_heading = "Order")]
    index: Option<PathBuf>,
    #[command(flatten)]
    summary: SummaryFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let options = ShuffleOptions {
        sources: super::sources(flags.files)?,
        output: flags.output.path(&flags.summary)?,
        seed: flags.seed.unwrap_or_default(),
        epoch: flags.epoch.unwrap_or_default(),
        block_bytes: flags.blocks,
        index_folder: flags.index,
        threads: 1,
    };
    let (budget, threads) = super::budget(&flags.limits)?;
    let options = ShuffleOptions { threads, ..options };
    let mut bar = Bar::new(flags.summary.is_quiet(), budget.limit_bytes());
    let done = shuffle(&options, &budget, stop_flag(), &mut |progress| match progress {
        ShuffleProgress::Writing(progress) => bar.show(progress),
        ShuffleProgress::Indexing { bytes, total_bytes } => bar.show_text(|| {
            let (bytes, total) = (display_bytes(*bytes), display_bytes(*total_bytes));
            format!("looking for records: {bytes} of {total}")
        }),
    });
    bar.clear();
    let done = done?;
    flags.summary.say(&text(&options.output, &done));
    flags.summary.print_json(|| json(&options, &done))
}

fn text(output: &std::path::Path, done: &Shuffling) -> String {
    let seconds = (done.index_elapsed + done.shuffle_elapsed).as_secs_f64();
    let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
    let mut text = format!(
        "{}: {} in {seconds:.2} s, peak memory {peak}\n",
        stdio::shown(output.display().to_string()),
        count_of(done.records, "record")
    );
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
