//! `records`: files of records, one file per command.

pub mod convert;
pub mod head;
pub mod inspect;
pub mod shard;
pub mod shuffle;
pub mod verify;

use std::path::PathBuf;

use tightfit::fit::RUNTIME_BYTES;
use tightfit::{Error, MemoryBudget};

use super::Limits;
use crate::args::Args;
use crate::failure::Failure;

/// The memory that `--memory` leaves for the work, and the threads.
pub(super) fn budget(args: &Args) -> Result<(MemoryBudget, usize), Failure> {
    let limits = Limits::read(args)?;
    let memory = MemoryBudget::new(limits.memory_bytes);
    // The error of a limit below what any process takes names both.
    drop(memory.try_reserve("the program itself", RUNTIME_BYTES).map_err(Error::from)?);
    Ok((MemoryBudget::new(limits.memory_bytes - RUNTIME_BYTES), limits.threads))
}

/// The value of `--output`.
fn output(args: &Args, command: &str) -> Result<PathBuf, Failure> {
    args.path("output").ok_or_else(|| Failure::Usage(format!("{command} needs --output")))
}

/// Says on stderr what was done, unless it is not wanted.
fn say(args: &Args, text: &str) {
    if !args.has("quiet") {
        // Where stderr cannot be written to there is nobody to tell.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
}
