//! What becomes of each builtin of TensorFlow Lite.

use tightfit_format::tflite::OPERATORS;

use super::attrs::why;
use super::build::Refusal;
use super::operator::Op;
use super::rows::{Integers, Row};
use super::{
    control, custom, elementwise, moves, products, quantized, recurrent, reductions, shapes, stablehlo,
};

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

/// Every builtin in the order of its number, and after them the custom operators that are known.
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
