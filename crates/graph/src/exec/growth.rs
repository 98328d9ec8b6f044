//! Running the steps that read or make a value that grows.
//!
//! Nothing of them is planned but their order. When the shapes are known the operator says what memory it needs, as the
//! planner would ask it: its scratch and the rooms of its outputs are reserved then, and where it may it works in the room
//! of an input or hands it on.

use tightfit_core::DType;

use super::frame::{Frame, Running, bytes_of};
use crate::operator::rooms::Scratch;
use crate::operator::{Call, Memory, OpError, Operator, Run, Slot, TensorInfo};
use crate::plan::{Plan, Step};

impl Frame {
    /// Calls the operator of a step that grows. `is_last` tells of a slot whether the step is the last one that needs it.
    pub(super) fn call_growing(
        &self,
        plan: &Plan,
        step: &Step,
        operator: &dyn Operator,
        is_last: &dyn Fn(usize) -> bool,
        running: &Running<'_>,
    ) -> Result<(), OpError> {
        let rooms = running.rooms;
        for slot in &step.outputs {
            self.slots[*slot].let_go(rooms);
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
            rooms: Some(rooms),
        };
        run.begin();
        if operator.reshape(&mut run).is_none() {
            self.infer_shapes(step, operator)?;
        }
        self.check_shapes(plan, step)?;
        let memory = self.ask(plan, step, operator, running)?;
        run.need_strings(memory.string_bytes as u64)?;
        if let Some(input) = memory.alias {
            return self.alias(step, operator, input, running);
        }
        let in_place_input = self.in_place_input(step, &memory, is_last, running);
        let scratch = Scratch::new(rooms, memory.scratch_bytes)?;
        // SAFETY: the room is held until `scratch` is dropped, behind the last use of `run`, and by nobody else.
        let bytes = scratch.held().map(|held| unsafe {
            std::slice::from_raw_parts_mut(held.start, memory.scratch_bytes)
        });
        run.scratch = Some(bytes.unwrap_or_default());
        run.in_place_input = in_place_input;
        let over = in_place_input.map(|input| (&self.slots[step.inputs[input]], &self.slots[step.outputs[0]]));
        if let Some((from, to)) = over {
            to.take_over(from);
        }
        let result = operator.run(&mut run);
        if let (Err(_), Some((from, to))) = (&result, over) {
            // The step may be run again: it asks for room for strings before it writes.
            from.take_over(to);
        }
        result?;
        // What is empty need not be written.
        step.outputs.iter().try_for_each(|slot| self.slots[*slot].make_room(rooms))?;
        self.check_shapes(plan, step)
    }

    /// What memory the operator needs for the shapes of this run.
    fn ask(
        &self,
        plan: &Plan,
        step: &Step,
        operator: &dyn Operator,
        running: &Running<'_>,
    ) -> Result<Memory, OpError> {
        let mut infos = running.rooms.infos()?;
        let slots = step.inputs.iter().chain(&step.outputs).map(|slot| &self.slots[*slot]);
        infos.extend(slots.map(|slot| TensorInfo {
            dtype: slot.dtype,
            shape: slot.shape.get(),
            place: slot.place,
        }));
        let (inputs, outputs) = infos.split_at(step.inputs.len());
        Ok(operator.memory(&Call {
            inputs,
            outputs,
            threads: plan.options.threads,
            isa: plan.options.isa,
            window_bytes: usize::MAX,
        }))
    }

    /// Makes the output an input under another shape: in the same room, where that input has one.
    fn alias(
        &self,
        step: &Step,
        operator: &dyn Operator,
        input: usize,
        running: &Running<'_>,
    ) -> Result<(), OpError> {
        let (Some(from), [to]) = (step.inputs.get(input), &step.outputs[..]) else {
            return Err(OpError::Internal("an alias is one output"));
        };
        let (from, to) = (&self.slots[*from], &self.slots[*to]);
        if from.bytes()? != to.bytes()? {
            // The shapes do not go together, which inference knows how to say.
            self.infer_shapes(step, operator)?;
            return Err(OpError::Internal("an alias has other bytes than its tensor"));
        }
        let is_any_bits = |dtype: DType| !matches!(dtype, DType::Bool | DType::String);
        let is_same = from.dtype == to.dtype || (is_any_bits(from.dtype) && is_any_bits(to.dtype));
        if to.grows() && is_same && to.share(from, running.rooms) {
            return Ok(());
        }
        to.make_room(running.rooms)?;
        let bytes = bytes_of(from)?;
        // SAFETY: as many bytes are in the output's memory, which is apart from all that the step reads: a room that it alone
        // holds, or a place in the arena (rule 3 of `plan::validate`).
        unsafe { to.start.get().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// The input whose room the first output may take over: nobody else holds it or reads it again.
    fn in_place_input(
        &self,
        step: &Step,
        memory: &Memory,
        is_last: &dyn Fn(usize) -> bool,
        running: &Running<'_>,
    ) -> Option<usize> {
        let to = &self.slots[*step.outputs.first()?];
        let fits = |from: &Slot| {
            to.grows()
                && from.growth.get().room().is_some_and(|room| running.rooms.is_held_once(room))
                && from.dtype.bytes() == to.dtype.bytes()
                && from.shape.get() == to.shape.get()
        };
        let is_once = |slot: usize| step.inputs.iter().filter(|other| **other == slot).count() == 1;
        memory.overwrites.iter().copied().find(|input| {
            let slot = step.inputs.get(*input).copied();
            slot.is_some_and(|slot| is_last(slot) && is_once(slot) && fits(&self.slots[slot]))
        })
    }
}
