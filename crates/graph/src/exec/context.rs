//! A loaded model being run.

use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, StopFlag, StringRef, TensorView};
use tightfit_kernels::{FlushDenormals, ThreadPool};

use super::feed::{Feed, cut};
use super::frame::{Frame, Halt, Running};
use super::loaded::{Loaded, arena_bytes, check};
use super::stream::Window;
use crate::error::GraphError;
use crate::operator::OpError;
use crate::operator::rooms::Rooms;
use crate::operator::strings::{StringPool, Texts, refer};
use crate::operator::tables::Tables;
use crate::plan::Plan;

/// The memory in which a loaded model is run: values, fed strings, the window of streamed weights. Running allocates
/// nothing.
pub struct Context {
    loaded: Arc<Loaded>,
    frame: Frame,
    arena: Arena,
    /// References of fed strings, for each input that has them.
    fed_strings: Vec<Option<Buffer>>,
    fed_string_bytes: usize,
    /// What each variable is, by its name.
    states: Vec<Kept>,
    strings: StringPool,
    tables: Tables,
    window: Option<Window>,
    rooms: Rooms,
    budget: MemoryBudget,
    has_failed: bool,
    /// True from the end of a run that did not fail until the next one.
    has_outputs: bool,
    /// Ends a run between two steps once it is set.
    stop: Option<StopFlag>,
}

/// What a variable is between two runs.
struct Kept {
    name: String,
    memory: Buffer,
    /// False until it has a value.
    is_set: bool,
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
            frame: Frame::default(),
            arena: Arena::new(Buffer::new(budget, "arena", loaded.plan().arena_bytes)?),
            fed_strings: Vec::new(),
            fed_string_bytes,
            states: Vec::new(),
            strings: StringPool::new(Texts::default(), Buffer::new(budget, "strings", own)?, budget),
            tables: Tables::new(budget),
            window: None,
            rooms: Rooms::new(budget, 0, 0),
            budget: budget.clone(),
            has_failed: false,
            has_outputs: false,
            stop: None,
            loaded,
        };
        context.install()?;
        context.reset()?;
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
        let mut other = Context::new(self.loaded.clone(), &self.budget, self.fed_string_bytes)?;
        other.grow_in(self.rooms.budget());
        Ok(other)
    }

    /// Changes to another plan of the same model, for another batch. Constants that both have stay where they are, and
    /// so does the arena where it is large enough.
    ///
    /// # Errors
    /// As [`Loaded::new`] and [`Context::new`]; the context does not run any more then.
    pub fn replan(&mut self, plan: Plan) -> Result<(), GraphError> {
        self.has_failed = true;
        self.has_outputs = false;
        let mut generators = std::mem::take(&mut self.frame).into_generators();
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
            let memory = Buffer::new(&self.budget, "strings", own)?;
            self.strings = StringPool::new(Texts::default(), memory, &self.budget);
        }
        self.install()?;
        self.frame.go_on_from(&mut generators);
        self.has_failed = false;
        Ok(())
    }

    /// From now on the memory of values whose size is only known in a run is reserved from `budget`, which may be a child of
    /// the one that the context was made with.
    pub fn grow_in(&mut self, budget: &MemoryBudget) {
        self.has_outputs = false;
        self.frame.let_go_all(&self.rooms);
        self.rooms.reserve_from(budget);
    }

    /// From now on a run ends between two steps, with [`GraphError::Stopped`], once `flag` is set.
    pub fn stop_at(&mut self, flag: impl Into<StopFlag>) {
        self.stop = Some(flag.into());
    }

    /// Makes the memory that is there hold what the plan says.
    fn install(&mut self) -> Result<(), GraphError> {
        let plan = self.loaded.plan();
        self.window = Window::new(plan, &self.budget)?;
        let (rooms, most) = plan.rooms();
        self.rooms = Rooms::new(self.rooms.budget(), rooms, most);
        self.frame = Frame::new(plan, &self.loaded, self.arena.start)?;
        self.strings.set_constants(self.loaded.weights().texts().clone());
        let references = plan.inputs.iter().map(|(_, slot)| {
            let info = &plan.slots[*slot].info;
            let bytes = info.shape.elements() * info.dtype.bytes();
            (info.dtype == DType::String).then(|| Buffer::new(&self.budget, "strings", bytes)).transpose()
        });
        // A variable keeps its value under another plan.
        let mut before = std::mem::take(&mut self.states);
        for state in &plan.states {
            let info = &plan.slots[state.before].info;
            let bytes = info.shape.elements() * info.dtype.bytes();
            let kept = before.iter().position(|kept| kept.name == state.name && kept.memory.len() == bytes);
            self.states.push(match kept {
                Some(place) => before.swap_remove(place),
                None => Kept {
                    name: state.name.clone(),
                    memory: Buffer::new(&self.budget, "variables", bytes)?,
                    is_set: false,
                },
            });
        }
        self.fed_strings = references.collect::<Result<_, _>>()?;
        self.tables.install(self.loaded.plan().changed_tables())?;
        Ok(())
    }

    /// Makes every variable what it is before the first run, and random numbers begin anew.
    ///
    /// # Errors
    /// [`GraphError::Node`] when a value cannot be read from its file.
    pub fn reset(&mut self) -> Result<(), GraphError> {
        self.frame.restart_generators();
        self.tables.reset()?;
        for (kept, state) in self.states.iter_mut().zip(&self.loaded.plan().states) {
            kept.is_set = state.initial.is_some();
            let Some(initial) = &state.initial else { continue };
            initial.read_at(0, &mut kept.memory).map_err(|source| GraphError::Node {
                file: self.loaded.file().to_string(),
                node: state.name.clone(),
                op: "Variable".to_string(),
                source: Box::new(source),
            })?;
        }
        Ok(())
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
        self.run_with(feeds, after, None)
    }

    /// The same; `between` is called after the steps of bodies as well, of a loop's in its first turn.
    ///
    /// # Errors
    /// As [`Context::run`].
    pub fn run_tended(
        &mut self,
        feeds: &[Feed<'_>],
        after: &mut dyn FnMut(usize),
        between: &dyn Fn(),
    ) -> Result<(), GraphError> {
        self.run_with(feeds, after, Some(between))
    }

    fn run_with(
        &mut self,
        feeds: &[Feed<'_>],
        after: &mut dyn FnMut(usize),
        between: Option<&dyn Fn()>,
    ) -> Result<(), GraphError> {
        if self.has_failed
            && (self.window.is_some() || self.frame.slots.len() != self.loaded.plan().slots.len())
        {
            return Err(GraphError::Failed);
        }
        // As on TensorFlow's threads; the caller gets its own mode back.
        let _flush = FlushDenormals::new();
        self.has_outputs = false;
        self.strings.clear();
        self.frame.let_go_all(&self.rooms);
        self.rooms.begin_run();
        let result = self.feed(feeds).and_then(|()| self.compute(after, between));
        match result.is_ok() {
            true => self.keep_states(),
            false => {
                self.frame.let_go_all(&self.rooms);
                self.rooms.give_back();
            }
        }
        self.frame.forget_feeds();
        self.has_outputs = result.is_ok();
        result
    }

    fn compute(
        &mut self,
        after: &mut dyn FnMut(usize),
        between: Option<&dyn Fn()>,
    ) -> Result<(), GraphError> {
        let loaded = self.loaded.clone();
        let plan = loaded.plan();
        for position in 0..plan.steps.len() {
            if let Err(halt) = self.run_step(plan, position, between) {
                self.has_failed = true;
                return Err(match halt {
                    Halt::Stopped => GraphError::Stopped,
                    Halt::Node { name, op, source: OpError::Budget(error) } => GraphError::Memory {
                        file: loaded.file().to_string(),
                        node: Some((name, op.to_string())),
                        source: Box::new(error),
                    },
                    Halt::Node { name, op, source } => GraphError::Node {
                        file: loaded.file().to_string(),
                        node: name,
                        op: op.to_string(),
                        source: Box::new(source),
                    },
                });
            }
            after(position);
        }
        Ok(())
    }

    fn run_step(&self, plan: &Plan, position: usize, between: Option<&dyn Fn()>) -> Result<(), Halt> {
        let running = Running {
            pool: self.loaded.pool(),
            window: self.window.as_ref(),
            strings: &self.strings,
            tables: &self.tables,
            rooms: &self.rooms,
            stop: self.stop.as_ref(),
            between,
        };
        self.frame.run_step(plan, position, &running)
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
                    refer(texts, memory, |text| self.strings.push_within(text))
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
                    refer(texts, memory, |text| self.strings.push_within(text))
                        .map(|()| memory.as_mut_ptr())
                        .ok_or_else(too_long)?
                }
                _ => return Err(bad("is of strings, or it is not".into())),
            };
            self.frame.slots[*slot].start.set(start);
        }
        for (kept, state) in self.states.iter_mut().zip(&plan.states) {
            if state.is_read && !kept.is_set {
                return Err(GraphError::Unset { variable: state.name.clone() });
            }
            self.frame.slots[state.before].start.set(kept.memory.as_mut_ptr());
        }
        // Values that are fed inputs under another shape lie in the same memory.
        let start = |slot: usize| self.frame.slots[slot].start.get();
        self.frame.feed(plan, |input| plan.given_slot(input).map_or(std::ptr::null_mut(), start));
        Ok(())
    }

    /// Makes what the variables are after the run what they are before the next one.
    fn keep_states(&mut self) {
        for (kept, state) in self.states.iter_mut().zip(&self.loaded.plan().states) {
            kept.is_set = true;
            let slot = &self.frame.slots[state.after];
            if slot.start.get() == kept.memory.as_mut_ptr() {
                continue;
            }
            // SAFETY: `plan::validate` guarantees that what is left of a run is whole, in the arena or the weights, which
            // the context owns (rule 5), and that it has as many bytes as the variable (`check_inputs`).
            let value = unsafe { std::slice::from_raw_parts(slot.start.get(), kept.memory.len()) };
            kept.memory.copy_from_slice(value);
        }
    }

    /// Output `index` of the plan: `None` before the first run, and after one that failed or a change of the plan.
    pub fn output(&self, index: usize) -> Option<TensorView<'_>> {
        let slot =
            self.frame.slots.get(self.loaded.plan().outputs.get(index)?.1).filter(|_| self.has_outputs)?;
        let shape = slot.shape.get();
        let bytes = shape.elements() * slot.dtype.bytes();
        if bytes > slot.capacity_bytes.get() {
            return None;
        }
        // SAFETY: `plan::validate` guarantees that what is fetched is dense, inside the arena or the weights, which
        // the context owns, and whole after the last step (rules 1 and 5); a run needs the context mutably.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start.get(), bytes) };
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
