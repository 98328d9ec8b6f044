//! The model: a graph read from a file, made simpler by passes, laid out in memory by a plan, and run.
//!
//! Invariant: everything is settled before the first byte is computed. A [`plan::Plan`] holds every offset, and
//! running one ([`exec::Context::run`]) allocates nothing.

#[cfg(test)]
mod conformance;
pub mod dim;
mod error;
pub mod exec;
pub mod export;
pub mod fact;
pub mod import;
pub mod infer;
pub mod ir;
pub mod operator;
pub mod ops;
pub mod passes;
pub mod pictures;
pub mod plan;
mod signature;
#[cfg(test)]
mod testing;
mod verify;

pub use error::{A_FEED, A_FETCH, GraphError, Unsupported};
pub use import::{ImportOptions, Operators, import};
pub use infer::{Binding, bind};
pub use verify::verify;
