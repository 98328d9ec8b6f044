//! The bias of a product that makes up for what its weight loses.

use tightfit_core::MemoryBudget;
use tightfit_format::tflite::Operator;

use super::draft::Draft;
use super::patches::Window;
use super::values::{Value, read};
use super::weights::{constant, push};
use crate::error::Error;

/// The bias of a product, zeros where it has none; `None` for one that is no constant.
pub(super) fn bias_of(
    draft: &Draft,
    operator: &Operator,
    window: &Window,
    budget: &MemoryBudget,
) -> Result<Option<Vec<f32>>, Error> {
    let Some(id) = operator.inputs.get(2).and_then(|id| usize::try_from(*id).ok()) else {
        return Ok(Some(vec![0.0; window.outputs]));
    };
    let Some(place) = draft.graphs[0].tensors.get(id).and_then(|own| constant(draft, own)) else {
        return Ok(None);
    };
    let bias = read(&draft.source, place, budget)?;
    Ok((bias.len() == window.outputs).then_some(bias))
}

/// A bias that makes up for what is lost of the mean of each output channel.
pub(super) fn made_up_for(bias: &[f32], (before, now): (&[f32], &[f32]), means: &[f64]) -> Vec<f32> {
    let lost = |(before, now): (&[f32], &[f32])| {
        let of = |((before, now), mean): ((&f32, &f32), &f64)| (f64::from(*before) - f64::from(*now)) * mean;
        before.iter().zip(now).zip(means).map(of).sum::<f64>()
    };
    let rows = before.chunks_exact(means.len()).zip(now.chunks_exact(means.len()));
    bias.iter().zip(rows).map(|(bias, row)| (f64::from(*bias) + lost(row)) as f32).collect()
}

/// Gives a product a bias of its own.
pub(super) fn set_bias(draft: &mut Draft, operator: &mut Operator, bias: &[f32]) -> Result<(), Error> {
    let bytes: Vec<u8> = bias.iter().flat_map(|bias| bias.to_le_bytes()).collect();
    let held = bytes.len() as u64;
    let values = draft.add(Value::Bytes(bytes), held)?;
    let mut own = draft.graphs[0].tensors[operator.inputs[1] as usize].clone();
    own.name = format!("{}/bias", own.name).into();
    own.shape = vec![bias.len() as i32];
    own.signature.clear();
    own.values = values;
    let number = push(draft, 0, own)?;
    operator.inputs.truncate(2);
    operator.inputs.push(number);
    Ok(())
}
