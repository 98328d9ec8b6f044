//! float16 and bfloat16 for operators that compute in float32 alone: products, pools and their like get their inputs
//! converted, and what they return is rounded back, which is what TensorFlow's own kernels amount to.

use std::sync::Arc;

use tightfit_core::DType;

use crate::dim::Dims;
use crate::error::GraphError;
use crate::fact::Fact;
use crate::infer::infer_node;
use crate::ir::{Graph, Node, NodeId, NodeKind, ValueRef};
use crate::operator::Operator;
use crate::ops::array::identity::Identity;
use crate::ops::math::cast::Cast;

/// Converts around the node, which refused its inputs: returns the node whose outputs are those that it would have had,
/// or `None` when the type is not what it refused.
///
/// # Errors
/// What it refuses of the inputs in float32.
pub fn widen(graph: &mut Graph, id: NodeId) -> Option<Result<NodeId, GraphError>> {
    let inputs = graph.node(id).inputs.clone();
    let half_of = |graph: &Graph, value: &ValueRef| {
        Some(graph.fact(*value).dtype).filter(|dtype| matches!(dtype, DType::F16 | DType::BF16))
    };
    let half = inputs.iter().find_map(|value| half_of(graph, value))?;
    let operator = graph.node(id).operator()?;
    let narrows_again = operator.narrows_again();
    // What the operator takes of open shapes it refused for its shape: converted it would be something else. A type that it
    // does not take converted either is not what the file has.
    let takes = |converted: bool| {
        let open = inputs.iter().map(|value| match half_of(graph, value) {
            Some(_) if converted => Fact::new(DType::F32, Dims::UNKNOWN),
            Some(half) => Fact::new(half, Dims::UNKNOWN),
            None => graph.fact(*value).clone(),
        });
        let open: Vec<Fact> = open.collect();
        operator.infer(&open.iter().collect::<Vec<_>>()).is_ok()
    };
    if takes(false) || !takes(true) {
        return None;
    }
    // Where some inputs are float32 by themselves, as a batch norm's statistics, so are the outputs that belong to them.
    let is_mixed = inputs.iter().any(|value| graph.fact(*value).dtype == DType::F32);
    let mut widened = Vec::new();
    for value in &inputs {
        widened.push(match half_of(graph, value) {
            Some(_) => cast(graph, id, *value, DType::F32)?,
            None => *value,
        });
    }
    graph.node_mut(id).inputs = widened;
    let facts = match infer_node(graph, id) {
        Ok(facts) => facts,
        Err(why) => {
            graph.node_mut(id).inputs = inputs;
            return Some(Err(why));
        }
    };
    graph.node_mut(id).facts = facts.clone();
    let mut outputs = Vec::new();
    for (output, fact) in facts.iter().enumerate() {
        let value = ValueRef { node: id, output: output as u32 };
        let is_half = fact.dtype == DType::F32 && narrows_again && (output == 0 || !is_mixed);
        outputs.push(if is_half { cast(graph, id, value, half)? } else { value });
    }
    match outputs[..] {
        [one] => Some(Ok(one.node)),
        _ => add(graph, id, Arc::new(Identity), outputs).map(Ok),
    }
}

fn cast(graph: &mut Graph, id: NodeId, value: ValueRef, to: DType) -> Option<ValueRef> {
    add(graph, id, Arc::new(Cast { to }), vec![value]).map(ValueRef::of)
}

/// A node under the name of `id`.
fn add(graph: &mut Graph, id: NodeId, operator: Arc<dyn Operator>, inputs: Vec<ValueRef>) -> Option<NodeId> {
    let name = graph.node(id).name.clone();
    let node = Node { name, kind: NodeKind::Operator(operator), inputs, control: vec![], facts: vec![] };
    let added = graph.add(node);
    graph.node_mut(added).facts = infer_node(graph, added).ok()?;
    Some(added)
}
