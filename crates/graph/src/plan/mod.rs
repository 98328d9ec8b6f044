//! The plan: what stands where in memory at which step, settled before the first byte is computed.

mod arena;
mod fetch;
mod finish;
mod meaning;
mod memory;
mod place;
mod planner;
mod report;
mod steps;
mod validate;

use std::sync::Arc;

use tightfit_core::{Account, Reservation};
use tightfit_kernels::{Isa, PackedLayout};

use crate::error::GraphError;
use crate::ir::{Constant, ConstantData, Graph, NodeId, ValueRef};
use crate::operator::{Operator, TensorInfo, WeightLayout};
use arena::{Item, Packing};
use planner::Planner;

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
    /// The vector instructions that will be used, on which the layout of weights depends.
    pub isa: Isa,
}

impl PlanOptions {
    /// For the fastest vector instructions that there are.
    pub fn new(threads: usize, weights: WeightMode) -> PlanOptions {
        PlanOptions { threads, weights, isa: Isa::detect() }
    }
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
    /// What the plan itself takes, and what a context makes of it besides the memory that it lays out.
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

    /// Bytes of the texts of string constants, a part of [`Plan::string_bytes`].
    pub fn constant_text_bytes(&self) -> usize {
        let texts = self.weights.iter().filter_map(|w| match &w.constant.data {
            ConstantData::Strings(texts) => Some(texts.iter().map(|t| t.len()).sum::<usize>()),
            _ => None,
        });
        texts.sum()
    }

    /// Everything a context and its loaded model hold for it: constants, window, arena and strings.
    pub fn total_bytes(&self) -> u64 {
        (self.weights_bytes + self.window_bytes() + self.arena_bytes + self.string_bytes) as u64
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
        }
    }
}
