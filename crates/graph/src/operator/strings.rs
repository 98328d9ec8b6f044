//! The text of string tensors.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tightfit_core::{BudgetError, Buffer, MemoryBudget, StringRef};

/// The texts of a model's string constants, written once and shared by all who run it: pieces one after another, each with
/// the offset past its end.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    pieces: Vec<(u64, Arc<Buffer>)>,
}

impl Texts {
    /// Adds a piece of these texts, and writes into the element of each what refers to it. Elements after the last text
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

/// The texts that one run can refer to: those of constants, and after them its own, of feeds and of what operators make.
///
/// Its own lie in pieces of memory of the budget. Each has its place in one row of offsets, so a text stays where it is
/// while the pool grows, and one offset says where. A text is whole in one piece.
#[derive(Debug)]
pub struct StringPool {
    constants: Texts,
    budget: MemoryBudget,
    /// The pieces, in the order of their offsets.
    pieces: RefCell<Vec<Piece>>,
    /// The offset after the last text.
    used: Cell<u64>,
    /// The piece that `used` is in.
    piece: Cell<usize>,
    /// What was asked for by steps that make strings, room or not, of all runs.
    asked_bytes: Cell<u64>,
}

/// A piece of memory for texts, accessed through its address alone.
#[derive(Debug)]
struct Piece {
    /// The offset of its first byte.
    first: u64,
    start: *mut u8,
    bytes: usize,
    _memory: Buffer,
}

// SAFETY: a piece owns its memory, and the pointer into it moves along.
unsafe impl Send for Piece {}

/// The smallest piece that a pool grows by.
const PIECE_BYTES: usize = 4 << 10;

impl StringPool {
    /// A pool of its own texts in `memory`, after those of constants, that grows within `budget`.
    pub fn new(constants: Texts, memory: Buffer, budget: &MemoryBudget) -> StringPool {
        let pool = StringPool {
            constants,
            budget: budget.clone(),
            pieces: RefCell::default(),
            used: Cell::new(0),
            piece: Cell::new(0),
            asked_bytes: Cell::new(0),
        };
        pool.add_piece(memory);
        pool
    }

    fn add_piece(&self, mut memory: Buffer) {
        let mut pieces = self.pieces.borrow_mut();
        let first = pieces.last().map_or(0, |piece| piece.first + piece.bytes as u64);
        pieces.push(Piece { first, start: memory.as_mut_ptr(), bytes: memory.len(), _memory: memory });
    }

    /// What it grows within.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Bytes of its own texts, and of what was left free at the ends of pieces.
    pub fn used_bytes(&self) -> usize {
        self.used.get() as usize
    }

    /// Bytes there is room for.
    pub fn capacity_bytes(&self) -> usize {
        self.pieces.borrow().iter().map(|piece| piece.bytes).sum()
    }

    /// Bytes that were ever asked for.
    #[cfg(test)]
    pub fn asked_bytes(&self) -> u64 {
        self.asked_bytes.get()
    }

    /// Forgets all texts but those of constants, and makes one piece of all. Nobody can hold one of them: it takes the pool
    /// alone.
    pub fn clear(&mut self) {
        let pieces = self.pieces.get_mut();
        if pieces.len() > 1 {
            let bytes = pieces.iter().map(|piece| piece.bytes).sum();
            pieces.clear();
            // Where there is not so much in one piece any more, it grows again.
            let memory = Buffer::new(&self.budget, PURPOSE, bytes);
            if let Ok(memory) = memory {
                self.add_piece(memory);
            }
        }
        self.used.set(0);
        self.piece.set(0);
    }

    /// The same pool after other constants, without a text of its own.
    pub fn set_constants(&mut self, constants: Texts) {
        self.clear();
        self.constants = constants;
    }

    /// Where `bytes` more fit after the last text: the piece, and the place in it. Grows where they fit nowhere.
    fn place(&self, bytes: usize) -> Result<(usize, usize), BudgetError> {
        let used = self.used.get();
        let fits = {
            let pieces = self.pieces.borrow();
            let at = |piece: &Piece| usize::try_from(used.saturating_sub(piece.first)).unwrap_or(usize::MAX);
            let behind = pieces.iter().enumerate().skip(self.piece.get());
            let mut places = behind.map(|(number, piece)| (number, at(piece), piece.bytes));
            places.find(|(_, at, all)| all.checked_sub(*at).is_some_and(|free| free >= bytes))
        };
        let (number, at) = match fits {
            Some((number, at, _)) => (number, at),
            None => {
                let all = self.capacity_bytes();
                // Half as much again, or where there is not so much just what is needed.
                let memory = Buffer::new(&self.budget, PURPOSE, bytes.max(PIECE_BYTES).max(all / 2))
                    .or_else(|_| Buffer::new(&self.budget, PURPOSE, bytes))?;
                self.add_piece(memory);
                (self.pieces.borrow().len() - 1, 0)
            }
        };
        Ok((number, at))
    }

    /// Adds a string.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn push(&self, text: &[u8]) -> Result<StringRef, BudgetError> {
        self.extended(StringRef { offset: self.end(), bytes: 0 }, text)
    }

    /// The offset after the last text, as strings have it.
    fn end(&self) -> u64 {
        self.constants.bytes() + self.used.get()
    }

    /// The string with `more` after it. The last one that was added is made longer where it is; of another a copy is.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn extended(&self, text: StringRef, more: &[u8]) -> Result<StringRef, BudgetError> {
        self.asked_bytes.set(self.asked_bytes.get().saturating_add(more.len() as u64));
        let is_last = text.offset + text.bytes == self.end() && text.offset >= self.constants.bytes();
        let old = if is_last { self.used.get() - text.bytes } else { self.used.get() };
        let bytes = text.bytes as usize + more.len();
        // From the text's own start, where it is the last.
        self.used.set(old);
        let placed = self.place(bytes);
        let (number, at) =
            placed.inspect_err(|_| self.used.set(old + if is_last { text.bytes } else { 0 }))?;
        let (first, start) = {
            let pieces = self.pieces.borrow();
            (pieces[number].first, pieces[number].start)
        };
        let offset = self.constants.bytes() + first + at as u64;
        let is_in_place = is_last && offset == text.offset;
        if is_last && !is_in_place {
            // It has to be read where it was.
            self.used.set(old + text.bytes);
        }
        if !is_in_place && text.bytes > 0 {
            self.asked_bytes.set(self.asked_bytes.get().saturating_add(text.bytes));
            let own = self.get(text);
            // SAFETY: `place` has found room for all of it, after every string that `get` has handed out.
            unsafe { std::ptr::copy_nonoverlapping(own.as_ptr(), start.add(at), own.len()) };
        }
        // SAFETY: inside the piece, and after every string that `get` has handed out and that is still borrowed: bytes are
        // only appended, `clear` takes the pool mutably, and `release` has its own promise.
        unsafe {
            std::ptr::copy_nonoverlapping(more.as_ptr(), start.add(at + text.bytes as usize), more.len())
        };
        self.piece.set(number);
        self.used.set(first + (at + bytes) as u64);
        Ok(StringRef { offset, bytes: bytes as u64 })
    }

    /// Adds the texts of two strings as one.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn join(&self, first: StringRef, second: StringRef) -> Result<StringRef, BudgetError> {
        let copy = self.push(self.get(first))?;
        self.extended(copy, self.get(second))
    }

    /// Where its texts end by now, for [`StringPool::release`].
    pub fn mark(&self) -> Mark {
        Mark { used: self.used.get(), piece: self.piece.get() }
    }

    /// True for a text of its own that was added from `mark` up to `end`. What refers to no such text is let alone: elements of
    /// lists that nothing has written yet are anything.
    fn is_between(&self, mark: Mark, end: u64, text: StringRef) -> bool {
        text.bytes > 0
            && text.offset >= self.constants.bytes() + mark.used
            && self.find_up_to(end, text).is_some()
    }

    /// Adds a string where there is room for it without more memory.
    pub fn push_within(&self, text: &[u8]) -> Option<StringRef> {
        let pieces = self.pieces.borrow();
        let used = self.used.get();
        let end = |piece: &Piece| piece.first + piece.bytes as u64;
        let free = pieces.iter().skip(self.piece.get()).map(|piece| end(piece) - used.max(piece.first)).max();
        let fits = free.is_some_and(|free| free >= text.len() as u64);
        drop(pieces);
        if fits { self.push(text).ok() } else { None }
    }

    /// Forgets the texts that were added since `mark`, but those that kept strings refer to, each of which `kept` calls what
    /// it is given with: these are made to refer to where their texts are then. While most of what was added is kept,
    /// nothing is done.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory to move what is kept.
    ///
    /// # Safety
    /// Nobody holds a text that was added since, and no string but the kept ones that refers to one is read again.
    pub unsafe fn release(&self, mark: Mark, kept: &EachString<'_>) -> Result<(), BudgetError> {
        let end_used = self.used.get();
        let is_kept = |text: StringRef| self.is_between(mark, end_used, text);
        let added = end_used - mark.used;
        let mut bytes = 0u64;
        if added > 0 {
            kept(&mut |text| bytes = bytes.saturating_add(if is_kept(*text) { text.bytes } else { 0 }));
        }
        if added == 0 || bytes.saturating_mul(2) > added {
            return Ok(());
        }
        let mut copies = Buffer::new(&self.budget, PURPOSE, bytes as usize)?;
        let mut at = 0;
        kept(&mut |text| {
            let own = if is_kept(*text) { self.get(*text) } else { &[] };
            if let Some(copy) = copies.get_mut(at..at + own.len()) {
                copy.copy_from_slice(own);
            }
            at += own.len();
        });
        self.used.set(mark.used);
        self.piece.set(mark.piece);
        let (mut at, mut moved) = (0, Ok(()));
        kept(&mut |text| {
            if is_kept(*text) {
                let end = at + text.bytes as usize;
                match self.push(copies.get(at..end).unwrap_or_default()) {
                    Ok(new) => *text = new,
                    Err(error) => moved = Err(error),
                }
                at = end;
            }
        });
        moved
    }

    /// The text of a string; empty for a reference that this pool did not make.
    pub fn get(&self, string: StringRef) -> &[u8] {
        self.find(string).unwrap_or_default()
    }

    fn find(&self, string: StringRef) -> Option<&[u8]> {
        self.find_up_to(self.used.get(), string)
    }

    /// The text of a string, where texts end at `used`.
    fn find_up_to(&self, used: u64, string: StringRef) -> Option<&[u8]> {
        let bytes = usize::try_from(string.bytes).ok()?;
        let Some(offset) = string.offset.checked_sub(self.constants.bytes()) else {
            return self.constants.get(string.offset, bytes);
        };
        if offset.checked_add(string.bytes)? > used {
            return None;
        }
        let pieces = self.pieces.borrow();
        let number = pieces.partition_point(|piece| piece.first <= offset).checked_sub(1)?;
        let piece = pieces.get(number)?;
        let at = usize::try_from(offset - piece.first).ok()?;
        if at.checked_add(bytes)? > piece.bytes {
            return None;
        }
        // SAFETY: the range is in the memory of a piece, which stays where it is, was written by `extended` or zeroed, and is
        // not written again while it is borrowed, see there.
        Some(unsafe { std::slice::from_raw_parts(piece.start.add(at), bytes) })
    }
}

/// Calls what it is given with each of some strings, in the same order each time.
pub type EachString<'a> = dyn Fn(&mut dyn FnMut(&mut StringRef)) + 'a;

/// A place among the texts of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    used: u64,
    piece: usize,
}

/// What the memory of texts is reserved for.
const PURPOSE: &str = "strings";

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
        let mut pool = StringPool::new(texts, Buffer::new(&budget, "test", 4).unwrap(), &budget);
        let own = pool.push(b"own").unwrap();
        assert!(pool.push(&[0; 1 << 20]).is_err());
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

    fn pool(bytes: usize, budget: u64) -> StringPool {
        let budget = MemoryBudget::new(budget);
        StringPool::new(Texts::default(), Buffer::new(&budget, "test", bytes).unwrap(), &budget)
    }

    #[test]
    fn texts_stay_where_they_are_while_the_pool_grows() {
        let mut pool = pool(10, 1 << 20);
        let texts: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; usize::from(i) * 3]).collect();
        let references: Vec<_> = texts.iter().map(|text| pool.push(text).unwrap()).collect();
        let held: Vec<&[u8]> = references.iter().map(|r| pool.get(*r)).collect();
        assert!(held.iter().zip(&texts).all(|(a, b)| *a == &b[..]));
        pool.clear();
        assert_eq!(pool.pieces.borrow().len(), 1);
        assert!(pool.capacity_bytes() >= texts.iter().map(Vec::len).sum());
    }

    #[test]
    fn a_text_is_made_longer_across_the_end_of_a_piece() {
        let pool = pool(10, 1 << 20);
        let mut text = pool.push(b"abc").unwrap();
        let other = pool.extended(text, b"d").unwrap();
        assert_eq!((other.offset, pool.get(text)), (text.offset, &b"abc"[..]));
        text = other;
        for _ in 0..5000 {
            text = pool.extended(text, b"efg").unwrap();
        }
        assert_eq!(pool.get(text).len(), 15_004);
        assert!(pool.get(text).starts_with(b"abcdefgefg") && pool.get(text).ends_with(b"efg"));
        let copy = pool.extended(other, b"!").unwrap();
        assert_eq!(pool.get(copy), b"abcd!");
        let last = pool.push(b"").unwrap();
        assert_eq!(pool.get(pool.join(last, copy).unwrap()), b"abcd!");
    }

    #[test]
    fn what_nothing_keeps_is_given_back() {
        let pool = pool(100, 20 << 10);
        let before = pool.push(b"before").unwrap();
        let mark = pool.mark();
        let kept = [before, StringRef::default()].map(Cell::new);
        // Far more than there is memory for at once.
        for turn in 0..1000u32 {
            let own = pool.get(kept[1].get()).to_vec();
            pool.push(&[7; 500]).unwrap();
            kept[1].set(pool.push(&turn.to_le_bytes()).unwrap());
            let each = |visit: &mut dyn FnMut(&mut StringRef)| {
                for text in &kept {
                    let mut own = text.get();
                    visit(&mut own);
                    text.set(own);
                }
            };
            // SAFETY: no text is held.
            unsafe { pool.release(mark, &each).unwrap() };
            assert_eq!(pool.get(kept[0].get()), b"before");
            assert_eq!(pool.get(kept[1].get()), turn.to_le_bytes());
            assert!(own.len() <= 4);
        }
        assert!(pool.capacity_bytes() < 8 << 10, "{}", pool.capacity_bytes());
    }

    #[test]
    fn past_the_budget_is_its_error_and_nothing_is_lost() {
        let pool = pool(8, 64);
        let text = pool.push(b"12345678").unwrap();
        assert!(pool.push(&[0; 100]).is_err());
        assert!(pool.extended(text, &[0; 100]).is_err());
        assert_eq!(pool.get(text), b"12345678");
        let more = pool.extended(text, b"9").unwrap();
        assert_eq!(pool.get(more), b"123456789");
    }
}
