//! Which channels of a graph's values are the same: from the product that makes them to those that multiply them, through all
//! that is known to leave channels by themselves. What is not known lets them stay.

use std::collections::HashMap;

use tightfit_core::MemoryBudget;
use tightfit_format::tflite::{Operator, Place, SubGraph, Tensor};

use super::super::draft::Draft;
use super::super::kinds::{FLOAT, INT32, INT64};
use super::super::patches::Window;
use super::super::values::{Value, numbers};
use super::super::weights::{constant, product};
use super::sets::Sets;
use crate::error::Error;

/// Builtins that make each element of one alone.
const OF_ONE: [&str; 22] = [
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RELU_0_TO_1",
    "LEAKY_RELU",
    "ELU",
    "GELU",
    "TANH",
    "LOGISTIC",
    "HARD_SWISH",
    "EXP",
    "LOG",
    "SQRT",
    "RSQRT",
    "SQUARE",
    "ABS",
    "NEG",
    "SIN",
    "COS",
    "FLOOR",
    "CEIL",
    "ROUND",
];

/// Builtins that make each element of two at the same place.
const OF_TWO: [&str; 8] = ["ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"];

/// Builtins that go over places, each channel by itself.
const OF_PLACES: [&str; 7] = [
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "L2_POOL_2D",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "SPACE_TO_BATCH_ND",
    "BATCH_TO_SPACE_ND",
];

/// Builtins that join the elements of some axes.
const OF_AXES: [&str; 4] = ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"];

/// A product of all channels.
pub(super) struct Product {
    /// The operator.
    pub operator: usize,
    pub place: Place,
    pub window: Window,
    /// The channel that each of its input channels is.
    pub inputs: Vec<u32>,
    pub outputs: Vec<u32>,
}

/// A graph's channels.
pub(super) struct Flow<'f> {
    draft: &'f Draft,
    graph: &'f SubGraph,
    budget: &'f MemoryBudget,
    pub sets: Sets,
    /// The channel at each place of a tensor's last axis, of those that are computed.
    pub channels: HashMap<i32, Vec<u32>>,
    pub products: Vec<Product>,
}

impl<'f> Flow<'f> {
    /// # Errors
    /// What reading the constants says.
    pub fn of(draft: &'f Draft, budget: &'f MemoryBudget) -> Result<Flow<'f>, Error> {
        let graph = &draft.graphs[0];
        let mut flow = Flow {
            draft,
            graph,
            budget,
            sets: Sets::default(),
            channels: HashMap::new(),
            products: Vec::new(),
        };
        for id in &graph.inputs {
            let own = flow.fresh(*id);
            flow.sets.fix(&own, || "it is fed".into());
        }
        for (index, operator) in graph.operators.iter().enumerate() {
            if !flow.follow(index, operator)? {
                flow.stay(operator);
            }
        }
        for id in &graph.outputs {
            if let Some(own) = flow.channels.get(id) {
                flow.sets.fix(own, || "it is an output".into());
            }
        }
        Ok(flow)
    }

    fn tensor(&self, id: i32) -> Option<&'f Tensor> {
        self.graph.tensors.get(usize::try_from(id).ok()?)
    }

    /// A tensor's name.
    pub fn name(&self, id: i32) -> Option<&'f str> {
        self.tensor(id).map(|tensor| &*tensor.name)
    }

    /// The last input of an operator.
    pub fn last_input(&self, operator: usize) -> i32 {
        self.graph.operators[operator].inputs.last().copied().unwrap_or(-1)
    }

    /// The elements of a tensor's last axis, where their number is known.
    fn last(&self, id: i32) -> Option<usize> {
        let tensor = self.tensor(id)?;
        let is_open = tensor.signature.last().is_some_and(|dim| *dim < 0);
        tensor.shape.last().and_then(|dim| usize::try_from(*dim).ok()).filter(|count| *count > 0 && !is_open)
    }

    /// Makes channels for a tensor.
    fn fresh(&mut self, id: i32) -> Vec<u32> {
        let is_float = self.tensor(id).is_some_and(|tensor| tensor.kind == FLOAT);
        let own = self.sets.fresh(self.last(id).filter(|_| is_float).unwrap_or(0));
        if !own.is_empty() {
            self.channels.insert(id, own.clone());
        }
        own
    }

    /// The numbers of a constant of integers.
    pub fn ints(&self, id: i32) -> Result<Option<Vec<i64>>, Error> {
        let Some(tensor) = self.tensor(id) else { return Ok(None) };
        let index = usize::try_from(tensor.values.offset).ok();
        let value = index.and_then(|index| self.draft.values.get(index)).filter(|_| tensor.values.bytes > 0);
        match (value, tensor.kind) {
            (Some(Value::File(place)), INT32 | INT64) if place.bytes < 1 << 10 => {
                let words = numbers(&self.draft.source, *place, self.budget)?;
                Ok(Some(match tensor.kind {
                    INT32 => words.into_iter().map(|word| i64::from(word.cast_signed())).collect(),
                    _ => words
                        .as_chunks::<2>()
                        .0
                        .iter()
                        .map(|[low, high]| (u64::from(*low) | u64::from(*high) << 32).cast_signed())
                        .collect(),
                }))
            }
            _ => Ok(None),
        }
    }

    /// Where an operator that is not known takes or makes channels, they stay.
    fn stay(&mut self, operator: &Operator) {
        let output = operator.outputs.first().and_then(|id| self.name(*id)).unwrap_or_default();
        for id in &operator.inputs {
            if let Some(own) = self.channels.get(id) {
                self.sets.fix(own, || format!("{} makes '{output}' of it", operator.name()));
            }
        }
        for id in &operator.outputs {
            let own = self.fresh(*id);
            self.sets.fix(&own, || match product(operator) {
                Some(_) => "its weight or its bias is no constant of floats that it has alone".into(),
                None => format!("it is joined with '{output}', which {} makes", operator.name()),
            });
        }
    }

    /// Follows channels through an operator; false for one that is not known to leave them by themselves.
    fn follow(&mut self, index: usize, operator: &Operator) -> Result<bool, Error> {
        let (Some(first), Some(output)) = (operator.inputs.first(), operator.outputs.first().copied()) else {
            return Ok(false);
        };
        let value = self.channels.get(first).cloned();
        let name = operator.name();
        let made = match name {
            "CONV_2D" | "FULLY_CONNECTED" => return Ok(self.product(index, operator, value)),
            "DEPTHWISE_CONV_2D" => value.and_then(|value| self.depthwise(operator, &value)),
            "CONCATENATION" => self.concatenation(operator),
            "RESHAPE" if self.shape_is_known(operator)? => value.and_then(|own| self.merged(output, own)),
            "SQUEEZE" | "EXPAND_DIMS" => {
                value.filter(|own| self.last(output) == Some(own.len()) && own.len() > 1)
            }
            "PAD" | "PADV2" | "MIRROR_PAD" => {
                let padding = self.ints(operator.inputs.get(1).copied().unwrap_or(-1))?;
                value.filter(|_| padding.is_some_and(|own| own.ends_with(&[0, 0])))
            }
            "TRANSPOSE" => {
                let order = self.ints(operator.inputs.get(1).copied().unwrap_or(-1))?;
                value.filter(|_| {
                    order.is_some_and(|own| own.last().is_some_and(|axis| *axis == own.len() as i64 - 1))
                })
            }
            "SHAPE" => return self.is_of_leading_dims(output),
            name if OF_ONE.contains(&name) || OF_PLACES.contains(&name) => value,
            name if OF_TWO.contains(&name) => self.of_two(operator),
            name if OF_AXES.contains(&name) => {
                let axes = self.ints(operator.inputs.get(1).copied().unwrap_or(-1))?;
                let last = self.tensor(*first).map_or(0, |tensor| tensor.shape.len() as i64 - 1);
                let leaves = |axes: Vec<i64>| axes.iter().all(|axis| *axis != last && *axis != -1);
                value.filter(|_| axes.is_some_and(leaves))
            }
            _ => None,
        };
        let Some(made) = made.filter(|made| self.last(output) == Some(made.len())) else { return Ok(false) };
        self.channels.insert(output, made);
        Ok(operator.outputs.len() == 1)
    }

    /// A constant of floats with an operator to itself.
    fn own_constant(&self, id: i32) -> Option<Place> {
        let takers = self.graph.operators.iter().filter(|operator| operator.inputs.contains(&id)).count();
        constant(self.draft, self.tensor(id)?).filter(|_| takers == 1)
    }

    /// True where a bias is a constant, or none.
    fn has_plain_bias(&self, operator: &Operator) -> bool {
        let bias = operator.inputs.get(2).copied().unwrap_or(-1);
        bias < 0 || self.tensor(bias).is_some_and(|tensor| constant(self.draft, tensor).is_some())
    }

    fn product(&mut self, index: usize, operator: &Operator, value: Option<Vec<u32>>) -> bool {
        let ([first, weight, ..], [output]) = (&operator.inputs[..], &operator.outputs[..]) else {
            return false;
        };
        let Some((value, place)) = value.zip(self.own_constant(*weight)) else { return false };
        let tensors = self.tensor(*first).zip(self.tensor(*weight));
        let Some(window) = tensors.and_then(|(value, weight)| Window::of(operator, value, weight)) else {
            return false;
        };
        let is_plain = self.has_plain_bias(operator) && operator.options.int("weights_format") == 0;
        // A product of rows makes rows of what has more axes.
        if !is_plain
            || !window.channels.is_multiple_of(value.len())
            || self.last(*output) != Some(window.outputs)
        {
            return false;
        }
        let inputs = value.iter().copied().cycle().take(window.channels).collect();
        let outputs = self.fresh(*output);
        self.products.push(Product { operator: index, place, window, inputs, outputs });
        true
    }

    fn depthwise(&self, operator: &Operator, value: &[u32]) -> Option<Vec<u32>> {
        let weight = *operator.inputs.get(1)?;
        self.own_constant(weight).filter(|_| self.has_plain_bias(operator))?;
        let window = Window::of(operator, self.tensor(operator.inputs[0])?, self.tensor(weight)?)?;
        let times = window.outputs / value.len().max(1);
        Some(value.iter().flat_map(|channel| std::iter::repeat_n(*channel, times)).collect())
    }

    fn concatenation(&mut self, operator: &Operator) -> Option<Vec<u32>> {
        let lists: Vec<Vec<u32>> =
            operator.inputs.iter().map(|id| self.channels.get(id).cloned()).collect::<Option<_>>()?;
        let last = self.tensor(*operator.inputs.first()?)?.shape.len() as i64 - 1;
        let axis = operator.options.int("axis");
        if axis == last || axis == -1 {
            return Some(lists.concat());
        }
        let [first, others @ ..] = &lists[..] else { return None };
        others.iter().for_each(|own| self.sets.join(first, own));
        Some(first.clone())
    }

    fn of_two(&mut self, operator: &Operator) -> Option<Vec<u32>> {
        let [a, b] = operator.inputs[..] else { return None };
        match (self.channels.get(&a).cloned(), self.channels.get(&b).cloned()) {
            (Some(a), Some(b)) if a.len() == b.len() => {
                self.sets.join(&a, &b);
                Some(a)
            }
            (Some(own), None) => self.fits(b, own.len()).then_some(own),
            (None, Some(own)) => self.fits(a, own.len()).then_some(own),
            _ => None,
        }
    }

    /// True for a constant with an element for each channel, or one for all.
    fn fits(&self, id: i32, count: usize) -> bool {
        let Some(tensor) = self.tensor(id) else { return false };
        let last = self.last(id).unwrap_or(1);
        constant(self.draft, tensor).is_some() && (last == count || last == 1)
    }

    /// The channels of a value with another shape: the same, or those of some places one after the other.
    fn merged(&self, output: i32, value: Vec<u32>) -> Option<Vec<u32>> {
        let count = self.last(output).filter(|count| count.is_multiple_of(value.len()))?;
        Some(value.into_iter().cycle().take(count).collect())
    }

    /// True where the last number of a shape can be changed.
    fn shape_is_known(&self, operator: &Operator) -> Result<bool, Error> {
        let Some(shape) = operator.inputs.get(1).copied() else { return Ok(true) };
        Ok(self.ints(shape)?.is_some() || self.packed(shape)?.is_some())
    }

    /// The operator that packs a shape for one alone, and the last number that it takes.
    pub fn packed(&self, shape: i32) -> Result<Option<(usize, i64)>, Error> {
        let takers = self.graph.operators.iter().filter(|operator| operator.inputs.contains(&shape)).count();
        let found = self.graph.operators.iter().position(|own| own.outputs.contains(&shape));
        let Some(index) = found.filter(|_| takers == 1) else { return Ok(None) };
        let operator = &self.graph.operators[index];
        let last = operator.inputs.last().copied().filter(|_| operator.name() == "PACK").unwrap_or(-1);
        Ok(self.ints(last)?.and_then(|own| own.first().copied()).map(|last| (index, last)))
    }

    /// True where of a shape no more than single dimensions before the last are taken.
    fn is_of_leading_dims(&self, shape: i32) -> Result<bool, Error> {
        if self.graph.outputs.contains(&shape) {
            return Ok(false);
        }
        let rank = self.last(shape).unwrap_or(0) as i64;
        for operator in self.graph.operators.iter().filter(|operator| operator.inputs.contains(&shape)) {
            let [value, begin, ..] = operator.inputs[..] else { return Ok(false) };
            let begin = self.ints(begin)?.unwrap_or_default();
            let is_one = operator.name() == "STRIDED_SLICE"
                && value == shape
                && operator.options.int("shrink_axis_mask") == 1
                && operator.options.int("begin_mask") == 0;
            if !is_one || !matches!(begin[..], [at] if (0..rank - 1).contains(&at)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
