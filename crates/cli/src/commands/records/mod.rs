//! `records`: files of records, one file per command.

pub mod convert;
pub mod head;
pub mod inspect;
pub mod preprocess;
pub mod shard;
pub mod shuffle;
pub mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use tightfit::MemoryBudget;
use tightfit::process::{stay_below, working_bytes};
use tightfit::records::total_bytes;

use super::Limits;
use crate::args::{LimitFlags, MemoryFlag};
use crate::failure::Failure;
use crate::progress::Watch;
use crate::table::print;

/// Records or elements that are shown, and the most that may be asked for.
pub(super) const SHOWN: usize = 10;
pub(super) const MAX_SHOWN: usize = 1 << 30;

/// Check, show, convert, shard, shuffle and make TFRecord files
#[derive(Debug, Subcommand)]
#[command(override_usage = "tightfit records COMMAND [OPTIONS]", subcommand_help_heading = "Commands")]
pub enum Command {
    Inspect(inspect::Flags),
    Head(head::Flags),
    Verify(verify::Flags),
    Convert(convert::Flags),
    Shard(shard::Flags),
    Shuffle(shuffle::Flags),
    Preprocess(preprocess::Flags),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Inspect(flags) => inspect::run(flags),
            Command::Head(flags) => head::run(flags),
            Command::Verify(flags) => verify::run(flags),
            Command::Convert(flags) => convert::run(flags),
            Command::Shard(flags) => shard::run(flags),
            Command::Shuffle(flags) => shuffle::run(flags),
            Command::Preprocess(flags) => preprocess::run(flags),
        }
    }

    /// The list of files of a command that takes many.
    pub fn files_mut(&mut self) -> Option<&mut Vec<PathBuf>> {
        match self {
            Command::Verify(flags) => Some(&mut flags.files),
            Command::Convert(flags) => Some(&mut flags.files),
            Command::Shard(flags) => Some(&mut flags.files),
            Command::Shuffle(flags) => Some(&mut flags.files),
            Command::Inspect(_) | Command::Head(_) | Command::Preprocess(_) => None,
        }
    }
}

/// The memory that `--memory` leaves for the work, and the threads.
pub(super) fn budget(flags: &LimitFlags) -> Result<(MemoryBudget, usize), Failure> {
    let limits = Limits::of(flags);
    let process_bytes = working_bytes();
    super::check_floor(limits.memory_bytes, process_bytes)?;
    stay_below(limits.memory_bytes);
    Ok((MemoryBudget::new(limits.memory_bytes - process_bytes), limits.threads))
}

/// As [`budget`] for a command of one thread.
fn memory(flag: MemoryFlag) -> Result<MemoryBudget, Failure> {
    Ok(budget(&LimitFlags { memory: flag, threads: Some(1) })?.0)
}

/// The files that are named, `-` for the standard input.
fn sources(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    files.into_iter().map(|file| crate::stdio::path_of(&file)).collect()
}

/// Shows how far it is with reading `sources` so many times, until what this gives is dropped.
fn watch(is_quiet: bool, sources: &[PathBuf], passes: u64, budget: &MemoryBudget) -> Watch {
    Watch::new(is_quiet, || Some(total_bytes(sources, true, budget)?.saturating_mul(passes)))
}

/// Prints a text and the next thing of a list after it, as one line of JSON; nothing and false at the end.
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
    let before = if has_any { "\n" } else { before };
    match (opening, ending) {
        (Some(_), Ok(())) => print(&format!("{before}]}}\n")),
        // What was shown before something bad is whole, and stays one object.
        (Some(_), Err(failure)) => {
            print(&format!("{before}], \"error\": {}}}\n", failure.json()))?;
            Err(failure.told())
        }
        (None, ending) => {
            print(if has_any { "\n" } else { "" })?;
            ending
        }
    }
}
