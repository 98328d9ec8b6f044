//! Graphs that operators call, variables, and tables.
//!
//! TensorFlow Lite runs operators in their order, so what reads and assigns a variable gets control edges in that order. What
//! runs once, before everything else, says what variables are before the first run.

use std::collections::{BTreeMap, BTreeSet};

use tightfit_format::tflite::Model;
use tightfit_format::{AttrValue, ListValue, NameAttrList, TensorContent, TensorDef, TensorShapeDef};

use super::attrs::{Value, data_type, kind, text, types, why};
use super::build::{Initial, Refusal, handles, place};
use super::constants;
use super::operator::Op;
use super::rows::{Integers, Row, refused, row};
use crate::import::variables::INITIAL;

const MOVE: Integers = Integers::Move;

pub(super) const ROWS: &[Row] = &[
    row("IF", "If", MOVE, branch),
    row("WHILE", "While", MOVE, repeat),
    row("CALL_ONCE", "what variables are before the first run", MOVE, call_once),
    row("VAR_HANDLE", "VarHandleOp", MOVE, |_| Ok(())),
    row("READ_VARIABLE", "ReadVariableOp", MOVE, read_variable),
    row("ASSIGN_VARIABLE", "AssignVariableOp", MOVE, assign_variable),
    row("CALL", "PartitionedCall", MOVE, |op| call(op, "subgraph")),
    refused("HASHTABLE", "tables that the file fills have no place here yet"),
    refused("HASHTABLE_FIND", "tables that the file fills have no place here yet"),
    refused("HASHTABLE_IMPORT", "tables that the file fills have no place here yet"),
    refused("HASHTABLE_SIZE", "tables that the file fills have no place here yet"),
    refused("DELEGATE", "it stands for a part that other software runs"),
    refused("PLACEHOLDER_FOR_GREATER_OP_CODES", "it is no operator"),
    refused("CUSTOM", "it is one of the custom operators below"),
];

/// A function for a graph of the model that an option names.
fn function(op: &Op<'_, '_, '_>, option: &str) -> Result<AttrValue, Refusal> {
    let number = op.operator.options.int(option);
    let count = op.lower.context.model.subgraphs.len();
    let Some(number) = usize::try_from(number).ok().filter(|number| *number > 0 && *number < count) else {
        return why(format!("calls graph {number} of {count}, which is not supported"));
    };
    let name = op.lower.context.function(number);
    Ok(AttrValue::Func(Box::new(NameAttrList { name, attrs: Vec::new() })))
}

/// The types of tensors, as a list.
fn dtypes(types: impl Iterator<Item = Result<i32, Refusal>>) -> Result<AttrValue, Refusal> {
    let types = types.collect::<Result<Vec<_>, _>>()?;
    Ok(AttrValue::List(if types.is_empty() { ListValue::Empty } else { ListValue::Types(types) }))
}

fn branch(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let inputs = op.inputs()?;
    let given = dtypes((1..op.count()).map(|input| op.dtype(input)))?;
    let made = dtypes((0..op.operator.outputs.len()).map(|output| op.output_dtype(output)))?;
    let attrs = vec![
        kind("Tcond", op.dtype(0)?),
        ("Tin".into(), given),
        ("Tout".into(), made),
        ("then_branch".into(), function(op, "then_subgraph_index")?),
        ("else_branch".into(), function(op, "else_subgraph_index")?),
    ];
    op.results("If", inputs, attrs)
}

/// One graph in the place of the operator.
pub(super) fn call(op: &mut Op<'_, '_, '_>, option: &str) -> Result<(), Refusal> {
    let inputs = op.inputs()?;
    let given = dtypes((0..op.count()).map(|input| op.dtype(input)))?;
    let made = dtypes((0..op.operator.outputs.len()).map(|output| op.output_dtype(output)))?;
    let attrs = vec![("Tin".into(), given), ("Tout".into(), made), ("f".into(), function(op, option)?)];
    op.results("PartitionedCall", inputs, attrs)
}

pub(super) fn repeat(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let inputs = op.inputs()?;
    let attrs = vec![
        ("T".into(), dtypes((0..op.count()).map(|input| op.dtype(input)))?),
        ("cond".into(), function(op, "cond_subgraph_index")?),
        ("body".into(), function(op, "body_subgraph_index")?),
    ];
    op.results("While", inputs, attrs)
}

/// What graphs that run once assign to variables.
pub(super) fn initial_values(model: &Model) -> BTreeMap<&str, Initial> {
    let mut values = BTreeMap::new();
    for number in once(model) {
        let Some(graph) = model.subgraphs.get(number) else { continue };
        let handles = handles(graph);
        for operator in graph.operators.iter().filter(|operator| operator.name() == "ASSIGN_VARIABLE") {
            let [handle, value] = operator.inputs[..] else { continue };
            if let Some(name) = handles.get(&place(handle)) {
                values.insert(*name, Initial { subgraph: number, tensor: place(value) });
            }
        }
    }
    values
}

/// The graphs that CALL_ONCE names.
fn once(model: &Model) -> BTreeSet<usize> {
    let operators = model.subgraphs.iter().flat_map(|graph| &graph.operators);
    let calls = operators.filter(|operator| operator.name() == "CALL_ONCE");
    calls.filter_map(|operator| usize::try_from(operator.options.int("init_subgraph_index")).ok()).collect()
}

/// All that a graph which runs once does must be told of the variables.
fn call_once(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let model = op.lower.context.model;
    let number = usize::try_from(op.operator.options.int("init_subgraph_index")).unwrap_or(usize::MAX);
    let Some(graph) = model.subgraphs.get(number) else { return why("calls a graph that is not there") };
    let other = graph.operators.iter().find(|o| !matches!(o.name(), "VAR_HANDLE" | "ASSIGN_VARIABLE"));
    if let Some(other) = other {
        return why(format!("runs {} once, which is not supported", other.name()));
    }
    Ok(())
}

/// A handle of the variable that an input is, and its name.
fn handle(op: &mut Op<'_, '_, '_>, dtype: i32, shape: &[i64]) -> Result<(Value, Box<str>), Refusal> {
    let number = op.operator.inputs.first().and_then(|number| usize::try_from(*number).ok());
    let name = number.and_then(|number| op.lower.handles.get(&number).copied());
    let Some(name) = name.map(Box::<str>::from) else {
        return why("takes a variable that this graph does not name");
    };
    let initial = op.lower.context.initial.get(&*name).copied();
    let model = op.lower.context.model;
    let source =
        initial.and_then(|initial| model.subgraphs.get(initial.subgraph)?.tensors.get(initial.tensor));
    let value = match source {
        Some(tensor) => {
            let own: Vec<i64> = tensor.shape.iter().map(|dim| i64::from(*dim)).collect();
            match constants::tensor_def(op.lower.context, tensor, &own)? {
                Some(value) => value,
                None => return why(format!("takes the variable '{name}', whose first value is computed")),
            }
        }
        None => zeros(dtype, shape)?,
    };
    let handle = variable(op, &name, value)?;
    Ok((handle, name))
}

fn zeros(dtype: i32, shape: &[i64]) -> Result<TensorDef, Refusal> {
    let shape = shape.iter().map(|dim| (*dim).max(1)).collect();
    let content = TensorContent::Inline(tightfit_format::InlineBytes::Small(Box::default()));
    Ok(TensorDef { dtype, shape, content })
}

/// A handle of a variable that is `initial` before the first run.
fn variable(op: &mut Op<'_, '_, '_>, name: &str, initial: TensorDef) -> Result<Value, Refusal> {
    let attrs = vec![
        kind("dtype", initial.dtype),
        ("shape".into(), AttrValue::Shape(TensorShapeDef { dims: Some(initial.shape.clone()) })),
        text("shared_name", name),
        (INITIAL.into(), AttrValue::Tensor(Box::new(initial))),
    ];
    Ok(op.lower.push(&format!("{name}/handle"), "VarHandleOp", Vec::new(), attrs)?)
}

/// Reads a variable after what has assigned it.
fn read(op: &mut Op<'_, '_, '_>, handle: Value, name: &str, dtype: i32) -> Result<Value, Refusal> {
    let mut inputs = vec![handle];
    let access = op.lower.accesses.entry(name.into()).or_default();
    inputs.extend(access.assigned.iter().map(|node| Box::from(format!("^{node}"))));
    let value =
        op.lower.push(&format!("{name}/value"), "ReadVariableOp", inputs, vec![kind("dtype", dtype)])?;
    op.lower.accesses.entry(name.into()).or_default().read.push(value.clone());
    Ok(value)
}

/// Assigns a variable after what has read or assigned it.
fn assign(
    op: &mut Op<'_, '_, '_>,
    handle: Value,
    name: &str,
    value: Value,
    dtype: i32,
) -> Result<(), Refusal> {
    let mut inputs = vec![handle, value];
    let access = op.lower.accesses.remove(name).unwrap_or_default();
    inputs.extend(access.assigned.iter().chain(&access.read).map(|node| Box::from(format!("^{node}"))));
    let attrs = vec![kind("dtype", dtype)];
    let node = op.lower.push(&format!("{name}/assign"), "AssignVariableOp", inputs, attrs)?;
    let access = op.lower.accesses.entry(name.into()).or_default();
    access.assigned = Some(node.clone());
    op.lower.effects.push(node);
    Ok(())
}

fn read_variable(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, shape) = (op.output_dtype(0)?, op.made(0)?.open_shape());
    let (handle, name) = handle(op, dtype, &shape)?;
    let value = read(op, handle, &name, dtype)?;
    // The node keeps its name, by which what assigns the variable waits for it.
    op.hand_on(0, value)
}

fn assign_variable(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, shape, value) = (op.dtype(1)?, op.tensor(1)?.open_shape(), op.input(1)?);
    let (handle, name) = handle(op, dtype, &shape)?;
    assign(op, handle, &name, value, dtype)
}

/// A state that an operator keeps in a tensor of the graph: the variable, and what it is by now.
pub(super) struct State {
    handle: Value,
    name: Box<str>,
    dtype: i32,
    /// What it is before the operator runs.
    pub value: Value,
}

/// What a state is before the first run: zeros, as integers what stands for 0.
fn first_state(
    tensor: &tightfit_format::tflite::Tensor,
    dtype: i32,
    shape: &[i64],
) -> Result<TensorDef, Refusal> {
    let zeros = zeros(dtype, shape)?;
    let zero = tensor.quantization.as_ref().and_then(|q| q.zero_points.first().copied()).unwrap_or(0);
    if dtype != types::I8 || zero == 0 {
        return Ok(zeros);
    }
    // One element stands for all.
    let content = TensorContent::Inline(tightfit_format::InlineBytes::Small([zero as i8 as u8].into()));
    Ok(TensorDef { content, ..zeros })
}

/// The state that an input is.
pub(super) fn state(op: &mut Op<'_, '_, '_>, input: usize) -> Result<State, Refusal> {
    let tensor = op.tensor(input)?;
    if !tensor.is_variable {
        return why(format!("has a state, input {input}, that is no variable, which is not supported"));
    }
    let number = op.operator.inputs.get(input).copied().unwrap_or(-1);
    let name: Box<str> = format!("{}#{number}", tensor.name).into();
    let shape: Vec<i64> = tensor.shape.iter().map(|dim| i64::from(*dim)).collect();
    let dtype = data_type(tensor)?;
    let handle = variable(op, &name, first_state(tensor, dtype, &shape)?)?;
    let value = read(op, handle.clone(), &name, dtype)?;
    Ok(State { handle, name, dtype, value })
}

impl State {
    /// Makes it `value` for whoever reads it next.
    pub fn becomes(self, op: &mut Op<'_, '_, '_>, value: Value) -> Result<(), Refusal> {
        assign(op, self.handle, &self.name, value, self.dtype)
    }
}
