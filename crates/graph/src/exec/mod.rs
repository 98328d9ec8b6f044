//! Running a plan.

mod session;
mod stream;
mod weights;

pub use session::{Feed, Session, arena_bytes};
