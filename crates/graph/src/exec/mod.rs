//! Running a plan.
//!
//! [`Loaded`] is what all who run a model share: the plan, its constants, the threads. A [`Context`] is what one of them
//! has alone: the arena, the window of streamed weights, the strings of a run.

mod context;
mod feed;
mod frame;
mod loaded;
mod stream;
mod weights;

pub use context::Context;
pub use feed::Feed;
pub use loaded::{Loaded, arena_bytes};
