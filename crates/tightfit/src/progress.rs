//! How far a job is.

use std::time::Duration;

use tightfit_data::Position;

use crate::memory::usage::Usage;

/// How far a job is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Rows done.
    pub rows: u64,
    /// Rows among them that an earlier process did.
    pub resumed_rows: u64,
    /// Rows there are, where that is known.
    pub total_rows: Option<u64>,
    /// Bytes of the budget in use, and the most that were, by line of the plan.
    pub usage: Usage,
    /// Time since the first batch was asked for.
    pub elapsed: Duration,
}

/// What of a job is done, from the first row up to a place in its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Done {
    /// Rows computed.
    pub rows: u64,
    /// Rows left out because they were bad.
    pub skipped_rows: u64,
    /// Why the first of them were.
    pub skipped: Vec<String>,
    /// Rows whose top class was the label.
    pub right_rows: u64,
    /// The place after them.
    pub position: Position,
}
