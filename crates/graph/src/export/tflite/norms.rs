//! Norms: of constants they are a product and a sum for each channel.

use tightfit_format::NodeDef;
use tightfit_format::tflite::OptionValue;

use super::graph::{Lower, Refusal, Result, why};
use super::nodes::{check_format, first, float, input, int, need_type, plain};
use crate::passes::scale_shift::of_batch_norm;

/// The most channels that a norm may have.
const MOST_CHANNELS: u64 = 1 << 20;

/// The values of a constant vector.
fn channels(lower: &Lower<'_>, name: &str) -> Result<Vec<f32>> {
    let tensor = lower.constant_of(name).filter(|t| t.dtype == 1 && t.elements() <= MOST_CHANNELS);
    let Some(tensor) = tensor else {
        return why(format!("'{name}' is no constant: the norm is one of training"));
    };
    let mut bytes = vec![0; tensor.elements() as usize * 4];
    let read = tensor.read_into(&lower.def.source, &mut bytes);
    read.map_err(|error| Refusal::Why(error.to_string()))?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

pub(super) fn batch_norm(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    check_format(node)?;
    if !matches!(node.attr("is_training"), Some(tightfit_format::AttrValue::Bool(false))) {
        return why("it is one of training");
    }
    let value = lower.input_id(first(node)?)?;
    need_type(lower, value, &[1])?;
    let mut four = Vec::with_capacity(4);
    for number in 1..5 {
        four.push(channels(lower, input(node, number)?)?);
    }
    let [gamma, beta, mean, variance] = &four[..] else { return why("it lacks inputs") };
    if four.iter().any(|values| values.len() != gamma.len()) {
        return why("its constants are for other channels");
    }
    let (scale, shift) = of_batch_norm([gamma, beta, mean, variance], float(node, "epsilon", 1e-4));
    let [scale, shift] =
        [scale, shift].map(|values| values.into_iter().map(|x| x as f32).collect::<Vec<_>>());
    let output = lower.output(node, 0)?;
    let dims = lower.dims(output);
    let scaled = lower.like(output, &format!("{}/scaled", node.name), &dims)?;
    let scale = lower.floats(&format!("{}/scale", node.name), &scale)?;
    let shift = lower.floats(&format!("{}/shift", node.name), &shift)?;
    lower.operator("MUL", &[value, scale], &[scaled], "MulOptions", &[])?;
    lower.operator("ADD", &[scaled, shift], &[output], "AddOptions", &[])
}

pub(super) fn local_response(lower: &mut Lower<'_>, node: &NodeDef) -> Result<()> {
    let radius = if node.attr("depth_radius").is_some() { int(node, "depth_radius") } else { 5 };
    let fields = [
        ("radius", OptionValue::Int(radius)),
        ("bias", OptionValue::Float(float(node, "bias", 1.0))),
        ("alpha", OptionValue::Float(float(node, "alpha", 1.0))),
        ("beta", OptionValue::Float(float(node, "beta", 0.5))),
    ];
    plain(lower, node, "LOCAL_RESPONSE_NORMALIZATION", &[1], "LocalResponseNormalizationOptions", &fields)
}
