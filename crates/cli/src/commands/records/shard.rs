//! `records shard`: records dealt to N files.

use std::time::Instant;

use serde_json::json;
use tightfit::records::{Dealing, MAX_SHARDS, ShardOptions, shard};

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::system::{Start, stop_flag};
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "records shard",
    positional: "N FILE..",
    about: "Splits TFRecord files into OUT-00000-of-0000N and so on",
    flags: &[&["output", "ranges", "memory", "json", "quiet"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let output = super::output(args, COMMAND.name)?;
    let count = args.model().to_str().and_then(|text| text.parse().ok());
    let Some(shards) = count.filter(|n| (1..=MAX_SHARDS).contains(n)) else {
        let text = args.model().display();
        return Err(Failure::Usage(format!("{text}: how many shards? A number from 1 to {MAX_SHARDS}")));
    };
    let sources = args.paths().get(1..).unwrap_or_default().to_vec();
    if sources.is_empty() {
        return Err(Failure::Usage(format!("{} needs {}", COMMAND.name, COMMAND.positional)));
    }
    let (budget, _) = super::budget(args)?;
    let begin = Instant::now();
    let dealing = if args.has("ranges") { Dealing::Ranges } else { Dealing::RoundRobin };
    let passes = if dealing == Dealing::Ranges { 2 } else { 1 };
    let bar = super::watch(args, &sources, passes, &budget);
    let counts = shard(&ShardOptions { sources, output, shards, dealing }, &budget, stop_flag());
    drop(bar);
    let counts = counts?;
    let (records, seconds) = (counts.iter().sum::<u64>(), begin.elapsed().as_secs_f64());
    super::say(args, &format!("{records} records in {shards} shards in {seconds:.2} s\n"));
    match args.has("json") {
        true => {
            let value = json!({"records": records, "shards": counts, "seconds": seconds});
            print(&format!("{value:#}\n"))
        }
        false => Ok(()),
    }
}
