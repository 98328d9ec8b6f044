//! Turns nodes whose value is known into constants.
//!
//! Small values are known from inference (see [`crate::infer::infer_node`]). Of larger constants, one that is looked
//! at through another shape, or of which the first axis is sliced, becomes a constant over the same bytes of the file;
//! and what is computed from constants alone is computed here once instead of in every run, as long as it is not
//! large, nor much larger than what it is computed from, and all such results together stay within a limit.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{ALIGNMENT, BudgetError, Buffer, DType, Shape, TensorView};
use tightfit_format::TensorDef;

use super::control_edges::effects;
use tightfit_kernels::Isa;

use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES, Known};
use crate::infer::known_constant;
use crate::ir::{Constant, ConstantData, Graph, Node, NodeId, ValueRef};
use crate::operator::evaluate;
use crate::operator::{Call, Held, OpError, TensorInfo};
use crate::ops::array::slice::Slice;
use crate::ops::array::strided_slice::StridedSlice;

/// The largest result that is computed at import.
const RESULT_MAX_BYTES: usize = 1 << 20;
/// The most bytes that it is computed from.
const INPUTS_MAX_BYTES: usize = 4 << 20;
/// The most bytes of all such results of a graph: they stay in memory beside the weights.
const TOTAL_MAX_BYTES: usize = 16 << 20;
/// A result that is more than so many times its inputs is cheaper to make in each run than to keep.
const GROWTH_MAX: usize = 4;

/// Folds all that can be.
pub fn fold(graph: &mut Graph) -> bool {
    let mut has_changed = false;
    let mut replaced = HashMap::new();
    // A value that is known still waits for the checks after it, which a constant would not.
    let Some(waits) = effects(graph) else { return false };
    let mut computed_bytes: usize = graph.ids().map(|id| computed_bytes(graph.node(id))).sum();
    for id in graph.ids() {
        let node = graph.node(id);
        let is_pure = node.operator().is_some_and(|o| o.is_pure());
        // A constant is no list, whose elements it could hold.
        let has_lists = node.facts.iter().any(|fact| fact.list.is_some());
        if !is_pure || has_lists || !node.control.is_empty() || waits[id.0 as usize] {
            continue;
        }
        if node.facts.len() != 1 {
            fold_outputs(graph, id, &mut replaced);
            continue;
        }
        let folded = known_constant(graph, id)
            .or_else(|| reshaped_constant(graph, id))
            .or_else(|| sliced_constant(graph, id))
            .map_or_else(
                || computed_constant(graph, id, TOTAL_MAX_BYTES.saturating_sub(computed_bytes)),
                |c| Ok(Some(c)),
            );
        let folded = folded.unwrap_or_else(|error| {
            graph.refuse(error);
            None
        });
        if let Some(constant) = folded {
            graph.make_constant(id, constant);
            computed_bytes += self::computed_bytes(graph.node(id));
            has_changed = true;
        }
        if graph.is_refused() {
            break;
        }
    }
    let inputs = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
    let outputs = graph.outputs.iter_mut().map(|port| &mut port.value);
    let states = graph.states.iter_mut().map(|state| &mut state.after);
    for value in inputs.chain(outputs).chain(states) {
        if let Some(constant) = replaced.get(value) {
            *value = *constant;
            has_changed = true;
        }
    }
    has_changed
}

/// Makes constants of the outputs of a node that are all known, to be taken instead of them.
fn fold_outputs(graph: &mut Graph, id: NodeId, replaced: &mut HashMap<ValueRef, ValueRef>) {
    let node = graph.node(id);
    let Some(constants) = node.facts.iter().map(known_value).collect::<Option<Vec<_>>>() else { return };
    let name = node.name.clone();
    for (output, constant) in constants.into_iter().enumerate() {
        let new = graph.add_constant(&name, constant);
        replaced.insert(ValueRef { node: id, output: output as u32 }, new);
    }
}

/// Bytes of a constant in memory that is larger than values known to inference are.
fn computed_bytes(node: &Node) -> usize {
    match node.constant().map(|constant| &constant.data) {
        Some(ConstantData::Memory(bytes)) if bytes.len() > KNOWN_VALUE_MAX_BYTES => bytes.len(),
        _ => 0,
    }
}

fn known_value(fact: &Fact) -> Option<Constant> {
    match (&fact.value, fact.dims.concrete()) {
        (Some(Known::Bytes(bytes)), Some(shape)) => {
            Some(Constant::in_memory(fact.dtype, shape, bytes.clone()))
        }
        _ => None,
    }
}

/// The constant after an operator that only gives its input another shape.
fn reshaped_constant(graph: &Graph, id: NodeId) -> Option<Constant> {
    let node = graph.node(id);
    let shape = node.facts[0].dims.concrete()?;
    // The one that it is an alias of must be a constant.
    node.inputs.iter().find(|value| graph.producer(**value).constant().is_some())?;
    let infos: Option<Vec<TensorInfo>> = node
        .inputs
        .iter()
        .map(|v| {
            let fact = graph.fact(*v);
            let shape = fact.dims.concrete()?;
            Some(TensorInfo { dtype: fact.dtype, shape, is_bound: false, held: Held::Value })
        })
        .collect();
    let outputs = [TensorInfo { dtype: node.facts[0].dtype, shape, is_bound: false, held: Held::Value }];
    let call =
        Call { inputs: &infos?, outputs: &outputs, threads: 1, isa: Isa::detect(), window_bytes: usize::MAX };
    let input = node.operator()?.memory(&call).alias?;
    let constant = graph.producer(node.inputs[input]).constant()?;
    // Bytes that are shared are reserved for once.
    let held = match &constant.data {
        ConstantData::Memory(_) | ConstantData::Strings(_) => constant.held.clone(),
        ConstantData::File { .. }
        | ConstantData::Tensor { .. }
        | ConstantData::Computed(_)
        | ConstantData::Sparse(_) => None,
    };
    let data = match &constant.data {
        ConstantData::File { source, offset } => {
            ConstantData::File { source: source.clone(), offset: *offset }
        }
        ConstantData::Memory(bytes) => ConstantData::Memory(bytes.clone()),
        ConstantData::Strings(strings) => ConstantData::Strings(strings.clone()),
        ConstantData::Computed(computed) => ConstantData::Computed(computed.clone()),
        ConstantData::Sparse(sparse) => ConstantData::Sparse(sparse.clone()),
        ConstantData::Tensor { source, tensor } => {
            let dims = shape.iter().map(|d| *d as i64).collect();
            let tensor = Box::new(TensorDef { shape: dims, ..(**tensor).clone() });
            ConstantData::Tensor { source: source.clone(), tensor }
        }
    };
    Some(Constant { dtype: node.facts[0].dtype, shape, data, held })
}

/// A constant of which some rows are taken, as one of its own over their bytes in the file.
fn sliced_constant(graph: &Graph, id: NodeId) -> Option<Constant> {
    let node = graph.node(id);
    let fact = &node.facts[0];
    let shape = fact.dims.concrete().filter(|_| !fact.depends_on_data())?;
    let constant = graph.producer(*node.inputs.first()?).constant()?;
    let ConstantData::File { source, offset } = &constant.data else { return None };
    let facts = graph.input_facts(node);
    let first = match (node.is::<StridedSlice>(), node.is::<Slice>()) {
        (Some(slice), _) => slice.first_of_rows(&facts)?,
        (_, Some(slice)) => slice.first_of_rows(&facts)?,
        _ => return None,
    };
    let row_bytes = constant.shape.get(1..)?.iter().product::<usize>() * constant.dtype.bytes();
    let start = first.checked_mul(row_bytes)?;
    let end = start.checked_add(shape.elements() * constant.dtype.bytes())?;
    let data = ConstantData::File { source: source.clone(), offset: offset + start as u64 };
    (end <= constant.bytes()).then_some(Constant { dtype: constant.dtype, shape, data, held: None })
}

/// The value of a node all of whose inputs are constants, where it is small enough.
///
/// # Errors
/// [`BudgetError`] when computing it does not fit the budget: whether it is computed must not depend on that.
fn computed_constant(graph: &Graph, id: NodeId, free_bytes: usize) -> Result<Option<Constant>, BudgetError> {
    let node = graph.node(id);
    let fact = &node.facts[0];
    let is_plain = fact.dtype != DType::String && fact.list.is_none() && fact.quantization.is_none();
    let shape = fact.dims.concrete().filter(|_| !fact.depends_on_data() && is_plain);
    let input_bytes = node.inputs.iter().try_fold(0usize, |sum, value| {
        let constant = input_constant(graph, *value)?;
        sum.checked_add(constant.bytes())
    });
    let (Some(shape), Some(input_bytes)) = (shape, input_bytes) else { return Ok(None) };
    let bytes = shape.elements() * fact.dtype.bytes();
    let is_small = bytes <= RESULT_MAX_BYTES.min(free_bytes) && input_bytes <= INPUTS_MAX_BYTES;
    if !is_small || bytes > input_bytes.saturating_mul(GROWTH_MAX) {
        return Ok(None);
    }
    match compute(graph, node, input_bytes) {
        Ok(Some((shape, bytes))) => Ok(Some(Constant::in_memory(fact.dtype, shape, bytes))),
        Err(OpError::Budget(error)) => Err(error),
        // An error comes up again where the node is computed or the constant is loaded, and is reported there.
        Ok(None) | Err(_) => Ok(None),
    }
}

/// The constant that an input is, if it is of numbers.
fn input_constant(graph: &Graph, value: ValueRef) -> Option<&Arc<Constant>> {
    graph.producer(value).constant().filter(|constant| constant.dtype != DType::String)
}

fn compute(graph: &Graph, node: &Node, input_bytes: usize) -> Result<Option<(Shape, Vec<u8>)>, OpError> {
    let Some(operator) = node.operator() else { return Ok(None) };
    let room = input_bytes + node.inputs.len() * ALIGNMENT;
    // Given back before the next node is looked at.
    let mut memory = Buffer::new(graph.budget(), "values computed ahead", room)?;
    let mut rest: &mut [u8] = &mut memory;
    let mut views = Vec::with_capacity(node.inputs.len());
    for value in &node.inputs {
        let Some(constant) = input_constant(graph, *value) else { return Ok(None) };
        let bytes = constant.bytes();
        let (to, tail) = rest.split_at_mut(bytes.next_multiple_of(ALIGNMENT));
        rest = tail;
        let to = &mut to[..bytes];
        constant.read_at(0, to)?;
        let Some(view) = TensorView::new(constant.dtype, constant.shape, to) else { return Ok(None) };
        views.push(view);
    }
    Ok(evaluate(operator, &views, &node.facts, graph.budget())?.pop())
}

#[cfg(test)]
#[path = "fold_constants_tests.rs"]
mod tests;
