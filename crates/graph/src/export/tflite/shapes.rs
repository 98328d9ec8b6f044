//! Operators whose axes and shapes are options or constants of their builtins.

use tightfit_format::tflite::OptionValue;
use tightfit_format::{AttrValue, NodeDef};

use super::graph::{Lower, Result, why};
use super::nodes::{constant_ints, first, input, inputs, int, need_type, outputs, plain, truth};

const ANY: &[i32] = &[1, 3, 9, 10, 4, 6, 5, 19];

/// A constant shape, in which one dimension may be left to the interpreter.
pub(super) fn reshape(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let value = lower.input_id(first(node)?)?;
    need_type(lower, value, ANY)?;
    let output = lower.output(node, 0)?;
    let shape = lower.dims(output);
    let open = shape.iter().filter(|dim| **dim < 0).count();
    let is_known = lower.fact(&node.name).is_some_and(|fact| fact.dims.get().is_some());
    if is_known && open <= 1 {
        let shape_id = lower.ints(&format!("{}/shape", node.name), &shape, false);
        let Ok(shape_id) = shape_id else { return shapeless(lower, value, output) };
        let fields = [("new_shape", OptionValue::Ints(shape))];
        return lower.operator("RESHAPE", &[value, shape_id], &[output], "ReshapeOptions", &fields);
    }
    if &*node.op == "Squeeze" {
        return why("more than one dimension is open");
    }
    let shape_id = lower.input_id(input(node, 1)?)?;
    need_type(lower, shape_id, &[3])?;
    lower.operator("RESHAPE", &[value, shape_id], &[output], "ReshapeOptions", &[])
}

/// A scalar: its shape has no elements, so no constant says it.
fn shapeless(lower: &mut Lower<'_>, value: i32, output: i32) -> Result<()> {
    let fields = [("new_shape", OptionValue::Ints(Vec::new()))];
    lower.operator("RESHAPE", &[value], &[output], "ReshapeOptions", &fields)
}

pub(super) fn concat(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let mut ids = inputs(lower, node)?;
    let Some(axis) = node.inputs.iter().rfind(|input| !input.starts_with('^')) else {
        return why("it has no axis");
    };
    let axis = one(&constant_ints(lower, axis)?)?;
    ids.pop();
    if let Some(first) = ids.first() {
        need_type(lower, *first, ANY)?;
    }
    let output = lower.output(node, 0)?;
    let fields = [("axis", OptionValue::Int(axis))];
    lower.operator("CONCATENATION", &ids, &[output], "ConcatenationOptions", &fields)
}

fn one(values: &[i64]) -> Result<i64> {
    match values {
        [one] => Ok(*one),
        _ => why("its axis is not one number"),
    }
}

pub(super) fn pack(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let fields =
        [("values_count", OptionValue::Int(int(node, "N"))), ("axis", OptionValue::Int(int(node, "axis")))];
    plain(lower, node, "PACK", ANY, "PackOptions", &fields)
}

pub(super) fn split(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let ids = inputs(lower, node)?;
    if let Some(value) = ids.get(1) {
        need_type(lower, *value, ANY)?;
    }
    let count = outputs(lower, node);
    let outputs = (0..count).map(|number| lower.output(node, number)).collect::<Result<Vec<_>>>()?;
    let fields = [("num_splits", OptionValue::Int(count as i64))];
    lower.operator("SPLIT", &ids, &outputs, "SplitOptions", &fields)
}

pub(super) fn split_v(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let fields = [("num_splits", OptionValue::Int(outputs(lower, node) as i64))];
    plain(lower, node, "SPLIT_V", ANY, "SplitVOptions", &fields)
}

pub(super) fn strided_slice(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let masks = ["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
    let fields = masks.map(|mask| (mask, OptionValue::Int(int(node, mask))));
    for bound in 1..4 {
        let id = lower.input_id(input(node, bound)?)?;
        need_type(lower, id, &[3])?;
    }
    plain(lower, node, "STRIDED_SLICE", ANY, "StridedSliceOptions", &fields)
}

pub(super) fn gather(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let (value, indices) = (lower.input_id(first(node)?)?, lower.input_id(input(node, 1)?)?);
    let axis = match node.inputs.get(2).filter(|input| !input.starts_with('^')) {
        Some(axis) => one(&constant_ints(lower, axis)?)?,
        None => 0,
    };
    need_type(lower, value, ANY)?;
    need_type(lower, indices, &[3, 9])?;
    let output = lower.output(node, 0)?;
    let fields =
        [("axis", OptionValue::Int(axis)), ("batch_dims", OptionValue::Int(int(node, "batch_dims")))];
    lower.operator("GATHER", &[value, indices], &[output], "GatherOptions", &fields)
}

pub(super) fn one_hot(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let axis = if node.attr("axis").is_some() { int(node, "axis") } else { -1 };
    let fields = [("axis", OptionValue::Int(axis))];
    plain(lower, node, "ONE_HOT", &[3, 9], "OneHotOptions", &fields)
}

pub(super) fn shape(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let kind = match node.attr("out_type") {
        Some(AttrValue::Type(9)) => 4,
        _ => 2,
    };
    plain(lower, node, "SHAPE", ANY, "ShapeOptions", &[("out_type", OptionValue::Int(kind))])
}

pub(super) fn arg(
    lower: &mut Lower<'_>,
    node: &NodeDef,
    builtin: &'static str,
    table: &'static str,
) -> Result<()> {
    let kind = match node.attr("output_type") {
        Some(AttrValue::Type(3)) => 2,
        _ => 4,
    };
    plain(lower, node, builtin, &[1, 3, 10, 4, 6], table, &[("output_type", OptionValue::Int(kind))])
}

pub(super) fn mirror_pad(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let mode = match node.attr("mode") {
        Some(AttrValue::Str(mode)) if &**mode == b"SYMMETRIC" => 1,
        _ => 0,
    };
    plain(lower, node, "MIRROR_PAD", &[1, 3, 9], "MirrorPadOptions", &[("mode", OptionValue::Int(mode))])
}

/// Whether an input is to be seen transposed.
pub(super) fn is_set(node: &NodeDef, names: [&str; 2]) -> bool {
    names.iter().any(|name| truth(node, name))
}
