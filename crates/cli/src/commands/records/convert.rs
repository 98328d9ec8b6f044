//! `records convert`: other files become records, and records other files.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tightfit::DType;
use tightfit::records::{ConvertOptions, convert};

use crate::args::{MemoryFlag, SummaryFlags};
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit records convert table.csv --output table.tfrecord
  tightfit records convert table.csv --output - | gzip > table.tfrecord.gz
  tightfit records convert train.tfrecord.gz --output train.tfrecord";

/// Convert .csv, .npy, .npz, .parquet, .arrow and images to TFRecord and back, or compress and unpack TFRecord
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records convert FILE... --output FILE [OPTIONS]")]
pub struct Flags {
    /// Files to convert, folders and globs, - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Write FILE; its name says what it becomes. - is records on standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
    /// Store floats in .npy and .npz as float16, float32 or float64 [default:
    /// float32]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    dtype: Option<String>,
    #[command(flatten)]
    summary: SummaryFlags,
    #[command(flatten)]
    memory: MemoryFlag,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let budget = super::memory(flags.memory)?;
    let begin = Instant::now();
    let mut options = ConvertOptions::new(
        super::sources(flags.files)?,
        stdio::output_of(flags.output, flags.summary.is_json())?,
    );
    if let Some(name) = &flags.dtype {
        let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == *name);
        options.floats =
            dtype.ok_or_else(|| Failure::Usage(format!("--dtype {name}: there is no such type")))?;
    }
    let bar = super::watch(flags.summary.is_quiet(), &options.sources, options.passes(), &budget);
    let records = convert(&options, &budget, stop_flag());
    drop(bar);
    let records = records?;
    let seconds = begin.elapsed().as_secs_f64();
    let path = stdio::shown(options.output.display().to_string());
    flags.summary.say(&format!("{path}: {} in {seconds:.2} s\n", count_of(records, "record")));
    flags.summary.print_json(|| json!({"records": records, "output": path, "seconds": seconds}))
}
