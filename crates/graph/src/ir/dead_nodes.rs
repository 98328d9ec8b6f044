//! Removes nodes that no fetched tensor needs.

use super::{Graph, NodeId};

/// The place of a node that is not kept.
const GONE: u32 = u32::MAX;

/// Removes them, and numbers the others in the order of computation.
pub fn remove(graph: &mut Graph) {
    let Ok(order) = graph.order() else { return };
    let mut place = vec![GONE; graph.nodes.len()];
    for (new, old) in order.iter().enumerate() {
        place[old.0 as usize] = new as u32;
    }
    for old in &order {
        let node = graph.node_mut(*old);
        let values = node.inputs.iter_mut().map(|value| &mut value.node);
        values.chain(&mut node.control).for_each(|id| *id = NodeId(place[id.0 as usize]));
    }
    let ports = graph.outputs.iter_mut().chain(&mut graph.inputs).map(|port| &mut port.value);
    let states = graph.states.iter_mut().flat_map(|state| [&mut state.before, &mut state.after]);
    for value in ports.chain(states) {
        value.node = NodeId(place[value.node.0 as usize]);
    }
    graph.effects.iter_mut().for_each(|id| *id = NodeId(place[id.0 as usize]));
    // Every exchange brings one node to its place.
    for at in 0..place.len() {
        while place[at] != GONE && place[at] as usize != at {
            let to = place[at] as usize;
            graph.nodes.swap(at, to);
            place.swap(at, to);
        }
    }
    graph.nodes.truncate(order.len());
    graph.nodes.shrink_to_fit();
}
