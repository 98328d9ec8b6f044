//! Running a plan.

mod evaluate;
mod session;
mod stream;
mod weights;

pub use evaluate::evaluate;
pub use session::{Feed, Session, arena_bytes};
