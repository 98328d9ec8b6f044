//! What passes share: who uses what, and taking one node into another.

use std::sync::Arc;

use tightfit_core::{DType, Shape};

use crate::infer::infer_node;
use crate::ir::{Constant, Graph, Node, NodeId, NodeKind, ValueRef};
use crate::operator::Operator;
use crate::ops::array::reshape::Reshape;

/// Marks the end of a list, and a use that is a fetched tensor's.
const NONE: u32 = u32::MAX;

/// One use of a value. Uses of one value are a list; what has become untrue is left in it and skipped.
#[derive(Clone, Copy)]
struct Use {
    /// The node, or [`NONE`] for the graph's results.
    user: u32,
    /// Which of its inputs, or which of the graph's results.
    position: u32,
    /// The next use of the same value.
    next: u32,
}

/// Who uses each value, kept true while a pass changes the graph. Everything is found by its number: a pass takes time
/// in proportion to what it changes, however many users one value has.
pub struct Uses {
    /// For each node, the place of its first output in `heads`.
    first: Vec<u32>,
    /// For each value, its first use.
    heads: Vec<u32>,
    uses: Vec<Use>,
    /// For each node, how often its outputs are used, control edges included and fetches not.
    counts: Vec<u32>,
    /// For each value, how often it is fetched.
    fetches: Vec<u32>,
}

impl Uses {
    /// Of a graph without dead nodes.
    pub fn new(graph: &Graph) -> Uses {
        let values = graph.nodes.iter().map(|node| node.facts.len()).sum();
        let edges: usize = graph.nodes.iter().map(|node| node.inputs.len()).sum();
        let mut all = Uses {
            first: Vec::with_capacity(graph.nodes.len()),
            heads: Vec::with_capacity(values),
            uses: Vec::with_capacity(edges + graph.results().count()),
            counts: vec![0; graph.nodes.len()],
            fetches: vec![0; values],
        };
        graph.ids().for_each(|id| all.add_node(graph, id));
        for id in graph.ids() {
            let node = graph.node(id);
            for (position, value) in node.inputs.iter().enumerate() {
                all.add(id, position, *value);
            }
            for control in &node.control {
                all.counts[control.0 as usize] += 1;
            }
        }
        for (position, value) in graph.results().enumerate() {
            let value = all.place(value);
            all.fetches[value] += 1;
            all.link(value, NONE, position);
        }
        all
    }

    /// Bytes that it takes for a graph of so many nodes, outputs of them, and uses.
    pub fn bytes(nodes: u64, values: u64, uses: u64) -> u64 {
        nodes * 8 + values * 8 + uses * size_of::<Use>() as u64
    }

    fn add_node(&mut self, graph: &Graph, id: NodeId) {
        self.first.push(self.heads.len() as u32);
        self.heads.resize(self.heads.len() + graph.node(id).facts.len(), NONE);
        self.fetches.resize(self.heads.len().max(self.fetches.len()), 0);
        self.counts.resize(self.first.len().max(self.counts.len()), 0);
    }

    /// Takes in the nodes that have been added to the graph.
    fn add_missing(&mut self, graph: &Graph) {
        (self.first.len()..graph.nodes.len()).for_each(|id| self.add_node(graph, NodeId(id as u32)));
    }

    fn place(&self, value: ValueRef) -> usize {
        (self.first[value.node.0 as usize] + value.output) as usize
    }

    /// True when `value` is the only output of its node that is used, once, and not fetched.
    pub fn is_used_once(&self, value: ValueRef) -> bool {
        self.counts[value.node.0 as usize] == 1 && !self.is_output(value)
    }

    /// True when the value is fetched.
    pub fn is_output(&self, value: ValueRef) -> bool {
        self.fetches[self.place(value)] > 0
    }

    /// True when a node takes the value or it is fetched.
    pub fn is_used(&self, graph: &Graph, value: ValueRef) -> bool {
        let mut at = self.heads[self.place(value)];
        while let Some(one) = self.uses.get(at as usize) {
            if one.is_true(graph, value) {
                return true;
            }
            at = one.next;
        }
        false
    }

    /// The nodes that take the value, and as which of their inputs; `None` where it is also fetched, or where its node has
    /// another output that is used or is waited for.
    pub fn all(&self, graph: &Graph, value: ValueRef) -> Option<Vec<(NodeId, usize)>> {
        let mut users = Vec::new();
        let mut at = self.heads[self.place(value)];
        while let Some(one) = self.uses.get(at as usize) {
            if one.is_true(graph, value) {
                users.push((NodeId(one.user), one.position as usize));
            }
            at = one.next;
        }
        (!self.is_output(value) && users.len() == self.counts[value.node.0 as usize] as usize)
            .then_some(users)
    }

    fn link(&mut self, value: usize, user: u32, position: usize) {
        let number = self.uses.len() as u32;
        self.uses.push(Use { user, position: position as u32, next: self.heads[value] });
        self.heads[value] = number;
    }

    fn add(&mut self, user: NodeId, position: usize, value: ValueRef) {
        self.counts[value.node.0 as usize] += 1;
        let value = self.place(value);
        self.link(value, user.0, position);
    }

    /// Counts one use fewer. Its entry is left where it is, see [`Use::is_true`].
    fn remove(&mut self, node: NodeId) {
        let count = &mut self.counts[node.0 as usize];
        *count = count.saturating_sub(1);
    }

    /// True when nothing uses the node and none of its outputs is fetched.
    fn is_dead(&self, node: NodeId) -> bool {
        let first = self.first[node.0 as usize] as usize;
        let end = self.first.get(node.0 as usize + 1).map_or(self.fetches.len(), |next| *next as usize);
        self.counts[node.0 as usize] == 0 && self.fetches[first..end].iter().all(|count| *count == 0)
    }
}

impl Use {
    /// True when the user has not changed its mind since.
    fn is_true(&self, graph: &Graph, value: ValueRef) -> bool {
        if self.user == NONE {
            return graph.result(self.position as usize) == Some(value);
        }
        graph.node(NodeId(self.user)).inputs.get(self.position as usize) == Some(&value)
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
        if graph.is_refused() {
            break;
        }
    }
    has_changed
}

/// Makes `id` compute `operator` of `inputs`; its outputs, name and users stay. Nodes that nothing uses then are dead,
/// and do not count as users of what they needed; what they had to wait for `id` waits for.
pub fn replace(
    graph: &mut Graph,
    uses: &mut Uses,
    id: NodeId,
    operator: Arc<dyn Operator>,
    inputs: Vec<ValueRef>,
) {
    uses.add_missing(graph);
    for (position, value) in inputs.iter().enumerate() {
        uses.add(id, position, *value);
    }
    let node = graph.node_mut(id);
    node.kind = NodeKind::Operator(operator);
    let old = std::mem::replace(&mut node.inputs, inputs);
    release(graph, uses, old.into_iter().map(|value| value.node).collect(), id);
}

/// Counts one use fewer of each of `nodes`, and of what those need that are dead then. `heir` waits for what the dead had to
/// wait for.
fn release(graph: &mut Graph, uses: &mut Uses, mut nodes: Vec<NodeId>, heir: NodeId) {
    while let Some(id) = nodes.pop() {
        uses.remove(id);
        if uses.is_dead(id) {
            let dead = graph.node_mut(id);
            nodes.extend(std::mem::take(&mut dead.inputs).into_iter().map(|value| value.node));
            for waited in std::mem::take(&mut dead.control) {
                let control = &mut graph.node_mut(heir).control;
                if control.contains(&waited) {
                    nodes.push(waited);
                } else {
                    control.push(waited);
                }
            }
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
    uses.add_missing(graph);
    for (position, value) in inputs.into_iter().enumerate() {
        uses.add(id, position, value);
    }
    Some(ValueRef::of(id))
}

/// Makes all users of `old` use `new` instead.
pub fn forward(graph: &mut Graph, uses: &mut Uses, old: ValueRef, new: ValueRef) {
    let (from, to) = (uses.place(old), uses.place(new));
    let mut at = std::mem::replace(&mut uses.heads[from], NONE);
    while let Some(one) = uses.uses.get(at as usize).copied() {
        let number = std::mem::replace(&mut at, one.next);
        if !one.is_true(graph, old) {
            continue;
        }
        if one.user == NONE {
            if let Some(result) = graph.result_mut(one.position as usize) {
                *result = new;
            }
            uses.fetches[from] -= 1;
            uses.fetches[to] += 1;
        } else {
            graph.node_mut(NodeId(one.user)).inputs[one.position as usize] = new;
            uses.counts[old.node.0 as usize] -= 1;
            uses.counts[new.node.0 as usize] += 1;
        }
        uses.uses[number as usize].next = uses.heads[to];
        uses.heads[to] = number;
    }
}

/// A value under another shape of as many elements.
pub fn reshaped(
    graph: &mut Graph,
    uses: &mut Uses,
    name: &str,
    value: ValueRef,
    dims: &[usize],
) -> Option<ValueRef> {
    if *graph.fact(value).dims.concrete()? == *dims {
        return Some(value);
    }
    let bytes: Vec<u8> = dims.iter().flat_map(|dim| (*dim as i64).to_le_bytes()).collect();
    let shape = Constant::in_memory(DType::I64, Shape::new(&[dims.len()]).ok()?, bytes);
    let shape = graph.add_constant(&format!("{name}/shape"), shape);
    insert(graph, uses, name, Arc::new(Reshape), vec![value, shape])
}

/// A float32 vector as a constant under the name of the node it is for; `None` for one too long for a tensor.
pub fn vector_constant(graph: &mut Graph, name: &str, values: &[f32]) -> Option<ValueRef> {
    let shape = Shape::new(&[values.len()]).ok()?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Some(graph.add_constant(name, Constant::in_memory(DType::F32, shape, bytes)))
}

/// The float32 elements of a small constant.
pub fn known_floats(graph: &Graph, value: ValueRef) -> Option<Vec<f32>> {
    graph.fact(value).floats()
}

/// The one number of a small constant all of whose elements are the same, float32.
pub fn known_scalar(graph: &Graph, value: ValueRef) -> Option<f32> {
    let fact = graph.fact(value);
    let view = fact.view().filter(|_| fact.dtype == DType::F32)?;
    let mut values = view.bytes().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}

/// The operator of the node that computes `value`, when it is a `T`, and the node.
pub fn produced_by<T: Operator>(graph: &Graph, value: ValueRef) -> Option<(&Node, &T)> {
    let node = graph.producer(value);
    node.is::<T>().map(|operator| (node, operator))
}
