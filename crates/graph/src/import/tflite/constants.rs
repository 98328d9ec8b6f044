//! Tensors that have values in the file: constants, which stay there.

use tightfit_core::block_bytes;
use tightfit_format::tflite::{Place, Tensor};
use tightfit_format::{AttrValue, DataType, FormatError, InlineBytes, TensorContent, TensorDef};

use super::attrs::data_type;
use super::build::{Context, Lower, Refusal};
use super::dense;

/// The values of a tensor under a shape; `None` for one that has none.
pub(super) fn tensor_def(
    context: &Context<'_>,
    tensor: &Tensor,
    shape: &[i64],
) -> Result<Option<TensorDef>, Refusal> {
    let why = |why: String| Refusal::Why(format!("takes the constant '{}', {why}", tensor.name));
    if let Some(group) = &tensor.external {
        return Err(why(format!("whose values are in another file ('{group}'), which is not supported")));
    }
    let data_type = DataType(data_type(tensor)?);
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    let elements = elements.filter(|n| *n <= i64::MAX as u64 / 16);
    let elements = elements.ok_or_else(|| why(format!("whose shape {shape:?} is open or too large")))?;
    let Place { offset, bytes } = tensor.values;
    if bytes == 0 && elements > 0 {
        return Ok(None);
    }
    let content = match tensor.kind.bits() {
        None if data_type.0 == STRING => {
            TensorContent::Strings(strings(context, tensor, elements).map_err(why)?)
        }
        None => return Err(why(format!("of type {data_type}, which is not supported"))),
        Some(bits @ 1..8) => {
            let is_signed = tensor.kind.data_type() != Some(DataType(UINT4));
            dense::unpacked(context.source(), tensor.values, (elements, bits), is_signed, context.budget)
                .map_err(why)?
        }
        Some(bits) => match &tensor.sparsity {
            Some(sparsity) => {
                let element_bytes = (bits / 8) as usize;
                dense::of_sparse(context.source(), tensor, sparsity, element_bytes, context.budget)
                    .map_err(why)?
            }
            None if elements.checked_mul(bits / 8) == Some(bytes) => TensorContent::File { offset, bytes },
            None => {
                let found = format!("which has {bytes} bytes for {elements} elements of {data_type}");
                return Err(why(found));
            }
        },
    };
    Ok(Some(TensorDef { dtype: data_type.0, shape: shape.to_vec(), content }))
}

/// Numbers of TensorFlow's types.
const STRING: i32 = 7;
const UINT4: i32 = 30;

/// The strings of a buffer: their number, where each begins and where the last ends, and the texts.
fn strings(context: &Context<'_>, tensor: &Tensor, elements: u64) -> Result<Vec<Box<[u8]>>, String> {
    let Place { offset, bytes } = tensor.values;
    if elements == 0 {
        return Ok(Vec::new());
    }
    let damaged = || "which is damaged: its strings are not all there".to_string();
    let read = |at: u64| {
        let mut out = [0; 4];
        let is_inside = at.checked_add(4).is_some_and(|end| end <= bytes);
        let read = is_inside.then(|| context.source().read_exact_at(offset + at, &mut out).ok()).flatten();
        read.map(|()| u64::from(u32::from_le_bytes(out))).ok_or_else(damaged)
    };
    let count = read(0)?;
    if count != elements || count > bytes / 4 {
        return Err(damaged());
    }
    context.charge(bytes.saturating_add(count * 48)).map_err(|error| error.to_string())?;
    let mut texts = Vec::with_capacity(count as usize);
    for index in 0..count {
        let (from, to) = (read(4 + 4 * index)?, read(8 + 4 * index)?);
        let length = to.checked_sub(from).filter(|_| to <= bytes).ok_or_else(damaged)?;
        // Texts lie one after another, so all of them are at most the buffer.
        if index == 0 && from != 4 * (count + 2) {
            return Err(damaged());
        }
        let mut text = vec![0; length as usize].into_boxed_slice();
        context.source().read_exact_at(offset + from, &mut text).map_err(|error| error.to_string())?;
        texts.push(text);
    }
    Ok(texts)
}

/// The node output that a tensor is: what an operator has made, or a constant that is made now; `None` for a tensor that has
/// no value.
pub(super) fn value(lower: &mut Lower<'_, '_>, number: usize) -> Result<Option<Box<str>>, FormatError> {
    match made(lower, number) {
        Ok(value) => Ok(value),
        Err(Refusal::Format(error)) => Err(error),
        // Who takes it says so.
        Err(Refusal::Why(_)) => Ok(None),
    }
}

/// The same with the reason for which a constant cannot be made.
pub(super) fn made(lower: &mut Lower<'_, '_>, number: usize) -> Result<Option<Box<str>>, Refusal> {
    if let Some(Some(value)) = lower.names.values.get(number) {
        // One name may be taken by any number of inputs.
        lower.context.charge(block_bytes(value.len() as u64))?;
        return Ok(Some(value.clone()));
    }
    let Some(tensor) = lower.graph.tensors.get(number).filter(|tensor| !tensor.is_variable) else {
        return Ok(None);
    };
    let shape: Vec<i64> = tensor.shape.iter().map(|dim| i64::from(*dim)).collect();
    let Some(node) = constant(lower, tensor, &shape)? else { return Ok(None) };
    lower.names.values[number] = Some(node.clone());
    Ok(Some(node))
}

/// A constant of a tensor's values under a shape.
pub(super) fn constant(
    lower: &mut Lower<'_, '_>,
    tensor: &Tensor,
    shape: &[i64],
) -> Result<Option<Box<str>>, Refusal> {
    let Some(def) = tensor_def(lower.context, tensor, shape)? else { return Ok(None) };
    Ok(Some(push(lower, &tensor.name, def)?))
}

/// A constant of few values.
pub(super) fn inline(
    lower: &mut Lower<'_, '_>,
    name: &str,
    dtype: i32,
    shape: &[i64],
    bytes: &[u8],
) -> Result<Box<str>, FormatError> {
    let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
    push(lower, name, TensorDef { dtype, shape: shape.to_vec(), content })
}

/// Adds a constant.
pub(super) fn push(lower: &mut Lower<'_, '_>, name: &str, def: TensorDef) -> Result<Box<str>, FormatError> {
    let attrs = vec![
        ("dtype".into(), AttrValue::Type(def.dtype)),
        ("value".into(), AttrValue::Tensor(Box::new(def))),
    ];
    lower.push(name, "Const", Vec::new(), attrs)
}
