//! State: what a run leaves for the next one.
//!
//! A variable is no place that nodes write to. Its value is a tensor like any other: what it is before the run comes in by an
//! input, each assignment makes a new one, and what the last one makes is what the next run begins with. Effects so have an
//! order, and the planner shares memory as it does for any tensor.

use std::sync::Arc;

use super::{Constant, ValueRef};

/// A variable of the model.
#[derive(Debug, Clone)]
pub struct State {
    /// Its name.
    pub name: String,
    /// What it is before a run: the output of an input node.
    pub before: ValueRef,
    /// What it is after it.
    pub after: ValueRef,
    /// What it is before the first run. Without it a run that reads the variable before it assigns it fails.
    pub initial: Option<Arc<Constant>>,
}
