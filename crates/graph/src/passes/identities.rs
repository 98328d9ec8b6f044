//! Removes nodes whose output is their input: Identity, StopGradient and their like.

use super::rewrite::{Uses, forward};
use crate::ir::{Graph, ValueRef};
use crate::ops::identity::Identity;

/// Makes the users of each use its input. One that must wait for another node stays.
pub fn remove(graph: &mut Graph) -> bool {
    let mut uses = Uses::new(graph);
    let mut has_changed = false;
    for id in graph.ids() {
        let node = graph.node(id);
        if node.is::<Identity>().is_none() || !node.control.is_empty() {
            continue;
        }
        for (output, input) in node.inputs.clone().into_iter().enumerate() {
            forward(graph, &mut uses, ValueRef { node: id, output: output as u16 }, input);
            has_changed = true;
        }
    }
    has_changed
}
