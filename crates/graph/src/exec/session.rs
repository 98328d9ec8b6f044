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
use crate::plan::{Home, Plan, SlotPlan, Step};
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
    /// The start of `arena`, through which alone it is accessed.
    arena_start: *mut u8,
    arena: Buffer,
    weights: Weights,
    /// References of fed strings, for each input that has them.
    fed_strings: Vec<Option<Buffer>>,
    fed_string_bytes: usize,
    strings: StringPool,
    constant_string_bytes: usize,
    window: Option<Window>,
    has_failed: bool,
    /// Ends a run between two steps once it is true.
    stop: Option<&'static AtomicBool>,
}

// SAFETY: the pointers in `slots` and `weights` lead into buffers that the session owns, and into fed tensors only
// during a run.
unsafe impl Send for Session {}

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
        let mut arena = Buffer::new(budget, "arena", arena_bytes(&plan, pool.threads()))?;
        let mut session = Session {
            file: file.to_string(),
            pool,
            budget: budget.clone(),
            slots: Vec::new(),
            arena_start: arena.as_mut_ptr(),
            arena,
            weights: Weights::default(),
            fed_strings: Vec::new(),
            fed_string_bytes,
            strings: StringPool::new(Buffer::new(budget, "strings", plan.string_bytes + fed_string_bytes)?),
            constant_string_bytes: 0,
            window: None,
            has_failed: false,
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
        self.plan = plan;
        self.has_failed = true;
        self.slots.clear();
        self.window = None;
        let bytes = arena_bytes(&self.plan, self.pool.threads());
        if bytes > self.arena.len() {
            // The old arena goes first, so that both are never held at once.
            self.arena = Buffer::new(&self.budget, "arena", 0)?;
            self.arena = Buffer::new(&self.budget, "arena", bytes)?;
            self.arena_start = self.arena.as_mut_ptr();
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
        self.weights.add(&self.plan, &self.file, &mut self.arena, &self.pool, &self.budget)?;
        self.window = Window::new(&self.plan, &self.budget)?;
        self.slots = self.plan.slots.iter().map(|slot| self.make_slot(slot)).collect();
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

    fn make_slot(&self, slot: &SlotPlan) -> Slot {
        let bytes = slot.info.shape.elements() * slot.info.dtype.bytes();
        let (start, capacity_bytes) = match slot.home {
            Home::Arena(offset) => (self.arena_start.wrapping_add(offset), bytes),
            Home::Weight(i) => (self.weights.start(&self.plan.weights[i]), self.plan.weights[i].bytes),
            Home::Fed(_) | Home::Streamed => (std::ptr::null_mut(), bytes),
        };
        Slot {
            start,
            dtype: slot.info.dtype,
            shape: Cell::new(slot.info.shape),
            place: slot.info.place,
            capacity_bytes,
        }
    }

    /// Puts the texts of string constants into the pool and their references where the plan has them.
    fn place_strings(&mut self) -> Result<(), GraphError> {
        for weight in &self.plan.weights {
            let ConstantData::Strings(texts) = &weight.constant.data else { continue };
            // SAFETY: the memory of this constant, which nobody else accesses while the session is made.
            let references =
                unsafe { std::slice::from_raw_parts_mut(self.weights.start(weight), weight.bytes) };
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
        self.arena.len()
    }

    /// Bytes of streamed weights read so far.
    pub fn streamed_bytes(&self) -> u64 {
        self.window.as_ref().map_or(0, Window::read_bytes)
    }

    /// Computes the outputs for one tensor per input of the plan, in its order. The outputs are valid until the next
    /// run.
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
        if self.has_failed && (self.window.is_some() || self.slots.is_empty()) {
            return Err(GraphError::Failed);
        }
        // As on TensorFlow's threads; the caller gets its own mode back.
        let _flush = FlushDenormals::new();
        self.strings.truncate(self.constant_string_bytes);
        self.feed(feeds)?;
        for (position, step) in self.plan.steps.iter().enumerate() {
            if self.stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                self.has_failed = true;
                return Err(GraphError::Stopped);
            }
            if let Err(source) = run_step(step, self) {
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
                    let texts =
                        references.as_slice::<StringRef>().unwrap_or_default().iter().map(|r| cut(text, *r));
                    push_strings(&self.strings, texts, memory)
                        .map(|()| memory.as_mut_ptr())
                        .ok_or_else(too_long)?
                }
                _ => return Err(bad("is of strings, or it is not".into())),
            };
            self.slots[*slot].start = start;
        }
        // Values that are fed inputs under another shape.
        for slot in 0..self.slots.len() {
            if let Home::Fed(input) = self.plan.slots[slot].home {
                self.slots[slot].start = self.slots[self.plan.inputs[input].1].start;
            }
        }
        Ok(())
    }

    /// Output `index` of the plan, after a run.
    pub fn output(&self, index: usize) -> Option<TensorView<'_>> {
        let slot = &self.slots[self.plan.outputs.get(index)?.1];
        if !matches!(slot.place, Place::Value | Place::Resident) {
            return None;
        }
        let shape = slot.shape.get();
        let bytes = shape.elements() * slot.dtype.bytes();
        // SAFETY: the memory belongs to the session, or to a feed, which outputs alias only where the graph returns an
        // input as it is; `run` holds the only way to change it and needs the session mutably.
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

/// The text a reference means; empty where it leads out of the text.
fn cut(text: &[u8], reference: StringRef) -> &[u8] {
    let start = reference.offset as usize;
    start.checked_add(reference.bytes as usize).and_then(|end| text.get(start..end)).unwrap_or_default()
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
    if step.is_dynamic {
        infer_shapes(step, session)?;
    }
    if step.is_alias {
        return Ok(());
    }
    let stream = step.stream.as_ref().map(|stream| StepStream {
        window: session.window.as_ref(),
        constant: &stream.constant,
        block_bytes: stream.block_bytes,
    });
    let (offset, bytes) = step.scratch;
    // SAFETY: the plan's validator has shown that the scratch lies in the arena and apart from all values alive.
    let scratch = unsafe { std::slice::from_raw_parts_mut(session.arena_start.add(offset), bytes) };
    let mut run = Run {
        pool: &session.pool,
        slots: &session.slots,
        inputs: &step.inputs,
        outputs: &step.outputs,
        in_place_input: step.in_place_input,
        stream: stream.as_ref().map(|s| s as &dyn WeightStream),
        scratch: Some(scratch),
        strings: &session.strings,
        taken: 0,
    };
    step.operator.run(&mut run)
}

/// The shapes of outputs that depend on data, from what the inputs are in this run.
fn infer_shapes(step: &Step, session: &Session) -> Result<(), OpError> {
    let facts: Vec<Fact> = step.inputs.iter().map(|slot| actual_fact(&session.slots[*slot])).collect();
    let outputs = step.operator.infer(&facts.iter().collect::<Vec<_>>())?;
    for (slot, fact) in step.outputs.iter().zip(outputs) {
        let slot = &session.slots[*slot];
        let shape = fact
            .planned_dims()
            .concrete()
            .ok_or(OpError::Internal("a shape is open while the model runs"))?;
        if shape.elements() * slot.dtype.bytes() > slot.capacity_bytes {
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
    if is_dense && slot.dtype != DType::String && bytes <= KNOWN_VALUE_MAX_BYTES {
        // SAFETY: an input of the step that is about to run, so its memory holds a value and nobody writes it.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start, bytes) };
        return Fact::known(slot.dtype, shape, bytes);
    }
    Fact::new(slot.dtype, Dims::from(shape))
}
