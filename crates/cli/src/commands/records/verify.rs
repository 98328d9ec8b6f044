//! `records verify`: are files of records whole.

use serde_json::{Value, json};
use tightfit::records::{Verification, VerifyOptions, verify};
use tightfit::{Error, display_bytes};

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::system::{Start, stop_flag};
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "records verify",
    positional: "FILE..",
    about: "Checks every CRC of TFRecord files, folders or globs",
    flags: &[&["memory", "threads", "json", "quiet"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let (budget, threads) = super::budget(args)?;
    let options = VerifyOptions { sources: args.paths().to_vec(), threads };
    let bar = super::watch(args, args.paths(), 1, &budget);
    let verification = verify(&options, &budget, stop_flag());
    drop(bar);
    let verification = verification?;
    if args.has("json") {
        print(&format!("{:#}\n", json(&verification)))?;
    } else if !args.has("quiet") {
        print(&text(&verification))?;
    }
    match verification.bad.first() {
        None => Ok(()),
        Some((path, bad)) => {
            let more = match verification.bad_records - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let why = format!("record {} at byte {}: {}{more}", bad.record, bad.offset, bad.why);
            Err(Error::data(path, why).into())
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
        "{} files, {} good records, {} bad, {} in {seconds:.2} s: {}/s\n",
        verification.files,
        verification.records,
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
