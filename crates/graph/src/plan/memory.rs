//! What a plan takes itself: its steps, slots and items, and what making it needs for a while.

use std::collections::HashMap;

use tightfit_core::{array_bytes, block_bytes, list_bytes};

use super::{ArenaItem, Item, Plan, PlanOptions, SlotPlan, StatePlan, Step, Storage, WeightPlan};
use crate::ir::{Graph, NodeId, NodeKind, ValueRef};
use crate::operator::random::StepGenerator;
use crate::operator::{Slot, TensorInfo, WeightUse};

/// What the memory of a plan is reserved for.
pub(super) const PURPOSE: &str = "the plan";

/// What a loaded model keeps for each constant: where it is, and in which layout.
const LOADED_WEIGHT_BYTES: u64 = 128;

/// What a plan and a context keep for each value that grows: where it ends, its room, and the memory it may leave behind.
const GROWN_BYTES: u64 = (size_of::<(usize, usize)>() + size_of::<usize>()) as u64 + 256;

/// How much of everything a graph has: what the size of its plan follows from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub nodes: usize,
    pub operators: usize,
    pub constants: usize,
    /// Operators that draw random numbers.
    pub generators: usize,
    /// Outputs of all nodes.
    pub slots: usize,
    /// Bytes of the lists of inputs and outputs of all steps.
    list_bytes: u64,
    /// The most inputs and outputs of one node.
    most: usize,
    /// Bytes of the names of the graph's inputs and outputs, and of their lists.
    port_bytes: u64,
    /// Values that grow.
    grown: usize,
    /// Constants of which some are streamed.
    streamed: usize,
}

impl Sizes {
    pub fn of(graph: &Graph, options: &PlanOptions) -> Sizes {
        let mut sizes = Sizes { nodes: graph.nodes.len(), ..Sizes::default() };
        for node in &graph.nodes {
            let (inputs, outputs) = (node.inputs.len(), node.facts.len());
            sizes.slots += outputs;
            sizes.most = sizes.most.max(inputs + outputs);
            sizes.grown += node.facts.iter().filter(|fact| options.grows(fact)).count();
            match node.kind {
                NodeKind::Operator(_) | NodeKind::Region(_) => {
                    sizes.operators += 1;
                    sizes.generators += usize::from(node.operator().is_some_and(|o| o.seeds().is_some()));
                    sizes.list_bytes += array_bytes::<usize>(inputs) + array_bytes::<usize>(outputs);
                    sizes.list_bytes += array_bytes::<ValueRef>(inputs);
                }
                NodeKind::Constant(_) => sizes.constants += 1,
                NodeKind::Input { .. } => {}
            }
        }
        if !options.weights.is_resident() {
            sizes.streamed = sizes.constants;
        }
        // A fetched value that is fed is copied, by a step and into a slot of its own.
        let is_fed = |value: &ValueRef| matches!(graph.producer(*value).kind, NodeKind::Input { .. });
        let copies = graph.results().filter(is_fed).count();
        sizes.slots += copies;
        sizes.operators += copies;
        for ports in [&graph.inputs, &graph.outputs] {
            sizes.port_bytes += array_bytes::<(String, usize)>(ports.len());
            sizes.port_bytes += ports.iter().map(|port| block_bytes(port.name.len() as u64)).sum::<u64>();
        }
        sizes.port_bytes += array_bytes::<StatePlan>(graph.states.len());
        sizes.port_bytes += graph.states.iter().map(|s| block_bytes(s.name.len() as u64)).sum::<u64>();
        sizes
    }

    /// The most bytes that the plan may take.
    pub fn plan_bytes(&self) -> u64 {
        let items = self.operators + self.slots;
        self.list_bytes
            + self.port_bytes
            + array_bytes::<Step>(self.operators)
            + array_bytes::<SlotPlan>(self.slots)
            + array_bytes::<WeightPlan>(self.constants)
            + 2 * array_bytes::<StepGenerator>(self.generators)
            + array_bytes::<ArenaItem>(items)
            + array_bytes::<usize>(items)
            + self.grown as u64 * GROWN_BYTES
    }

    /// What making it takes besides, the packing of the arena aside.
    pub fn working_bytes(&self) -> u64 {
        let order = (size_of::<(NodeId, usize)>() + 2 * size_of::<NodeId>() + 1) as u64;
        let slot = (5 * size_of::<usize>() + size_of::<u32>()) as u64;
        // A table has up to twice the buckets that it needs, and while it grows the old one beside them.
        let wanted = 3 * (size_of::<(NodeId, WeightUse)>() + 1) as u64;
        // Those that could be streamed, with a sort's copy of half of them, and a table of those that are.
        let streamed = 2 * (size_of::<(NodeId, usize, f64)>() + 2 * size_of::<NodeId>()) as u64;
        let items = (self.operators + self.slots) as u64;
        self.streamed as u64 * streamed
            + self.nodes as u64 * (order + 2 * size_of::<u32>() as u64)
            + self.slots as u64 * slot
            + self.constants as u64 * wanted
            + items * size_of::<Item>() as u64
            + 2 * array_bytes::<TensorInfo>(self.most)
            + self.operators as u64 * 2 * size_of::<usize>() as u64
    }
}

impl Plan {
    /// Bytes of the heap that the plan takes, and a context's own lists of its slots, constants and generators, the
    /// last twice while it changes to another plan.
    pub(super) fn heap_bytes(&self) -> u64 {
        let step_bytes =
            |step: &Step| list_bytes(&step.inputs) + list_bytes(&step.outputs) + list_bytes(&step.reads);
        let port_bytes = |(name, _): &(String, usize)| block_bytes(name.len() as u64);
        list_bytes(&self.steps)
            + self.steps.iter().map(step_bytes).sum::<u64>()
            + list_bytes(&self.slots)
            + list_bytes(&self.weights)
            + list_bytes(&self.inputs)
            + list_bytes(&self.outputs)
            + self.inputs.iter().chain(&self.outputs).map(port_bytes).sum::<u64>()
            + list_bytes(&self.states)
            + self.states.iter().map(|state| block_bytes(state.name.len() as u64)).sum::<u64>()
            + list_bytes(&self.items)
            + list_bytes(&self.packing.offsets)
            + array_bytes::<Slot>(self.slots.len())
            + self.slots.iter().filter(|slot| slot.storage == Storage::Grown).count() as u64 * GROWN_BYTES
            + 2 * array_bytes::<StepGenerator>(self.steps.iter().filter(|step| step.draws()).count())
            + self.weights.len() as u64 * LOADED_WEIGHT_BYTES
    }

    /// Bytes that are reserved for the plan itself and for those of its bodies, besides all that they lay out; constants that
    /// were made for it, values that follow from the shapes it is bound to, are counted too.
    pub fn structure_bytes(&self) -> u64 {
        let bound = self.all().flat_map(|plan| &plan.weights).filter_map(|weight| {
            let held = weight.constant.held.as_ref()?;
            (held.purpose() == crate::ir::BOUND_CONSTANTS)
                .then_some((std::sync::Arc::as_ptr(held), held.bytes()))
        });
        let plans = self.all().map(|plan| plan.memory.bytes()).sum::<u64>();
        plans + bound.collect::<HashMap<_, _>>().values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use crate::import::text_graph::{COUNT, graph};
    use crate::plan::{Plan, PlanOptions, WeightMode};
    use crate::{Binding, bind};

    #[test]
    fn the_plans_of_bodies_are_part_of_the_structure() {
        let bound = bind(&graph(COUNT, &["neg"]).unwrap(), &Binding::default()).unwrap();
        let before_bytes = bound.budget().used_bytes();
        let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident)).unwrap();
        assert_eq!(plan.all().count(), 3);
        assert_eq!(plan.structure_bytes(), bound.budget().used_bytes() - before_bytes);
    }
}
