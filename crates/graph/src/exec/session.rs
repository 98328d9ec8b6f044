//! A plan with its memory: what runs.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StringRef, TensorView};
use tightfit_kernels::{FlushDenormals, ThreadPool};

use super::stream::{StepStream, Window};
use super::weights::{Weights, load_scratch_bytes};
use crate::dim::Dims;
use crate::error::GraphError;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use crate::ir::ConstantData;
use crate::operator::{OpError, Place, Run, Slot, WeightStream};
use crate::plan::{Home, Plan, SlotPlan, Step, validate};
use crate::strings::StringPool;

/// A tensor to feed.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    /// Dense elements.
    Tensor(TensorView<'a>),
    /// Strings, and the shape they fill in row-major order.
    Strings(Shape, &'a [Box<[u8]>]),
    /// Strings as references into a text.
    Text(TensorView<'a>, &'a [u8]),
}

impl Feed<'_> {
    /// Nothing, to fill a list with.
    pub const NONE: Feed<'static> = Feed::Strings(Shape::SCALAR, &[]);
}

/// The memory of a plan, filled with its constants, and the threads that compute. Running allocates nothing.
pub struct Session {
    plan: Plan,
    file: String,
    pool: Arc<ThreadPool>,
    budget: MemoryBudget,
    slots: Vec<Slot>,
    /// The slots of the caller's memory, each with the number of the input: their addresses are there only in a run.
    fed_slots: Vec<(usize, usize)>,
    arena: Arena,
    weights: Weights,
    /// References of fed strings, for each input that has them.
    fed_strings: Vec<Option<Buffer>>,
    fed_string_bytes: usize,
    strings: StringPool,
    constant_string_bytes: usize,
    window: Option<Window>,
    has_failed: bool,
    /// True from the end of a run that did not fail until the next one.
    has_outputs: bool,
    /// Ends a run between two steps once it is true.
    stop: Option<&'static AtomicBool>,
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

impl Session {
    /// Reserves all memory of `plan` from `budget`, and reads the constants. `fed_string_bytes` is what the strings of
    /// one run's feeds may take.
    ///
    /// # Errors
    /// [`GraphError::Budget`] when the memory is not free, and what reading the file finds.
    pub fn new(
        plan: Plan,
        file: &str,
        pool: Arc<ThreadPool>,
        budget: &MemoryBudget,
        fed_string_bytes: usize,
    ) -> Result<Session, GraphError> {
        check(&plan)?;
        let arena = Buffer::new(budget, "arena", arena_bytes(&plan, pool.threads()))?;
        let mut session = Session {
            file: file.to_string(),
            pool,
            budget: budget.clone(),
            slots: Vec::new(),
            fed_slots: Vec::new(),
            arena: Arena::new(arena),
            weights: Weights::default(),
            fed_strings: Vec::new(),
            fed_string_bytes,
            strings: StringPool::new(Buffer::new(budget, "strings", plan.string_bytes + fed_string_bytes)?),
            constant_string_bytes: 0,
            window: None,
            has_failed: false,
            has_outputs: false,
            stop: None,
            plan,
        };
        session.install()?;
        Ok(session)
    }

    /// Changes to another plan of the same model, for another batch. Constants that both have stay where they are, and
    /// so does the arena where it is large enough.
    ///
    /// # Errors
    /// As [`Session::new`]; the session does not run any more then.
    pub fn replan(&mut self, plan: Plan) -> Result<(), GraphError> {
        self.has_failed = true;
        self.has_outputs = false;
        self.slots.clear();
        self.window = None;
        check(&plan)?;
        self.plan = plan;
        let bytes = arena_bytes(&self.plan, self.pool.threads());
        if bytes > self.arena.memory.len() {
            // The old arena goes first, so that both are never held at once.
            self.arena = Arena::new(Buffer::new(&self.budget, "arena", 0)?);
            self.arena = Arena::new(Buffer::new(&self.budget, "arena", bytes)?);
        }
        let string_bytes = self.plan.string_bytes + self.fed_string_bytes;
        if string_bytes > self.strings.capacity_bytes() {
            self.strings = StringPool::new(Buffer::new(&self.budget, "strings", string_bytes)?);
        }
        self.install()?;
        self.has_failed = false;
        Ok(())
    }

    /// From now on a run ends between two steps, with [`GraphError::Stopped`], once `flag` is true.
    pub fn stop_at(&mut self, flag: &'static AtomicBool) {
        self.stop = Some(flag);
    }

    /// Makes the memory that is there hold what the plan says.
    fn install(&mut self) -> Result<(), GraphError> {
        self.weights.add(&self.plan, &self.file, &mut self.arena.memory, &self.pool, &self.budget)?;
        self.window = Window::new(&self.plan, &self.budget)?;
        self.slots = self.plan.slots.iter().map(|slot| self.make_slot(slot)).collect::<Result<_, _>>()?;
        let fed = self.plan.slots.iter().enumerate().filter_map(|(slot, s)| match s.home {
            Home::Fed(input) => Some((slot, input)),
            _ => None,
        });
        self.fed_slots = fed.collect();
        self.strings.truncate(0);
        self.place_strings()?;
        self.constant_string_bytes = self.strings.used_bytes();
        let references = self.plan.inputs.iter().map(|(_, slot)| {
            let info = &self.plan.slots[*slot].info;
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
                let weight = &self.plan.weights[i];
                let bytes = if slot.info.place == Place::Packed { weight.bytes } else { bytes };
                (self.weights.start(weight)?, bytes)
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

    /// Puts the texts of string constants into the pool and their references where the plan has them.
    fn place_strings(&mut self) -> Result<(), GraphError> {
        for weight in &self.plan.weights {
            let ConstantData::Strings(texts) = &weight.constant.data else { continue };
            // SAFETY: the memory of this constant, which nobody else accesses while the session is made.
            let references =
                unsafe { std::slice::from_raw_parts_mut(self.weights.start(weight)?, weight.bytes) };
            push_strings(&self.strings, texts.iter().map(|t| &t[..]), references)
                .ok_or_else(|| GraphError::Plan("string constants were not planned for".into()))?;
        }
        Ok(())
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
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
    /// error, and when it was stopped, a session with streamed weights does not run again.
    pub fn run(&mut self, feeds: &[Feed<'_>]) -> Result<(), GraphError> {
        self.run_steps(feeds, &mut |_| {})
    }

    /// The same; `after` is called with each step's position when it is done, to time them.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_steps(&mut self, feeds: &[Feed<'_>], after: &mut dyn FnMut(usize)) -> Result<(), GraphError> {
        if self.has_failed && (self.window.is_some() || self.slots.len() != self.plan.slots.len()) {
            return Err(GraphError::Failed);
        }
        // As on TensorFlow's threads; the caller gets its own mode back.
        let _flush = FlushDenormals::new();
        self.has_outputs = false;
        self.strings.truncate(self.constant_string_bytes);
        let result = self.feed(feeds).and_then(|()| self.compute(after));
        self.forget_feeds();
        self.has_outputs = result.is_ok();
        result
    }

    fn compute(&mut self, after: &mut dyn FnMut(usize)) -> Result<(), GraphError> {
        for position in 0..self.plan.steps.len() {
            if self.stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                self.has_failed = true;
                return Err(GraphError::Stopped);
            }
            let mut result = run_step(&self.plan.steps[position], self);
            if let Err(OpError::Strings { bytes }) = result {
                result = self.make_room(bytes).and_then(|()| run_step(&self.plan.steps[position], self));
            }
            if let Err(source) = result {
                let step = &self.plan.steps[position];
                self.has_failed = true;
                return Err(GraphError::Node {
                    file: self.file.clone(),
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
        for (i, (name, slot)) in self.plan.inputs.iter().enumerate() {
            let bad = |why: String| GraphError::Feed { input: name.clone(), why };
            let too_long = || bad("has strings of more bytes than were planned".into());
            let feed = feeds.get(i).ok_or_else(|| bad("is not fed".into()))?;
            let info = &self.plan.slots[*slot].info;
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
                    push_strings(&self.strings, texts, memory)
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
                    push_strings(&self.strings, texts, memory)
                        .map(|()| memory.as_mut_ptr())
                        .ok_or_else(too_long)?
                }
                _ => return Err(bad("is of strings, or it is not".into())),
            };
            self.slots[*slot].start = start;
        }
        // Values that are fed inputs under another shape lie in the same memory.
        for (slot, input) in &self.fed_slots {
            let start = self.slots[self.plan.inputs[*input].1].start;
            let info = &self.plan.slots[*slot].info;
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
        let slot = self.slots.get(self.plan.outputs.get(index)?.1).filter(|_| self.has_outputs)?;
        let shape = slot.shape.get();
        let bytes = shape.elements() * slot.dtype.bytes();
        if bytes > slot.capacity_bytes.get() {
            return None;
        }
        // SAFETY: `plan::validate` guarantees that what is fetched is dense, inside the arena or the weights, which
        // the session owns, and whole after the last step (rules 1 and 5); a run needs the session mutably.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start, bytes) };
        TensorView::new(slot.dtype, shape, bytes)
    }

    /// The text of an element of a string output.
    pub fn string(&self, string: StringRef) -> &[u8] {
        self.strings.get(string)
    }
}

/// Bytes of the arena of a session: loading needs scratch before values are in the arena, so they share it.
pub fn arena_bytes(plan: &Plan, threads: usize) -> usize {
    plan.arena_bytes.max(load_scratch_bytes(plan, threads))
}

/// A plan that keeps all rules, without which none of the memory below may be touched.
fn check(plan: &Plan) -> Result<(), GraphError> {
    validate(plan).map_err(|fault| GraphError::Plan(fault.to_string()))
}

/// The text a reference means, or `None` where it leads out of the text.
fn cut(text: &[u8], reference: StringRef) -> Option<&[u8]> {
    let start = usize::try_from(reference.offset).ok()?;
    let end = start.checked_add(usize::try_from(reference.bytes).ok()?)?;
    text.get(start..end)
}

/// References for `out`'s elements, the last text repeated; `None` when the pool is full.
fn push_strings<'t>(
    pool: &StringPool,
    mut texts: impl Iterator<Item = &'t [u8]>,
    out: &mut [u8],
) -> Option<()> {
    let mut last = StringRef::default();
    for reference in out.chunks_exact_mut(size_of::<StringRef>()) {
        if let Some(text) = texts.next() {
            last = pool.push(text)?;
        }
        reference.copy_from_slice(bytemuck::bytes_of(&last));
    }
    Some(())
}

fn run_step(step: &Step, session: &Session) -> Result<(), OpError> {
    let stream = step.stream.as_ref().map(|stream| StepStream {
        window: session.window.as_ref(),
        constant: &stream.constant,
        block_bytes: stream.block_bytes,
    });
    let (offset, bytes) = step.scratch;
    // SAFETY: `plan::validate` guarantees that the scratch lies in the arena (rule 1) and apart from all that the step
    // reads and writes and from all that is read later (rule 3).
    let scratch = unsafe { std::slice::from_raw_parts_mut(session.arena.start.add(offset), bytes) };
    let mut run = Run {
        pool: &session.pool,
        slots: &session.slots,
        inputs: &step.inputs,
        outputs: &step.outputs,
        in_place_input: step.in_place_input,
        stream: stream.as_ref().map(|s| s as &dyn WeightStream),
        scratch: Some(scratch),
        strings: &session.strings,
    };
    run.begin();
    if step.is_dynamic {
        if step.operator.reshape(&mut run).is_none() {
            infer_shapes(step, session)?;
        }
        check_shapes(step, session)?;
    }
    if step.is_alias { Ok(()) } else { step.operator.run(&mut run) }
}

/// Checks that an output whose shape does not depend on data has the planned one: later steps take it as it was planned.
fn check_shapes(step: &Step, session: &Session) -> Result<(), OpError> {
    let differs = |slot: &&usize| {
        let planned = &session.plan.slots[**slot];
        !planned.is_bound && planned.info.shape != session.slots[**slot].shape.get()
    };
    match step.outputs.iter().find(differs) {
        None => Ok(()),
        Some(_) => Err(OpError::Internal("a shape that does not depend on data is not as it was planned")),
    }
}

/// The shapes of outputs that depend on data, from what the inputs are in this run, by inference.
fn infer_shapes(step: &Step, session: &Session) -> Result<(), OpError> {
    let facts: Vec<Fact> = step.inputs.iter().map(|slot| actual_fact(&session.slots[*slot])).collect();
    let outputs = step.operator.infer(&facts.iter().collect::<Vec<_>>())?;
    for (slot, fact) in step.outputs.iter().zip(outputs) {
        let slot = &session.slots[*slot];
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
