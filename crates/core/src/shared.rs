//! Memory whose parts several threads write at once.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
#[cfg(debug_assertions)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Buffer;

/// Memory of which threads take parts to write. This is the one place where memory is shared mutably: every part is
/// checked to lie inside, and with debug assertions to be apart from all others in use.
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
    owned: Option<Buffer>,
    #[cfg(debug_assertions)]
    parts: Mutex<Parts>,
}

// SAFETY: parts in use do not overlap (the contract of `part`), so no two threads have one element, and elements may
// move between threads.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above, and whoever holds it owns or borrows the memory.
unsafe impl<T: Send> Send for Shared<'_, T> {}

/// A part of [`Shared`] memory, which is in use until this is dropped.
pub struct Part<'p, T> {
    values: &'p mut [T],
    #[cfg(debug_assertions)]
    of: &'p Mutex<Parts>,
    #[cfg(debug_assertions)]
    first: usize,
}

impl<'a, T> Shared<'a, T> {
    /// Memory that is borrowed.
    pub fn new(values: &'a mut [T]) -> Shared<'a, T> {
        Shared {
            start: values.as_mut_ptr(),
            len: values.len(),
            borrowed: PhantomData,
            owned: None,
            #[cfg(debug_assertions)]
            parts: Mutex::default(),
        }
    }

    /// The elements from `first` on, `len` of them.
    ///
    /// # Safety
    /// No other part in use overlaps it.
    ///
    /// # Panics
    /// When it does not lie inside; with debug assertions also when another part in use overlaps it.
    #[inline]
    pub unsafe fn part(&self, first: usize, len: usize) -> Part<'_, T> {
        assert!(first <= self.len && len <= self.len - first, "a part lies outside of shared memory");
        #[cfg(debug_assertions)]
        lock(&self.parts).take(first, len);
        Part {
            // SAFETY: in bounds by the assertion, unique by the contract, and alive as long as `self`.
            values: unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) },
            #[cfg(debug_assertions)]
            of: &self.parts,
            #[cfg(debug_assertions)]
            first,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the memory is for, where it is a [`Buffer`].
    pub fn purpose(&self) -> Option<&'static str> {
        self.owned.as_ref().map(Buffer::purpose)
    }
}

impl From<Buffer> for Shared<'static, u8> {
    /// Memory of its own.
    fn from(mut memory: Buffer) -> Shared<'static, u8> {
        Shared {
            start: memory.as_mut_ptr(),
            len: memory.len(),
            borrowed: PhantomData,
            owned: Some(memory),
            #[cfg(debug_assertions)]
            parts: Mutex::default(),
        }
    }
}

impl<T> Deref for Part<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.values
    }
}

impl<T> DerefMut for Part<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.values
    }
}

#[cfg(debug_assertions)]
impl<T> Drop for Part<'_, T> {
    fn drop(&mut self) {
        lock(self.of).give(self.first, self.values.len());
    }
}

/// How many parts in use are known; a few for each thread.
#[cfg(debug_assertions)]
const KNOWN: usize = 64;

/// The parts in use, as far as there is room for them: nothing is allocated.
#[cfg(debug_assertions)]
struct Parts([(usize, usize); KNOWN]);

#[cfg(debug_assertions)]
impl Default for Parts {
    fn default() -> Parts {
        Parts([(0, 0); KNOWN])
    }
}

#[cfg(debug_assertions)]
impl Parts {
    fn take(&mut self, first: usize, len: usize) {
        let hit = self.0.iter().find(|(f, l)| len > 0 && *l > 0 && first < f + l && *f < first + len);
        assert!(hit.is_none(), "two parts of shared memory overlap: {len} from {first} on, and {hit:?}");
        if let Some(free) = self.0.iter_mut().find(|(_, len)| *len == 0) {
            *free = (first, len);
        }
    }

    fn give(&mut self, first: usize, len: usize) {
        if let Some(taken) = self.0.iter_mut().find(|part| **part == (first, len)) {
            *taken = (0, 0);
        }
    }
}

#[cfg(debug_assertions)]
fn lock(parts: &Mutex<Parts>) -> MutexGuard<'_, Parts> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryBudget;

    #[test]
    fn threads_write_parts_of_their_own() {
        let mut values = vec![0u32; 64];
        let shared = Shared::new(&mut values);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let shared = &shared;
                scope.spawn(move || {
                    for piece in 0..4 {
                        // SAFETY: each thread has sixteen elements of its own, and one part of them at a time.
                        let mut part = unsafe { shared.part(thread * 16 + piece * 4, 4) };
                        part.fill(thread as u32 + 1);
                    }
                });
            }
        });
        drop(shared);
        assert!(values.iter().enumerate().all(|(i, v)| *v as usize == i / 16 + 1));
    }

    #[test]
    fn a_buffer_stays_with_its_parts() {
        let budget = MemoryBudget::new(1 << 10);
        let shared = Shared::from(Buffer::new(&budget, "test", 100).unwrap());
        assert_eq!((shared.len(), shared.is_empty(), shared.purpose()), (100, false, Some("test")));
        // SAFETY: the only parts, and apart.
        let (mut a, b) = unsafe { (shared.part(0, 50), shared.part(50, 50)) };
        a[49] = 1;
        assert_eq!(b[0], 0);
        drop((a, b));
        drop(shared);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "outside of shared memory")]
    fn a_part_lies_inside() {
        let mut values = [0u8; 8];
        let shared = Shared::new(&mut values);
        // SAFETY: the only part.
        let _part = unsafe { shared.part(4, usize::MAX) };
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "overlap")]
    fn parts_in_use_are_apart() {
        let mut values = [0u8; 8];
        let shared = Shared::new(&mut values);
        // SAFETY: neither part is touched; the second is refused.
        let _parts = unsafe { (shared.part(0, 5), shared.part(4, 1)) };
    }
}
