//! The last of planning: lives are packed into the arena, and slots get their places in it.

use std::sync::Arc;

use tightfit_core::{ALIGNMENT, Account};

use super::arena::{self, Item, Packing};
use super::planner::Planner;
use super::{Action, ArenaItem, Plan, StatePlan, Step, Storage};
use crate::error::GraphError;
use crate::ir::Port;

impl Planner<'_> {
    pub(super) fn finish(mut self, account: &Account) -> Result<Plan, GraphError> {
        let fetched = self.fetched_slots();
        let end = self.steps.len();
        for slot in &fetched {
            let root = self.root_of[*slot];
            self.life[root].1 = end.max(1);
        }
        let ends = self.ends(&fetched);
        let (items, packing, load_bytes) = self.pack(account)?;
        let mut weights_bytes = 0;
        for weight in &mut self.weights {
            weight.offset = weights_bytes;
            weights_bytes += weight.bytes.next_multiple_of(ALIGNMENT);
        }
        let streams = self.steps.iter().filter_map(|s| s.stream.as_ref());
        let block_bytes =
            streams.clone().map(|s| s.block_bytes).max().unwrap_or(0).next_multiple_of(ALIGNMENT);
        let streamed_bytes: u64 = streams.map(|s| s.constant.bytes() as u64).sum();
        let bodies = self.steps.iter().filter_map(Step::region).flat_map(|region| &region.bodies);
        let slot_of = |port: &Port| (port.name.clone(), self.slot(port.value));
        let outputs = self.graph.outputs.iter().zip(&fetched);
        let states = self.graph.states.iter().zip(&fetched[self.graph.outputs.len()..]);
        let states = states.map(|(state, after)| {
            let before = self.slot(state.before);
            // Whatever shares its memory counts as a use of it.
            let is_read = self.last_use[before] > 0;
            let (name, initial) = (state.name.clone(), state.initial.clone());
            StatePlan { name, before, after: *after, is_read, initial }
        });
        Ok(Plan {
            options: *self.options,
            role: self.role,
            inputs: self.graph.inputs.iter().map(slot_of).collect(),
            outputs: outputs.map(|(port, slot)| (port.name.clone(), *slot)).collect(),
            states: states.collect(),
            weights_bytes: weights_bytes + bodies.clone().map(|body| body.weights_bytes).sum::<usize>(),
            streamed_bytes: streamed_bytes + bodies.clone().map(|body| body.streamed_bytes).sum::<u64>(),
            block_bytes: bodies.map(|body| body.block_bytes).fold(block_bytes, usize::max),
            steps: self.steps,
            slots: self.slots,
            weights: self.weights,
            arena_bytes: packing.height_bytes,
            arena_lower_bound_bytes: load_bytes,
            string_bytes: self.string_bytes,
            ends,
            items,
            packing,
            memory: Arc::new(account.room(0)?),
        })
    }

    /// What is in the arena, where it lies, and the least that any way to pack it needs.
    pub(super) fn pack(&mut self, account: &Account) -> Result<(Vec<ArenaItem>, Packing, usize), GraphError> {
        let mut items = std::mem::take(&mut self.scratch);
        for (slot, plan) in self.slots.iter().enumerate() {
            let (first, end) = self.life[slot];
            if self.root_of[slot] == slot && matches!(plan.storage, Storage::Arena(_)) && end > first {
                let bytes = plan.info.shape.elements() * plan.info.dtype.bytes();
                items.push(ArenaItem {
                    item: Item { first, end, bytes },
                    slot: Some(slot),
                    name: self.graph.producer(plan.value).name.clone(),
                });
            }
        }
        items.shrink_to_fit();
        let mut plain: Vec<Item> = items.iter().map(|i| i.item).collect();
        let working = account.room(arena::working_bytes(&plain))?;
        let mut packing = arena::pack(&plain, ALIGNMENT);
        let load_bytes = arena::load_bytes(&plain, ALIGNMENT).into_iter().max().unwrap_or(0);
        let scratch = items.iter().enumerate().filter(|(_, item)| item.slot.is_none());
        let most = scratch.map(|(number, item)| (number, self.most_scratch_bytes(item.item.first)));
        let most: Vec<(usize, usize)> = most.filter(|(_, bytes)| *bytes > 0).collect();
        arena::widen(&mut plain, &mut packing, ALIGNMENT, &most);
        items.iter_mut().zip(&plain).for_each(|(item, plain)| item.item = *plain);
        drop(working);
        for (item, offset) in items.iter().zip(&packing.offsets) {
            match item.slot {
                Some(slot) => self.slots[slot].storage = Storage::Arena(*offset),
                None => self.steps[item.item.first].scratch = (*offset, item.item.bytes),
            }
        }
        for slot in 0..self.slots.len() {
            self.slots[slot].storage = self.slots[self.root_of[slot]].storage;
        }
        Ok((items, packing, load_bytes))
    }

    /// The most scratch bytes that are of use to a step.
    fn most_scratch_bytes(&self, step: usize) -> usize {
        let step = &self.steps[step];
        let infos = |slots: &[usize]| slots.iter().map(|slot| self.slots[*slot].info).collect::<Vec<_>>();
        match &step.action {
            Action::Operator(operator) if !step.grows => {
                let (inputs, outputs) = (infos(&step.inputs), infos(&step.outputs));
                operator.memory(&self.call(&inputs, &outputs)).most_scratch_bytes
            }
            _ => 0,
        }
    }
}
