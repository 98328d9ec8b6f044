//! Variables of a checkpoint: a variable that nothing in the wanted part of the graph assigns is a constant whose value
//! stands in the checkpoint.
//!
//! Which value is whose the graph says itself: its restore operator reads tensors of the checkpoint by name and assigns them.
//! Where there is no such operator, a variable has the name of its tensor, or TensorFlow 2's graph of objects tells it.
//! The variable becomes a Const whose bytes stay in the shard; what reads it, or gathers from it, takes that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tightfit_core::{MemoryBudget, Reservation, block_bytes};
use tightfit_format::{
    AttrValue, DataType, GraphDef, InlineBytes, NodeDef, Objects, TensorBundle, TensorContent, TensorDef,
};

use super::names::Names;
use super::{ImportOptions, file, memory_error_of, split_name};
use crate::error::GraphError;
use crate::operator::OpError;
use crate::ops::state::variables as changing;

/// The attribute of a variable that holds what it is before the first run; no file has it.
pub(super) const INITIAL: &str = "_initial_value";

/// The values of a graph's variables.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Where they are.
    pub bundle: Arc<TensorBundle>,
    /// The operator that assigns them; empty where the graph does not say.
    pub restore_op: String,
}

/// What a node is to variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is one, whose value others take as it is.
    Value,
    /// It is one, whose value others read.
    Handle,
    /// It hands on what it is given.
    Pass,
    /// It reads a handle: what becomes of it.
    Read(Read),
    Other,
}

/// What a node makes of the handle that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Value,
    Gather,
    GatherNd,
    Shape,
    IsInitialized,
}

pub(super) fn role(op: &str) -> Role {
    match op {
        "VariableV2" | "Variable" => Role::Value,
        "VarHandleOp" => Role::Handle,
        "Identity" | "IdentityN" => Role::Pass,
        "ReadVariableOp" => Role::Read(Read::Value),
        "ResourceGather" => Role::Read(Read::Gather),
        "ResourceGatherNd" => Role::Read(Read::GatherNd),
        "VariableShape" => Role::Read(Read::Shape),
        "VarIsInitializedOp" | "IsVariableInitialized" => Role::Read(Read::IsInitialized),
        _ => Role::Other,
    }
}

/// True for an operator that is a variable.
pub(super) fn is_variable(op: &str) -> bool {
    matches!(role(op), Role::Value | Role::Handle)
}

/// The name that a variable's nodes share: two handles of one name are one variable.
pub(super) fn variable_name(node: &NodeDef) -> &str {
    match node.attr("shared_name") {
        Some(AttrValue::Str(name)) if !name.is_empty() => std::str::from_utf8(name).unwrap_or(&node.name),
        _ => &node.name,
    }
}

/// How many value variables an operator changes, which are its first inputs.
fn changes(op: &str) -> usize {
    changing::changed(op).max(usize::from(op.starts_with("Assign")))
}

/// Puts constants in the place of the variables that the fetched tensors read.
///
/// # Errors
/// [`GraphError::Format`] for values that are not all there, [`GraphError::NotFrozen`] where a variable is read and there
/// is no checkpoint, [`GraphError::Node`] for a value of another type or shape than the variable's.
///
/// With `with_initial` the other variables get what they are before the first run, as the attribute [`INITIAL`].
pub fn freeze(
    def: &mut GraphDef,
    options: &ImportOptions,
    budget: &MemoryBudget,
    with_initial: bool,
) -> Result<(), GraphError> {
    if !def.nodes.iter().any(|node| is_variable(&node.op)) {
        return Ok(());
    }
    let count = def.nodes.len();
    let bytes = Names::bytes(count) + count as u64 * WORKING_BYTES;
    let mut working = budget.try_reserve(PURPOSE, bytes).map_err(|source| memory_error_of(def, source))?;
    let graph = Graph::new(def)?;
    let fetched = graph.reachable(options.fetches.iter().map(String::as_str), options.fetches.is_empty());
    let constant = graph.constant_variables(&fetched);
    let Some(checkpoint) = &options.checkpoint else {
        let has_no_value = |index: &&usize| def.nodes[**index].attr(INITIAL).is_none();
        return match constant.iter().filter(has_no_value).min() {
            Some(first) => Err(GraphError::NotFrozen {
                file: file(def),
                variable: def.nodes[*first].name.to_string(),
                count: constant.len(),
            }),
            None => Ok(()),
        };
    };
    let mut keys = Keys::new(def, &graph, checkpoint, budget, &mut working)?;
    let mut edits = Vec::with_capacity(count);
    let mut frozen = HashSet::new();
    for index in (0..count).filter(|index| fetched[*index] && graph.is_variable(*index)) {
        let is_constant = constant.contains(&index);
        if !is_constant && !with_initial {
            continue;
        }
        if let Some((key, spec)) = keys.find(def, &graph, index)? {
            if is_constant {
                frozen.insert(index);
            }
            edits.push((index, Edit::Value { key, spec, is_constant }));
        } else if is_constant && graph.is_read(index, &fetched) {
            return Err(no_value(file(def), graph.identity(index), checkpoint));
        }
    }
    for index in (0..count).filter(|index| fetched[*index]) {
        if let Role::Read(read) = graph.role(index)
            && let Some(variable) = graph.variable_of_input(index, 0).filter(|v| frozen.contains(v))
        {
            let node = &def.nodes[variable];
            let dtype = node.attr("dtype").cloned().unwrap_or(AttrValue::None);
            edits.push((index, Edit::Read { read, variable: node.name.clone(), dtype }));
        }
    }
    drop(graph);
    let mut axes = Vec::new();
    for (index, edit) in edits {
        apply(def, index, edit, checkpoint, &mut axes)?;
    }
    let bytes = axes.iter().map(|axis: &NodeDef| super::calls::node_bytes(axis)).sum::<u64>();
    def.reservation.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
    def.nodes.append(&mut axes);
    Ok(())
}

/// What the tables of names, marks and edits are reserved for.
const PURPOSE: &str = "values of the model's variables";

/// Bytes of those tables for each node: a mark, a place on the stack, which doubles, and an edit.
const WORKING_BYTES: u64 = (1 + 2 * size_of::<usize>() + size_of::<(usize, Edit)>()) as u64;

/// Bytes of a table's entry besides its texts.
const ENTRY_BYTES: u64 = 3 * (3 * size_of::<String>() as u64 + 1);

/// The error of a variable that the checkpoint does not have.
pub(super) fn no_value(file: String, variable: &str, checkpoint: &Checkpoint) -> GraphError {
    let names = checkpoint.bundle.entries().map(|(name, _)| name);
    GraphError::NoValue {
        file,
        variable: variable.to_string(),
        checkpoint: checkpoint.bundle.prefix().display().to_string(),
        similar: super::similar(variable, names),
    }
}

/// What is done to a node.
enum Edit {
    Value { key: String, spec: String, is_constant: bool },
    Read { read: Read, variable: Box<str>, dtype: AttrValue },
}

/// A graph whose nodes are found by name.
pub(super) struct Graph<'d> {
    nodes: &'d [NodeDef],
    names: Names,
}

impl<'d> Graph<'d> {
    pub fn new(def: &'d GraphDef) -> Result<Graph<'d>, GraphError> {
        let nodes = &def.nodes[..];
        let names = Names::new(nodes.len(), |i| &nodes[i].name)
            .map_err(|i| GraphError::DuplicateNode { node: nodes[i].name.to_string() })?;
        Ok(Graph { nodes, names })
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.find(name, |i| &self.nodes[i].name)
    }

    fn role(&self, index: usize) -> Role {
        self.nodes.get(index).map_or(Role::Other, |node| role(&node.op))
    }

    /// Marks the nodes that `roots` need; all nodes where `is_all`.
    pub fn reachable<'n>(&self, roots: impl Iterator<Item = &'n str>, is_all: bool) -> Vec<bool> {
        if is_all {
            return vec![true; self.nodes.len()];
        }
        let node_of = |name: &str| self.find(split_name(name.trim_start_matches('^')).0);
        let mut stack: Vec<usize> = roots.filter_map(node_of).collect();
        let mut marks = vec![false; self.nodes.len()];
        while let Some(index) = stack.pop() {
            if !std::mem::replace(&mut marks[index], true) {
                stack.extend(self.nodes[index].inputs.iter().filter_map(|input| node_of(input)));
            }
        }
        marks
    }

    /// The node and output after nodes that only hand on what they are given.
    pub fn behind(&self, input: &str) -> Option<(usize, u32)> {
        let mut name = input;
        // A graph may be a circle.
        for _ in 0..=self.nodes.len() {
            let (node, output) = split_name(name);
            let index = self.find(node)?;
            match self.role(index) {
                Role::Pass => {
                    name = self.nodes[index].inputs.get(output as usize).filter(|i| !i.starts_with('^'))?
                }
                _ => return Some((index, output)),
            }
        }
        None
    }

    fn is_variable(&self, index: usize) -> bool {
        self.nodes.get(index).is_some_and(|node| is_variable(&node.op))
    }

    /// The variable that an input is.
    fn variable_of(&self, input: &str) -> Option<usize> {
        let (index, _) = self.behind(input)?;
        self.is_variable(index).then_some(index)
    }

    fn variable_of_input(&self, index: usize, input: usize) -> Option<usize> {
        self.variable_of(self.nodes.get(index)?.inputs.get(input)?)
    }

    fn identity(&self, index: usize) -> &'d str {
        variable_name(&self.nodes[index])
    }

    /// Whether a fetched node takes the value of a variable, and does not only ask whether it has one.
    fn is_read(&self, variable: usize, fetched: &[bool]) -> bool {
        (0..self.nodes.len()).filter(|index| fetched[*index]).any(|index| {
            let is_question = self.role(index) == Role::Read(Read::IsInitialized);
            let is_pass = self.role(index) == Role::Pass && self.role(variable) == Role::Handle;
            let inputs = self.nodes[index].inputs.iter().filter(|input| !input.starts_with('^'));
            !is_question
                && !is_pass
                && inputs.map(|input| self.variable_of(input)).any(|of| of == Some(variable))
        })
    }

    /// The fetched variables that nothing fetched changes.
    fn constant_variables(&self, fetched: &[bool]) -> HashSet<usize> {
        let mut changed: HashSet<&str> = HashSet::new();
        let mut variables = HashSet::new();
        for index in (0..self.nodes.len()).filter(|index| fetched[*index]) {
            let node = &self.nodes[index];
            match self.role(index) {
                Role::Value | Role::Handle => {
                    variables.insert(index);
                }
                Role::Pass | Role::Read(_) => {}
                Role::Other => {
                    for (number, input) in node.inputs.iter().enumerate().filter(|(_, i)| !i.starts_with('^'))
                    {
                        let Some(variable) = self.variable_of(input) else { continue };
                        // A handle that is given away may be assigned there.
                        if self.role(variable) == Role::Handle || number < changes(&node.op) {
                            changed.insert(self.identity(variable));
                        }
                    }
                }
            }
        }
        variables.retain(|index| !changed.contains(self.identity(*index)));
        variables
    }
}

/// The checkpoint's key of each variable.
struct Keys<'c> {
    checkpoint: &'c Checkpoint,
    /// What the graph restores, by the variables' names: the key, and which part of it.
    restored: HashMap<String, (String, String)>,
    /// What TensorFlow 2's graph of objects says, once it was asked.
    objects: Option<Objects>,
    budget: &'c MemoryBudget,
}

impl<'c> Keys<'c> {
    fn new(
        def: &GraphDef,
        graph: &Graph<'_>,
        checkpoint: &'c Checkpoint,
        budget: &'c MemoryBudget,
        working: &mut Reservation,
    ) -> Result<Keys<'c>, GraphError> {
        let mut restored = HashMap::new();
        let needed = match checkpoint.restore_op.as_str() {
            "" => vec![true; graph.nodes.len()],
            operator => graph.reachable([operator].into_iter(), false),
        };
        for index in (0..graph.nodes.len()).filter(|index| needed[*index]) {
            if let Some((variable, key, spec)) = restored_by(graph, index) {
                let identity = graph.identity(variable).to_string();
                let texts = [identity.len(), key.len(), spec.len()].map(|n| block_bytes(n as u64));
                let bytes = ENTRY_BYTES + texts.iter().sum::<u64>();
                working.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
                restored.insert(identity, (key, spec));
            }
        }
        Ok(Keys { checkpoint, restored, objects: None, budget })
    }

    /// The key of a variable, and which part of it; `None` where the checkpoint has no value for it.
    fn find(
        &mut self,
        def: &GraphDef,
        graph: &Graph<'_>,
        index: usize,
    ) -> Result<Option<(String, String)>, GraphError> {
        let bundle = &self.checkpoint.bundle;
        let has = |key: &str| bundle.entry(key).is_some();
        let names = [graph.identity(index), &*def.nodes[index].name];
        let restored = self.restored.get(names[0]).filter(|(key, _)| has(key)).cloned();
        let own = || names.into_iter().find(|name| has(name)).map(|name| (name.to_string(), String::new()));
        // A graph that does not say what restores it may have operators that read other checkpoints, to begin training with.
        let found = match self.checkpoint.restore_op.is_empty() {
            true => own().or(restored),
            false => restored.or_else(own),
        };
        if found.is_some() {
            return Ok(found);
        }
        let objects = match self.objects.take() {
            Some(objects) => objects,
            None => bundle.objects(self.budget).map_err(GraphError::Format)?,
        };
        let key = names.iter().find_map(|name| objects.key(name)).filter(|key| has(key));
        let found = key.map(|key| (key.to_string(), String::new()));
        self.objects = Some(objects);
        Ok(found)
    }
}

/// The variable that a node assigns, and the key and part of the checkpoint that it assigns to it.
fn restored_by(graph: &Graph<'_>, index: usize) -> Option<(usize, String, String)> {
    let node = &graph.nodes[index];
    if !matches!(&*node.op, "Assign" | "AssignVariableOp") {
        return None;
    }
    let variable = graph.variable_of_input(index, 0)?;
    let (key, spec) = restored_input(graph, node.inputs.get(1)?)?;
    Some((variable, key, spec))
}

/// A tensor of a checkpoint: its key, and which part of it.
pub(super) type Restored = (String, String);

/// The tensor of the checkpoint that an input is restored from.
pub(super) fn restored_input(graph: &Graph<'_>, input: &str) -> Option<Restored> {
    let (restore, output) = graph.behind(input)?;
    let restore = graph.nodes.get(restore).filter(|node| &*node.op == "RestoreV2")?;
    let text = |input: usize| {
        let (index, _) = graph.behind(restore.inputs.get(input)?)?;
        let Some(AttrValue::Tensor(tensor)) = graph.nodes.get(index)?.attr("value") else { return None };
        let TensorContent::Strings(texts) = &tensor.content else { return None };
        // The last of a list stands for all that are left out.
        let text = texts.get(output as usize).or(texts.last()).map_or(&b""[..], |text| text);
        std::str::from_utf8(text).ok().map(str::to_string)
    };
    Some((text(1)?, text(2)?))
}

fn apply(
    def: &mut GraphDef,
    index: usize,
    edit: Edit,
    checkpoint: &Checkpoint,
    axes: &mut Vec<NodeDef>,
) -> Result<(), GraphError> {
    match edit {
        Edit::Value { key, spec, is_constant } => {
            let tensor =
                checkpoint.bundle.tensor(&key, &spec, &mut def.reservation).map_err(GraphError::Format)?;
            check(def, index, &tensor)?;
            let bytes = block_bytes(size_of::<TensorDef>() as u64) + ATTRIBUTES_BYTES;
            def.reservation.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
            let node = &mut def.nodes[index];
            if is_constant {
                node.op = "Const".into();
                node.attrs = constant_attributes(tensor);
            } else {
                node.attrs.push((INITIAL.into(), AttrValue::Tensor(Box::new(tensor))));
            }
        }
        Edit::Read { read, variable, dtype } => {
            become_read(&mut def.nodes[index], read, variable, dtype, axes);
        }
    }
    Ok(())
}

/// What the list of a Const's attributes takes.
const ATTRIBUTES_BYTES: u64 = 2 * size_of::<(Box<str>, AttrValue)>() as u64 + 96;

fn constant_attributes(tensor: TensorDef) -> Vec<(Box<str>, AttrValue)> {
    vec![
        ("dtype".into(), AttrValue::Type(tensor.dtype)),
        ("value".into(), AttrValue::Tensor(Box::new(tensor))),
    ]
}

/// Checks a value against what the graph says of the variable.
fn check(def: &GraphDef, index: usize, tensor: &TensorDef) -> Result<(), GraphError> {
    let node = &def.nodes[index];
    let differs = |name: &str, why: String| GraphError::Node {
        file: file(def),
        node: node.name.to_string(),
        op: node.op.to_string(),
        source: Box::new(OpError::attribute(name, why)),
    };
    if let Some(AttrValue::Type(dtype)) = node.attr("dtype")
        && DataType(*dtype).base() != DataType(tensor.dtype).base()
    {
        let why = format!("is {}; the checkpoint has {}", DataType(*dtype), DataType(tensor.dtype));
        return Err(differs("dtype", why));
    }
    if let Some(AttrValue::Shape(shape)) = node.attr("shape")
        && let Some(dims) = shape.dims.as_ref().filter(|dims| !dims.is_empty())
    {
        let fits =
            dims.len() == tensor.shape.len() && dims.iter().zip(&tensor.shape).all(|(a, b)| *a < 0 || a == b);
        if !fits {
            return Err(differs("shape", format!("is {dims:?}; the checkpoint has {:?}", tensor.shape)));
        }
    }
    Ok(())
}

/// A node that reads a handle becomes one that takes the value.
pub(super) fn become_read(
    node: &mut NodeDef,
    read: Read,
    variable: Box<str>,
    dtype: AttrValue,
    axes: &mut Vec<NodeDef>,
) {
    let old = std::mem::take(&mut node.attrs);
    let kept = |name: &str| old.iter().find(|(own, _)| &**own == name).cloned();
    if let Some(first) = node.inputs.first_mut() {
        *first = variable;
    }
    let (op, attrs): (&str, Vec<(Box<str>, AttrValue)>) = match read {
        Read::Value => ("Identity", vec![("T".into(), dtype)]),
        Read::Shape => {
            let out_type = kept("out_type").into_iter();
            ("Shape", [("T".into(), dtype)].into_iter().chain(out_type).collect())
        }
        Read::GatherNd => {
            let indices = kept("Tindices").into_iter();
            ("GatherNd", [("Tparams".into(), dtype)].into_iter().chain(indices).collect())
        }
        Read::Gather => {
            let batch = kept("batch_dims");
            let axis = if let Some((_, AttrValue::Int(axis))) = batch { axis as i32 } else { 0 };
            let name: Box<str> = format!("{}/axis", node.name).into();
            axes.push(scalar(&name, 3, &axis.to_le_bytes()));
            node.inputs.insert(2.min(node.inputs.len()), name);
            let own = [("Tparams".into(), dtype), ("Taxis".into(), AttrValue::Type(3))];
            ("GatherV2", own.into_iter().chain(kept("Tindices")).chain(batch).collect())
        }
        Read::IsInitialized => {
            let name = std::mem::take(&mut node.name);
            let control = node.inputs.drain(..).filter(|input| input.starts_with('^')).collect();
            *node = NodeDef { inputs: control, ..scalar(&name, 10, &[1]) };
            return;
        }
    };
    node.op = op.into();
    node.attrs = attrs;
}

/// A Const of this tensor.
pub(super) fn constant_node(name: &str, tensor: TensorDef) -> NodeDef {
    NodeDef {
        name: name.into(),
        op: "Const".into(),
        attrs: constant_attributes(tensor),
        ..NodeDef::default()
    }
}

/// A Const of one element.
fn scalar(name: &str, dtype: i32, bytes: &[u8]) -> NodeDef {
    let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
    let attrs = constant_attributes(TensorDef { dtype, shape: Vec::new(), content });
    NodeDef { name: name.into(), op: "Const".into(), attrs, ..NodeDef::default() }
}

#[cfg(test)]
mod tests;
