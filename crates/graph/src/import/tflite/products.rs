//! Convolutions, dense layers, matrix products and pools.
//!
//! A filter of TensorFlow Lite has its output channels first, `[out, height, width, in]`: it becomes TensorFlow's by a
//! Transpose, which passes make a way to read the constant.

use super::attrs::{Value, int, ints, kind, text, truth, types, why};
use super::build::Refusal;
use super::hybrid::{self, Range, Rounded};
use super::operator::Op;
use super::quantized::{self, Weight, widened};
use super::rows::{Integers, Row, row};

const WITH_FILTER: Integers = Integers::Compute;
const ALONE: Integers = Integers::Compute;

pub(super) const ROWS: &[Row] = &[
    row("CONV_2D", "Conv2D, BiasAdd", WITH_FILTER, conv_2d),
    row("DEPTHWISE_CONV_2D", "DepthwiseConv2dNative, BiasAdd", WITH_FILTER, depthwise_conv_2d),
    row("TRANSPOSE_CONV", "Conv2DBackpropInput, BiasAdd", WITH_FILTER, transpose_conv),
    row("CONV_3D", "Conv3D, BiasAdd", Integers::Own, conv_3d),
    row("CONV_3D_TRANSPOSE", "Conv3DBackpropInputV2, BiasAdd", Integers::Own, conv_3d_transpose),
    row("FULLY_CONNECTED", "MatMul, BiasAdd", WITH_FILTER, fully_connected),
    row("BATCH_MATMUL", "BatchMatMulV2", Integers::Compute, batch_matmul),
    row("AVERAGE_POOL_2D", "AvgPool", ALONE, |op| pool(op, "AvgPool")),
    row("MAX_POOL_2D", "MaxPool", ALONE, |op| pool(op, "MaxPool")),
    row("L2_POOL_2D", "Square, AvgPool, Sqrt", Integers::Own, l2_pool),
];

/// The padding of a window.
fn padding(op: &Op<'_, '_, '_>) -> Result<&'static str, Refusal> {
    match op.operator.options.int("padding") {
        0 => Ok("SAME"),
        1 => Ok("VALID"),
        other => why(format!("has the padding {other}, which schema.fbs does not have")),
    }
}

/// Height and width, as the attributes of windows have them.
fn window(op: &Op<'_, '_, '_>, names: [&str; 2]) -> [i64; 4] {
    let [height, width] = names.map(|name| op.operator.options.int(name));
    [1, height, width, 1]
}

fn strides(op: &Op<'_, '_, '_>) -> [i64; 4] {
    window(op, ["stride_h", "stride_w"])
}

fn dilations(op: &Op<'_, '_, '_>) -> [i64; 4] {
    window(op, ["dilation_h_factor", "dilation_w_factor"])
}

/// The dimensions of an input that is a filter or a weight.
fn filter_dims<const N: usize>(op: &Op<'_, '_, '_>, input: usize) -> Result<[i64; N], Refusal> {
    let shape: Vec<i64> = op.tensor(input)?.shape.iter().map(|dim| i64::from(*dim)).collect();
    let rank = shape.len();
    shape.try_into().or_else(|_| why(format!("has input {input} of rank {rank}, not {N}")))
}

/// Adds the bias, if there is one, and applies the activation: the operator's output.
fn finish(op: &mut Op<'_, '_, '_>, mut value: Value, bias: usize) -> Result<(), Refusal> {
    if op.has(bias) {
        let bias = op.input(bias)?;
        value = op.node("BiasAdd", vec![value, bias], vec![kind("T", types::F32)])?;
    }
    let value = op.activated(value, types::F32)?;
    op.bind(0, value)
}

/// Refuses an input that is not float32.
fn need_float(op: &Op<'_, '_, '_>, input: usize) -> Result<(), Refusal> {
    match op.dtype(input)? {
        types::F32 => Ok(()),
        other => why(format!("computes in {}, which is not supported", tightfit_format::DataType(other))),
    }
}

/// The values that are multiplied with a weight: those of an input, rounded where the weight is of integers.
fn beside(
    op: &mut Op<'_, '_, '_>,
    value: Value,
    weight: usize,
    axes: &[i64],
) -> Result<(Value, Option<Rounded>), Refusal> {
    let tensor = op.tensor(weight)?;
    if !matches!(op.dtype(weight)?, types::I8 | types::U8) {
        return Ok((value, None));
    }
    let is_whole = match op.operator.name() {
        "FULLY_CONNECTED" | "BATCH_MATMUL" => op.operator.options.bool("asymmetric_quantize_inputs"),
        _ => tensor.quantization.as_ref().is_some_and(|quantization| quantization.axis.is_some()),
    };
    let range = if is_whole { Range::Whole } else { Range::Symmetric };
    let rounded = hybrid::rounded(op, value, axes, range)?;
    Ok((rounded.value.clone(), Some(rounded)))
}

/// The product with the scales of both operands.
fn worth(
    op: &mut Op<'_, '_, '_>,
    product: Value,
    rounded: Option<Rounded>,
    weight: &Weight,
) -> Result<Value, Refusal> {
    let product = match rounded {
        Some(rounded) => rounded.scaled(op, product)?,
        None => product,
    };
    weight.scaled(op, product)
}

/// Activations that a node with weights of integers has: NONE, RELU, RELU_N1_TO_1 and RELU6.
const BOUNDS: std::ops::RangeInclusive<i64> = 0..=3;

/// Makes the node that rounds floats and multiplies them with weights of int8 whose output channels are this axis. False where
/// there is none for what the operator takes.
fn in_integers(op: &mut Op<'_, '_, '_>, builtin: &str, axis: usize) -> Result<bool, Refusal> {
    let weight = op.tensor(1)?;
    let Some(quantization) = &weight.quantization else { return Ok(false) };
    let is_taken = op.dtype(1)? == types::I8
        && weight.blockwise.is_none()
        && quantization.axis.is_none_or(|own| own == axis)
        && quantization.zero_points.iter().all(|zero| *zero == 0)
        && (!op.has(2) || op.dtype(2)? == types::F32)
        && BOUNDS.contains(&op.operator.options.int("fused_activation_function"));
    if is_taken {
        quantized::node(op, builtin)?;
    }
    Ok(is_taken)
}

fn conv_2d(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 0)?;
    filter_dims::<4>(op, 1)?;
    if in_integers(op, "CONV_2D", 0)? {
        return Ok(());
    }
    let input = op.input(0)?;
    let (input, rounded) = beside(op, input, 1, &[1, 2, 3])?;
    let filter = widened(op, 1, 0, None)?;
    let transposed = op.transpose(filter.value.clone(), types::F32, &[1, 2, 3, 0])?;
    let attrs = vec![
        kind("T", types::F32),
        ints("strides", &strides(op)),
        ints("dilations", &dilations(op)),
        text("padding", padding(op)?),
    ];
    let value = op.node("Conv2D", vec![input, transposed], attrs)?;
    let value = worth(op, value, rounded, &filter)?;
    finish(op, value, 2)
}

fn depthwise_conv_2d(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 0)?;
    let [one, height, width, channels] = filter_dims(op, 1)?;
    let multiplier = match (op.operator.options.int("depth_multiplier"), op.tensor(0)?.shape.last()) {
        // Older converters left it out.
        (0, Some(in_channels @ 1..)) => channels / i64::from(*in_channels),
        (multiplier, _) => multiplier,
    };
    if one != 1 || multiplier < 1 || channels % multiplier != 0 {
        return why(format!(
            "has a filter of shape {:?} for {multiplier} channels each",
            op.tensor(1)?.shape
        ));
    }
    if in_integers(op, "DEPTHWISE_CONV_2D", 3)? {
        return Ok(());
    }
    let input = op.input(0)?;
    let (input, rounded) = beside(op, input, 1, &[1, 2, 3])?;
    let filter = widened(op, 1, 3, Some(&[height, width, channels / multiplier, multiplier]))?;
    let (strides, dilations) = (strides(op), dilations(op));
    let attrs = vec![
        kind("T", types::F32),
        ints("strides", &strides),
        ints("dilations", &dilations),
        text("padding", padding(op)?),
    ];
    let value = op.node("DepthwiseConv2dNative", vec![input, filter.value.clone()], attrs)?;
    let value = worth(op, value, rounded, &filter)?;
    finish(op, value, 2)
}

/// Inputs: the output's shape, the filter `[out, height, width, in]`, the values, a bias.
fn transpose_conv(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 2)?;
    filter_dims::<4>(op, 1)?;
    let (shape, input) = (op.input(0)?, op.input(2)?);
    let filter = widened(op, 1, 0, None)?;
    let transposed = op.transpose(filter.value.clone(), types::F32, &[1, 2, 0, 3])?;
    let attrs = vec![kind("T", types::F32), ints("strides", &strides(op)), text("padding", padding(op)?)];
    let value = op.node("Conv2DBackpropInput", vec![shape, transposed, input], attrs)?;
    let value = filter.scaled(op, value)?;
    finish(op, value, 3)
}

/// Depth, height and width of a volume's window.
fn volume(op: &Op<'_, '_, '_>, names: [&str; 3]) -> [i64; 5] {
    let [depth, height, width] = names.map(|name| op.operator.options.int(name));
    [1, depth, height, width, 1]
}

fn volume_attrs(op: &Op<'_, '_, '_>) -> Result<super::attrs::Attrs, Refusal> {
    let dilations = ["dilation_d_factor", "dilation_h_factor", "dilation_w_factor"];
    Ok(vec![
        kind("T", types::F32),
        ints("strides", &volume(op, ["stride_d", "stride_h", "stride_w"])),
        ints("dilations", &volume(op, dilations)),
        text("padding", padding(op)?),
    ])
}

fn conv_3d(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 0)?;
    let (input, filter, attrs) = (op.input(0)?, op.input(1)?, volume_attrs(op)?);
    let value = op.node("Conv3D", vec![input, filter], attrs)?;
    finish(op, value, 2)
}

fn conv_3d_transpose(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 2)?;
    let (shape, filter, input, attrs) = (op.input(0)?, op.input(1)?, op.input(2)?, volume_attrs(op)?);
    let value = op.node("Conv3DBackpropInputV2", vec![shape, filter, input], attrs)?;
    finish(op, value, 3)
}

/// `[.., k]` times the weights `[n, k]`: all axes but the last are rows, and are so in the output where `keep_num_dims` says
/// so.
fn fully_connected(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 0)?;
    if op.operator.options.int("weights_format") != 0 {
        return why("has shuffled weights, which is not supported");
    }
    let [n, k] = filter_dims(op, 1)?;
    if in_integers(op, "FULLY_CONNECTED", 0)? {
        return Ok(());
    }
    let dims = op.tensor(0)?.open_shape();
    let mut value = op.input(0)?;
    let is_matrix = dims.len() == 2 && dims.last() == Some(&k);
    if !is_matrix {
        value = op.reshape(value, types::F32, &[-1, k])?;
    }
    let (value, rounded) = beside(op, value, 1, &[1])?;
    let weight = widened(op, 1, 0, None)?;
    let attrs = vec![kind("T", types::F32), truth("transpose_a", false), truth("transpose_b", true)];
    let value = op.node("MatMul", vec![value, weight.value.clone()], attrs)?;
    let mut value = worth(op, value, rounded, &weight)?;
    if op.has(2) {
        let bias = op.input(2)?;
        value = op.node("BiasAdd", vec![value, bias], vec![kind("T", types::F32)])?;
    }
    value = op.activated(value, types::F32)?;
    if op.operator.options.bool("keep_num_dims") && dims.len() != 2 {
        value = keep_dims(op, value, &dims, n)?;
    }
    op.bind(0, value)
}

/// Rows `[rows, n]` under the dimensions that they had before the last.
fn keep_dims(op: &mut Op<'_, '_, '_>, value: Value, dims: &[i64], n: i64) -> Result<Value, Refusal> {
    let Some((_, rows)) = dims.split_last() else { return why("takes a scalar") };
    let input = op.input(0)?;
    let shape = op.node("Shape", vec![input], vec![kind("T", types::F32), kind("out_type", types::I32)])?;
    let (zero, rank, last) = (op.vector(&[0])?, op.vector(&[rows.len() as i64])?, op.vector(&[n])?);
    let kept =
        op.node("Slice", vec![shape, zero, rank], vec![kind("T", types::I32), kind("Index", types::I32)])?;
    let axis = op.scalar(0)?;
    let attrs = vec![int("N", 2), kind("T", types::I32), kind("Tidx", types::I32)];
    let shape = op.node("ConcatV2", vec![kept, last, axis], attrs)?;
    op.node("Reshape", vec![value, shape], vec![kind("T", types::F32)])
}

fn batch_matmul(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let dtype = op.dtype(0)?;
    let left = op.input(0)?;
    let right = match op.dtype(1)? {
        own if own == dtype => op.input(1)?,
        _ => {
            let right = widened(op, 1, usize::MAX, None)?;
            right.whole(op)?
        }
    };
    let options = &op.operator.options;
    let attrs =
        vec![kind("T", dtype), truth("adj_x", options.bool("adj_x")), truth("adj_y", options.bool("adj_y"))];
    op.result("BatchMatMulV2", vec![left, right], attrs)
}

fn pool_attrs(op: &Op<'_, '_, '_>, dtype: i32) -> Result<super::attrs::Attrs, Refusal> {
    Ok(vec![
        kind("T", dtype),
        ints("ksize", &window(op, ["filter_height", "filter_width"])),
        ints("strides", &strides(op)),
        text("padding", padding(op)?),
    ])
}

fn pool(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, input) = (op.dtype(0)?, op.input(0)?);
    let value = op.node(name, vec![input], pool_attrs(op, dtype)?)?;
    let value = op.activated(value, dtype)?;
    op.bind(0, value)
}

fn l2_pool(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    need_float(op, 0)?;
    let input = op.input(0)?;
    let square = op.node("Square", vec![input], vec![kind("T", types::F32)])?;
    let mean = op.node("AvgPool", vec![square], pool_attrs(op, types::F32)?)?;
    let root = op.node("Sqrt", vec![mean], vec![kind("T", types::F32)])?;
    let value = op.activated(root, types::F32)?;
    op.bind(0, value)
}
