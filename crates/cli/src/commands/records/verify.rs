//! `records verify`: are files of records whole.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tightfit::records::{Verification, VerifyOptions, verify};
use tightfit::{Error, display_bytes};

use crate::args::{LimitFlags, SummaryFlags};
use crate::failure::Failure;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit records verify 'train-*.tfrecord'
  tightfit records verify data/ --json";

/// Check every CRC of TFRecord files
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records verify FILE... [OPTIONS]")]
pub struct Flags {
    /// TFRecord files, folders and globs, - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    summary: SummaryFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let (budget, threads) = super::budget(&flags.limits)?;
    let options = VerifyOptions { sources: super::sources(flags.files)?, threads };
    let bar = super::watch(flags.summary.is_quiet(), &options.sources, 1, &budget);
    let verification = verify(&options, &budget, stop_flag());
    drop(bar);
    let verification = verification?;
    flags.summary.tell(|| json(&verification), || text(&verification))?;
    match verification.bad.first() {
        None => Ok(()),
        Some((path, bad)) => {
            let more = match verification.bad_records - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let why = format!("record {} at byte {}: {}{more}", bad.record, bad.offset, bad.why);
            Err(Failure::Told(Error::data(path, why)))
        }
    }
}

fn json(verification: &Verification) -> Value {
    let bad = verification.bad.iter().map(|(path, bad)| {
        json!({
            "file": path.display().to_string(),
            "record": bad.record,
            "offset": bad.offset,
            "why": bad.why,
        })
    });
    json!({
        "files": verification.files,
        "records": verification.records,
        "bytes": verification.bytes,
        "seconds": verification.elapsed.as_secs_f64(),
        "bad_records": verification.bad_records,
        "bad": bad.collect::<Vec<_>>(),
    })
}

/// How many bad records are shown.
const SHOWN: usize = 20;

fn text(verification: &Verification) -> String {
    let seconds = verification.elapsed.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{}, {}, {} bad, {} in {seconds:.2} s: {}/s\n",
        count_of(verification.files, "file"),
        count_of(verification.records, "good record"),
        verification.bad_records,
        display_bytes(verification.bytes),
        display_bytes((verification.bytes as f64 / seconds) as u64),
    );
    for (path, bad) in verification.bad.iter().take(SHOWN) {
        text.push_str(&format!(
            "  {}, record {} at byte {}: {}\n",
            path.display(),
            bad.record,
            bad.offset,
            bad.why
        ));
    }
    if verification.bad_records > SHOWN as u64 {
        text.push_str(&format!("  .. and {} more\n", verification.bad_records - SHOWN as u64));
    }
    text
}
