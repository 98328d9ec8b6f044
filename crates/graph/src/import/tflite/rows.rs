//! The rows of the groups' tables: what becomes of a builtin.

use super::build::Refusal;
use super::operator::Op;

/// How nodes are made of an operator.
pub(super) type Make = fn(&mut Op<'_, '_, '_>) -> Result<(), Refusal>;

/// A builtin, or a custom operator, in a table of its group.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it becomes, or why it is not supported.
    pub becomes: &'static str,
    /// Makes the nodes; `None` for one that is not supported.
    pub make: Option<Make>,
    /// What becomes of integers that stand for other numbers.
    pub integers: Integers,
}

/// What an operator does with integers that stand for other numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Integers {
    /// It moves them, so that they are like any others.
    Move,
    /// It computes with them: a node `tfl.NAME`, or what it is in floats between their numbers and back.
    Compute,
    /// It is told of them by itself.
    Own,
}

pub(super) const fn row(name: &'static str, becomes: &'static str, integers: Integers, make: Make) -> Row {
    Row { name, becomes, make: Some(make), integers }
}

pub(super) const fn refused(name: &'static str, why: &'static str) -> Row {
    Row { name, becomes: why, make: None, integers: Integers::Move }
}
