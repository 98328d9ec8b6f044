//! Shapes: the same elements under another shape, and tensors made of numbers alone.

use super::attrs::{Value, int, ints, kind, types, why};
use super::build::Refusal;
use super::operator::Op;
use super::rows::{Integers, Row, row};

const MOVE: Integers = Integers::Move;

pub(super) const ROWS: &[Row] = &[
    row("RESHAPE", "Reshape", MOVE, reshape),
    row("SQUEEZE", "Squeeze", MOVE, squeeze),
    row("EXPAND_DIMS", "ExpandDims", MOVE, |op| with_index(op, "ExpandDims", "Tdim")),
    row("SHAPE", "Shape", MOVE, shape),
    row("RANK", "Rank", MOVE, |op| {
        let (dtype, value) = (op.dtype(0)?, op.input(0)?);
        op.result("Rank", vec![value], vec![kind("T", dtype)])
    }),
    row("FILL", "Fill", MOVE, fill),
    row("ZEROS_LIKE", "ZerosLike", Integers::Own, |op| {
        let (dtype, value) = (op.dtype(0)?, op.input(0)?);
        op.result("ZerosLike", vec![value], vec![kind("T", dtype)])
    }),
    row("RANGE", "Range", MOVE, |op| {
        let (dtype, inputs) = (op.output_dtype(0)?, op.inputs()?);
        op.result("Range", inputs, vec![kind("Tidx", dtype)])
    }),
    row("ONE_HOT", "OneHot", MOVE, one_hot),
    row("BROADCAST_TO", "BroadcastTo", MOVE, |op| with_index(op, "BroadcastTo", "Tidx")),
    row("BROADCAST_ARGS", "BroadcastArgs", MOVE, |op| {
        let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
        op.result("BroadcastArgs", inputs, vec![kind("T", dtype)])
    }),
    row("TILE", "Tile", MOVE, |op| with_index(op, "Tile", "Tmultiples")),
    row("MATRIX_DIAG", "MatrixDiag", MOVE, |op| {
        let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
        op.result("MatrixDiag", inputs, vec![kind("T", dtype)])
    }),
    row("MATRIX_SET_DIAG", "MatrixSetDiag", MOVE, |op| {
        let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
        op.result("MatrixSetDiag", inputs, vec![kind("T", dtype)])
    }),
    row("RANDOM_UNIFORM", "RandomUniform", MOVE, |op| random(op, "RandomUniform")),
    row("RANDOM_STANDARD_NORMAL", "RandomStandardNormal", MOVE, |op| random(op, "RandomStandardNormal")),
    row("MULTINOMIAL", "Multinomial", MOVE, multinomial),
];

/// A tensor and an index or shape, whose type is an attribute of this name.
fn with_index(op: &mut Op<'_, '_, '_>, name: &str, attribute: &str) -> Result<(), Refusal> {
    let (dtype, index, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    op.result(name, inputs, vec![kind("T", dtype), kind(attribute, index)])
}

/// The new shape is an input, or an option where that is left out or a constant without elements.
fn reshape(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let shape = new_shape(op)?;
    op.result("Reshape", vec![value, shape], vec![kind("T", dtype), kind("Tshape", types::I32)])
}

fn new_shape(op: &mut Op<'_, '_, '_>) -> Result<Value, Refusal> {
    if op.has(1) && op.tensor(1)?.shape.len() == 1 {
        return op.input(1);
    }
    // An old model's empty shape is written as one 0.
    match op.operator.options.ints("new_shape") {
        [0] => op.vector(&[]),
        shape => op.vector(shape),
    }
}

fn squeeze(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let axes = ints("squeeze_dims", op.operator.options.ints("squeeze_dims"));
    op.result("Squeeze", vec![value], vec![kind("T", dtype), axes])
}

fn shape(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, output, value) = (op.dtype(0)?, op.output_dtype(0)?, op.input(0)?);
    op.result("Shape", vec![value], vec![kind("T", dtype), kind("out_type", output)])
}

fn fill(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (index, dtype, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    op.result("Fill", inputs, vec![kind("T", dtype), kind("index_type", index)])
}

fn one_hot(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (index, dtype, inputs) = (op.dtype(0)?, op.dtype(2)?, op.inputs()?);
    let axis = int("axis", op.operator.options.int("axis"));
    op.result("OneHot", inputs, vec![kind("T", dtype), kind("TI", index), axis])
}

/// The numbers of a generator are not those of TensorFlow Lite's, which says nothing of which they are.
fn random(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (shape, dtype, value) = (op.dtype(0)?, op.output_dtype(0)?, op.input(0)?);
    let attrs = vec![kind("T", shape), kind("dtype", dtype), seed(op, "seed"), seed(op, "seed2")];
    op.result(name, vec![value], attrs)
}

fn multinomial(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, output, inputs) = (op.dtype(0)?, op.output_dtype(0)?, op.inputs()?);
    if inputs.len() != 2 {
        return why("takes other than two inputs");
    }
    let attrs = vec![kind("T", dtype), kind("output_dtype", output), seed(op, "seed"), seed(op, "seed2")];
    op.result("Multinomial", inputs, attrs)
}

fn seed(op: &Op<'_, '_, '_>, name: &str) -> (Box<str>, tightfit_format::AttrValue) {
    int(name, op.operator.options.int(name))
}
