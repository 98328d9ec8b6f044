//! What nodes with bodies return.
//!
//! A branch returns what any of its bodies may return: a dimension in which they differ depends on data, and is at most the
//! largest. The variables of a loop are what they are before the first turn and after every other: where that differs a
//! dimension is open. A body that was inferred for too much cannot be inferred for less (shapes that were known have
//! become constants), so what a loop's variables are is tried on copies first.

use std::sync::Arc;

use super::{graph_memory_error, infer as infer_graph, node_error};
use crate::dim::{Dim, Dims};
use crate::error::GraphError;
use crate::fact::{Fact, Largest, List};
use crate::ir::{Graph, NodeId, NodeKind, Region, RegionKind, ValueRef};
use crate::operator::OpError;
use crate::ops::data_flow::tensor_list::Reserve;

/// How often the variables of a loop are tried: as they are given, with bounds, and open.
const TURNS: usize = 4;

/// What the node's outputs are, from these facts of its inputs.
///
/// # Errors
/// As [`super::infer_node`].
pub(super) fn outputs(
    graph: &Graph,
    id: NodeId,
    region: &Region,
    inputs: &[&Fact],
) -> Result<Vec<Fact>, GraphError> {
    let inputs: Vec<Fact> = inputs.iter().map(|fact| (*fact).clone()).collect();
    match region.kind {
        RegionKind::Branch => branch(graph, id, &mut trial(graph, region)?.bodies, &inputs),
        RegionKind::Loop => variables(graph, id, region, &inputs),
    }
}

/// Infers the bodies of a node, and what it returns.
///
/// # Errors
/// As [`super::infer`].
pub(super) fn infer(graph: &mut Graph, id: NodeId) -> Result<Vec<Fact>, GraphError> {
    let inputs: Vec<Fact> = graph.input_facts(graph.node(id)).into_iter().cloned().collect();
    let variables = match graph.node(id).region() {
        Some(region) if region.kind == RegionKind::Loop => Some(variables(graph, id, region, &inputs)?),
        _ => None,
    };
    if let Some(facts) = &variables {
        let inputs = graph.node(id).inputs.clone();
        inputs.iter().zip(facts).for_each(|(value, fact)| size_list(graph, *value, fact));
    }
    // Taken out while the graph is asked for names.
    let bodies = graph.region_mut(id).map(|region| std::mem::take(&mut region.bodies));
    let mut bodies = bodies.ok_or_else(|| GraphError::Broken {
        node: graph.node(id).name.to_string(),
        why: "its bodies are shared while they change".into(),
    })?;
    let result = match variables {
        None => branch(graph, id, &mut bodies, &inputs),
        Some(facts) => {
            let given: Vec<Fact> = facts.iter().chain(&inputs[facts.len()..]).cloned().collect();
            bodies.iter_mut().try_for_each(|body| infer_body(body, &given)).map(|()| facts)
        }
    };
    if let Some(region) = graph.region_mut(id) {
        region.bodies = bodies;
    }
    result
}

/// Makes the room of a list's elements as large as is known where something is put there: the node that makes the list may
/// not say it.
pub(super) fn size_list(graph: &mut Graph, value: ValueRef, filled: &Fact) {
    let (Some(_), Some([_, element @ ..])) = (&filled.list, filled.dims.get()) else { return };
    let before = graph.fact(value);
    let Some(length) = before.list_length() else { return };
    if before.dims.get().is_some_and(|dims| dims.get(1..) == Some(element)) {
        return;
    }
    let Some(reserve) = graph.producer(value).is::<Reserve>() else { return };
    let reserve = reserve.of_elements(Dims::new(element.to_vec()));
    let mut facts = graph.node(value.node).facts.clone();
    facts[value.output as usize].dims = Dims::new([&[length], element].concat());
    graph.node_mut(value.node).kind = NodeKind::Operator(Arc::new(reserve));
    graph.set_facts(value.node, facts);
}

fn trial(graph: &Graph, region: &Region) -> Result<Region, GraphError> {
    region.copy_to_bind().map_err(|source| graph_memory_error(graph, source))
}

/// Infers a body from what it is given.
fn infer_body(body: &mut Graph, given: &[Fact]) -> Result<(), GraphError> {
    let inputs: Vec<NodeId> = body.inputs.iter().map(|port| port.value.node).collect();
    for (id, fact) in inputs.into_iter().zip(given) {
        body.set_facts(id, vec![Fact { is_bound: false, ..fact.clone() }]);
    }
    infer_graph(body)
}

fn returned(body: &Graph) -> impl Iterator<Item = &Fact> {
    body.outputs.iter().map(|port| body.fact(port.value))
}

fn branch(graph: &Graph, id: NodeId, bodies: &mut [Graph], inputs: &[Fact]) -> Result<Vec<Fact>, GraphError> {
    let selector = inputs.first().filter(|fact| fact.dims.elements().known().is_some_and(|n| n != 1));
    if let Some(fact) = selector {
        let why = format!("is of shape {}; a branch is chosen by one element", fact.dims);
        return Err(node_error(graph, id, OpError::input(0, why)));
    }
    let mut facts: Option<Vec<Fact>> = None;
    for body in bodies {
        infer_body(body, inputs.get(1..).unwrap_or_default())?;
        let Some(before) = &facts else {
            facts = Some(returned(body).cloned().collect());
            continue;
        };
        let joined = before.iter().zip(returned(body)).enumerate().map(|(output, (a, b))| {
            let why = || format!("returns {a} in one branch and {b} in another as output {output}");
            join(a, b, true).ok_or_else(|| node_error(graph, id, OpError::Unsupported(why())))
        });
        facts = Some(joined.collect::<Result<_, _>>()?);
    }
    Ok(facts.unwrap_or_default())
}

/// What the variables of a loop are in all turns.
fn variables(graph: &Graph, id: NodeId, region: &Region, inputs: &[Fact]) -> Result<Vec<Fact>, GraphError> {
    let count = region.variables();
    let variable = |fact: &Fact| Fact { value: None, is_bound: false, ..fact.clone() };
    let mut facts: Vec<Fact> = inputs.iter().take(count).map(variable).collect();
    for turn in 0..TURNS {
        let given: Vec<Fact> = facts.iter().chain(&inputs[count..]).cloned().collect();
        let body = &mut trial(graph, region)?.bodies[1];
        infer_body(body, &given)?;
        let next = facts.iter().zip(returned(body)).enumerate().map(|(number, (a, b))| {
            let why = || format!("is given {a} as variable {number}, and its body returns {b}");
            join(a, b, turn == 0)
                .map(|fact| Fact { value: None, ..fact })
                .ok_or_else(|| node_error(graph, id, OpError::Unsupported(why())))
        });
        let next = next.collect::<Result<Vec<_>, _>>()?;
        if next == facts {
            return Ok(facts);
        }
        facts = next;
    }
    Err(node_error(graph, id, OpError::Unsupported("has variables whose shapes change in every turn".into())))
}

/// What is one or the other; `None` for two types. Where dimensions differ the larger one is a bound if that is wanted, and
/// else nothing is known of them.
pub(crate) fn join(a: &Fact, b: &Fact, with_bound: bool) -> Option<Fact> {
    if a.dtype != b.dtype || a.list.is_some() != b.list.is_some() || a.quantization != b.quantization {
        return None;
    }
    if a == b {
        return Some(a.clone());
    }
    if let (Some(one), Some(other)) = (&a.list, &b.list) {
        return Some(join_lists(a, one, b, other));
    }
    let dims = each(&a.dims, &b.dims, |a, b| if a == b { a } else { Dim::Unknown });
    let value = a.value.clone().filter(|_| a.value == b.value);
    let (most_a, most_b) = (a.planned_dims(), b.planned_dims());
    let largest = each(most_a, most_b, |a, b| match (a.known(), b.known()) {
        _ if a == b => a,
        (Some(a), Some(b)) => Dim::Known(a.max(b)),
        _ => Dim::Unknown,
    });
    let is_sure = dims.get().is_some_and(|dims| !dims.contains(&Dim::Unknown));
    let has_bound = largest.get().is_some_and(|dims| !dims.contains(&Dim::Unknown));
    let is_wanted = !is_sure && has_bound && (with_bound || most_a == most_b);
    let largest = is_wanted.then(|| Arc::new(Largest { dims: largest, value: None }));
    let quantization = a.quantization.clone();
    Some(Fact { value, largest, quantization, ..Fact::new(a.dtype, dims) })
}

/// A list that is one or the other. Of elements that are not set yet nothing has to be the same.
fn join_lists(a: &Fact, one: &List, b: &Fact, other: &List) -> Fact {
    let length = if one.length == other.length { one.length } else { Dim::Unknown };
    let dims = match (one.is_set, other.is_set) {
        (true, false) => a.dims.clone(),
        (false, true) => b.dims.clone(),
        (true, true) => each(&a.dims, &b.dims, |a, b| if a == b { a } else { Dim::Unknown }),
        (false, false) if a.dims.get().is_none() => b.dims.clone(),
        (false, false) if b.dims.get().is_none() => a.dims.clone(),
        (false, false) => each(&a.dims, &b.dims, |a, b| match (a, b) {
            (Dim::Unknown, dim) | (dim, Dim::Unknown) => dim,
            (a, b) if a == b => a,
            _ => Dim::Unknown,
        }),
    };
    let dims = match dims.get() {
        Some([_, element @ ..]) => Dims::new([&[length], element].concat()),
        _ => Dims::UNKNOWN,
    };
    let said = if one.said == other.said { one.said.clone() } else { Dims::UNKNOWN };
    let most = one.most.filter(|_| one.most == other.most);
    let list = List { length, is_set: one.is_set || other.is_set, said, most };
    Fact { list: Some(Arc::new(list)), ..Fact::new(a.dtype, dims) }
}

fn each(a: &Dims, b: &Dims, dim: impl Fn(Dim, Dim) -> Dim) -> Dims {
    match (a.get(), b.get()) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            Dims::new(a.iter().zip(b).map(|(a, b)| dim(*a, *b)).collect::<Vec<_>>())
        }
        _ => Dims::UNKNOWN,
    }
}
