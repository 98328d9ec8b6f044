//! Checks that a graph is whole: run after import and after every pass in tests.

use crate::error::GraphError;
use crate::infer::infer_node;
use crate::ir::Graph;

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
    let order = graph.order().map_err(|id| GraphError::Cycle { node: graph.node(id).name.to_string() })?;
    for id in order {
        let node = graph.node(id);
        let facts = infer_node(graph, id)?;
        let same = facts.len() == node.facts.len()
            && facts.iter().zip(&node.facts).all(|(a, b)| a.dtype == b.dtype && a.dims == b.dims);
        if !same {
            return Err(GraphError::Broken {
                node: node.name.to_string(),
                why: format!("its recorded outputs {:?} are not the inferred {facts:?}", node.facts),
            });
        }
    }
    Ok(())
}
