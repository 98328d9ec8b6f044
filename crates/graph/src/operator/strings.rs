//! The text of string tensors.

use std::cell::Cell;
use std::sync::Arc;

use tightfit_core::{BudgetError, Buffer, MemoryBudget, StringRef};

/// The texts of a model's string constants, written once and shared by all who run it: pieces behind each other, each with
/// the offset behind its end.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    pieces: Vec<(u64, Arc<Buffer>)>,
}

impl Texts {
    /// Adds a piece of these texts, and writes into the element of each what refers to it. Elements behind the last text
    /// refer to that one too. False where they take more than `bytes`.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn add<'t>(
        &mut self,
        lists: impl Iterator<Item = (&'t [Box<[u8]>], &'t mut [u8])>,
        bytes: usize,
        budget: &MemoryBudget,
    ) -> Result<bool, BudgetError> {
        let mut piece = Buffer::new(budget, "strings", bytes)?;
        let (first, mut at, mut has_room) = (self.bytes(), 0, true);
        for (texts, references) in lists {
            let texts = texts.iter().map(|text| &text[..]);
            let placed = refer(texts, references, |text| {
                let end = at + text.len();
                piece.get_mut(at..end)?.copy_from_slice(text);
                let reference = StringRef { offset: first + at as u64, bytes: text.len() as u64 };
                at = end;
                Some(reference)
            });
            has_room &= placed.is_some();
        }
        self.pieces.push((first + bytes as u64, Arc::new(piece)));
        Ok(has_room)
    }

    /// Bytes of all texts.
    fn bytes(&self) -> u64 {
        self.pieces.last().map_or(0, |(end, _)| *end)
    }

    /// The text at an offset; `None` for one that no piece has whole.
    fn get(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let (end, piece) = self.pieces.get(self.pieces.partition_point(|(end, _)| *end <= offset))?;
        let at = usize::try_from(offset - (*end - piece.len() as u64)).ok()?;
        piece.get(at..at.checked_add(bytes)?)
    }
}

/// Writes references to `texts` into the elements of `out`, the last one again where there are more of them; `None` where
/// `place` has no room.
pub fn refer<'t>(
    mut texts: impl Iterator<Item = &'t [u8]>,
    out: &mut [u8],
    mut place: impl FnMut(&[u8]) -> Option<StringRef>,
) -> Option<()> {
    let mut last = StringRef::default();
    for reference in out.chunks_exact_mut(size_of::<StringRef>()) {
        if let Some(text) = texts.next() {
            last = place(text)?;
        }
        reference.copy_from_slice(bytemuck::bytes_of(&last));
    }
    Some(())
}

/// The texts that one run can refer to: those of constants, and behind them its own, of feeds and of what operators make.
#[derive(Debug)]
pub struct StringPool {
    constants: Texts,
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
    /// A pool of its own texts in `memory`, behind those of constants.
    pub fn new(constants: Texts, mut memory: Buffer) -> StringPool {
        let (used_bytes, asked_bytes) = (Cell::new(0), Cell::new(0));
        StringPool { constants, start: memory.as_mut_ptr(), memory, used_bytes, asked_bytes }
    }

    /// Bytes of its own texts.
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

    /// Forgets all texts but those of constants. Nobody can hold one of them: it takes the pool alone.
    pub fn clear(&mut self) {
        *self.used_bytes.get_mut() = 0;
    }

    /// The same pool behind other constants, without a text of its own.
    pub fn set_constants(&mut self, constants: Texts) {
        self.clear();
        self.constants = constants;
    }

    /// Adds a string, or `None` when it does not fit.
    pub fn push(&self, text: &[u8]) -> Option<StringRef> {
        let start = self.used_bytes.get();
        let end = start.checked_add(text.len()).filter(|end| *end <= self.memory.len())?;
        // SAFETY: `start..end` is inside the memory and behind every string that `get` has handed out and that is
        // still borrowed: bytes are only appended, and `clear` takes the pool mutably.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.start.add(start), text.len()) };
        self.used_bytes.set(end);
        Some(StringRef { offset: self.constants.bytes() + start as u64, bytes: text.len() as u64 })
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
        let mut moved = StringPool::new(self.constants.clone(), memory);
        // SAFETY: the first bytes of two buffers, one of which is owned by nobody else, both of them as long.
        unsafe { std::ptr::copy_nonoverlapping(self.start, moved.start, used_bytes.min(moved.memory.len())) };
        *moved.used_bytes.get_mut() = used_bytes.min(moved.memory.len());
        *self = moved;
    }

    /// The text of a string; empty for a reference that this pool did not make.
    pub fn get(&self, string: StringRef) -> &[u8] {
        self.find(string).unwrap_or_default()
    }

    fn find(&self, string: StringRef) -> Option<&[u8]> {
        let bytes = usize::try_from(string.bytes).ok()?;
        let Some(start) = string.offset.checked_sub(self.constants.bytes()) else {
            return self.constants.get(string.offset, bytes);
        };
        let start = usize::try_from(start).ok()?;
        if start.checked_add(bytes)? > self.used_bytes.get() {
            return None;
        }
        // SAFETY: the range was written by `push` and is not written again while it is borrowed, see there.
        Some(unsafe { std::slice::from_raw_parts(self.start.add(start), bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_texts_of_a_run_are_told_apart() {
        let budget = MemoryBudget::new(1 << 20);
        let lists: [Vec<Box<[u8]>>; 2] = [vec![(*b"one").into(), (*b"").into()], vec![(*b"three").into()]];
        let mut references = [StringRef::default(); 5];
        let memory = bytemuck::cast_slice_mut::<_, u8>(&mut references);
        let (first, second) = memory.split_at_mut(2 * size_of::<StringRef>());
        let mut texts = Texts::default();
        assert!(texts.add([(&lists[0][..], first)].into_iter(), 3, &budget).unwrap());
        assert!(texts.add([(&lists[1][..], second)].into_iter(), 5, &budget).unwrap());
        let mut pool = StringPool::new(texts, Buffer::new(&budget, "test", 4).unwrap());
        let own = pool.push(b"own").unwrap();
        assert!(pool.push(b"no room").is_none());
        let all: Vec<&[u8]> = references.iter().map(|r| pool.get(*r)).collect();
        assert_eq!(all, [&b"one"[..], b"", b"three", b"three", b"three"]);
        assert_eq!(pool.get(own), b"own");
        pool.clear();
        assert_eq!(pool.get(own), b"");
        assert_eq!(pool.get(references[0]), b"one");
        // A text that no piece has whole.
        assert_eq!(pool.get(StringRef { offset: 2, bytes: 2 }), b"");
        assert_eq!(pool.get(StringRef { offset: u64::MAX, bytes: 2 }), b"");
    }
}
