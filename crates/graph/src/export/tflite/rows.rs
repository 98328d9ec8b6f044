//! What becomes of each operator: a builtin with options out of attributes, or what a function makes.

use tightfit_format::tflite::OptionValue;
use tightfit_format::{AttrValue, NodeDef};

use super::graph::{Id, Lower, Result, why};
use super::nodes::{first, inputs, need_type, plain};
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
