//! The plan: what stands where in memory at which step, settled before the first byte is computed.

mod arena;
mod fetch;
mod meaning;
mod memory;
mod report;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{ALIGNMENT, Account, Reservation, Shape};
use tightfit_kernels::{Isa, PackedLayout};

use crate::error::GraphError;
use crate::infer::node_error;
use crate::ir::{Constant, ConstantData, Graph, NodeId, NodeKind, Port, ValueRef};
use crate::operator::{Call, Operator, Place, TensorInfo, WeightLayout, WeightUse};
use arena::{Item, Packing};

pub use meaning::computes;
pub use report::{Alive, PlanReport, Rectangle, StepReport};
pub use validate::{PlanFault, validate};

/// Constants smaller than this stay resident even where weights are streamed: a read costs more than it frees.
pub const STREAM_FROM_BYTES: usize = 64 << 10;

/// The largest tensor or scratch that is planned. The sum over all nodes a graph may have still fits 64 bits.
pub const MAX_TENSOR_BYTES: u64 = 1 << 40;

/// How the weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightMode {
    /// All in memory.
    Resident,
    /// Large ones are read from the file in each run, through a window.
    Streamed {
        /// The most bytes of one block; two blocks are in memory at once.
        window_bytes: usize,
    },
}

/// What a plan is made for besides the graph.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    /// How many threads will compute.
    pub threads: usize,
    /// How the weights are held.
    pub weights: WeightMode,
}

/// A graph laid out in memory.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it was made for.
    pub options: PlanOptions,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Every tensor.
    pub slots: Vec<SlotPlan>,
    /// The constants in memory, in the order of their offsets.
    pub weights: Vec<WeightPlan>,
    /// Bytes of all constants in memory.
    pub weights_bytes: usize,
    /// Bytes of all streamed weights in their files.
    pub streamed_bytes: u64,
    /// Bytes of one half of the double-buffered window; 0 where nothing is streamed.
    pub block_bytes: usize,
    /// Bytes of the arena: values and scratch.
    pub arena_bytes: usize,
    /// The most bytes alive in one step: no arena can be smaller.
    pub arena_lower_bound_bytes: usize,
    /// Bytes of the pool of strings, fed ones aside.
    pub string_bytes: usize,
    /// The slots of the graph's inputs, in its order.
    pub inputs: Vec<(String, usize)>,
    /// The slots of the graph's outputs, in its order.
    pub outputs: Vec<(String, usize)>,
    items: Vec<ArenaItem>,
    packing: Packing,
    /// What the plan itself takes, and what a session makes of it besides the memory that it lays out.
    memory: Arc<Reservation>,
}

/// One call of an operator.
#[derive(Debug, Clone)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// The values of the graph that it reads: what each slot of `inputs` must hold by then.
    pub reads: Vec<ValueRef>,
    /// Its name.
    pub name: Arc<str>,
    /// What it computes.
    pub operator: Arc<dyn Operator>,
    /// Slots of the inputs.
    pub inputs: Vec<usize>,
    /// Slots of the outputs.
    pub outputs: Vec<usize>,
    /// The input whose memory the first output takes over.
    pub in_place_input: Option<usize>,
    /// Offset and bytes of the scratch in the arena.
    pub scratch: (usize, usize),
    /// The weight that is streamed.
    pub stream: Option<StreamPlan>,
    /// True when shapes depend on data and are inferred anew in each run.
    pub is_dynamic: bool,
    /// True when the first output is an input under another shape: there is nothing to compute.
    pub is_alias: bool,
}

/// A weight that is read in each run.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// The value of the graph that it is.
    pub value: ValueRef,
    /// The constant.
    pub constant: Arc<Constant>,
    /// Bytes of a block; 0 where the operator reads pieces of its own choice.
    pub block_bytes: usize,
}

/// A tensor.
#[derive(Debug, Clone)]
pub struct SlotPlan {
    /// The value of the graph that it holds.
    pub value: ValueRef,
    /// The tensor whose elements these are under another shape, in the same memory.
    pub alias_of: Option<AliasOf>,
    /// True when the shape is an upper bound of the one in a run.
    pub is_bound: bool,
    /// Type, shape or its upper bound, and place.
    pub info: TensorInfo,
    /// Where its memory is.
    pub home: Home,
}

/// The tensor that another one is under another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AliasOf {
    /// Its slot.
    pub slot: usize,
    /// The value of the graph that the slot must hold.
    pub value: ValueRef,
}

/// Whose memory a tensor is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The arena, at an offset.
    Arena(usize),
    /// The caller's: the number of the graph's input.
    Fed(usize),
    /// The memory of constants: the number of the weight.
    Weight(usize),
    /// Nobody's: it stays in the file.
    Streamed,
}

/// A constant in memory.
#[derive(Debug, Clone)]
pub struct WeightPlan {
    /// The value of the graph that it is.
    pub value: ValueRef,
    /// The constant.
    pub constant: Arc<Constant>,
    /// How it is laid out.
    pub layout: WeightLayout,
    /// Where it is among the constants.
    pub offset: usize,
    /// Bytes in that layout.
    pub bytes: usize,
}

/// What an item of the arena holds.
#[derive(Debug, Clone)]
struct ArenaItem {
    item: Item,
    /// The slot, or `None` for scratch.
    slot: Option<usize>,
    name: Arc<str>,
}

impl Plan {
    /// Lays out a graph all of whose shapes are known (see [`crate::infer::bind`]).
    ///
    /// # Errors
    /// [`GraphError`] for a tensor whose size is not known, for a cycle, and when the plan itself does not fit the
    /// budget that the graph is in.
    pub fn new(graph: &Graph, options: &PlanOptions) -> Result<Plan, GraphError> {
        let sizes = memory::Sizes::of(graph);
        let mut account = Account::new(graph.budget(), memory::PURPOSE);
        account.grow(sizes.plan_bytes())?;
        let working = account.room(sizes.working_bytes())?;
        let mut planner = Planner::new(graph, options, &sizes)?;
        planner.place_constants()?;
        planner.make_steps()?;
        let mut plan = planner.finish(&account)?;
        computes(&plan, graph).map_err(|fault| GraphError::Plan(fault.to_string()))?;
        drop(working);
        account.set(plan.heap_bytes())?;
        plan.memory = Arc::new(account.finish()?);
        Ok(plan)
    }

    /// Bytes of window, both halves.
    pub fn window_bytes(&self) -> usize {
        2 * self.block_bytes
    }

    /// Everything a session holds for it: constants, window, arena and strings.
    pub fn total_bytes(&self) -> u64 {
        (self.weights_bytes + self.window_bytes() + self.arena_bytes + self.string_bytes) as u64
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    options: &'a PlanOptions,
    order: Vec<NodeId>,
    /// For each node of the graph, the slot of its first output; the others follow.
    first_slot: Vec<u32>,
    slots: Vec<SlotPlan>,
    /// Where a slot's memory comes from: itself, or the slot it shares memory with.
    root_of: Vec<usize>,
    /// For every slot, the position in the order of the last node that reads it; the end for fetched ones. For a root
    /// slot, of all slots that share its memory.
    last_use: Vec<usize>,
    /// How often each root slot is an input of the step that is being made.
    in_step: Vec<u32>,
    /// First step and end of life of a root slot.
    life: Vec<(usize, usize)>,
    weights: Vec<WeightPlan>,
    steps: Vec<Step>,
    scratch: Vec<ArenaItem>,
    string_bytes: usize,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, options: &'a PlanOptions, sizes: &memory::Sizes) -> Result<Self, GraphError> {
        let order =
            graph.order().map_err(|id| GraphError::Cycle { node: graph.node(id).name.to_string() })?;
        let mut planner = Planner {
            graph,
            options,
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

    fn make_slots(&mut self) -> Result<(), GraphError> {
        let inputs = self.graph.inputs.iter().enumerate();
        let fed: HashMap<NodeId, usize> = inputs.map(|(number, port)| (port.value.node, number)).collect();
        for position in 0..self.order.len() {
            let id = self.order[position];
            let node = self.graph.node(id);
            self.first_slot[id.0 as usize] = self.slots.len() as u32;
            for (output, fact) in node.facts.iter().enumerate() {
                let shape = Shape::try_from(fact.planned_dims()).map_err(|error| match error {
                    Some(error) => node_error(self.graph, id, error.into()),
                    None => GraphError::Unbounded {
                        node: node.name.to_string(),
                        op: node.op_name().to_string(),
                        dims: fact.planned_dims().to_string(),
                    },
                })?;
                self.check_size(id, shape.elements() * fact.dtype.bytes())?;
                let info = TensorInfo { dtype: fact.dtype, shape, place: Place::Value };
                let home = fed.get(&id).map_or(Home::Arena(0), |number| Home::Fed(*number));
                let value = ValueRef { node: id, output: output as u32 };
                let is_bound = fact.depends_on_data();
                self.add_slot(SlotPlan { value, alias_of: None, is_bound, info, home });
            }
        }
        Ok(())
    }

    fn add_slot(&mut self, slot: SlotPlan) -> usize {
        let number = self.slots.len();
        self.slots.push(slot);
        self.root_of.push(number);
        self.life.push((0, 0));
        number
    }

    fn check_size(&self, id: NodeId, bytes: usize) -> Result<(), GraphError> {
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

    fn slot(&self, value: ValueRef) -> usize {
        self.first_slot[value.node.0 as usize] as usize + value.output as usize
    }

    fn call<'c>(&self, inputs: &'c [TensorInfo], outputs: &'c [TensorInfo]) -> Call<'c> {
        let window_bytes = match self.options.weights {
            WeightMode::Resident => usize::MAX,
            WeightMode::Streamed { window_bytes } => window_bytes,
        };
        Call { inputs, outputs, threads: self.options.threads, window_bytes }
    }

    fn infos(&self, values: impl Iterator<Item = ValueRef>) -> Vec<TensorInfo> {
        values.map(|v| self.slots[self.slot(v)].info).collect()
    }

    fn node_infos(&self, id: NodeId) -> (Vec<TensorInfo>, Vec<TensorInfo>) {
        let node = self.graph.node(id);
        let outputs = (0..node.facts.len() as u32).map(|output| ValueRef { node: id, output });
        (self.infos(node.inputs.iter().copied()), self.infos(outputs))
    }

    /// Decides for every constant whether it is dense, in an operator's layout, or stays in the file. The last two
    /// need it to have a single user that asks for it.
    fn place_constants(&mut self) -> Result<(), GraphError> {
        let mut wanted: HashMap<NodeId, WeightUse> = HashMap::new();
        let mut uses = vec![0u32; self.graph.nodes.len()];
        for id in &self.order {
            let node = self.graph.node(*id);
            for value in &node.inputs {
                uses[value.node.0 as usize] += 1;
            }
            if let Some(operator) = node.operator() {
                let (inputs, outputs) = self.node_infos(*id);
                if let Some(weight) = operator.weight(&self.call(&inputs, &outputs)) {
                    wanted.insert(node.inputs[weight.input].node, weight);
                }
            }
        }
        for port in &self.graph.outputs {
            uses[port.value.node.0 as usize] += 2;
        }
        for position in 0..self.order.len() {
            let id = self.order[position];
            let NodeKind::Constant(constant) = &self.graph.node(id).kind else { continue };
            let weight = wanted.get(&id).filter(|_| uses[id.0 as usize] == 1);
            self.place_constant(ValueRef::of(id), constant, weight);
        }
        Ok(())
    }

    fn place_constant(&mut self, value: ValueRef, constant: &Arc<Constant>, weight: Option<&WeightUse>) {
        let slot = self.slot(value);
        let is_streamed = matches!(self.options.weights, WeightMode::Streamed { .. })
            && constant.data.is_in_file()
            && constant.bytes() >= STREAM_FROM_BYTES;
        if is_streamed && weight.is_some() {
            self.slots[slot].info.place = Place::Streamed;
            self.slots[slot].home = Home::Streamed;
            return;
        }
        let layout = weight.map_or(WeightLayout::Dense, |w| w.layout);
        let bytes = layout.bytes(constant);
        self.slots[slot].info.place = match layout {
            WeightLayout::Dense => Place::Resident,
            WeightLayout::Panels { .. } => Place::Packed,
        };
        self.slots[slot].home = Home::Weight(self.weights.len());
        self.weights.push(WeightPlan { value, constant: constant.clone(), layout, offset: 0, bytes });
        if let ConstantData::Strings(strings) = &constant.data {
            self.string_bytes += strings.iter().map(|s| s.len()).sum::<usize>();
        }
    }

    fn make_steps(&mut self) -> Result<(), GraphError> {
        for position in 0..self.order.len() {
            let id = self.order[position];
            let NodeKind::Operator(operator) = &self.graph.node(id).kind else { continue };
            self.make_step(position, id, operator)?;
        }
        Ok(())
    }

    /// For every slot, the position in the order of the last node that reads it; the end for fetched ones.
    fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.slots.len()];
        for (position, id) in self.order.iter().enumerate() {
            for value in &self.graph.node(*id).inputs {
                last[self.slot(*value)] = position;
            }
        }
        for port in &self.graph.outputs {
            last[self.slot(port.value)] = usize::MAX;
        }
        last
    }

    fn make_step(
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

    fn stream_plan(
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

    /// Makes `output` live in the memory of `input`.
    fn share(&mut self, input: usize, output: usize) {
        let root = self.root_of[input];
        self.root_of[output] = root;
        self.last_use[root] = self.last_use[root].max(self.last_use[output]);
        self.slots[output].home = self.slots[input].home;
        self.slots[output].info.place = self.slots[input].info.place;
    }

    /// True when nothing else needs the memory of `input` from this node on.
    fn can_overwrite(&self, position: usize, input: usize, output: usize) -> bool {
        let root = self.root_of[input];
        let (from, to) = (&self.slots[input].info, &self.slots[output].info);
        matches!(self.slots[root].home, Home::Arena(_))
            && from.dtype.bytes() == to.dtype.bytes()
            && from.shape == to.shape
            && self.in_step[root] == 1
            && self.last_use[root] <= position
    }

    /// Gives every fetched value that is in the caller's memory memory of its own, filled by a step at the end.
    fn copy_fetched_inputs(&mut self) -> HashMap<usize, usize> {
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

    fn finish(mut self, account: &Account) -> Result<Plan, GraphError> {
        let copies = self.copy_fetched_inputs();
        let end = self.steps.len();
        for port in &self.graph.outputs {
            let slot = self.slot(port.value);
            let root = self.root_of[copies.get(&slot).copied().unwrap_or(slot)];
            self.life[root].1 = end.max(1);
        }
        let (items, packing) = self.pack(account)?;
        let loads = arena::load_bytes(&items.iter().map(|i| i.item).collect::<Vec<_>>(), ALIGNMENT);
        let mut weights_bytes = 0;
        for weight in &mut self.weights {
            weight.offset = weights_bytes;
            weights_bytes += weight.bytes.next_multiple_of(ALIGNMENT);
        }
        let streams = self.steps.iter().filter_map(|s| s.stream.as_ref());
        let block_bytes =
            streams.clone().map(|s| s.block_bytes).max().unwrap_or(0).next_multiple_of(ALIGNMENT);
        let streamed_bytes = streams.map(|s| s.constant.bytes() as u64).sum();
        let slot_of = |port: &Port| (port.name.clone(), self.slot(port.value));
        let fetched = |port: &Port| {
            let (name, slot) = slot_of(port);
            (name, copies.get(&slot).copied().unwrap_or(slot))
        };
        Ok(Plan {
            options: *self.options,
            inputs: self.graph.inputs.iter().map(slot_of).collect(),
            outputs: self.graph.outputs.iter().map(fetched).collect(),
            steps: self.steps,
            slots: self.slots,
            weights: self.weights,
            weights_bytes,
            streamed_bytes,
            block_bytes,
            arena_bytes: packing.height_bytes,
            arena_lower_bound_bytes: loads.into_iter().max().unwrap_or(0),
            string_bytes: self.string_bytes,
            items,
            packing,
            memory: Arc::new(account.room(0)?),
        })
    }

    fn pack(&mut self, account: &Account) -> Result<(Vec<ArenaItem>, Packing), GraphError> {
        let mut items = std::mem::take(&mut self.scratch);
        for (slot, plan) in self.slots.iter().enumerate() {
            let (first, end) = self.life[slot];
            if self.root_of[slot] == slot && matches!(plan.home, Home::Arena(_)) && end > first {
                let bytes = plan.info.shape.elements() * plan.info.dtype.bytes();
                items.push(ArenaItem {
                    item: Item { first, end, bytes },
                    slot: Some(slot),
                    name: self.graph.producer(plan.value).name.clone(),
                });
            }
        }
        items.shrink_to_fit();
        let plain: Vec<Item> = items.iter().map(|i| i.item).collect();
        let working = account.room(arena::working_bytes(&plain))?;
        let packing = arena::pack(&plain, ALIGNMENT);
        drop(working);
        for (item, offset) in items.iter().zip(&packing.offsets) {
            match item.slot {
                Some(slot) => self.slots[slot].home = Home::Arena(*offset),
                None => self.steps[item.item.first].scratch.0 = *offset,
            }
        }
        for slot in 0..self.slots.len() {
            self.slots[slot].home = self.slots[self.root_of[slot]].home;
        }
        Ok((items, packing))
    }
}

impl WeightLayout {
    /// Bytes of a constant in this layout.
    pub fn bytes(&self, constant: &Constant) -> usize {
        match self {
            WeightLayout::Dense => constant.bytes(),
            WeightLayout::Panels { k, n, groups, .. } => PackedLayout::new(Isa::detect(), *k, *n, *groups)
                .map_or(usize::MAX, |layout| layout.packed_bytes()),
        }
    }
}
