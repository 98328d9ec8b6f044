//! If, Case and While: the functions that they name become the bodies of one node.
//!
//! A body is a graph of its own: the function's nodes after placeholders of what the node is given. Names in it are those of
//! the node, the function's part (`then`, `body`) and the function's own. What a loop's variables are is known once its body
//! has been imported, so a body whose variables change their shape is imported again for what they are in all turns.

use std::collections::BTreeSet;
use std::sync::Arc;

use tightfit_core::DType;
use tightfit_format::{AttrValue, FunctionDef, GraphDef, ListValue, NameAttrList, NodeDef};

use super::calls::{self, Library, tensors};
use super::state::{Taken, add_before, is_of_variables};
use super::tables::is_of_tables;
use super::{ImportOptions, Importer, Operators};
use crate::error::{GraphError, Unsupported};
use crate::fact::Fact;
use crate::infer::{infer_node, join};
use crate::ir::{Graph, Node, NodeId, NodeKind, Port, Region, RegionKind, State, ValueRef};
use crate::operator::{OpError, Operator};
use crate::ops;
use crate::ops::array::identity::{EnsureShape, Identity};
use crate::ops::data_flow::truth::Truth;

/// An operator with bodies: kind, and the attributes that name the functions, with what a body is called in names.
type Row = (&'static str, RegionKind, &'static [(&'static str, &'static str)]);

/// The operators with bodies.
const REGIONS: [Row; 6] = [
    ("If", RegionKind::Branch, &[("then_branch", "then"), ("else_branch", "else")]),
    ("StatelessIf", RegionKind::Branch, &[("then_branch", "then"), ("else_branch", "else")]),
    ("Case", RegionKind::Branch, &[("branches", "branch")]),
    ("StatelessCase", RegionKind::Branch, &[("branches", "branch")]),
    ("While", RegionKind::Loop, &[("cond", "cond"), ("body", "body")]),
    ("StatelessWhile", RegionKind::Loop, &[("cond", "cond"), ("body", "body")]),
];

/// The operator of a placeholder in a body, which no file has.
pub(super) const GIVEN: &str = "_Given";

/// The node that calls a body's function has the name of the body.
struct BodyCall<'n> {
    label: String,
    function: &'n NameAttrList,
}

/// The operators with bodies.
pub fn ops() -> impl Iterator<Item = &'static str> {
    REGIONS.iter().map(|(op, ..)| *op)
}

/// True for one of [`ops`].
pub fn has_bodies(op: &str) -> bool {
    ops().any(|own| own == op)
}

/// The functions that a node's bodies are.
fn body_calls(node: &NodeDef) -> Result<(&'static str, RegionKind, Vec<BodyCall<'_>>), OpError> {
    let row = REGIONS.iter().find(|(name, ..)| **name == *node.op);
    let (op, kind, attributes) = row.ok_or(OpError::Internal("an operator has bodies"))?;
    let mut calls = Vec::new();
    for (attribute, label) in *attributes {
        match node.attr(attribute) {
            Some(AttrValue::Func(function)) => calls.push(BodyCall { label: (*label).into(), function }),
            Some(AttrValue::List(ListValue::Funcs(functions))) if !functions.is_empty() => {
                let numbered = functions.iter().enumerate();
                calls.extend(
                    numbered.map(|(n, function)| BodyCall { label: format!("{label}{n}"), function }),
                );
            }
            _ => return Err(OpError::attribute(*attribute, "names no function")),
        }
    }
    Ok((*op, *kind, calls))
}

/// Adds to `unsupported` the operators in the functions that a node's bodies are, and in those that they call, that have no
/// registration.
pub(super) fn report_unknown(
    node: &NodeDef,
    library: &Library,
    own: &Operators,
    unsupported: &mut Unsupported,
) {
    let mut seen: Vec<&str> = Vec::new();
    let mut left: Vec<&FunctionDef> = named(node).filter_map(|name| library.get(name)).collect();
    while let Some(function) = left.pop() {
        if seen.contains(&&*function.name) {
            continue;
        }
        seen.push(&function.name);
        for inner in &function.nodes {
            let called: Vec<&str> = named(inner).chain([&*inner.op]).collect();
            let called: Vec<&FunctionDef> = called.iter().filter_map(|name| library.get(*name)).collect();
            let is_structure = has_bodies(&inner.op) || is_of_variables(&inner.op) || is_of_tables(&inner.op);
            let is_operator = ops::is_supported(&inner.op) || own.has(&inner.op);
            let is_known = is_operator || is_structure || !called.is_empty();
            if !is_known {
                let name = format!("{}/{}", function.name, inner.name);
                let why = super::tflite::why(inner).unwrap_or("operator not supported");
                unsupported.add(&inner.op, why, &name);
            }
            left.extend(called);
        }
    }
}

/// The names of the functions among a node's attributes.
fn named(node: &NodeDef) -> impl Iterator<Item = &str> {
    node.attrs.iter().flat_map(|(_, value)| {
        let functions: &[NameAttrList] = match value {
            AttrValue::Func(function) => std::slice::from_ref(&**function),
            AttrValue::List(ListValue::Funcs(functions)) => functions,
            _ => &[],
        };
        functions.iter().map(|function| &*function.name)
    })
}

/// What a body is given.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Value(Fact),
    /// A variable, by its number.
    Handle(u32),
}

/// A body while its node is made.
pub(super) struct Body {
    pub graph: Graph,
    /// What its function returns; tensors are outputs of the graph.
    pub returned: Vec<Taken>,
    /// The variables that it reads or assigns, by their numbers.
    pub states: Vec<(u32, State)>,
}

impl Body {
    fn state(&self, variable: u32) -> Option<&State> {
        self.states.iter().find(|(number, _)| *number == variable).map(|(_, state)| state)
    }

    fn assigns(&self, variable: u32) -> bool {
        self.state(variable).is_some_and(|state| state.before != state.after)
    }
}

/// A node with bodies while it is made.
struct Made {
    region: Region,
    inputs: Vec<ValueRef>,
    /// What the outputs of the file's node are: those of the region by their numbers, or handles.
    outputs: Vec<Output>,
    /// The variables that it assigns, each with the number of the output that is its value from then on.
    assigned: Vec<(u32, usize)>,
}

/// An output of a node with bodies in the file.
enum Output {
    Value(usize),
    Handle(u32),
}

impl Importer<'_> {
    /// Adds a node with bodies.
    pub(super) fn add_region(
        &mut self,
        index: usize,
        taken: &[Taken],
        mut control: Vec<NodeId>,
    ) -> Result<(), GraphError> {
        let node = self.def.nodes[index].clone();
        self.follow_access(taken, &mut control);
        let made = match self.region(&node, taken) {
            Ok(made) => made,
            Err(GraphError::Unsupported(inner)) => {
                self.unsupported.append(inner);
                return Ok(());
            }
            Err(GraphError::Node { node: inner, op, source, .. }) => {
                self.unsupported.add(&op, source.to_string(), &inner);
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let kind = NodeKind::Region(Arc::new(made.region));
        let name = (&*node.name).into();
        let id = self.graph.add(Node { name, kind, inputs: made.inputs, control, facts: vec![] });
        match infer_node(&self.graph, id) {
            Ok(facts) => self.graph.set_facts(id, facts),
            Err(GraphError::Node { node, op, source, .. }) => {
                self.unsupported.add(&op, source.to_string(), &node);
                return Ok(());
            }
            Err(other) => return Err(other),
        }
        self.note_access(taken, id);
        for (output, is) in made.outputs.into_iter().enumerate() {
            let is = match is {
                Output::Value(own) => Taken::Value(ValueRef { node: id, output: own as u32 }),
                Output::Handle(variable) => Taken::Handle(variable),
            };
            self.variables.set_output(index, output as u32, is);
        }
        for (variable, output) in made.assigned {
            self.set_current(variable, ValueRef { node: id, output: output as u32 });
        }
        self.made(index, id)
    }

    fn error_of(&self, node: &NodeDef, source: OpError) -> GraphError {
        GraphError::Node {
            file: self.graph.file.clone(),
            node: node.name.to_string(),
            op: node.op.to_string(),
            source: Box::new(source),
        }
    }

    /// The bodies of a node, and what it is given: a selector, variables and captures.
    fn region(&mut self, node: &NodeDef, taken: &[Taken]) -> Result<Made, GraphError> {
        let (op, kind, calls) = body_calls(node).map_err(|source| self.error_of(node, source))?;
        let own = kind.own_inputs().min(taken.len());
        let mut selector = self.values(&taken[..own]).unwrap_or_default();
        if op.ends_with("If") {
            for condition in &mut selector {
                *condition = truth_of(&mut self.graph, *condition)?;
            }
        } else if kind == RegionKind::Branch {
            for number in &mut selector {
                *number = scalar_of(&mut self.graph, *number)?;
            }
            if selector.first().is_none_or(|number| self.graph.fact(*number).dtype != DType::I32) {
                return Err(self.error_of(node, OpError::input(0, "is no int32")));
            }
        }
        let given = &taken[own..];
        let facts: Vec<Given> = given
            .iter()
            .map(|taken| match taken {
                Taken::Value(value) => Given::Value(self.graph.fact(*value).clone()),
                Taken::Handle(variable) => Given::Handle(*variable),
            })
            .collect();
        let mut bodies = match kind {
            RegionKind::Branch => {
                calls.iter().map(|call| self.body(node, call, &facts)).collect::<Result<Vec<_>, _>>()?
            }
            RegionKind::Loop => self.loop_bodies(node, &calls, facts)?,
        };
        let mut inputs = selector;
        inputs.extend(given.iter().filter_map(|taken| match taken {
            Taken::Value(value) => Some(*value),
            Taken::Handle(_) => None,
        }));
        let returned = bodies.last().map_or(&[][..], |body| &body.returned);
        let mut values = 0..;
        let outputs: Vec<Output> = returned
            .iter()
            .map(|taken| match taken {
                Taken::Value(_) => Output::Value(values.next().unwrap_or_default()),
                Taken::Handle(variable) => Output::Handle(*variable),
            })
            .collect();
        let assigned = self.give_states(kind, &mut bodies, &mut inputs);
        let region = Region { op, kind, bodies: bodies.into_iter().map(|body| body.graph).collect() };
        Ok(Made { region, inputs, outputs, assigned })
    }

    /// Gives bodies the variables that one of them reads or assigns, and makes them return those that one assigns.
    fn give_states(
        &mut self,
        kind: RegionKind,
        bodies: &mut [Body],
        inputs: &mut Vec<ValueRef>,
    ) -> Vec<(u32, usize)> {
        let used: BTreeSet<u32> =
            bodies.iter().flat_map(|b| &b.states).map(|(variable, _)| *variable).collect();
        // What a loop assigns are variables of the loop, which come before captures.
        let (assigned, read): (Vec<u32>, Vec<u32>) =
            used.into_iter().partition(|variable| bodies.iter().any(|body| body.assigns(*variable)));
        let mut outputs = Vec::with_capacity(assigned.len());
        for variable in assigned.iter().chain(&read) {
            let is_assigned = outputs.len() < assigned.len();
            let (name, fact) = self.declared(*variable);
            inputs.push(self.current(*variable));
            for (number, body) in bodies.iter_mut().enumerate() {
                let (before, after) = match body.state(*variable) {
                    Some(state) => (state.before, state.after),
                    None => {
                        let value = add_before(&mut body.graph, &name, fact.clone());
                        (value, value)
                    }
                };
                body.graph.add_input(Port { name: name.clone(), value: before });
                let returns = is_assigned && (kind == RegionKind::Branch || number == 1);
                if returns {
                    body.graph.add_output(Port { name: name.clone(), value: after });
                }
            }
            if is_assigned {
                let of = bodies.last().map_or(0, |body| body.graph.outputs.len());
                outputs.push((*variable, of.saturating_sub(1)));
            }
        }
        outputs
    }

    /// The condition and the body of a loop, imported for what the variables are in all turns.
    fn loop_bodies(
        &self,
        node: &NodeDef,
        calls: &[BodyCall<'_>],
        mut given: Vec<Given>,
    ) -> Result<Vec<Body>, GraphError> {
        for given in &mut given {
            if let Given::Value(fact) = given {
                fact.value = None;
            }
        }
        loop {
            let body = self.body(node, &calls[1], &given)?;
            let mut has_changed = false;
            let mut returned = body.graph.outputs.iter();
            for (given, taken) in given.iter_mut().zip(&body.returned) {
                let (Given::Value(fact), Taken::Value(_)) = (given, taken) else { continue };
                let Some(port) = returned.next() else { continue };
                // What does not go together is told when the node is inferred. Each time round something more is open.
                let Some(joined) = join(fact, body.graph.fact(port.value), false) else { continue };
                let joined = Fact { value: None, ..joined };
                has_changed |= joined != *fact;
                *fact = joined;
            }
            if !has_changed {
                let mut condition = self.body(node, &calls[0], &given)?;
                let holds = condition.graph.outputs.first().map(|port| port.value);
                if let Some(holds) = holds {
                    condition.graph.outputs[0].value = truth_of(&mut condition.graph, holds)?;
                }
                return Ok(vec![condition, body]);
            }
        }
    }

    /// The function of a body as a graph that is given these tensors.
    fn body(&self, node: &NodeDef, call: &BodyCall<'_>, given: &[Given]) -> Result<Body, GraphError> {
        let refused = |why| self.error_of(node, OpError::Unsupported(why));
        let name = format!("{}/{}", node.name, call.label);
        let function = self.library.get(&call.function.name).ok_or_else(|| {
            refused(format!("has function '{}' for a body, which the file does not have", call.function.name))
        })?;
        if self.within.contains(&function.name) {
            return Err(refused(format!(
                "has function '{}' for a body within that function, which is not supported",
                function.name
            )));
        }
        let outputs: usize = function.output_args.iter().map(|arg| tensors(arg, &call.function.attrs)).sum();
        let mut def = GraphDef {
            nodes: body_nodes(node, &name, call, given.len()),
            functions: Vec::new(),
            producer: self.def.producer,
            min_consumer: self.def.min_consumer,
            source: self.source.clone(),
            reservation: self.graph.memory().room(0)?,
        };
        let fetches = (0..outputs).map(|output| format!("{name}:{output}")).collect();
        let operators = self.options.operators.clone();
        let options = ImportOptions { fetches, operators, ..ImportOptions::default() };
        calls::inline_from(&mut def, &self.library, &options)?;
        let library = self.library.clone();
        let mut importer =
            Importer::new(self.source, def, &options, Vec::new(), self.graph.budget(), library)?;
        importer.given = given.to_vec();
        importer.variables = self.variables.of_body();
        importer.tables = self.tables.clone();
        importer.within = self.within.iter().cloned().chain([function.name.clone()]).collect();
        importer.import_body(&name, outputs)
    }

    /// Adds a placeholder of what a body is given.
    pub(super) fn add_given(&mut self, index: usize) -> Result<NodeId, OpError> {
        let given = self.given.get(index).cloned();
        let name = (&*self.def.nodes[index].name).into();
        let (kind, facts) = match given.ok_or(OpError::Internal("a body is given what its function takes"))? {
            Given::Value(fact) => {
                (NodeKind::Input { dtype: fact.dtype, dims: fact.dims.clone() }, vec![fact])
            }
            Given::Handle(variable) => {
                self.variables.set_output(index, 0, Taken::Handle(variable));
                (NodeKind::Operator(Arc::new(Identity)), vec![])
            }
        };
        Ok(self.graph.add(Node { name, kind, inputs: vec![], control: vec![], facts }))
    }
}

/// What a branch or a loop takes a tensor for that it is chosen by: one bool.
fn truth_of(graph: &mut Graph, condition: ValueRef) -> Result<ValueRef, GraphError> {
    let fact = graph.fact(condition);
    if fact.dtype == DType::Bool && is_scalar(fact) {
        Ok(condition)
    } else {
        behind(graph, condition, Truth { name: "If" })
    }
}

/// A number that chooses a branch: a tensor that is no scalar is refused, where need be as the graph runs.
fn scalar_of(graph: &mut Graph, number: ValueRef) -> Result<ValueRef, GraphError> {
    if is_scalar(graph.fact(number)) { Ok(number) } else { behind(graph, number, EnsureShape::scalar()) }
}

fn is_scalar(fact: &Fact) -> bool {
    fact.dims.get().is_some_and(|dims| dims.is_empty())
}

/// What an operator makes of a value.
fn behind(graph: &mut Graph, value: ValueRef, operator: impl Operator) -> Result<ValueRef, GraphError> {
    let name = graph.node(value.node).name.clone();
    let kind = NodeKind::Operator(Arc::new(operator));
    let node = graph.add(Node { name, kind, inputs: vec![value], control: vec![], facts: vec![] });
    let facts = infer_node(graph, node)?;
    graph.set_facts(node, facts);
    Ok(ValueRef { node, output: 0 })
}

/// The nodes of a body: placeholders of what it is given, and the call of its function.
fn body_nodes(node: &NodeDef, name: &str, call: &BodyCall<'_>, given: usize) -> Vec<NodeDef> {
    let placeholder = |input: usize| NodeDef {
        name: format!("{name}/given{input}").into(),
        op: GIVEN.into(),
        ..NodeDef::default()
    };
    let mut nodes: Vec<NodeDef> = (0..given).map(placeholder).collect();
    let types = node.attr("Tout").or_else(|| node.attr("T")).cloned();
    let function = Some(("f".into(), AttrValue::Func(Box::new(call.function.clone()))));
    nodes.push(NodeDef {
        name: name.into(),
        op: "PartitionedCall".into(),
        inputs: nodes.iter().map(|node| node.name.clone()).collect(),
        attrs: function.into_iter().chain(types.map(|types| ("Tout".into(), types))).collect(),
        ..NodeDef::default()
    });
    nodes
}
