//! What becomes of each operator: a builtin with options out of attributes, or what a function makes.

use tightfit_format::tflite::OptionValue;
use tightfit_format::{AttrValue, DataType, ListValue, NodeDef};

use super::graph::{Id, Lower, Result, Set, why};
use super::{norms, products, shapes};

/// An operator of TensorFlow.
pub(super) struct Row {
    /// Its name.
    pub op: &'static str,
    /// The builtin that it becomes.
    pub builtin: &'static str,
    /// How.
    pub make: Make,
}

/// How a builtin is made of a node.
pub(super) enum Make {
    /// Of the same inputs and outputs, in these types, with this table of options and their attributes.
    Same { types: &'static [i32], table: &'static str, from: &'static [(&'static str, &'static str)] },
    /// By a function.
    By(fn(&mut Lower<'_>, &NodeDef) -> Result<()>),
}

const F: &[i32] = &[1];
/// float32, int32, int64.
const FI: &[i32] = &[1, 3, 9];
const FI32: &[i32] = &[1, 3];
const BOOL: &[i32] = &[10];
/// What is moved and not computed with.
const ANY: &[i32] = &[1, 3, 9, 10, 4, 6, 5, 19];

const fn same(op: &'static str, builtin: &'static str, types: &'static [i32], table: &'static str) -> Row {
    Row { op, builtin, make: Make::Same { types, table, from: &[] } }
}

const fn with(
    op: &'static str,
    builtin: &'static str,
    types: &'static [i32],
    table: &'static str,
    from: &'static [(&'static str, &'static str)],
) -> Row {
    Row { op, builtin, make: Make::Same { types, table, from } }
}

const fn by(
    op: &'static str,
    builtin: &'static str,
    make: fn(&mut Lower<'_>, &NodeDef) -> Result<()>,
) -> Row {
    Row { op, builtin, make: Make::By(make) }
}

const CORNERS: &[(&str, &str)] =
    &[("align_corners", "align_corners"), ("half_pixel_centers", "half_pixel_centers")];
const BLOCK: &[(&str, &str)] = &[("block_size", "block_size")];

/// Operators whose builtin is the same.
const ELEMENTWISE: &[Row] = &[
    same("Add", "ADD", FI, "AddOptions"),
    same("AddV2", "ADD", FI, "AddOptions"),
    same("BiasAdd", "ADD", F, "AddOptions"),
    same("Sub", "SUB", FI, "SubOptions"),
    same("Mul", "MUL", FI, "MulOptions"),
    same("Div", "DIV", FI32, "DivOptions"),
    same("RealDiv", "DIV", F, "DivOptions"),
    same("FloorDiv", "FLOOR_DIV", FI32, "FloorDivOptions"),
    same("FloorMod", "FLOOR_MOD", FI, "FloorModOptions"),
    same("Pow", "POW", FI32, "PowOptions"),
    same("SquaredDifference", "SQUARED_DIFFERENCE", FI32, "SquaredDifferenceOptions"),
    same("Maximum", "MAXIMUM", FI, "MaximumMinimumOptions"),
    same("Minimum", "MINIMUM", FI, "MaximumMinimumOptions"),
    same("Atan2", "ATAN2", F, "ATan2Options"),
    same("Less", "LESS", FI, "LessOptions"),
    same("LessEqual", "LESS_EQUAL", FI, "LessEqualOptions"),
    same("Greater", "GREATER", FI, "GreaterOptions"),
    same("GreaterEqual", "GREATER_EQUAL", FI, "GreaterEqualOptions"),
    same("Equal", "EQUAL", &[1, 3, 9, 10], "EqualOptions"),
    same("NotEqual", "NOT_EQUAL", &[1, 3, 9, 10], "NotEqualOptions"),
    same("LogicalAnd", "LOGICAL_AND", BOOL, "LogicalAndOptions"),
    same("LogicalOr", "LOGICAL_OR", BOOL, "LogicalOrOptions"),
    same("LogicalNot", "LOGICAL_NOT", BOOL, "LogicalNotOptions"),
    same("Abs", "ABS", FI32, "AbsOptions"),
    same("Neg", "NEG", FI, "NegOptions"),
    same("Sign", "SIGN", FI32, "SignOptions"),
    same("Exp", "EXP", F, "ExpOptions"),
    same("Log", "LOG", F, ""),
    same("Sin", "SIN", F, ""),
    same("Cos", "COS", F, "CosOptions"),
    same("Sqrt", "SQRT", F, ""),
    same("Rsqrt", "RSQRT", F, ""),
    same("Square", "SQUARE", F, "SquareOptions"),
    same("Floor", "FLOOR", F, ""),
    same("Ceil", "CEIL", F, ""),
    same("Round", "ROUND", F, ""),
    same("Tanh", "TANH", F, ""),
    same("Sigmoid", "LOGISTIC", F, ""),
    same("Relu", "RELU", F, ""),
    same("Relu6", "RELU6", F, ""),
    same("Elu", "ELU", F, ""),
    with("LeakyRelu", "LEAKY_RELU", F, "LeakyReluOptions", &[("alpha", "alpha")]),
    // It is a part of GELU or has no builtin.
    same("Erf", "Erf", F, ""),
    by("Softmax", "SOFTMAX", |lower, node| {
        let fields = [("beta", OptionValue::Float(1.0))];
        plain(lower, node, "SOFTMAX", F, "SoftmaxOptions", &fields)
    }),
    same("LogSoftmax", "LOG_SOFTMAX", F, "LogSoftmaxOptions"),
    same("ZerosLike", "ZEROS_LIKE", FI, "ZerosLikeOptions"),
    same("AddN", "ADD_N", FI32, "AddNOptions"),
    by("Cast", "CAST", cast),
];

/// Operators that move elements.
const MOVES: &[Row] = &[
    same("Pad", "PAD", FI, "PadOptions"),
    same("PadV2", "PADV2", FI, "PadV2Options"),
    by("MirrorPad", "MIRROR_PAD", shapes::mirror_pad),
    same("Transpose", "TRANSPOSE", ANY, "TransposeOptions"),
    same("Tile", "TILE", &[1, 3, 9, 10], "TileOptions"),
    same("Slice", "SLICE", ANY, "SliceOptions"),
    same("ExpandDims", "EXPAND_DIMS", ANY, "ExpandDimsOptions"),
    same("BroadcastTo", "BROADCAST_TO", &[1, 3, 9, 10], "BroadcastToOptions"),
    same("Fill", "FILL", &[3, 9], "FillOptions"),
    same("GatherNd", "GATHER_ND", FI, "GatherNdOptions"),
    same("Select", "SELECT", BOOL, "SelectOptions"),
    same("SelectV2", "SELECT_V2", BOOL, "SelectV2Options"),
    same("ReverseV2", "REVERSE_V2", ANY, "ReverseV2Options"),
    same("BatchToSpaceND", "BATCH_TO_SPACE_ND", FI, "BatchToSpaceNDOptions"),
    same("SpaceToBatchND", "SPACE_TO_BATCH_ND", FI, "SpaceToBatchNDOptions"),
    with("SpaceToDepth", "SPACE_TO_DEPTH", FI, "SpaceToDepthOptions", BLOCK),
    with("DepthToSpace", "DEPTH_TO_SPACE", FI, "DepthToSpaceOptions", BLOCK),
    with("ResizeBilinear", "RESIZE_BILINEAR", F, "ResizeBilinearOptions", CORNERS),
    with("ResizeNearestNeighbor", "RESIZE_NEAREST_NEIGHBOR", F, "ResizeNearestNeighborOptions", CORNERS),
    with("Cumsum", "CUMSUM", FI, "CumsumOptions", &[("exclusive", "exclusive"), ("reverse", "reverse")]),
    with("Unpack", "UNPACK", ANY, "UnpackOptions", &[("num", "num"), ("axis", "axis")]),
    by("Pack", "PACK", shapes::pack),
    by("ConcatV2", "CONCATENATION", shapes::concat),
    by("Split", "SPLIT", shapes::split),
    by("SplitV", "SPLIT_V", shapes::split_v),
    by("Reshape", "RESHAPE", shapes::reshape),
    by("Squeeze", "RESHAPE", shapes::reshape),
    by("StridedSlice", "STRIDED_SLICE", shapes::strided_slice),
    by("GatherV2", "GATHER", shapes::gather),
    by("Gather", "GATHER", shapes::gather),
    by("OneHot", "ONE_HOT", shapes::one_hot),
    by("Shape", "SHAPE", shapes::shape),
    by("TopKV2", "TOPK_V2", |lower, node| plain(lower, node, "TOPK_V2", F, "TopKV2Options", &[])),
    by("ArgMax", "ARG_MAX", |lower, node| shapes::arg(lower, node, "ARG_MAX", "ArgMaxOptions")),
    by("ArgMin", "ARG_MIN", |lower, node| shapes::arg(lower, node, "ARG_MIN", "ArgMinOptions")),
    by("Identity", "its input", alias),
    by("StopGradient", "its input", alias),
    by("PreventGradient", "its input", alias),
    by("IdentityN", "its inputs", alias),
];

/// Reductions along the axes of their second input.
const REDUCTIONS: &[Row] = &[
    with("Mean", "MEAN", F, "ReducerOptions", &[("keep_dims", "keep_dims")]),
    with("Sum", "SUM", FI, "ReducerOptions", &[("keep_dims", "keep_dims")]),
    with("Max", "REDUCE_MAX", FI, "ReducerOptions", &[("keep_dims", "keep_dims")]),
    with("Min", "REDUCE_MIN", FI, "ReducerOptions", &[("keep_dims", "keep_dims")]),
    with("Prod", "REDUCE_PROD", FI, "ReducerOptions", &[("keep_dims", "keep_dims")]),
    with("Any", "REDUCE_ANY", BOOL, "ReducerOptions", &[("keep_dims", "keep_dims")]),
    with("All", "REDUCE_ALL", BOOL, "ReducerOptions", &[("keep_dims", "keep_dims")]),
];

/// Products, pools and norms.
const PRODUCTS: &[Row] = &[
    by("Conv2D", "CONV_2D", products::conv_2d),
    by("DepthwiseConv2dNative", "DEPTHWISE_CONV_2D", products::depthwise_conv_2d),
    by("Conv2DBackpropInput", "TRANSPOSE_CONV", products::transpose_conv),
    by("MatMul", "FULLY_CONNECTED", products::mat_mul),
    with("BatchMatMul", "BATCH_MATMUL", F, "BatchMatMulOptions", &[("adj_x", "adj_x"), ("adj_y", "adj_y")]),
    with("BatchMatMulV2", "BATCH_MATMUL", F, "BatchMatMulOptions", &[("adj_x", "adj_x"), ("adj_y", "adj_y")]),
    by("Einsum", "FULLY_CONNECTED, BATCH_MATMUL", products::einsum),
    by("MaxPool", "MAX_POOL_2D", |lower, node| products::pool(lower, node, "MAX_POOL_2D")),
    by("AvgPool", "AVERAGE_POOL_2D", |lower, node| products::pool(lower, node, "AVERAGE_POOL_2D")),
    by("FusedBatchNorm", "MUL, ADD", norms::batch_norm),
    by("FusedBatchNormV2", "MUL, ADD", norms::batch_norm),
    by("FusedBatchNormV3", "MUL, ADD", norms::batch_norm),
    by("LRN", "LOCAL_RESPONSE_NORMALIZATION", norms::local_response),
];

pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    [ELEMENTWISE, MOVES, REDUCTIONS, PRODUCTS].into_iter().flatten()
}

/// Adds the operators of a node.
pub(super) fn lower(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let Some(row) = all().find(|row| *row.op == *node.op) else {
        return why("TensorFlow Lite has no builtin for it");
    };
    match &row.make {
        Make::By(make) => make(lower, node),
        Make::Same { types, table, from } => {
            let mut fields = Vec::new();
            for (attr, field) in *from {
                let attr = if *attr == "keep_dims" && node.attr(attr).is_none() { "keepdims" } else { attr };
                match node.attr(attr) {
                    Some(AttrValue::Bool(value)) => fields.push((*field, OptionValue::Bool(*value))),
                    Some(AttrValue::Int(value)) => fields.push((*field, OptionValue::Int(*value))),
                    Some(AttrValue::Float(value)) => fields.push((*field, OptionValue::Float(*value))),
                    _ => {}
                }
            }
            plain(lower, node, row.builtin, types, table, &fields)
        }
    }
}

/// A builtin of a node's inputs and outputs.
pub(super) fn plain(
    lower: &mut Lower<'_>,
    node: &NodeDef,
    builtin: &'static str,
    types: &[i32],
    table: &'static str,
    fields: &[Set],
) -> Result<()> {
    let inputs = inputs(lower, node)?;
    if let Some(first) = inputs.first() {
        need_type(lower, *first, types)?;
    }
    check_format(node)?;
    let count = outputs(lower, node);
    let outputs = (0..count).map(|number| lower.output(node, number)).collect::<Result<Vec<_>>>()?;
    lower.operator(builtin, &inputs, &outputs, table, fields)
}

/// The tensors that a node takes.
pub(super) fn inputs(lower: &mut Lower<'_>, node: &NodeDef) -> Result<Vec<Id>> {
    let inputs = node.inputs.iter().filter(|input| !input.starts_with('^'));
    inputs.map(|input| lower.input_id(input)).collect()
}

/// How many outputs of a node are known.
pub(super) fn outputs(lower: &Lower<'_>, node: &NodeDef) -> usize {
    (0..).take_while(|number| lower.fact(&format!("{}:{number}", node.name)).is_some()).count().max(1)
}

/// Refuses a type that the builtin has no kernel for.
pub(super) fn need_type(lower: &Lower<'_>, id: Id, types: &[i32]) -> Result<()> {
    let found = lower.get(id).kind.data_type().unwrap_or(DataType(0));
    if types.contains(&found.0) {
        return Ok(());
    }
    why(format!("its builtin does not compute in {found}"))
}

/// Refuses channels that are not last.
pub(super) fn check_format(node: &NodeDef) -> Result<()> {
    match node.attr("data_format") {
        Some(AttrValue::Str(format)) if &**format != b"NHWC" => {
            let format = String::from_utf8_lossy(format).into_owned();
            why(format!("data_format {format}: TensorFlow Lite has channels last"))
        }
        _ => Ok(()),
    }
}

fn alias(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    for (number, id) in inputs(lower, node)?.into_iter().enumerate() {
        lower.bind(node, number, id);
    }
    Ok(())
}

fn cast(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let input = lower.input_id(first(node)?)?;
    let output = lower.output(node, 0)?;
    let kind = |lower: &Lower<'_>, id: Id| OptionValue::Int(lower.get(id).kind.0.into());
    let fields = [("in_data_type", kind(lower, input)), ("out_data_type", kind(lower, output))];
    need_type(lower, input, ANY)?;
    need_type(lower, output, ANY)?;
    lower.operator("CAST", &[input], &[output], "CastOptions", &fields)
}

/// The first input.
pub(super) fn first(node: &NodeDef) -> Result<&str> {
    node.inputs.first().map_or_else(|| why("it has no input"), |input| Ok(&**input))
}

/// An input.
pub(super) fn input(node: &NodeDef, number: usize) -> Result<&str> {
    node.inputs.get(number).map_or_else(|| why(format!("it has no input {number}")), |input| Ok(&**input))
}

/// The integers of an attribute.
pub(super) fn ints<'n>(node: &'n NodeDef, name: &str) -> &'n [i64] {
    match node.attr(name) {
        Some(AttrValue::List(ListValue::Ints(values))) => values,
        _ => &[],
    }
}

/// An integer of an attribute.
pub(super) fn int(node: &NodeDef, name: &str) -> i64 {
    match node.attr(name) {
        Some(AttrValue::Int(value)) => *value,
        _ => 0,
    }
}

/// Whether an attribute is set.
pub(super) fn truth(node: &NodeDef, name: &str) -> bool {
    matches!(node.attr(name), Some(AttrValue::Bool(true)))
}

/// A float of an attribute.
pub(super) fn float(node: &NodeDef, name: &str, default: f32) -> f32 {
    match node.attr(name) {
        Some(AttrValue::Float(value)) => *value,
        _ => default,
    }
}

/// The integers that an input is, where it is a constant.
pub(super) fn constant_ints(lower: &Lower<'_>, name: &str) -> Result<Vec<i64>> {
    let Some(tensor) = lower.constant_of(name) else {
        return why(format!("'{name}' is computed, and the builtin has it as a constant"));
    };
    let size = tensor.element_bytes().unwrap_or(0);
    let bytes = tensor.bytes().filter(|bytes| *bytes <= 1 << 12 && matches!(tensor.dtype, 3 | 9));
    let Some(bytes) = bytes else { return why(format!("'{name}' is no short list of integers")) };
    let mut values = vec![0; bytes as usize];
    let read = tensor.read_into(&lower.def.source, &mut values);
    read.map_err(|error| super::graph::Refusal::Why(error.to_string()))?;
    Ok(values
        .chunks_exact(size)
        .map(|bytes| match *bytes {
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        })
        .collect())
}
