//! Calling an operator one of whose tensors grows.
//!
//! Nothing of the call is planned. When the shapes are known the operator says what memory it needs, as the planner would
//! ask it: its scratch and the rooms of its outputs are reserved then, and where it may it works in the room of an input
//! or hands it on.

use tightfit_core::DType;
use tightfit_kernels::Isa;

use super::ranks;
use super::rooms::{Rooms, Scratch};
use super::slot::Slot;
use super::{Call, Memory, OpError, Operator, Run, TensorInfo};
use crate::dim::Dims;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};

/// How an operator is called.
pub(crate) struct Growing<'a> {
    pub threads: usize,
    pub isa: Isa,
    /// True for a slot that nothing needs after the call.
    pub is_last: &'a dyn Fn(usize) -> bool,
    /// Refuses outputs that have other shapes than were planned where one was.
    pub check: &'a dyn Fn() -> Result<(), OpError>,
}

impl Growing<'_> {
    /// Calls `operator`. The outputs have no room, and the shapes that were planned.
    ///
    /// # Errors
    /// What the operator finds, and [`OpError::Budget`] when memory is not free.
    pub fn call(&self, operator: &dyn Operator, run: &mut Run<'_>, rooms: &Rooms) -> Result<(), OpError> {
        run.begin();
        ranks::check_in_run(operator.name(), run)?;
        if operator.reshape(run).is_none() {
            infer_shapes(operator, run)?;
        }
        (self.check)()?;
        let memory = self.ask(operator, run, rooms)?;
        if let Some(input) = memory.alias {
            return alias(operator, run, input, rooms);
        }
        let in_place_input = self.in_place_input(run, &memory, rooms);
        let scratch = Scratch::new(rooms, memory.scratch_bytes)?;
        // SAFETY: the room is held until `scratch` is dropped, after the call, and by nobody else; `run` forgets it below.
        run.scratch = Some(unsafe { std::slice::from_raw_parts_mut(scratch.start(), memory.scratch_bytes) });
        run.in_place_input = in_place_input;
        let slots = run.slots;
        let over = in_place_input.map(|input| (&slots[run.inputs[input]], &slots[run.outputs[0]]));
        if let Some((from, to)) = over {
            to.take_over(from);
        }
        let result = operator.run(run);
        run.scratch = None;
        if let (Err(_), Some((from, to))) = (&result, over) {
            // The input's room goes back to it, which lets go of it as of any other.
            from.take_over(to);
        }
        result?;
        // What is empty need not be written.
        run.outputs.iter().try_for_each(|slot| slots[*slot].make_room(rooms))?;
        (self.check)()
    }

    /// What memory the operator needs for the shapes of this run.
    fn ask(&self, operator: &dyn Operator, run: &Run<'_>, rooms: &Rooms) -> Result<Memory, OpError> {
        let mut infos = rooms.infos()?;
        let slots = run.inputs.iter().chain(run.outputs).map(|slot| &run.slots[*slot]);
        infos.extend(slots.map(|slot| TensorInfo {
            dtype: slot.dtype,
            shape: slot.shape.get(),
            is_bound: false,
            held: slot.held,
        }));
        let (inputs, outputs) = infos.split_at(run.inputs.len());
        let (threads, isa) = (self.threads, self.isa);
        Ok(operator.memory(&Call { inputs, outputs, threads, isa, window_bytes: usize::MAX }))
    }

    /// The input whose room the first output may take over: nobody else holds it or reads it again.
    fn in_place_input(&self, run: &Run<'_>, memory: &Memory, rooms: &Rooms) -> Option<usize> {
        let to = &run.slots[*run.outputs.first()?];
        let fits = |from: &Slot| {
            to.grows()
                && from.growth.get().room().is_some_and(|room| rooms.is_held_once(room))
                && from.dtype.bytes() == to.dtype.bytes()
                && from.shape.get() == to.shape.get()
        };
        let is_once = |slot: usize| run.inputs.iter().filter(|other| **other == slot).count() == 1;
        memory.overwrites.iter().find(|input| {
            let slot = run.inputs.get(*input).copied();
            slot.is_some_and(|slot| (self.is_last)(slot) && is_once(slot) && fits(&run.slots[slot]))
        })
    }
}

/// Makes the output an input under another shape: in the same room, where that input has one.
fn alias(operator: &dyn Operator, run: &mut Run<'_>, input: usize, rooms: &Rooms) -> Result<(), OpError> {
    let (Some(from), [to]) = (run.inputs.get(input), run.outputs) else {
        return Err(OpError::Internal("an alias is one output"));
    };
    let (from, to) = (&run.slots[*from], &run.slots[*to]);
    if from.bytes()? != to.bytes()? {
        // The shapes do not go together, which inference knows how to say.
        infer_shapes(operator, run)?;
        return Err(OpError::Internal("an alias has other bytes than its tensor"));
    }
    let is_any_bits = |dtype: DType| !matches!(dtype, DType::Bool | DType::String);
    let is_same = from.dtype == to.dtype || (is_any_bits(from.dtype) && is_any_bits(to.dtype));
    let shape = to.shape.get();
    if to.grows() && is_same && to.share(from, rooms) {
        to.shape.set(shape);
        return Ok(());
    }
    to.make_room(rooms)?;
    let view = run.input(input)?;
    run.out_bytes(0)?.copy_from_slice(view.bytes());
    Ok(())
}

/// The shapes of outputs that depend on data, from what the inputs are in this run, by inference.
///
/// # Errors
/// What inference refuses.
pub(crate) fn infer_shapes(operator: &dyn Operator, run: &Run<'_>) -> Result<(), OpError> {
    let facts: Vec<Fact> = run.inputs.iter().map(|slot| actual_fact(&run.slots[*slot])).collect();
    let outputs = operator.infer(&facts.iter().collect::<Vec<_>>())?;
    for (slot, fact) in run.outputs.iter().zip(outputs) {
        let slot = &run.slots[*slot];
        match fact.planned_dims().concrete() {
            Some(shape) => slot.set_shape(shape)?,
            // The run finds it.
            None if slot.grows() => {}
            None => return Err(OpError::Internal("a shape is open while the model runs")),
        }
    }
    Ok(())
}

fn actual_fact(slot: &Slot) -> Fact {
    let shape = slot.shape.get();
    let bytes = shape.elements() * slot.dtype.bytes();
    let is_small = bytes <= KNOWN_VALUE_MAX_BYTES.min(slot.capacity_bytes.get());
    match slot.dense_bytes() {
        Ok(bytes) if is_small && slot.dtype != DType::String => Fact::known(slot.dtype, shape, bytes),
        _ => Fact::new(slot.dtype, Dims::from(shape)),
    }
}
