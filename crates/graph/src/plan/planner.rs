//! The plan while it is made: a slot for each value, in the order of computation.

use std::collections::HashMap;

use tightfit_core::Shape;

use super::{ArenaItem, MAX_TENSOR_BYTES, PlanOptions, Role, SlotPlan, Step, Storage, WeightPlan, memory};
use crate::error::GraphError;
use crate::infer::node_error;
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::{Call, Held, TensorInfo};

/// A plan while it is made.
pub(super) struct Planner<'a> {
    pub graph: &'a Graph,
    pub options: &'a PlanOptions,
    pub role: Role,
    pub order: Vec<NodeId>,
    /// For each node of the graph, the slot of its first output; the others follow.
    pub first_slot: Vec<u32>,
    pub slots: Vec<SlotPlan>,
    /// Where a slot's memory comes from: itself, or the slot it shares memory with.
    pub root_of: Vec<usize>,
    /// For every slot, the position in the order of the last node that reads it; the end for fetched ones. For a root
    /// slot, of all slots that share its memory.
    pub last_use: Vec<usize>,
    /// How often each root slot is an input of the step that is being made.
    pub in_step: Vec<u32>,
    /// First step and end of life of a root slot.
    pub life: Vec<(usize, usize)>,
    pub weights: Vec<WeightPlan>,
    pub steps: Vec<Step>,
    pub scratch: Vec<ArenaItem>,
    pub string_bytes: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        options: &'a PlanOptions,
        role: Role,
        sizes: &memory::Sizes,
    ) -> Result<Self, GraphError> {
        let order =
            graph.order().map_err(|id| GraphError::Cycle { node: graph.node(id).name.to_string() })?;
        let mut planner = Planner {
            graph,
            options,
            role,
            order,
            first_slot: vec![0; sizes.nodes],
            slots: Vec::with_capacity(sizes.slots),
            root_of: Vec::with_capacity(sizes.slots),
            last_use: Vec::new(),
            in_step: vec![0; sizes.slots],
            life: Vec::with_capacity(sizes.slots),
            weights: Vec::with_capacity(sizes.constants),
            steps: Vec::with_capacity(sizes.operators),
            scratch: Vec::with_capacity(sizes.operators + sizes.slots),
            string_bytes: 0,
        };
        planner.make_slots()?;
        planner.last_use = planner.last_uses();
        Ok(planner)
    }

    pub(super) fn make_slots(&mut self) -> Result<(), GraphError> {
        let given = self.graph.given().enumerate();
        let fed: HashMap<NodeId, usize> = given.map(|(number, value)| (value.node, number)).collect();
        for position in 0..self.order.len() {
            let id = self.order[position];
            let node = self.graph.node(id);
            self.first_slot[id.0 as usize] = self.slots.len() as u32;
            for (output, fact) in node.facts.iter().enumerate() {
                let (shape, storage) = match Shape::try_from(self.options.dims(fact)) {
                    Ok(shape) => {
                        (shape, fed.get(&id).map_or(Storage::Arena(0), |number| Storage::Fed(*number)))
                    }
                    Err(Some(error)) => return Err(node_error(self.graph, id, error.into())),
                    Err(None) => (self.open_shape(id, fact)?, Storage::Grown),
                };
                self.check_size(id, shape.elements() * fact.dtype.bytes())?;
                let is_bound = fact.depends_on_data() || storage == Storage::Grown;
                let info = TensorInfo { dtype: fact.dtype, shape, is_bound, held: Held::Value };
                let value = ValueRef { node: id, output: output as u32 };
                self.add_slot(SlotPlan { value, alias_of: None, is_bound, info, storage });
            }
        }
        Ok(())
    }

    /// For every slot, the position in the order of the last node that reads it; the end for fetched ones.
    pub(super) fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.slots.len()];
        for (position, id) in self.order.iter().enumerate() {
            for value in &self.graph.node(*id).inputs {
                last[self.slot(*value)] = position;
            }
        }
        for value in self.graph.results() {
            last[self.slot(value)] = usize::MAX;
        }
        last
    }

    pub(super) fn add_slot(&mut self, slot: SlotPlan) -> usize {
        let number = self.slots.len();
        self.slots.push(slot);
        self.root_of.push(number);
        self.life.push((0, 0));
        number
    }

    pub(super) fn check_size(&self, id: NodeId, bytes: usize) -> Result<(), GraphError> {
        if bytes as u64 <= MAX_TENSOR_BYTES {
            return Ok(());
        }
        let node = self.graph.node(id);
        Err(GraphError::TooLarge {
            node: node.name.to_string(),
            op: node.op_name().to_string(),
            bytes: bytes as u64,
        })
    }

    pub(super) fn slot(&self, value: ValueRef) -> usize {
        self.first_slot[value.node.0 as usize] as usize + value.output as usize
    }

    pub(super) fn call<'c>(&self, inputs: &'c [TensorInfo], outputs: &'c [TensorInfo]) -> Call<'c> {
        let PlanOptions { threads, isa, weights, .. } = *self.options;
        Call { inputs, outputs, threads, isa, window_bytes: weights.window_bytes() }
    }

    pub(super) fn infos(&self, values: impl Iterator<Item = ValueRef>) -> Vec<TensorInfo> {
        values.map(|v| self.slots[self.slot(v)].info).collect()
    }

    pub(super) fn node_infos(&self, id: NodeId) -> (Vec<TensorInfo>, Vec<TensorInfo>) {
        let node = self.graph.node(id);
        let outputs = (0..node.facts.len() as u32).map(|output| ValueRef { node: id, output });
        (self.infos(node.inputs.iter().copied()), self.infos(outputs))
    }
}
