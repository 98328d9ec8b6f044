//! Products of weights, and pools.
//!
//! A weight has its output channels first there, so that one of another order is written transposed.

use tightfit_format::tflite::OptionValue;
use tightfit_format::{AttrValue, NodeDef};

use super::graph::{Id, Lower, Result, Set, why};
use super::nodes::{check_format, first, input, ints, need_type, plain};
use super::shapes::is_set;
use super::values::Constant;

const FLOAT: &[i32] = &[1];

fn padding(node: &NodeDef) -> Result<Set> {
    match node.attr("padding") {
        Some(AttrValue::Str(text)) if &**text == b"SAME" => Ok(("padding", OptionValue::Int(0))),
        Some(AttrValue::Str(text)) if &**text == b"VALID" => Ok(("padding", OptionValue::Int(1))),
        _ => why("its padding is neither SAME nor VALID"),
    }
}

/// Height and width of a window's attribute; 1 where nothing is said.
fn window(node: &NodeDef, name: &str) -> Result<[i64; 2]> {
    match ints(node, name) {
        [] => Ok([1, 1]),
        [1, height, width, 1] => Ok([*height, *width]),
        other => why(format!("{name} is {other:?}: builtins have windows over height and width")),
    }
}

/// The options of a window: strides, dilations, padding.
fn options(node: &NodeDef) -> Result<Vec<Set>> {
    let ([stride_h, stride_w], [dilation_h, dilation_w]) =
        (window(node, "strides")?, window(node, "dilations")?);
    Ok(vec![
        padding(node)?,
        ("stride_w", OptionValue::Int(stride_w)),
        ("stride_h", OptionValue::Int(stride_h)),
        ("dilation_w_factor", OptionValue::Int(dilation_w)),
        ("dilation_h_factor", OptionValue::Int(dilation_h)),
    ])
}

/// A constant of these dimensions as a matrix of `rows` rows, transposed, under another shape.
fn transposed(lower: &mut Lower<'_>, name: &str, rows: &[i64], columns: &[i64], shape: &[i64]) -> Result<Id> {
    let Some(tensor) = lower.constant_of(name) else {
        return why(format!("the weight '{name}' is computed, and the builtin takes a constant"));
    };
    let product = |dims: &[i64]| dims.iter().map(|dim| *dim as u64).product();
    let constant = Constant { tensor: tensor.clone(), transposed: Some([product(rows), product(columns)]) };
    lower.constant(&format!("{name}/transposed"), constant, shape)
}

/// The dimensions of the constant that a weight is.
fn weight_dims(lower: &Lower<'_>, name: &str) -> Result<Vec<i64>> {
    match lower.constant_of(name) {
        Some(tensor) => Ok(tensor.shape.clone()),
        None => why(format!("the weight '{name}' is computed, and the builtin takes a constant")),
    }
}

pub(super) fn conv_2d(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    check_format(node)?;
    let (value, filter) = (lower.input_id(first(node)?)?, input(node, 1)?);
    need_type(lower, value, FLOAT)?;
    let fields = options(node)?;
    let [height, width, depth, channels] = weight_dims(lower, filter)?[..] else {
        return why("its filter is not of four dimensions");
    };
    let shape = [channels, height, width, depth];
    let filter = transposed(lower, filter, &[height, width, depth], &[channels], &shape)?;
    let output = lower.output(node, 0)?;
    lower.operator("CONV_2D", &[value, filter], &[output], "Conv2DOptions", &fields)
}

pub(super) fn depthwise_conv_2d(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    check_format(node)?;
    let (value, filter) = (lower.input_id(first(node)?)?, input(node, 1)?);
    need_type(lower, value, FLOAT)?;
    let mut fields = options(node)?;
    let ([height, width, depth, multiplier], Some(constant)) =
        (&weight_dims(lower, filter)?[..], lower.constant_of(filter))
    else {
        return why("its filter is not of four dimensions");
    };
    // Channels and multiplier lie next to each other as they stand.
    let shape = [1, *height, *width, depth * multiplier];
    fields.push(("depth_multiplier", OptionValue::Int(*multiplier)));
    let filter = lower.constant(filter, Constant::plain(constant.clone()), &shape)?;
    let output = lower.output(node, 0)?;
    lower.operator("DEPTHWISE_CONV_2D", &[value, filter], &[output], "DepthwiseConv2DOptions", &fields)
}

pub(super) fn transpose_conv(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    check_format(node)?;
    let (sizes, filter) = (first(node)?, input(node, 1)?);
    let value = lower.input_id(input(node, 2)?)?;
    need_type(lower, value, FLOAT)?;
    let fields: Vec<Set> =
        options(node)?.into_iter().filter(|(name, _)| !name.starts_with("dilation")).collect();
    if window(node, "dilations")? != [1, 1] {
        return why("the builtin has no dilations");
    }
    let [height, width, channels, depth] = weight_dims(lower, filter)?[..] else {
        return why("its filter is not of four dimensions");
    };
    // [height x width, channels, depth] with the first two exchanged: that is no transposition of a matrix of elements
    // unless rows are `depth` wide, so it is one only for a single pixel or channel.
    if height * width != 1 && channels != 1 {
        return wide_transpose_conv(
            lower,
            node,
            value,
            sizes,
            (filter, [height, width, channels, depth]),
            &fields,
        );
    }
    let shape = [channels, height, width, depth];
    let Some(constant) = lower.constant_of(filter) else { return why("its filter is computed") };
    let filter = lower.constant(filter, Constant::plain(constant.clone()), &shape)?;
    finish_transpose_conv(lower, node, [filter, value], sizes, &fields)
}

/// The same where the filter has to be turned round by the interpreter, once, of a constant.
fn wide_transpose_conv(
    lower: &mut Lower<'_>,
    node: &NodeDef,
    value: Id,
    sizes: &str,
    (filter, [height, width, channels, depth]): (&str, [i64; 4]),
    fields: &[Set],
) -> Result<()> {
    let filter = lower.input_id(filter)?;
    let order = lower.ints(&format!("{}/order", node.name), &[2, 0, 1, 3], false)?;
    let shape = [channels, height, width, depth];
    let turned = lower.like(filter, &format!("{}/filter", node.name), &shape)?;
    lower.operator("TRANSPOSE", &[filter, order], &[turned], "TransposeOptions", &[])?;
    finish_transpose_conv(lower, node, [turned, value], sizes, fields)
}

fn finish_transpose_conv(
    lower: &mut Lower<'_>,
    node: &NodeDef,
    [filter, value]: [Id; 2],
    sizes: &str,
    fields: &[Set],
) -> Result<()> {
    let sizes = lower.input_id(sizes)?;
    need_type(lower, sizes, &[3])?;
    let output = lower.output(node, 0)?;
    lower.operator("TRANSPOSE_CONV", &[sizes, filter, value], &[output], "TransposeConvOptions", fields)
}

pub(super) fn mat_mul(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let (value, weight) = (lower.input_id(first(node)?)?, input(node, 1)?);
    need_type(lower, value, FLOAT)?;
    let (turns_left, turns_right) =
        (is_set(node, ["transpose_a", "adj_x"]), is_set(node, ["transpose_b", "adj_y"]));
    let constant = lower.constant_of(weight);
    let (Some(constant), false) = (constant, turns_left) else {
        let right = lower.input_id(weight)?;
        let output = lower.output(node, 0)?;
        let fields = [("adj_x", OptionValue::Bool(turns_left)), ("adj_y", OptionValue::Bool(turns_right))];
        return lower.operator("BATCH_MATMUL", &[value, right], &[output], "BatchMatMulOptions", &fields);
    };
    let [rows, columns] = constant.shape[..] else { return why("its weight is no matrix") };
    let weight = match turns_right {
        true => lower.input_id(weight)?,
        false => transposed(lower, weight, &[rows], &[columns], &[columns, rows])?,
    };
    let output = lower.output(node, 0)?;
    lower.operator("FULLY_CONNECTED", &[value, weight], &[output], "FullyConnectedOptions", &[])
}

pub(super) fn pool(lower: &mut Lower<'_>, node: &NodeDef, builtin: &'static str) -> Result<()> {
    let ([height, width], [stride_h, stride_w]) = (window(node, "ksize")?, window(node, "strides")?);
    let fields = [
        padding(node)?,
        ("stride_w", OptionValue::Int(stride_w)),
        ("stride_h", OptionValue::Int(stride_h)),
        ("filter_width", OptionValue::Int(width)),
        ("filter_height", OptionValue::Int(height)),
    ];
    plain(lower, node, builtin, FLOAT, "Pool2DOptions", &fields)
}

/// The axes of a product by what becomes of them.
struct Axes {
    left: Vec<char>,
    right: Vec<char>,
    output: Vec<char>,
    batch: Vec<char>,
    inner: Vec<char>,
    left_only: Vec<char>,
    right_only: Vec<char>,
}

fn axes(node: &NodeDef) -> Result<Axes> {
    let equation = match node.attr("equation") {
        Some(AttrValue::Str(text)) => String::from_utf8_lossy(text).replace(' ', ""),
        _ => return why("it has no equation"),
    };
    let parts = equation.split_once("->").and_then(|(from, to)| Some((from.split_once(',')?, to)));
    let Some(((left, right), output)) = parts else {
        return why(format!("equation {equation}: products of two operands have a builtin"));
    };
    if equation.contains('.') {
        return why(format!("equation {equation}: axes without a name are not supported"));
    }
    let list = |text: &str| text.chars().collect::<Vec<char>>();
    let (left, right, output) = (list(left), list(right), list(output));
    let mut axes = Axes {
        batch: left.iter().copied().filter(|c| right.contains(c) && output.contains(c)).collect(),
        inner: left.iter().copied().filter(|c| right.contains(c) && !output.contains(c)).collect(),
        left_only: left.iter().copied().filter(|c| !right.contains(c)).collect(),
        right_only: right.iter().copied().filter(|c| !left.contains(c)).collect(),
        left,
        right,
        output,
    };
    let is_simple = |list: &[char]| list.iter().all(|c| list.iter().filter(|d| *d == c).count() == 1);
    let all_there = axes.left_only.iter().chain(&axes.right_only).all(|c| axes.output.contains(c));
    if !is_simple(&axes.left) || !is_simple(&axes.right) || !all_there {
        return why(format!("equation {equation}: diagonals and sums have no builtin"));
    }
    // Those that the output has in another order are put in its order.
    let place = |c: &char| axes.output.iter().position(|own| own == c);
    axes.batch.sort_by_key(place);
    axes.left_only.sort_by_key(place);
    axes.right_only.sort_by_key(place);
    Ok(axes)
}

/// A product of two operands: their axes are put in order, and merged where there are several of a kind.
pub(super) fn einsum(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let axes = axes(node)?;
    let (left, right) = (lower.input_id(first(node)?)?, input(node, 1)?);
    need_type(lower, left, FLOAT)?;
    let left_dims = lower.dims(left);
    let is_weight = lower.constant_of(right).is_some() && axes.batch.is_empty();
    let right_dims = match is_weight {
        true => weight_dims(lower, right)?,
        false => {
            let id = lower.input_id(right)?;
            lower.dims(id)
        }
    };
    if left_dims.len() != axes.left.len() || right_dims.len() != axes.right.len() {
        return why("its operands have other ranks than the equation");
    }
    let find = |c: &char| {
        let of_left = axes.left.iter().position(|own| own == c).map(|at| left_dims[at]);
        of_left.or_else(|| axes.right.iter().position(|own| own == c).map(|at| right_dims[at]))
    };
    let sizes = |list: &[char]| list.iter().map(|c| find(c).unwrap_or(-1)).collect::<Vec<i64>>();
    let merged = |list: &[char]| {
        sizes(list).iter().try_fold(1i64, |n, dim| (*dim >= 0).then(|| n * dim)).unwrap_or(-1)
    };
    let (inner, rows, columns) = (merged(&axes.inner), merged(&axes.left_only), merged(&axes.right_only));
    if inner < 0 || columns < 0 {
        return why("dimensions of its operands are open");
    }
    let name = node.name.to_string();
    let parts = [&axes.batch[..], &axes.left_only, &axes.inner].concat();
    let left = order(lower, left, (&axes.left, &parts), &format!("{name}/left"))?;
    let batch = sizes(&axes.batch);
    let made = [&axes.batch[..], &axes.left_only, &axes.right_only].concat();
    let made_dims = sizes(&made);
    let product_dims = match is_weight {
        // Everything but what is summed up is a row.
        true => [sizes(&axes.left_only), vec![columns]].concat(),
        false => [batch.clone(), vec![rows, columns]].concat(),
    };
    let (left, right) = if is_weight {
        let left =
            view(lower, left, &[sizes(&axes.left_only), vec![inner]].concat(), &format!("{name}/rows"))?;
        (left, weight(lower, right, &axes, [inner, columns])?)
    } else {
        let left = view(lower, left, &[batch.clone(), vec![rows, inner]].concat(), &format!("{name}/rows"))?;
        let id = lower.input_id(right)?;
        let parts = [&axes.batch[..], &axes.inner, &axes.right_only].concat();
        let id = order(lower, id, (&axes.right, &parts), &format!("{name}/right"))?;
        (left, view(lower, id, &[batch, vec![inner, columns]].concat(), &format!("{name}/columns"))?)
    };
    let product = lower.like(left, &format!("{name}/product"), &product_dims)?;
    if is_weight {
        let fields = [("keep_num_dims", OptionValue::Bool(true))];
        lower.operator("FULLY_CONNECTED", &[left, right], &[product], "FullyConnectedOptions", &fields)?;
    } else {
        lower.operator("BATCH_MATMUL", &[left, right], &[product], "BatchMatMulOptions", &[])?;
    }
    let seen = view(lower, product, &made_dims, &format!("{name}/axes"))?;
    let result = order(lower, seen, (&made, &axes.output), &name)?;
    lower.bind(node, 0, result);
    Ok(())
}

/// The weight of a product as `[columns, inner]`.
fn weight(lower: &mut Lower<'_>, name: &str, axes: &Axes, [inner, columns]: [i64; 2]) -> Result<Id> {
    let (split, shape) = (axes.inner.len(), [columns, inner]);
    if axes.right[..split] == axes.inner && axes.right[split..] == axes.right_only {
        return transposed(lower, name, &[inner], &[columns], &shape);
    }
    let split = axes.right_only.len();
    if axes.right[..split] == axes.right_only && axes.right[split..] == axes.inner {
        let Some(tensor) = lower.constant_of(name) else { return why("its weight is computed") };
        return lower.constant(name, Constant::plain(tensor.clone()), &shape);
    }
    why("the axes of its weight are in an order that is not supported")
}

/// A value with its axes in another order.
fn order(lower: &mut Lower<'_>, id: Id, (from, to): (&[char], &[char]), name: &str) -> Result<Id> {
    if from == to {
        return Ok(id);
    }
    let places = to.iter().map(|c| from.iter().position(|own| own == c));
    let Some(places) = places.collect::<Option<Vec<_>>>() else { return why("an axis of it is nowhere") };
    let dims = lower.dims(id);
    let shape: Vec<i64> = places.iter().map(|at| dims[*at]).collect();
    let places: Vec<i64> = places.iter().map(|at| *at as i64).collect();
    let perm = lower.ints(&format!("{name}/order"), &places, false)?;
    let turned = lower.like(id, name, &shape)?;
    lower.operator("TRANSPOSE", &[id, perm], &[turned], "TransposeOptions", &[])?;
    Ok(turned)
}

/// A value under another shape, of which one dimension may be open.
fn view(lower: &mut Lower<'_>, id: Id, shape: &[i64], name: &str) -> Result<Id> {
    if lower.dims(id) == shape {
        return Ok(id);
    }
    if shape.iter().filter(|dim| **dim < 0).count() > 1 {
        return why("more than one of its dimensions is open");
    }
    let numbers = lower.ints(&format!("{name}/shape"), shape, false)?;
    let seen = lower.like(id, name, shape)?;
    let fields = [("new_shape", OptionValue::Ints(shape.to_vec()))];
    lower.operator("RESHAPE", &[id, numbers], &[seen], "ReshapeOptions", &fields)?;
    Ok(seen)
}
