//! The graph as passes and planner see it: nodes joined by value references, and constants.

mod constant;
pub mod dead_nodes;
mod graph;
mod memory;
mod region;
mod sparse;
mod state;

pub use constant::{Computed, Constant, ConstantData};
pub use graph::{Graph, Node, NodeId, NodeKind, Port, ValueRef};
pub(crate) use memory::BOUND_CONSTANTS;
pub use region::{Region, RegionKind};
pub use sparse::Sparse;
pub use state::State;
