//! Whether a plan computes its graph: the other half of [`super::validate`], which proves that memory is right.

use std::sync::Arc;

use tightfit_kernels::Isa;

use super::fault::{Check, PlanFault, fault, need};
use super::growth::open_shape;
use super::{Action, Plan, PlanOptions, RegionPlan, Step, Storage};
use crate::ir::{Graph, Node, NodeKind, Port, Region, ValueRef};
use crate::operator::{Call, Held, TensorInfo};

/// Checks that every tensor is what the graph infers, that every operator of the graph has its step, with the graph's
/// values for inputs, or is an alias that needs none, and that constants, inputs and outputs are the graph's.
///
/// # Errors
/// The first place where the plan differs from the graph.
pub fn computes(plan: &Plan, graph: &Graph) -> Check {
    let mut is_done = vec![false; graph.nodes.len()];
    for (slot, s) in plan.slots.iter().enumerate() {
        let node = node(graph, s.value, slot)?;
        let fact = &node.facts[s.value.output as usize];
        need(fact.dtype == s.info.dtype, slot, "a tensor has the type that the graph infers")?;
        let dims = plan.options.dims(fact);
        let grows = dims.concrete().is_none();
        need((s.storage == Storage::Grown) == grows, slot, "a tensor grows where the graph says so")?;
        let shape = dims.concrete().or_else(|| open_shape(fact, dims));
        need(shape == Some(s.info.shape), slot, "a tensor has the shape that the graph infers")?;
        // What has one shape in all runs is still given it by a step where it is another tensor that need not fit.
        let is_of_bound = s.alias_of.and_then(|of| plan.slots.get(of.slot)).is_some_and(|of| of.is_bound);
        let is_bound = fact.depends_on_data() || grows || is_of_bound;
        need(is_bound == s.is_bound, slot, "a shape depends on data where the graph says so")?;
        let Some(of) = s.alias_of else { continue };
        need(
            alias_of(graph, node, &plan.options) == Some(of.value),
            slot,
            "an alias is of what its operator names",
        )?;
        is_done[s.value.node.0 as usize] = node.facts.len() == 1 && !s.is_bound;
    }
    for (number, weight) in plan.weights.iter().enumerate() {
        let constant = node(graph, weight.value, number)?.constant();
        let is_same = constant.is_some_and(|c| Arc::ptr_eq(c, &weight.constant));
        need(is_same, number, "a weight is the graph's constant")?;
    }
    for step in &plan.steps {
        is_step_of(graph, step)?;
        is_done[step.node.0 as usize] = true;
    }
    let order = graph.order().map_err(|_| fault(None, "a graph has no cycle"))?;
    let is_left = |node: &Node, is_done: bool| {
        matches!(node.kind, NodeKind::Operator(_) | NodeKind::Region(_)) && !is_done
    };
    let left = order.iter().find(|id| is_left(graph.node(**id), is_done[id.0 as usize]));
    need(left.is_none(), left.map(|id| id.0 as usize), "every operator of the graph has its step")?;
    ports(plan, &plan.inputs, &graph.inputs)?;
    ports(plan, &plan.outputs, &graph.outputs)?;
    need(plan.states.len() == graph.states.len(), None, "a plan has the variables of its graph")?;
    for (kept, state) in plan.states.iter().zip(&graph.states) {
        let value = |slot: usize| plan.slots.get(slot).map(|s| s.value);
        let is_same = kept.name == state.name
            && value(kept.before) == Some(state.before)
            && value(kept.after) == Some(state.after);
        need(is_same, kept.before, "a variable is the graph's")?;
    }
    Ok(())
}

fn node(graph: &Graph, value: ValueRef, number: usize) -> Result<&Node, PlanFault> {
    let node = graph.nodes.get(value.node.0 as usize);
    node.filter(|n| (value.output as usize) < n.facts.len())
        .ok_or_else(|| fault(number, "a value is one of the graph"))
}

/// The input that the node's output is under another shape.
fn alias_of(graph: &Graph, node: &Node, options: &PlanOptions) -> Option<ValueRef> {
    let info = |fact: &crate::fact::Fact| {
        let shape = options.dims(fact).concrete()?;
        Some(TensorInfo { dtype: fact.dtype, shape, is_bound: fact.depends_on_data(), held: Held::Value })
    };
    let inputs: Option<Vec<_>> = graph.input_facts(node).into_iter().map(info).collect();
    let outputs: Option<Vec<_>> = node.facts.iter().map(info).collect();
    let call = Call {
        inputs: &inputs?,
        outputs: &outputs?,
        threads: 1,
        isa: Isa::detect(),
        window_bytes: usize::MAX,
    };
    node.inputs.get(node.operator()?.memory(&call).alias?).copied()
}

fn is_step_of(graph: &Graph, step: &Step) -> Check {
    let node = graph.nodes.get(step.node.0 as usize);
    let node = node.ok_or_else(|| fault(None, "a step's node is one of the graph"))?;
    if step.is_copy() {
        let is_own = step.reads.iter().all(|value| value.node == step.node);
        return need(is_own && step.reads.len() == 1, None, "a copy is of the value of its node");
    }
    match (&step.action, &node.kind) {
        (Action::Operator(operator), NodeKind::Operator(own)) if Arc::ptr_eq(operator, own) => {}
        (Action::Region(plans), NodeKind::Region(region)) => are_bodies_of(plans, region)?,
        _ => return Err(fault(None, "a step does what its node does")),
    }
    need(step.reads == node.inputs, None, "a step reads its node's inputs")?;
    need(step.outputs.len() == node.facts.len(), None, "a step makes all outputs of its node")?;
    let Some(stream) = &step.stream else { return Ok(()) };
    let constant = graph.nodes.get(stream.value.node.0 as usize).and_then(Node::constant);
    let is_same = constant.is_some_and(|c| Arc::ptr_eq(c, &stream.constant));
    need(is_same, None, "a stream is of the graph's constant")
}

/// Each body's plan computes that body.
fn are_bodies_of(plans: &RegionPlan, region: &Region) -> Check {
    let is_same = plans.kind == region.kind && plans.bodies.len() == region.bodies.len();
    need(is_same, None, "a step has its node's bodies")?;
    plans.bodies.iter().zip(&region.bodies).try_for_each(|(plan, body)| computes(plan, body))
}

fn ports(plan: &Plan, slots: &[(String, usize)], ports: &[Port]) -> Check {
    need(slots.len() == ports.len(), None, "a plan has the inputs and outputs of its graph")?;
    slots.iter().zip(ports).try_for_each(|((name, slot), port)| {
        let value = plan.slots.get(*slot).map(|s| s.value);
        need(*name == port.name && value == Some(port.value), *slot, "a name means the graph's value")
    })
}
