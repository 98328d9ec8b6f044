//! What a plan says of itself: the step at the peak, what is alive there, and every rectangle of the arena.

use tightfit_core::ALIGNMENT;

use super::{Action, Plan, Step, arena};
use crate::operator::{Call, Operator, TensorInfo};

/// A plan in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanReport {
    /// Bytes of constants in memory.
    pub weights_bytes: u64,
    /// Bytes of the window that streamed weights pass through.
    pub window_bytes: u64,
    /// Bytes that are read from the file in each run.
    pub streamed_bytes: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// The most bytes alive in one step.
    pub arena_lower_bound_bytes: u64,
    /// Bytes for strings.
    pub string_bytes: u64,
    /// The step at which the most bytes are alive.
    pub peak_step: Option<StepReport>,
    /// Number of steps.
    pub steps: usize,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Its position.
    pub step: usize,
    /// The node's name.
    pub node: String,
    /// The operator's name.
    pub op: String,
    /// Bytes alive.
    pub alive_bytes: u64,
    /// What is alive, largest first: no more than [`MAX_ALIVE`].
    pub alive: Vec<Alive>,
}

/// The most values of a step that are told one by one: a graph may have any number of them, and a report is not planned.
pub const MAX_ALIVE: usize = 64;

/// A value or scratch that is alive in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Alive {
    /// The node that makes it.
    pub name: String,
    /// Type and shape, or `scratch`.
    pub what: String,
    /// Bytes.
    pub bytes: u64,
}

/// A value or scratch in the arena: steps across, bytes up.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rectangle {
    /// The node that makes it.
    pub name: String,
    /// Type and shape, or `scratch`.
    pub what: String,
    /// The first step it lives in.
    pub first: usize,
    /// The first step it does not live in any more.
    pub end: usize,
    /// Where it starts.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Plan {
    /// Multiplications and additions of a step that does little else; `None` of other steps.
    pub fn operations(&self, step: &Step) -> Option<f64> {
        self.ask(step, |operator, call| operator.operations(call))?
    }

    /// True for a step that has all the scratch with which it is faster than with what it needs.
    pub fn has_most_scratch(&self, step: &Step) -> bool {
        let is_faster = |operator: &dyn Operator, call: &Call<'_>| {
            let memory = operator.memory(call);
            memory.most_scratch_bytes > memory.scratch_bytes && step.scratch.1 >= memory.most_scratch_bytes
        };
        self.ask(step, is_faster).unwrap_or(false)
    }

    /// What the operator of a step says of its call.
    fn ask<R>(&self, step: &Step, answer: impl FnOnce(&dyn Operator, &Call<'_>) -> R) -> Option<R> {
        let Action::Operator(operator) = &step.action else { return None };
        let infos = |slots: &[usize]| slots.iter().map(|slot| Some(self.slots.get(*slot)?.info)).collect();
        let (inputs, outputs): (Option<Vec<TensorInfo>>, Option<Vec<TensorInfo>>) =
            (infos(&step.inputs), infos(&step.outputs));
        let call = Call {
            inputs: &inputs?,
            outputs: &outputs?,
            threads: self.options.threads,
            isa: self.options.isa,
            window_bytes: self.options.weights.window_bytes(),
        };
        Some(answer(&**operator, &call))
    }

    /// Bytes of what a step reads and writes, each once.
    pub fn moved_bytes(&self, step: &Step) -> f64 {
        let slots = step.inputs.iter().chain(&step.outputs).filter_map(|slot| self.slots.get(*slot));
        slots.map(|slot| (slot.info.shape.elements() * slot.info.dtype.bytes()) as f64).sum()
    }

    /// The plan in figures.
    pub fn report(&self) -> PlanReport {
        PlanReport {
            weights_bytes: self.weights_bytes as u64,
            window_bytes: self.window_bytes() as u64,
            streamed_bytes: self.streamed_bytes,
            arena_bytes: self.arena_bytes as u64,
            arena_lower_bound_bytes: self.arena_lower_bound_bytes as u64,
            string_bytes: self.string_bytes as u64,
            peak_step: self.peak_step(),
            steps: self.steps.len(),
        }
    }

    /// Everything in the arena.
    pub fn rectangles(&self) -> impl Iterator<Item = Rectangle> + '_ {
        let items = self.items.iter().zip(&self.packing.offsets);
        items.map(|(item, offset)| Rectangle {
            name: item.name.to_string(),
            what: self.describe(item.slot),
            first: item.item.first,
            end: item.item.end,
            offset: *offset as u64,
            bytes: item.item.bytes as u64,
        })
    }

    /// Bytes alive in each step.
    pub fn load_bytes(&self) -> Vec<usize> {
        arena::load_bytes(&self.items.iter().map(|i| i.item).collect::<Vec<_>>(), ALIGNMENT)
    }

    fn describe(&self, slot: Option<usize>) -> String {
        slot.map_or("scratch".to_string(), |slot| {
            let info = &self.slots[slot].info;
            format!("{}{}", info.dtype, info.shape)
        })
    }

    fn peak_step(&self) -> Option<StepReport> {
        let loads = self.load_bytes();
        let peak = loads.iter().max()?;
        let step = loads.iter().position(|load| load == peak)?;
        let mut alive: Vec<_> =
            self.items.iter().filter(|i| i.item.first <= step && step < i.item.end).collect();
        alive.sort_by_key(|item| std::cmp::Reverse(item.item.bytes));
        let alive = alive.into_iter().take(MAX_ALIVE).map(|i| Alive {
            name: i.name.to_string(),
            what: self.describe(i.slot),
            bytes: i.item.bytes as u64,
        });
        let alive = alive.collect();
        let (node, op) = match self.steps.get(step) {
            Some(s) => (s.name.to_string(), s.op_name().to_string()),
            None => Default::default(),
        };
        Some(StepReport { step, node, op, alive_bytes: *peak as u64, alive })
    }
}
