//! The graph while operators are added to it.

use std::collections::{HashMap, HashSet};

use tightfit_core::{Account, BudgetError, MemoryBudget};
use tightfit_format::tflite::{
    OPERATORS, Operator, OptionValue, Options, Place, Signature, SubGraph, Tensor, TensorKind,
};
use tightfit_format::{AttrValue, DataType, GraphDef, NodeDef, TensorDef};

use super::values::Constant;
use super::{Facts, Lowered};
use crate::error::{GraphError, Unsupported};
use crate::fact::Fact;
use crate::import::split_name;

/// What the memory of the graph is reserved for.
const PURPOSE: &str = "graph of the model that is written";

/// What a tensor or an operator takes besides its lists.
const ITEM_BYTES: u64 = 512;

/// The key of the signature that is written.
const KEY: &str = "serving_default";

/// The number of a tensor.
pub(super) type Id = i32;

/// An option of an operator.
pub(super) type Set = (&'static str, OptionValue);

/// A graph that is being made of a GraphDef.
pub(super) struct Lower<'d> {
    pub def: &'d GraphDef,
    pub facts: &'d Facts,
    pub graph: SubGraph,
    pub constants: Vec<Constant>,
    /// The tensor of each tensor of the GraphDef, `node` or `node:1`.
    names: HashMap<String, Id>,
    nodes: HashMap<&'d str, usize>,
    signature: Signature,
    /// Nodes that have no builtin: the number of the operator that stands for each, and why.
    refused: HashMap<usize, (usize, String)>,
    account: Account,
}

/// Why a node has no builtin.
#[derive(Debug)]
pub(super) enum Refusal {
    Why(String),
    Over(BudgetError),
}

impl From<BudgetError> for Refusal {
    fn from(error: BudgetError) -> Self {
        Refusal::Over(error)
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::Why(why)
    }
}

/// Adds the operators of a node.
pub(super) type Make = fn(&mut Lower<'_>, &NodeDef) -> Result<()>;

pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// A refusal with this reason.
pub(super) fn why<T>(text: impl Into<String>) -> Result<T> {
    Err(Refusal::Why(text.into()))
}

/// The number of a builtin.
pub(super) fn code(name: &str) -> i32 {
    OPERATORS.iter().position(|own| *own == name).map_or(-1, |number| number as i32)
}

/// A tensor's name as it is kept: without the number of a first output.
fn key(name: &str) -> String {
    match split_name(name.trim_start_matches('^')) {
        (node, 0) => node.to_string(),
        (node, number) => format!("{node}:{number}"),
    }
}

impl<'d> Lower<'d> {
    pub fn new(def: &'d GraphDef, facts: &'d Facts, budget: &MemoryBudget) -> Lower<'d> {
        let nodes = def.nodes.iter().enumerate().map(|(index, node)| (&*node.name, index)).collect();
        Lower {
            def,
            facts,
            graph: SubGraph {
                name: "main".into(),
                tensors: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                operators: Vec::new(),
            },
            constants: Vec::new(),
            names: HashMap::new(),
            nodes,
            signature: Signature { key: KEY.into(), subgraph: 0, inputs: Vec::new(), outputs: Vec::new() },
            refused: HashMap::new(),
            account: Account::new(budget, PURPOSE),
        }
    }

    /// What is known of a tensor of the GraphDef.
    pub fn fact(&self, name: &str) -> Option<&'d Fact> {
        let (node, number) = split_name(name);
        self.facts.get(&format!("{node}:{number}"))
    }

    /// The constant that a tensor of the GraphDef is.
    pub fn constant_of(&self, name: &str) -> Option<&'d TensorDef> {
        let mut name = name;
        for _ in 0..self.def.nodes.len() {
            let node = &self.def.nodes[*self.nodes.get(split_name(name).0)?];
            match (&*node.op, node.attr("value")) {
                ("Const", Some(AttrValue::Tensor(tensor))) => return Some(tensor),
                ("Identity", _) => name = node.inputs.first()?,
                _ => return None,
            }
        }
        None
    }

    /// Adds the placeholders.
    pub fn inputs(&mut self, inputs: &[(String, String)]) -> std::result::Result<(), GraphError> {
        for (shown, name) in inputs {
            let fact = self.fact(name);
            let id = self.tensor(&key(name), fact).map_err(|refusal| match refusal {
                Refusal::Why(why) => GraphError::Broken { node: name.clone(), why },
                Refusal::Over(error) => GraphError::Budget(error),
            })?;
            self.names.insert(key(name), id);
            self.graph.inputs.push(id);
            self.signature.inputs.push((shown.as_str().into(), id as u32));
        }
        Ok(())
    }

    /// Adds the operators of all nodes, which stand after those that they take.
    pub fn nodes(&mut self, make: Make) -> std::result::Result<(), GraphError> {
        let def = self.def;
        for (index, node) in def.nodes.iter().enumerate() {
            if self.names.contains_key(&*node.name) || matches!(&*node.op, "Const" | "NoOp") {
                continue;
            }
            let made = make(self, node);
            match made {
                Ok(()) => {}
                Err(Refusal::Over(error)) => return Err(GraphError::Budget(error)),
                Err(Refusal::Why(why)) => self.refuse(index, node, why)?,
            }
        }
        Ok(())
    }

    /// Adds an operator that stands for a node that has none: whether it is needed shows at the end.
    fn refuse(&mut self, index: usize, node: &NodeDef, why: String) -> std::result::Result<(), GraphError> {
        let inputs = node.inputs.iter().filter(|input| !input.starts_with('^'));
        let inputs: Vec<Id> = inputs.filter_map(|input| self.names.get(&key(input)).copied()).collect();
        let outputs = self.facts.keys().filter(|name| split_name(name).0 == &*node.name).count().max(1);
        let mut ids = Vec::with_capacity(outputs);
        for number in 0..outputs {
            self.graph.tensors.push(blank(&node.name));
            let id = self.graph.tensors.len() as Id - 1;
            self.names.insert(key(&format!("{}:{number}", node.name)), id);
            ids.push(id);
        }
        self.refused.insert(self.graph.operators.len(), (index, why));
        self.account.grow(ITEM_BYTES * (1 + outputs as u64)).map_err(GraphError::Budget)?;
        self.graph.operators.push(Operator {
            code: -1,
            custom: None,
            version: 1,
            inputs,
            outputs: ids,
            intermediates: Vec::new(),
            options: Options::default(),
            custom_options: Place::default(),
        });
        Ok(())
    }

    /// Says what is returned.
    pub fn outputs(&mut self, outputs: &[(String, String)]) -> std::result::Result<(), GraphError> {
        for (shown, name) in outputs {
            let id = match self.input_id(name) {
                Ok(id) => id,
                Err(Refusal::Over(error)) => return Err(GraphError::Budget(error)),
                Err(Refusal::Why(why)) => return Err(GraphError::Broken { node: name.clone(), why }),
            };
            self.graph.outputs.push(id);
            self.signature.outputs.push((shown.as_str().into(), id as u32));
        }
        Ok(())
    }

    /// Leaves out what no output needs.
    pub fn prune(&mut self) -> std::result::Result<(), GraphError> {
        let is_needed = needed(&self.graph);
        let mut unsupported =
            Unsupported { file: self.def.source.path().display().to_string(), ..Unsupported::default() };
        let mut refused: Vec<_> = self.refused.iter().filter(|(at, _)| is_needed[**at]).collect();
        refused.sort_unstable_by_key(|(at, _)| **at);
        for (_, (index, why)) in refused {
            let node = &self.def.nodes[*index];
            unsupported.add(&node.op, why.as_str(), &node.name);
        }
        if unsupported.count() > 0 {
            return Err(GraphError::Unsupported(unsupported));
        }
        let mut marks = is_needed.into_iter();
        self.graph.operators.retain(|_| marks.next().unwrap_or(false));
        Ok(())
    }

    /// The graph, once biases and activations are where they belong.
    pub fn finish(self) -> std::result::Result<Lowered, GraphError> {
        let mut unsupported =
            Unsupported { file: self.def.source.path().display().to_string(), ..Unsupported::default() };
        if let Some(operator) = self.graph.operators.iter().find(|operator| operator.code < 0) {
            let output = operator.outputs.first().and_then(|id| self.graph.tensors.get(*id as usize));
            let name = output.map_or("", |tensor| &tensor.name);
            let op = operator.custom.as_deref().unwrap_or("?");
            unsupported.add(op, "TensorFlow Lite has no builtin for it", name);
        }
        if unsupported.count() > 0 {
            return Err(GraphError::Unsupported(unsupported));
        }
        let mut lowered = Lowered {
            graph: self.graph,
            signature: self.signature,
            constants: self.constants,
            _account: self.account,
        };
        compact(&mut lowered);
        Ok(lowered)
    }

    /// Adds a tensor of that name.
    pub fn tensor(&mut self, name: &str, fact: Option<&Fact>) -> Result<Id> {
        let Some(fact) = fact else { return why(format!("the type of '{name}' is not known")) };
        let data_type = DataType::from(fact.dtype);
        let Some(kind) = TensorKind::of(data_type) else {
            return why(format!("'{name}' is of {data_type}, which TensorFlow Lite does not have"));
        };
        let dims = fact.dims.get().map(|dims| dims.iter().map(|dim| dim.known()).collect::<Vec<_>>());
        let mut tensor = Tensor { kind, ..blank(name) };
        if let Some(dims) = dims {
            let is_open = dims.iter().any(Option::is_none);
            let number = |dim: &Option<i64>, open: i32| dim.map_or(open, |dim| dim as i32);
            tensor.shape = dims.iter().map(|dim| number(dim, 1)).collect();
            if is_open {
                tensor.signature = dims.iter().map(|dim| number(dim, -1)).collect();
            }
        }
        self.add(tensor)
    }

    fn add(&mut self, tensor: Tensor) -> Result<Id> {
        self.account.grow(ITEM_BYTES + tensor.name.len() as u64)?;
        self.graph.tensors.push(tensor);
        Ok(self.graph.tensors.len() as Id - 1)
    }

    /// Adds a tensor like another that a step on the way to it has.
    pub fn like(&mut self, id: Id, name: &str, shape: &[i64]) -> Result<Id> {
        let kind = self.get(id).kind;
        let mut tensor = Tensor { kind, ..blank(name) };
        tensor.shape = shape.iter().map(|dim| if *dim < 0 { 1 } else { *dim as i32 }).collect();
        if shape.iter().any(|dim| *dim < 0) {
            tensor.signature = shape.iter().map(|dim| *dim as i32).collect();
        }
        self.add(tensor)
    }

    pub fn get(&self, id: Id) -> &Tensor {
        &self.graph.tensors[id as usize]
    }

    /// The dimensions of a tensor, -1 for an open one.
    pub fn dims(&self, id: Id) -> Vec<i64> {
        self.get(id).open_shape()
    }

    /// Adds a constant of a name.
    pub fn constant(&mut self, name: &str, constant: Constant, shape: &[i64]) -> Result<Id> {
        let data_type = DataType(constant.tensor.dtype);
        let (Some(kind), Some(bytes)) = (TensorKind::of(data_type), constant.tensor.bytes()) else {
            return why(format!("'{name}' is of {data_type}, which TensorFlow Lite does not have"));
        };
        // An empty constant has no bytes that could say that it is one.
        if bytes == 0 {
            return why(format!("'{name}' is a constant without elements"));
        }
        let values = Place { offset: self.constants.len() as u64, bytes };
        self.account.grow(ITEM_BYTES + constant.tensor.present_bytes().min(1 << 12))?;
        self.constants.push(constant);
        let shape = shape.iter().map(|dim| *dim as i32).collect();
        self.add(Tensor { kind, values, shape, ..blank(name) })
    }

    /// Adds a vector of int32, or one of them where `is_scalar`.
    pub fn ints(&mut self, name: &str, values: &[i64], is_scalar: bool) -> Result<Id> {
        let bytes = values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect();
        let shape = [values.len() as i64];
        let shape = if is_scalar { &[][..] } else { &shape[..] };
        self.constant(name, Constant::of_bytes(3, shape, bytes), shape)
    }

    /// Adds a vector of float32.
    pub fn floats(&mut self, name: &str, values: &[f32]) -> Result<Id> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = [values.len() as i64];
        self.constant(name, Constant::of_bytes(1, &shape, bytes), &shape)
    }

    /// The tensor that a tensor of the GraphDef became; a constant is added the first time.
    pub fn input_id(&mut self, name: &str) -> Result<Id> {
        if let Some(id) = self.names.get(&key(name)) {
            return Ok(*id);
        }
        let Some(tensor) = self.constant_of(name) else { return why(format!("nothing makes '{name}'")) };
        let shape = tensor.shape.clone();
        let id = self.constant(&key(name), Constant::plain(tensor.clone()), &shape)?;
        self.names.insert(key(name), id);
        Ok(id)
    }

    /// Lets an output of a node be this tensor.
    pub fn bind(&mut self, node: &NodeDef, output: usize, id: Id) {
        self.names.insert(key(&format!("{}:{output}", node.name)), id);
    }

    /// Adds an operator.
    pub fn operator(
        &mut self,
        builtin: &'static str,
        inputs: &[Id],
        outputs: &[Id],
        table: &'static str,
        fields: &[Set],
    ) -> Result<()> {
        self.account.grow(ITEM_BYTES + 8 * (inputs.len() + outputs.len()) as u64)?;
        let number = code(builtin);
        self.graph.operators.push(Operator {
            code: number,
            custom: (number < 0).then(|| builtin.into()),
            version: 1,
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            intermediates: Vec::new(),
            options: Options { table, fields: fields.to_vec() },
            custom_options: Place::default(),
        });
        Ok(())
    }

    /// Adds the tensor of a node's output, and lets it be that.
    pub fn output(&mut self, node: &NodeDef, number: usize) -> Result<Id> {
        let name = format!("{}:{number}", node.name);
        let fact = self.fact(&name);
        // In a graph `node:1` is an output, and a tensor's name is a node's there.
        let own = if number == 0 { node.name.to_string() } else { format!("{}#{number}", node.name) };
        let id = self.tensor(&own, fact)?;
        self.names.insert(key(&name), id);
        Ok(id)
    }
}

fn blank(name: &str) -> Tensor {
    Tensor {
        name: name.into(),
        kind: TensorKind(0),
        shape: Vec::new(),
        signature: Vec::new(),
        values: Place::default(),
        external: None,
        quantization: None,
        blockwise: None,
        is_variable: false,
        sparsity: None,
    }
}

/// Marks the operators that outputs need.
pub(super) fn needed(graph: &SubGraph) -> Vec<bool> {
    let mut tensors: HashSet<Id> = graph.outputs.iter().copied().collect();
    let mut marks = vec![false; graph.operators.len()];
    for (index, operator) in graph.operators.iter().enumerate().rev() {
        if operator.outputs.iter().any(|id| tensors.contains(id)) {
            marks[index] = true;
            tensors.extend(&operator.inputs);
        }
    }
    marks
}

/// Leaves out tensors that nothing takes, and gives the others numbers without gaps.
fn compact(lowered: &mut Lowered) {
    let graph = &mut lowered.graph;
    let mut numbers = vec![-1; graph.tensors.len()];
    let used = graph.operators.iter().flat_map(|operator| operator.inputs.iter().chain(&operator.outputs));
    let used: HashSet<Id> = used.chain(&graph.inputs).chain(&graph.outputs).copied().collect();
    let mut kept = 0;
    for (index, number) in numbers.iter_mut().enumerate() {
        if used.contains(&(index as Id)) {
            *number = kept;
            kept += 1;
        }
    }
    let mut marks = numbers.iter();
    graph.tensors.retain(|_| marks.next().is_some_and(|number| *number >= 0));
    let renumber = |id: &mut Id| {
        if let Some(number) = usize::try_from(*id).ok().and_then(|id| numbers.get(id)) {
            *id = *number;
        }
    };
    for operator in &mut graph.operators {
        operator.inputs.iter_mut().chain(&mut operator.outputs).for_each(renumber);
    }
    graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(renumber);
    let signature = &mut lowered.signature;
    for (_, number) in signature.inputs.iter_mut().chain(&mut signature.outputs) {
        if let Some(new) = numbers.get(*number as usize) {
            *number = *new as u32;
        }
    }
}
