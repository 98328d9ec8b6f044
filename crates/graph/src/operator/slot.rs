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

impl Slot {
    /// Its shape, where it stands: a copy of one takes longer than many a kernel.
    fn shape_here(&self) -> &Shape {
        // SAFETY: who calls this, below, only looks at it, and nobody gives a shape meanwhile: a cell stays in one thread.
        unsafe { &*self.shape.as_ptr() }
    }

    /// Elements that it has in this run.
    pub fn elements(&self) -> usize {
        self.shape_here().elements()
    }

    /// How many dimensions it has in this run.
    pub fn rank(&self) -> usize {
        self.shape_here().rank()
    }

    /// Its size along an axis in this run; `None` for one that it does not have.
    pub fn dim(&self, axis: usize) -> Option<usize> {
        self.shape_here().get(axis).copied()
    }

    /// True where this is its shape in this run.
    pub fn has_shape(&self, shape: &Shape) -> bool {
        **self.shape_here() == **shape
    }

    /// True where both have one shape in this run.
    pub fn is_shaped_as(&self, other: &Slot) -> bool {
        self.has_shape(other.shape_here())
    }

    /// True where it goes with `output`, to whose shape it is broadcast, element for element, or is one element for all.
    pub fn is_flat_in(&self, output: &Slot) -> bool {
        let significant = |slot: &Slot| slot.shape_here().iter().position(|dim| *dim != 1);
        let (own, whole) = (self.shape_here(), output.shape_here());
        match (significant(self), significant(output)) {
            (None, _) => true,
            (Some(own_first), Some(first)) => own[own_first..] == whole[first..],
            (Some(_), None) => false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(dims: &[usize]) -> Slot {
        Slot {
            start: Cell::new(std::ptr::null_mut()),
            dtype: DType::F32,
            shape: Cell::new(Shape::new(dims).unwrap()),
            held: Held::Value,
            capacity_bytes: Cell::new(0),
            is_taken: Cell::new(false),
            growth: Cell::new(Growth::PLANNED),
        }
    }

    #[test]
    fn operands_are_flat_where_nothing_is_repeated_or_all_is() {
        let is_flat = |own: &[usize], output: &[usize]| slot(own).is_flat_in(&slot(output));
        assert!(is_flat(&[2, 3], &[2, 3]) && is_flat(&[3], &[1, 3]) && is_flat(&[1, 1, 3], &[1, 1, 3]));
        assert!(is_flat(&[], &[2, 3]) && is_flat(&[1, 1], &[2, 3]) && is_flat(&[1], &[1]));
        assert!(!is_flat(&[3], &[2, 3]) && !is_flat(&[2, 1], &[2, 3]) && !is_flat(&[1, 3], &[3, 3]));
        assert!(is_flat(&[0], &[0]) && is_flat(&[], &[0]) && !is_flat(&[3, 1], &[3, 3]));
        // Of as many elements, and repeated all the same.
        assert!(!is_flat(&[3, 1], &[1, 3]) && !is_flat(&[2], &[1]));
    }

    #[test]
    fn a_shape_is_looked_at_in_its_place() {
        let own = slot(&[2, 3]);
        assert_eq!((own.elements(), own.rank(), own.dim(1), own.dim(2)), (6, 2, Some(3), None));
        assert!(own.is_shaped_as(&slot(&[2, 3])) && !own.is_shaped_as(&slot(&[2, 3, 1])));
        own.shape.set(Shape::SCALAR);
        assert!(own.has_shape(&Shape::SCALAR) && own.elements() == 1);
    }
}
