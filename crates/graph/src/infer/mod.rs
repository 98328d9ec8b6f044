//! Shape inference over a graph, and the values that follow from it.
//!
//! A value is known only for as long as a node that needs it has not been inferred: a node whose one output is known
//! becomes a constant at once, and a constant that nobody takes any more is let go of. A chain of a thousand operators
//! on a known value so takes the memory of two of them.

mod region;
mod separate;

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{BudgetError, DType, MemoryBudget, Shape, array_bytes, piece_done};

use crate::dim::{Dim, Dims, Symbol};
use crate::error::GraphError;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES, Known, Largest};
use crate::ir::dead_nodes;
use crate::ir::{Constant, Graph, NodeId, NodeKind, Port};
use crate::operator::evaluate;
use crate::operator::{OpError, Operator, TensorInfo, ranks};
pub(crate) use region::join;

/// What a node's outputs are, from what its inputs are. Where all inputs have known values and the outputs are small,
/// the operator is run to know theirs too.
///
/// # Errors
/// [`GraphError::Node`] when the operator refuses its inputs.
pub fn infer_node(graph: &Graph, id: NodeId) -> Result<Vec<Fact>, GraphError> {
    infer_from(graph, id, &graph.input_facts(graph.node(id)))
}

/// The same from these facts of its inputs.
pub(crate) fn infer_from(graph: &Graph, id: NodeId, inputs: &[&Fact]) -> Result<Vec<Fact>, GraphError> {
    let node = graph.node(id);
    let operator = match &node.kind {
        NodeKind::Operator(operator) => operator,
        NodeKind::Constant(constant) => return Ok(vec![constant.fact()]),
        NodeKind::Input { .. } => return Ok(node.facts.clone()),
        NodeKind::Region(of) => return region::outputs(graph, id, of, inputs),
    };
    // Given back when the facts are counted as the node's.
    let _room = graph
        .memory()
        .room(facts_room_bytes(&**operator, inputs))
        .map_err(|source| memory_error(graph, id, source))?;
    let facts = infer_outputs(&**operator, inputs, graph.budget());
    // Who takes an output was imported with as many as there were then.
    let facts = facts.and_then(|facts| match node.facts.is_empty() || node.facts.len() == facts.len() {
        true => Ok(facts),
        false => {
            Err(OpError::Internal("how many outputs an operator has depends on the shapes of its inputs"))
        }
    });
    facts.map_err(|source| node_error(graph, id, source))
}

/// What is sure of an operator's outputs and, where shapes or values of its inputs depend on data, the most they can be.
fn infer_outputs(
    operator: &dyn Operator,
    inputs: &[&Fact],
    budget: &MemoryBudget,
) -> Result<Vec<Fact>, OpError> {
    ranks::check(operator.name(), inputs)?;
    let mut facts = infer_values(operator, inputs, budget)?;
    if inputs.iter().all(|input| input.largest.is_none()) {
        return Ok(facts);
    }
    let largest = largest_inputs(operator, inputs);
    // Of inputs that must have one size each may have a bound of its own.
    let found = infer_values(operator, &largest.iter().collect::<Vec<_>>(), budget).or_else(|_| {
        let raised = raised(inputs, &largest);
        infer_values(operator, &raised.iter().collect::<Vec<_>>(), budget)
    });
    if let Ok(found) = found {
        facts.iter_mut().zip(found).for_each(|(fact, most)| bound(fact, most));
    }
    Ok(facts)
}

/// The inputs as the most they can be; integers whose growth says nothing of the outputs' are not known.
fn largest_inputs(operator: &dyn Operator, inputs: &[&Fact]) -> Vec<Fact> {
    let at_most = |(index, input): (usize, &&Fact)| {
        let Some(largest) = &input.largest else { return (*input).clone() };
        let value = largest.value.clone().filter(|_| operator.grows_with(index));
        let value = input.value.clone().or(value);
        Fact { value, is_bound: true, ..Fact::new(input.dtype, largest.dims.clone()) }
    };
    inputs.iter().enumerate().map(at_most).collect()
}

/// The same with every dimension that depends on data as large as the largest of them.
fn raised(inputs: &[&Fact], largest: &[Fact]) -> Vec<Fact> {
    let open = |input: &Fact, axis: usize| {
        input.largest.is_some()
            && input.dims.get().and_then(|dims| dims.get(axis)).is_none_or(|d| *d == Dim::Unknown)
    };
    let sizes = inputs.iter().zip(largest).flat_map(|(input, most)| {
        let dims = most.dims.get().into_iter().flatten().enumerate();
        dims.filter(|(axis, _)| open(input, *axis)).filter_map(|(_, dim)| dim.known())
    });
    let Some(size) = sizes.max() else { return largest.to_vec() };
    let raise = |(input, most): (&&Fact, &Fact)| {
        let Some(dims) = most.dims.get() else { return most.clone() };
        let raised = dims
            .iter()
            .enumerate()
            .map(|(axis, dim)| if open(input, axis) { Dim::Known(size) } else { *dim });
        let dims = Dims::new(raised.collect::<Vec<_>>());
        Fact { dims, ..most.clone() }
    };
    inputs.iter().zip(largest).map(raise).collect()
}

/// Adds to what is sure of an output the most it can be.
fn bound(fact: &mut Fact, most: Fact) {
    let is_negative = |value: &Vec<Dim>| value.iter().any(|dim| matches!(dim, Dim::Known(..0)));
    let value = match (&fact.value, most.dims_value()) {
        (None, Some(value)) if !is_negative(&value) => most.value.clone(),
        _ => None,
    };
    let is_open = fact.dims.get().is_none_or(|dims| dims.contains(&Dim::Unknown));
    if !is_open && value.is_none() {
        return;
    }
    let bounds = most.planned_dims();
    let dims = match (fact.dims.get(), bounds.get()) {
        (Some(sure), Some(bounds)) if sure.len() == bounds.len() => {
            let dims = sure.iter().zip(bounds).map(|(sure, bound)| match sure {
                Dim::Unknown => *bound,
                sure => *sure,
            });
            Dims::new(dims.collect::<Vec<_>>())
        }
        _ => bounds.clone(),
    };
    fact.largest = Some(Arc::new(Largest { dims, value }));
}

/// What an operator infers. Where all inputs have known values and the outputs are small, it is run to know theirs too.
fn infer_values(
    operator: &dyn Operator,
    inputs: &[&Fact],
    budget: &MemoryBudget,
) -> Result<Vec<Fact>, OpError> {
    let mut facts = operator.infer(inputs)?;
    let is_small = |f: &Fact| {
        let is_plain = f.dtype != DType::String && f.list.is_none() && f.quantization.is_none();
        let shape = f.planned_dims().concrete().filter(|_| is_plain);
        shape.is_some_and(|s| s.elements().saturating_mul(f.dtype.bytes()) <= KNOWN_VALUE_MAX_BYTES)
    };
    let is_open = facts.iter().any(|f| !matches!(f.value, Some(Known::Bytes(_))));
    if is_open
        && operator.is_pure()
        && !facts.is_empty()
        && facts.iter().all(is_small)
        && inputs.iter().all(|f| f.dtype != DType::String && f.view().is_some())
    {
        let views: Vec<_> = inputs.iter().filter_map(|f| f.view()).collect();
        let values = evaluate(operator, &views, &facts, budget)?;
        for (fact, (shape, bytes)) in facts.iter_mut().zip(values) {
            *fact = Fact::known(fact.dtype, shape, bytes);
        }
    }
    Ok(facts)
}

/// Outputs up to which nothing is reserved for what is said of them before they are inferred.
const FEW_OUTPUTS: usize = 64;

/// Bytes that the facts of a node with many outputs may take while they are made.
fn facts_room_bytes(operator: &dyn Operator, inputs: &[&Fact]) -> u64 {
    let count = operator.max_outputs(inputs.len());
    let listed = array_bytes::<&Fact>(inputs.len());
    if count <= FEW_OUTPUTS {
        return listed;
    }
    let rank = inputs.iter().filter_map(|fact| fact.dims.rank()).max().unwrap_or(0);
    let is_known = inputs.iter().any(|fact| fact.value.is_some());
    let value = if is_known { array_bytes::<Dim>(2) } else { 0 };
    let each = array_bytes::<Dim>(rank + 1) + value;
    array_bytes::<Fact>(count).saturating_add((count as u64).saturating_mul(each)).saturating_add(listed)
}

/// The error of a node whose outputs cannot be described in the memory there is.
pub(crate) fn memory_error(graph: &Graph, id: NodeId, source: BudgetError) -> GraphError {
    let node = graph.node(id);
    GraphError::Memory {
        file: graph.file.clone(),
        node: Some((node.name.to_string(), node.op_name().to_string())),
        source: Box::new(source),
    }
}

/// The error of a graph that is too large for the memory there is.
pub(crate) fn graph_memory_error(graph: &Graph, source: BudgetError) -> GraphError {
    GraphError::Memory { file: graph.file.clone(), node: None, source: Box::new(source) }
}

/// The error of a node's operator.
pub fn node_error(graph: &Graph, id: NodeId, source: OpError) -> GraphError {
    let node = graph.node(id);
    if let OpError::Budget(source) = source {
        return memory_error(graph, id, source);
    }
    GraphError::Node {
        file: graph.file.clone(),
        node: node.name.to_string(),
        op: node.op_name().to_string(),
        source: Box::new(source),
    }
}

/// Infers every node anew, in order, bodies included. Nodes whose value is known become constants.
///
/// # Errors
/// [`GraphError::Cycle`], that of the first operator that refuses its inputs, and [`GraphError::Memory`] when what is
/// known does not fit the graph's budget.
pub fn infer(graph: &mut Graph) -> Result<(), GraphError> {
    let order = graph.order().map_err(|id| GraphError::Cycle { node: graph.node(id).name.to_string() })?;
    let mut values = Values::new(graph);
    for id in &order {
        values.expect(graph.node(*id).inputs.iter().map(|value| value.node));
    }
    for (number, id) in order.into_iter().enumerate() {
        piece_done(number);
        let facts = match graph.node(id).kind {
            NodeKind::Region(_) => region::infer(graph, id)?,
            _ => infer_node(graph, id)?,
        };
        let is_operator = graph.node(id).operator().is_some();
        if let Some(filled) = facts.first().filter(|fact| is_operator && fact.list.is_some()).cloned() {
            let lists = graph.node(id).inputs.clone();
            lists.iter().for_each(|list| region::size_list(graph, *list, &filled));
        }
        graph.set_facts(id, facts);
        values.inferred(graph, id);
        graph.check().map_err(|source| memory_error(graph, id, source))?;
    }
    if values.has_folded {
        dead_nodes::remove(graph);
        graph.recount().map_err(|source| graph_memory_error(graph, source))?;
    }
    Ok(())
}

/// Who still needs to know the value of each node.
pub(crate) struct Values {
    /// For each node, how often those take it that are not inferred yet.
    waiting: Vec<u32>,
    /// For each node, how often any node takes it.
    taken: Vec<u32>,
    is_output: Vec<bool>,
    /// For each node, whether it or anything that it needs has an effect. Its value is computed after that effect, so it
    /// does not become a constant though it is known.
    waits: Vec<bool>,
    /// What a constant becomes that nobody takes.
    nothing: Arc<Constant>,
    /// True when a node was made a constant.
    pub has_folded: bool,
}

impl Values {
    /// Of a graph as it is: nobody waits yet.
    pub fn new(graph: &Graph) -> Values {
        let nothing = Arc::new(Constant::in_memory(DType::U8, Shape::SCALAR, Vec::new()));
        let mut values = Values {
            waiting: vec![],
            taken: vec![],
            is_output: vec![],
            waits: vec![],
            nothing,
            has_folded: false,
        };
        values.add_nodes(graph);
        for value in graph.results() {
            values.is_output[value.node.0 as usize] = true;
        }
        values
    }

    /// Bytes that it takes for so many nodes.
    pub fn bytes(nodes: u64) -> u64 {
        10 * nodes
    }

    /// How many nodes it knows.
    pub fn nodes(&self) -> usize {
        self.taken.len()
    }

    /// Takes in the nodes that were added to the graph.
    pub fn add_nodes(&mut self, graph: &Graph) {
        let known = self.taken.len();
        self.waiting.resize(graph.nodes.len(), 0);
        self.taken.resize(graph.nodes.len(), 0);
        self.is_output.resize(graph.nodes.len(), false);
        self.waits.resize(graph.nodes.len(), false);
        for value in graph.nodes[known..].iter().flat_map(|node| &node.inputs) {
            self.taken[value.node.0 as usize] += 1;
        }
    }

    /// Each of `nodes` will be taken by one that is inferred later.
    pub fn expect(&mut self, nodes: impl Iterator<Item = NodeId>) {
        nodes.for_each(|node| self.waiting[node.0 as usize] += 1);
    }

    /// Node `id` will be taken so often by nodes that are inferred later, and is fetched or not.
    pub fn expect_users(&mut self, id: NodeId, users: u32, is_output: bool) {
        self.waiting[id.0 as usize] = users;
        self.is_output[id.0 as usize] = is_output;
    }

    /// Notes whether `id` has an effect or needs what has one, from what is noted of the nodes that it needs.
    pub fn note(&mut self, graph: &Graph, id: NodeId) {
        let node = graph.node(id);
        let mut needs = node.inputs.iter().map(|value| value.node).chain(node.control.iter().copied());
        self.waits[id.0 as usize] = graph.has_effect(node) || needs.any(|need| self.waits[need.0 as usize]);
    }

    /// What is known of `id` now is all there will be. It becomes a constant where that is its value; of what it takes
    /// it needs to know nothing more.
    pub fn inferred(&mut self, graph: &mut Graph, id: NodeId) {
        self.note(graph, id);
        let inputs = match known_constant(graph, id).filter(|_| !self.waits[id.0 as usize]) {
            Some(constant) => {
                self.has_folded = true;
                let inputs = std::mem::take(&mut graph.node_mut(id).inputs);
                inputs.iter().for_each(|value| self.taken[value.node.0 as usize] -= 1);
                graph.make_constant(id, constant);
                inputs
            }
            None => Vec::new(),
        };
        self.settle(graph, id);
        if inputs.is_empty() {
            for position in 0..graph.node(id).inputs.len() {
                self.release(graph, graph.node(id).inputs[position].node);
            }
        } else {
            inputs.iter().for_each(|value| self.release(graph, value.node));
        }
    }

    /// One fewer waits for the value of `id`.
    pub fn release(&mut self, graph: &mut Graph, id: NodeId) {
        let waiting = &mut self.waiting[id.0 as usize];
        *waiting = waiting.saturating_sub(1);
        self.settle(graph, id);
    }

    fn settle(&mut self, graph: &mut Graph, id: NodeId) {
        if self.waiting[id.0 as usize] > 0 {
            return;
        }
        match graph.node(id).kind {
            NodeKind::Constant(_) if self.taken[id.0 as usize] == 0 && !self.is_output[id.0 as usize] => {
                graph.node_mut(id).kind = NodeKind::Constant(self.nothing.clone());
                graph.set_facts(id, Vec::new());
            }
            NodeKind::Operator(_) | NodeKind::Region(_) => graph.forget_values(id),
            NodeKind::Constant(_) | NodeKind::Input { .. } => {}
        }
    }
}

/// The constant that a node is whose value is known.
pub(crate) fn known_constant(graph: &Graph, id: NodeId) -> Option<Constant> {
    let node = graph.node(id);
    let is_pure = node.operator().is_some_and(|operator| operator.is_pure());
    let [fact] = &node.facts[..] else { return None };
    match (&fact.value, fact.dims.concrete()) {
        (Some(Known::Bytes(bytes)), Some(shape)) if is_pure && node.control.is_empty() => {
            Some(Constant::in_memory(fact.dtype, shape, bytes.clone()))
        }
        _ => None,
    }
}

/// The most bytes that putting a graph in order takes, with the lists of one node.
pub(crate) fn order_bytes(graph: &Graph) -> u64 {
    let most = graph.nodes.iter().map(|node| node.inputs.len() + node.facts.len()).max().unwrap_or(0);
    // What is put in order is on a stack that may be as long as the graph, and grows by doubling.
    let node = 1 + size_of::<NodeId>() + 3 * size_of::<(NodeId, usize)>();
    (graph.nodes.len() * node + 3 * most * size_of::<TensorInfo>()) as u64
}

/// The most bytes that [`infer`] takes besides what the graph holds and the order: who still waits for a value, and where
/// nodes go once some are not needed.
pub(crate) fn notes_bytes(graph: &Graph) -> u64 {
    let nodes = graph.nodes.len() as u64;
    Values::bytes(nodes) + nodes * (size_of::<NodeId>() + size_of::<u32>()) as u64
}

/// What is said of a graph's inputs to make it concrete.
#[derive(Debug, Clone, Default)]
pub struct Binding {
    /// The number of rows, for every open first dimension.
    pub batch: Option<usize>,
    /// Shapes of inputs, by name.
    pub shapes: HashMap<String, Shape>,
    /// Values of small inputs that are the same in every run, by name: shapes computed from them become concrete.
    pub values: HashMap<String, Fact>,
}

/// The graph with every input concrete, and so every tensor.
///
/// # Errors
/// [`GraphError::OpenShape`] for an input of which nobody says what shape it has, [`GraphError::Feed`] for a shape the
/// input cannot have, and what inference finds.
pub fn bind(graph: &Graph, binding: &Binding) -> Result<Graph, GraphError> {
    let mut bound = graph.copy_to_bind().map_err(|source| graph_memory_error(graph, source))?;
    let working = order_bytes(&bound) + notes_bytes(&bound);
    let _working = bound.memory().room(working).map_err(|source| graph_memory_error(graph, source))?;
    for port in &graph.inputs {
        let id = port.value.node;
        let NodeKind::Input { dtype, dims } = &bound.node(id).kind else { continue };
        let fact = bind_input(&port.name, *dtype, dims, binding)?;
        bound.set_facts(id, vec![fact]);
    }
    if has_several_batches(graph, &bound) {
        separate::separate(&mut bound);
        bound.check().map_err(|source| graph_memory_error(&bound, source))?;
    }
    infer(&mut bound)?;
    Ok(bound)
}

/// True where inputs that leave their first dimension open are bound to different ones.
fn has_several_batches(graph: &Graph, bound: &Graph) -> bool {
    let rows = |port: &Port| {
        let is_open = *graph.fact(port.value).dims.get()?.first()? == Dim::of(Symbol::BATCH);
        bound.fact(port.value).dims.get()?.first().copied().filter(|_| is_open)
    };
    let mut batches = graph.inputs.iter().filter_map(rows);
    batches.next().is_some_and(|first| batches.any(|batch| batch != first))
}

fn bind_input(name: &str, dtype: DType, dims: &Dims, binding: &Binding) -> Result<Fact, GraphError> {
    let feed = |why: String| GraphError::Feed { input: name.to_string(), why };
    let value = binding.values.get(name);
    if let Some(value) = value
        && value.dtype != dtype
    {
        return Err(feed(format!("is of type {dtype}, not {}", value.dtype)));
    }
    let given = binding.shapes.get(name).copied().or_else(|| value.and_then(|v| v.dims.concrete()));
    if let Some(shape) = given {
        let fits = dims.get().is_none_or(|dims| {
            dims.len() == shape.rank()
                && dims.iter().zip(shape.iter()).all(|(d, s)| d.size().is_none_or(|d| d == *s))
        });
        if !fits {
            return Err(feed(format!("has shape {dims}, which {shape} does not fit")));
        }
        return Ok(value.cloned().unwrap_or_else(|| Fact::new(dtype, shape)));
    }
    let open = || GraphError::OpenShape { input: name.to_string(), dims: dims.to_string() };
    let sizes = dims.get().ok_or_else(open)?.iter().map(|dim| match dim {
        Dim::Known(n) => Ok(*n as usize),
        Dim::Symbol { symbol: Symbol::BATCH, .. } => binding.batch.ok_or_else(open),
        _ => Err(open()),
    });
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let shape = Shape::new(&sizes).map_err(|e| feed(e.to_string()))?;
    Ok(Fact::new(dtype, shape))
}
