//! The text of string tensors.

use std::cell::Cell;

use tightfit_core::{Buffer, StringRef};

/// The bytes of all strings of a session: those of constants and feeds first, those made by operators after. Each
/// run starts over behind the constants.
#[derive(Debug)]
pub struct StringPool {
    /// The start of `memory`, through which alone it is accessed.
    start: *mut u8,
    memory: Buffer,
    used_bytes: Cell<usize>,
    /// What was asked for by steps that make strings, room or not, of all runs.
    asked_bytes: Cell<u64>,
}

// SAFETY: the pool owns its memory, and the pointer into it moves along.
unsafe impl Send for StringPool {}

impl StringPool {
    /// A pool over `memory`.
    pub fn new(mut memory: Buffer) -> StringPool {
        StringPool { start: memory.as_mut_ptr(), memory, used_bytes: Cell::new(0), asked_bytes: Cell::new(0) }
    }

    /// Bytes used.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// Bytes there is room for.
    pub fn capacity_bytes(&self) -> usize {
        self.memory.len()
    }

    /// True when there is room for so many bytes more.
    pub fn ask(&self, bytes: u64) -> bool {
        self.asked_bytes.set(self.asked_bytes.get().saturating_add(bytes));
        bytes <= (self.memory.len() - self.used_bytes.get()) as u64
    }

    /// Bytes that were ever asked for.
    #[cfg(test)]
    pub fn asked_bytes(&self) -> u64 {
        self.asked_bytes.get()
    }

    /// Forgets all strings behind the first `bytes` bytes. Nobody can hold one of them: it takes the pool alone.
    pub fn truncate(&mut self, bytes: usize) {
        let used_bytes = self.used_bytes.get_mut();
        *used_bytes = (*used_bytes).min(bytes);
    }

    /// Adds a string, or `None` when it does not fit.
    pub fn push(&self, text: &[u8]) -> Option<StringRef> {
        let start = self.used_bytes.get();
        let end = start.checked_add(text.len()).filter(|end| *end <= self.memory.len())?;
        // SAFETY: `start..end` is inside the memory and behind every string that `get` has handed out and that is
        // still borrowed: bytes are only appended, and `truncate` takes the pool mutably.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.start.add(start), text.len()) };
        self.used_bytes.set(end);
        Some(StringRef { offset: start as u64, bytes: text.len() as u64 })
    }

    /// Adds the texts of two strings as one, or `None` when they do not fit.
    pub fn join(&self, first: StringRef, second: StringRef) -> Option<StringRef> {
        let (first, second) = (self.push(self.get(first))?, self.push(self.get(second))?);
        // One lies behind the other.
        Some(StringRef { offset: first.offset, bytes: first.bytes + second.bytes })
    }

    /// The same strings, under the same references, in `memory`, which has room for them.
    pub fn moved_to(&mut self, memory: Buffer) {
        let used_bytes = self.used_bytes.get();
        let mut moved = StringPool::new(memory);
        // SAFETY: the first bytes of two buffers, one of which is owned by nobody else, both of them as long.
        unsafe { std::ptr::copy_nonoverlapping(self.start, moved.start, used_bytes.min(moved.memory.len())) };
        *moved.used_bytes.get_mut() = used_bytes.min(moved.memory.len());
        *self = moved;
    }

    /// The text of a string; empty for a reference that this pool did not make.
    pub fn get(&self, string: StringRef) -> &[u8] {
        let (Ok(start), Ok(bytes)) = (usize::try_from(string.offset), usize::try_from(string.bytes)) else {
            return &[];
        };
        if start.checked_add(bytes).is_none_or(|end| end > self.used_bytes.get()) {
            return &[];
        }
        // SAFETY: the range was written by `push` and is not written again while it is borrowed, see there.
        unsafe { std::slice::from_raw_parts(self.start.add(start), bytes) }
    }
}
