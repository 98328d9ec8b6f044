//! Counting many small allocations: a reservation that grows in steps, ahead of the heap.
//!
//! A [`crate::Buffer`] is one large block with a reservation of its own. The structure of a model is the opposite: a
//! hundred thousand names, lists and nodes. An [`Account`] counts them as the allocator does, header and rounding
//! included, and reserves some KiB at a time, so that the budget is asked before the heap grows and not for each name.

use crate::budget::{BudgetError, MemoryBudget, Reservation};

/// The reservation is grown by this much at a time, as most allocations are of a few bytes.
const STEP_BYTES: u64 = 4 << 10;

/// Blocks from this size on are mapped by themselves, in whole pages.
const MAPPED_FROM_BYTES: u64 = 64 << 10;
const PAGE_BYTES: u64 = 4 << 10;

/// What an allocator takes for a block of `bytes`: a header of 8 bytes, in steps of 16, at least 32, and whole pages
/// for a large one. Nothing is nothing.
pub fn block_bytes(bytes: u64) -> u64 {
    match bytes {
        0 => 0,
        MAPPED_FROM_BYTES.. => bytes.saturating_add(16 + PAGE_BYTES - 1) & !(PAGE_BYTES - 1),
        _ => (bytes + 8 + 15).max(32) & !15,
    }
}

/// What the block of a list takes, unused room included; what its elements hold themselves is not in it.
pub fn list_bytes<T>(list: &Vec<T>) -> u64 {
    array_bytes::<T>(list.capacity())
}

/// What a block of `count` elements takes.
pub fn array_bytes<T>(count: usize) -> u64 {
    block_bytes((count as u64).saturating_mul(size_of::<T>() as u64))
}

/// Gives back to the system what has been freed but is still kept by the allocator for the next allocation. What
/// comes next is mostly large and mapped by itself, so freed small blocks would stay resident for nobody.
pub fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes no pointer and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// One reservation for many small allocations, counted before they are made.
///
/// A counter that has been refused remembers it: [`Account::check`] tells from then on. Code that cannot return an
/// error in the middle of a change goes on to the change's end and is stopped there.
#[derive(Debug)]
pub struct Account {
    budget: MemoryBudget,
    purpose: &'static str,
    reservation: Option<Reservation>,
    used_bytes: u64,
    peak_bytes: u64,
    refused: Option<BudgetError>,
}

impl Account {
    /// An account on which nothing stands yet.
    pub fn new(budget: &MemoryBudget, purpose: &'static str) -> Account {
        let budget = budget.clone();
        Account { budget, purpose, reservation: None, used_bytes: 0, peak_bytes: 0, refused: None }
    }

    /// The budget that it reserves from.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Bytes counted.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// The most bytes that were ever counted at once.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    fn reserved_bytes(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }

    /// Counts `bytes`, which are rounded to blocks already.
    ///
    /// # Errors
    /// [`BudgetError`] when they are not free; nothing is counted then.
    pub fn grow(&mut self, bytes: u64) -> Result<(), BudgetError> {
        let slack_bytes = self.reserved_bytes() - self.used_bytes;
        if bytes > slack_bytes {
            let missing = bytes - slack_bytes;
            // The same whatever is free, so that what fits follows from sizes alone.
            let step = missing.max(STEP_BYTES);
            let grown = match &mut self.reservation {
                Some(reservation) => reservation.try_grow(step),
                None => self.budget.try_reserve(self.purpose, step).map(|new| self.reservation = Some(new)),
            };
            if let Err(error) = grown {
                self.refused.get_or_insert_with(|| error.clone());
                return Err(error);
            }
        }
        self.used_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        Ok(())
    }

    /// Takes back what [`Account::grow`] has counted.
    pub fn shrink(&mut self, bytes: u64) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
        if self.reserved_bytes() - self.used_bytes > 2 * STEP_BYTES {
            let keep = self.used_bytes + STEP_BYTES;
            self.reservation.iter_mut().for_each(|reservation| reservation.shrink(keep));
        }
    }

    /// Counts one block of `bytes`.
    ///
    /// # Errors
    /// As [`Account::grow`].
    pub fn charge(&mut self, bytes: u64) -> Result<(), BudgetError> {
        self.grow(block_bytes(bytes))
    }

    /// Takes back one block of `bytes`.
    pub fn release(&mut self, bytes: u64) {
        self.shrink(block_bytes(bytes));
    }

    /// Changes the count from `old` to `new` bytes; a refusal is remembered.
    pub fn change(&mut self, old: u64, new: u64) {
        if new > old {
            // What is refused is told by `check`.
            let _ = self.grow(new - old);
        } else {
            self.shrink(old - new);
        }
    }

    /// Makes the count `bytes`, whatever it was: what has been counted anew as a whole.
    ///
    /// # Errors
    /// [`BudgetError`] when they are not free, and when an earlier change was refused.
    pub fn set(&mut self, bytes: u64) -> Result<(), BudgetError> {
        self.check()?;
        self.change(self.used_bytes, bytes);
        self.check()
    }

    /// Tells whether everything so far was free.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check(&self) -> Result<(), BudgetError> {
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// Remembers what was refused elsewhere, as if it had been here.
    pub fn refuse(&mut self, error: BudgetError) {
        self.refused.get_or_insert(error);
    }

    /// True when something was refused.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Room for what is needed for a while beside what is counted here; given back when dropped.
    ///
    /// # Errors
    /// [`BudgetError`] when it is not free.
    pub fn room(&self, bytes: u64) -> Result<Reservation, BudgetError> {
        self.budget.try_reserve(self.purpose, bytes)
    }

    /// Makes room in a list for `more` elements and no further, counting the old and the new block while both exist.
    ///
    /// # Errors
    /// As [`Account::grow`]; the list is as before then.
    pub fn reserve<T>(&mut self, list: &mut Vec<T>, more: usize) -> Result<(), BudgetError> {
        let wanted = list.len().saturating_add(more);
        if wanted > list.capacity() {
            let old_bytes = list_bytes(list);
            self.grow(array_bytes::<T>(wanted))?;
            list.reserve_exact(more);
            self.shrink(old_bytes);
        }
        Ok(())
    }

    /// Appends to a list.
    ///
    /// # Errors
    /// As [`Account::reserve`].
    pub fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), BudgetError> {
        if list.len() == list.capacity() {
            // Lists of attributes and inputs mostly stay this short; `fit` takes what is over.
            self.reserve(list, list.len().max(2))?;
        }
        list.push(item);
        Ok(())
    }

    /// Gives back what a complete list has allocated but does not use.
    pub fn fit<T>(&mut self, list: &mut Vec<T>) {
        let before = list_bytes(list);
        list.shrink_to_fit();
        self.shrink(before.saturating_sub(list_bytes(list)));
    }

    /// What everything counted takes, as a reservation that does not grow any more.
    ///
    /// # Errors
    /// The first refusal.
    pub fn finish(self) -> Result<Reservation, BudgetError> {
        self.check()?;
        let mut reservation = match self.reservation {
            Some(reservation) => reservation,
            None => self.budget.try_reserve(self.purpose, 0)?,
        };
        reservation.shrink(self.used_bytes);
        Ok(reservation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_an_allocator_makes_them() {
        assert_eq!([0, 1, 24, 25, 40, 41].map(block_bytes), [0, 32, 32, 48, 48, 64]);
        assert_eq!(block_bytes((64 << 10) - 1), (64 << 10) + 16);
        assert_eq!(block_bytes(64 << 10), 68 << 10);
        assert_eq!(block_bytes(u64::MAX), !0xfff);
        assert_eq!(array_bytes::<u64>(usize::MAX), !0xfff);
    }

    #[test]
    fn counts_lists_as_they_grow_and_shrink() {
        let budget = MemoryBudget::new(1 << 20);
        let mut account = Account::new(&budget, "test");
        let mut list = Vec::new();
        for i in 0..1000u64 {
            account.push(&mut list, i).unwrap();
        }
        account.fit(&mut list);
        let peak_bytes = account.peak_bytes();
        let kept = account.finish().unwrap();
        assert!((8000..8100).contains(&kept.bytes()), "{}", kept.bytes());
        assert!(peak_bytes > kept.bytes() && budget.peak_bytes() < 8000 * 4);
    }

    #[test]
    fn ends_at_the_budget() {
        let budget = MemoryBudget::new(1000);
        let mut account = Account::new(&budget, "test");
        let mut list = Vec::new();
        let error = (0..1000u64).find_map(|i| account.push(&mut list, i).err()).unwrap();
        assert!(error.limit_bytes == 1000 && list.capacity() * 8 <= 1000);
        assert_eq!(account.check().unwrap_err(), error);
        assert_eq!(account.finish().unwrap_err(), error);
    }

    #[test]
    fn gives_back_what_is_not_used_any_more() {
        let budget = MemoryBudget::new(1 << 20);
        let mut account = Account::new(&budget, "test");
        account.change(0, 500_000);
        account.shrink(400_000);
        assert!((100_000..110_000).contains(&budget.used_bytes()), "{}", budget.used_bytes());
        account.set(7).unwrap();
        assert_eq!((account.used_bytes(), account.peak_bytes()), (7, 500_000));
        account.change(7, 2 << 20);
        assert!(account.is_refused() && account.set(0).is_err());
        drop(account);
        assert_eq!(budget.used_bytes(), 0);
    }
}
