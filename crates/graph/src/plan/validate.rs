//! The proof that a plan can be run: its steps are replayed over the byte ranges that values own.
//!
//! It knows nothing of how the planner came to its offsets, only the rules, and what operators say of themselves
//! ([`Operator::memory`], [`Operator::weight`]). What it guarantees, and what the unsafe code of [`crate::exec`] and
//! [`crate::operator`] relies on:
//!
//! 1. *Inside*: every tensor and every scratch lies inside the memory the plan declares for it, at a multiple of
//!    [`ALIGNMENT`]. Weights are apart from each other.
//! 2. *Reads*: when a step runs, the whole range of each input holds the value that the graph names there.
//! 3. *Writes*: an output or a scratch covers only bytes that no later step reads and that nothing else of its step
//!    uses, but for the one input whose memory the first output takes over, which is not read again. Weights and what
//!    the caller feeds are never written, the variables of a loop by its body aside.
//! 4. *Aliases*: a tensor that is another one under another shape has the same first byte and no more bytes.
//! 5. *Outputs*: what is fetched is still whole after the last step, and never in the caller's memory. What a body
//!    returns may be in that of a capture, and the next value of a variable in the variable's own.
//! 6. *Bodies*: the plan of a body keeps all rules, its arena fits the scratch of its step, and what it is given and
//!    returns has the types and at most the bytes of what the step reads and makes.
//! 7. *Growth*: a value that grows has no bytes here: a run gives it a room of its own as it is made. It is let go once,
//!    after the last step that reads it, and what is fetched is not. A step that reads or makes one has no memory of the
//!    arena but its bounded outputs, asks for shapes in each run, and reads no weight in an operator's own layout.

use std::collections::{BTreeMap, HashSet};

use tightfit_core::{ALIGNMENT, DType};

use super::fault::{Check, PlanFault, fault, need};
use super::region_rules;
use super::{Action, Plan, Role, SlotPlan, Step, Storage};
use crate::ir::ValueRef;
use crate::operator::{Call, Held, Memory, TensorInfo};

/// Checks every rule of the module's list. Takes time in proportion to the steps and the tensors they name.
///
/// # Errors
/// The first rule that the plan breaks.
pub fn validate(plan: &Plan) -> Check {
    let sizes = Sizes::new(plan)?;
    check_weights(plan)?;
    if matches!(plan.role, Role::Whole { .. }) {
        check_blocks(plan, &mut 0)?;
    }
    check_inputs(plan)?;
    let roots = check_slots(plan, &sizes)?;
    let last = last_uses(plan, &roots)?;
    Replay { plan, sizes: &sizes.0, roots: &roots, last: &last, owned: Owned::default(), is_made: made(plan) }
        .run()
}

fn at(number: usize, step: &Step, fault: PlanFault) -> PlanFault {
    PlanFault { step: Some(number), node: Some(step.name.to_string()), ..fault }
}

/// Bytes of every slot.
struct Sizes(Vec<usize>);

impl Sizes {
    fn new(plan: &Plan) -> Result<Sizes, PlanFault> {
        let bytes = plan.slots.iter().enumerate().map(|(slot, s)| {
            let bytes = s.info.shape.elements().checked_mul(s.info.dtype.bytes());
            let is_small = |bytes: &usize| *bytes as u64 <= super::MAX_TENSOR_BYTES;
            bytes
                .filter(is_small)
                .ok_or_else(|| fault(slot, "a tensor's size is at most the largest planned one"))
        });
        bytes.collect::<Result<_, _>>().map(Sizes)
    }
}

fn check_weights(plan: &Plan) -> Check {
    let mut order: Vec<usize> = (0..plan.weights.len()).collect();
    order.sort_unstable_by_key(|i| (plan.weights[*i].offset, plan.weights[*i].bytes));
    let mut end = 0;
    for i in order {
        let weight = &plan.weights[i];
        let is_at = weight.offset.is_multiple_of(ALIGNMENT);
        need(is_at, i, "a weight is aligned")?;
        need(
            weight.bytes == weight.layout.bytes(&weight.constant, plan.options.isa),
            i,
            "a weight is as large as its layout",
        )?;
        need(weight.bytes == 0 || weight.offset >= end, i, "weights are apart from each other")?;
        end = end.max(weight.offset.checked_add(weight.bytes).ok_or_else(|| fault(i, "a weight ends"))?);
    }
    let in_bodies: usize = plan.bodies().map(|body| body.weights_bytes).fold(0, usize::saturating_add);
    need(end.saturating_add(in_bodies) <= plan.weights_bytes, None, "the weights lie inside their memory")?;
    need(plan.block_bytes.is_multiple_of(ALIGNMENT), None, "a half of the window is aligned")?;
    let streams = plan.steps.iter().filter_map(|s| s.stream.as_ref());
    let is_inside = streams.clone().all(|s| s.block_bytes <= plan.block_bytes);
    need(is_inside, None, "a block of a streamed weight fits the window")?;
    let in_bodies = plan.bodies().map(|body| body.block_bytes).max().unwrap_or(0);
    need(in_bodies <= plan.block_bytes, None, "a block of a body's weight fits the window")?;
    let streamed_bytes: u64 = streams.map(|s| s.constant.bytes() as u64).sum();
    let in_bodies: u64 = plan.bodies().map(|body| body.streamed_bytes).sum();
    let streamed_bytes = streamed_bytes.saturating_add(in_bodies);
    need(streamed_bytes == plan.streamed_bytes, None, "the plan says how much is streamed")
}

/// Streamed weights are numbered in the order in which the window reads them.
fn check_blocks(plan: &Plan, next: &mut u64) -> Check {
    for step in &plan.steps {
        if let Some(stream) = &step.stream {
            need(stream.first_block == *next, None, "a streamed weight has its place in the window's order")?;
            *next += stream.blocks();
        }
        step.region()
            .into_iter()
            .flat_map(|region| &region.bodies)
            .try_for_each(|b| check_blocks(b, next))?;
    }
    Ok(())
}

fn check_inputs(plan: &Plan) -> Check {
    for slot in plan.given() {
        let storage = plan.slots.get(slot).map(|s| (s.storage, s.alias_of));
        let Some((Storage::Fed(input), None)) = storage else {
            // A body is given the room of what grows; a caller feeds only what is there.
            let is_given = matches!((storage, plan.role), (Some((Storage::Grown, None)), Role::Body { .. }));
            need(is_given, slot, "an input is in the caller's memory")?;
            continue;
        };
        need(plan.given_slot(input) == Some(slot), slot, "an input is fed under its own number")?;
    }
    if let Role::Whole { inputs, outputs } = plan.role {
        let is_same = (inputs, outputs) == (plan.inputs.len(), plan.outputs.len());
        need(is_same, None, "only variables may be written over")?;
    }
    for state in &plan.states {
        let info = |slot: usize| plan.slots.get(slot).map(|s| (s.info.dtype, s.info.shape, s.is_bound));
        let (before, after) = (info(state.before), info(state.after));
        let is_whole = before.is_some_and(|(dtype, _, is_bound)| dtype != DType::String && !is_bound);
        // What it becomes may lie in a tensor whose shape depends on data, which is checked to be the variable's as it runs.
        let is_same = before.zip(after).is_some_and(|(a, b)| (a.0, a.1) == (b.0, b.1));
        need(is_whole && is_same, state.before, "a variable keeps its type and shape")?;
        let initial = state.initial.as_ref().map(|constant| (constant.dtype, constant.shape, false));
        need(
            initial.is_none() || initial == before,
            state.before,
            "a variable begins in its type and shape",
        )?;
    }
    Ok(())
}

/// Checks what each slot says of itself. Returns the slot whose memory each one's is: itself, unless it is an alias.
fn check_slots(plan: &Plan, sizes: &Sizes) -> Result<Vec<usize>, PlanFault> {
    let mut roots = Vec::with_capacity(plan.slots.len());
    for (slot, s) in plan.slots.iter().enumerate() {
        let Some(of) = s.alias_of else {
            check_home(plan, slot, s, sizes.0[slot])?;
            roots.push(slot);
            continue;
        };
        let from = plan.slots.get(of.slot).filter(|_| of.slot < slot);
        let from = from.ok_or_else(|| fault(slot, "an alias is of a slot before it"))?;
        need(s.storage != Storage::Grown, slot, "a value that grows has a room of its own")?;
        need(from.value == of.value, slot, "an alias is of the value that the graph names")?;
        need(
            from.storage == s.storage && from.info.held == s.info.held,
            slot,
            "an alias is where its tensor is",
        )?;
        let is_dense = matches!(s.info.held, Held::Value | Held::Resident);
        need(is_dense, slot, "an alias is of a dense tensor")?;
        let (dtype, other) = (s.info.dtype, from.info.dtype);
        let is_same = dtype == other || (is_any_bits(dtype) && is_any_bits(other));
        need(is_same, slot, "an alias has the type of its tensor, or both are numbers")?;
        let (bytes, all) = (sizes.0[slot], sizes.0[of.slot]);
        need(bytes == all || (s.is_bound && bytes < all), slot, "an alias has the bytes of its tensor")?;
        roots.push(roots[of.slot]);
    }
    Ok(roots)
}

/// True for a type that any bits are a value of: Bitcast reads one as another.
fn is_any_bits(dtype: DType) -> bool {
    !matches!(dtype, DType::Bool | DType::String)
}

fn check_home(plan: &Plan, slot: usize, s: &SlotPlan, bytes: usize) -> Check {
    match s.storage {
        Storage::Arena(offset) => {
            need(s.info.held == Held::Value, slot, "a tensor in the arena is a plain value")?;
            check_range(plan, offset, bytes).map_err(|rule| fault(slot, rule))
        }
        Storage::Fed(input) => {
            let is_own = plan.given_slot(input) == Some(slot);
            // What takes over the memory of a variable is made by a step, which is checked where it is replayed.
            let is_new = plan.given_slot(input).is_some() && plan.role.may_write(input);
            need(is_own || is_new, slot, "only inputs and what aliases them are in the caller's memory")?;
            need(s.info.held == Held::Value, slot, "what is fed is a plain value")
        }
        Storage::Weight(number) => {
            let weight = plan.weights.get(number).ok_or_else(|| fault(slot, "a constant has a weight"))?;
            need(s.info.held == weight.layout.held(), slot, "a constant's place is that of its layout")?;
            need(s.value == weight.value, slot, "a constant has its own weight")?;
            let constant = &weight.constant;
            let is_same = s.info.dtype == constant.dtype && s.info.shape == constant.shape;
            need(is_same, slot, "a constant has its weight's type and shape")
        }
        Storage::Streamed => need(s.info.held == Held::Streamed, slot, "only a streamed weight is nowhere"),
        Storage::Grown => {
            need(s.info.held == Held::Value && s.is_bound, slot, "what grows is a plain value of any shape")
        }
    }
}

fn check_range(plan: &Plan, offset: usize, bytes: usize) -> Result<(), &'static str> {
    if !offset.is_multiple_of(ALIGNMENT) {
        return Err("what is in the arena is aligned");
    }
    match offset.checked_add(bytes) {
        Some(end) if end <= plan.arena_bytes => Ok(()),
        _ => Err("what is in the arena lies inside it"),
    }
}

/// The last step that needs the memory of each root slot; `usize::MAX` where it is fetched.
fn last_uses(plan: &Plan, roots: &[usize]) -> Result<Vec<usize>, PlanFault> {
    let mut last = vec![0; roots.len()];
    for (number, step) in plan.steps.iter().enumerate() {
        for slot in step.inputs.iter().chain(&step.outputs) {
            let root = roots.get(*slot).ok_or_else(|| fault(*slot, "a step's slots exist"))?;
            last[*root] = number;
        }
    }
    for slot in plan.results() {
        let root = roots.get(slot).ok_or_else(|| fault(slot, "an output's slot exists"))?;
        last[*root] = usize::MAX;
    }
    Ok(last)
}

/// The slots that need no step of their own: constants, inputs, and aliases whose shape is always the same.
fn made(plan: &Plan) -> Vec<bool> {
    let made = plan.slots.iter().enumerate().map(|(slot, s)| match (s.alias_of, s.storage) {
        (Some(_), _) => !s.is_bound,
        (None, Storage::Arena(_)) => false,
        (None, Storage::Fed(input)) => plan.given_slot(input) == Some(slot),
        (None, Storage::Weight(_) | Storage::Streamed) => true,
        (None, Storage::Grown) => false,
    });
    let mut made: Vec<bool> = made.collect();
    if let Role::Body { .. } = plan.role {
        // What a body is given is there, wherever it is.
        plan.given().for_each(|slot| made[slot] = true);
    }
    made
}

/// A range of the arena in use.
#[derive(Clone, Copy)]
struct Range {
    end: usize,
    /// The slot; `None` for scratch.
    slot: Option<usize>,
    /// The last step that needs it.
    last: usize,
}

/// The ranges of the arena in use, by their first byte. They are apart from each other.
#[derive(Default)]
struct Owned(BTreeMap<usize, Range>);

impl Owned {
    /// Takes a range for a step and what it does from then on; false where that hits what is still needed.
    fn take(&mut self, step: usize, start: usize, range: Range) -> bool {
        if start == range.end {
            return true;
        }
        while let Some((first, hit)) =
            self.0.range(..range.end).next_back().map(|(first, hit)| (*first, *hit))
        {
            if hit.end <= start {
                break;
            }
            if hit.last >= step {
                return false;
            }
            self.0.remove(&first);
        }
        self.0.insert(start, range);
        true
    }
}

struct Replay<'p> {
    plan: &'p Plan,
    sizes: &'p [usize],
    roots: &'p [usize],
    last: &'p [usize],
    owned: Owned,
    /// The slots that have been filled by now, or, of an alias, given the shape of this run.
    is_made: Vec<bool>,
}

impl Replay<'_> {
    fn run(mut self) -> Check {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut string_bytes = self.plan.constant_text_bytes();
        for (number, step) in self.plan.steps.iter().enumerate() {
            self.names(step).map_err(|fault| at(number, step, fault))?;
            let infos = |list: &mut Vec<TensorInfo>, slots: &[usize]| {
                list.clear();
                list.extend(slots.iter().map(|slot| self.plan.slots[*slot].info));
            };
            infos(&mut inputs, &step.inputs);
            infos(&mut outputs, &step.outputs);
            let call = Call {
                inputs: &inputs,
                outputs: &outputs,
                threads: self.plan.options.threads,
                isa: self.plan.options.isa,
                window_bytes: self.plan.options.weights.window_bytes(),
            };
            let memory = match &step.action {
                // Asked in a run, with the shapes there.
                Action::Operator(_) if grows(self.plan, step) => Memory::default(),
                Action::Operator(operator) => operator.memory(&call),
                Action::Region(plans) => {
                    let bodies = plans.bodies.iter().try_for_each(validate);
                    bodies
                        .and_then(|()| region_rules::check(plans, &call, self.plan, step))
                        .map_err(|fault| at(number, step, fault))?;
                    Memory {
                        scratch_bytes: plans.scratch_bytes(),
                        string_bytes: plans.bodies.iter().map(|body| body.string_bytes).sum(),
                        ..Memory::default()
                    }
                }
            };
            string_bytes = string_bytes.saturating_add(memory.string_bytes);
            self.step(number, step, &call, &memory).map_err(|fault| at(number, step, fault))?;
        }
        need(string_bytes <= self.plan.string_bytes, None, "there is room for all strings")?;
        self.is_let_go()?;
        let mut results = self.plan.results().enumerate();
        results.try_for_each(|(result, slot)| self.output(result, slot))
    }

    /// The slots of a step hold what it reads, and are to hold what it makes.
    fn names(&mut self, step: &Step) -> Check {
        need(step.inputs.len() == step.reads.len(), None, "a step has a slot for each value it reads")?;
        for (slot, value) in step.inputs.iter().zip(&step.reads) {
            self.read(*slot, *value)?;
        }
        let mut outputs = step.outputs.iter().enumerate();
        outputs.try_for_each(|(position, slot)| self.made_by(step, position, *slot))
    }

    fn step(&mut self, number: usize, step: &Step, call: &Call<'_>, memory: &Memory) -> Check {
        let grows = grows(self.plan, step);
        need(grows == step.grows, None, "a step grows where one of its tensors does")?;
        let is_bound = |slot: &usize| self.plan.slots[*slot].is_bound;
        let is_dynamic =
            grows || step.inputs.iter().any(is_bound) || (step.is_alias && step.outputs.iter().any(is_bound));
        need(is_dynamic == step.is_dynamic, None, "a step is dynamic where an input's shape is")?;
        if grows && step.region().is_none() {
            let is_plain = !step.is_alias && step.in_place_input.is_none() && step.scratch.1 == 0;
            need(is_plain, None, "what a step that grows needs is found in a run")?;
            let is_dense =
                |slot: &usize| matches!(self.plan.slots[*slot].info.held, Held::Value | Held::Resident);
            let is_read = step.stream.is_none() && step.inputs.iter().all(is_dense);
            need(is_read, None, "a step that grows reads dense tensors")?;
        } else {
            check_weight(self.plan, step, call)?;
        }
        if step.is_alias {
            return self.alias(step, memory);
        }
        let (offset, bytes) = step.scratch;
        need(bytes >= memory.scratch_bytes, None, "a step has the scratch that its operator asks for")?;
        if let Some(input) = step.in_place_input {
            self.in_place(number, step, input, memory)?;
        }
        if bytes > 0 {
            check_range(self.plan, offset, bytes).map_err(|rule| fault(None, rule))?;
            let is_free =
                self.owned.take(number, offset, Range { end: offset + bytes, slot: None, last: number });
            need(is_free, None, "scratch lies where nothing is needed")?;
        }
        for slot in step.outputs.iter().skip(usize::from(step.in_place_input.is_some())) {
            if self.plan.slots[*slot].storage != Storage::Grown {
                self.write(number, *slot)?;
            }
        }
        self.ends(number)
    }

    /// What grows is let go after the last step that needs it.
    fn ends(&mut self, number: usize) -> Check {
        for slot in self.plan.ends_of(number) {
            let is_held =
                self.plan.slots.get(slot).is_some_and(|s| s.storage == Storage::Grown) && self.is_made[slot];
            need(is_held, slot, "what is let go is a value that grows and is there")?;
            need(
                self.last[slot] == number,
                slot,
                "a value that grows is let go after the last step that needs it",
            )?;
            self.is_made[slot] = false;
        }
        Ok(())
    }

    /// What grows is not held for longer than it is needed.
    fn is_let_go(&self) -> Check {
        let is_left = |slot: &usize| {
            let is_grown = self.plan.slots[*slot].storage == Storage::Grown && self.is_made[*slot];
            is_grown && self.last[*slot] != usize::MAX
        };
        let mut left: Vec<usize> = (0..self.plan.slots.len()).filter(is_left).collect();
        if !left.is_empty() {
            // A body may not need what it is given.
            let given: HashSet<usize> = self.plan.given().collect();
            left.retain(|slot| !given.contains(slot));
        }
        need(left.is_empty(), left.first().copied(), "a value that grows is let go")?;
        need(self.plan.ends.is_sorted(), None, "values are let go in the order of the steps")?;
        let in_steps = self.plan.ends.last().is_none_or(|(step, _)| *step < self.plan.steps.len());
        need(in_steps, None, "a value is let go after a step that exists")
    }

    /// The range of a tensor in the arena.
    fn range(&self, slot: usize) -> Option<(usize, usize)> {
        match self.plan.slots[slot].storage {
            Storage::Arena(offset) => Some((offset, offset + self.sizes[slot])),
            _ => None,
        }
    }

    /// The slot holds the value, whole.
    fn read(&self, slot: usize, value: ValueRef) -> Check {
        need(self.plan.slots[slot].value == value, slot, "a step reads the value that the graph names")?;
        self.is_there(slot)
    }

    fn is_there(&self, slot: usize) -> Check {
        let root = self.roots[slot];
        need(self.is_made[root] && self.is_made[slot], slot, "a value is made before it is read")?;
        let Some((start, end)) = self.range(root).filter(|(start, end)| start < end) else { return Ok(()) };
        let owned = self.owned.0.get(&start);
        let is_whole = owned.is_some_and(|range| range.slot == Some(root) && range.end == end);
        need(is_whole, slot, "a value is whole until it is read for the last time")
    }

    /// The slot is the output that it says.
    fn made_by(&mut self, step: &Step, position: usize, slot: usize) -> Check {
        let s = &self.plan.slots[slot];
        let is_own = s.value.node == step.node && s.value.output as usize == position;
        let is_copy = step.is_copy() && step.reads.contains(&s.value);
        need(is_own || is_copy, slot, "a step makes the values that the graph names")?;
        need(s.alias_of.is_some() == step.is_alias, slot, "only a step without work makes an alias")?;
        let is_writable = match s.storage {
            Storage::Arena(_) => true,
            Storage::Fed(input) => {
                self.plan.role.may_write(input) && step.in_place_input.is_some() && position == 0
            }
            Storage::Grown => step.grows,
            Storage::Weight(_) | Storage::Streamed => false,
        };
        need(step.is_alias || is_writable, slot, "a step writes into the arena or over a variable")?;
        need(!self.is_made[slot], slot, "a value is made once")?;
        self.is_made[slot] = true;
        Ok(())
    }

    fn alias(&self, step: &Step, memory: &Memory) -> Check {
        let from = memory.alias.and_then(|input| step.inputs.get(input));
        let [output] = step.outputs[..] else { return Err(fault(None, "an alias is one output")) };
        let of = self.plan.slots[output].alias_of.map(|of| of.slot);
        need(
            from.is_some() && from.copied() == of,
            output,
            "an alias is of the input that its operator names",
        )
    }

    /// The first output takes over the memory of an input that nobody reads again.
    fn in_place(&mut self, number: usize, step: &Step, input: usize, memory: &Memory) -> Check {
        need(memory.overwrites.contains(input), None, "an operator works in place only of inputs it names")?;
        let slots = step.inputs.get(input).zip(step.outputs.first());
        let (from, to) = slots.ok_or_else(|| fault(None, "what is in place are an input and an output"))?;
        let (old, new) = (&self.plan.slots[*from], &self.plan.slots[*to]);
        let root = self.roots[*from];
        need(!step.is_dynamic && !new.is_bound, *to, "what is in place has one shape in all runs")?;
        need(old.info.shape == new.info.shape, *to, "what is in place has the shape of the input")?;
        need(
            old.info.dtype.bytes() == new.info.dtype.bytes(),
            *to,
            "what is in place has elements as large",
        )?;
        need(old.storage == new.storage, *to, "what is in place is where the input is")?;
        need(self.last[root] <= number, *from, "what is overwritten is not read again")?;
        let uses = step.inputs.iter().filter(|slot| self.roots[**slot] == root).count();
        need(uses == 1, *from, "what is overwritten is one input only")?;
        // In the memory of a variable nothing but this says that the input is gone.
        if matches!(old.storage, Storage::Fed(_)) {
            self.is_made[root] = false;
        }
        // The input is whole, so its range is what the output takes over.
        if let Some((start, end)) = self.range(*to).filter(|(start, end)| start < end) {
            need(self.range(root) == Some((start, end)), *to, "what is in place has the bytes of the input")?;
            self.owned.0.insert(start, Range { end, slot: Some(*to), last: self.last[*to] });
        }
        Ok(())
    }

    fn write(&mut self, number: usize, slot: usize) -> Check {
        let (start, end) = self.range(slot).ok_or_else(|| fault(slot, "a step writes into the arena"))?;
        let is_free = self.owned.take(number, start, Range { end, slot: Some(slot), last: self.last[slot] });
        need(is_free, slot, "a step writes where nothing is needed")
    }

    fn output(&self, result: usize, slot: usize) -> Check {
        let s = &self.plan.slots[slot];
        let may_stay = match s.storage {
            Storage::Fed(input) => self.plan.role.may_return(result, input),
            _ => true,
        };
        need(may_stay, slot, "what is fetched is not in the caller's memory")?;
        let is_dense = matches!(s.info.held, Held::Value | Held::Resident);
        need(is_dense, slot, "what is fetched is dense in memory")?;
        self.is_there(slot)
    }
}

/// True for a step that reads or makes a value that grows.
fn grows(plan: &Plan, step: &Step) -> bool {
    step.inputs.iter().chain(&step.outputs).any(|slot| plan.slots[*slot].storage == Storage::Grown)
}

/// A packed or streamed input is the weight that its operator asked for, in that form.
fn check_weight(plan: &Plan, step: &Step, call: &Call<'_>) -> Check {
    let is_weight = |slot: &usize| matches!(plan.slots[*slot].info.held, Held::Packed | Held::Streamed);
    let Some(position) = step.inputs.iter().position(is_weight) else {
        return need(step.stream.is_none(), None, "only a streamed weight has a stream");
    };
    let slot = step.inputs[position];
    let count = step.inputs.iter().filter(|slot| is_weight(slot)).count();
    let weight = step.operator().and_then(|operator| operator.weight(call));
    let wanted = weight.filter(|w| w.input == position && count == 1);
    let wanted = wanted.ok_or_else(|| fault(slot, "only a weight is held in a form of its own"))?;
    let s = &plan.slots[slot];
    match (&step.stream, s.storage) {
        (None, Storage::Weight(number)) => {
            let is_same = plan.weights.get(number).is_some_and(|w| w.layout == wanted.layout);
            need(is_same, slot, "a weight has the layout that its operator asks for")
        }
        (Some(stream), Storage::Streamed) => {
            let is_same = stream.value == s.value
                && stream.block_bytes == wanted.block_bytes
                && stream.constant.dtype == s.info.dtype
                && stream.constant.shape == s.info.shape;
            need(is_same, slot, "a streamed weight comes in the blocks that its operator asks for")
        }
        _ => Err(fault(slot, "a weight is in memory or has a stream")),
    }
}
