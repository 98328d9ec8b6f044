//! The steps: what is computed from which slots into which.

use std::collections::HashMap;
use std::sync::Arc;

use super::arena::Item;
use super::planner::Planner;
use super::{AliasOf, ArenaItem, Home, SlotPlan, Step, StreamPlan, fetch};
use crate::error::GraphError;
use crate::ir::{NodeId, NodeKind, ValueRef};
use crate::operator::{Call, Operator, Place, TensorInfo};

impl Planner<'_> {
    pub(super) fn make_steps(&mut self) -> Result<(), GraphError> {
        for position in 0..self.order.len() {
            let id = self.order[position];
            let NodeKind::Operator(operator) = &self.graph.node(id).kind else { continue };
            self.make_step(position, id, operator)?;
        }
        Ok(())
    }

    pub(super) fn make_step(
        &mut self,
        position: usize,
        id: NodeId,
        operator: &Arc<dyn Operator>,
    ) -> Result<(), GraphError> {
        let node = self.graph.node(id);
        let (input_infos, output_infos) = self.node_infos(id);
        let call = self.call(&input_infos, &output_infos);
        let memory = operator.memory(&call);
        self.check_size(id, memory.scratch_bytes.max(memory.string_bytes))?;
        let inputs: Vec<usize> = node.inputs.iter().map(|v| self.slot(*v)).collect();
        let outputs: Vec<usize> =
            (0..node.facts.len() as u32).map(|output| self.slot(ValueRef { node: id, output })).collect();
        let is_dynamic = self.graph.input_facts(node).iter().any(|f| f.depends_on_data());
        let is_alias =
            memory.alias.is_some_and(|input| self.slots[inputs[input]].info.place != Place::Streamed);
        if let (true, Some(input), Some(output)) = (is_alias, memory.alias, outputs.first()) {
            self.share(inputs[input], *output);
            self.slots[*output].alias_of = Some(AliasOf { slot: inputs[input], value: node.inputs[input] });
            if !is_dynamic {
                return Ok(());
            }
        }
        let step = self.steps.len();
        inputs.iter().for_each(|slot| self.in_step[self.root_of[*slot]] += 1);
        let in_place_input = memory.overwrites.iter().copied().filter(|_| !is_dynamic && !outputs.is_empty());
        let in_place_input =
            in_place_input.into_iter().find(|i| self.can_overwrite(position, inputs[*i], outputs[0]));
        inputs.iter().for_each(|slot| self.in_step[self.root_of[*slot]] = 0);
        if let Some(input) = in_place_input {
            self.share(inputs[input], outputs[0]);
        }
        for slot in outputs.iter().filter(|slot| self.root_of[**slot] == **slot) {
            self.life[*slot] = (step, step + 1);
        }
        for slot in inputs.iter().chain(&outputs) {
            let root = self.root_of[*slot];
            self.life[root].1 = self.life[root].1.max(step + 1);
        }
        if memory.scratch_bytes > 0 {
            let item = Item { first: step, end: step + 1, bytes: memory.scratch_bytes };
            self.scratch.push(ArenaItem { item, slot: None, name: node.name.clone() });
        }
        self.string_bytes += memory.string_bytes;
        let stream = self.stream_plan(operator, &call, node.inputs.as_slice());
        self.steps.push(Step {
            node: id,
            reads: node.inputs.clone(),
            name: node.name.clone(),
            operator: operator.clone(),
            inputs,
            outputs,
            in_place_input,
            scratch: (0, memory.scratch_bytes),
            stream,
            is_dynamic,
            is_alias,
        });
        Ok(())
    }

    pub(super) fn stream_plan(
        &self,
        operator: &Arc<dyn Operator>,
        call: &Call<'_>,
        inputs: &[ValueRef],
    ) -> Option<StreamPlan> {
        let weight = operator.weight(call)?;
        if call.inputs[weight.input].place != Place::Streamed {
            return None;
        }
        let value = inputs[weight.input];
        let constant = self.graph.producer(value).constant()?.clone();
        Some(StreamPlan { value, constant, block_bytes: weight.block_bytes })
    }

    /// Gives every fetched value that is in the caller's memory memory of its own, filled by a step at the end.
    pub(super) fn copy_fetched_inputs(&mut self) -> HashMap<usize, usize> {
        let mut copies = HashMap::new();
        for port in &self.graph.outputs {
            let slot = self.slot(port.value);
            if !matches!(self.slots[slot].home, Home::Fed(_)) || copies.contains_key(&slot) {
                continue;
            }
            let info = TensorInfo { place: Place::Value, ..self.slots[slot].info };
            let is_dynamic = self.slots[slot].is_bound;
            let copy = self.add_slot(SlotPlan {
                value: port.value,
                alias_of: None,
                is_bound: is_dynamic,
                info,
                home: Home::Arena(0),
            });
            let step = self.steps.len();
            self.life[copy] = (step, step + 1);
            self.steps.push(Step {
                node: port.value.node,
                reads: vec![port.value],
                name: self.graph.producer(port.value).name.clone(),
                operator: Arc::new(fetch::FetchedCopy),
                inputs: vec![slot],
                outputs: vec![copy],
                in_place_input: None,
                scratch: (0, 0),
                stream: None,
                is_dynamic,
                is_alias: false,
            });
            copies.insert(slot, copy);
        }
        copies
    }
}
