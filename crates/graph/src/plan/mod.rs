//! The plan: what stands where in memory at which step, settled before the first byte is computed.

mod arena;
mod fault;
mod fetch;
mod finish;
pub(crate) mod growth;
mod meaning;
mod memory;
mod place;
mod planner;
mod region;
mod region_rules;
mod report;
mod steps;
mod validate;

use std::sync::Arc;

use tightfit_core::{ALIGNMENT, Account, Reservation, step_done};
use tightfit_kernels::{BytePanels, Isa, PackedLayout};

use crate::dim::Dims;
use crate::error::GraphError;
use crate::fact::Fact;
use crate::ir::{Constant, ConstantData, Graph, NodeId, ValueRef};
use crate::operator::tables::TableSpec;
use crate::operator::{Operator, TensorInfo, WeightLayout};
use arena::{Item, Packing};
use planner::Planner;

pub use fault::PlanFault;
pub use growth::Grows;
pub use meaning::computes;
pub use region::{RegionPlan, Role};
pub use report::{Alive, PlanReport, Rectangle, StepReport};
pub use validate::validate;

/// Constants smaller than this stay resident even where weights are streamed: a read costs more than it frees.
pub const STREAM_FROM_BYTES: usize = 64 << 10;

/// The largest tensor or scratch that is planned. The sum over all nodes a graph may have still fits 64 bits.
pub const MAX_TENSOR_BYTES: u64 = 1 << 40;

/// How the weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightMode {
    /// All in memory, but for large tables of which a run reads a few rows.
    Resident,
    /// As `Resident`, and dense those of sparse products that are faster so.
    Dense,
    /// Large ones are read from the file in each run, through a window.
    Streamed {
        /// The most bytes of one block; two blocks are in memory at once.
        window_bytes: usize,
    },
    /// Of the large ones, those that save most for the memory that they take are in memory, and the others are read from
    /// the file in each run.
    Mixed {
        /// The most bytes of one block; two blocks are in memory at once.
        window_bytes: usize,
        /// The most bytes of large weights in memory.
        kept_bytes: usize,
    },
}

impl WeightMode {
    /// True where none is read from the file as a whole in a run.
    pub fn is_resident(&self) -> bool {
        self.kept_bytes() == usize::MAX
    }

    /// The most bytes of one block.
    pub fn window_bytes(&self) -> usize {
        match self {
            WeightMode::Resident | WeightMode::Dense => usize::MAX,
            WeightMode::Streamed { window_bytes } | WeightMode::Mixed { window_bytes, .. } => *window_bytes,
        }
    }

    /// The most bytes of large weights in memory.
    pub fn kept_bytes(&self) -> usize {
        match self {
            WeightMode::Resident | WeightMode::Dense => usize::MAX,
            WeightMode::Streamed { .. } => 0,
            WeightMode::Mixed { kept_bytes, .. } => *kept_bytes,
        }
    }
}

/// What memory is planned for values whose size depends on data and has a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bounds {
    /// As much as the bound says.
    #[default]
    Planned,
    /// None: they grow, as values without a bound do.
    Grown,
}

/// What a plan is made for besides the graph.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    /// How many threads will compute.
    pub threads: usize,
    /// How the weights are held.
    pub weights: WeightMode,
    /// The vector instructions that will be used, on which the layout of weights depends.
    pub isa: Isa,
    /// How values are held whose size has a bound.
    pub bounds: Bounds,
}

impl PlanOptions {
    /// For the fastest vector instructions that there are.
    pub fn new(threads: usize, weights: WeightMode) -> PlanOptions {
        PlanOptions { threads, weights, isa: Isa::detect(), bounds: Bounds::Planned }
    }

    /// The shape that memory is planned for, of a bound graph; one that is open is that of a value that grows.
    pub(crate) fn dims<'f>(&self, fact: &'f Fact) -> &'f Dims {
        match self.bounds {
            Bounds::Planned => fact.planned_dims(),
            Bounds::Grown => &fact.dims,
        }
    }

    /// True for a value whose memory is reserved in each run.
    pub(crate) fn grows(&self, fact: &Fact) -> bool {
        self.dims(fact).concrete().is_none()
    }
}

/// A graph laid out in memory.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it was made for.
    pub options: PlanOptions,
    /// What it is a plan of.
    pub role: Role,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Every tensor.
    pub slots: Vec<SlotPlan>,
    /// The constants in memory, in the order of their offsets; a body has its own.
    pub weights: Vec<WeightPlan>,
    /// Bytes of all constants in memory, those of bodies included.
    pub weights_bytes: usize,
    /// Bytes of all streamed weights in their files, those of bodies included.
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
    /// The graph's variables, in its order: memory that a context keeps from run to run.
    pub states: Vec<StatePlan>,
    /// The values that grow of which nothing is needed after a step: the number of the step and the slot, in their order.
    pub ends: Vec<(usize, usize)>,
    items: Vec<ArenaItem>,
    packing: Packing,
    /// What the plan itself takes, and what a context makes of it besides the memory that it lays out.
    memory: Arc<Reservation>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Calls an operator.
    Operator(Arc<dyn Operator>),
    /// Runs bodies.
    Region(Arc<RegionPlan>),
}

/// One call of an operator, or one choice or loop of bodies.
#[derive(Debug, Clone)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// The values of the graph that it reads: what each slot of `inputs` must hold by then.
    pub reads: Vec<ValueRef>,
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
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
    /// True when one of its tensors grows, and so what it needs of memory is known in a run alone.
    pub grows: bool,
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
    /// The number of its first block among those of the whole plan.
    pub first_block: u64,
}

impl StreamPlan {
    /// How many blocks it comes in.
    pub fn blocks(&self) -> u64 {
        let bytes = self.constant.bytes() as u64;
        if self.block_bytes == 0 { 0 } else { bytes.div_ceil(self.block_bytes as u64) }
    }
}

impl Step {
    /// The operator that it calls.
    pub fn operator(&self) -> Option<&Arc<dyn Operator>> {
        match &self.action {
            Action::Operator(operator) => Some(operator),
            Action::Region(_) => None,
        }
    }

    /// True for a step that goes on in a sequence of random numbers from run to run.
    pub(crate) fn draws(&self) -> bool {
        self.operator().is_some_and(|operator| operator.seeds().is_some())
    }

    /// True for the copy of a fetched value into memory of its own.
    pub(crate) fn is_copy(&self) -> bool {
        self.operator().is_some_and(|operator| operator.downcast::<fetch::FetchedCopy>().is_some())
    }

    /// The bodies that it runs.
    pub fn region(&self) -> Option<&RegionPlan> {
        match &self.action {
            Action::Operator(_) => None,
            Action::Region(region) => Some(region),
        }
    }

    /// The name of its operator, in TensorFlow or of the fused step it stands for.
    pub fn op_name(&self) -> &'static str {
        match &self.action {
            Action::Operator(operator) => operator.name(),
            Action::Region(region) => region.op,
        }
    }
}

/// A tensor.
#[derive(Debug, Clone)]
pub struct SlotPlan {
    /// The value of the graph that it holds.
    pub value: ValueRef,
    /// The tensor whose elements these are under another shape, in the same memory.
    pub alias_of: Option<AliasOf>,
    /// True when the shape is an upper bound of the one in a run, or there is none.
    pub is_bound: bool,
    /// Type, shape or its upper bound, and place. Of a value that grows, dimensions that are not known are 0.
    pub info: TensorInfo,
    /// Where its memory is.
    pub storage: Storage,
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
pub enum Storage {
    /// The arena, at an offset.
    Arena(usize),
    /// The caller's, or what a context keeps of a variable: the number of the graph's input, variables after the others.
    Fed(usize),
    /// The memory of constants: the number of the weight.
    Weight(usize),
    /// Nobody's: it stays in the file.
    Streamed,
    /// A room that is reserved from the budget when its size is known, in each run.
    Grown,
}

/// A variable that a run leaves for the next one.
#[derive(Debug, Clone)]
pub struct StatePlan {
    /// Its name.
    pub name: String,
    /// The slot of what it is before a run: in the memory that the context keeps for it.
    pub before: usize,
    /// The slot of what it is after it: there too, or copied there.
    pub after: usize,
    /// True when a run reads what the one before it has left.
    pub is_read: bool,
    /// What it is before the first run.
    pub initial: Option<Arc<Constant>>,
}

/// A constant in memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
    /// The tables that its steps change, those in bodies too.
    pub(crate) fn changed_tables(&self) -> Vec<Arc<TableSpec>> {
        let of_step = |step: &Step| match &step.action {
            Action::Operator(operator) => operator.changed_table().cloned().into_iter().collect(),
            Action::Region(region) => region.bodies.iter().flat_map(Plan::changed_tables).collect(),
        };
        self.steps.iter().flat_map(of_step as fn(&Step) -> Vec<Arc<TableSpec>>).collect()
    }

    /// Lays out a graph all of whose shapes are known (see [`crate::infer::bind`]).
    ///
    /// # Errors
    /// [`GraphError`] for a tensor whose size is not known, for a cycle, and when the plan itself does not fit the
    /// budget that the graph is in.
    pub fn new(graph: &Graph, options: &PlanOptions) -> Result<Plan, GraphError> {
        let mut plan = Plan::with_role(graph, options, Role::of(graph))?;
        plan.number_blocks(&mut 0);
        Ok(plan)
    }

    /// Lays out a graph or a body.
    fn with_role(graph: &Graph, options: &PlanOptions, role: Role) -> Result<Plan, GraphError> {
        let sizes = memory::Sizes::of(graph, options);
        let mut account = Account::new(graph.budget(), memory::PURPOSE);
        account.grow(sizes.plan_bytes())?;
        let working = account.room(sizes.working_bytes())?;
        let mut planner = Planner::new(graph, options, role, &sizes)?;
        planner.place_constants()?;
        planner.make_steps()?;
        step_done();
        let mut plan = planner.finish(&account)?;
        step_done();
        computes(&plan, graph).map_err(|fault| GraphError::Plan(fault.to_string()))?;
        drop(working);
        account.set(plan.heap_bytes())?;
        plan.memory = Arc::new(account.finish()?);
        Ok(plan)
    }

    /// The plan and those of all bodies in it.
    pub fn all(&self) -> impl Iterator<Item = &Plan> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let plan = left.pop()?;
            left.extend(plan.bodies().rev());
            Some(plan)
        })
    }

    /// The plans of the bodies of its steps, in their order.
    pub(crate) fn bodies(&self) -> impl DoubleEndedIterator<Item = &Plan> {
        self.steps.iter().filter_map(Step::region).flat_map(|region| &region.bodies)
    }

    /// Numbers the blocks of streamed weights in the order of the steps, those of bodies in their place.
    fn number_blocks(&mut self, next: &mut u64) {
        for step in &mut self.steps {
            if let Some(stream) = &mut step.stream {
                stream.first_block = *next;
                *next += stream.blocks();
            }
            if let Action::Region(region) = &mut step.action {
                // Nobody shares a plan that is being made.
                let bodies = Arc::get_mut(region).map(|region| &mut region.bodies);
                bodies.into_iter().flatten().for_each(|body| body.number_blocks(next));
            }
        }
    }

    /// The slots of what comes from outside: inputs, and what variables are before a run.
    pub(crate) fn given(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().map(|(_, slot)| *slot).chain(self.states.iter().map(|state| state.before))
    }

    /// The slot of one of [`Plan::given`].
    pub(crate) fn given_slot(&self, number: usize) -> Option<usize> {
        match self.inputs.get(number) {
            Some((_, slot)) => Some(*slot),
            None => self.states.get(number - self.inputs.len()).map(|state| state.before),
        }
    }

    /// The slots of what is left of a run: outputs, and what variables are after it.
    pub(crate) fn results(&self) -> impl Iterator<Item = usize> + '_ {
        self.outputs.iter().map(|(_, slot)| *slot).chain(self.states.iter().map(|state| state.after))
    }

    /// Bytes of what a context keeps from run to run.
    pub fn state_bytes(&self) -> usize {
        let infos = self.states.iter().filter_map(|state| self.slots.get(state.before)).map(|slot| slot.info);
        infos.map(|info| (info.shape.elements() * info.dtype.bytes()).next_multiple_of(ALIGNMENT)).sum()
    }

    /// What a pass over the streamed weights costs, in bytes read: a block that is handed over costs as much as some. A table
    /// of which a run reads a few rows counts for nothing.
    pub fn streaming_cost(&self) -> u64 {
        let streams = self.steps.iter().filter_map(|step| step.stream.as_ref());
        let own = streams.map(|stream| place::streaming_cost(stream.constant.bytes(), stream.block_bytes));
        own.chain(self.bodies().map(Plan::streaming_cost)).fold(0, u64::saturating_add)
    }

    /// Bytes of window, both halves.
    pub fn window_bytes(&self) -> usize {
        2 * self.block_bytes
    }

    /// Bytes of the texts of string constants, a part of [`Plan::string_bytes`].
    pub fn constant_text_bytes(&self) -> usize {
        let weights = self.all().flat_map(|plan| &plan.weights);
        let texts = weights.filter_map(|w| match &w.constant.data {
            ConstantData::Strings(texts) => Some(texts.iter().map(|t| t.len()).sum::<usize>()),
            _ => None,
        });
        texts.sum()
    }

    /// Everything a context and its loaded model hold for it: constants, window, arena, strings and variables.
    pub fn total_bytes(&self) -> u64 {
        (self.weights_bytes + self.window_bytes() + self.arena_bytes + self.string_bytes + self.state_bytes())
            as u64
    }
}

impl WeightLayout {
    /// Bytes of a constant in this layout, for these vector instructions.
    pub fn bytes(&self, constant: &Constant, isa: Isa) -> usize {
        match self {
            WeightLayout::Dense => constant.bytes(),
            WeightLayout::Panels { k, n, groups, .. } => {
                PackedLayout::new(isa, *k, *n, *groups).map_or(usize::MAX, |layout| layout.packed_bytes())
            }
            WeightLayout::BytePanels { columns, depth, .. } => {
                BytePanels::new(*columns, *depth).map_or(usize::MAX, |panels| panels.bytes())
            }
        }
    }
}
