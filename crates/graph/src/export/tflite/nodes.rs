//! What a node takes, makes and says, as the tables of operators ask for it.

use tightfit_format::{AttrValue, DataType, ListValue, NodeDef};

use super::graph::{Id, Lower, Refusal, Result, Set, why};

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
    read.map_err(|error| Refusal::Why(error.to_string()))?;
    Ok(values
        .chunks_exact(size)
        .map(|bytes| match *bytes {
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        })
        .collect())
}
