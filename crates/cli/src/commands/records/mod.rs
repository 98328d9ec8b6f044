//! `records`: files of records, one file per command.

pub mod head;
pub mod inspect;
pub mod verify;

use tightfit::fit::RUNTIME_BYTES;
use tightfit::{Error, MemoryBudget};

use super::Limits;
use crate::args::Args;
use crate::failure::Failure;

/// The memory that `--memory` leaves for the work, and the threads.
fn budget(args: &Args) -> Result<(MemoryBudget, usize), Failure> {
    let limits = Limits::read(args)?;
    let memory = MemoryBudget::new(limits.memory_bytes);
    // The error of a limit below what any process takes names both.
    drop(memory.try_reserve("the program itself", RUNTIME_BYTES).map_err(Error::from)?);
    Ok((MemoryBudget::new(limits.memory_bytes - RUNTIME_BYTES), limits.threads))
}
