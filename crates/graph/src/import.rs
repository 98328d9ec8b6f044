//! GraphDef -> [`Graph`]: only what the fetched tensors need, and all that cannot be run in one error.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_format::{AttrValue, DataType, GraphDef, NodeDef, SourceFile, TensorContent, TensorDef};

use crate::attributes::Attributes;
use crate::dim::{Dim, Dims, Symbol};
use crate::error::{GraphError, Unsupported};
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use crate::half;
use crate::infer::infer_node;
use crate::ir::{Constant, ConstantData, Graph, Node, NodeId, NodeKind, Port, ValueRef};
use crate::operator::OpError;
use crate::ops;
use crate::{narrow, signature};

/// What is wanted of a graph.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Tensors to compute, `node` or `node:output`. Empty: every node that no other uses.
    pub fetches: Vec<String>,
    /// Tensors that the caller feeds besides the placeholders. A fed node needs none of its inputs.
    pub feeds: Vec<String>,
}

/// Reads a frozen graph, binary or text.
///
/// # Errors
/// [`GraphError`] for a file that is none, a tensor that does not exist, a cycle, and for everything that cannot be
/// run, all at once.
pub fn import(
    source: &Arc<SourceFile>,
    mut def: GraphDef,
    options: &ImportOptions,
) -> Result<Graph, GraphError> {
    let tensors = def.nodes.iter_mut().map(take_tensor).collect();
    Importer::new(source, &def, tensors, options)?.import()
}

/// The value of a Const node, out of its attributes.
fn take_tensor(node: &mut NodeDef) -> Option<TensorDef> {
    let (_, value) = node.attrs.iter_mut().find(|(name, _)| &*node.op == "Const" && &**name == "value")?;
    match std::mem::replace(value, AttrValue::None) {
        AttrValue::Tensor(tensor) => Some(*tensor),
        _ => None,
    }
}

/// A tensor's name, split: `node:1` is output 1 of `node`, `node` its first.
pub fn split_name(name: &str) -> (&str, u16) {
    match name.rsplit_once(':').map(|(node, output)| (node, output.parse())) {
        Some((node, Ok(output))) => (node, output),
        _ => (name, 0),
    }
}

struct Importer<'a> {
    source: &'a Arc<SourceFile>,
    def: &'a GraphDef,
    options: &'a ImportOptions,
    by_name: HashMap<&'a str, usize>,
    graph: Graph,
    /// The graph's node for a node of the file.
    made: HashMap<usize, NodeId>,
    unsupported: Unsupported,
    /// The value of each Const node of the file.
    tensors: Vec<Option<TensorDef>>,
}

impl<'a> Importer<'a> {
    fn new(
        source: &'a Arc<SourceFile>,
        def: &'a GraphDef,
        tensors: Vec<Option<TensorDef>>,
        options: &'a ImportOptions,
    ) -> Result<Self, GraphError> {
        let mut by_name = HashMap::with_capacity(def.nodes.len());
        for (index, node) in def.nodes.iter().enumerate() {
            if by_name.insert(&*node.name, index).is_some() {
                return Err(GraphError::DuplicateNode { node: node.name.to_string() });
            }
        }
        let file = source.path().display().to_string();
        let graph = Graph { file: file.clone(), symbols: vec!["batch".into()], ..Graph::default() };
        let unsupported = Unsupported { file, ..Unsupported::default() };
        Ok(Importer { source, def, options, by_name, graph, made: HashMap::new(), unsupported, tensors })
    }

    fn import(mut self) -> Result<Graph, GraphError> {
        let fetches =
            if self.options.fetches.is_empty() { self.sinks() } else { self.options.fetches.clone() };
        let order = self.needed(&fetches)?;
        self.report_unknown(&order)?;
        for index in order {
            self.add(index)?;
        }
        if self.unsupported.count() > 0 {
            return Err(GraphError::Unsupported(self.unsupported));
        }
        for name in fetches {
            let value = self.value(&name, "--fetch")?;
            self.graph.outputs.push(Port { name, value });
        }
        Ok(self.graph)
    }

    /// The nodes that compute something nobody in the graph uses.
    fn sinks(&self) -> Vec<String> {
        let mut used = vec![false; self.def.nodes.len()];
        for node in &self.def.nodes {
            for input in node.inputs.iter().filter(|i| !i.starts_with('^')) {
                if let Some(index) = self.by_name.get(split_name(input).0) {
                    used[*index] = true;
                }
            }
        }
        let is_sink =
            |node: &NodeDef| !matches!(&*node.op, "NoOp" | "Const" | "Assert" | "Placeholder" | "SaveV2");
        let nodes = self.def.nodes.iter().zip(used);
        nodes.filter(|(node, used)| !used && is_sink(node)).map(|(node, _)| node.name.to_string()).collect()
    }

    fn index(&self, name: &str, asked_by: &str) -> Result<usize, GraphError> {
        self.by_name.get(name).copied().ok_or_else(|| GraphError::NoSuchTensor {
            asked_by: asked_by.to_string(),
            name: name.to_string(),
            similar: similar(name, self.def.nodes.iter().map(|n| &*n.name)),
        })
    }

    fn is_fed(&self, node: &NodeDef) -> bool {
        self.options.feeds.iter().any(|feed| split_name(feed).0 == &*node.name)
    }

    /// The nodes that the fetches need, each behind all it needs.
    fn needed(&self, fetches: &[String]) -> Result<Vec<usize>, GraphError> {
        let mut is_done: Vec<Option<bool>> = vec![None; self.def.nodes.len()];
        let mut order = Vec::new();
        let mut stack = Vec::new();
        let roots = fetches
            .iter()
            .map(|name| (name, "--fetch"))
            .chain(self.options.feeds.iter().map(|n| (n, "--input")));
        for (name, asked_by) in roots {
            stack.push((self.index(split_name(name).0, asked_by)?, 0));
            while let Some((index, next)) = stack.pop() {
                let node = &self.def.nodes[index];
                if next == 0 && is_done[index].is_some() {
                    continue;
                }
                is_done[index] = Some(false);
                let inputs: &[Box<str>] = if self.is_fed(node) { &[] } else { &node.inputs };
                let Some(input) = inputs.get(next) else {
                    is_done[index] = Some(true);
                    order.push(index);
                    continue;
                };
                stack.push((index, next + 1));
                let need = self
                    .index(split_name(input.trim_start_matches('^')).0, &format!("node '{}'", node.name))?;
                match is_done[need] {
                    None => stack.push((need, 0)),
                    Some(false) if !self.is_loop(&stack, need) => {
                        return Err(GraphError::Cycle { node: node.name.to_string() });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(order)
    }

    /// True when the way from `need` to the end of `stack` is a loop of TF1's control flow, which is no cycle.
    fn is_loop(&self, stack: &[(usize, usize)], need: usize) -> bool {
        let way = stack.iter().rev().take_while(|(index, _)| *index != need).map(|(index, _)| *index);
        way.chain([need]).any(|index| &*self.def.nodes[index].op == "NextIteration")
    }

    /// Names every operator that has no registration, before any shape is looked at: one missing operator would
    /// otherwise hide the next.
    fn report_unknown(&mut self, order: &[usize]) -> Result<(), GraphError> {
        for node in order.iter().map(|i| &self.def.nodes[*i]) {
            let is_known = self.is_fed(node) || ops::is_supported(&node.op);
            if !is_known {
                self.unsupported.add(&node.op, "operator not supported", &node.name);
            } else if !self.is_fed(node) && !is_structural(&node.op) {
                // Attributes do not depend on shapes, so their errors belong to the same list.
                if let Err(error) =
                    signature::check_attributes(node).and_then(|()| self.operator(node).map(drop))
                {
                    self.unsupported.add(&node.op, error.to_string(), &node.name);
                }
            }
        }
        if self.unsupported.count() == 0 {
            return Ok(());
        }
        Err(GraphError::Unsupported(std::mem::take(&mut self.unsupported)))
    }

    fn operator(&self, node: &NodeDef) -> Result<Arc<dyn crate::operator::Operator>, OpError> {
        let registration =
            ops::find(&node.op).ok_or_else(|| OpError::Unsupported("operator not supported".to_string()))?;
        (registration.import)(&Attributes::new(node)).map(Arc::from)
    }

    fn add(&mut self, index: usize) -> Result<(), GraphError> {
        let node = &self.def.nodes[index];
        let made = if self.is_fed(node) {
            self.add_input(node)
        } else {
            match &*node.op {
                "Const" => self.add_constant(index),
                "Placeholder" => self.add_input(node),
                _ => return self.add_operator(index),
            }
        };
        match made {
            Ok(id) => {
                self.made.insert(index, id);
            }
            Err(error) => {
                self.unsupported.add(&node.op, error.to_string(), &node.name);
            }
        }
        Ok(())
    }

    fn add_operator(&mut self, index: usize) -> Result<(), GraphError> {
        let node = &self.def.nodes[index];
        let mut inputs = Vec::new();
        let mut control = Vec::new();
        for input in &node.inputs {
            let (name, _) = split_name(input.trim_start_matches('^'));
            let need = self.index(name, &node.name)?;
            let Some(id) = self.made.get(&need).copied() else {
                // What it needs is in the list of what cannot be run already.
                return Ok(());
            };
            if input.starts_with('^') {
                control.push(id);
            } else {
                inputs.push(self.value(input, &format!("node '{}'", node.name))?);
            }
        }
        let types: Vec<DType> = inputs.iter().map(|value| self.graph.fact(*value).dtype).collect();
        let operator = match signature::check_inputs(node, &types).and_then(|()| self.operator(node)) {
            Ok(operator) => operator,
            Err(error) => {
                self.unsupported.add(&node.op, error.to_string(), &node.name);
                return Ok(());
            }
        };
        let kind = NodeKind::Operator(operator);
        let id = self.graph.add(Node { name: (&*node.name).into(), kind, inputs, control, facts: vec![] });
        match infer_node(&self.graph, id) {
            Ok(facts) => {
                self.graph.node_mut(id).facts = facts;
                self.made.insert(index, id);
                self.check(node, id);
            }
            Err(GraphError::Node { source, .. }) => {
                match narrow::widen(&mut self.graph, id).or_else(|| half::widen(&mut self.graph, id)) {
                    Some(made) => {
                        self.made.insert(index, made);
                        self.check(node, id);
                    }
                    None => self.unsupported.add(&node.op, source.to_string(), &node.name),
                }
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// Refuses what TensorFlow refuses of shapes that the file knows already.
    fn check(&mut self, node: &NodeDef, id: NodeId) {
        let made = self.graph.node(id);
        let facts = self.graph.input_facts(made);
        let checked = signature::ranks::check_in_file(&node.op, &facts);
        let checked =
            checked.and_then(|()| made.operator().map_or(Ok(()), |operator| operator.check(&facts)));
        if let Err(error) = checked {
            self.unsupported.add(&node.op, error.to_string(), &node.name);
        }
    }

    fn add_input(&mut self, node: &NodeDef) -> Result<NodeId, OpError> {
        let attributes = Attributes::new(node);
        // A fed node that is no placeholder has the type that its operator would give it.
        let dtype = match signature::output_type(node, 0) {
            Some(dtype) => dtype,
            None if node.attr("dtype").is_some() => attributes.dtype("dtype")?,
            None => attributes.dtype("T")?,
        };
        let declared = attributes.shape_or_unknown("shape")?;
        let dims = match declared {
            // Graphs of old producers write an unknown shape as a scalar's.
            Some(dims) if !(dims.is_empty() && self.def.producer < 24) => self.input_dims(&node.name, &dims),
            _ => Dims::UNKNOWN,
        };
        let facts = vec![Fact::new(dtype, dims.clone())];
        let kind = NodeKind::Input { dtype, dims };
        let id =
            self.graph.add(Node { name: (&*node.name).into(), kind, inputs: vec![], control: vec![], facts });
        self.graph.inputs.push(Port { name: node.name.to_string(), value: ValueRef::of(id) });
        Ok(id)
    }

    /// Open dimensions become symbols: the first of every input is the batch.
    fn input_dims(&mut self, name: &str, dims: &[i64]) -> Dims {
        let dims = dims.iter().enumerate().map(|(axis, dim)| match (axis, dim) {
            (0, ..0) => Dim::of(Symbol::BATCH),
            (_, ..0) => {
                let number = u16::try_from(self.graph.symbols.len()).unwrap_or(u16::MAX);
                self.graph.symbols.push(format!("axis {axis} of {name}"));
                Dim::of(Symbol(number))
            }
            (_, n) => Dim::Known(*n),
        });
        Dims::new(dims.collect::<Vec<_>>())
    }

    fn add_constant(&mut self, index: usize) -> Result<NodeId, OpError> {
        let node = &self.def.nodes[index];
        let tensor = self.tensors[index]
            .take()
            .ok_or_else(|| OpError::attribute("value", "is missing or no tensor"))?;
        let constant = constant(self.source, tensor)?;
        let facts = vec![constant.fact()];
        let kind = NodeKind::Constant(Arc::new(constant));
        Ok(self.graph.add(Node { name: (&*node.name).into(), kind, inputs: vec![], control: vec![], facts }))
    }

    fn value(&self, name: &str, asked_by: &str) -> Result<ValueRef, GraphError> {
        let (node, output) = split_name(name);
        let index = self.index(node, asked_by)?;
        let value = self.made.get(&index).map(|id| ValueRef { node: *id, output });
        value.filter(|v| (v.output as usize) < self.graph.node(v.node).facts.len()).ok_or_else(|| {
            GraphError::NoSuchTensor {
                asked_by: asked_by.to_string(),
                name: name.to_string(),
                similar: vec![node.to_string()],
            }
        })
    }
}

/// Nodes that are no operator but part of the graph's own structure.
fn is_structural(op: &str) -> bool {
    matches!(op, "Const" | "Placeholder")
}

/// The constant of a tensor in the file: small ones are read, large ones stay there.
fn constant(source: &Arc<SourceFile>, tensor: TensorDef) -> Result<Constant, OpError> {
    let data_type = DataType(tensor.dtype);
    let dtype = data_type.dtype().ok_or_else(|| {
        OpError::attribute("value", format!("is a tensor of {data_type}, a type that is not supported"))
    })?;
    let dims: Result<Vec<usize>, _> = tensor.shape.iter().map(|d| usize::try_from(*d)).collect();
    let dims = dims.map_err(|_| OpError::attribute("value", "is a tensor of open shape"))?;
    let shape = Shape::new(&dims)?;
    let bytes = shape.elements() * dtype.bytes();
    let data = match &tensor.content {
        TensorContent::Strings(strings) if dtype == DType::String => {
            ConstantData::Strings(strings.clone().into())
        }
        _ if dtype == DType::String => {
            return Err(OpError::attribute("value", "holds no strings in a tensor of strings"));
        }
        TensorContent::Strings(_) | TensorContent::Opaque => {
            return Err(OpError::attribute("value", format!("does not hold elements of {dtype}")));
        }
        _ if bytes <= KNOWN_VALUE_MAX_BYTES => {
            let mut elements = vec![0; bytes];
            tensor.read_into(source, &mut elements)?;
            ConstantData::Memory(elements.into())
        }
        TensorContent::File { offset, bytes: present } if *present == bytes as u64 => {
            ConstantData::File { source: source.clone(), offset: *offset }
        }
        _ => ConstantData::Tensor { source: source.clone(), tensor: Box::new(tensor) },
    };
    Ok(Constant { dtype, shape, data })
}

/// How many names are suggested in place of one that does not exist.
const SUGGESTIONS: usize = 3;

/// The names that share the most with `name`, best first.
pub fn similar<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    let mut scored: Vec<(usize, &str)> = names
        .filter_map(|candidate| {
            let other = candidate.to_ascii_lowercase();
            let common = lower.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            let score = if other.contains(&lower) || lower.contains(&other) { 100 } else { common };
            (score >= 3.min(lower.len().max(1))).then_some((score, candidate))
        })
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.len().cmp(&b.1.len())));
    scored.into_iter().take(SUGGESTIONS).map(|(_, n)| n.to_string()).collect()
}
