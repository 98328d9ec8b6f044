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
const MAPPED_FROM_BYTES: usize = if cfg!(miri) { 4 << 10 } else { 64 << 10 };

/// From this size huge pages are asked for: filling a weight arena then takes 512 times fewer page faults.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE_FROM_BYTES: usize = 8 << 20;

/// What an allocator aligns blocks to without being asked. Blocks of a larger alignment it cuts out of larger ones, and what
/// is over on both sides keeps it from using the place for the next: a heap of many small buffers would grow without end.
const HEAP_ALIGNMENT: usize = 16;

/// Zeroed memory, aligned to [`ALIGNMENT`], that owns the [`Reservation`] it was made from.
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
    /// Bytes of the allocator's block before `start`.
    before_bytes: usize,
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
        let (start, before_bytes) = allocate(bytes).ok_or_else(|| BudgetError {
            purpose,
            asked_bytes: bytes as u64,
            free_bytes: budget.free_bytes(),
            limit_bytes: budget.limit_bytes(),
            holders: vec![("the system has no more memory", 0)],
        })?;
        Ok(Buffer { start, bytes, before_bytes, reservation })
    }

    /// Makes it `bytes` long, if it is shorter; what is in it stays, and what is new is zero. On Linux a buffer of more
    /// than 64 KiB is never held twice for that.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it; the buffer is as before then.
    pub fn grow(&mut self, budget: &MemoryBudget, bytes: usize) -> Result<(), BudgetError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        if is_mapped(self.bytes) {
            self.reservation.try_grow(more as u64)?;
            // SAFETY: `map` made exactly this mapping, of which this buffer is the only owner. A mapping that is moved is
            // not there any more, and one that cannot grow is as it was.
            let start =
                unsafe { libc::mremap(self.start.as_ptr().cast(), self.bytes, bytes, libc::MREMAP_MAYMOVE) };
            if let (false, Some(start)) = (start == libc::MAP_FAILED, NonNull::new(start.cast())) {
                (self.start, self.bytes) = (start, bytes);
                return Ok(());
            }
            self.reservation.shrink(self.bytes as u64);
        }
        let mut larger = Buffer::new(budget, self.purpose(), bytes)?;
        if let Some(to) = larger.get_mut(..self.bytes) {
            to.copy_from_slice(self);
        }
        *self = larger;
        Ok(())
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
        free(self.start, self.bytes, self.before_bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes for {})", self.bytes, self.purpose())
    }
}

/// The allocator's block for a buffer of `bytes`, with room to align it.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(ALIGNMENT - HEAP_ALIGNMENT)?, HEAP_ALIGNMENT).ok()
}

#[cfg(unix)]
fn is_mapped(bytes: usize) -> bool {
    bytes >= MAPPED_FROM_BYTES
}

#[cfg(not(unix))]
fn is_mapped(_bytes: usize) -> bool {
    false
}

/// Where the memory starts, and how many bytes of its block are before that.
fn allocate(bytes: usize) -> Option<(NonNull<u8>, usize)> {
    if bytes == 0 {
        return Some((NonNull::new(std::ptr::without_provenance_mut(ALIGNMENT))?, 0));
    }
    #[cfg(unix)]
    if is_mapped(bytes) {
        return Some((map(bytes)?, 0));
    }
    // SAFETY: the layout has a size above zero.
    let block = NonNull::new(unsafe { alloc_zeroed(layout(bytes)?) })?;
    let before_bytes = block.addr().get().next_multiple_of(ALIGNMENT) - block.addr().get();
    // SAFETY: a block that is aligned to `HEAP_ALIGNMENT` is so many bytes at most before a multiple of `ALIGNMENT`, and the
    // layout has as many more than `bytes`.
    Some((unsafe { block.add(before_bytes) }, before_bytes))
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

fn free(start: NonNull<u8>, bytes: usize, before_bytes: usize) {
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
        // SAFETY: `allocate` made this block with the same layout, and it begins so many bytes before `start`.
        unsafe { dealloc(start.sub(before_bytes).as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_aligned_and_counted() {
        let budget = MemoryBudget::new(64 << 20);
        // Miri looks at every byte for long.
        let large_bytes = if cfg!(miri) { 8 << 10 } else { 16 << 20 };
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
    fn grows_and_keeps_what_is_in_it() {
        let budget = MemoryBudget::new(3 << 20);
        let mut buffer = Buffer::new(&budget, "test", 10).unwrap();
        buffer.fill(7);
        // Miri looks at every byte for long, and its mremap knows whole pages only.
        let [large, largest] = if cfg!(miri) { [8 << 10, 12 << 10] } else { [1 << 20, 2 << 20] };
        for bytes in [100, 5, MAPPED_FROM_BYTES, large, largest] {
            let before = buffer.len();
            buffer.grow(&budget, bytes).unwrap();
            assert_eq!(buffer.len(), bytes.max(before));
            assert_eq!(budget.used_bytes(), buffer.len() as u64);
            assert!(buffer.iter().take(before).all(|b| *b == 7));
            assert!(buffer.iter().skip(before).all(|b| *b == 0));
            assert_eq!(buffer.as_mut_ptr().addr() % ALIGNMENT, 0);
            buffer.fill(7);
        }
        assert!(buffer.grow(&budget, 4 << 20).is_err());
        assert_eq!((buffer.len(), budget.used_bytes()), (largest, largest as u64));
        assert!(buffer.iter().all(|b| *b == 7));
        drop(buffer);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn refuses_past_the_budget() {
        let budget = MemoryBudget::new(10);
        assert!(Buffer::new(&budget, "test", 11).is_err());
        assert_eq!(budget.used_bytes(), 0);
    }
}
