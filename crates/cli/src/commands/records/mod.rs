//! `records`: files of records, one file per command.

pub mod convert;
pub mod head;
pub mod inspect;
pub mod preprocess;
pub mod shard;
pub mod shuffle;
pub mod verify;

use std::path::PathBuf;

use tightfit::MemoryBudget;
use tightfit::process::floor_bytes;
use tightfit::records::total_bytes;

use super::Limits;
use crate::args::Args;
use crate::failure::Failure;
use crate::progress::Watch;
use crate::table::print;

/// Records or elements that are shown, and the most that may be asked for.
pub(super) const SHOWN: usize = 10;
pub(super) const MAX_SHOWN: usize = 1 << 30;

/// The memory that `--memory` leaves for the work, and the threads.
pub(super) fn budget(args: &Args) -> Result<(MemoryBudget, usize), Failure> {
    let limits = Limits::read(args)?;
    super::check_floor(limits.memory_bytes)?;
    Ok((MemoryBudget::new(limits.memory_bytes - floor_bytes()), limits.threads))
}

/// The value of `--output`.
fn output(args: &Args, command: &str) -> Result<PathBuf, Failure> {
    args.path("output").ok_or_else(|| Failure::Usage(format!("{command} needs --output")))
}

/// Shows how far it is with reading `sources` so many times, until what this gives is dropped.
fn watch(args: &Args, sources: &[PathBuf], passes: u64, budget: &MemoryBudget) -> Watch {
    Watch::new(args.has("quiet"), || Some(total_bytes(sources, true, budget)?.saturating_mul(passes)))
}

/// Says on stderr what was done, unless it is not wanted.
fn say(args: &Args, text: &str) {
    if !args.has("quiet") {
        // Where stderr cannot be written to there is nobody to tell.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
}

/// Prints a text and the next thing of a list behind it, as one line of JSON; nothing and false at the end.
type Next<'n> = dyn FnMut(&str) -> Result<bool, Failure> + 'n;

/// Prints a list as it comes, so that no more than one thing of it is held: an object a line, or one object that begins
/// with `opening`.
pub(super) fn print_list(next: &mut Next<'_>, opening: Option<&str>) -> Result<(), Failure> {
    let first = opening.map_or(String::new(), |opening| format!("{opening}\n"));
    let (mut before, between) = (first.as_str(), if opening.is_some() { ",\n" } else { "\n" });
    let mut has_any = false;
    let ending = loop {
        match next(before) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        (before, has_any) = (between, true);
    };
    match (opening, has_any) {
        (Some(_), true) => print("\n]}\n"),
        (Some(opening), false) => print(&format!("{opening}]}}\n")),
        (None, true) => print("\n"),
        (None, false) => Ok(()),
    }?;
    // What was shown before something bad is whole.
    ending
}
