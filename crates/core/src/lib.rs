//! What everything in TightFit counts in: the one memory budget, buffers that own their share of it, and the
//! types and shapes of tensors. Depends on no other crate of the project.
//!
//! Invariant: [`Buffer`] is the only large allocation in the tree, and each owns a [`Reservation`]; what is many small
//! ones, a model's structure above all, is counted on an [`Account`]. So what [`MemoryBudget`] has counted and what the
//! process holds cannot drift apart.

mod account;
mod budget;
mod buffer;
mod closest;
mod dtype;
mod quantization;
mod shape;
mod shared;
mod size;
mod steps;
mod stop;
mod tensor;

pub use account::{Account, array_bytes, block_bytes, list_bytes, trim_heap};
pub use budget::{BudgetError, MemoryBudget, Patience, Reservation};
pub use buffer::{ALIGNMENT, Buffer};
pub use closest::closest;
pub use dtype::{DType, Element, StringRef};
pub use quantization::Quantization;
pub use shape::{MAX_RANK, Shape, ShapeError};
pub use shared::{Part, Shared};
pub use size::{SizeError, display_bytes, display_bytes_up, parse_bytes};
pub use steps::{piece_done, step_done, tend_steps};
pub use stop::StopFlag;
pub use tensor::{TensorView, TensorViewMut};
