//! What a body is given: variables that no turn changes become captures, captures that are constants stand in the bodies
//! themselves, and what no body reads is not given. So a weight that a loop is given has the layout of the product that uses
//! it, once for all turns.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ir::{Graph, NodeId, NodeKind, RegionKind, ValueRef};

/// Does all of that for every node with bodies.
pub fn simplify(graph: &mut Graph) -> bool {
    let mut has_changed = false;
    let mut renamed = HashMap::new();
    for id in graph.regions() {
        has_changed |= free_variables(graph, id, &mut renamed);
        has_changed |= take_in_constants(graph, id);
        has_changed |= drop_unread(graph, id);
    }
    rename(graph, &renamed);
    has_changed
}

/// Makes captures of the variables whose next value is the one they have. What they are after the loop is what they were
/// before it.
fn free_variables(graph: &mut Graph, id: NodeId, renamed: &mut HashMap<ValueRef, ValueRef>) -> bool {
    let inputs = graph.node(id).inputs.clone();
    let Some(region) = graph.region_mut(id).filter(|region| region.kind == RegionKind::Loop) else {
        return false;
    };
    let [_, body] = &region.bodies[..] else { return false };
    let is_free: Vec<bool> =
        (0..body.outputs.len()).map(|v| body.outputs[v].value == body.inputs[v].value).collect();
    if !is_free.contains(&true) {
        return false;
    }
    // Variables that change, then those that do not, then the captures.
    let (free, kept): (Vec<usize>, Vec<usize>) = (0..is_free.len()).partition(|v| is_free[*v]);
    let order: Vec<usize> = kept.iter().chain(&free).copied().chain(is_free.len()..inputs.len()).collect();
    for body in &mut region.bodies {
        body.inputs = order.iter().map(|input| body.inputs[*input].clone()).collect();
    }
    if let Some(body) = region.bodies.get_mut(1) {
        body.outputs = kept.iter().map(|output| body.outputs[*output].clone()).collect();
    }
    let value = |output: usize| ValueRef { node: id, output: output as u32 };
    renamed.extend(free.iter().map(|variable| (value(*variable), inputs[*variable])));
    renamed.extend(kept.iter().enumerate().map(|(new, old)| (value(*old), value(new))));
    let node = graph.node_mut(id);
    node.inputs = order.iter().map(|input| inputs[*input]).collect();
    node.facts = kept.iter().map(|output| node.facts[*output].clone()).collect();
    true
}

/// Puts constants that a body is given into the body.
fn take_in_constants(graph: &mut Graph, id: NodeId) -> bool {
    let inputs = graph.node(id).inputs.clone();
    let Some(region) = graph.node(id).region() else { return false };
    let captures = region.kind.own_inputs() + region.variables()..inputs.len();
    let constants: Vec<(usize, _)> = captures
        .filter_map(|input| {
            let producer = graph.producer(inputs[input]);
            producer.constant().filter(|_| !producer.facts.is_empty()).map(|c| (input, Arc::clone(c)))
        })
        .collect();
    for (input, constant) in &constants {
        let Some(region) = graph.region_mut(id) else { return false };
        let input = input - region.kind.own_inputs();
        for body in &mut region.bodies {
            let node = body.inputs[input].value.node;
            body.node_mut(node).kind = NodeKind::Constant(constant.clone());
            body.set_facts(node, vec![constant.fact()]);
        }
    }
    remove_inputs(graph, id, &constants.iter().map(|(input, _)| *input).collect::<Vec<_>>())
}

/// Gives the bodies no capture that none of them reads.
fn drop_unread(graph: &mut Graph, id: NodeId) -> bool {
    let Some(region) = graph.node(id).region() else { return false };
    let own = region.kind.own_inputs();
    let captures = own + region.variables()..graph.node(id).inputs.len();
    let is_read: Vec<Vec<bool>> = region.bodies.iter().map(read_inputs).collect();
    let unread: Vec<usize> =
        captures.filter(|input| !is_read.iter().any(|is_read| is_read[input - own])).collect();
    remove_inputs(graph, id, &unread)
}

/// For each input of a body, whether anything takes it.
fn read_inputs(body: &Graph) -> Vec<bool> {
    let mut is_read = vec![false; body.nodes.len()];
    let values = body.nodes.iter().flat_map(|node| &node.inputs);
    let values = values.copied().chain(body.results());
    values.for_each(|value| is_read[value.node.0 as usize] = true);
    body.inputs.iter().map(|port| is_read[port.value.node.0 as usize]).collect()
}

/// Removes inputs, in ascending order, from a node and its bodies.
fn remove_inputs(graph: &mut Graph, id: NodeId, inputs: &[usize]) -> bool {
    for input in inputs.iter().rev() {
        graph.node_mut(id).inputs.remove(*input);
        let Some(region) = graph.region_mut(id) else { continue };
        let own = region.kind.own_inputs();
        region.bodies.iter_mut().for_each(|body| drop(body.inputs.remove(input - own)));
    }
    !inputs.is_empty()
}

/// Makes those who take a value take the one that it has become.
fn rename(graph: &mut Graph, renamed: &HashMap<ValueRef, ValueRef>) {
    if renamed.is_empty() {
        return;
    }
    // What a variable was before one loop may be what another variable was after an earlier one.
    let last = |mut value: ValueRef| {
        while let Some(next) = renamed.get(&value).filter(|next| **next != value) {
            if next.node == value.node {
                return *next;
            }
            value = *next;
        }
        value
    };
    for node in &mut graph.nodes {
        node.inputs.iter_mut().for_each(|value| *value = last(*value));
    }
    for number in 0..graph.results().count() {
        if let Some(value) = graph.result_mut(number) {
            *value = last(*value);
        }
    }
}
