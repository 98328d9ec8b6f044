//! Weights and activations of int8, as TensorFlow Lite's quantization specification has them: weights symmetric with a scale for
//! each output channel, biases of int32 in the scale of their product, activations with one scale and a zero point.
//!
//! An operator without a kernel for int8 computes in floats, between a DEQUANTIZE and a QUANTIZE.

use std::collections::{HashMap, HashSet};

use tightfit_core::{MemoryBudget, Quantization};
use tightfit_format::tflite::{Operator, Place, Tensor};

use super::Draft;
use super::calibrate::Calibration;
use super::values::{Scales, Value, look_at};
use super::weights::{
    FLOAT, INT8, INT32, Layer, channel_scales, constant, conversion, product, push, quantization, snr,
};
use crate::error::Error;

/// What an operator says of the scales of what it takes and makes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// A product of weights.
    Product,
    /// Any scales.
    Free,
    /// One scale for all.
    Same,
    /// Its output has this scale and zero point.
    Fixed(f32, i64),
}

/// The builtins that compute in int8, with the versions that do.
const ROWS: &[(&str, Rule, i32)] = &[
    ("CONV_2D", Rule::Product, 3),
    ("DEPTHWISE_CONV_2D", Rule::Product, 3),
    ("FULLY_CONNECTED", Rule::Product, 4),
    ("ADD", Rule::Free, 2),
    ("SUB", Rule::Free, 2),
    ("MUL", Rule::Free, 2),
    ("MEAN", Rule::Free, 2),
    ("RELU", Rule::Free, 2),
    ("RELU6", Rule::Free, 2),
    ("LEAKY_RELU", Rule::Free, 2),
    ("HARD_SWISH", Rule::Free, 1),
    ("AVERAGE_POOL_2D", Rule::Same, 2),
    ("MAX_POOL_2D", Rule::Same, 2),
    ("CONCATENATION", Rule::Same, 2),
    ("RESHAPE", Rule::Same, 1),
    ("SQUEEZE", Rule::Same, 1),
    ("EXPAND_DIMS", Rule::Same, 1),
    ("PAD", Rule::Same, 2),
    ("TRANSPOSE", Rule::Same, 2),
    ("SPLIT", Rule::Same, 2),
    ("SLICE", Rule::Same, 2),
    ("STRIDED_SLICE", Rule::Same, 2),
    ("MAXIMUM", Rule::Same, 2),
    ("MINIMUM", Rule::Same, 2),
    ("RESIZE_BILINEAR", Rule::Same, 2),
    ("RESIZE_NEAREST_NEIGHBOR", Rule::Same, 2),
    ("SOFTMAX", Rule::Fixed(1.0 / 256.0, -128), 2),
    ("LOGISTIC", Rule::Fixed(1.0 / 256.0, -128), 2),
    ("TANH", Rule::Fixed(1.0 / 128.0, 0), 2),
];

/// How many bits below the largest int32 a bias stays.
const BIAS_MOST: f64 = (1u32 << 30) as f64;

fn row(operator: &Operator) -> Option<(Rule, i32)> {
    ROWS.iter().find(|(name, ..)| *name == operator.name()).map(|(_, rule, version)| (*rule, *version))
}

/// Sets of tensors that share a scale.
struct Classes {
    parents: HashMap<i32, i32>,
}

impl Classes {
    fn root(&self, id: i32) -> i32 {
        let mut id = id;
        while let Some(parent) = self.parents.get(&id).filter(|parent| **parent != id) {
            id = *parent;
        }
        id
    }

    fn join(&mut self, a: i32, b: i32) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parents.insert(b, a);
        }
    }
}

/// A graph that becomes one of integers.
struct Full<'f> {
    draft: &'f mut Draft,
    budget: &'f MemoryBudget,
    /// The scale and zero point of each class, by its root.
    params: HashMap<i32, (f32, i64)>,
    classes: Classes,
    /// The tensor of integers for one of floats.
    integers: HashMap<i32, i32>,
    /// The weights by their tensor of floats.
    weights: HashMap<i32, (i32, Scales)>,
    /// Tensors of floats that are there as such.
    floats: HashSet<i32>,
    operators: Vec<Operator>,
    layers: Vec<Layer>,
}

/// Makes integers of a graph.
///
/// # Errors
/// What reading the weights and the memory say.
pub(super) fn quantize(
    draft: &mut Draft,
    calibration: &Calibration,
    has_integer_ports: bool,
    budget: &MemoryBudget,
) -> Result<Vec<Layer>, Error> {
    let operators = std::mem::take(&mut draft.graphs[0].operators);
    let mut ranges = calibration.ranges.clone();
    let computes: Vec<bool> = operators
        .iter()
        .map(|operator| computes(draft, operator, &mut ranges, budget))
        .collect::<Result<_, _>>()?;
    let (classes, params) = scales(draft, &operators, &computes, &ranges);
    let mut full = Full {
        draft,
        budget,
        params,
        classes,
        integers: HashMap::new(),
        weights: HashMap::new(),
        floats: HashSet::new(),
        operators: Vec::with_capacity(operators.len()),
        layers: Vec::new(),
    };
    let feeds_integers = full.inputs(&operators, &computes, has_integer_ports)?;
    for (operator, computes) in operators.into_iter().zip(computes) {
        match computes {
            true => full.integer(operator)?,
            false => full.float(operator),
        }
    }
    full.outputs(has_integer_ports)?;
    full.name(&feeds_integers);
    let Full { draft, operators, layers, .. } = full;
    draft.graphs[0].operators = operators;
    Ok(layers)
}

fn tensor(draft: &Draft, id: i32) -> Option<&Tensor> {
    draft.graphs[0].tensors.get(usize::try_from(id).ok()?)
}

fn is_float(draft: &Draft, id: i32) -> bool {
    tensor(draft, id).is_some_and(|tensor| tensor.kind == FLOAT)
}

/// Whether an operator is to compute in integers: there is a kernel, and all ranges are known. Those of constants are added.
fn computes(
    draft: &Draft,
    operator: &Operator,
    ranges: &mut HashMap<i32, (f32, f32)>,
    budget: &MemoryBudget,
) -> Result<bool, Error> {
    let Some((rule, _)) = row(operator) else { return Ok(false) };
    let has_output = operator.outputs.iter().all(|id| is_float(draft, *id) && ranges.contains_key(id));
    if !has_output {
        return Ok(false);
    }
    for (index, id) in operator.inputs.iter().enumerate() {
        let Some(tensor) = tensor(draft, *id).filter(|tensor| tensor.kind == FLOAT) else { continue };
        let place = constant(draft, tensor);
        if rule == Rule::Product && index > 0 {
            if place.is_none() {
                return Ok(false);
            }
            continue;
        }
        match place {
            Some(place) if !ranges.contains_key(id) => {
                let mut range = (0f32, 0f32);
                look_at(&draft.source, place, budget, &mut |_, value| {
                    if value.is_finite() {
                        range = (range.0.min(value), range.1.max(value));
                    }
                })?;
                ranges.insert(*id, range);
            }
            None if !ranges.contains_key(id) => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

/// Scale and zero point of a range, which 0 is made a part of.
fn params_of((least, most): (f32, f32)) -> (f32, i64) {
    let (least, most) = (f64::from(least.min(0.0)), f64::from(most.max(0.0)));
    let scale = ((most - least) / 255.0) as f32;
    if scale <= f32::MIN_POSITIVE {
        return (1.0, 0);
    }
    let zero_point = (-128.0 - least / f64::from(scale)).round().clamp(-128.0, 127.0);
    (scale, zero_point as i64)
}

/// Which tensors share a scale, and the scales.
fn scales(
    draft: &Draft,
    operators: &[Operator],
    computes: &[bool],
    ranges: &HashMap<i32, (f32, f32)>,
) -> (Classes, HashMap<i32, (f32, i64)>) {
    let mut classes = Classes { parents: HashMap::new() };
    let mut fixed: HashMap<i32, (f32, i64)> = HashMap::new();
    for (operator, _) in operators.iter().zip(computes).filter(|(_, computes)| **computes) {
        let floats = operator.outputs.iter().chain(&operator.inputs).filter(|id| is_float(draft, **id));
        match (row(operator), operator.outputs.first()) {
            (Some((Rule::Same, _)), Some(output)) => floats.for_each(|id| classes.join(*output, *id)),
            (Some((Rule::Fixed(scale, zero), _)), Some(output)) => {
                fixed.insert(*output, (scale, zero));
            }
            _ => {}
        }
    }
    let mut joined: HashMap<i32, (f32, f32)> = HashMap::new();
    for (id, range) in ranges {
        let own = joined.entry(classes.root(*id)).or_insert(*range);
        *own = (own.0.min(range.0), own.1.max(range.1));
    }
    let mut params: HashMap<i32, (f32, i64)> =
        joined.iter().map(|(root, range)| (*root, params_of(*range))).collect();
    for (id, (scale, zero)) in fixed {
        let root = classes.root(id);
        let (least, most) = ((-128 - zero) as f32 * scale, (127 - zero) as f32 * scale);
        // Where the others fit, they have the scale of that output; else it is brought to theirs.
        let fits = joined.get(&root).is_none_or(|own| own.0 >= least - scale && own.1 <= most + scale);
        if fits {
            params.insert(root, (scale, zero));
        }
    }
    (classes, params)
}

impl Full<'_> {
    fn params(&self, id: i32) -> Result<(f32, i64), Error> {
        let found = self.params.get(&self.classes.root(id)).copied();
        found.ok_or(Error::Defect("a tensor of integers has a range"))
    }

    /// Adds a tensor of integers with a scale that is like one of floats.
    fn add_like(&mut self, id: i32, (scale, zero): (f32, i64)) -> Result<i32, Error> {
        let own = tensor(self.draft, id).ok_or(Error::Defect("an operator takes what is there"))?;
        let mut integer = own.clone();
        integer.kind = INT8;
        integer.values = Place::default();
        integer.quantization = Some(Quantization::per_tensor(scale, zero));
        push(self.draft, 0, integer)
    }

    /// The integers for what callers feed. Returns the inputs that are such themselves.
    fn inputs(
        &mut self,
        operators: &[Operator],
        computes: &[bool],
        has_integer_ports: bool,
    ) -> Result<HashSet<i32>, Error> {
        let mut themselves = HashSet::new();
        for index in 0..self.draft.graphs[0].inputs.len() {
            let id = self.draft.graphs[0].inputs[index];
            let is_taken = operators.iter().zip(computes).any(|(o, c)| *c && o.inputs.contains(&id));
            if !has_integer_ports || !is_taken || !is_float(self.draft, id) {
                self.floats.insert(id);
                continue;
            }
            let integer = self.add_like(id, self.params(id)?)?;
            self.integers.insert(id, integer);
            self.draft.graphs[0].inputs[index] = integer;
            self.rename_port(id, integer);
            themselves.insert(id);
        }
        Ok(themselves)
    }

    /// Lets signatures name another tensor.
    fn rename_port(&mut self, from: i32, to: i32) {
        let signatures = self.draft.signatures.iter_mut().filter(|signature| signature.subgraph == 0);
        let ports =
            signatures.flat_map(|signature| signature.inputs.iter_mut().chain(&mut signature.outputs));
        ports.filter(|(_, number)| *number == from as u32).for_each(|(_, number)| *number = to as u32);
    }

    /// The integers for a tensor of floats, which are made where they are not there.
    fn integers_of(&mut self, id: i32) -> Result<i32, Error> {
        if let Some(integer) = self.integers.get(&id) {
            return Ok(*integer);
        }
        let params = self.params(id)?;
        let integer = self.add_like(id, params)?;
        let own = tensor(self.draft, id).ok_or(Error::Defect("an operator takes what is there"))?;
        match constant(self.draft, own) {
            Some(place) => {
                let scales = Scales { scales: vec![params.0], inner: 1, zero_point: params.1, least: -128 };
                let values = self.draft.add(Value::Int8(place, scales), place.bytes / 4)?;
                self.draft.graphs[0].tensors[integer as usize].values = values;
            }
            None => self.operators.push(conversion("QUANTIZE", 1, id, integer)),
        }
        self.integers.insert(id, integer);
        Ok(integer)
    }

    /// An operator that computes in floats.
    fn float(&mut self, operator: Operator) {
        for id in &operator.inputs {
            self.need_float(*id);
        }
        self.floats.extend(&operator.outputs);
        self.operators.push(operator);
    }

    fn need_float(&mut self, id: i32) {
        let is_constant = tensor(self.draft, id).is_some_and(|tensor| tensor.values.bytes > 0);
        if let Some(integer) = self.integers.get(&id).copied()
            && !is_constant
            && self.floats.insert(id)
        {
            self.operators.push(conversion("DEQUANTIZE", 2, integer, id));
        }
    }

    /// An operator that computes in integers.
    fn integer(&mut self, mut operator: Operator) -> Result<(), Error> {
        let Some((rule, version)) = row(&operator) else {
            return Err(Error::Defect("an operator of integers has a row"));
        };
        operator.version = operator.version.max(version);
        let floats: Vec<i32> = operator.inputs.clone();
        for (index, id) in floats.iter().enumerate() {
            let is_weight = rule == Rule::Product && index > 0;
            if is_float(self.draft, *id) && !is_weight {
                operator.inputs[index] = self.integers_of(*id)?;
            }
        }
        if rule == Rule::Product {
            self.product(&mut operator, &floats)?;
        }
        let mut behind = None;
        for index in 0..operator.outputs.len() {
            let id = operator.outputs[index];
            let params = self.params(id)?;
            let integer = self.add_like(id, params)?;
            self.integers.insert(id, integer);
            operator.outputs[index] = integer;
            if let Rule::Fixed(scale, zero) = rule
                && (scale, zero) != params
            {
                let own = self.add_like(id, (scale, zero))?;
                let tensors = &mut self.draft.graphs[0].tensors;
                tensors[own as usize].name = format!("{}/own_scale", tensors[own as usize].name).into();
                operator.outputs[index] = own;
                behind = Some(conversion("QUANTIZE", 2, own, integer));
            }
        }
        self.operators.push(operator);
        self.operators.extend(behind);
        Ok(())
    }

    /// The weight and the bias of a product.
    fn product(&mut self, operator: &mut Operator, floats: &[i32]) -> Result<(), Error> {
        let axis = product(operator).ok_or(Error::Defect("a product has a row"))?.axis;
        let missing = Error::Defect("a product has a value and a weight");
        let [value, weight, ..] = floats[..] else { return Err(missing) };
        let (scale, _) = self.params(value)?;
        let bias = floats.get(2).copied().filter(|id| *id >= 0);
        let bias_values = match bias.and_then(|id| tensor(self.draft, id)) {
            Some(tensor) => {
                let place = constant(self.draft, tensor).ok_or(Error::Defect("a bias is a constant"))?;
                let mut values = Vec::with_capacity((place.bytes / 4) as usize);
                look_at(&self.draft.source, place, self.budget, &mut |_, value| values.push(value))?;
                values
            }
            None => Vec::new(),
        };
        let (number, scales) = self.weight(operator, (weight, axis), scale, &bias_values)?;
        operator.inputs[1] = number;
        let Some(bias) = bias else { return Ok(()) };
        let of = |channel: usize| scale * scales.scales[channel.min(scales.scales.len() - 1)];
        let integers = bias_values.iter().enumerate().map(|(channel, value)| {
            let integer = f64::from(*value) / f64::from(of(channel));
            integer.round_ties_even().clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32
        });
        let bytes: Vec<u8> = integers.flat_map(i32::to_le_bytes).collect();
        let mut tensor = tensor(self.draft, bias).ok_or(Error::Defect("a bias is there"))?.clone();
        tensor.kind = INT32;
        let own =
            Scales { scales: (0..bias_values.len()).map(of).collect(), inner: 1, zero_point: 0, least: 0 };
        tensor.quantization = Some(quantization(&own, 0));
        let count = bytes.len() as u64;
        tensor.values = self.draft.add(Value::Bytes(bytes), count)?;
        tensor.name = format!("{}/int32", tensor.name).into();
        operator.inputs[2] = push(self.draft, 0, tensor)?;
        Ok(())
    }

    /// The integers of a weight, with scales in which the bias has room.
    fn weight(
        &mut self,
        operator: &Operator,
        (id, axis): (i32, usize),
        scale: f32,
        bias: &[f32],
    ) -> Result<(i32, Scales), Error> {
        if let Some((number, scales)) = self.weights.get(&id) {
            return Ok((*number, scales.clone()));
        }
        let tensor = tensor(self.draft, id).ok_or(Error::Defect("a weight is there"))?.clone();
        let place = constant(self.draft, &tensor).ok_or(Error::Defect("a weight is a constant"))?;
        let mut scales = channel_scales(self.draft, &tensor, place, axis, self.budget)?;
        for (own, bias) in scales.scales.iter_mut().zip(bias) {
            let least = f64::from(bias.abs()) / (f64::from(scale) * BIAS_MOST);
            *own = own.max(least as f32);
        }
        let snr_db =
            snr(self.draft, place, self.budget, &|e, value| scales.number(e, scales.integer(e, value)))?;
        let mut integer = tensor.clone();
        integer.kind = INT8;
        integer.quantization = Some(quantization(&scales, axis));
        integer.values = self.draft.add(Value::Int8(place, scales.clone()), place.bytes / 4)?;
        integer.name = format!("{}/int8", tensor.name).into();
        self.layers.push(Layer {
            name: tensor.name.to_string(),
            op: operator.name().to_string(),
            dtype: "int8",
            bytes: [place.bytes, place.bytes / 4],
            snr_db,
        });
        let number = push(self.draft, 0, integer)?;
        self.weights.insert(id, (number, scales.clone()));
        Ok((number, scales))
    }

    /// What is returned: floats, or the integers.
    fn outputs(&mut self, has_integer_ports: bool) -> Result<(), Error> {
        for index in 0..self.draft.graphs[0].outputs.len() {
            let id = self.draft.graphs[0].outputs[index];
            let Some(integer) = self.integers.get(&id).copied() else { continue };
            if !has_integer_ports {
                self.need_float(id);
                continue;
            }
            self.draft.graphs[0].outputs[index] = integer;
            self.rename_port(id, integer);
        }
        Ok(())
    }

    /// Integers have the name of the floats, where these are not there any more.
    fn name(&mut self, ports: &HashSet<i32>) {
        let used = self.operators.iter().flat_map(|operator| operator.inputs.iter().chain(&operator.outputs));
        let graph = &mut self.draft.graphs[0];
        let used: HashSet<i32> = used.chain(&graph.inputs).chain(&graph.outputs).copied().collect();
        for (id, integer) in &self.integers {
            if used.contains(id) && !ports.contains(id) {
                let own = &mut graph.tensors[*integer as usize];
                own.name = format!("{}/int8", own.name).into();
            }
        }
    }
}
