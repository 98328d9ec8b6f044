//! The memory budget: one limit, counted reservations, an error that names who holds what.
//!
//! The model is DataFusion's memory pool (consumer, RAII reservation, top consumers in the error), without its
//! infallible grow: nothing here can pass the limit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::size::display_bytes;

/// A limit in bytes shared by everything that allocates; cheap to clone.
#[derive(Clone)]
pub struct MemoryBudget {
    inner: Arc<Inner>,
}

struct Inner {
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used_bytes: u64,
    peak_bytes: u64,
    held_bytes_by_purpose: BTreeMap<&'static str, u64>,
    peak_bytes_by_purpose: BTreeMap<&'static str, u64>,
}

impl MemoryBudget {
    /// A budget of `limit_bytes` of which nothing is used yet.
    pub fn new(limit_bytes: u64) -> Self {
        Self { inner: Arc::new(Inner { limit_bytes, state: Mutex::default() }) }
    }

    /// A budget without a limit, for tests and for tools that only count.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// The limit in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.inner.limit_bytes
    }

    /// Bytes reserved now.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes
    }

    /// The most bytes that were ever reserved at once.
    pub fn peak_bytes(&self) -> u64 {
        self.state().peak_bytes
    }

    /// Bytes that can still be reserved.
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes() - self.used_bytes()
    }

    /// Bytes held now by each purpose, largest first.
    pub fn holders(&self) -> Vec<(&'static str, u64)> {
        holders(&self.state())
    }

    /// Calls `each` with every purpose that ever held something: what it holds now, and the most that it held at once, in
    /// bytes. Allocates nothing.
    pub fn for_each_purpose(&self, each: &mut dyn FnMut(&'static str, u64, u64)) {
        let state = self.state();
        for (purpose, peak_bytes) in &state.peak_bytes_by_purpose {
            let held_bytes = state.held_bytes_by_purpose.get(purpose).copied().unwrap_or(0);
            each(purpose, held_bytes, *peak_bytes);
        }
    }

    /// Reserves `bytes` for `purpose`, or says why it cannot.
    ///
    /// # Errors
    /// [`BudgetError`] when fewer than `bytes` are free; nothing is reserved then.
    pub fn try_reserve(&self, purpose: &'static str, bytes: u64) -> Result<Reservation, BudgetError> {
        self.take(purpose, bytes)?;
        Ok(Reservation { budget: self.clone(), purpose, bytes })
    }

    fn take(&self, purpose: &'static str, bytes: u64) -> Result<(), BudgetError> {
        let mut state = self.state();
        let free_bytes = self.inner.limit_bytes - state.used_bytes;
        if bytes > free_bytes {
            return Err(BudgetError {
                purpose,
                asked_bytes: bytes,
                free_bytes,
                limit_bytes: self.inner.limit_bytes,
                holders: holders(&state),
            });
        }
        state.used_bytes += bytes;
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        let held_bytes = state.held_bytes_by_purpose.entry(purpose).or_default();
        *held_bytes += bytes;
        let held_bytes = *held_bytes;
        let peak_bytes = state.peak_bytes_by_purpose.entry(purpose).or_default();
        *peak_bytes = held_bytes.max(*peak_bytes);
        Ok(())
    }

    fn give_back(&self, purpose: &'static str, bytes: u64) {
        let mut state = self.state();
        state.used_bytes -= bytes;
        if let Some(held) = state.held_bytes_by_purpose.get_mut(purpose) {
            *held -= bytes;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The counters are valid after every statement, so a panic elsewhere cannot have broken them.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holders(state: &State) -> Vec<(&'static str, u64)> {
    let mut list: Vec<_> =
        state.held_bytes_by_purpose.iter().filter(|(_, b)| **b > 0).map(|(p, b)| (*p, *b)).collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    list
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("limit_bytes", &self.limit_bytes())
            .field("used_bytes", &self.used_bytes())
            .finish()
    }
}

/// A share of a [`MemoryBudget`], given back when dropped. It cannot be cloned.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    purpose: &'static str,
    bytes: u64,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it is held for.
    pub fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// Gives back all but `bytes`; does nothing when it holds no more than that.
    pub fn shrink(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.budget.give_back(self.purpose, self.bytes - bytes);
            self.bytes = bytes;
        }
    }

    /// Takes `bytes` out of this reservation into one of its own, or `None` when it holds fewer.
    pub fn split(&mut self, bytes: u64) -> Option<Reservation> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Reservation { budget: self.budget.clone(), purpose: self.purpose, bytes })
    }

    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// [`BudgetError`] when fewer than `bytes` are free; the reservation is as before then.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), BudgetError> {
        self.budget.take(self.purpose, bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.purpose, self.bytes);
    }
}

/// A reservation that did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetError {
    /// What the bytes were for.
    pub purpose: &'static str,
    /// Bytes asked.
    pub asked_bytes: u64,
    /// Bytes that were free.
    pub free_bytes: u64,
    /// The budget's limit.
    pub limit_bytes: u64,
    /// Who holds how many bytes, largest first.
    pub holders: Vec<(&'static str, u64)>,
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} needs {} but only {} of the {} budget are free",
            self.purpose,
            display_bytes(self.asked_bytes),
            display_bytes(self.free_bytes),
            display_bytes(self.limit_bytes)
        )?;
        for (i, (purpose, bytes)) in self.holders.iter().take(3).enumerate() {
            let lead = if i == 0 { "; held by " } else { ", " };
            write!(f, "{lead}{purpose} {}", display_bytes(*bytes))?;
        }
        Ok(())
    }
}

impl std::error::Error for BudgetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_peak_and_gives_back() {
        let budget = MemoryBudget::new(100);
        let a = budget.try_reserve("a", 60).unwrap();
        {
            let _b = budget.try_reserve("b", 40).unwrap();
            assert_eq!(budget.free_bytes(), 0);
        }
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (60, 100));
        let mut purposes = Vec::new();
        budget.for_each_purpose(&mut |purpose, held, peak| purposes.push((purpose, held, peak)));
        assert_eq!(purposes, [("a", 60, 60), ("b", 0, 40)]);
        drop(a);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.holders().is_empty());
    }

    #[test]
    fn error_names_purpose_and_holders() {
        let budget = MemoryBudget::new(100);
        let _a = budget.try_reserve("arena", 10).unwrap();
        let _w = budget.try_reserve("weights", 50).unwrap();
        let error = budget.try_reserve("window", 41).unwrap_err();
        assert_eq!((error.asked_bytes, error.free_bytes, error.limit_bytes), (41, 40, 100));
        assert_eq!(error.holders, vec![("weights", 50), ("arena", 10)]);
        assert!(error.to_string().contains("window") && error.to_string().contains("weights"));
        assert_eq!(budget.used_bytes(), 60);
    }

    #[test]
    fn shrink_split_grow_keep_the_count() {
        let budget = MemoryBudget::new(100);
        let mut a = budget.try_reserve("a", 80).unwrap();
        let b = a.split(30).unwrap();
        assert_eq!((a.bytes(), b.bytes(), budget.used_bytes()), (50, 30, 80));
        assert!(a.split(51).is_none());
        assert_eq!(a.bytes(), 50);
        a.shrink(20);
        a.shrink(90);
        assert_eq!((a.bytes(), budget.used_bytes()), (20, 50));
        assert!(a.try_grow(51).is_err());
        a.try_grow(50).unwrap();
        drop(b);
        assert_eq!(budget.used_bytes(), 70);
    }
}
