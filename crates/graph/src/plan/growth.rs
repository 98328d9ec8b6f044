//! Values that grow: those whose size has no bound before the model runs.
//!
//! They have no place in the arena. A run reserves a room for each from the budget once its shape is known, and lets go of
//! it after the last step that needs it (`operator::rooms`). What a step with such a value needs besides, its scratch, is
//! asked for and reserved in the same way; nothing of it is planned but its place in the order.

use std::sync::Arc;

use tightfit_core::Shape;

use super::planner::Planner;
use super::{Action, Plan, Step, Storage};
use crate::dim::{Dim, Dims};
use crate::error::GraphError;
use crate::fact::Fact;
use crate::ir::{NodeId, ValueRef};
use crate::operator::Operator;
use crate::operator::lists;

/// A value of a plan that grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grows {
    /// The node that makes it.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Type and shape, as far as it is known: `?` for what depends on data.
    pub what: String,
}

/// The shape that stands for `dims`, which are not known: 0 for each that is open, and `[0]` for a rank that is. A list
/// of tensors whose elements need not have one shape has [`lists::open_shape`]. `None` for one that no tensor has.
pub(crate) fn open_shape(fact: &Fact, dims: &Dims) -> Option<Shape> {
    if let Some(length) = fact.list_length()
        && dims.get().is_none_or(|dims| dims.iter().skip(1).any(|dim| dim.size().is_none()))
    {
        return Some(lists::open_shape(length.size().unwrap_or(0)));
    }
    let Some(dims) = dims.get() else { return Shape::new(&[0]).ok() };
    let sizes = dims.iter().map(|dim| match dim {
        Dim::Unknown | Dim::Symbol { .. } => Some(0),
        Dim::Known(_) => dim.size(),
    });
    Shape::new(&sizes.collect::<Option<Vec<_>>>()?).ok()
}

impl Planner<'_> {
    /// The shape that stands for one that is not known.
    pub(super) fn open_shape(&self, id: NodeId, fact: &Fact) -> Result<Shape, GraphError> {
        let node = self.graph.node(id);
        let broken = || GraphError::Broken {
            node: node.name.to_string(),
            why: format!("makes {fact}, which no tensor is"),
        };
        open_shape(fact, self.options.dims(fact)).ok_or_else(broken)
    }

    /// True when one of a node's tensors grows.
    pub(super) fn grows(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let outputs = (0..node.facts.len() as u32).map(|output| ValueRef { node: id, output });
        node.inputs
            .iter()
            .copied()
            .chain(outputs)
            .any(|value| self.slots[self.slot(value)].storage == Storage::Grown)
    }

    /// The step of an operator one of whose tensors grows.
    pub(super) fn make_growing_step(
        &mut self,
        id: NodeId,
        operator: &Arc<dyn Operator>,
    ) -> Result<(), GraphError> {
        let node = self.graph.node(id);
        let outputs = (0..node.facts.len() as u32).map(|output| self.slot(ValueRef { node: id, output }));
        self.push_step(Step {
            node: id,
            reads: node.inputs.clone(),
            name: node.name.clone(),
            action: Action::Operator(operator.clone()),
            inputs: node.inputs.iter().map(|value| self.slot(*value)).collect(),
            outputs: outputs.collect(),
            in_place_input: None,
            scratch: (0, 0),
            stream: None,
            is_dynamic: true,
            grows: true,
            is_alias: false,
        });
        Ok(())
    }

    /// Where values that grow are needed for the last time. What is fetched is needed until the next run.
    pub(super) fn ends(&self, fetched: &[usize]) -> Vec<(usize, usize)> {
        let mut ends: Vec<(usize, usize)> = (0..self.slots.len())
            .filter(|slot| {
                self.slots[*slot].storage == Storage::Grown && self.life[*slot].1 > self.life[*slot].0
            })
            .map(|slot| (self.life[slot].1 - 1, slot))
            .collect();
        if !ends.is_empty() {
            let fetched: std::collections::HashSet<usize> = fetched.iter().copied().collect();
            ends.retain(|(_, slot)| !fetched.contains(slot));
            ends.sort_unstable();
            ends.shrink_to_fit();
        }
        ends
    }
}

impl Plan {
    /// The slots that are not needed after a step any more.
    pub(crate) fn ends_of(&self, step: usize) -> impl Iterator<Item = usize> + '_ {
        let from = self.ends.partition_point(|(at, _)| *at < step);
        self.ends[from..].iter().take_while(move |(at, _)| *at == step).map(|(_, slot)| *slot)
    }

    /// True when the plan, or that of a body, holds memory for the most that a value can be.
    pub fn has_bounds(&self) -> bool {
        let is_bound = |slot: &super::SlotPlan| slot.is_bound && slot.storage != Storage::Grown;
        self.all().any(|plan| plan.slots.iter().any(is_bound))
    }

    /// True when the plan, or that of a body, has a value that grows.
    pub fn has_growth(&self) -> bool {
        self.all().any(|plan| plan.slots.iter().any(|slot| slot.storage == Storage::Grown))
    }

    /// The most rooms that values hold at once, and the most inputs and outputs of a step that has one of them.
    pub(crate) fn rooms(&self) -> (usize, usize) {
        let grown = |plan: &Plan| plan.slots.iter().filter(|slot| slot.storage == Storage::Grown).count();
        let steps = self.all().flat_map(|plan| &plan.steps).filter(|step| step.grows);
        let most = steps.map(|step| step.inputs.len() + step.outputs.len()).max();
        // One more for the scratch of the step at hand, and one for a value that is made before the old one goes.
        let rooms = self.all().map(grown).sum::<usize>();
        (if rooms == 0 { 0 } else { rooms + 2 }, most.unwrap_or(0))
    }

    /// The values that grow, in the order in which they are made, those of bodies after the others.
    pub fn growing(&self) -> Vec<Grows> {
        let of_step = |plan: &Plan, step: &Step| {
            let slots = step
                .outputs
                .iter()
                .map(|slot| &plan.slots[*slot])
                .filter(|slot| slot.storage == Storage::Grown);
            let grows = slots.map(|slot| Grows {
                node: step.name.to_string(),
                op: step.op_name().to_string(),
                what: format!("{}{}", slot.info.dtype, Open(&slot.info.shape)),
            });
            grows.collect::<Vec<_>>()
        };
        let of_plan =
            |plan: &Plan| plan.steps.iter().flat_map(|step| of_step(plan, step)).collect::<Vec<_>>();
        self.all().flat_map(of_plan).collect()
    }
}

/// A shape in which 0 stands for what is not known.
struct Open<'s>(&'s Shape);

impl std::fmt::Display for Open<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if lists::is_open(self.0) {
            return f.write_str("[?, ..]");
        }
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            let lead = if i > 0 { ", " } else { "" };
            match dim {
                0 => write!(f, "{lead}?")?,
                dim => write!(f, "{lead}{dim}")?,
            }
        }
        f.write_str("]")
    }
}
