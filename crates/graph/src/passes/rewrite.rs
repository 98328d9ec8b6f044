//! What passes share: who uses what, and taking one node into another.

use std::collections::HashSet;
use std::sync::Arc;

use tightfit_core::DType;

use crate::infer::infer_node;
use crate::ir::{Constant, Graph, Node, NodeId, NodeKind, ValueRef};
use crate::operator::Operator;

/// Who uses each node, kept true while a pass changes the graph.
pub struct Uses {
    users: Vec<Vec<NodeId>>,
    outputs: HashSet<ValueRef>,
}

impl Uses {
    /// Of a graph without dead nodes.
    pub fn new(graph: &Graph) -> Uses {
        let mut users = vec![Vec::new(); graph.nodes.len()];
        for id in graph.ids() {
            let node = graph.node(id);
            for need in node.inputs.iter().map(|v| v.node).chain(node.control.iter().copied()) {
                users[need.0 as usize].push(id);
            }
        }
        Uses { users, outputs: graph.outputs.iter().map(|port| port.value).collect() }
    }

    /// The nodes that use any output of `node`, once for each use.
    pub fn of(&self, node: NodeId) -> &[NodeId] {
        self.users.get(node.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// True when `value` is the only output of its node that is used, once, and not fetched.
    pub fn is_used_once(&self, value: ValueRef) -> bool {
        self.of(value.node).len() == 1 && !self.is_output(value)
    }

    /// True when the value is fetched.
    pub fn is_output(&self, value: ValueRef) -> bool {
        self.outputs.contains(&value)
    }

    fn add(&mut self, user: NodeId, value: ValueRef) {
        let index = value.node.0 as usize;
        if index >= self.users.len() {
            self.users.resize(index + 1, Vec::new());
        }
        self.users[index].push(user);
    }

    fn remove(&mut self, user: NodeId, value: ValueRef) {
        let users = &mut self.users[value.node.0 as usize];
        if let Some(position) = users.iter().position(|u| *u == user) {
            users.remove(position);
        }
    }
}

/// Offers every node to `rewrite`, which returns `None` for one it leaves as it is. Says whether any was changed.
pub fn sweep(
    graph: &mut Graph,
    mut rewrite: impl FnMut(&mut Graph, &mut Uses, NodeId) -> Option<()>,
) -> bool {
    let mut uses = Uses::new(graph);
    let mut has_changed = false;
    for id in graph.ids() {
        has_changed |= rewrite(graph, &mut uses, id).is_some();
    }
    has_changed
}

/// Makes `id` compute `operator` of `inputs`; its outputs, name and users stay. Nodes that nothing uses then are dead,
/// and do not count as users of what they needed.
pub fn replace(
    graph: &mut Graph,
    uses: &mut Uses,
    id: NodeId,
    operator: Arc<dyn Operator>,
    inputs: Vec<ValueRef>,
) {
    for value in &inputs {
        uses.add(id, *value);
    }
    let node = graph.node_mut(id);
    node.kind = NodeKind::Operator(operator);
    let old = std::mem::replace(&mut node.inputs, inputs);
    for value in old {
        release(graph, uses, id, value);
    }
}

fn release(graph: &mut Graph, uses: &mut Uses, user: NodeId, value: ValueRef) {
    let mut work = vec![(user, value)];
    while let Some((user, value)) = work.pop() {
        uses.remove(user, value);
        let is_fetched = uses.outputs.iter().any(|output| output.node == value.node);
        if uses.of(value.node).is_empty() && !is_fetched {
            let dead = graph.node_mut(value.node);
            let control = std::mem::take(&mut dead.control);
            work.extend(std::mem::take(&mut dead.inputs).into_iter().map(|v| (value.node, v)));
            work.extend(control.into_iter().map(|c| (value.node, ValueRef::of(c))));
        }
    }
}

/// Adds a node that computes `operator` of `inputs`, and returns its first output; `None` when it refuses them.
pub fn insert(
    graph: &mut Graph,
    uses: &mut Uses,
    name: &str,
    operator: Arc<dyn Operator>,
    inputs: Vec<ValueRef>,
) -> Option<ValueRef> {
    let kind = NodeKind::Operator(operator);
    let id =
        graph.add(Node { name: name.into(), kind, inputs: inputs.clone(), control: vec![], facts: vec![] });
    let Ok(facts) = infer_node(graph, id) else {
        graph.nodes.pop();
        return None;
    };
    graph.node_mut(id).facts = facts;
    inputs.into_iter().for_each(|value| uses.add(id, value));
    Some(ValueRef::of(id))
}

/// Makes all users of `old` use `new` instead.
pub fn forward(graph: &mut Graph, uses: &mut Uses, old: ValueRef, new: ValueRef) {
    let mut users = std::mem::take(&mut uses.users[old.node.0 as usize]);
    let (mine, others): (Vec<NodeId>, Vec<NodeId>) =
        users.drain(..).partition(|user| graph.node(*user).inputs.contains(&old));
    uses.users[old.node.0 as usize] = others;
    for user in mine {
        for input in graph.node_mut(user).inputs.iter_mut().filter(|input| **input == old) {
            *input = new;
        }
        uses.add(user, new);
    }
    if uses.outputs.remove(&old) {
        uses.outputs.insert(new);
        for port in graph.outputs.iter_mut().filter(|port| port.value == old) {
            port.value = new;
        }
    }
}

/// A float32 vector as a constant under the name of the node it is for.
pub fn vector_constant(graph: &mut Graph, name: &str, values: &[f32]) -> ValueRef {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let shape = tightfit_core::Shape::new(&[values.len()]).unwrap_or(tightfit_core::Shape::SCALAR);
    graph.add_constant(name, Constant::in_memory(DType::F32, shape, bytes))
}

/// The float32 elements of a small constant.
pub fn known_floats(graph: &Graph, value: ValueRef) -> Option<Vec<f32>> {
    graph.fact(value).floats()
}

/// The one number of a small constant all of whose elements are the same, float32.
pub fn known_scalar(graph: &Graph, value: ValueRef) -> Option<f32> {
    let values = known_floats(graph, value)?;
    let first = *values.first()?;
    values.iter().all(|v| *v == first).then_some(first)
}

/// The operator of the node that computes `value`, when it is a `T`, and the node.
pub fn produced_by<T: Operator>(graph: &Graph, value: ValueRef) -> Option<(&Node, &T)> {
    let node = graph.producer(value);
    node.is::<T>().map(|operator| (node, operator))
}
