//! `records head`: the first records of a file.

use std::path::PathBuf;

use clap::Args;
use tightfit::records::head;

use crate::args::{JsonFlag, MemoryFlag, count};
use crate::failure::Failure;
use crate::stdio;
use crate::table::print;

const EXAMPLES: &str = "\
Examples:
  tightfit records head train.tfrecord -n 3";

/// Show the first records of a TFRecord file, one JSON object a line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records head FILE [OPTIONS]")]
pub struct Flags {
    /// A TFRecord file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show N records [default: 10]
    #[arg(short = 'n', long, value_name = "N", value_parser = count::<{ super::MAX_SHOWN }>, help_heading = "Output")]
    records: Option<usize>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    memory: MemoryFlag,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let budget = super::memory(flags.memory)?;
    let records = flags.records.unwrap_or(super::SHOWN);
    let mut head = head(&stdio::path_of(&flags.file)?, records as u64, &budget)?;
    let mut next = |before: &str| {
        let Some(record) = head.next_record()? else { return Ok(false) };
        print(&format!("{before}{record}"))?;
        Ok(true)
    };
    super::print_list(&mut next, flags.json.json.then_some("{\"records\": ["))
}
