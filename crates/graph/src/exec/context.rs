//! A loaded model being run.

use std::cell::Cell;
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, StopFlag, StringRef, TensorView};
use tightfit_kernels::{FlushDenormals, ThreadPool};

use super::feed::{Feed, cut};
use super::loaded::{Loaded, arena_bytes, check};
use super::stream::{StepStream, Window};
use crate::dim::Dims;
use crate::error::GraphError;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use crate::operator::strings::{StringPool, Texts, refer};
use crate::operator::{OpError, Place, Run, Slot, WeightStream};
use crate::plan::{Home, Plan, SlotPlan, Step};

/// The memory in which a loaded model is run: values, fed strings, the window of streamed weights. Running allocates
/// nothing.
pub struct Context {
    loaded: Arc<Loaded>,
    slots: Vec<Slot>,
    /// The slots of the caller's memory, each with the number of the input: their addresses are there only in a run.
    fed_slots: Vec<(usize, usize)>,
    arena: Arena,
    /// References of fed strings, for each input that has them.
    fed_strings: Vec<Option<Buffer>>,
    fed_string_bytes: usize,
    strings: StringPool,
    window: Option<Window>,
    budget: MemoryBudget,
    has_failed: bool,
    /// True from the end of a run that did not fail until the next one.
    has_outputs: bool,
    /// Ends a run between two steps once it is set.
    stop: Option<StopFlag>,
}

/// The memory of values and scratch, accessed through its address alone.
struct Arena {
    start: *mut u8,
    memory: Buffer,
}

// SAFETY: the arena owns the memory that the address leads to.
unsafe impl Send for Arena {}

impl Arena {
    fn new(mut memory: Buffer) -> Arena {
        Arena { start: memory.as_mut_ptr(), memory }
    }
}

impl Context {
    /// Reserves all memory from `budget` that running `loaded` takes. `fed_string_bytes` is what the strings of one run's
    /// feeds may take.
    ///
    /// # Errors
    /// [`GraphError::Budget`] when the memory is not free, [`GraphError::Threads`] when the system gives no thread to read
    /// streamed weights.
    pub fn new(
        loaded: Arc<Loaded>,
        budget: &MemoryBudget,
        fed_string_bytes: usize,
    ) -> Result<Context, GraphError> {
        let own = own_string_bytes(loaded.plan(), fed_string_bytes);
        let mut context = Context {
            slots: Vec::new(),
            fed_slots: Vec::new(),
            arena: Arena::new(Buffer::new(budget, "arena", loaded.plan().arena_bytes)?),
            fed_strings: Vec::new(),
            fed_string_bytes,
            strings: StringPool::new(Texts::default(), Buffer::new(budget, "strings", own)?),
            window: None,
            budget: budget.clone(),
            has_failed: false,
            has_outputs: false,
            stop: None,
            loaded,
        };
        context.install()?;
        Ok(context)
    }

    /// Loads a model and runs it here alone: [`Loaded::new`] and [`Context::new`] on one budget.
    ///
    /// # Errors
    /// As both.
    pub fn load(
        plan: Plan,
        file: &str,
        pool: Arc<ThreadPool>,
        budget: &MemoryBudget,
        fed_string_bytes: usize,
    ) -> Result<Context, GraphError> {
        Context::new(Arc::new(Loaded::new(plan, file, pool, budget)?), budget, fed_string_bytes)
    }

    /// Another context of the same loaded model, on the same budget.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub fn try_clone(&self) -> Result<Context, GraphError> {
        Context::new(self.loaded.clone(), &self.budget, self.fed_string_bytes)
    }

    /// Changes to another plan of the same model, for another batch. Constants that both have stay where they are, and
    /// so does the arena where it is large enough.
    ///
    /// # Errors
    /// As [`Loaded::new`] and [`Context::new`]; the context does not run any more then.
    pub fn replan(&mut self, plan: Plan) -> Result<(), GraphError> {
        self.has_failed = true;
        self.has_outputs = false;
        self.slots.clear();
        self.window = None;
        check(&plan, self.loaded.pool())?;
        let bytes = arena_bytes(&plan, self.loaded.pool().threads());
        if bytes > self.arena.memory.len() {
            // The old arena goes first, so that both are never held at once.
            self.arena = Arena::new(Buffer::new(&self.budget, "arena", 0)?);
            self.arena = Arena::new(Buffer::new(&self.budget, "arena", bytes)?);
        }
        self.loaded = Arc::new(self.loaded.with_plan(plan, &mut self.arena.memory)?);
        let own = own_string_bytes(self.loaded.plan(), self.fed_string_bytes);
        if own > self.strings.capacity_bytes() {
            self.strings = StringPool::new(Texts::default(), Buffer::new(&self.budget, "strings", own)?);
        }
        self.install()?;
        self.has_failed = false;
        Ok(())
    }

    /// From now on a run ends between two steps, with [`GraphError::Stopped`], once `flag` is set.
    pub fn stop_at(&mut self, flag: impl Into<StopFlag>) {
        self.stop = Some(flag.into());
    }

    /// Makes the memory that is there hold what the plan says.
    fn install(&mut self) -> Result<(), GraphError> {
        let plan = self.loaded.plan();
        self.window = Window::new(plan, &self.budget)?;
        self.slots = plan.slots.iter().map(|slot| self.make_slot(slot)).collect::<Result<_, _>>()?;
        let fed = plan.slots.iter().enumerate().filter_map(|(slot, s)| match s.home {
            Home::Fed(input) => Some((slot, input)),
            _ => None,
        });
        self.fed_slots = fed.collect();
        self.strings.set_constants(self.loaded.weights().texts().clone());
        let references = plan.inputs.iter().map(|(_, slot)| {
            let info = &plan.slots[*slot].info;
            let bytes = info.shape.elements() * info.dtype.bytes();
            (info.dtype == DType::String).then(|| Buffer::new(&self.budget, "strings", bytes)).transpose()
        });
        self.fed_strings = references.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn make_slot(&self, slot: &SlotPlan) -> Result<Slot, GraphError> {
        let bytes = slot.info.shape.elements() * slot.info.dtype.bytes();
        let (start, capacity_bytes) = match slot.home {
            Home::Arena(offset) => (self.arena.start.wrapping_add(offset), bytes),
            Home::Weight(i) => {
                let weight = &self.loaded.plan().weights[i];
                let bytes = if slot.info.place == Place::Packed { weight.bytes } else { bytes };
                (self.loaded.weights().start(weight)?, bytes)
            }
            Home::Fed(_) | Home::Streamed => (std::ptr::null_mut(), 0),
        };
        Ok(Slot {
            start,
            dtype: slot.info.dtype,
            shape: Cell::new(slot.info.shape),
            place: slot.info.place,
            capacity_bytes: Cell::new(capacity_bytes),
            is_taken: Cell::new(false),
        })
    }

    /// The model that it runs.
    pub fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        self.loaded.plan()
    }

    /// Bytes of the arena in memory.
    pub fn arena_bytes(&self) -> usize {
        self.arena.memory.len()
    }

    /// Bytes of streamed weights read so far.
    pub fn streamed_bytes(&self) -> u64 {
        self.window.as_ref().map_or(0, Window::read_bytes)
    }

    /// Computes the outputs for one tensor per input of the plan, in its order. The outputs are there until the next
    /// run, and not after one that failed.
    ///
    /// # Errors
    /// [`GraphError::Feed`] for a tensor that does not fit its input, and what an operator finds. After an operator's
    /// error, and when it was stopped, a context with streamed weights does not run again.
    pub fn run(&mut self, feeds: &[Feed<'_>]) -> Result<(), GraphError> {
        self.run_steps(feeds, &mut |_| {})
    }

    /// The same; `after` is called with each step's position when it is done, to time them.
    ///
    /// # Errors
    /// As [`Context::run`].
    pub fn run_steps(&mut self, feeds: &[Feed<'_>], after: &mut dyn FnMut(usize)) -> Result<(), GraphError> {
        if self.has_failed && (self.window.is_some() || self.slots.len() != self.loaded.plan().slots.len()) {
            return Err(GraphError::Failed);
        }
        // As on TensorFlow's threads; the caller gets its own mode back.
        let _flush = FlushDenormals::new();
        self.has_outputs = false;
        self.strings.clear();
        let result = self.feed(feeds).and_then(|()| self.compute(after));
        self.forget_feeds();
        self.has_outputs = result.is_ok();
        result
    }

    fn compute(&mut self, after: &mut dyn FnMut(usize)) -> Result<(), GraphError> {
        let loaded = self.loaded.clone();
        for (position, step) in loaded.plan().steps.iter().enumerate() {
            if self.stop.as_ref().is_some_and(StopFlag::is_set) {
                self.has_failed = true;
                return Err(GraphError::Stopped);
            }
            let mut result = run_step(step, self);
            if let Err(OpError::Strings { bytes }) = result {
                result = self.make_room(bytes).and_then(|()| run_step(step, self));
            }
            if let Err(source) = result {
                self.has_failed = true;
                return Err(GraphError::Node {
                    file: self.loaded.file().to_string(),
                    node: step.name.to_string(),
                    op: step.operator.name().to_string(),
                    source: Box::new(source),
                });
            }
            after(position);
        }
        Ok(())
    }

    /// Room for so many bytes of strings that the step at hand makes: how many is only known as it runs. It is kept for
    /// the runs to come.
    fn make_room(&mut self, bytes: u64) -> Result<(), OpError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(self.strings.used_bytes());
        let memory = Buffer::new(&self.budget, "strings", bytes)?;
        self.strings.moved_to(memory);
        Ok(())
    }

    fn feed(&mut self, feeds: &[Feed<'_>]) -> Result<(), GraphError> {
        let plan = self.loaded.plan();
        for (i, (name, slot)) in plan.inputs.iter().enumerate() {
            let bad = |why: String| GraphError::Feed { input: name.clone(), why };
            let too_long = || bad("has strings of more bytes than were planned".into());
            let feed = feeds.get(i).ok_or_else(|| bad("is not fed".into()))?;
            let info = &plan.slots[*slot].info;
            let (dtype, shape) = match feed {
                Feed::Tensor(view) => (view.dtype(), *view.shape()),
                Feed::Strings(shape, _) => (DType::String, *shape),
                Feed::Text(references, _) => (references.dtype(), *references.shape()),
            };
            if dtype != info.dtype || shape != info.shape {
                return Err(bad(format!("is {}{}, not {dtype}{shape}", info.dtype, info.shape)));
            }
            let start = match (feed, &mut self.fed_strings[i]) {
                (Feed::Tensor(view), None) => view.bytes().as_ptr().cast_mut(),
                (Feed::Strings(_, texts), Some(memory)) => {
                    let texts = texts.iter().map(|t| &t[..]);
                    refer(texts, memory, |text| self.strings.push(text))
                        .map(|()| memory.as_mut_ptr())
                        .ok_or_else(too_long)?
                }
                (Feed::Text(references, text), Some(memory)) => {
                    let outside = || bad("has a string outside of its text".into());
                    let references = references.as_slice::<StringRef>().ok_or_else(outside)?;
                    if references.iter().any(|r| cut(text, *r).is_none()) {
                        return Err(outside());
                    }
                    let texts = references.iter().filter_map(|r| cut(text, *r));
                    refer(texts, memory, |text| self.strings.push(text))
                        .map(|()| memory.as_mut_ptr())
                        .ok_or_else(too_long)?
                }
                _ => return Err(bad("is of strings, or it is not".into())),
            };
            self.slots[*slot].start = start;
        }
        // Values that are fed inputs under another shape lie in the same memory.
        for (slot, input) in &self.fed_slots {
            let start = self.slots[plan.inputs[*input].1].start;
            let info = &plan.slots[*slot].info;
            self.slots[*slot].start = start;
            self.slots[*slot].capacity_bytes.set(info.shape.elements() * info.dtype.bytes());
        }
        Ok(())
    }

    /// Forgets the caller's memory.
    fn forget_feeds(&mut self) {
        for (slot, _) in &self.fed_slots {
            self.slots[*slot].start = std::ptr::null_mut();
            self.slots[*slot].capacity_bytes.set(0);
        }
    }

    /// Output `index` of the plan: `None` before the first run, and after one that failed or a change of the plan.
    pub fn output(&self, index: usize) -> Option<TensorView<'_>> {
        let slot = self.slots.get(self.loaded.plan().outputs.get(index)?.1).filter(|_| self.has_outputs)?;
        let shape = slot.shape.get();
        let bytes = shape.elements() * slot.dtype.bytes();
        if bytes > slot.capacity_bytes.get() {
            return None;
        }
        // SAFETY: `plan::validate` guarantees that what is fetched is dense, inside the arena or the weights, which
        // the context owns, and whole after the last step (rules 1 and 5); a run needs the context mutably.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start, bytes) };
        TensorView::new(slot.dtype, shape, bytes)
    }

    /// The text of an element of a string output.
    pub fn string(&self, string: StringRef) -> &[u8] {
        self.strings.get(string)
    }
}

/// What operators make and what is fed: the texts of constants are the loaded model's.
fn own_string_bytes(plan: &Plan, fed_string_bytes: usize) -> usize {
    plan.string_bytes - plan.constant_text_bytes() + fed_string_bytes
}

fn run_step(step: &Step, context: &Context) -> Result<(), OpError> {
    let stream = step.stream.as_ref().map(|stream| StepStream {
        window: context.window.as_ref(),
        constant: &stream.constant,
        block_bytes: stream.block_bytes,
    });
    let (offset, bytes) = step.scratch;
    // SAFETY: `plan::validate` guarantees that the scratch lies in the arena (rule 1) and apart from all that the step
    // reads and writes and from all that is read later (rule 3).
    let scratch = unsafe { std::slice::from_raw_parts_mut(context.arena.start.add(offset), bytes) };
    let mut run = Run {
        pool: context.loaded.pool(),
        slots: &context.slots,
        inputs: &step.inputs,
        outputs: &step.outputs,
        in_place_input: step.in_place_input,
        stream: stream.as_ref().map(|s| s as &dyn WeightStream),
        scratch: Some(scratch),
        strings: &context.strings,
    };
    run.begin();
    if step.is_dynamic {
        if step.operator.reshape(&mut run).is_none() {
            infer_shapes(step, context)?;
        }
        check_shapes(step, context)?;
    }
    if step.is_alias { Ok(()) } else { step.operator.run(&mut run) }
}

/// Checks that an output whose shape does not depend on data has the planned one: later steps take it as it was planned.
fn check_shapes(step: &Step, context: &Context) -> Result<(), OpError> {
    let differs = |slot: &&usize| {
        let planned = &context.loaded.plan().slots[**slot];
        !planned.is_bound && planned.info.shape != context.slots[**slot].shape.get()
    };
    match step.outputs.iter().find(differs) {
        None => Ok(()),
        Some(_) => Err(OpError::Internal("a shape that does not depend on data is not as it was planned")),
    }
}

/// The shapes of outputs that depend on data, from what the inputs are in this run, by inference.
fn infer_shapes(step: &Step, context: &Context) -> Result<(), OpError> {
    let facts: Vec<Fact> = step.inputs.iter().map(|slot| actual_fact(&context.slots[*slot])).collect();
    let outputs = step.operator.infer(&facts.iter().collect::<Vec<_>>())?;
    for (slot, fact) in step.outputs.iter().zip(outputs) {
        let slot = &context.slots[*slot];
        let shape = fact
            .planned_dims()
            .concrete()
            .ok_or(OpError::Internal("a shape is open while the model runs"))?;
        if shape.elements() * slot.dtype.bytes() > slot.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        slot.shape.set(shape);
    }
    Ok(())
}

fn actual_fact(slot: &Slot) -> Fact {
    let shape = slot.shape.get();
    let bytes = shape.elements() * slot.dtype.bytes();
    let is_dense = matches!(slot.place, Place::Value | Place::Resident);
    let is_small = bytes <= KNOWN_VALUE_MAX_BYTES.min(slot.capacity_bytes.get());
    if is_dense && slot.dtype != DType::String && is_small {
        // SAFETY: inside the slot's memory by the check above, which holds the value of an input of the step that is
        // about to run (rules 1, 2 and 4 of `plan::validate`), and nobody writes it now.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start, bytes) };
        return Fact::known(slot.dtype, shape, bytes);
    }
    Fact::new(slot.dtype, Dims::from(shape))
}
