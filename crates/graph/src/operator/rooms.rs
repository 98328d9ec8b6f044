//! Memory of values whose size is only known in a run.
//!
//! A value without a bound has no place in the arena: it *grows*. Its memory is a room, one [`Buffer`] that is reserved from
//! the budget when its shape is known, as long as the value. Who needs a value holds its room, and what nobody holds is let
//! go: at each moment a run has exactly the rooms of the values that are still read, so whether they fit follows from their
//! sizes alone and from nothing that went before.
//!
//! What was let go is not given back at once. The next value of the same size gets it without asking the system, which
//! makes runs of the same shapes allocate nothing; but as soon as the budget refuses a room, all of it goes back, and what
//! a whole run has not needed goes back after it.

use std::cell::{RefCell, RefMut};

use tightfit_core::{ALIGNMENT, BudgetError, Buffer, MemoryBudget, Shape};

use super::call::{Held, TensorInfo};
use super::error::OpError;
use super::slot::{Growth, Slot};

/// What the memory of values is reserved for that grow.
pub(crate) const PURPOSE: &str = "data-dependent memory";

/// The rooms of a context.
pub(crate) struct Rooms {
    budget: MemoryBudget,
    state: RefCell<State>,
    /// What the operator at hand is asked with; kept, so that a run allocates nothing for it.
    infos: RefCell<Vec<TensorInfo>>,
}

#[derive(Default)]
struct State {
    rooms: Vec<Room>,
    /// The numbers of rooms that nobody holds.
    free: Vec<u32>,
    idle: Vec<Idle>,
}

/// Memory that somebody may hold.
struct Room {
    /// `None` while nobody does.
    memory: Option<Buffer>,
    holders: u32,
}

/// Memory that nobody holds.
struct Idle {
    memory: Buffer,
    /// False once a run has not needed it.
    is_recent: bool,
}

/// A room that is held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldRoom {
    pub number: u32,
    pub start: *mut u8,
    pub bytes: usize,
}

impl Rooms {
    /// At most `rooms` are held at once, and no step with a value that grows has more inputs and outputs than `most`.
    pub fn new(budget: &MemoryBudget, rooms: usize, most: usize) -> Rooms {
        let state = State {
            rooms: Vec::with_capacity(rooms),
            free: Vec::with_capacity(rooms),
            idle: Vec::with_capacity(rooms),
        };
        let infos = RefCell::new(Vec::with_capacity(most));
        Rooms { budget: budget.clone(), state: RefCell::new(state), infos }
    }

    /// What rooms are reserved from.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// From now on rooms are reserved from `budget`.
    pub fn reserve_from(&mut self, budget: &MemoryBudget) {
        self.budget = budget.clone();
        self.state.get_mut().idle.clear();
    }

    /// The list that the operator at hand is asked with, empty.
    pub fn infos(&self) -> Result<RefMut<'_, Vec<TensorInfo>>, OpError> {
        let mut infos =
            self.infos.try_borrow_mut().map_err(|_| OpError::Internal("two steps run at once"))?;
        infos.clear();
        Ok(infos)
    }

    /// A room of `bytes`, held once.
    ///
    /// # Errors
    /// [`BudgetError`] when they are not free.
    pub fn take(&self, bytes: usize) -> Result<HeldRoom, BudgetError> {
        let mut state = self.state.borrow_mut();
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
        let mut memory = match state.idle.iter().position(|idle| idle.memory.len() == bytes) {
            Some(found) => state.idle.swap_remove(found).memory,
            None => {
                // Before anything is refused, or waited for.
                if (bytes as u64) > self.budget.free_bytes() {
                    state.idle.clear();
                }
                Buffer::new(&self.budget, PURPOSE, bytes)?
            }
        };
        let start = memory.as_mut_ptr();
        let room = Room { memory: Some(memory), holders: 1 };
        let number = match state.free.pop() {
            Some(number) => {
                state.rooms[number as usize] = room;
                number
            }
            None => {
                state.rooms.push(room);
                (state.rooms.len() - 1) as u32
            }
        };
        Ok(HeldRoom { number, start, bytes })
    }

    /// Holds a room once more.
    pub fn hold(&self, number: u32) {
        if let Some(room) = self.state.borrow_mut().rooms.get_mut(number as usize) {
            room.holders += 1;
        }
    }

    /// True when a room is held once.
    pub fn is_held_once(&self, number: u32) -> bool {
        self.state.borrow().rooms.get(number as usize).is_some_and(|room| room.holders == 1)
    }

    /// Holds a room once less.
    pub fn let_go(&self, number: u32) {
        let mut state = self.state.borrow_mut();
        let State { rooms, free, idle } = &mut *state;
        let Some(room) = rooms.get_mut(number as usize).filter(|room| room.holders > 0) else { return };
        room.holders -= 1;
        if room.holders > 0 {
            return;
        }
        free.push(number);
        let memory = room.memory.take().filter(|memory| !memory.is_empty() && !self.budget.is_frugal());
        if let Some(memory) = memory.filter(|_| idle.len() < idle.capacity()) {
            idle.push(Idle { memory, is_recent: true });
        }
    }

    /// Gives back all that nobody holds.
    pub fn give_back(&self) {
        self.state.borrow_mut().idle.clear();
    }

    /// Gives back what has been idle for a whole run.
    pub fn begin_run(&self) {
        let idle = &mut self.state.borrow_mut().idle;
        idle.retain_mut(|idle| std::mem::replace(&mut idle.is_recent, false));
    }
}

impl Slot {
    /// True for a value whose size is only known in a run.
    pub fn grows(&self) -> bool {
        self.growth.get() != Growth::PLANNED
    }

    /// The bytes of its shape in this run.
    pub fn bytes(&self) -> Result<usize, OpError> {
        let bytes = self.elements().checked_mul(self.dtype.bytes());
        bytes.ok_or(OpError::Internal("a tensor is larger than the address space"))
    }

    /// The elements of a dense tensor.
    ///
    /// # Errors
    /// [`OpError::Internal`] for one that is not, and when it is larger than its memory.
    pub fn dense_bytes(&self) -> Result<&[u8], OpError> {
        let bytes = self.elements() * self.dtype.bytes();
        if bytes > self.capacity_bytes.get() || !matches!(self.held, Held::Value | Held::Resident) {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        // SAFETY: inside the slot's memory by the check above, and what it holds is whole (rules 1, 2 and 5 of
        // `plan::validate`); nobody writes it before the slice is gone.
        Ok(unsafe { std::slice::from_raw_parts(self.start.get(), bytes) })
    }

    /// Gives it the shape of this run. A value that grows may have any until it has a room.
    ///
    /// # Errors
    /// [`OpError::Internal`] when it is larger than its memory.
    pub fn set_shape(&self, shape: Shape) -> Result<(), OpError> {
        let has_no_room = matches!(self.growth.get(), Growth::OPEN | Growth::SHAPED);
        if has_no_room {
            self.growth.set(Growth::SHAPED);
        } else if shape.elements() * self.dtype.bytes() > self.capacity_bytes.get() {
            return Err(OpError::Internal("a tensor is larger than was planned"));
        }
        self.shape.set(shape);
        Ok(())
    }

    /// Gives a value that grows the room that its shape needs, unless it has one already.
    pub fn make_room(&self, rooms: &Rooms) -> Result<(), OpError> {
        match self.growth.get() {
            Growth::OPEN => Err(OpError::Internal("an output is made before its shape is said")),
            Growth::SHAPED => {
                let held = rooms.take(self.bytes()?)?;
                self.growth.set(Growth::in_room(held.number));
                self.start.set(held.start);
                self.capacity_bytes.set(held.bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes a value that grows be where another one is, which holds a room; false where it does not.
    pub fn share(&self, from: &Slot, rooms: &Rooms) -> bool {
        let Some(number) = from.growth.get().room() else { return false };
        rooms.hold(number);
        self.let_go(rooms);
        self.growth.set(Growth::in_room(number));
        self.start.set(from.start.get());
        self.capacity_bytes.set(from.capacity_bytes.get());
        true
    }

    /// Takes over the room of another value, which is nowhere then.
    pub fn take_over(&self, from: &Slot) {
        self.growth.set(from.growth.replace(Growth::OPEN));
        self.start.set(from.start.replace(nowhere()));
        self.capacity_bytes.set(from.capacity_bytes.replace(0));
    }

    /// Forgets a value that grows, and lets go of its room.
    pub fn let_go(&self, rooms: &Rooms) {
        if !self.grows() {
            return;
        }
        if let Some(number) = self.growth.get().room() {
            rooms.let_go(number);
        }
        self.growth.set(Growth::OPEN);
        self.start.set(nowhere());
        self.capacity_bytes.set(0);
    }
}

/// The address of a value that is nowhere.
pub(crate) fn nowhere() -> *mut u8 {
    std::ptr::without_provenance_mut(ALIGNMENT)
}

/// A room that a step holds while it runs, for its scratch.
pub(crate) struct Scratch<'r> {
    rooms: &'r Rooms,
    held: Option<HeldRoom>,
}

impl<'r> Scratch<'r> {
    /// Scratch of so many bytes.
    ///
    /// # Errors
    /// [`BudgetError`] when they are not free.
    pub fn new(rooms: &'r Rooms, bytes: usize) -> Result<Scratch<'r>, BudgetError> {
        let held = if bytes == 0 { None } else { Some(rooms.take(bytes)?) };
        Ok(Scratch { rooms, held })
    }

    /// Where it is; somewhere aligned where it is empty.
    pub fn start(&self) -> *mut u8 {
        self.held.map_or_else(nowhere, |held| held.start)
    }
}

/// Memory that an operator takes while it runs, see [`Run::room`](super::Run::room).
pub struct Taken<'r> {
    scratch: Scratch<'r>,
    bytes: usize,
}

impl<'r> Taken<'r> {
    /// So many bytes.
    ///
    /// # Errors
    /// [`BudgetError`] when they are not free.
    pub(crate) fn new(rooms: &'r Rooms, bytes: usize) -> Result<Taken<'r>, BudgetError> {
        Ok(Taken { scratch: Scratch::new(rooms, bytes)?, bytes })
    }

    /// The bytes, which are what they happen to be.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the room is at least as long, and is held by `scratch` alone until it is dropped; where there are no bytes
        // there is none.
        unsafe { std::slice::from_raw_parts_mut(self.scratch.start(), self.bytes) }
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held {
            self.rooms.let_go(held.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_goes_back_as_soon_as_it_is_needed() {
        let budget = MemoryBudget::new(1024);
        let rooms = Rooms::new(&budget, 3, 0);
        let (a, b) = (rooms.take(300).unwrap(), rooms.take(640).unwrap());
        assert_eq!((a.bytes, budget.used_bytes()), (320, 960));
        assert!(rooms.take(65).is_err());
        rooms.hold(a.number);
        assert!(!rooms.is_held_once(a.number));
        rooms.let_go(a.number);
        assert!(rooms.is_held_once(a.number) && rooms.take(65).is_err());
        rooms.let_go(a.number);
        // The same size again, without another byte.
        let again = rooms.take(320).unwrap();
        assert_eq!((again.start, budget.peak_bytes()), (a.start, 960));
        rooms.let_go(again.number);
        // Another size: what is idle makes way.
        let c = rooms.take(384).unwrap();
        assert_eq!(budget.used_bytes(), 1024);
        rooms.let_go(b.number);
        rooms.let_go(c.number);
        rooms.begin_run();
        assert_eq!(budget.used_bytes(), 1024);
        rooms.begin_run();
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn the_frugal_keep_nothing() {
        let budget = MemoryBudget::new(1024);
        let rooms = Rooms::new(&budget.frugal(), 1, 0);
        let a = rooms.take(1).unwrap();
        assert_eq!(budget.used_bytes(), 64);
        rooms.let_go(a.number);
        assert_eq!(budget.used_bytes(), 0);
    }
}
