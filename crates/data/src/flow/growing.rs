//! Memory that grows to the largest it was asked for, and is then used again.

use tightfit_core::{BudgetError, Buffer, MemoryBudget};

use crate::error::{Defect, Needed};

/// Sizes are multiples of this.
const STEP_BYTES: usize = 64;

/// The most that is asked for beyond what is needed, where nothing else was asked for before.
const SPARE_BYTES: usize = 64 << 10;

/// Where memory is to be saved, sizes are multiples of this, and so much is kept for the next time.
const FRUGAL_BYTES: usize = 1 << 10;

/// Bytes out of a budget, the first of them in use. Of a [frugal](MemoryBudget::is_frugal) one no more is held than is in
/// use, whatever was before, so that what fits is decided by the present element alone.
#[derive(Debug)]
pub(crate) struct Growing {
    budget: MemoryBudget,
    purpose: &'static str,
    buffer: Option<Buffer>,
    used: usize,
}

impl Growing {
    pub fn new(purpose: &'static str, budget: &MemoryBudget) -> Growing {
        Growing { budget: budget.clone(), purpose, buffer: None, used: 0 }
    }

    /// Bytes held, in use or not.
    pub fn held_bytes(&self) -> usize {
        self.buffer.as_ref().map_or(0, |b| b.len())
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Puts the first `used` of the bytes held in use, and no more.
    pub fn set_used(&mut self, used: usize) {
        self.used = used.min(self.held_bytes());
        if self.used == 0 && self.budget.is_frugal() && self.held_bytes() > FRUGAL_BYTES {
            self.buffer = None;
        }
    }

    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        // No more is in use than is held: what sets the one looks at the other.
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.used])
    }

    /// Part of the bytes in use.
    pub fn range_mut(&mut self, from: usize, to: usize) -> Result<&mut [u8], Defect> {
        match &mut self.buffer {
            None if from == 0 && to == 0 => Ok(&mut []),
            buffer => {
                buffer.as_mut().and_then(|b| b.get_mut(from..to)).needed("memory ends before its fields")
            }
        }
    }

    /// Puts bytes up to `end` in use; those from the old end on hold anything. The part after it.
    pub fn grow_to(&mut self, end: usize) -> Result<&mut [u8], BudgetError> {
        let from = self.used.min(end);
        if end > self.held_bytes() {
            self.reserve(end)?;
        }
        self.used = self.used.max(end);
        Ok(self.buffer.as_mut().map_or(&mut [], |buffer| &mut buffer[from..end]))
    }

    /// Adds `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), BudgetError> {
        self.grow_to(self.used.saturating_add(bytes.len()))?.copy_from_slice(bytes);
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), BudgetError> {
        if self.used == 0 {
            // Nothing is kept, so the old one need not exist beside the new.
            self.buffer = None;
        }
        if self.budget.is_frugal() {
            return self.hold(bytes.checked_next_multiple_of(FRUGAL_BYTES).unwrap_or(bytes));
        }
        // A little more than asked, so that elements that differ slightly do not make a new buffer each.
        let roomy = bytes.saturating_add((bytes / 8).min(SPARE_BYTES)).max(self.used.saturating_mul(2));
        let roomy = roomy.checked_next_multiple_of(STEP_BYTES).unwrap_or(bytes);
        if roomy as u64 <= self.budget.free_bytes() && self.hold(roomy).is_ok() {
            return Ok(());
        }
        self.hold(bytes)
    }

    /// Holds `bytes`, the first of them as they were.
    fn hold(&mut self, bytes: usize) -> Result<(), BudgetError> {
        match &mut self.buffer {
            Some(buffer) => buffer.grow(&self.budget, bytes),
            None => {
                self.buffer = Some(Buffer::new(&self.budget, self.purpose, bytes)?);
                Ok(())
            }
        }
    }
}
