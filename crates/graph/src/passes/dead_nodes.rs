//! Removes nodes that no fetched tensor needs.

use crate::ir::{Graph, NodeId};

/// Removes them, and numbers the others in the order of computation.
pub fn remove(graph: &mut Graph) {
    let Ok(order) = graph.order() else { return };
    let mut place = vec![NodeId(0); graph.nodes.len()];
    for (new, old) in order.iter().enumerate() {
        place[old.0 as usize] = NodeId(new as u32);
    }
    let mut old: Vec<Option<_>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.iter().filter_map(|id| old[id.0 as usize].take()).collect();
    for node in &mut graph.nodes {
        for value in &mut node.inputs {
            value.node = place[value.node.0 as usize];
        }
        for control in &mut node.control {
            *control = place[control.0 as usize];
        }
    }
    for port in graph.outputs.iter_mut().chain(&mut graph.inputs) {
        port.value.node = place[port.value.node.0 as usize];
    }
}
