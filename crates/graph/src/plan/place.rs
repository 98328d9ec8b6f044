//! Where constants are held, and which values share memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::planner::Planner;
use super::{STREAM_FROM_BYTES, Storage, WeightMode, WeightPlan};
use crate::error::GraphError;
use crate::ir::{Constant, ConstantData, NodeId, NodeKind, ValueRef};
use crate::operator::{Held, WeightLayout, WeightUse};

impl Planner<'_> {
    /// Decides for every constant whether it is dense, in an operator's layout, or stays in the file. The last two
    /// need it to have a single user that asks for it.
    pub(super) fn place_constants(&mut self) -> Result<(), GraphError> {
        let mut wanted: HashMap<NodeId, WeightUse> = HashMap::new();
        let mut uses = vec![0u32; self.graph.nodes.len()];
        for id in &self.order {
            let node = self.graph.node(*id);
            for value in &node.inputs {
                uses[value.node.0 as usize] += 1;
            }
            if let Some(operator) = node.operator().filter(|_| !self.grows(*id)) {
                let (inputs, outputs) = self.node_infos(*id);
                if let Some(weight) = operator.weight(&self.call(&inputs, &outputs)) {
                    wanted.insert(node.inputs[weight.input].node, weight);
                }
            }
        }
        for value in self.graph.results() {
            uses[value.node.0 as usize] += 2;
        }
        for position in 0..self.order.len() {
            let id = self.order[position];
            let NodeKind::Constant(constant) = &self.graph.node(id).kind else { continue };
            let weight = wanted.get(&id).filter(|_| uses[id.0 as usize] == 1);
            self.place_constant(ValueRef::of(id), constant, weight);
        }
        Ok(())
    }

    pub(super) fn place_constant(
        &mut self,
        value: ValueRef,
        constant: &Arc<Constant>,
        weight: Option<&WeightUse>,
    ) {
        let slot = self.slot(value);
        let is_streamed = matches!(self.options.weights, WeightMode::Streamed { .. })
            && constant.data.is_in_file()
            && constant.bytes() >= STREAM_FROM_BYTES;
        if is_streamed && weight.is_some() {
            self.slots[slot].info.held = Held::Streamed;
            self.slots[slot].storage = Storage::Streamed;
            return;
        }
        let layout = weight.map_or(WeightLayout::Dense, |w| w.layout);
        let bytes = layout.bytes(constant, self.options.isa);
        self.slots[slot].info.held = match layout {
            WeightLayout::Dense => Held::Resident,
            WeightLayout::Panels { .. } => Held::Packed,
        };
        self.slots[slot].storage = Storage::Weight(self.weights.len());
        self.weights.push(WeightPlan { value, constant: constant.clone(), layout, offset: 0, bytes });
        if let ConstantData::Strings(strings) = &constant.data {
            self.string_bytes += strings.iter().map(|s| s.len()).sum::<usize>();
        }
    }

    /// Makes `output` live in the memory of `input`.
    pub(super) fn share(&mut self, input: usize, output: usize) {
        let root = self.root_of[input];
        self.root_of[output] = root;
        self.last_use[root] = self.last_use[root].max(self.last_use[output]);
        self.slots[output].storage = self.slots[input].storage;
        self.slots[output].info.held = self.slots[input].info.held;
    }

    /// True when nothing else needs the memory of `input` from this node on.
    pub(super) fn can_overwrite(&self, position: usize, input: usize, output: usize) -> bool {
        let root = self.root_of[input];
        let (from, to) = (&self.slots[input].info, &self.slots[output].info);
        let is_writable = match self.slots[root].storage {
            Storage::Arena(_) => true,
            Storage::Fed(input) => self.role.may_write(input),
            Storage::Weight(_) | Storage::Streamed | Storage::Grown => false,
        };
        is_writable
            && from.dtype.bytes() == to.dtype.bytes()
            && from.shape == to.shape
            && self.in_step[root] == 1
            && self.last_use[root] <= position
    }
}
