//! Weights of fewer bits beside activations of floats.

use std::collections::HashMap;

use tightfit_core::{MemoryBudget, Quantization};
use tightfit_format::tflite::{OPERATORS, Operator, Options, Place, Tensor};

use super::compensate::rounded;
use super::draft::Draft;
use super::hessian::Moments;
use super::kinds::{BRAIN, FLOAT, HALF, INT4, INT8};
use super::patches::Window;
use super::scheme::{Meaning, Weights};
use super::values::{Scales, Value, look_at, packed, read};
use super::watch::Watch;
use crate::compare::noise::Noise;
use crate::error::Error;

/// Weights of fewer elements stay floats: there is nothing to gain.
pub(super) const LEAST_ELEMENTS: u64 = 1024;
/// A weight that is stored in fewer bits.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Layer {
    /// The tensor.
    pub name: String,
    /// The builtin that takes it.
    pub op: String,
    /// Its type.
    pub dtype: &'static str,
    /// Bytes, before and now.
    pub bytes: [u64; 2],
    /// The power of the weight over that of what rounding adds, in dB.
    pub snr_db: f64,
    /// The power of what the builtin makes over that of what it makes differently, in dB, where there was data.
    pub output_snr_db: Option<f64>,
    /// The tensor that it makes.
    pub(super) output: i32,
}

/// A builtin whose second input is a weight: the axis of its output channels, and the version of its kernel for weights of int8
/// beside floats and for integers alone.
pub(super) struct Product {
    pub name: &'static str,
    pub axis: usize,
    pub versions: [i32; 2],
}

pub(super) const PRODUCTS: [Product; 3] = [
    Product { name: "CONV_2D", axis: 0, versions: [5, 3] },
    Product { name: "DEPTHWISE_CONV_2D", axis: 3, versions: [6, 3] },
    Product { name: "FULLY_CONNECTED", axis: 0, versions: [9, 4] },
];

pub(super) fn product(operator: &Operator) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.name == operator.name())
}

pub(super) fn code(name: &str) -> i32 {
    OPERATORS.iter().position(|own| *own == name).map_or(-1, |number| number as i32)
}

/// The floats that a constant is.
pub(super) fn constant(draft: &Draft, tensor: &Tensor) -> Option<Place> {
    let is_plain = tensor.kind == FLOAT && tensor.sparsity.is_none() && !tensor.is_variable;
    match draft.values.get(usize::try_from(tensor.values.offset).ok()?) {
        Some(Value::File(place)) if is_plain && tensor.values.bytes > 0 => Some(*place),
        _ => None,
    }
}

/// Scales for each index of an axis, of the largest magnitude there.
pub(super) fn channel_scales(
    draft: &Draft,
    tensor: &Tensor,
    place: Place,
    (axis, bits): (usize, u8),
    budget: &MemoryBudget,
) -> Result<Scales, Error> {
    let dim = |dim: &i32| u64::try_from(*dim).unwrap_or(0);
    let inner: u64 = tensor.shape.iter().skip(axis + 1).map(dim).product::<u64>().max(1);
    let channels = tensor.shape.get(axis).map_or(1, dim).max(1);
    let mut largest = vec![0f32; channels as usize];
    look_at(&draft.source, place, budget, &mut |element, value| {
        let own = &mut largest[(element / inner % channels) as usize];
        if value.is_finite() {
            *own = own.max(value.abs());
        }
    })?;
    let most = (1i16 << (bits - 1)) - 1;
    let scale = |largest: f32| if largest > 0.0 { largest / f32::from(most) } else { 1.0 };
    let bounds = [-most, most];
    Ok(Scales { scales: largest.into_iter().map(scale).collect(), inner, zero_point: 0, bounds })
}

/// How much rounding adds to a weight, in dB.
pub(super) fn snr(
    draft: &Draft,
    place: Place,
    budget: &MemoryBudget,
    round: &dyn Fn(u64, f32) -> f32,
) -> Result<f64, Error> {
    let mut noise = Noise::default();
    look_at(&draft.source, place, budget, &mut |element, value| {
        noise.add(f64::from(value), f64::from(round(element, value)));
    })?;
    Ok(noise.snr_db())
}

/// Makes integers, or float16, of the weights of products: with a model that runs over data, integers that change what products
/// make least.
///
/// # Errors
/// What reading the values and the memory say, and of a model that runs [`Moments::of`].
pub(super) fn quantize(
    draft: &mut Draft,
    meaning: &Meaning,
    watch: Option<&Watch<'_>>,
    budget: &MemoryBudget,
) -> Result<Vec<Layer>, Error> {
    let mut layers = Vec::new();
    for graph in 0..draft.graphs.len() {
        let mut made: HashMap<i32, i32> = HashMap::new();
        let mut operators = Vec::new();
        for mut operator in std::mem::take(&mut draft.graphs[graph].operators) {
            if let Some((id, axis)) = weight(draft, graph, &operator) {
                let tensor = draft.graphs[graph].tensors[id as usize].clone();
                if made.contains_key(&id) || is_large(&tensor) {
                    let number = match made.get(&id) {
                        Some(number) => *number,
                        None => {
                            let (number, layer) = narrow(
                                draft,
                                graph,
                                (&tensor, axis),
                                meaning.weights,
                                &operator,
                                (watch, budget),
                            )?;
                            layers.push(layer);
                            if !meaning.is_dynamic() {
                                operators.push(widening(draft, graph, number, id));
                            }
                            made.insert(id, number);
                            number
                        }
                    };
                    if let (true, Some(product)) = (meaning.is_dynamic(), product(&operator)) {
                        operator.inputs[1] = number;
                        operator.version = operator.version.max(product.versions[0]);
                        if product.name == "FULLY_CONNECTED" {
                            set(&mut operator.options, "asymmetric_quantize_inputs", 1);
                        }
                    }
                }
            }
            operators.push(operator);
        }
        draft.graphs[graph].operators = operators;
    }
    Ok(layers)
}

pub(super) fn set(options: &mut Options, name: &'static str, value: i64) {
    options.fields.retain(|(own, _)| *own != name);
    options.fields.push((name, tightfit_format::tflite::OptionValue::Int(value)));
}

fn is_large(tensor: &Tensor) -> bool {
    tensor.elements().is_some_and(|elements| elements >= LEAST_ELEMENTS)
}

/// The tensor that is the weight of an operator, and the axis of its output channels.
fn weight(draft: &Draft, graph: usize, operator: &Operator) -> Option<(i32, usize)> {
    let axis = product(operator)?.axis;
    let id = *operator.inputs.get(1)?;
    let tensor = draft.graphs[graph].tensors.get(usize::try_from(id).ok()?)?;
    constant(draft, tensor).map(|_| (id, axis))
}

/// Adds a tensor of the same values in fewer bits.
fn narrow(
    draft: &mut Draft,
    graph: usize,
    (tensor, axis): (&Tensor, usize),
    weights: Weights,
    operator: &Operator,
    (watch, budget): (Option<&Watch<'_>>, &MemoryBudget),
) -> Result<(i32, Layer), Error> {
    let place = constant(draft, tensor).ok_or(Error::Defect("a weight is a constant"))?;
    let elements = place.bytes / 4;
    let mut layer = Layer {
        name: tensor.name.to_string(),
        op: operator.name().to_string(),
        output: operator.outputs.first().copied().unwrap_or(-1),
        bytes: [place.bytes, 0],
        ..Layer::default()
    };
    let mut narrow = tensor.clone();
    let value = match weights {
        Weights::Half => {
            (narrow.kind, layer.dtype) = (HALF, "float16");
            layer.snr_db = snr(draft, place, budget, &|_, value| half::f16::from_f32(value).to_f32())?;
            Value::Half(place)
        }
        Weights::Brain => {
            (narrow.kind, layer.dtype) = (BRAIN, "bfloat16");
            layer.snr_db = snr(draft, place, budget, &|_, value| half::bf16::from_f32(value).to_f32())?;
            Value::Brain(place)
        }
        Weights::Integers(bits) => {
            (narrow.kind, layer.dtype) = if bits == 4 { (INT4, "int4") } else { (INT8, "int8") };
            let scales = channel_scales(draft, tensor, place, (axis, bits), budget)?;
            narrow.quantization = Some(quantization(&scales, axis));
            match watch
                .map(|watch| compensated(draft, watch, operator, place, &scales))
                .transpose()?
                .flatten()
            {
                Some((integers, snr_db)) => {
                    layer.snr_db = snr_db;
                    Value::Bytes(packed(&integers, bits))
                }
                None => {
                    let round = |e, value| scales.number(e, scales.integer(e, value));
                    layer.snr_db = snr(draft, place, budget, &round)?;
                    Value::Integers(place, scales, bits)
                }
            }
        }
    };
    let bits = match weights {
        Weights::Integers(bits) => u64::from(bits),
        Weights::Half | Weights::Brain => 16,
    };
    narrow.values = draft.add(value, (elements * bits).div_ceil(8))?;
    layer.bytes[1] = narrow.values.bytes;
    narrow.name = format!("{}/{}", tensor.name, layer.dtype).into();
    Ok((push(draft, graph, narrow)?, layer))
}

/// The integers that change what a product makes least, and how much they differ from the weight; `None` for a product of other
/// than patches.
fn compensated(
    draft: &Draft,
    watch: &Watch<'_>,
    operator: &Operator,
    place: Place,
    scales: &Scales,
) -> Result<Option<(Vec<i16>, f64)>, Error> {
    let tensor = |index: usize| watch.graph.tensors.get(usize::try_from(*operator.inputs.get(index)?).ok()?);
    let window = tensor(0).zip(tensor(1)).and_then(|(value, weight)| Window::of(operator, value, weight));
    let Some(window) = window.filter(|window| !window.is_depthwise) else { return Ok(None) };
    let _weights = watch.budget.try_reserve("a weight that is rounded", 3 * place.bytes)?;
    let (moments, _) = Moments::of(watch, operator.inputs[0], &window)?.judge(false);
    let Some(root) = moments.factored()? else { return Ok(None) };
    let mut weights = read(&draft.source, place, watch.budget)?;
    let before = weights.clone();
    let integers = rounded(&mut weights, &root, scales);
    Ok(Some((integers, Noise::between(&before, &weights).snr_db())))
}

/// The scales of a tensor's axis.
pub(super) fn quantization(scales: &Scales, axis: usize) -> Quantization {
    let count = scales.scales.len();
    Quantization {
        scales: scales.scales.clone(),
        zero_points: vec![scales.zero_point; count],
        axis: (count > 1).then_some(axis),
    }
}

/// Adds a tensor, and returns its number.
pub(super) fn push(draft: &mut Draft, graph: usize, tensor: Tensor) -> Result<i32, Error> {
    draft.account.grow(512 + 12 * tensor.quantization.as_ref().map_or(0, |q| q.scales.len() as u64))?;
    let tensors = &mut draft.graphs[graph].tensors;
    tensors.push(tensor);
    Ok(tensors.len() as i32 - 1)
}

/// The operator that makes floats of a weight, which is no constant any more.
fn widening(draft: &mut Draft, graph: usize, narrow: i32, id: i32) -> Operator {
    draft.graphs[graph].tensors[id as usize].values = Place::default();
    match draft.graphs[graph].tensors[narrow as usize].kind {
        BRAIN => conversion("CAST", 5, narrow, id),
        HALF => conversion("DEQUANTIZE", 3, narrow, id),
        INT4 => conversion("DEQUANTIZE", 6, narrow, id),
        _ => conversion("DEQUANTIZE", 5, narrow, id),
    }
}

/// An operator of one input and one output.
pub(super) fn conversion(name: &str, version: i32, from: i32, to: i32) -> Operator {
    let table = match name {
        "DEQUANTIZE" => "DequantizeOptions",
        "CAST" => "CastOptions",
        _ => "QuantizeOptions",
    };
    Operator {
        code: code(name),
        custom: None,
        version,
        inputs: vec![from],
        outputs: vec![to],
        intermediates: Vec::new(),
        options: Options { table, fields: Vec::new() },
        custom_options: Place::default(),
    }
}
