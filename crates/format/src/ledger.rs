//! Counts the small allocations of decoded metadata against the budget, before they are made.

use tightfit_core::{BudgetError, MemoryBudget, Reservation};

/// The reservation is grown by this much at a time, as many allocations are of a few bytes.
const STEP_BYTES: u64 = 4 << 10;

/// One reservation that grows as metadata is decoded.
#[derive(Debug)]
pub(crate) struct Ledger {
    reservation: Reservation,
    /// Bytes reserved but not in use.
    slack_bytes: u64,
    budget: MemoryBudget,
}

impl Ledger {
    pub fn new(budget: &MemoryBudget, purpose: &'static str) -> Result<Self, BudgetError> {
        let reservation = budget.try_reserve(purpose, 0)?;
        Ok(Self { reservation, slack_bytes: 0, budget: budget.clone() })
    }

    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Counts a heap block of `bytes`.
    pub fn charge(&mut self, bytes: u64) -> Result<(), BudgetError> {
        let bytes = block_bytes(bytes);
        if bytes > self.slack_bytes {
            let missing = bytes - self.slack_bytes;
            let step = missing.max(STEP_BYTES.min(self.budget.free_bytes()));
            self.reservation.try_grow(step)?;
            self.slack_bytes += step;
        }
        self.slack_bytes -= bytes;
        Ok(())
    }

    fn release(&mut self, bytes: u64) {
        self.slack_bytes += block_bytes(bytes);
    }

    /// Appends to a list, counting the old and the new block while both exist.
    pub fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), BudgetError> {
        if list.len() == list.capacity() {
            let old_bytes = capacity_bytes(list);
            // Lists of attributes and inputs mostly stay this short; `fit` takes what is over.
            let more = list.len().max(2);
            self.charge(old_bytes + (more * size_of::<T>()) as u64)?;
            list.reserve_exact(more);
            self.release(old_bytes);
        }
        list.push(item);
        Ok(())
    }

    /// Gives back what a complete list has allocated but does not use.
    pub fn fit<T>(&mut self, list: &mut Vec<T>) {
        let before = block_bytes(capacity_bytes(list));
        list.shrink_to_fit();
        self.slack_bytes += before.saturating_sub(block_bytes(capacity_bytes(list)));
    }

    /// What everything counted takes.
    pub fn finish(mut self) -> Reservation {
        let used = self.reservation.bytes() - self.slack_bytes;
        self.reservation.shrink(used);
        self.reservation
    }
}

fn capacity_bytes<T>(list: &Vec<T>) -> u64 {
    (list.capacity() * size_of::<T>()) as u64
}

/// What an allocator takes for a block: a header of 8 bytes, in steps of 16, at least 32.
fn block_bytes(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { bytes.saturating_add(8 + 15).max(32) & !15 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lists_as_they_grow_and_shrink() {
        let budget = MemoryBudget::new(1 << 20);
        let mut ledger = Ledger::new(&budget, "test").unwrap();
        let mut list = Vec::new();
        for i in 0..1000u64 {
            ledger.push(&mut list, i).unwrap();
        }
        ledger.fit(&mut list);
        let kept = ledger.finish();
        assert!((8000..8100).contains(&kept.bytes()), "{}", kept.bytes());
        assert!(budget.peak_bytes() < 8000 * 4);
    }

    #[test]
    fn ends_at_the_budget() {
        let budget = MemoryBudget::new(1000);
        let mut ledger = Ledger::new(&budget, "test").unwrap();
        let mut list = Vec::new();
        let error = (0..1000u64).find_map(|i| ledger.push(&mut list, i).err()).unwrap();
        assert!(error.limit_bytes == 1000 && list.capacity() * 8 <= 1000);
    }
}
