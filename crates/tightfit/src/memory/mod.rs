//! The memory that a job may take, and what it takes: of the system, of the process, and by line of its plan.

pub(crate) mod counted;
pub mod limits;
pub(crate) mod lines;
pub mod process;
pub mod usage;
