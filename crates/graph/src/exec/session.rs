//! A plan with its memory: what runs.

use std::cell::Cell;
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StringRef, TensorView};
use tightfit_kernels::ThreadPool;

use super::stream::{StepStream, Window};
use super::weights;
use crate::dim::Dims;
use crate::error::GraphError;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use crate::ir::ConstantData;
use crate::operator::{OpError, Place, Run, Slot, WeightStream};
use crate::plan::{Home, Plan, Step};
use crate::strings::StringPool;

/// A tensor to feed.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    /// Dense elements.
    Tensor(TensorView<'a>),
    /// Strings, and the shape they fill in row-major order.
    Strings(Shape, &'a [Box<[u8]>]),
}

/// The memory of a plan, filled with its constants, and the threads that compute. Running allocates nothing.
pub struct Session {
    plan: Plan,
    file: String,
    pool: Arc<ThreadPool>,
    slots: Vec<Slot>,
    /// The start of `arena`, through which alone it is accessed.
    arena_start: *mut u8,
    arena: Buffer,
    _weights: Buffer,
    /// References of fed strings, for each input that has them.
    fed_strings: Vec<Option<Buffer>>,
    strings: StringPool,
    constant_string_bytes: usize,
    window: Option<Window>,
    has_failed: bool,
}

// SAFETY: the pointers in `slots` lead into buffers that the session owns, and into fed tensors only during a run.
unsafe impl Send for Session {}

impl Session {
    /// Reserves all memory of `plan` from `budget`, reads the constants and starts the threads. `fed_string_bytes` is
    /// what the strings of one run's feeds may take.
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
        let mut weights = Buffer::new(budget, "weights", plan.weights_bytes)?;
        let mut arena = Buffer::new(budget, "arena", arena_bytes(&plan, pool.threads()))?;
        let window = Window::new(&plan, budget)?;
        let strings = StringPool::new(Buffer::new(budget, "strings", plan.string_bytes + fed_string_bytes)?);
        let at_load = |source| GraphError::Node {
            file: file.to_string(),
            node: "weights".to_string(),
            op: "Const".to_string(),
            source,
        };
        weights::load(&plan, &mut weights, &mut arena, &pool).map_err(at_load)?;
        place_strings(&plan, &mut weights, &strings).map_err(at_load)?;
        let slots = make_slots(&plan, &mut arena, &mut weights);
        let fed_strings = plan.inputs.iter().map(|(_, slot)| {
            let info = &plan.slots[*slot].info;
            let bytes = info.shape.elements() * info.dtype.bytes();
            (info.dtype == DType::String).then(|| Buffer::new(budget, "strings", bytes)).transpose()
        });
        let fed_strings = fed_strings.collect::<Result<_, _>>()?;
        Ok(Session {
            constant_string_bytes: strings.used_bytes(),
            file: file.to_string(),
            plan,
            pool,
            slots,
            arena_start: arena.as_mut_ptr(),
            arena,
            _weights: weights,
            fed_strings,
            strings,
            window,
            has_failed: false,
        })
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
    /// error a session with streamed weights does not run again.
    pub fn run(&mut self, feeds: &[Feed<'_>]) -> Result<(), GraphError> {
        if self.has_failed && self.window.is_some() {
            return Err(GraphError::Plan("a session was run after it failed".into()));
        }
        self.strings.truncate(self.constant_string_bytes);
        self.feed(feeds)?;
        for step in &self.plan.steps {
            if let Err(source) = run_step(step, self) {
                self.has_failed = true;
                return Err(GraphError::Node {
                    file: self.file.clone(),
                    node: step.name.to_string(),
                    op: step.operator.name().to_string(),
                    source,
                });
            }
        }
        Ok(())
    }

    fn feed(&mut self, feeds: &[Feed<'_>]) -> Result<(), GraphError> {
        for (i, (name, slot)) in self.plan.inputs.iter().enumerate() {
            let bad = |why: String| GraphError::Feed { input: name.clone(), why };
            let feed = feeds.get(i).ok_or_else(|| bad("is not fed".into()))?;
            let info = &self.plan.slots[*slot].info;
            let (dtype, shape) = match feed {
                Feed::Tensor(view) => (view.dtype(), *view.shape()),
                Feed::Strings(shape, _) => (DType::String, *shape),
            };
            if dtype != info.dtype || shape != info.shape {
                return Err(bad(format!("is {}{}, not {dtype}{shape}", info.dtype, info.shape)));
            }
            let start = match feed {
                Feed::Tensor(view) => view.bytes().as_ptr().cast_mut(),
                Feed::Strings(_, texts) => {
                    let references =
                        self.fed_strings[i].as_mut().ok_or_else(|| bad("is not of strings".into()))?;
                    push_strings(&self.strings, texts, references)
                        .ok_or_else(|| bad("has strings of more bytes than were planned".into()))?;
                    references.as_mut_ptr()
                }
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
    plan.arena_bytes.max(weights::load_scratch_bytes(plan, threads))
}

fn make_slots(plan: &Plan, arena: &mut Buffer, weights: &mut Buffer) -> Vec<Slot> {
    let arena = arena.as_mut_ptr();
    let weights = weights.as_mut_ptr();
    let slots = plan.slots.iter().map(|slot| {
        let bytes = slot.info.shape.elements() * slot.info.dtype.bytes();
        let (start, capacity_bytes) = match slot.home {
            Home::Arena(offset) => (arena.wrapping_add(offset), bytes),
            Home::Weight(i) => (weights.wrapping_add(plan.weights[i].offset), plan.weights[i].bytes),
            Home::Fed(_) | Home::Streamed => (std::ptr::null_mut(), bytes),
        };
        Slot {
            start,
            dtype: slot.info.dtype,
            shape: Cell::new(slot.info.shape),
            place: slot.info.place,
            capacity_bytes,
        }
    });
    slots.collect()
}

/// Puts the texts of string constants into the pool and their references where the plan has them.
fn place_strings(plan: &Plan, weights: &mut [u8], pool: &StringPool) -> Result<(), OpError> {
    for weight in &plan.weights {
        let ConstantData::Strings(texts) = &weight.constant.data else { continue };
        let references = &mut weights[weight.offset..weight.offset + weight.bytes];
        push_strings(pool, texts, references)
            .ok_or(OpError::Internal("string constants were not planned for"))?;
    }
    Ok(())
}

/// References for `out`'s elements, the last text repeated; `None` when the pool is full.
fn push_strings(pool: &StringPool, texts: &[Box<[u8]>], out: &mut [u8]) -> Option<()> {
    let mut last = StringRef::default();
    let mut texts = texts.iter();
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
        let shape = fact.dims.concrete().ok_or(OpError::Internal("a shape is open while the model runs"))?;
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
