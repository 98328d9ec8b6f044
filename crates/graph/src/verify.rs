//! Checks that a graph is whole: run after import and after every pass in tests.

use crate::error::GraphError;
use crate::fact::Fact;
use crate::infer::infer_from;
use crate::ir::{Graph, NodeId, NodeKind};

/// Checks that every reference leads to an output that exists, that nothing needs itself, and that the recorded
/// facts are what the operators infer from their inputs' facts.
///
/// # Errors
/// [`GraphError`] naming the first node that is wrong.
pub fn verify(graph: &Graph) -> Result<(), GraphError> {
    let exists = |value: &crate::ir::ValueRef| {
        graph.nodes.get(value.node.0 as usize).is_some_and(|n| (value.output as usize) < n.facts.len())
    };
    for node in &graph.nodes {
        if let Some(bad) = node.inputs.iter().find(|v| !exists(v)) {
            return Err(GraphError::Broken {
                node: node.name.to_string(),
                why: format!("its input {bad} does not exist"),
            });
        }
    }
    if let Some(port) = graph.outputs.iter().chain(&graph.inputs).find(|port| !exists(&port.value)) {
        return Err(GraphError::Broken { node: port.name.clone(), why: "this tensor does not exist".into() });
    }
    if let Some(state) = graph.states.iter().find(|state| !exists(&state.before) || !exists(&state.after)) {
        return Err(GraphError::Broken {
            node: state.name.clone(),
            why: "this variable has no value".into(),
        });
    }
    let order = graph.order().map_err(|id| GraphError::Cycle { node: graph.node(id).name.to_string() })?;
    // Inferred anew from the inputs and constants on: what was known of a value is let go of once its users are inferred.
    let mut inferred: Vec<Vec<Fact>> = vec![Vec::new(); graph.nodes.len()];
    for id in order {
        let node = graph.node(id);
        let is_let_go = matches!(node.kind, NodeKind::Constant(_)) && node.facts.is_empty();
        if is_let_go {
            continue;
        }
        let facts = facts_of(graph, id, &inferred)?;
        let same = facts.len() == node.facts.len()
            && facts.iter().zip(&node.facts).all(|(a, b)| a.dtype == b.dtype && a.dims == b.dims);
        if !same {
            return Err(GraphError::Broken {
                node: node.name.to_string(),
                why: format!("its recorded outputs {:?} are not the inferred {facts:?}", node.facts),
            });
        }
        inferred[id.0 as usize] = facts;
    }
    Ok(())
}

/// What is inferred of a node from what was inferred of the nodes before it.
fn facts_of(graph: &Graph, id: NodeId, inferred: &[Vec<Fact>]) -> Result<Vec<Fact>, GraphError> {
    let input = |value: &crate::ir::ValueRef| {
        inferred[value.node.0 as usize].get(value.output as usize).ok_or_else(|| GraphError::Broken {
            node: graph.node(id).name.to_string(),
            why: format!("nothing is inferred of its input {value}"),
        })
    };
    let inputs = graph.node(id).inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
    infer_from(graph, id, &inputs)
}
