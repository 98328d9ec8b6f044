//! Removes nodes whose output is their input: Identity, StopGradient and their like.

use super::rewrite::{forward, sweep};
use crate::ir::{Graph, ValueRef};
use crate::ops::array::identity::Identity;

/// Makes the users of each use its input. One that must wait for another node stays.
pub fn remove(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        let node = graph.node(id);
        if node.is::<Identity>().is_none() || !node.control.is_empty() {
            return None;
        }
        for (output, input) in node.inputs.clone().into_iter().enumerate() {
            forward(graph, uses, ValueRef { node: id, output: output as u32 }, input);
        }
        Some(())
    })
}
