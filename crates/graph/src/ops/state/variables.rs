//! What operators do to variables: each takes the variables that it changes as its first inputs, and gives what they are from
//! then on as its last outputs.

use super::{count, optimizer, scatter, slice};
use crate::operator::Registration;
use crate::ops::random::stateful;

/// The families whose operators change variables.
const FAMILIES: [&[Registration]; 5] = [count::OPS, optimizer::OPS, scatter::OPS, slice::OPS, stateful::OPS];

/// The names of the operators that change variables.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.into_iter().flatten().map(|row| row.name)
}

/// How many variables an operator changes; 0 for one that changes none.
pub(crate) fn changed(op: &str) -> usize {
    match optimizer::states(op) {
        Some(states) => states,
        None => usize::from(names().any(|name| name == op)),
    }
}

/// True for one that gives something besides what its variables are from then on.
pub(crate) fn has_result(op: &str) -> bool {
    stateful::has_result(op) || count::OPS.iter().any(|row| row.name == op)
}
