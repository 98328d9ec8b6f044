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
    flags: &[&["records", "memory", "json"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let (budget, _) = super::budget(args)?;
    let records = args.count("records", super::MAX_SHOWN)?.unwrap_or(super::SHOWN);
    let mut head = head(args.model(), records as u64, &budget)?;
    let mut next = |before: &str| {
        let Some(record) = head.next_record()? else { return Ok(false) };
        print(&format!("{before}{record}"))?;
        Ok(true)
    };
    super::print_list(&mut next, args.has("json").then_some("{\"records\": ["))
}
