//! If, Case and While: the functions that they name become the bodies of one node.
//!
//! A body is a graph of its own: the function's nodes behind placeholders of what the node is given. Names in it are those of
//! the node, the function's part (`then`, `body`) and the function's own. What a loop's variables are is known once its body
//! has been imported, so a body whose variables change their shape is imported again for what they are in all turns.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_format::{AttrValue, FunctionDef, GraphDef, ListValue, NameAttrList, NodeDef};

use super::calls::{self, Library, tensors};
use super::{ImportOptions, Importer};
use crate::error::{GraphError, Unsupported};
use crate::fact::Fact;
use crate::infer::{infer_node, join};
use crate::ir::{Graph, Node, NodeId, NodeKind, Region, RegionKind, ValueRef};
use crate::operator::OpError;
use crate::ops;

/// The operators with bodies: kind, and the attributes that name the functions, with what a body is called in names.
const REGIONS: [(&str, RegionKind, &[(&str, &str)]); 6] = [
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

/// True for an operator with bodies.
pub fn has_bodies(op: &str) -> bool {
    REGIONS.iter().any(|(name, ..)| *name == op)
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
pub(super) fn report_unknown(node: &NodeDef, library: &Library, unsupported: &mut Unsupported) {
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
            let is_known = ops::is_supported(&inner.op) || has_bodies(&inner.op) || !called.is_empty();
            if !is_known {
                let name = format!("{}/{}", function.name, inner.name);
                unsupported.add(&inner.op, "operator not supported", &name);
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

impl Importer<'_> {
    /// Adds a node with bodies.
    pub(super) fn add_region(&mut self, index: usize) -> Result<(), GraphError> {
        let Some((inputs, control)) = self.made_inputs(index)? else { return Ok(()) };
        let node = &self.def.nodes[index];
        let made = self.region(node, inputs);
        let (region, inputs) = match made {
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
        let name = (&*self.def.nodes[index].name).into();
        let kind = NodeKind::Region(Arc::new(region));
        let id = self.graph.add(Node { name, kind, inputs, control, facts: vec![] });
        match infer_node(&self.graph, id) {
            Ok(facts) => self.graph.set_facts(id, facts),
            Err(GraphError::Node { node, op, source, .. }) => {
                self.unsupported.add(&op, source.to_string(), &node);
                return Ok(());
            }
            Err(other) => return Err(other),
        }
        self.made(index, id)
    }

    /// The bodies of a node, and what it is given: a selector, variables and captures.
    fn region(&self, node: &NodeDef, inputs: Vec<ValueRef>) -> Result<(Region, Vec<ValueRef>), GraphError> {
        let at = |source| GraphError::Node {
            file: self.graph.file.clone(),
            node: node.name.to_string(),
            op: node.op.to_string(),
            source: Box::new(source),
        };
        let (op, kind, calls) = body_calls(node).map_err(at)?;
        let facts: Vec<Fact> = inputs.iter().map(|value| self.graph.fact(*value).clone()).collect();
        if kind == RegionKind::Branch {
            let selector = facts.first().map(|fact| (fact.dtype, fact.dims.elements().known()));
            if !matches!(selector, Some((DType::Bool | DType::I32, Some(1)))) {
                let why = "is chosen by a tensor that is not one bool or int32, which is not supported";
                return Err(at(OpError::Unsupported(why.into())));
            }
        }
        let given = &facts[kind.own_inputs().min(facts.len())..];
        let bodies = match kind {
            RegionKind::Branch => {
                calls.iter().map(|call| self.body(node, call, given)).collect::<Result<_, _>>()?
            }
            RegionKind::Loop => self.loop_bodies(node, &calls, given)?,
        };
        Ok((Region { op, kind, bodies }, inputs))
    }

    /// The condition and the body of a loop, imported for what the variables are in all turns.
    fn loop_bodies(
        &self,
        node: &NodeDef,
        calls: &[BodyCall<'_>],
        given: &[Fact],
    ) -> Result<Vec<Graph>, GraphError> {
        let mut facts: Vec<Fact> = given.iter().map(|fact| Fact { value: None, ..fact.clone() }).collect();
        loop {
            let body = self.body(node, &calls[1], &facts)?;
            let returned = body.outputs.iter().map(|port| body.fact(port.value));
            // What does not go together is told when the node is inferred.
            let joined = facts.iter().zip(returned).map(|(a, b)| join(a, b, false));
            let joined: Option<Vec<Fact>> = joined.map(|fact| Some(Fact { value: None, ..fact? })).collect();
            match joined.filter(|joined| *joined != facts && joined.len() == facts.len()) {
                // Each time round something more is open.
                Some(joined) => facts = joined,
                None => return Ok(vec![self.body(node, &calls[0], &facts)?, body]),
            }
        }
    }

    /// The function of a body as a graph that is given tensors of these facts.
    fn body(&self, node: &NodeDef, call: &BodyCall<'_>, given: &[Fact]) -> Result<Graph, GraphError> {
        let name = format!("{}/{}", node.name, call.label);
        let function = self.library.get(&call.function.name).ok_or_else(|| GraphError::Node {
            file: self.graph.file.clone(),
            node: node.name.to_string(),
            op: node.op.to_string(),
            source: Box::new(OpError::Unsupported(format!(
                "has function '{}' for a body, which the file does not have",
                call.function.name
            ))),
        })?;
        if self.within.iter().any(|outer| *outer == function.name) {
            return Err(GraphError::Node {
                file: self.graph.file.clone(),
                node: node.name.to_string(),
                op: node.op.to_string(),
                source: Box::new(OpError::Unsupported(format!(
                    "has function '{}' for a body within that function, which is not supported",
                    function.name
                ))),
            });
        }
        let outputs: usize = function.output_args.iter().map(|arg| tensors(arg, &call.function.attrs)).sum();
        let placeholder = |input: usize| NodeDef {
            name: format!("{name}/given{input}").into(),
            op: GIVEN.into(),
            ..NodeDef::default()
        };
        let mut nodes: Vec<NodeDef> = (0..given.len()).map(placeholder).collect();
        let types = node.attr("Tout").or_else(|| node.attr("T")).cloned();
        nodes.push(NodeDef {
            name: name.as_str().into(),
            op: "PartitionedCall".into(),
            inputs: nodes.iter().map(|node| node.name.clone()).collect(),
            attrs: [
                Some(("f".into(), AttrValue::Func(Box::new(call.function.clone())))),
                types.map(|types| ("Tout".into(), types)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            ..NodeDef::default()
        });
        let mut def = GraphDef {
            nodes,
            functions: Vec::new(),
            producer: self.def.producer,
            min_consumer: self.def.min_consumer,
            source: self.source.clone(),
            reservation: self.graph.memory().room(0)?,
        };
        let fetches = (0..outputs).map(|output| format!("{name}:{output}")).collect();
        let options = ImportOptions { fetches, feeds: Vec::new() };
        calls::inline(&mut def, &self.library, &options)?;
        let mut importer =
            Importer::new(self.source, def, &options, self.graph.budget(), self.library.clone())?;
        importer.given = given.to_vec();
        importer.within = self.within.iter().cloned().chain([function.name.clone()]).collect();
        importer.import_body(&name, outputs)
    }

    /// Adds a placeholder of what a body is given.
    pub(super) fn add_given(&mut self, index: usize) -> Result<NodeId, OpError> {
        let fact = self.given.get(index).cloned();
        let fact = fact.ok_or(OpError::Internal("a body is given what its function takes"))?;
        let kind = NodeKind::Input { dtype: fact.dtype, dims: fact.dims.clone() };
        let name = (&*self.def.nodes[index].name).into();
        Ok(self.graph.add(Node { name, kind, inputs: vec![], control: vec![], facts: vec![fact] }))
    }
}
