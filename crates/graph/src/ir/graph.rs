//! The graph: nodes in no particular order, joined by value references.

use std::fmt;
use std::sync::Arc;

use tightfit_core::{Account, DType};

use super::constant::Constant;
use super::region::Region;
use super::state::State;
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Operator;

/// A node's place in [`Graph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueRef {
    /// The node.
    pub node: NodeId,
    /// Which of its outputs.
    pub output: u32,
}

/// A computation over tensors.
#[derive(Debug)]
pub struct Graph {
    /// The file it was read from, for messages.
    pub file: String,
    /// The nodes. An input may stand after its user: [`Graph::order`] sorts.
    pub nodes: Vec<Node>,
    /// The inputs that a caller feeds.
    pub inputs: Vec<Port>,
    /// The tensors that are fetched.
    pub outputs: Vec<Port>,
    /// The variables that a run leaves for the next one.
    pub states: Vec<State>,
    /// Nodes that must run though no output needs them.
    pub effects: Vec<NodeId>,
    /// What each [`crate::dim::Symbol`] stands for: `batch`, or an input and its axis.
    pub symbols: Vec<String>,
    pub(super) memory: Account,
    /// True for a copy with shapes bound, which shares names, operators and constants with the graph it is of.
    pub(super) is_bound: bool,
    /// Bytes that operators hold besides their own fields.
    pub(super) operator_bytes: u64,
}

/// An input or output of the graph under the name that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The name.
    pub name: String,
    /// The tensor.
    pub value: ValueRef,
}

/// One step of the computation.
#[derive(Debug, Clone)]
pub struct Node {
    /// The name in the file; a node made by a pass keeps the name of the one whose result it computes.
    pub name: Arc<str>,
    /// What it computes.
    pub kind: NodeKind,
    /// Its inputs.
    pub inputs: Vec<ValueRef>,
    /// Nodes that must have run before.
    pub control: Vec<NodeId>,
    /// What is known of its outputs.
    pub facts: Vec<Fact>,
}

/// Where a node's outputs come from.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// From the caller.
    Input {
        /// What the file says of it.
        dtype: DType,
        /// What the file says of it, its open dimensions as symbols.
        dims: Dims,
    },
    /// From the file.
    Constant(Arc<Constant>),
    /// From an operator.
    Operator(Arc<dyn Operator>),
    /// From bodies of its own. Nobody shares them while they may change.
    Region(Arc<Region>),
}

impl Node {
    /// The operator, when it is one.
    pub fn operator(&self) -> Option<&dyn Operator> {
        match &self.kind {
            NodeKind::Operator(operator) => Some(&**operator),
            _ => None,
        }
    }

    /// The operator to put into another node, when it is one.
    pub fn operator_arc(&self) -> Option<Arc<dyn Operator>> {
        match &self.kind {
            NodeKind::Operator(operator) => Some(operator.clone()),
            _ => None,
        }
    }

    /// The operator as a `T`, when it is one.
    pub fn is<T: Operator>(&self) -> Option<&T> {
        self.operator()?.downcast()
    }

    /// The constant, when it is one.
    pub fn constant(&self) -> Option<&Arc<Constant>> {
        match &self.kind {
            NodeKind::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// The bodies, when it has some.
    pub fn region(&self) -> Option<&Region> {
        match &self.kind {
            NodeKind::Region(region) => Some(region),
            _ => None,
        }
    }

    /// What computes it: the operator's name, `Const` or `Placeholder`.
    pub fn op_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Input { .. } => "Placeholder",
            NodeKind::Constant(_) => "Const",
            NodeKind::Operator(operator) => operator.name(),
            NodeKind::Region(region) => region.op,
        }
    }
}

impl Graph {
    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// A node to change.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// The node that computes a value.
    pub fn producer(&self, value: ValueRef) -> &Node {
        self.node(value.node)
    }

    /// What is known of a value.
    pub fn fact(&self, value: ValueRef) -> &Fact {
        &self.node(value.node).facts[value.output as usize]
    }

    /// What is known of a node's inputs.
    pub fn input_facts(&self, node: &Node) -> Vec<&Fact> {
        node.inputs.iter().map(|v| self.fact(*v)).collect()
    }

    /// What comes from outside: the inputs, and what the variables are before a run.
    pub fn given(&self) -> impl Iterator<Item = ValueRef> + Clone + '_ {
        let inputs = self.inputs.iter().map(|port| port.value);
        inputs.chain(self.states.iter().map(|state| state.before))
    }

    /// What is left of a run: the fetched tensors, and what the variables are after it.
    pub fn results(&self) -> impl Iterator<Item = ValueRef> + Clone + '_ {
        let outputs = self.outputs.iter().map(|port| port.value);
        outputs.chain(self.states.iter().map(|state| state.after))
    }

    /// One of [`Graph::results`] to change.
    pub fn result_mut(&mut self, number: usize) -> Option<&mut ValueRef> {
        let outputs = self.outputs.len();
        match number.checked_sub(outputs) {
            None => self.outputs.get_mut(number).map(|port| &mut port.value),
            Some(state) => self.states.get_mut(state).map(|state| &mut state.after),
        }
    }

    /// One of [`Graph::results`].
    pub fn result(&self, number: usize) -> Option<ValueRef> {
        match number.checked_sub(self.outputs.len()) {
            None => self.outputs.get(number).map(|port| port.value),
            Some(state) => self.states.get(state).map(|state| state.after),
        }
    }

    /// True where running a node may end the run or differ from run to run, as far as is known of its inputs.
    pub fn has_effect(&self, node: &Node) -> bool {
        match &node.kind {
            NodeKind::Operator(operator) => {
                !operator.is_pure() && operator.has_effect(&self.input_facts(node))
            }
            NodeKind::Region(region) => region.has_effect(),
            NodeKind::Input { .. } | NodeKind::Constant(_) => false,
        }
    }

    /// The bodies of a node to change, when it has some and nobody shares them.
    pub fn region_mut(&mut self, id: NodeId) -> Option<&mut Region> {
        match &mut self.node_mut(id).kind {
            NodeKind::Region(region) => Arc::get_mut(region),
            _ => None,
        }
    }

    /// The nodes that have bodies.
    pub fn regions(&self) -> Vec<NodeId> {
        self.ids().filter(|id| self.node(*id).region().is_some()).collect()
    }

    /// Every node's id.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Adds a node. That it does not fit the budget is told by [`Graph::check`].
    pub fn add(&mut self, node: Node) -> NodeId {
        self.count_node(&node);
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Adds a constant in memory under a name.
    pub fn add_constant(&mut self, name: &str, constant: Constant) -> ValueRef {
        let facts = vec![constant.fact()];
        let kind = NodeKind::Constant(self.hold(constant));
        ValueRef::of(self.add(Node { name: name.into(), kind, inputs: vec![], control: vec![], facts }))
    }

    /// The nodes that outputs need, each after all it needs, or a node on a cycle. Depth first from the outputs:
    /// one branch is computed whole before the next, which keeps few values alive at once.
    ///
    /// # Errors
    /// A node that needs itself.
    pub fn order(&self) -> Result<Vec<NodeId>, NodeId> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<(NodeId, usize)> = Vec::new();
        for root in self.roots() {
            if marks[root.0 as usize] == Mark::New {
                marks[root.0 as usize] = Mark::Open;
                stack.push((root, 0));
            }
            while let Some((id, next)) = stack.last_mut() {
                let node = self.node(*id);
                let needs = match node.inputs.get(*next) {
                    Some(value) => Some(value.node),
                    None => node.control.get(*next - node.inputs.len()).copied(),
                };
                *next += 1;
                match needs {
                    Some(need) => match marks[need.0 as usize] {
                        Mark::New => {
                            marks[need.0 as usize] = Mark::Open;
                            stack.push((need, 0));
                        }
                        Mark::Open => return Err(need),
                        Mark::Done => {}
                    },
                    None => {
                        marks[id.0 as usize] = Mark::Done;
                        order.push(*id);
                        stack.pop();
                    }
                }
            }
        }
        Ok(order)
    }

    fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        let values = self.results().chain(self.given()).map(|value| value.node);
        values.chain(self.effects.iter().copied())
    }
}

impl ValueRef {
    /// The first output of a node.
    pub fn of(node: NodeId) -> ValueRef {
        ValueRef { node, output: 0 }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for ValueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.output {
            0 => write!(f, "{}", self.node),
            output => write!(f, "{}:{output}", self.node),
        }
    }
}

/// The graph as text, a node a line in the order of computation, for people and for tests.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = self.order().unwrap_or_else(|_| self.ids().collect());
        for id in order {
            let node = self.node(id);
            write!(f, "{id} = ")?;
            match &node.kind {
                NodeKind::Operator(operator) => write!(f, "{operator:?}")?,
                NodeKind::Region(region) => {
                    writeln!(f, "{} {{", region.op)?;
                    region.bodies.iter().try_for_each(|body| writeln!(f, "{body}}}"))?;
                }
                _ => f.write_str(node.op_name())?,
            }
            f.write_str("(")?;
            for (i, value) in node.inputs.iter().enumerate() {
                write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
            }
            f.write_str(")")?;
            for control in &node.control {
                write!(f, " after {control}")?;
            }
            for (i, fact) in node.facts.iter().enumerate() {
                write!(f, "{}{fact}", if i > 0 { ", " } else { " -> " })?;
            }
            writeln!(f, "  # {}", node.name)?;
        }
        for port in &self.outputs {
            writeln!(f, "return {} as {}", port.value, port.name)?;
        }
        for state in &self.states {
            writeln!(f, "keep {} as {}", state.after, state.name)?;
        }
        Ok(())
    }
}
