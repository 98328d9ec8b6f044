//! Variables that a run changes: the nodes that read and assign them become values that follow each other.
//!
//! A handle (VarHandleOp, VariableV2, and what hands it on) is no tensor here: it says which variable is meant. A read is the
//! value that the variable has by then, an assignment makes the next one. Nodes are imported after all that they need,
//! control edges included, so they are in an order that TensorFlow may run them in. A body with reads or assignments is given
//! the variable, and returns it where it assigns it.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::DType;
use tightfit_format::{AttrValue, NodeDef, TensorDef, TensorShapeDef};

use super::variables::{INITIAL, Read, Role, become_read, is_variable, no_value, role, variable_name};
use super::{Importer, take_attribute};
use crate::dim::{Dim, Dims};
use crate::error::GraphError;
use crate::fact::Fact;
use crate::ir::{Graph, Node, NodeId, NodeKind, State, ValueRef};
use crate::operator::attributes::Attributes;
use crate::operator::tables::TableSpec;
use crate::operator::{OpError, Operator};
use crate::ops::array::identity::Identity;
use crate::ops::state::variables as changing;
use crate::signature;

/// What a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Value(ValueRef),
    /// A variable, by its number.
    Handle(u32),
}

/// A variable while the graph is made.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    name: String,
    dtype: DType,
    dims: Dims,
    /// True for one that nodes take like a tensor (VariableV2), false for one after a resource.
    is_reference: bool,
    initial: Option<TensorDef>,
    /// What it is when the graph begins, once something has read it.
    before: Option<ValueRef>,
    /// What it is after what has been imported by now.
    current: Option<ValueRef>,
    /// The table that it is instead, and what was last done to it where runs change it.
    table: Option<(Arc<TableSpec>, Option<NodeId>)>,
}

/// The variables of a graph while it is made, and which outputs are handles of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    pub all: Vec<Variable>,
    /// What outputs of the file's nodes are, that are not those of the node made of them.
    outputs: HashMap<(usize, u32), Taken>,
}

impl Variables {
    /// The same variables for a body, in which nothing has read or assigned them.
    pub fn of_body(&self) -> Variables {
        let of_body = |v: &Variable| {
            let table = v.table.clone().map(|(spec, _)| (spec, None));
            Variable { before: None, current: None, initial: None, table, ..v.clone() }
        };
        let all = self.all.iter().map(of_body);
        Variables { all: all.collect(), outputs: HashMap::new() }
    }

    /// The number of the handle of a table.
    pub fn declare_table(&mut self, spec: Arc<TableSpec>) -> u32 {
        let is_own = |v: &Variable| v.table.as_ref().is_some_and(|(own, _)| own.name == spec.name);
        if let Some(number) = self.all.iter().position(is_own) {
            return number as u32;
        }
        self.all.push(Variable {
            name: spec.name.clone(),
            dtype: DType::U8,
            dims: Dims::scalar(),
            is_reference: false,
            initial: None,
            before: None,
            current: None,
            table: Some((spec, None)),
        });
        self.all.len() as u32 - 1
    }

    /// The table that a handle is of.
    pub fn table(&self, handle: u32) -> Option<Arc<TableSpec>> {
        self.all.get(handle as usize)?.table.as_ref().map(|(spec, _)| spec.clone())
    }

    /// What was last done to the table that is meant, where runs change it.
    pub fn last_access(&self, taken: Taken) -> Option<NodeId> {
        match taken {
            Taken::Handle(handle) => self.all.get(handle as usize)?.table.as_ref()?.1,
            Taken::Value(_) => None,
        }
    }

    /// Node `id` is the last that does something to the table that is meant.
    pub fn set_last_access(&mut self, taken: Taken, id: NodeId) {
        if let Taken::Handle(handle) = taken
            && let Some(Variable { table: Some((spec, last)), .. }) = self.all.get_mut(handle as usize)
            && spec.is_mutable
        {
            *last = Some(id);
        }
    }

    /// What output of a node of the file is, where that is not an output of the node made of it.
    pub fn output(&self, index: usize, output: u32) -> Option<Taken> {
        self.outputs.get(&(index, output)).copied()
    }

    /// True for a node that makes what some variable is by now.
    pub fn is_current(&self, id: NodeId) -> bool {
        self.all.iter().any(|variable| variable.current.is_some_and(|value| value.node == id))
    }

    /// Says what an output of a node of the file is.
    pub fn set_output(&mut self, index: usize, output: u32, is: Taken) {
        self.outputs.insert((index, output), is);
    }
}

/// The operators that are variables, and that read one.
const VARIABLES: [&str; 4] = ["VarHandleOp", "VariableV2", "Variable", "ReadVariableOp"];

/// What assigns a variable: the value that it is given, or that and the old one put together by another operator.
const ASSIGNMENTS: [(&str, Option<&str>); 6] = [
    ("Assign", None),
    ("AssignVariableOp", None),
    ("AssignAdd", Some("AddV2")),
    ("AssignAddVariableOp", Some("AddV2")),
    ("AssignSub", Some("Sub")),
    ("AssignSubVariableOp", Some("Sub")),
];

/// The operators that make, read or assign variables.
pub fn ops() -> impl Iterator<Item = &'static str> {
    VARIABLES.into_iter().chain(READS).chain(ASSIGNMENTS.iter().map(|(op, _)| *op)).chain(changing::names())
}

/// What is read of a variable besides its value.
pub const READS: [&str; 5] =
    ["ResourceGather", "ResourceGatherNd", "VariableShape", "VarIsInitializedOp", "IsVariableInitialized"];

/// True for one of [`ops`].
pub fn is_of_variables(op: &str) -> bool {
    ops().any(|own| own == op)
}

impl Importer<'_> {
    /// Adds a node of variables, or one that hands on their handles.
    pub(super) fn add_of_variables(
        &mut self,
        index: usize,
        taken: &[Taken],
        control: Vec<NodeId>,
    ) -> Result<NodeId, OpError> {
        let op = self.def.nodes[index].op.clone();
        if is_variable(&op) {
            let number = self.declare(index)?;
            self.variables.set_output(index, 0, Taken::Handle(number));
            return Ok(self.pass(index, Vec::new(), control));
        }
        if let Some((_, with)) = ASSIGNMENTS.iter().find(|(name, _)| **name == *op) {
            return self.assign(index, taken, control, *with);
        }
        if changing::changed(&op) > 0 {
            return self.advance(index, taken, control);
        }
        if let (Role::Read(read), [Taken::Handle(variable), others @ ..]) = (role(&op), taken)
            && read != Read::Value
            && self.variables.table(*variable).is_none()
        {
            return self.read_part(index, read, *variable, others, control);
        }
        match (&*op, taken) {
            ("ReadVariableOp", [Taken::Handle(variable)])
                if self.variables.all[*variable as usize].table.is_none() =>
            {
                let value = self.current(*variable);
                Ok(self.pass(index, vec![value], control))
            }
            // Identity of a reference is what the variable is by then.
            ("Identity", [Taken::Handle(variable)])
                if self.variables.all[*variable as usize].is_reference =>
            {
                let value = self.current(*variable);
                Ok(self.pass(index, vec![value], control))
            }
            ("Identity" | "IdentityN", taken) => {
                let mut values = Vec::with_capacity(taken.len());
                for (output, is) in taken.iter().enumerate() {
                    if let Taken::Value(value) = is {
                        values.push((output, *value));
                    } else {
                        self.variables.set_output(index, output as u32, *is);
                    }
                }
                let id = self.pass(index, values.iter().map(|(_, value)| *value).collect(), control);
                for (own, (output, _)) in values.into_iter().enumerate() {
                    let value = ValueRef { node: id, output: own as u32 };
                    self.variables.set_output(index, output as u32, Taken::Value(value));
                }
                Ok(id)
            }
            _ => Err(OpError::Unsupported("is given a variable, which is not supported".into())),
        }
    }

    /// Adds what a node reads of a variable, its shape or some of its slices: the operator that takes it of the value that the
    /// variable has by then.
    fn read_part(
        &mut self,
        index: usize,
        read: Read,
        variable: u32,
        others: &[Taken],
        control: Vec<NodeId>,
    ) -> Result<NodeId, OpError> {
        let no_tensor = || OpError::Unsupported("is given a variable where a tensor is needed".into());
        let others = self.values(others).ok_or_else(no_tensor)?;
        signature::check_attributes(&self.def.nodes[index])?;
        let of = &self.variables.all[variable as usize];
        let has_value = of.initial.is_some() || of.current.is_some();
        let dtype = AttrValue::Type(tightfit_format::DataType::from(of.dtype).0);
        let (mut node, mut more) = (self.def.nodes[index].clone(), Vec::new());
        if read == Read::IsInitialized && !has_value {
            let why = "asks for a variable that nothing has assigned yet, which is not supported";
            return Err(OpError::Unsupported(why.into()));
        }
        let name = node.name.clone();
        become_read(&mut node, read, name.clone(), dtype, &mut more);
        if read == Read::IsInitialized {
            return self.add_scalar(&mut node, control);
        }
        let mut inputs = vec![self.current(variable)];
        inputs.extend(others);
        for mut one in more {
            inputs.push(ValueRef::of(self.add_scalar(&mut one, Vec::new())?));
        }
        let operator = super::operator(&node)?;
        let facts = inputs.iter().map(|value| self.graph.fact(*value)).collect::<Vec<_>>();
        signature::check_inputs(&node, &facts.iter().map(|fact| fact.dtype).collect::<Vec<_>>())?;
        let facts = operator.infer(&facts)?;
        let kind = NodeKind::Operator(operator);
        Ok(self.graph.add(Node { name: (&*name).into(), kind, inputs, control, facts }))
    }

    /// Adds a Const.
    fn add_scalar(&mut self, node: &mut NodeDef, control: Vec<NodeId>) -> Result<NodeId, OpError> {
        let Some(AttrValue::Tensor(tensor)) = take_attribute(node, "value") else {
            return Err(OpError::Internal("a constant that a read needs has no value"));
        };
        let constant = self.constant(*tensor)?;
        let constant = self.graph.hold(constant);
        let (name, facts) = ((&*node.name).into(), vec![constant.fact()]);
        let kind = NodeKind::Constant(constant);
        Ok(self.graph.add(Node { name, kind, inputs: vec![], control, facts }))
    }

    /// The values that a node takes: of a reference, what the variable is by then. `None` for a resource.
    pub(super) fn values(&mut self, taken: &[Taken]) -> Option<Vec<ValueRef>> {
        taken
            .iter()
            .map(|taken| match taken {
                Taken::Value(value) => Some(*value),
                Taken::Handle(variable) if self.variables.all[*variable as usize].is_reference => {
                    Some(self.current(*variable))
                }
                Taken::Handle(_) => None,
            })
            .collect()
    }

    /// A node that hands on values, for its own name and its control edges.
    pub(super) fn pass(&mut self, index: usize, inputs: Vec<ValueRef>, control: Vec<NodeId>) -> NodeId {
        let facts = inputs.iter().map(|value| self.graph.fact(*value).clone()).collect();
        let kind = NodeKind::Operator(Arc::new(Identity));
        self.graph.add(Node { name: (&*self.def.nodes[index].name).into(), kind, inputs, control, facts })
    }

    fn assign(
        &mut self,
        index: usize,
        taken: &[Taken],
        control: Vec<NodeId>,
        with: Option<&str>,
    ) -> Result<NodeId, OpError> {
        let no_variable = || OpError::Unsupported("assigns to what is no variable of the graph".into());
        let [Taken::Handle(variable), Taken::Value(value)] = taken else { return Err(no_variable()) };
        if self.variables.table(*variable).is_some() {
            return Err(no_variable());
        }
        let id = match with {
            None => self.pass(index, vec![*value], control),
            Some(op) => {
                // What is added does not broadcast.
                let (given, own) = (self.graph.fact(*value), &self.variables.all[*variable as usize].dims);
                if let (Some(given_shape), Some(own)) = (given.dims.concrete(), own.concrete())
                    && given_shape != own
                    && !given.is_bound
                {
                    return Err(OpError::input(
                        1,
                        format!("is of shape {given_shape} for a variable of {own}"),
                    ));
                }
                let (is_open, own) = (given.is_bound || !given.dims.is_surely(own), self.current(*variable));
                let value = match is_open {
                    true => ValueRef::of(self.with_own_shape(*variable, *value)?),
                    false => *value,
                };
                let inputs = vec![own, value];
                let operator = self.plain_operator(op, self.variables.all[*variable as usize].dtype)?;
                let facts = operator.infer(&[self.graph.fact(inputs[0]), self.graph.fact(inputs[1])])?;
                let name = (&*self.def.nodes[index].name).into();
                let kind = NodeKind::Operator(operator);
                self.graph.add(Node { name, kind, inputs, control, facts })
            }
        };
        let variable_ = &mut self.variables.all[*variable as usize];
        let fact = self.graph.fact(ValueRef::of(id));
        let fits = fact.dims.get().zip(variable_.dims.get()).is_none_or(|(new, own)| {
            new.len() == own.len()
                && new
                    .iter()
                    .zip(own)
                    .all(|(new, own)| new == own || new.known().is_none() || own.known().is_none())
        });
        if fact.dtype != variable_.dtype || !fits {
            let (name, own) = (&variable_.name, Fact::new(variable_.dtype, variable_.dims.clone()));
            return Err(OpError::input(1, format!("is {fact}; variable '{name}' is {own}")));
        }
        let is_reference = variable_.is_reference;
        // What is as large as the variable at most may be smaller in a run.
        let is_sure = fact.dims.is_surely(&variable_.dims) && !fact.is_bound;
        let id = if is_sure { id } else { self.with_own_shape(*variable, ValueRef::of(id))? };
        self.set_current(*variable, ValueRef::of(id));
        if is_reference {
            self.variables.set_output(index, 0, Taken::Handle(*variable));
        }
        Ok(id)
    }

    /// Adds an operator that is given what variables are, as its first inputs, and whose last outputs are what they are from
    /// then on.
    fn advance(&mut self, index: usize, taken: &[Taken], control: Vec<NodeId>) -> Result<NodeId, OpError> {
        let no_variable = || OpError::Unsupported("takes what is no variable of the graph".into());
        let count = changing::changed(&self.def.nodes[index].op);
        let (handles, others) = taken.split_at_checked(count).ok_or_else(no_variable)?;
        let mut variables = Vec::with_capacity(count);
        for handle in handles {
            match handle {
                Taken::Handle(variable) if self.variables.table(*variable).is_none() => {
                    variables.push(*variable);
                }
                _ => return Err(no_variable()),
            }
        }
        let others = self.values(others).ok_or_else(no_variable)?;
        let mut inputs = Vec::with_capacity(taken.len());
        inputs.extend(variables.iter().map(|variable| self.current(*variable)));
        inputs.extend(others);
        let node = &self.def.nodes[index];
        signature::check_attributes(node)?;
        let facts: Vec<&Fact> = inputs.iter().map(|value| self.graph.fact(*value)).collect();
        signature::check_inputs(node, &facts.iter().map(|fact| fact.dtype).collect::<Vec<_>>())?;
        let operator = self.operator(node)?;
        let facts = operator.infer(&facts)?;
        let results = facts
            .len()
            .checked_sub(count)
            .ok_or(OpError::Internal("an operator of variables does not give what they are"))?;
        let (name, kind) = ((&*node.name).into(), NodeKind::Operator(operator));
        let id = self.graph.add(Node { name, kind, inputs, control, facts });
        for (output, variable) in (results..).zip(&variables) {
            self.set_current(*variable, ValueRef { node: id, output: output as u32 });
        }
        // What gives nothing else hands on its reference.
        match variables.first() {
            Some(first) if results == 0 && self.variables.all[*first as usize].is_reference => {
                self.variables.set_output(index, 0, Taken::Handle(*first));
            }
            _ => {}
        }
        Ok(id)
    }

    /// What a node makes, checked in the run to have the shape of a variable: that keeps its own.
    fn with_own_shape(&mut self, variable: u32, value: ValueRef) -> Result<NodeId, OpError> {
        let fact = self.declared(variable).1;
        let dims = fact.dims.get().into_iter().flatten().filter_map(|dim| dim.known()).collect();
        let shape = AttrValue::Shape(TensorShapeDef { dims: Some(dims) });
        let attrs = vec![("shape".into(), shape)];
        let operator = super::operator(&NodeDef { op: "EnsureShape".into(), attrs, ..NodeDef::default() })?;
        let name = self.graph.node(value.node).name.clone();
        let (kind, inputs) = (NodeKind::Operator(operator), vec![value]);
        Ok(self.graph.add(Node { name, kind, inputs, control: vec![], facts: vec![fact] }))
    }

    /// An operator of one type attribute.
    fn plain_operator(&self, op: &str, dtype: DType) -> Result<Arc<dyn Operator>, OpError> {
        let number = tightfit_format::DataType::from(dtype).0;
        let attrs = vec![("T".into(), AttrValue::Type(number))];
        super::operator(&NodeDef { op: op.into(), attrs, ..NodeDef::default() })
    }

    /// The number of a variable that a node names.
    fn declare(&mut self, index: usize) -> Result<u32, OpError> {
        let initial = match take_attribute(&mut self.def.nodes[index], INITIAL) {
            Some(AttrValue::Tensor(tensor)) => Some(*tensor),
            _ => None,
        };
        let node = &self.def.nodes[index];
        let attributes = Attributes::new(node);
        let name = variable_name(node).to_string();
        let is_own = |variable: &Variable| variable.name == name && variable.table.is_none();
        let found = self.variables.all.iter().position(is_own);
        if let Some(number) = found {
            return Ok(number as u32);
        }
        let dtype = attributes.dtype("dtype")?;
        if dtype == DType::String {
            return Err(OpError::Unsupported("is a variable of strings, which is not supported".into()));
        }
        let declared = attributes.shape_or_unknown("shape")?;
        let stored = initial.as_ref().map(|tensor| tensor.shape.to_vec());
        let dims = match stored.or(declared) {
            Some(dims) if dims.iter().all(|dim| *dim >= 0) => {
                Dims::new(dims.into_iter().map(Dim::Known).collect::<Vec<_>>())
            }
            _ => {
                return Err(OpError::Unsupported(
                    "is a variable of open shape that a run changes, which is not supported".into(),
                ));
            }
        };
        let is_reference = &*node.op != "VarHandleOp";
        let variable =
            Variable { name, dtype, dims, is_reference, initial, before: None, current: None, table: None };
        self.variables.all.push(variable);
        Ok(self.variables.all.len() as u32 - 1)
    }

    /// What a variable is by now.
    pub(super) fn current(&mut self, variable: u32) -> ValueRef {
        let of = &mut self.variables.all[variable as usize];
        if let Some(value) = of.current {
            return value;
        }
        let value = add_before(&mut self.graph, &of.name, Fact::new(of.dtype, of.dims.clone()));
        of.before = Some(value);
        of.current = Some(value);
        value
    }

    /// Sets what a variable is from now on.
    pub(super) fn set_current(&mut self, variable: u32, value: ValueRef) {
        self.variables.all[variable as usize].current = Some(value);
    }

    /// What is known of a variable before it is read: its name, and its type and shape.
    pub(super) fn declared(&self, variable: u32) -> (String, Fact) {
        let of = &self.variables.all[variable as usize];
        (of.name.clone(), Fact::new(of.dtype, of.dims.clone()))
    }

    /// Makes the variables that were read or assigned the graph's, and returns their numbers.
    pub(super) fn keep_states(&mut self) -> Result<Vec<u32>, GraphError> {
        let mut kept = Vec::new();
        for number in 0..self.variables.all.len() {
            let variable = self.variables.all[number].clone();
            let Some(after) = variable.current else { continue };
            let initial = match variable.initial {
                Some(tensor) => match self.constant(tensor) {
                    Ok(constant) => Some(self.graph.hold(constant)),
                    Err(source) => {
                        return Err(GraphError::Node {
                            file: self.graph.file.clone(),
                            node: variable.name,
                            op: "Variable".into(),
                            source: Box::new(source),
                        });
                    }
                },
                None => None,
            };
            let before = match variable.before {
                Some(before) => before,
                None => {
                    let fact = Fact::new(variable.dtype, variable.dims.clone());
                    add_before(&mut self.graph, &variable.name, fact)
                }
            };
            // What no run assigns is a constant: bodies are given it as what it is.
            if before == after && self.within.is_empty() {
                let Some(initial) = initial else {
                    let (file, variable) = (self.graph.file.clone(), variable.name);
                    return Err(match &self.options.checkpoint {
                        Some(checkpoint) => no_value(file, &variable, checkpoint),
                        None => GraphError::NotFrozen { file, variable, count: 1 },
                    });
                };
                let facts = vec![initial.fact()];
                self.graph.node_mut(before.node).kind = NodeKind::Constant(initial);
                self.graph.set_facts(before.node, facts);
                continue;
            }
            self.graph.states.push(State { name: variable.name, before, after, initial });
            kept.push(number as u32);
        }
        Ok(kept)
    }
}

/// Adds what a variable is before a graph runs.
pub(super) fn add_before(graph: &mut Graph, name: &str, fact: Fact) -> ValueRef {
    let kind = NodeKind::Input { dtype: fact.dtype, dims: fact.dims.clone() };
    let id = graph.add(Node { name: name.into(), kind, inputs: vec![], control: vec![], facts: vec![fact] });
    ValueRef::of(id)
}

#[cfg(test)]
mod tests;
