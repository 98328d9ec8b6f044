//! Weights of int8 and activations of int8 or int16, as TensorFlow Lite's quantization specification has them: weights symmetric
//! with a scale for each output channel, biases in the scale of their product (int32, beside int16 int64), activations with one
//! scale and, for int8, a zero point.
//!
//! An operator without a kernel for them computes in floats, between a DEQUANTIZE and a QUANTIZE.

use std::collections::{HashMap, HashSet};

use tightfit_core::{MemoryBudget, Quantization};
use tightfit_format::tflite::{Operator, Place, Tensor};

use super::bias::Means;
use super::calibrate::Calibration;
use super::draft::Draft;
use super::kinds::{FLOAT, INT8, INT32, INT64, Width};
use super::patches::Window;
use super::rows::{Rule, row};
use super::values::{Scales, Value, look_at, read};
use super::weights::{Layer, channel_scales, constant, conversion, product, push, quantization, snr};
use crate::error::Error;

/// What is wanted of a graph of integers.
pub(super) struct Wanted<'w> {
    pub calibration: &'w Calibration,
    pub width: &'static Width,
    pub has_integer_ports: bool,
    /// The means of the patches of products, in the model of floats and in that of integers; nothing where biases stay as they are.
    pub means: Option<[&'w Means; 2]>,
    /// Outputs of the operators that compute in floats although they could in integers.
    pub in_floats: &'w HashSet<i32>,
}

/// A graph of integers that has been made.
pub(super) struct Made {
    pub layers: Vec<Layer>,
    /// What the integers for a tensor of floats are called.
    pub names: HashMap<i32, String>,
}

/// How many bits below the largest int32 a bias stays.
const BIAS_MOST: f64 = (1u32 << 30) as f64;

/// The largest bias beside int16: the interpreter adds in 40 bits.
const BIAS_MOST_WIDE: f64 = (1u64 << 38) as f64;

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
    width: &'static Width,
    means: Option<[&'f Means; 2]>,
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
pub(super) fn quantize(draft: &mut Draft, wanted: &Wanted<'_>, budget: &MemoryBudget) -> Result<Made, Error> {
    let Wanted { width, has_integer_ports, means, in_floats, .. } = *wanted;
    let operators = std::mem::take(&mut draft.graphs[0].operators);
    let mut ranges = wanted.calibration.ranges.clone();
    let mut in_floats = in_floats.clone();
    let computes: Vec<bool> = operators
        .iter()
        .map(|operator| match stays(draft, operator, &mut in_floats) {
            true => Ok(false),
            false => computes(draft, operator, width, &mut ranges, budget),
        })
        .collect::<Result<_, _>>()?;
    let (classes, params) = scales(draft, &operators, &computes, width, &ranges);
    let mut full = Full {
        draft,
        budget,
        width,
        means,
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
    let Full { draft, operators, layers, integers, .. } = full;
    let graph = &mut draft.graphs[0];
    graph.operators = operators;
    let name = |integer: i32| graph.tensors[integer as usize].name.to_string();
    Ok(Made { layers, names: integers.into_iter().map(|(id, integer)| (id, name(integer))).collect() })
}

fn tensor(draft: &Draft, id: i32) -> Option<&Tensor> {
    draft.graphs[0].tensors.get(usize::try_from(id).ok()?)
}

fn is_float(draft: &Draft, id: i32) -> bool {
    tensor(draft, id).is_some_and(|tensor| tensor.kind == FLOAT)
}

/// Whether an operator is to compute in floats although it could in integers: it is one of those, or takes only what they make,
/// and then its outputs are such as well.
fn stays(draft: &Draft, operator: &Operator, in_floats: &mut HashSet<i32>) -> bool {
    if operator.outputs.iter().any(|id| in_floats.contains(id)) {
        return true;
    }
    let is_value =
        |id: &&i32| tensor(draft, **id).is_some_and(|own| own.kind == FLOAT && own.values.bytes == 0);
    let mut values = operator.inputs.iter().filter(is_value).peekable();
    if product(operator).is_some() || values.peek().is_none() || !values.all(|id| in_floats.contains(id)) {
        return false;
    }
    in_floats.extend(&operator.outputs);
    true
}

/// Whether an operator is to compute in integers: there is a kernel, and all ranges are known. Those of constants are added.
fn computes(
    draft: &Draft,
    operator: &Operator,
    width: &Width,
    ranges: &mut HashMap<i32, (f32, f32)>,
    budget: &MemoryBudget,
) -> Result<bool, Error> {
    let Some((rule, _)) = row(operator, width) else { return Ok(false) };
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

/// Which tensors share a scale, and the scales.
fn scales(
    draft: &Draft,
    operators: &[Operator],
    computes: &[bool],
    width: &Width,
    ranges: &HashMap<i32, (f32, f32)>,
) -> (Classes, HashMap<i32, (f32, i64)>) {
    let mut classes = Classes { parents: HashMap::new() };
    let mut fixed: HashMap<i32, (f32, i64)> = HashMap::new();
    for (operator, _) in operators.iter().zip(computes).filter(|(_, computes)| **computes) {
        let floats = operator.outputs.iter().chain(&operator.inputs).filter(|id| is_float(draft, **id));
        match (row(operator, width), operator.outputs.first()) {
            (Some((Rule::Same, _)), Some(output)) => floats.for_each(|id| classes.join(*output, *id)),
            (Some((Rule::Fixed(own), _)), Some(output)) => {
                fixed.insert(*output, own[width.number]);
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
        joined.iter().map(|(root, range)| (*root, width.params(*range))).collect();
    for (id, (scale, zero)) in fixed {
        let root = classes.root(id);
        let (least, most) = width.ends(scale, zero);
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
        integer.kind = self.width.kind;
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
                let bounds = self.width.bounds;
                let scales = Scales { scales: vec![params.0], inner: 1, zero_point: params.1, bounds };
                let bits = if self.width.kind == INT8 { 8 } else { 16 };
                let value = Value::Integers(place, scales, bits);
                let values = self.draft.add(value, place.bytes / 4 * u64::from(bits) / 8)?;
                self.draft.graphs[0].tensors[integer as usize].values = values;
            }
            None => self.operators.push(conversion("QUANTIZE", self.width.conversions()[0], id, integer)),
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
            self.operators.push(conversion("DEQUANTIZE", self.width.conversions()[1], integer, id));
        }
    }

    /// An operator that computes in integers.
    fn integer(&mut self, mut operator: Operator) -> Result<(), Error> {
        let Some((rule, version)) = row(&operator, self.width) else {
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
            if let Rule::Fixed(fixed) = rule
                && fixed[self.width.number] != params
            {
                let own = self.add_like(id, fixed[self.width.number])?;
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
        let mut values = match bias.and_then(|id| tensor(self.draft, id)) {
            Some(tensor) => {
                let place = constant(self.draft, tensor).ok_or(Error::Defect("a bias is a constant"))?;
                read(&self.draft.source, place, self.budget)?
            }
            None => Vec::new(),
        };
        let (number, scales) = self.weight(operator, (weight, axis), scale, &values)?;
        let added = self.added(operator, weight, &scales)?;
        operator.inputs[1] = number;
        if values.is_empty() && added.is_empty() {
            return Ok(());
        }
        values.resize(values.len().max(added.len()), 0.0);
        for (value, added) in values.iter_mut().zip(&added) {
            *value -= *added as f32;
        }
        let bias = self.bias(operator, bias, scale, &scales, &values)?;
        operator.inputs.resize(3, -1);
        operator.inputs[2] = bias;
        Ok(())
    }

    /// What rounding adds to the mean of each output channel; nothing where that is not known.
    fn added(&self, operator: &Operator, weight: i32, scales: &Scales) -> Result<Vec<f64>, Error> {
        let tensor = |id: Option<&i32>| id.and_then(|id| tensor(self.draft, *id));
        let (Some(value), Some(weight)) = (tensor(operator.inputs.first()), tensor(Some(&weight))) else {
            return Ok(Vec::new());
        };
        let output = operator.outputs.first().copied().unwrap_or(-1);
        let means = self.means.and_then(|[floats, integers]| {
            let floats = floats.get(&output)?;
            Some((floats, integers.get(&output).unwrap_or(floats)))
        });
        let (Some((floats, integers)), Some(window)) = (means, Window::of(operator, value, weight)) else {
            return Ok(Vec::new());
        };
        let place = constant(self.draft, weight).ok_or(Error::Defect("a weight is a constant"))?;
        let mut added = vec![0f64; window.outputs];
        look_at(&self.draft.source, place, self.budget, &mut |element, value| {
            let (channel, at) = window.places(element as usize);
            let rounded = scales.number(element, scales.integer(element, value));
            let (Some(own), Some(float), Some(integer)) =
                (added.get_mut(channel), floats.get(at), integers.get(at))
            else {
                return;
            };
            *own += f64::from(rounded) * integer - f64::from(value) * float;
        })?;
        Ok(added)
    }

    /// Adds a bias in the scale of its product.
    fn bias(
        &mut self,
        operator: &Operator,
        old: Option<i32>,
        scale: f32,
        weight: &Scales,
        values: &[f32],
    ) -> Result<i32, Error> {
        let of = |channel: usize| scale * weight.scales[channel.min(weight.scales.len() - 1)];
        let is_wide = self.width.kind != INT8;
        let most = if is_wide { BIAS_MOST_WIDE } else { f64::from(i32::MAX) };
        let mut bytes = Vec::with_capacity(8 * values.len());
        for (channel, value) in values.iter().enumerate() {
            let integer = f64::from(*value) / f64::from(of(channel));
            let integer = integer.round_ties_even().clamp(-most, most) as i64;
            match is_wide {
                true => bytes.extend(integer.to_le_bytes()),
                false => bytes.extend((integer as i32).to_le_bytes()),
            }
        }
        let (kind, name) = if is_wide { (INT64, "int64") } else { (INT32, "int32") };
        let own =
            Scales { scales: (0..values.len()).map(of).collect(), inner: 1, zero_point: 0, bounds: [0, 0] };
        let output = operator.outputs.first().copied().unwrap_or(-1);
        let like = tensor(self.draft, old.unwrap_or(output)).ok_or(Error::Defect("a bias is there"))?;
        let mut tensor = like.clone();
        tensor.kind = kind;
        tensor.shape = vec![values.len() as i32];
        tensor.signature = Vec::new();
        tensor.quantization = Some(quantization(&own, 0));
        let count = bytes.len() as u64;
        tensor.values = self.draft.add(Value::Bytes(bytes), count)?;
        let end = if old.is_some() { "" } else { "/bias" };
        tensor.name = format!("{}{end}/{name}", tensor.name).into();
        push(self.draft, 0, tensor)
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
        let mut scales = channel_scales(self.draft, &tensor, place, (axis, 8), self.budget)?;
        for (own, bias) in scales.scales.iter_mut().zip(bias) {
            let least = f64::from(bias.abs()) / (f64::from(scale) * BIAS_MOST);
            *own = own.max(least as f32);
        }
        let snr_db =
            snr(self.draft, place, self.budget, &|e, value| scales.number(e, scales.integer(e, value)))?;
        let mut integer = tensor.clone();
        integer.kind = INT8;
        integer.quantization = Some(quantization(&scales, axis));
        integer.values = self.draft.add(Value::Integers(place, scales.clone(), 8), place.bytes / 4)?;
        integer.name = format!("{}/int8", tensor.name).into();
        self.layers.push(Layer {
            name: tensor.name.to_string(),
            op: operator.name().to_string(),
            output: operator.outputs.first().copied().unwrap_or(-1),
            output_snr_db: None,
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
                own.name = format!("{}/{}", own.name, self.width.name).into();
            }
        }
    }
}
