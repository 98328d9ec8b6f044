//! Operators of StableHLO, as models from JAX and PyTorch have them where TensorFlow Lite has no builtin of its own.

use super::attrs::{int, kind, truth, types, why};
use super::build::Refusal;
use super::control;
use super::operator::Op;
use super::rows::{Integers, Row, refused, row};

const MOVE: Integers = Integers::Move;

pub(super) const ROWS: &[Row] = &[
    row("STABLEHLO_LOGISTIC", "Sigmoid", MOVE, |op| typed(op, "Sigmoid")),
    row("STABLEHLO_ADD", "AddV2", MOVE, |op| typed(op, "AddV2")),
    row("STABLEHLO_SUBTRACT", "Sub", MOVE, |op| typed(op, "Sub")),
    row("STABLEHLO_MULTIPLY", "Mul", MOVE, |op| typed(op, "Mul")),
    row("STABLEHLO_DIVIDE", "RealDiv, TruncateDiv of integers", MOVE, |op| {
        let is_float = matches!(op.dtype(0)?, types::F32 | types::F16 | 2 | 14);
        typed(op, if is_float { "RealDiv" } else { "TruncateDiv" })
    }),
    row("STABLEHLO_REMAINDER", "TruncateMod", MOVE, |op| typed(op, "TruncateMod")),
    row("STABLEHLO_POWER", "Pow", MOVE, |op| typed(op, "Pow")),
    row("STABLEHLO_MAXIMUM", "Maximum", MOVE, |op| typed(op, "Maximum")),
    row("STABLEHLO_MINIMUM", "Minimum", MOVE, |op| typed(op, "Minimum")),
    row("STABLEHLO_SHIFT_LEFT", "LeftShift", MOVE, |op| typed(op, "LeftShift")),
    row("STABLEHLO_AND", "LogicalAnd, BitwiseAnd of integers", MOVE, |op| {
        bits(op, "LogicalAnd", "BitwiseAnd")
    }),
    row("STABLEHLO_OR", "LogicalOr, BitwiseOr of integers", MOVE, |op| bits(op, "LogicalOr", "BitwiseOr")),
    row("STABLEHLO_ABS", "Abs", MOVE, |op| typed(op, "Abs")),
    row("STABLEHLO_NEGATE", "Neg", MOVE, |op| typed(op, "Neg")),
    row("STABLEHLO_COSINE", "Cos", MOVE, |op| typed(op, "Cos")),
    row("STABLEHLO_EXPONENTIAL", "Exp", MOVE, |op| typed(op, "Exp")),
    row("STABLEHLO_FLOOR", "Floor", MOVE, |op| typed(op, "Floor")),
    row("STABLEHLO_LOG", "Log", MOVE, |op| typed(op, "Log")),
    row("STABLEHLO_RSQRT", "Rsqrt", MOVE, |op| typed(op, "Rsqrt")),
    row("STABLEHLO_TANH", "Tanh", MOVE, |op| typed(op, "Tanh")),
    row("STABLEHLO_CBRT", "Sign, Abs, Pow, Mul", MOVE, cube_root),
    row("STABLEHLO_CONVERT", "Cast", MOVE, |op| {
        let (from, to, value) = (op.dtype(0)?, op.output_dtype(0)?, op.input(0)?);
        op.result("Cast", vec![value], vec![kind("SrcT", from), kind("DstT", to), truth("Truncate", false)])
    }),
    row("STABLEHLO_SELECT", "SelectV2", MOVE, |op| {
        let (dtype, inputs) = (op.dtype(1)?, op.inputs()?);
        op.result("SelectV2", inputs, vec![kind("t", dtype)])
    }),
    row("STABLEHLO_CLAMP", "Maximum, Minimum", MOVE, clamp),
    row("STABLEHLO_COMPARE", "Equal, Less and their kin", MOVE, compare),
    row("STABLEHLO_RESHAPE", "Reshape", MOVE, |op| {
        let (dtype, value, shape) = (op.dtype(0)?, op.input(0)?, op.made(0)?.open_shape());
        let value = op.reshape(value, dtype, &shape)?;
        op.bind(0, value)
    }),
    row("STABLEHLO_TRANSPOSE", "Transpose", MOVE, |op| {
        let (dtype, value) = (op.dtype(0)?, op.input(0)?);
        let value = op.transpose(value, dtype, op.operator.options.ints("permutation"))?;
        op.bind(0, value)
    }),
    row("STABLEHLO_CONCATENATE", "ConcatV2", MOVE, |op| {
        let (dtype, mut inputs) = (op.dtype(0)?, op.inputs()?);
        let count = inputs.len() as i64;
        inputs.push(op.scalar(op.operator.options.int("dimension"))?);
        op.result("ConcatV2", inputs, vec![int("N", count), kind("T", dtype), kind("Tidx", types::I32)])
    }),
    row("STABLEHLO_BROADCAST_IN_DIM", "Reshape, BroadcastTo", MOVE, broadcast),
    row("STABLEHLO_SLICE", "StridedSlice", MOVE, slice),
    row("STABLEHLO_PAD", "PadV2", MOVE, pad),
    row("STABLEHLO_IOTA", "Range, Reshape, BroadcastTo", MOVE, iota),
    row("STABLEHLO_DOT_GENERAL", "Einsum", MOVE, dot_general),
    row("STABLEHLO_COMPOSITE", "PartitionedCall", MOVE, |op| {
        control::call(op, "decomposition_subgraph_index")
    }),
    row("STABLEHLO_WHILE", "While", MOVE, control::repeat),
    refused("STABLEHLO_CONVOLUTION", "converters write CONV_2D for it"),
    refused("STABLEHLO_CUSTOM_CALL", "it names a function of other software"),
    refused("STABLEHLO_REDUCE", "its function is a graph of any kind"),
    refused("STABLEHLO_REDUCE_WINDOW", "its function is a graph of any kind"),
    refused("STABLEHLO_SCATTER", "its function is a graph of any kind"),
    refused("STABLEHLO_SORT", "its function is a graph of any kind"),
    refused("STABLEHLO_GATHER", "its windows have no operator in TensorFlow"),
    refused("STABLEHLO_DYNAMIC_SLICE", "it takes a scalar for each axis"),
    refused("STABLEHLO_DYNAMIC_UPDATE_SLICE", "it takes a scalar for each axis"),
    refused("STABLEHLO_RNG_BIT_GENERATOR", "its numbers are not those of TensorFlow's generators"),
    refused("STABLEHLO_CASE", "converters write IF for it"),
    refused("DILATE", "TensorFlow has no such operator"),
    refused("REDUCE_WINDOW", "TensorFlow has no such operator"),
];

fn typed(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    op.result(name, inputs, vec![kind("T", dtype)])
}

/// The number of bool among TensorFlow's types.
const BOOL: i32 = 10;

fn bits(op: &mut Op<'_, '_, '_>, of_bool: &str, of_integers: &str) -> Result<(), Refusal> {
    if op.dtype(0)? != BOOL {
        return typed(op, of_integers);
    }
    let inputs = op.inputs()?;
    op.result(of_bool, inputs, Vec::new())
}

fn cube_root(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let attrs = || vec![kind("T", dtype)];
    let third = op.number_of(dtype, 1.0 / 3.0)?;
    let sign = op.node("Sign", vec![value.clone()], attrs())?;
    let size = op.node("Abs", vec![value], attrs())?;
    let root = op.node("Pow", vec![size, third], attrs())?;
    op.result("Mul", vec![sign, root], attrs())
}

/// Inputs: the least, the value, the most.
fn clamp(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, least, value, most) = (op.dtype(1)?, op.input(0)?, op.input(1)?, op.input(2)?);
    let value = op.node("Maximum", vec![value, least], vec![kind("T", dtype)])?;
    op.result("Minimum", vec![value, most], vec![kind("T", dtype)])
}

fn compare(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let names = ["Equal", "NotEqual", "GreaterEqual", "Greater", "LessEqual", "Less"];
    let direction = op.operator.options.int("comparison_direction");
    match usize::try_from(direction).ok().and_then(|direction| names.get(direction)) {
        Some(name) => typed(op, name),
        None => why(format!("compares in the direction {direction}, which schema.fbs does not have")),
    }
}

/// The shape of the output, all of which must be known.
fn fixed_shape(op: &Op<'_, '_, '_>) -> Result<Vec<i64>, Refusal> {
    let shape = op.made(0)?.open_shape();
    if shape.iter().any(|dim| *dim < 0) {
        return why(format!("gives a tensor of the open shape {shape:?}, which is not supported"));
    }
    Ok(shape)
}

fn broadcast(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value, shape) = (op.dtype(0)?, op.input(0)?, fixed_shape(op)?);
    let own: Vec<i64> = op.tensor(0)?.shape.iter().map(|dim| i64::from(*dim)).collect();
    let mut dims = vec![1; shape.len()];
    for (dim, place) in own.iter().zip(op.operator.options.ints("broadcast_dimensions")) {
        match usize::try_from(*place).ok().and_then(|place| dims.get_mut(place)) {
            Some(slot) => *slot = *dim,
            None => return why("puts an axis where there is none"),
        }
    }
    let value = op.reshape(value, dtype, &dims)?;
    let shape = op.vector(&shape)?;
    op.result("BroadcastTo", vec![value, shape], vec![kind("T", dtype), kind("Tidx", types::I32)])
}

fn slice(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let mut inputs = vec![value];
    for name in ["start_indices", "limit_indices", "strides"] {
        inputs.push(op.vector(op.operator.options.ints(name))?);
    }
    op.result("StridedSlice", inputs, vec![kind("T", dtype), kind("Index", types::I32)])
}

fn pad(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let options = &op.operator.options;
    let (low, high) = (options.ints("edge_padding_low"), options.ints("edge_padding_high"));
    let is_plain = options.ints("interior_padding").iter().all(|count| *count == 0);
    if !is_plain || low.iter().chain(high).any(|count| *count < 0) || low.len() != high.len() {
        return why("pads between elements or takes some away, which is not supported");
    }
    let (dtype, value, filler) = (op.dtype(0)?, op.input(0)?, op.input(1)?);
    let pairs: Vec<i64> = low.iter().zip(high).flat_map(|(low, high)| [*low, *high]).collect();
    let pairs = op.vector(&pairs)?;
    let pairs = op.reshape(pairs, types::I32, &[low.len() as i64, 2])?;
    op.result("PadV2", vec![value, pairs, filler], vec![kind("T", dtype), kind("Tpaddings", types::I32)])
}

fn iota(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, shape) = (op.output_dtype(0)?, fixed_shape(op)?);
    let axis = usize::try_from(op.operator.options.int("iota_dimension")).ok();
    let Some((axis, count)) = axis.and_then(|axis| Some((axis, *shape.get(axis)?))) else {
        return why("counts along an axis that is not there");
    };
    let (zero, count_of, one) = (op.scalar(0)?, op.scalar(count)?, op.scalar(1)?);
    let numbers = op.node("Range", vec![zero, count_of, one], vec![kind("Tidx", types::I32)])?;
    let attrs = vec![kind("SrcT", types::I32), kind("DstT", dtype), truth("Truncate", false)];
    let numbers = op.node("Cast", vec![numbers], attrs)?;
    let mut dims = vec![1; shape.len()];
    dims[axis] = count;
    let numbers = op.reshape(numbers, dtype, &dims)?;
    let shape = op.vector(&shape)?;
    op.result("BroadcastTo", vec![numbers, shape], vec![kind("T", dtype), kind("Tidx", types::I32)])
}

/// The product over some axes of both operands: of the output come the axes of the batch first, then those of the left
/// operand and those of the right one.
fn dot_general(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let options = &op.operator.options;
    let ranks = [op.tensor(0)?.shape.len(), op.tensor(1)?.shape.len()];
    if ranks.iter().sum::<usize>() > 26 {
        return why("has more axes than letters");
    }
    let mut letters = b'a'..=b'z';
    let mut labels = ranks.map(|rank| vec![None; rank]);
    let mut output = String::new();
    for (name, in_output) in [("batching", true), ("contracting", false)] {
        let axes = |side: &str| options.ints(&format!("{side}_{name}_dimensions"));
        for (left, right) in axes("lhs").iter().zip(axes("rhs")) {
            let Some(letter) = letters.next().map(char::from) else { return why("has too many axes") };
            for (side, axis) in [(0, left), (1, right)] {
                let slot = usize::try_from(*axis).ok().and_then(|axis| labels[side].get_mut(axis));
                match slot {
                    Some(slot) => *slot = Some(letter),
                    None => return why("multiplies along an axis that is not there"),
                }
            }
            if in_output {
                output.push(letter);
            }
        }
    }
    let mut sides = [String::new(), String::new()];
    for (labels, side) in labels.iter().zip(&mut sides) {
        for label in labels {
            let letter = match label {
                Some(letter) => *letter,
                None => {
                    let Some(letter) = letters.next().map(char::from) else {
                        return why("has too many axes");
                    };
                    output.push(letter);
                    letter
                }
            };
            side.push(letter);
        }
    }
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    let equation = super::attrs::text("equation", &format!("{},{}->{output}", sides[0], sides[1]));
    op.result("Einsum", inputs, vec![int("N", 2), kind("T", dtype), equation])
}
