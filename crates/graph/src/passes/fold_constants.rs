//! Turns nodes whose value is known into constants.
//!
//! Small values are known from inference (see [`crate::infer::infer_node`]). A large constant is never computed with;
//! only one that is looked at through another shape becomes a constant of that shape, over the same bytes of the file.

use std::sync::Arc;

use crate::fact::Known;
use crate::ir::{Constant, ConstantData, Graph, Node, NodeId, NodeKind};
use crate::operator::{Call, Place, TensorInfo};

/// Folds all that can be.
pub fn fold(graph: &mut Graph) -> bool {
    let mut has_changed = false;
    for id in graph.ids() {
        let node = graph.node(id);
        let is_pure = node.operator().is_some_and(|o| o.is_pure());
        if !is_pure || node.facts.len() != 1 || !node.control.is_empty() {
            continue;
        }
        let folded = known_constant(node).or_else(|| reshaped_constant(graph, id));
        if let Some(constant) = folded {
            let node = graph.node_mut(id);
            node.facts = vec![constant.fact()];
            node.kind = NodeKind::Constant(Arc::new(constant));
            node.inputs.clear();
            has_changed = true;
        }
    }
    has_changed
}

fn known_constant(node: &Node) -> Option<Constant> {
    let fact = &node.facts[0];
    match (&fact.value, fact.dims.concrete()) {
        (Some(Known::Bytes(bytes)), Some(shape)) => {
            Some(Constant::in_memory(fact.dtype, shape, bytes.clone()))
        }
        _ => None,
    }
}

/// The constant behind an operator that only gives its input another shape.
fn reshaped_constant(graph: &Graph, id: NodeId) -> Option<Constant> {
    let node = graph.node(id);
    let shape = node.facts[0].dims.concrete()?;
    let infos: Option<Vec<TensorInfo>> = node
        .inputs
        .iter()
        .map(|v| {
            let fact = graph.fact(*v);
            Some(TensorInfo { dtype: fact.dtype, shape: fact.dims.concrete()?, place: Place::Value })
        })
        .collect();
    let outputs = [TensorInfo { dtype: node.facts[0].dtype, shape, place: Place::Value }];
    let call = Call { inputs: &infos?, outputs: &outputs, threads: 1, window_bytes: usize::MAX };
    let input = node.operator()?.memory(&call).alias?;
    let constant = graph.producer(node.inputs[input]).constant()?;
    let data = match &constant.data {
        ConstantData::File { source, offset } => {
            ConstantData::File { source: source.clone(), offset: *offset }
        }
        ConstantData::Memory(bytes) => ConstantData::Memory(bytes.clone()),
        ConstantData::Strings(strings) => ConstantData::Strings(strings.clone()),
        ConstantData::Tensor { .. } => return None,
    };
    Some(Constant { dtype: node.facts[0].dtype, shape, data })
}
