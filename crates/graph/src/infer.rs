//! Shape inference over a graph, and the values that follow from it.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{DType, Shape};

use crate::dim::{Dim, Dims, Symbol};
use crate::error::GraphError;
use crate::exec::evaluate;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES, Known, Largest};
use crate::ir::{Graph, NodeId, NodeKind};
use crate::operator::{OpError, Operator};
use crate::signature::ranks;

/// What a node's outputs are, from what its inputs are. Where all inputs have known values and the outputs are small,
/// the operator is run to know theirs too.
///
/// # Errors
/// [`GraphError::Node`] when the operator refuses its inputs.
pub fn infer_node(graph: &Graph, id: NodeId) -> Result<Vec<Fact>, GraphError> {
    let node = graph.node(id);
    let operator = match &node.kind {
        NodeKind::Operator(operator) => operator,
        NodeKind::Constant(constant) => return Ok(vec![constant.fact()]),
        NodeKind::Input { .. } => return Ok(node.facts.clone()),
    };
    infer_outputs(&**operator, &graph.input_facts(node)).map_err(|source| node_error(graph, id, source))
}

/// What is sure of an operator's outputs and, where shapes or values of its inputs depend on data, the most they can be.
fn infer_outputs(operator: &dyn Operator, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
    ranks::check(operator.name(), inputs)?;
    let mut facts = infer_values(operator, inputs)?;
    if inputs.iter().all(|input| input.largest.is_none()) {
        return Ok(facts);
    }
    let largest = largest_inputs(operator, inputs);
    // Of inputs that must have one size each may have a bound of its own.
    let found = infer_values(operator, &largest.iter().collect::<Vec<_>>()).or_else(|_| {
        let raised = raised(inputs, &largest);
        infer_values(operator, &raised.iter().collect::<Vec<_>>())
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
        let dims = most.dims.get().unwrap_or_default().iter().enumerate();
        dims.filter(|(axis, _)| open(input, *axis)).filter_map(|(_, dim)| dim.known())
    });
    let Some(size) = sizes.max() else { return largest.to_vec() };
    let raise = |(input, most): (&&Fact, &Fact)| {
        let dims = most.dims.get().unwrap_or_default().iter().enumerate();
        let dims = dims.map(|(axis, dim)| if open(input, axis) { Dim::Known(size) } else { *dim });
        let dims = most.dims.get().map_or(Dims::UNKNOWN, |_| Dims::new(dims.collect::<Vec<_>>()));
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
fn infer_values(operator: &dyn Operator, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
    let mut facts = operator.infer(inputs)?;
    let is_small = |f: &Fact| {
        let shape = f.planned_dims().concrete().filter(|_| f.dtype != DType::String);
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
        let values = evaluate(operator, &views, &facts)?;
        for (fact, (shape, bytes)) in facts.iter_mut().zip(values) {
            *fact = Fact::known(fact.dtype, shape, bytes);
        }
    }
    Ok(facts)
}

/// The error of a node's operator.
pub fn node_error(graph: &Graph, id: NodeId, source: OpError) -> GraphError {
    let node = graph.node(id);
    GraphError::Node {
        file: graph.file.clone(),
        node: node.name.to_string(),
        op: node.op_name().to_string(),
        source: Box::new(source),
    }
}

/// Infers every node anew, in order.
///
/// # Errors
/// [`GraphError::Cycle`], and that of the first operator that refuses its inputs.
pub fn infer(graph: &mut Graph) -> Result<(), GraphError> {
    let order = graph.order().map_err(|id| GraphError::Cycle { node: graph.node(id).name.to_string() })?;
    for id in order {
        let facts = infer_node(graph, id)?;
        graph.node_mut(id).facts = facts;
    }
    Ok(())
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
    let mut bound = Graph {
        file: graph.file.clone(),
        nodes: graph.nodes.clone(),
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
        symbols: graph.symbols.clone(),
    };
    for port in &graph.inputs {
        let node = bound.node_mut(port.value.node);
        let NodeKind::Input { dtype, dims } = &node.kind else { continue };
        node.facts = vec![bind_input(&port.name, *dtype, dims, binding)?];
    }
    infer(&mut bound)?;
    Ok(bound)
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
