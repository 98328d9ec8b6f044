//! The tensors of a plan in memory, and running its steps over them. Each body of a step has a frame of its own.

use std::cell::Cell;
use std::ptr::NonNull;

use tightfit_core::{DType, StopFlag, StringRef};
use tightfit_kernels::ThreadPool;

use super::loaded::Loaded;
use super::stream::{StepStream, Window};
use crate::error::GraphError;
use crate::ir::RegionKind;
use crate::operator::Growth;
use crate::operator::growing::{Growing, infer_shapes};
use crate::operator::random::{Generator, StepGenerator};
use crate::operator::rooms::{Rooms, nowhere};
use crate::operator::strings::{Mark, StringPool};
use crate::operator::tables::Tables;
use crate::operator::{Held, OpError, Operator, Run, Slot, WeightStream};
use crate::plan::{Action, Plan, PlanOptions, RegionPlan, SlotPlan, Step, Storage};

/// The tensors of a plan. The plan is handed in anew with each call: it is always the one that the frame was made for.
#[derive(Default)]
pub(super) struct Frame {
    pub slots: Vec<Slot>,
    /// The slots of memory that is given, each with the number of the input: their addresses are there only in a run.
    fed: Vec<(usize, usize)>,
    /// The start of the arena, of a body that of its step's scratch.
    arena: Option<NonNull<u8>>,
    /// The slots of values that grow.
    grown: Vec<usize>,
    /// The frames of the bodies of each step that has some.
    bodies: Vec<Vec<Frame>>,
    /// Where the steps that draw random numbers stand, in the order of the steps.
    generators: Vec<StepGenerator>,
}

/// What a run works with besides tensors.
pub(super) struct Running<'a> {
    pub pool: &'a ThreadPool,
    pub window: Option<&'a Window>,
    pub strings: &'a StringPool,
    pub tables: &'a Tables,
    /// The memory of values that grow.
    pub rooms: &'a Rooms,
    /// Ends the run between two steps once it is set.
    pub stop: Option<&'a StopFlag>,
    /// What is done after each step of a body.
    pub between: Option<&'a dyn Fn()>,
}

/// Why a run ended before its last step.
pub(super) enum Halt {
    /// It was asked to.
    Stopped,
    /// A node could not be computed.
    Node { name: String, op: &'static str, source: OpError },
}

impl Halt {
    pub fn at(step: &Step, source: OpError) -> Halt {
        Halt::Node { name: step.name.to_string(), op: step.op_name(), source }
    }
}

// SAFETY: whoever makes a frame owns the arena that its addresses lead into, and takes it along.
unsafe impl Send for Frame {}

impl Frame {
    /// The frame of `plan`, which `loaded` has the constants of, over an arena that starts at `arena`.
    ///
    /// # Errors
    /// [`GraphError::Plan`] for a constant that was not read.
    pub fn new(plan: &Plan, loaded: &Loaded, arena: *mut u8) -> Result<Frame, GraphError> {
        let slots = plan.slots.iter().map(|slot| make_slot(plan, loaded, arena, slot));
        let fed = plan.slots.iter().enumerate().filter_map(|(slot, s)| match s.storage {
            Storage::Fed(input) => Some((slot, input)),
            _ => None,
        });
        let steps = plan.steps.iter().filter_map(|step| step.region().map(|region| (step, region)));
        let bodies = steps.map(|(step, region)| {
            let arena = arena.wrapping_add(step.scratch.0);
            region.bodies.iter().map(|body| Frame::new(body, loaded, arena)).collect()
        });
        let drawing = plan.steps.iter().enumerate().filter(|(_, step)| step.draws());
        let generators = drawing.map(|(position, step)| StepGenerator {
            step: position,
            name: step.name.clone(),
            generator: Generator::default(),
        });
        Ok(Frame {
            slots: slots.collect::<Result<_, _>>()?,
            fed: fed.collect(),
            grown: (0..plan.slots.len()).filter(|slot| plan.slots[*slot].storage == Storage::Grown).collect(),
            arena: NonNull::new(arena),
            bodies: bodies.collect::<Result<_, _>>()?,
            generators: generators.collect(),
        })
    }

    /// Makes every sequence of random numbers begin anew.
    pub fn restart_generators(&self) {
        self.generators.iter().for_each(|of| of.generator.restart());
        self.bodies.iter().flatten().for_each(Frame::restart_generators);
    }

    /// Takes the generators out, those of bodies too.
    pub fn into_generators(mut self) -> Vec<StepGenerator> {
        let mut generators = std::mem::take(&mut self.generators);
        generators.extend(self.bodies.into_iter().flatten().flat_map(Frame::into_generators));
        generators
    }

    /// Goes on where these generators of another plan of the model stand.
    pub fn go_on_from(&mut self, before: &mut Vec<StepGenerator>) {
        for own in &mut self.generators {
            if let Some(place) = before.iter().position(|of| of.name == own.name) {
                own.generator = before.swap_remove(place).generator;
            }
        }
        self.bodies.iter_mut().flatten().for_each(|body| body.go_on_from(before));
    }

    /// The generator of a step that draws random numbers.
    fn generator(&self, step: usize) -> Option<&Generator> {
        let place = self.generators.binary_search_by_key(&step, |of| of.step).ok()?;
        self.generators.get(place).map(|of| &of.generator)
    }

    /// Says where what is fed is: `start` gives the address of each input.
    pub fn feed(&self, plan: &Plan, start: impl Fn(usize) -> *mut u8) {
        for (slot, input) in &self.fed {
            let info = &plan.slots[*slot].info;
            self.slots[*slot].start.set(start(*input));
            self.slots[*slot].capacity_bytes.set(info.shape.elements() * info.dtype.bytes());
        }
    }

    /// Forgets the caller's memory.
    pub fn forget_feeds(&self) {
        for (slot, _) in &self.fed {
            self.slots[*slot].start.set(std::ptr::null_mut());
            self.slots[*slot].capacity_bytes.set(0);
        }
    }

    /// Runs a step.
    pub fn run_step(&self, plan: &Plan, position: usize, running: &Running<'_>) -> Result<(), Halt> {
        if running.stop.is_some_and(StopFlag::is_set) {
            return Err(Halt::Stopped);
        }
        let step = &plan.steps[position];
        match &step.action {
            Action::Operator(operator) if step.grows => {
                let last = |slot| plan.ends_of(position).any(|end| end == slot);
                self.call_growing(plan, position, &**operator, &last, running)
                    .map_err(|source| Halt::at(step, source))?;
            }
            Action::Operator(operator) => {
                self.call(plan, position, &**operator, running).map_err(|source| Halt::at(step, source))?;
            }
            Action::Region(region) => self.run_region(plan, step, region, running)?,
        }
        if step.grows {
            plan.ends_of(position).for_each(|slot| self.slots[slot].let_go(running.rooms));
        }
        Ok(())
    }

    /// Runs a body.
    fn run(&self, plan: &Plan, running: &Running<'_>) -> Result<(), Halt> {
        (0..plan.steps.len()).try_for_each(|position| {
            self.run_step(plan, position, running)?;
            running.between.inspect(|between| between());
            Ok(())
        })
    }

    fn call(
        &self,
        plan: &Plan,
        position: usize,
        operator: &dyn Operator,
        running: &Running<'_>,
    ) -> Result<(), OpError> {
        let step = &plan.steps[position];
        let stream = step.stream.as_ref().map(|plan| StepStream { window: running.window, plan });
        let (offset, bytes) = step.scratch;
        let arena = self.arena.ok_or(OpError::Internal("a plan has no arena"))?;
        // SAFETY: `plan::validate` guarantees that the scratch lies in the arena (rule 1) and apart from all that the step
        // reads and writes and from all that is read later (rule 3).
        let scratch = unsafe { std::slice::from_raw_parts_mut(arena.as_ptr().add(offset), bytes) };
        let mut run = Run {
            pool: running.pool,
            slots: &self.slots,
            inputs: &step.inputs,
            outputs: &step.outputs,
            in_place_input: step.in_place_input,
            stream: stream.as_ref().map(|s| s as &dyn WeightStream),
            scratch: Some(scratch),
            strings: running.strings,
            tables: running.tables,
            rooms: None,
            generator: operator.seeds().and_then(|_| self.generator(position)),
        };
        run.begin();
        if step.is_dynamic {
            if operator.reshape(&mut run).is_none() {
                infer_shapes(operator, &run)?;
            }
            self.check_shapes(plan, step)?;
        }
        if step.is_alias { Ok(()) } else { operator.run(&mut run) }
    }

    /// Calls the operator of a step that grows. `is_last` tells of a slot whether nothing needs it after the step.
    fn call_growing(
        &self,
        plan: &Plan,
        position: usize,
        operator: &dyn Operator,
        is_last: &dyn Fn(usize) -> bool,
        running: &Running<'_>,
    ) -> Result<(), OpError> {
        let step = &plan.steps[position];
        for slot in &step.outputs {
            self.slots[*slot].let_go(running.rooms);
            self.slots[*slot].shape.set(plan.slots[*slot].info.shape);
        }
        let mut run = Run {
            pool: running.pool,
            slots: &self.slots,
            inputs: &step.inputs,
            outputs: &step.outputs,
            in_place_input: None,
            stream: None,
            scratch: None,
            strings: running.strings,
            tables: running.tables,
            rooms: Some(running.rooms),
            generator: operator.seeds().and_then(|_| self.generator(position)),
        };
        let PlanOptions { threads, isa, .. } = plan.options;
        let growing = Growing { threads, isa, is_last, check: &|| self.check_shapes(plan, step) };
        growing.call(operator, &mut run, running.rooms)
    }

    /// Checks that an output whose shape does not depend on data has the planned one: later steps take it as it was planned.
    fn check_shapes(&self, plan: &Plan, step: &Step) -> Result<(), OpError> {
        let differs = |slot: &&usize| {
            let planned = &plan.slots[**slot];
            !planned.is_bound && !self.slots[**slot].has_shape(&planned.info.shape)
        };
        match step.outputs.iter().find(differs) {
            None => Ok(()),
            Some(_) => Err(UNPLANNED_SHAPE),
        }
    }

    fn run_region(
        &self,
        plan: &Plan,
        step: &Step,
        region: &RegionPlan,
        running: &Running<'_>,
    ) -> Result<(), Halt> {
        let at = |source| Halt::at(step, source);
        let rooms = running.rooms;
        let own = region.kind.own_inputs();
        self.let_go_bodies(region.number, rooms);
        let body = |number: usize| {
            let frame = self.bodies.get(region.number).and_then(|frames| frames.get(number));
            region.bodies.get(number).zip(frame).ok_or_else(|| at(OpError::Internal("a step has its bodies")))
        };
        match region.kind {
            RegionKind::Branch => {
                let chosen = self.chosen(step, region).map_err(at)?;
                let (branch, frame) = body(chosen)?;
                frame.give(branch, |input| &self.slots[step.inputs[input + own]], rooms).map_err(at)?;
                let mark = running.strings.mark();
                frame.run(branch, running)?;
                self.take(plan, step, branch, frame, rooms).map_err(at)?;
                self.release(step, running, mark).map_err(at)
            }
            RegionKind::Loop => {
                let ((condition, condition_frame), (turn, frame)) = (body(0)?, body(1)?);
                let variables = step.outputs.len();
                for (input, output) in step.inputs.iter().zip(&step.outputs) {
                    carry(&self.slots[*input], &self.slots[*output], &plan.slots[*output], rooms)
                        .map_err(at)?;
                }
                let given = |input: usize| {
                    let slots = if input < variables { &step.outputs } else { &step.inputs };
                    &self.slots[slots[input]]
                };
                let mark = running.strings.mark();
                // What one turn has done, the next ones do.
                let later = Running { between: None, ..*running };
                let mut running = running;
                loop {
                    if running.stop.is_some_and(StopFlag::is_set) {
                        return Err(Halt::Stopped);
                    }
                    condition_frame.give(condition, given, rooms).map_err(at)?;
                    condition_frame.run(condition, running)?;
                    condition_frame.let_go(rooms);
                    if !condition_frame.is_true(condition).map_err(at)? {
                        return Ok(());
                    }
                    frame.give(turn, given, rooms).map_err(at)?;
                    // The body alone holds what its variables were: its last reader may write over it, or let it go.
                    step.outputs.iter().for_each(|slot| self.slots[*slot].let_go(rooms));
                    frame.run(turn, running)?;
                    self.take(plan, step, turn, frame, rooms).map_err(at)?;
                    self.release(step, running, mark).map_err(at)?;
                    running = &later;
                }
            }
        }
    }

    /// Gives a body its inputs, each a tensor of the step's.
    fn give<'s>(&self, plan: &Plan, given: impl Fn(usize) -> &'s Slot, rooms: &Rooms) -> Result<(), OpError> {
        for (input, (_, slot)) in plan.inputs.iter().enumerate() {
            let (planned, from, to) = (&plan.slots[*slot], given(input), &self.slots[*slot]);
            let fits = match planned.storage {
                Storage::Grown => to.share(from, rooms),
                _ if planned.is_bound => from.elements() <= planned.info.shape.elements(),
                _ => from.has_shape(&planned.info.shape),
            };
            if !fits {
                return Err(UNPLANNED_SHAPE);
            }
            if !to.is_shaped_as(from) {
                to.shape.set(from.shape.get());
            }
        }
        self.feed(plan, |input| given(input).start.get());
        Ok(())
    }

    /// Makes what a body returns the outputs of the step.
    fn take(
        &self,
        plan: &Plan,
        step: &Step,
        body: &Plan,
        frame: &Frame,
        rooms: &Rooms,
    ) -> Result<(), OpError> {
        for ((_, slot), output) in body.outputs.iter().zip(&step.outputs) {
            carry(&frame.slots[*slot], &self.slots[*output], &plan.slots[*output], rooms)?;
        }
        frame.let_go(rooms);
        Ok(())
    }

    /// Gives back the strings that a body has made and that the step's outputs do not refer to.
    fn release(&self, step: &Step, running: &Running<'_>, mark: Mark) -> Result<(), OpError> {
        let kept = |visit: &mut dyn FnMut(&mut StringRef)| {
            for slot in step.outputs.iter().map(|slot| &self.slots[*slot]) {
                let bytes = slot.shape.get().elements() * slot.dtype.bytes();
                if slot.dtype != DType::String || bytes > slot.capacity_bytes.get() {
                    continue;
                }
                for at in (0..bytes).step_by(size_of::<StringRef>()) {
                    // SAFETY: an output of the step, whole and inside its memory by the check above (rules 1 and 3 of
                    // `plan::validate`), and nobody else accesses it between two bodies.
                    let place = unsafe { slot.start.get().add(at).cast::<StringRef>() };
                    // SAFETY: as above.
                    let mut string = unsafe { place.read_unaligned() };
                    let before = string;
                    visit(&mut string);
                    // What is a constant's is not written to.
                    if string != before {
                        // SAFETY: as above.
                        unsafe { place.write_unaligned(string) };
                    }
                }
            }
        };
        // SAFETY: no operator runs, which alone hold texts. What a body has made is read only through what the step
        // returns: its values are made anew in each turn, and what it was given was there before.
        unsafe { running.strings.release(mark, &kept)? };
        Ok(())
    }

    /// Lets go of all rooms that it holds.
    pub fn let_go(&self, rooms: &Rooms) {
        self.grown.iter().for_each(|slot| self.slots[*slot].let_go(rooms));
    }

    /// The same, and of all that its bodies hold, after a run that did not end.
    pub fn let_go_all(&self, rooms: &Rooms) {
        self.let_go(rooms);
        (0..self.bodies.len()).for_each(|number| self.let_go_bodies(number, rooms));
    }

    fn let_go_bodies(&self, number: usize, rooms: &Rooms) {
        let bodies = self.bodies.get(number).into_iter().flatten();
        bodies.for_each(|frame| frame.let_go_all(rooms));
    }

    /// The number of the body that a branch takes.
    fn chosen(&self, step: &Step, region: &RegionPlan) -> Result<usize, OpError> {
        let selector = step.inputs.first().and_then(|slot| self.slots.get(*slot));
        let selector = selector.ok_or(OpError::Internal("a branch has a selector"))?;
        let last = region.bodies.len() - 1;
        Ok(match (selector.dtype, selector.dense_bytes()?) {
            (DType::Bool, [bool]) => usize::from(*bool == 0),
            (DType::I32, [a, b, c, d]) => {
                let number = i32::from_le_bytes([*a, *b, *c, *d]);
                usize::try_from(number).unwrap_or(last).min(last)
            }
            _ => return Err(OpError::Internal("a branch is chosen by one bool or int32")),
        })
    }

    /// What a loop's condition has returned.
    fn is_true(&self, plan: &Plan) -> Result<bool, OpError> {
        let slot = plan.outputs.first().and_then(|(_, slot)| self.slots.get(*slot));
        match slot.map(Slot::dense_bytes) {
            Some(Ok([bool])) => Ok(*bool != 0),
            _ => Err(OpError::Internal("a loop's condition is one bool")),
        }
    }
}

const UNPLANNED_SHAPE: OpError =
    OpError::Internal("a shape that does not depend on data is not as it was planned");

fn make_slot(plan: &Plan, loaded: &Loaded, arena: *mut u8, slot: &SlotPlan) -> Result<Slot, GraphError> {
    let bytes = slot.info.shape.elements() * slot.info.dtype.bytes();
    let (start, capacity_bytes) = match slot.storage {
        Storage::Arena(offset) => (arena.wrapping_add(offset), bytes),
        Storage::Weight(i) => {
            let weight = &plan.weights[i];
            let bytes = if slot.info.held == Held::Packed { weight.bytes } else { bytes };
            (loaded.weights().start(weight)?, bytes)
        }
        Storage::Fed(_) | Storage::Streamed => (std::ptr::null_mut(), 0),
        Storage::Grown => (nowhere(), 0),
    };
    let growth = if slot.storage == Storage::Grown { Growth::OPEN } else { Growth::PLANNED };
    Ok(Slot {
        start: Cell::new(start),
        dtype: slot.info.dtype,
        shape: Cell::new(slot.info.shape),
        held: slot.info.held,
        capacity_bytes: Cell::new(capacity_bytes),
        is_taken: Cell::new(false),
        growth: Cell::new(growth),
    })
}

/// Copies one tensor's shape and elements into another, unless they are there already.
fn copy(from: &Slot, to: &Slot, planned: &SlotPlan) -> Result<(), OpError> {
    if from.dtype != to.dtype || (!planned.is_bound && !from.has_shape(&planned.info.shape)) {
        return Err(UNPLANNED_SHAPE);
    }
    if planned.is_bound || !to.is_shaped_as(from) {
        to.set_shape(from.shape.get())?;
    }
    let bytes = from.dense_bytes()?;
    if bytes.len() > to.capacity_bytes.get() {
        return Err(UNPLANNED_SHAPE);
    }
    if from.start.get() != to.start.get() {
        // SAFETY: it fits the output's memory by the check above, and nothing else of the step uses that (rules 1
        // and 3 of `plan::validate`): what is copied is an input of the step, in a body's arena, or given to the body.
        unsafe { to.start.get().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
    Ok(())
}

/// Makes a tensor what another one is: where it grows they share a room, which nobody writes who does not hold it alone.
fn carry(from: &Slot, to: &Slot, planned: &SlotPlan, rooms: &Rooms) -> Result<(), OpError> {
    if !to.grows() {
        return copy(from, to, planned);
    }
    if from.dtype != to.dtype {
        return Err(UNPLANNED_SHAPE);
    }
    if !to.share(from, rooms) {
        to.let_go(rooms);
        to.set_shape(from.shape.get())?;
        to.make_room(rooms)?;
        return copy(from, to, planned);
    }
    to.shape.set(from.shape.get());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use crate::import::text_graph::{COUNT, context, graph};

    #[test]
    fn the_steps_of_a_first_turn_are_followed_by_a_look() {
        let mut context = context(graph(COUNT, &["neg"]).unwrap(), 1);
        let looks = RefCell::new(String::new());
        let look = |of| looks.borrow_mut().push(of);
        // The comparison and the sum of one turn, the loop, and what comes after it.
        for _ in 0..2 {
            context.run_tended(&[], &mut |_| look('s'), &|| look('b')).unwrap();
            assert_eq!(std::mem::take(&mut *looks.borrow_mut()), "bbss");
            assert_eq!(context.output(0).unwrap().as_slice::<i32>(), Some(&[-3][..]));
        }
    }
}
