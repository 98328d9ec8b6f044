//! What belongs to the operator before it: a bias, an activation, and the parts of GELU.

use std::collections::HashMap;

use tightfit_format::tflite::{Operator, OptionValue};
use tightfit_format::{TensorContent, TensorDef};

use super::graph::{Id, Lower, code, needed};
use crate::error::GraphError;

/// Builtins that take a bias as their third input.
const WITH_BIAS: [&str; 3] = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"];

/// Builtins that an activation is fused to.
const WITH_ACTIVATION: [&str; 9] = [
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
];

/// Activations, with the numbers of schema.fbs.
const ACTIVATIONS: [(&str, i64); 2] = [("RELU", 1), ("RELU6", 3)];

/// Puts biases and activations where they belong.
pub(super) fn run(lower: &mut Lower<'_>) -> Result<(), GraphError> {
    gelu(lower);
    neutral(lower);
    biases(lower);
    zero_biases(lower)?;
    activations(lower);
    let mut marks = needed(&lower.graph).into_iter();
    lower.graph.operators.retain(|_| marks.next().unwrap_or(false));
    Ok(())
}

/// Who makes each tensor, and how often it is taken.
struct Uses {
    makers: HashMap<Id, usize>,
    counts: HashMap<Id, usize>,
}

impl Uses {
    fn of(lower: &Lower<'_>) -> Uses {
        let (mut makers, mut counts) = (HashMap::new(), HashMap::new());
        for (index, operator) in lower.graph.operators.iter().enumerate() {
            operator.outputs.iter().for_each(|id| {
                makers.insert(*id, index);
            });
            operator.inputs.iter().for_each(|id| *counts.entry(*id).or_insert(0) += 1);
        }
        lower.graph.outputs.iter().for_each(|id| *counts.entry(*id).or_insert(0) += 1);
        Uses { makers, counts }
    }

    fn is_only(&self, id: Id) -> bool {
        self.counts.get(&id) == Some(&1)
    }
}

fn is(operator: &Operator, name: &str) -> bool {
    operator.code == code(name) && operator.code >= 0
}

fn activation(operator: &Operator) -> i64 {
    operator.options.int("fused_activation_function")
}

/// Exchanges the tensors that two operators make, so that the first makes what the second did, and the second nothing that
/// anybody takes.
fn take_over(lower: &mut Lower<'_>, first: usize, second: usize) {
    let made = std::mem::take(&mut lower.graph.operators[second].outputs);
    lower.graph.operators[second].outputs =
        std::mem::replace(&mut lower.graph.operators[first].outputs, made);
}

fn biases(lower: &mut Lower<'_>) {
    let mut uses = Uses::of(lower);
    for index in 0..lower.graph.operators.len() {
        let operator = &lower.graph.operators[index];
        let (true, [a, b]) = (is(operator, "ADD"), &operator.inputs[..]) else { continue };
        let found = [(*a, *b), (*b, *a)].into_iter().find_map(|(product, bias)| {
            let maker = *uses.makers.get(&product)?;
            let before = &lower.graph.operators[maker];
            let takes = WITH_BIAS.iter().any(|name| is(before, name)) && before.inputs.len() == 2;
            let constant = lower.get(bias);
            let channels = i64::from(*lower.get(product).shape.last()?);
            let is_bias = constant.values.bytes == 4 * channels as u64
                && constant.kind.0 == 0
                && constant.shape.last().is_some_and(|dim| i64::from(*dim) == channels);
            (takes && is_bias && uses.is_only(product)).then_some((maker, bias, channels))
        });
        let Some((maker, bias, channels)) = found else { continue };
        // A bias is a vector there.
        let mut tensor = lower.get(bias).clone();
        tensor.shape = vec![channels as i32];
        lower.graph.tensors.push(tensor);
        let bias = lower.graph.tensors.len() as Id - 1;
        lower.graph.operators[maker].inputs.push(bias);
        take_over(lower, maker, index);
        uses.makers.insert(lower.graph.operators[maker].outputs[0], maker);
    }
}

/// Convolutions take a bias in every version of the interpreter, so those without get one of zeros.
fn zero_biases(lower: &mut Lower<'_>) -> Result<(), GraphError> {
    for index in 0..lower.graph.operators.len() {
        let operator = &lower.graph.operators[index];
        let is_convolution = is(operator, "CONV_2D") || is(operator, "DEPTHWISE_CONV_2D");
        if !is_convolution || operator.inputs.len() != 2 {
            continue;
        }
        let output = operator.outputs[0];
        let channels = lower.get(output).shape.last().copied().unwrap_or(0);
        let name = format!("{}/bias", lower.get(output).name);
        let tensor =
            TensorDef { dtype: 1, shape: vec![channels.into()], content: TensorContent::Inline(zero()) };
        let made = lower.constant(&name, super::Constant::plain(tensor), &[channels.into()]);
        let id = made.map_err(|refusal| match refusal {
            super::graph::Refusal::Over(error) => GraphError::Budget(error),
            super::graph::Refusal::Why(why) => GraphError::Broken { node: name, why },
        })?;
        lower.graph.operators[index].inputs.push(id);
    }
    Ok(())
}

/// One zero, which stands for all that are to come.
fn zero() -> tightfit_format::InlineBytes {
    tightfit_format::InlineBytes::Small([0; 4].into())
}

fn activations(lower: &mut Lower<'_>) {
    let mut uses = Uses::of(lower);
    for index in 0..lower.graph.operators.len() {
        let operator = &lower.graph.operators[index];
        let Some((_, number)) = ACTIVATIONS.iter().find(|(name, _)| is(operator, name)) else { continue };
        let Some(maker) = uses.makers.get(&operator.inputs[0]).copied() else { continue };
        let before = &lower.graph.operators[maker];
        let takes = WITH_ACTIVATION.iter().any(|name| is(before, name)) && activation(before) == 0;
        if !takes || !uses.is_only(operator.inputs[0]) || lower.get(operator.inputs[0]).kind.0 != 0 {
            continue;
        }
        let value = ("fused_activation_function", OptionValue::Int(*number));
        lower.graph.operators[maker].options.fields.push(value);
        take_over(lower, maker, index);
        uses.makers.insert(lower.graph.operators[maker].outputs[0], maker);
    }
}

/// The one number that a constant is.
fn number(lower: &Lower<'_>, id: Id) -> Option<f32> {
    let place = lower.get(id).values;
    if place.bytes != 4 || lower.get(id).kind.0 != 0 {
        return None;
    }
    let constant = lower.constants.get(usize::try_from(place.offset).ok()?)?;
    let mut bytes = [0; 4];
    constant.tensor.read_into(&lower.def.source, &mut bytes).ok()?;
    Some(f32::from_le_bytes(bytes))
}

/// Leaves out products with 1: what a swish multiplies with, for one.
fn neutral(lower: &mut Lower<'_>) {
    for index in 0..lower.graph.operators.len() {
        let operator = &lower.graph.operators[index];
        let (true, [a, b], [made]) = (is(operator, "MUL"), &operator.inputs[..], &operator.outputs[..])
        else {
            continue;
        };
        let made = *made;
        let own = [(*a, *b), (*b, *a)].into_iter().find_map(|(value, factor)| {
            let is_same =
                lower.dims(value) == lower.dims(made) && lower.get(value).kind == lower.get(made).kind;
            (is_same && number(lower, factor) == Some(1.0)).then_some(value)
        });
        let Some(own) = own.filter(|_| activation(operator) == 0 && !lower.graph.outputs.contains(&made))
        else {
            continue;
        };
        let inputs = lower.graph.operators.iter_mut().flat_map(|operator| &mut operator.inputs);
        inputs.filter(|id| **id == made).for_each(|id| *id = own);
    }
    let mut marks = needed(&lower.graph).into_iter();
    lower.graph.operators.retain(|_| marks.next().unwrap_or(false));
}

/// A value and the number that it is computed with by this operator.
fn with_number(lower: &Lower<'_>, uses: &Uses, id: Id, names: &[&str]) -> Option<(Id, f32, &'static str)> {
    const KNOWN: [&str; 3] = ["MUL", "ADD", "DIV"];
    let operator = &lower.graph.operators[*uses.makers.get(&id)?];
    let name = KNOWN.into_iter().find(|name| names.contains(name) && is(operator, name))?;
    let [a, b] = operator.inputs[..] else { return None };
    if let Some(value) = number(lower, b) {
        return Some((a, value, name));
    }
    number(lower, a).filter(|_| name != "DIV").map(|value| (b, value, name))
}

/// `0.5 x (1 + erf(x / sqrt 2))` in either order of its factors.
fn gelu(lower: &mut Lower<'_>) {
    let uses = Uses::of(lower);
    let mut found = Vec::new();
    for (index, operator) in lower.graph.operators.iter().enumerate() {
        let (true, [a, b]) = (is(operator, "MUL"), &operator.inputs[..]) else { continue };
        let value = [(*a, *b), (*b, *a)].into_iter().find_map(|(half, sum)| gelu_of(lower, &uses, half, sum));
        found.extend(value.map(|value| (index, value)));
    }
    for (index, value) in found {
        let operator = &mut lower.graph.operators[index];
        operator.code = code("GELU");
        operator.inputs = vec![value];
        operator.options.table = "GeluOptions";
        operator.options.fields.clear();
    }
    let mut marks = needed(&lower.graph).into_iter();
    lower.graph.operators.retain(|_| marks.next().unwrap_or(false));
}

/// The value that GELU is of, where `half` and `sum` are its factors: the half may be a factor of either.
fn gelu_of(lower: &Lower<'_>, uses: &Uses, half: Id, sum: Id) -> Option<Id> {
    let (value, sum) = match with_number(lower, uses, half, &["MUL"]) {
        Some((value, 0.5, _)) => (value, sum),
        _ => match with_number(lower, uses, sum, &["MUL"])? {
            (sum, 0.5, _) => (half, sum),
            _ => return None,
        },
    };
    let (erf, one, _) = with_number(lower, uses, sum, &["ADD"])?;
    let operator = &lower.graph.operators[*uses.makers.get(&erf)?];
    if one != 1.0 || operator.custom.as_deref() != Some("Erf") {
        return None;
    }
    let (own, factor, name) = with_number(lower, uses, operator.inputs[0], &["MUL", "DIV"])?;
    let factor = if name == "DIV" { 1.0 / factor } else { factor };
    ((factor - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6 && own == value).then_some(value)
}
