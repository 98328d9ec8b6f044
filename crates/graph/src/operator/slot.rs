//! A tensor of a running graph: where it is, and what shape it has in this run.

use std::cell::Cell;

use tightfit_core::{DType, Shape};

use super::call::Held;

/// One tensor of a running graph.
pub(crate) struct Slot {
    /// Its first byte; valid for `capacity_bytes` while a step runs that uses it.
    pub start: Cell<*mut u8>,
    pub dtype: DType,
    /// The shape of this run.
    pub shape: Cell<Shape>,
    pub held: Held,
    /// Bytes in memory at `start`; 0 for a tensor of the caller's while no run goes on.
    pub capacity_bytes: Cell<usize>,
    /// True once the step at hand has handed it out to be written.
    pub is_taken: Cell<bool>,
    /// Where it is, if its size is only known in a run.
    pub growth: Cell<Growth>,
}

// SAFETY: whoever makes slots owns the memory they lead into, and takes it along; what is the caller's is there only
// during a run.
unsafe impl Send for Slot {}

/// Whether a value grows, and where it is then: the number of its room, or one of the values below. (Four bytes, which a
/// [`Slot`] has to spare.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth(u32);

impl Growth {
    /// It has a place of its own that was planned.
    pub const PLANNED: Growth = Growth(u32::MAX);
    /// It grows, and its shape in this run is not known yet.
    pub const OPEN: Growth = Growth(u32::MAX - 1);
    /// Its shape is known, and it has no room yet.
    pub const SHAPED: Growth = Growth(u32::MAX - 2);

    /// It is in the room of this number.
    pub fn in_room(number: u32) -> Growth {
        Growth(number)
    }

    /// The room that it is in.
    pub fn room(self) -> Option<u32> {
        (self.0 < Growth::SHAPED.0).then_some(self.0)
    }
}
