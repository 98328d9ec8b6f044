//! What a graph takes of the heap, counted on its account before it grows.
//!
//! Nodes are counted as they are added and as their facts change. What passes change inside of nodes is counted when
//! they are done ([`Graph::recount`]), so a pass need not count: it works in room that was reserved for it. A constant
//! has a reservation of its own ([`Constant::held`]), as graphs and plans share it.

use std::sync::Arc;

use tightfit_core::{Account, BudgetError, MemoryBudget, Reservation, array_bytes, block_bytes, list_bytes};
use tightfit_format::{InlineBytes, TensorContent};

use super::{Constant, ConstantData, Graph, Node, NodeId, NodeKind, Port};
use crate::dim::Dim;
use crate::fact::{Fact, Known, Largest};

/// What the memory of a graph is reserved for.
const PURPOSE: &str = "the model's graph";
/// What the memory of a constant is reserved for.
const CONSTANTS: &str = "the model's constants";
/// What the memory of a constant is reserved for that follows from the shapes a graph is bound to.
pub(crate) const BOUND_CONSTANTS: &str = "constants of bound shapes";

/// The counters before what an `Arc` shares.
const SHARED_BYTES: u64 = 2 * size_of::<usize>() as u64;

impl Constant {
    /// Bytes of the heap that it takes; what is in a buffer has a reservation already.
    pub fn heap_bytes(&self) -> u64 {
        let data = match &self.data {
            ConstantData::File { .. } => 0,
            ConstantData::Memory(bytes) => block_bytes(SHARED_BYTES + bytes.len() as u64),
            ConstantData::Tensor { tensor, .. } => {
                let inline = match &tensor.content {
                    TensorContent::Inline(InlineBytes::Small(bytes)) => block_bytes(bytes.len() as u64),
                    TensorContent::Stored(stored) => stored.heap_bytes(),
                    TensorContent::Scaled(scaled) => scaled.heap_bytes(),
                    TensorContent::Narrow(narrow) => narrow.heap_bytes(),
                    TensorContent::Segments(segments) => block_bytes(segments.index_bytes()),
                    _ => 0,
                };
                block_bytes(size_of_val(&**tensor) as u64) + list_bytes(&tensor.shape) + inline
            }
            // What it is computed from has a reservation of its own.
            ConstantData::Computed(computed) => computed.heap_bytes(),
            ConstantData::Sparse(_) => 0,
            ConstantData::Strings(texts) => {
                block_bytes(SHARED_BYTES + size_of_val(&**texts) as u64)
                    + texts.iter().map(|text| block_bytes(text.len() as u64)).sum::<u64>()
            }
        };
        data + block_bytes(SHARED_BYTES + size_of::<Constant>() as u64)
    }
}

impl Fact {
    /// Bytes of the heap that it takes, its value included.
    pub fn heap_bytes(&self) -> u64 {
        let largest = self.largest.as_ref().map_or(0, |largest| {
            let value = largest.value.as_ref().map_or(0, value_bytes);
            let dims = largest.dims.get().map_or(0, |dims| array_bytes::<Dim>(dims.len()));
            block_bytes(SHARED_BYTES + size_of::<Largest>() as u64) + value + dims
        });
        let quantization = self.quantization.as_ref().map_or(0, |quantization| {
            block_bytes(SHARED_BYTES + size_of_val(&**quantization) as u64) + quantization.heap_bytes()
        });
        let list = self.list.as_ref().map_or(0, |list| {
            let said = list.said.get().map_or(0, |dims| array_bytes::<Dim>(dims.len()));
            block_bytes(SHARED_BYTES + size_of_val(&**list) as u64) + said
        });
        self.dims_bytes() + self.value.as_ref().map_or(0, value_bytes) + largest + list + quantization
    }

    fn dims_bytes(&self) -> u64 {
        self.dims.get().map_or(0, |dims| array_bytes::<Dim>(dims.len()))
    }
}

fn value_bytes(value: &Known) -> u64 {
    match value {
        Known::Bytes(bytes) => block_bytes(SHARED_BYTES + bytes.len() as u64),
        Known::Dims(dims) => block_bytes(SHARED_BYTES + size_of_val(&**dims) as u64),
    }
}

/// Bytes that the facts of a node take. The value of a constant is the constant itself.
fn facts_bytes(kind: &NodeKind, facts: &Vec<Fact>) -> u64 {
    let is_constant = matches!(kind, NodeKind::Constant(_));
    let each = facts.iter().map(|fact| if is_constant { fact.dims_bytes() } else { fact.heap_bytes() });
    list_bytes(facts) + each.sum::<u64>()
}

fn ports_bytes(ports: &Vec<Port>) -> u64 {
    list_bytes(ports) + ports.iter().map(|port| block_bytes(port.name.len() as u64)).sum::<u64>()
}

impl Graph {
    /// A graph of no nodes, of the file of that name, which grows within `budget`.
    pub fn new(file: impl Into<String>, budget: &MemoryBudget) -> Graph {
        Graph {
            file: file.into(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            effects: Vec::new(),
            symbols: vec!["batch".into()],
            memory: Account::new(budget, PURPOSE),
            is_bound: false,
            operator_bytes: 0,
        }
    }

    /// Adds an input.
    pub fn add_input(&mut self, port: Port) {
        self.count_port(&port, self.inputs.capacity() == self.inputs.len(), self.inputs.len());
        self.inputs.push(port);
    }

    /// Adds an output.
    pub fn add_output(&mut self, port: Port) {
        self.count_port(&port, self.outputs.capacity() == self.outputs.len(), self.outputs.len());
        self.outputs.push(port);
    }

    /// Counts a port; a list that is full becomes twice as long.
    fn count_port(&mut self, port: &Port, is_full: bool, count: usize) {
        let list = if is_full { array_bytes::<Port>(2 * count.max(2)) } else { 0 };
        self.memory.change(0, block_bytes(port.name.len() as u64) + list);
    }

    /// Adds what a [`crate::dim::Symbol`] stands for.
    pub fn add_symbol(&mut self, name: String) {
        let is_full = self.symbols.capacity() == self.symbols.len();
        let list = if is_full { array_bytes::<String>(2 * self.symbols.len()) } else { 0 };
        self.memory.change(0, block_bytes(name.len() as u64) + list);
        self.symbols.push(name);
    }

    /// Counts what an operator holds besides its own fields, copies of its attributes' lists.
    pub fn count_operator_lists(&mut self, bytes: u64) {
        self.operator_bytes += bytes;
        self.memory.change(0, bytes);
    }

    /// A copy to bind the shapes of. Names, operators and constants are shared.
    ///
    /// # Errors
    /// [`BudgetError`] when it does not fit the budget beside this graph.
    pub fn copy_to_bind(&self) -> Result<Graph, BudgetError> {
        let mut copy = Graph { is_bound: true, ..Graph::new(self.file.clone(), self.budget()) };
        let nodes = self.nodes.iter().map(|node| copy.node_bytes(node)).sum::<u64>();
        copy.memory.grow(array_bytes::<Node>(self.nodes.len()) + nodes + self.names_bytes())?;
        copy.nodes.clone_from(&self.nodes);
        copy.inputs.clone_from(&self.inputs);
        copy.outputs.clone_from(&self.outputs);
        copy.states.clone_from(&self.states);
        copy.effects.clone_from(&self.effects);
        copy.symbols.clone_from(&self.symbols);
        for node in &mut copy.nodes {
            if let NodeKind::Region(region) = &mut node.kind {
                *region = Arc::new(region.copy_to_bind()?);
            }
        }
        Ok(copy)
    }

    /// The budget that it grows in.
    pub fn budget(&self) -> &MemoryBudget {
        self.memory.budget()
    }

    /// The account that it is counted on.
    pub(crate) fn memory(&self) -> &Account {
        &self.memory
    }

    /// Bytes that are reserved for it and its constants, of which a copy counts only those that were made for it.
    pub fn structure_bytes(&self) -> u64 {
        let purpose = self.constants_purpose();
        let bytes = |constant: &Constant| {
            let held = constant.held.as_deref().filter(|held| held.purpose() == purpose);
            held.map_or(0, Reservation::bytes)
        };
        let constants = self.nodes.iter().filter_map(|node| node.constant()).map(|constant| {
            let base = match &constant.data {
                ConstantData::Computed(computed) => bytes(computed.base()),
                ConstantData::Sparse(sparse) => sparse.parts().into_iter().map(|part| bytes(part)).sum(),
                _ => 0,
            };
            bytes(constant) + base
        });
        let bodies = self.nodes.iter().filter_map(|node| node.region()).flat_map(|region| &region.bodies);
        self.memory.used_bytes() + constants.sum::<u64>() + bodies.map(Graph::structure_bytes).sum::<u64>()
    }

    fn constants_purpose(&self) -> &'static str {
        if self.is_bound { BOUND_CONSTANTS } else { CONSTANTS }
    }

    /// Reserves memory for a constant of this graph.
    ///
    /// # Errors
    /// [`BudgetError`] when it is not free.
    pub fn reserve_constant(&self, bytes: u64) -> Result<Arc<Reservation>, BudgetError> {
        self.budget().try_reserve(self.constants_purpose(), bytes).map(Arc::new)
    }

    /// A constant to put into nodes of this graph. That it does not fit the budget is told by [`Graph::check`].
    pub fn hold(&mut self, mut constant: Constant) -> Arc<Constant> {
        if constant.held.is_none() {
            match self.reserve_constant(constant.heap_bytes()) {
                Ok(held) => constant.held = Some(held),
                Err(error) => self.memory.refuse(error),
            }
        }
        Arc::new(constant)
    }

    /// Makes a node compute nothing but be a constant.
    pub fn make_constant(&mut self, id: NodeId, constant: Constant) {
        let constant = self.hold(constant);
        let old = self.node_bytes(self.node(id));
        let node = self.node_mut(id);
        node.facts = vec![constant.fact()];
        node.kind = NodeKind::Constant(constant);
        node.inputs = Vec::new();
        let new = self.node_bytes(self.node(id));
        self.memory.change(old, new);
    }

    /// Replaces what is known of a node's outputs.
    pub fn set_facts(&mut self, id: NodeId, facts: Vec<Fact>) {
        let node = &mut self.nodes[id.0 as usize];
        let old = facts_bytes(&node.kind, &node.facts);
        node.facts = facts;
        self.memory.change(old, facts_bytes(&node.kind, &node.facts));
    }

    /// Forgets the values of a node's outputs.
    pub fn forget_values(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0 as usize];
        let old = facts_bytes(&node.kind, &node.facts);
        node.facts.iter_mut().for_each(|fact| fact.value = None);
        self.memory.change(old, facts_bytes(&node.kind, &node.facts));
    }

    /// Counts a node before it is added.
    pub(super) fn count_node(&mut self, node: &Node) {
        self.memory.change(0, self.node_bytes(node));
        if self.nodes.len() == self.nodes.capacity() {
            // What is refused is told by `check`; the list then grows by itself.
            let more = (self.nodes.len() / 4).max(4);
            let _ = self.memory.reserve(&mut self.nodes, more);
        }
    }

    /// Makes room for `more` nodes at once.
    ///
    /// # Errors
    /// [`BudgetError`] when it is not free.
    pub fn reserve_nodes(&mut self, more: usize) -> Result<(), BudgetError> {
        self.memory.reserve(&mut self.nodes, more)
    }

    /// Bytes that a node takes besides its place in the list. Names and operators of a copy are the original's.
    fn node_bytes(&self, node: &Node) -> u64 {
        let operator = match &node.kind {
            NodeKind::Region(region) => block_bytes(SHARED_BYTES) + region.heap_bytes(),
            _ if self.is_bound => 0,
            NodeKind::Operator(operator) => block_bytes(SHARED_BYTES + size_of_val(&**operator) as u64),
            NodeKind::Input { dims, .. } => dims.get().map_or(0, |dims| array_bytes::<Dim>(dims.len())),
            NodeKind::Constant(_) => 0,
        };
        let name = if self.is_bound { 0 } else { block_bytes(SHARED_BYTES + node.name.len() as u64) };
        let lists = list_bytes(&node.inputs) + list_bytes(&node.control);
        operator + name + lists + facts_bytes(&node.kind, &node.facts)
    }

    fn names_bytes(&self) -> u64 {
        let symbols = self.symbols.iter().map(|name| block_bytes(name.len() as u64)).sum::<u64>();
        let lists = ports_bytes(&self.inputs)
            + ports_bytes(&self.outputs)
            + list_bytes(&self.effects)
            + list_bytes(&self.states)
            + self.states.iter().map(|state| block_bytes(state.name.len() as u64)).sum::<u64>()
            + list_bytes(&self.symbols);
        lists + symbols + block_bytes(self.file.len() as u64)
    }

    /// Counts everything anew, after changes that were not counted one by one.
    ///
    /// # Errors
    /// [`BudgetError`] when it does not fit the budget.
    pub fn recount(&mut self) -> Result<(), BudgetError> {
        let nodes = self.nodes.iter().map(|node| self.node_bytes(node)).sum::<u64>();
        let bytes = list_bytes(&self.nodes) + nodes + self.names_bytes() + self.operator_bytes;
        self.memory.set(bytes)
    }

    /// Tells whether everything that was added fits the budget.
    ///
    /// # Errors
    /// The first [`BudgetError`].
    pub fn check(&self) -> Result<(), BudgetError> {
        self.memory.check()
    }

    /// Makes [`Graph::check`] tell of a refusal.
    pub(crate) fn refuse(&mut self, error: BudgetError) {
        self.memory.refuse(error);
    }

    /// True when something does not fit the budget: a pass need not go on.
    pub fn is_refused(&self) -> bool {
        self.memory.is_refused()
    }
}
