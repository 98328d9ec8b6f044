//! The memory that a job may take, and what it takes: of the system, of the process, and by line of its plan.

pub(crate) mod counted;
pub mod limits;
pub(crate) mod lines;
pub mod process;
mod resident;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod system;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
#[path = "no_system.rs"]
mod system;
pub mod usage;
