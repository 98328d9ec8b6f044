//! Aligned memory that owns its share of the budget.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::{BudgetError, MemoryBudget, Reservation};

/// The alignment in bytes of every [`Buffer`]: a cache line, and the widest vector register.
pub const ALIGNMENT: usize = 64;

/// From this size a buffer is mapped from the system by itself: its pages are untouched zeros until written, and
/// go back the moment it is dropped, which an allocator does not promise.
const MAPPED_FROM_BYTES: usize = 64 << 10;

/// From this size huge pages are asked for: filling a weight arena then takes 512 times fewer page faults.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE_FROM_BYTES: usize = 8 << 20;

/// Zeroed memory, aligned to [`ALIGNMENT`], that owns the [`Reservation`] it was made from.
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
    reservation: Reservation,
}

// SAFETY: a Buffer owns its memory alone, as a Box<[u8]> does.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `bytes` zero bytes for `purpose`, reserved from `budget`.
    ///
    /// # Errors
    /// [`BudgetError`] when they are not free in the budget, or when the system refuses them.
    pub fn new(budget: &MemoryBudget, purpose: &'static str, bytes: usize) -> Result<Buffer, BudgetError> {
        let reservation = budget.try_reserve(purpose, bytes as u64)?;
        let start = allocate(bytes).ok_or_else(|| BudgetError {
            purpose,
            asked_bytes: bytes as u64,
            free_bytes: budget.free_bytes(),
            limit_bytes: budget.limit_bytes(),
            holders: vec![("the system has no more memory", 0)],
        })?;
        Ok(Buffer { start, bytes, reservation })
    }

    /// What the memory is for.
    pub fn purpose(&self) -> &'static str {
        self.reservation.purpose()
    }

    /// The memory's address, for executors that hand out disjoint parts of one buffer to several threads.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `bytes` initialised bytes as long as self lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        free(self.start, self.bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes for {})", self.bytes, self.purpose())
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, ALIGNMENT).ok()
}

#[cfg(unix)]
fn is_mapped(bytes: usize) -> bool {
    bytes >= MAPPED_FROM_BYTES
}

#[cfg(not(unix))]
fn is_mapped(_bytes: usize) -> bool {
    false
}

fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    if bytes == 0 {
        return NonNull::new(std::ptr::without_provenance_mut(ALIGNMENT));
    }
    #[cfg(unix)]
    if is_mapped(bytes) {
        return map(bytes);
    }
    // SAFETY: the layout has a size above zero.
    NonNull::new(unsafe { alloc_zeroed(layout(bytes)?) })
}

#[cfg(unix)]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping touches no existing memory; failure is checked below.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    #[cfg(all(target_os = "linux", not(miri)))]
    if bytes >= HUGE_FROM_BYTES {
        // SAFETY: the range was mapped just now. The advice changes no content, and a refusal costs only speed.
        unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
    }
    NonNull::new(start.cast())
}

fn free(start: NonNull<u8>, bytes: usize) {
    if bytes == 0 {
        return;
    }
    #[cfg(unix)]
    if is_mapped(bytes) {
        // SAFETY: `map` made exactly this mapping, and the owner is being dropped.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        return;
    }
    if let Some(layout) = layout(bytes) {
        // SAFETY: `allocate` made this block with the same layout.
        unsafe { dealloc(start.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_aligned_and_counted() {
        let budget = MemoryBudget::new(64 << 20);
        // Miri looks at every byte for long.
        let large_bytes = if cfg!(miri) { 80 << 10 } else { 16 << 20 };
        for bytes in [0, 1, 100, MAPPED_FROM_BYTES - 1, MAPPED_FROM_BYTES, large_bytes] {
            let mut buffer = Buffer::new(&budget, "test", bytes).unwrap();
            assert_eq!(buffer.len(), bytes);
            assert_eq!(buffer.as_mut_ptr().addr() % ALIGNMENT, 0);
            assert!(buffer.iter().all(|b| *b == 0));
            buffer.fill(7);
            assert_eq!(budget.used_bytes(), bytes as u64);
        }
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn refuses_past_the_budget() {
        let budget = MemoryBudget::new(10);
        assert!(Buffer::new(&budget, "test", 11).is_err());
        assert_eq!(budget.used_bytes(), 0);
    }
}
