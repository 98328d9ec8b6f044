//! What becomes of each builtin of TensorFlow Lite.

use tightfit_format::tflite::OPERATORS;

use super::lower::Refusal;
use super::operator::{Op, why};
use super::{
    control, custom, elementwise, moves, products, quantized, recurrent, reductions, shapes, stablehlo,
};

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

/// The tables of all groups.
static GROUPS: &[&[Row]] = &[
    products::ROWS,
    elementwise::ROWS,
    reductions::ROWS,
    shapes::ROWS,
    moves::ROWS,
    recurrent::ROWS,
    quantized::ROWS,
    control::ROWS,
    stablehlo::ROWS,
];

fn find(name: &str) -> Option<&'static Row> {
    GROUPS.iter().flat_map(|rows| *rows).find(|row| row.name == name)
}

/// Makes the nodes of an operator.
///
/// # Errors
/// [`Refusal`] for one that cannot be computed, and for what the file or the memory says.
pub(super) fn lower(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let row = match &op.operator.custom {
        Some(name) => custom::ROWS.iter().find(|row| *row.name == **name),
        None => find(op.operator.name()),
    };
    let Some(row) = row else { return why("is an operator that is not supported") };
    let Some(make) = row.make else { return why(format!("is not supported: {}", row.becomes)) };
    match row.integers {
        Integers::Compute if quantized::is_quantized(op)? => quantized::compute(op, row.name, make),
        _ => make(op),
    }
}

/// A builtin, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builtin {
    /// Its name, as in `CONV_2D`.
    pub name: &'static str,
    /// The nodes that it becomes, or why it is not supported.
    pub becomes: &'static str,
    /// True where it can be run.
    pub is_supported: bool,
}

/// Every builtin in the order of its number, and behind them the custom operators that are known.
pub fn builtins() -> impl Iterator<Item = Builtin> {
    let own = OPERATORS.iter().map(|name| match find(name) {
        Some(row) => Builtin { name, becomes: row.becomes, is_supported: row.make.is_some() },
        None => Builtin { name, becomes: "no kernel yet", is_supported: false },
    });
    let custom = custom::ROWS.iter().map(|row| Builtin {
        name: row.name,
        becomes: row.becomes,
        is_supported: row.make.is_some(),
    });
    own.chain(custom)
}
