//! Removes control edges that order nothing: those to nodes after which nothing has an effect.
//!
//! A frozen graph is full of them (`^NoOp`, `^Placeholder`); those that lead to an `Assert` must stay, unless its
//! condition is known to hold.

use crate::ir::Graph;

/// For each node, whether it or anything that it needs has an effect; `None` for a graph with a cycle.
pub fn effects(graph: &Graph) -> Option<Vec<bool>> {
    let order = graph.order().ok()?;
    let mut has_effect = vec![false; graph.nodes.len()];
    for id in order {
        let node = graph.node(id);
        let mut needs = node.inputs.iter().map(|v| v.node).chain(node.control.iter().copied());
        has_effect[id.0 as usize] = graph.has_effect(node) || needs.any(|n| has_effect[n.0 as usize]);
    }
    Some(has_effect)
}

/// Removes them.
pub fn remove(graph: &mut Graph) -> bool {
    let Some(has_effect) = effects(graph) else { return false };
    let mut has_changed = false;
    for node in &mut graph.nodes {
        let before = node.control.len();
        node.control.retain(|id| has_effect[id.0 as usize]);
        has_changed |= node.control.len() != before;
    }
    has_changed
}
