//! Many elements as bytes in one buffer, of which any can be taken out.
//!
//! Entries lie one after the other from the front: the entry's number and its length, 4 bytes each, then its bytes,
//! filled up to a multiple of 8. A list of where each begins grows from the back, 4 bytes an entry. What is taken out
//! leaves a hole that the next entry of the same size fills; when there is neither such a hole nor room after the last
//! entry, all are moved together. An eighth of the buffer is left free for that, so that a byte is moved seven times on
//! average, and not at all where sizes come again.

use tightfit_core::{BudgetError, Buffer, MemoryBudget};

use crate::error::{Defect, Needed};

/// Entries begin at multiples of this.
const UNIT_BYTES: usize = 8;

/// Bytes before each entry: its number and its length.
const HEAD_BYTES: usize = 8;

/// Bytes of one number in the list of entries.
const INDEX_BYTES: usize = 4;

/// Holes of fewer units than this are found again.
const CLASSES: usize = 256;

/// The number of a hole, and the end of a list of them.
const NONE: u32 = u32::MAX;

/// Entries that are not where the list says.
const OUTSIDE: &str = "an entry of a buffer lies outside it";

/// See the module.
pub(crate) struct Arena {
    buffer: Buffer,
    /// Units up to the end of the last entry, and those in use.
    end: usize,
    used: usize,
    count: usize,
    /// The first hole of each size in units; a hole holds the next after its head.
    holes: [u32; CLASSES],
}

fn units(bytes: usize) -> usize {
    // An entry has room for the number of the next hole of its size, once it is one.
    (HEAD_BYTES + bytes.max(1)).div_ceil(UNIT_BYTES)
}

impl Arena {
    /// An arena of `bytes` out of `budget`.
    pub fn new(budget: &MemoryBudget, purpose: &'static str, bytes: usize) -> Result<Arena, BudgetError> {
        let buffer = Buffer::new(budget, purpose, bytes)?;
        Ok(Arena { buffer, end: 0, used: 0, count: 0, holes: [NONE; CLASSES] })
    }

    /// Bytes it holds, used or not.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Takes out all.
    pub fn clear(&mut self) {
        (self.end, self.used, self.count, self.holes) = (0, 0, 0, [NONE; CLASSES]);
    }

    /// Whether an entry of `bytes` fits beside those that are there. That depends on their sizes alone.
    pub fn fits(&self, bytes: usize) -> bool {
        // Entries are numbered in 4 bytes, and so are units.
        if bytes >= NONE as usize || self.buffer.len() / UNIT_BYTES >= NONE as usize {
            return false;
        }
        let limit = if self.count == 0 { self.buffer.len() } else { self.buffer.len() / 8 * 7 };
        (self.used + units(bytes)) * UNIT_BYTES + (self.count + 1) * INDEX_BYTES <= limit
    }

    /// Adds an entry after the last; false when it does not fit.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, Defect> {
        if !self.fits(bytes.len()) {
            return Ok(false);
        }
        let units = units(bytes.len());
        let at = self.room(units)?;
        self.set_word(at * UNIT_BYTES, self.count as u32)?;
        self.set_word(at * UNIT_BYTES + 4, bytes.len() as u32)?;
        let from = at * UNIT_BYTES + HEAD_BYTES;
        self.buffer.get_mut(from..from + bytes.len()).needed(OUTSIDE)?.copy_from_slice(bytes);
        self.count += 1;
        self.used += units;
        self.set_start(self.count - 1, at)?;
        Ok(true)
    }

    /// Where an entry of `units` goes, which is known to fit.
    fn room(&mut self, units: usize) -> Result<usize, Defect> {
        // The list of entries grows as well.
        let limit = (self.buffer.len() - (self.count + 1) * INDEX_BYTES) / UNIT_BYTES;
        // Of larger holes there is no list.
        let hole = self.holes.get(units).copied().filter(|hole| *hole != NONE && self.end <= limit);
        if let Some(hole) = hole {
            self.holes[units] = self.word(hole as usize * UNIT_BYTES + HEAD_BYTES)?;
            return Ok(hole as usize);
        }
        if self.end + units > limit {
            self.compact()?;
        }
        let at = self.end;
        self.end += units;
        Ok(at)
    }

    /// The bytes of entry `number`.
    pub fn get(&self, number: usize) -> Result<&[u8], Defect> {
        let at = self.start(number)? * UNIT_BYTES;
        let bytes = self.word(at + 4)? as usize;
        self.buffer.get(at + HEAD_BYTES..at + HEAD_BYTES + bytes).needed(OUTSIDE)
    }

    /// Takes out entry `number`; the last gets its number.
    pub fn swap_remove(&mut self, number: usize) -> Result<(), Defect> {
        let last = self.count.checked_sub(1).filter(|last| number <= *last);
        let last = last.needed("an entry is taken out that is not there")?;
        let at = self.start(number)?;
        let units = units(self.word(at * UNIT_BYTES + 4)? as usize);
        let moved = self.start(last)?;
        self.set_start(number, moved)?;
        self.set_word(moved * UNIT_BYTES, number as u32)?;
        self.count = last;
        self.used -= units;
        self.set_word(at * UNIT_BYTES, NONE)?;
        if let Some(first) = self.holes.get_mut(units) {
            let next = std::mem::replace(first, at as u32);
            self.set_word(at * UNIT_BYTES + HEAD_BYTES, next)?;
        }
        if self.count == 0 {
            self.clear();
        }
        Ok(())
    }

    /// Moves all entries to the front, in the order in which they lie.
    fn compact(&mut self) -> Result<(), Defect> {
        let (mut from, mut to) = (0, 0);
        while from < self.end {
            let (number, bytes) = (self.word(from * UNIT_BYTES)?, self.word(from * UNIT_BYTES + 4)?);
            let units = units(bytes as usize);
            if number != NONE {
                if from != to {
                    let range = from * UNIT_BYTES..(from + units) * UNIT_BYTES;
                    self.buffer.copy_within(range, to * UNIT_BYTES);
                    self.set_start(number as usize, to)?;
                }
                to += units;
            }
            from += units;
        }
        (self.end, self.holes) = (to, [NONE; CLASSES]);
        Ok(())
    }

    /// Where the list says where entry `number` begins.
    fn index(&self, number: usize) -> Result<usize, Defect> {
        let words = self.buffer.len() / INDEX_BYTES;
        Ok(words.checked_sub(number + 1).needed(OUTSIDE)? * INDEX_BYTES)
    }

    fn start(&self, number: usize) -> Result<usize, Defect> {
        Ok(self.word(self.index(number)?)? as usize)
    }

    fn set_start(&mut self, number: usize, start: usize) -> Result<(), Defect> {
        self.set_word(self.index(number)?, start as u32)
    }

    fn word(&self, at: usize) -> Result<u32, Defect> {
        let bytes = self.buffer.get(at..).and_then(|rest| rest.first_chunk());
        Ok(u32::from_le_bytes(*bytes.needed(OUTSIDE)?))
    }

    fn set_word(&mut self, at: usize, word: u32) -> Result<(), Defect> {
        let to = self.buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
        *to.needed(OUTSIDE)? = word.to_le_bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shuffle::Random;

    #[test]
    fn holds_what_a_list_holds() {
        for (bytes, largest) in [(1000, 40), (10_000, 200), (100_000, 9000), (64, 20)] {
            let mut arena = Arena::new(&MemoryBudget::new(u64::MAX), "test", bytes).unwrap();
            let mut list: Vec<Vec<u8>> = Vec::new();
            let mut random = Random::new(1, 0);
            for step in 0..20_000u64 {
                let entry = vec![step as u8; random.below(largest) as usize];
                if arena.fits(entry.len()) {
                    assert!(arena.push(&entry).unwrap());
                    list.push(entry);
                } else {
                    assert!(!arena.push(&entry).unwrap());
                    let number = random.below(list.len() as u64) as usize;
                    assert_eq!(arena.get(number).unwrap(), list[number]);
                    arena.swap_remove(number).unwrap();
                    list.swap_remove(number);
                }
                assert_eq!(arena.len(), list.len());
                assert!(
                    (0..list.len()).step_by(7).all(|i| arena.get(i).unwrap() == list[i]),
                    "{bytes}: step {step}"
                );
            }
        }
    }

    #[test]
    fn small_entries_cost_little() {
        let mut arena = Arena::new(&MemoryBudget::new(u64::MAX), "test", 100_000).unwrap();
        while arena.push(&[1; 16]).unwrap() {}
        // 16 bytes, a head of 8 and 4 in the list, in seven eighths of the buffer.
        assert_eq!(arena.len(), 100_000 / 8 * 7 / 28);
    }

    #[test]
    fn one_entry_may_take_all() {
        let mut arena = Arena::new(&MemoryBudget::new(u64::MAX), "test", 1000).unwrap();
        assert!(!arena.fits(989));
        assert!(arena.push(&[3; 984]).unwrap() && !arena.fits(0));
        assert_eq!(arena.get(0).unwrap(), [3; 984]);
        arena.swap_remove(0).unwrap();
        assert!(arena.fits(984));
    }
}
