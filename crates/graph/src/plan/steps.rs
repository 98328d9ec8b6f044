//! The steps: what is computed from which slots into which.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::piece_done;

use super::arena::Item;
use super::planner::Planner;
use super::{Action, AliasOf, ArenaItem, SlotPlan, Step, Storage, StreamPlan, fetch};
use crate::error::GraphError;
use crate::infer::node_error;
use crate::ir::{NodeId, NodeKind, ValueRef};
use crate::operator::{Call, Held, Operator, TensorInfo};

impl Planner<'_> {
    pub(super) fn make_steps(&mut self) -> Result<(), GraphError> {
        for position in 0..self.order.len() {
            let id = self.order[position];
            piece_done(position);
            match &self.graph.node(id).kind {
                NodeKind::Operator(operator) => self.make_step(position, id, operator)?,
                NodeKind::Region(region) => self.make_region_step(id, region)?,
                NodeKind::Input { .. } | NodeKind::Constant(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn make_step(
        &mut self,
        position: usize,
        id: NodeId,
        operator: &Arc<dyn Operator>,
    ) -> Result<(), GraphError> {
        if self.grows(id) {
            return self.make_growing_step(id, operator);
        }
        let node = self.graph.node(id);
        let (input_infos, output_infos) = self.node_infos(id);
        let call = self.call(&input_infos, &output_infos);
        let memory = operator.memory(&call).checked(node.inputs.len());
        let memory = memory.map_err(|source| node_error(self.graph, id, source))?;
        self.check_size(id, memory.scratch_bytes.max(memory.string_bytes))?;
        let inputs: Vec<usize> = node.inputs.iter().map(|v| self.slot(*v)).collect();
        let outputs: Vec<usize> =
            (0..node.facts.len() as u32).map(|output| self.slot(ValueRef { node: id, output })).collect();
        let bytes =
            |slot: usize| self.slots[slot].info.shape.elements() * self.slots[slot].info.dtype.bytes();
        let is_alias = memory.alias.is_some_and(|input| {
            let from = inputs[input];
            // One that is larger than the most that there can be is refused as it runs.
            let fits = outputs.first().is_some_and(|output| bytes(*output) <= bytes(from));
            self.slots[from].info.held != Held::Streamed && fits
        });
        // An alias has a shape of its own in each run where that depends on data, if only by its values.
        let is_bound = |slot: &usize| self.slots[*slot].is_bound;
        let is_dynamic = inputs.iter().any(is_bound) || (is_alias && outputs.iter().any(is_bound));
        if let (true, Some(input), Some(output)) = (is_alias, memory.alias, outputs.first()) {
            self.share(inputs[input], *output);
            self.slots[*output].alias_of = Some(AliasOf { slot: inputs[input], value: node.inputs[input] });
            // What has one shape in all runs is still given it by a step where it is a tensor that need not fit.
            self.slots[*output].is_bound |= self.slots[inputs[input]].is_bound;
            if !is_dynamic {
                return Ok(());
            }
        }
        inputs.iter().for_each(|slot| self.in_step[self.root_of[*slot]] += 1);
        let mut named = memory.overwrites.iter().filter(|_| !is_dynamic && !outputs.is_empty());
        let in_place_input = named.find(|i| self.can_overwrite(position, inputs[*i], outputs[0]));
        inputs.iter().for_each(|slot| self.in_step[self.root_of[*slot]] = 0);
        if let Some(input) = in_place_input {
            self.share(inputs[input], outputs[0]);
        }
        self.string_bytes += memory.string_bytes;
        let stream = self.stream_plan(operator, &call, node.inputs.as_slice());
        self.push_step(Step {
            node: id,
            reads: node.inputs.clone(),
            name: node.name.clone(),
            action: Action::Operator(operator.clone()),
            inputs,
            outputs,
            in_place_input,
            scratch: (0, memory.scratch_bytes),
            stream,
            is_dynamic,
            grows: false,
            is_alias,
        });
        Ok(())
    }

    /// Adds a step: its outputs and scratch live from it on, and what it reads until it is done.
    pub(super) fn push_step(&mut self, step: Step) {
        let number = self.steps.len();
        for slot in step.outputs.iter().filter(|slot| self.root_of[**slot] == **slot) {
            self.life[*slot] = (number, number + 1);
        }
        for slot in step.inputs.iter().chain(&step.outputs) {
            let root = self.root_of[*slot];
            self.life[root].1 = self.life[root].1.max(number + 1);
        }
        if step.scratch.1 > 0 {
            let item = Item { first: number, end: number + 1, bytes: step.scratch.1 };
            self.scratch.push(ArenaItem { item, slot: None, name: step.name.clone() });
        }
        self.steps.push(step);
    }

    pub(super) fn stream_plan(
        &self,
        operator: &Arc<dyn Operator>,
        call: &Call<'_>,
        inputs: &[ValueRef],
    ) -> Option<StreamPlan> {
        let weight = operator.weight(call)?;
        if call.inputs[weight.input].held != Held::Streamed {
            return None;
        }
        let value = inputs[weight.input];
        let constant = self.graph.producer(value).constant()?.clone();
        Some(StreamPlan { value, constant, block_bytes: weight.block_bytes, first_block: 0 })
    }

    /// The slot of each result. One that is where it may not stay, in the caller's memory, has memory of its own, filled
    /// by a step at the end.
    pub(super) fn fetched_slots(&mut self) -> Vec<usize> {
        let mut copies = HashMap::new();
        let mut fetched = Vec::with_capacity(self.graph.results().count());
        for (output, value) in self.graph.results().enumerate() {
            let slot = self.slot(value);
            let Storage::Fed(input) = self.slots[slot].storage else {
                fetched.push(slot);
                continue;
            };
            let is_kept = self.role.may_return(output, input);
            if let Some(done) = if is_kept { Some(&slot) } else { copies.get(&slot) } {
                fetched.push(*done);
                continue;
            }
            let info = TensorInfo { held: Held::Value, ..self.slots[slot].info };
            let is_dynamic = self.slots[slot].is_bound;
            let copy = self.add_slot(SlotPlan {
                value,
                alias_of: None,
                is_bound: is_dynamic,
                info,
                storage: Storage::Arena(0),
            });
            self.push_step(Step {
                node: value.node,
                reads: vec![value],
                name: self.graph.producer(value).name.clone(),
                action: Action::Operator(Arc::new(fetch::FetchedCopy)),
                inputs: vec![slot],
                outputs: vec![copy],
                in_place_input: None,
                scratch: (0, 0),
                stream: None,
                is_dynamic,
                grows: false,
                is_alias: false,
            });
            copies.insert(slot, copy);
            fetched.push(copy);
        }
        fetched
    }
}
