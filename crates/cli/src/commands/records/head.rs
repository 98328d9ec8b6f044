//! `records head`: the first records of a file.

use tightfit::records::head;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::system::Start;
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "records head",
    positional: "FILE",
    about: "Shows the first records of a TFRecord file, one JSON object a line",
    flags: &["records", "memory", "json"],
    run,
};

/// The most records that may be asked for.
const MAX_RECORDS: usize = 1 << 30;

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let (budget, _) = super::budget(args)?;
    let records = args.count("records", MAX_RECORDS)?.unwrap_or(10);
    let mut head = head(args.model(), records as u64, &budget)?;
    let is_json = args.has("json");
    // With --json one object, written as it is read, so that no more than a record is held.
    let (mut before, between) = if is_json { ("{\"records\": [\n", ",\n") } else { ("", "\n") };
    let mut has_any = false;
    let ending = loop {
        match head.next_record() {
            Ok(Some(record)) => print(&format!("{before}{record}"))?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
        (before, has_any) = (between, true);
    };
    match (is_json, has_any) {
        (true, true) => print("\n]}\n"),
        (true, false) => print("{\"records\": []}\n"),
        (false, true) => print("\n"),
        (false, false) => Ok(()),
    }?;
    // What was shown before a bad record is whole.
    ending
}
