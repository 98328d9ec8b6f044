//! Where constants are held, and which values share memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tightfit_core::{ALIGNMENT, piece_done};

use super::planner::Planner;
use super::{Role, STREAM_FROM_BYTES, Storage, WeightPlan};
use crate::error::GraphError;
use crate::ir::{Constant, ConstantData, NodeId, NodeKind, ValueRef};
use crate::operator::{Held, WeightLayout, WeightUse};

/// What handing a block over from the thread that reads to those that compute costs, in bytes that are read meanwhile.
const HAND_OVER_BYTES: u64 = 128 << 10;

/// From this size on a table may stay in the file although there is memory for it.
const TABLE_FROM_BYTES: usize = 16 << 20;

/// What it costs to read a weight in each run, in bytes read: those of the file, and what it takes to hand its blocks over.
/// One that comes in pieces of its operator's choice costs nothing: a run reads little of it.
pub(super) fn streaming_cost(bytes: usize, block_bytes: usize) -> u64 {
    match block_bytes as u64 {
        0 => 0,
        block_bytes => bytes as u64 + (bytes as u64).div_ceil(block_bytes) * HAND_OVER_BYTES,
    }
}

impl Planner<'_> {
    /// Decides for every constant whether it is dense, in an operator's layout, or stays in the file. The last two
    /// need it to have a single user that asks for it.
    pub(super) fn place_constants(&mut self) -> Result<(), GraphError> {
        let mut wanted: HashMap<NodeId, WeightUse> = HashMap::new();
        let mut uses = vec![0u32; self.graph.nodes.len()];
        for (position, id) in self.order.iter().enumerate() {
            piece_done(position);
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
        wanted.retain(|id, _| uses[id.0 as usize] == 1);
        let streamed = self.streamed(&wanted);
        for position in 0..self.order.len() {
            let id = self.order[position];
            let NodeKind::Constant(constant) = &self.graph.node(id).kind else { continue };
            match wanted.get(&id) {
                Some(_) if streamed.contains(&id) => {
                    let slot = self.slot(ValueRef::of(id));
                    self.slots[slot].info.held = Held::Streamed;
                    self.slots[slot].storage = Storage::Streamed;
                }
                weight => self.place_constant(ValueRef::of(id), constant, weight),
            }
        }
        Ok(())
    }

    /// Large tables of which a run reads a few rows, in a graph that computes far longer with its other weights: those are
    /// together at least half as large. They stay in the file however weights are held.
    fn tables(&self, wanted: &HashMap<NodeId, WeightUse>) -> HashSet<NodeId> {
        let (mut tables, mut table_bytes, mut other_bytes) = (HashSet::new(), 0, 0);
        if matches!(self.role, Role::Body { .. }) {
            return tables;
        }
        for (id, weight) in wanted {
            let Some(constant) = self.graph.node(*id).constant() else { continue };
            if weight.block_bytes > 0 {
                other_bytes += constant.bytes();
            } else if constant.data.is_in_file() && constant.bytes() >= TABLE_FROM_BYTES {
                table_bytes += constant.bytes();
                tables.insert(*id);
            }
        }
        if other_bytes < table_bytes / 2 {
            tables.clear();
        }
        tables
    }

    /// The weights that are read from the file in each run: tables, and large ones, but for those that save most for the
    /// memory that they take. Which these are does not depend on the batch, so that what is in memory serves another one as
    /// well.
    fn streamed(&self, wanted: &HashMap<NodeId, WeightUse>) -> HashSet<NodeId> {
        let mut streamed = self.tables(wanted);
        if self.options.weights.is_resident() {
            return streamed;
        }
        let mut free_bytes = self.options.weights.kept_bytes();
        let candidates = self.order.iter().filter_map(|id| {
            let constant = self.graph.node(*id).constant()?;
            let weight = wanted.get(id)?;
            let is_large = constant.data.is_in_file() && constant.bytes() >= STREAM_FROM_BYTES;
            let is_large = is_large && !streamed.contains(id);
            is_large.then(|| {
                let bytes = weight.layout.bytes(constant, self.options.isa).max(1);
                let cost = streaming_cost(constant.bytes(), weight.block_bytes);
                (*id, bytes, cost as f64 / bytes as f64)
            })
        });
        let mut candidates: Vec<_> = candidates.collect();
        if free_bytes > 0 {
            candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
        }
        let is_streamed = |&(_, bytes, _): &(NodeId, usize, f64)| {
            let aligned_bytes = bytes.next_multiple_of(ALIGNMENT);
            match free_bytes.checked_sub(aligned_bytes) {
                Some(rest_bytes) => free_bytes = rest_bytes,
                None => return true,
            }
            false
        };
        streamed.extend(candidates.into_iter().filter(is_streamed).map(|(id, ..)| id));
        streamed
    }

    pub(super) fn place_constant(
        &mut self,
        value: ValueRef,
        constant: &Arc<Constant>,
        weight: Option<&WeightUse>,
    ) {
        let slot = self.slot(value);
        let layout = weight.map_or(WeightLayout::Dense, |w| w.layout);
        let bytes = layout.bytes(constant, self.options.isa);
        self.slots[slot].info.held = layout.held();
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
