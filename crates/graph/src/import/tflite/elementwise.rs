//! Functions of one element and of two, activations, and choices.

use super::attrs::{Value, float, int, kind, truth, types, why};
use super::build::Refusal;
use super::operator::Op;
use super::rows::{Integers, Row, refused, row};

const ONE: Integers = Integers::Compute;
const TWO: Integers = Integers::Compute;

pub(super) const ROWS: &[Row] = &[
    row("ADD", "AddV2", TWO, |op| binary(op, "AddV2")),
    row("SUB", "Sub", TWO, |op| binary(op, "Sub")),
    row("MUL", "Mul", TWO, |op| binary(op, "Mul")),
    row("DIV", "RealDiv, TruncateDiv of integers", TWO, division),
    row("FLOOR_DIV", "FloorDiv", TWO, |op| binary(op, "FloorDiv")),
    row("FLOOR_MOD", "FloorMod", TWO, |op| binary(op, "FloorMod")),
    row("POW", "Pow", TWO, |op| binary(op, "Pow")),
    row("MAXIMUM", "Maximum", TWO, |op| binary(op, "Maximum")),
    row("MINIMUM", "Minimum", TWO, |op| binary(op, "Minimum")),
    row("SQUARED_DIFFERENCE", "SquaredDifference", TWO, |op| binary(op, "SquaredDifference")),
    row("ATAN2", "Atan2", TWO, |op| binary(op, "Atan2")),
    row("ADD_N", "AddN", Integers::Own, add_n),
    row("EQUAL", "Equal", TWO, |op| binary(op, "Equal")),
    row("NOT_EQUAL", "NotEqual", TWO, |op| binary(op, "NotEqual")),
    row("LESS", "Less", TWO, |op| binary(op, "Less")),
    row("LESS_EQUAL", "LessEqual", TWO, |op| binary(op, "LessEqual")),
    row("GREATER", "Greater", TWO, |op| binary(op, "Greater")),
    row("GREATER_EQUAL", "GreaterEqual", TWO, |op| binary(op, "GreaterEqual")),
    row("LOGICAL_AND", "LogicalAnd", Integers::Move, |op| plain(op, "LogicalAnd")),
    row("LOGICAL_OR", "LogicalOr", Integers::Move, |op| plain(op, "LogicalOr")),
    row("LOGICAL_NOT", "LogicalNot", Integers::Move, |op| plain(op, "LogicalNot")),
    row("BITWISE_XOR", "BitwiseXor", Integers::Move, |op| typed(op, "BitwiseXor")),
    row("RIGHT_SHIFT", "RightShift", Integers::Move, |op| typed(op, "RightShift")),
    row("ABS", "Abs", ONE, |op| typed(op, "Abs")),
    row("NEG", "Neg", ONE, |op| typed(op, "Neg")),
    row("SIGN", "Sign", ONE, |op| typed(op, "Sign")),
    row("SQUARE", "Square", ONE, |op| typed(op, "Square")),
    row("SQRT", "Sqrt", ONE, |op| typed(op, "Sqrt")),
    row("RSQRT", "Rsqrt", ONE, |op| typed(op, "Rsqrt")),
    row("EXP", "Exp", ONE, |op| typed(op, "Exp")),
    row("LOG", "Log", ONE, |op| typed(op, "Log")),
    row("SIN", "Sin", ONE, |op| typed(op, "Sin")),
    row("COS", "Cos", ONE, |op| typed(op, "Cos")),
    row("FLOOR", "Floor", ONE, |op| typed(op, "Floor")),
    row("CEIL", "Ceil", ONE, |op| typed(op, "Ceil")),
    row("ROUND", "Round", ONE, |op| typed(op, "Round")),
    row("LOGISTIC", "Sigmoid", ONE, |op| typed(op, "Sigmoid")),
    row("TANH", "Tanh", ONE, |op| typed(op, "Tanh")),
    row("ELU", "Elu", ONE, |op| typed(op, "Elu")),
    row("RELU", "Relu", ONE, |op| typed(op, "Relu")),
    row("RELU6", "Relu6", ONE, |op| typed(op, "Relu6")),
    row("RELU_N1_TO_1", "Minimum, Maximum", ONE, |op| clipped(op, (-1.0, 1.0))),
    row("RELU_0_TO_1", "Minimum, Maximum", ONE, |op| clipped(op, (0.0, 1.0))),
    row("LEAKY_RELU", "LeakyRelu", ONE, leaky_relu),
    row("PRELU", "Relu, Minimum, Mul, AddV2", Integers::Compute, prelu),
    row("HARD_SWISH", "AddV2, Relu6, Mul", ONE, hard_swish),
    row("GELU", "Erf or Tanh, Mul, AddV2", ONE, gelu),
    row("SOFTMAX", "Softmax", ONE, softmax),
    row("LOG_SOFTMAX", "LogSoftmax", ONE, |op| typed(op, "LogSoftmax")),
    row("REAL", "Real", Integers::Move, |op| complex(op, "Real")),
    row("IMAG", "Imag", Integers::Move, |op| complex(op, "Imag")),
    row("COMPLEX_ABS", "ComplexAbs", Integers::Move, |op| complex(op, "ComplexAbs")),
    row("CAST", "Cast", Integers::Move, cast),
    row("BITCAST", "Bitcast", Integers::Move, bitcast),
    row("SELECT", "Select", Integers::Move, select),
    row("SELECT_V2", "SelectV2", Integers::Move, select_v2),
    refused("SKIP_GRAM", "it works on strings that TensorFlow has no operator for"),
];

/// A node of the same inputs without a type.
fn plain(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let inputs = op.inputs()?;
    op.result(name, inputs, Vec::new())
}

/// A node of the same inputs, of the first one's type.
fn typed(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    op.result(name, inputs, vec![kind("T", dtype)])
}

fn binary(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, left, right) = (op.dtype(0)?, op.input(0)?, op.input(1)?);
    let value = op.node(name, vec![left, right], vec![kind("T", dtype)])?;
    let value = op.activated(value, op.output_dtype(0)?)?;
    op.bind(0, value)
}

fn division(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let is_float = matches!(op.dtype(0)?, types::F32 | types::F16 | 2 | 14);
    binary(op, if is_float { "RealDiv" } else { "TruncateDiv" })
}

fn add_n(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    let count = inputs.len() as i64;
    op.result("AddN", inputs, vec![kind("T", dtype), int("N", count)])
}

fn clipped(op: &mut Op<'_, '_, '_>, range: (f64, f64)) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let value = op.clip(value, dtype, range)?;
    op.bind(0, value)
}

fn leaky_relu(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let alpha = op.operator.options.float("alpha");
    op.result("LeakyRelu", vec![value], vec![kind("T", dtype), float("alpha", alpha)])
}

/// `max(x, 0) + alpha * min(x, 0)`, with an alpha that is broadcast.
fn prelu(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value, alpha) = (op.dtype(0)?, op.input(0)?, op.input(1)?);
    let attrs = || vec![kind("T", dtype)];
    let zero = op.number_of(dtype, 0.0)?;
    let above = op.node("Relu", vec![value.clone()], attrs())?;
    let below = op.node("Minimum", vec![value, zero], attrs())?;
    let below = op.node("Mul", vec![below, alpha], attrs())?;
    op.result("AddV2", vec![above, below], attrs())
}

/// `x * relu6(x + 3) / 6`.
fn hard_swish(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let attrs = || vec![kind("T", dtype)];
    let (three, sixth) = (op.number_of(dtype, 3.0)?, op.number_of(dtype, 1.0 / 6.0)?);
    let moved = op.node("AddV2", vec![value.clone(), three], attrs())?;
    let gate = op.node("Relu6", vec![moved], attrs())?;
    let product = op.node("Mul", vec![value, gate], attrs())?;
    op.result("Mul", vec![product, sixth], attrs())
}

/// `x * (1 + erf(x / sqrt(2))) / 2`, or what approximates it by a tanh.
fn gelu(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let attrs = || vec![kind("T", dtype)];
    let scaled = |op: &mut Op<'_, '_, '_>, value: Value, by: f64| {
        let by = op.number_of(dtype, by)?;
        op.node("Mul", vec![value, by], vec![kind("T", dtype)])
    };
    let inner = if op.operator.options.bool("approximate") {
        let square = op.node("Square", vec![value.clone()], attrs())?;
        let cube = op.node("Mul", vec![value.clone(), square], attrs())?;
        let cube = scaled(op, cube, 0.044_715)?;
        let sum = op.node("AddV2", vec![value.clone(), cube], attrs())?;
        let sum = scaled(op, sum, (2.0 / std::f64::consts::PI).sqrt())?;
        op.node("Tanh", vec![sum], attrs())?
    } else {
        let scaled = scaled(op, value.clone(), std::f64::consts::FRAC_1_SQRT_2)?;
        op.node("Erf", vec![scaled], attrs())?
    };
    let one = op.number_of(dtype, 1.0)?;
    let gate = op.node("AddV2", vec![inner, one], attrs())?;
    let half = scaled(op, value, 0.5)?;
    op.result("Mul", vec![half, gate], attrs())
}

fn softmax(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, mut value) = (op.dtype(0)?, op.input(0)?);
    let beta = op.operator.options.float("beta");
    if beta != 1.0 {
        let factor = op.number_of(dtype, beta.into())?;
        value = op.node("Mul", vec![value, factor], vec![kind("T", dtype)])?;
    }
    op.result("Softmax", vec![value], vec![kind("T", dtype)])
}

fn complex(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, output, value) = (op.dtype(0)?, op.output_dtype(0)?, op.input(0)?);
    op.result(name, vec![value], vec![kind("T", dtype), kind("Tout", output)])
}

fn cast(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (from, to, value) = (op.dtype(0)?, op.output_dtype(0)?, op.input(0)?);
    op.result("Cast", vec![value], vec![kind("SrcT", from), kind("DstT", to), truth("Truncate", false)])
}

fn bitcast(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (from, to, value) = (op.dtype(0)?, op.output_dtype(0)?, op.input(0)?);
    op.result("Bitcast", vec![value], vec![kind("T", from), kind("type", to)])
}

fn select(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(1)?, op.inputs()?);
    // A vector chooses rows, as TensorFlow's first version has it; everything else is of one shape.
    let name = if op.tensor(0)?.shape.len() <= 1 { "Select" } else { "SelectV2" };
    op.result(name, inputs, vec![kind("T", dtype)])
}

fn select_v2(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(1)?, op.inputs()?);
    if inputs.len() != 3 {
        return why("takes other than three inputs");
    }
    op.result("SelectV2", inputs, vec![kind("t", dtype)])
}
