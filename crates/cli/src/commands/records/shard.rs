//! `records shard`: records dealt to N files.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tightfit::records::{Dealing, MAX_SHARDS, ShardOptions, shard};

use crate::args::{MemoryFlag, SummaryFlags, count};
use crate::failure::Failure;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit records shard 8 train.tfrecord --output train.tfrecord";

/// Distribute the records of TFRecord files over N files
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records shard N FILE... --output OUT [OPTIONS]")]
pub struct Flags {
    /// How many files to write
    #[arg(value_name = "N", value_parser = shard_count)]
    shards: usize,
    /// TFRecord files, folders and globs, - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Write to OUT-00000-of-0000N and so on
    #[arg(short, long, value_name = "OUT", help_heading = "Output")]
    output: PathBuf,
    /// Give each file records that follow each other, instead of every Nth
    #[arg(long, help_heading = "Output")]
    ranges: bool,
    #[command(flatten)]
    summary: SummaryFlags,
    #[command(flatten)]
    memory: MemoryFlag,
}

fn shard_count(text: &str) -> Result<usize, String> {
    count::<MAX_SHARDS>(text).map_err(|why| format!("how many shards? {why}"))
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let Flags { shards, files, output, ranges, summary, memory } = flags;
    let sources = super::sources(files)?;
    let budget = super::memory(memory)?;
    let begin = Instant::now();
    let dealing = if ranges { Dealing::Ranges } else { Dealing::RoundRobin };
    let passes = if dealing == Dealing::Ranges { 2 } else { 1 };
    let bar = super::watch(summary.is_quiet(), &sources, passes, &budget);
    let counts = shard(&ShardOptions { sources, output, shards, dealing }, &budget, stop_flag());
    drop(bar);
    let counts = counts?;
    let (records, seconds) = (counts.iter().sum::<u64>(), begin.elapsed().as_secs_f64());
    let (of_records, of_shards) = (count_of(records, "record"), count_of(shards, "shard"));
    summary.say(&format!("{of_records} in {of_shards} in {seconds:.2} s\n"));
    summary.print_json(|| json!({"records": records, "shards": counts, "seconds": seconds}))
}
