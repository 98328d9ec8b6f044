//! The memory budget: one limit, counted reservations, an error that names who holds what.
//!
//! The model is DataFusion's memory pool (consumer, RAII reservation, top consumers in the error), without its
//! infallible grow: nothing here can pass the limit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::size::display_bytes;

/// Who waits for memory looks this often whether it still may.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A limit in bytes shared by everything that allocates; cheap to clone.
///
/// A budget may be a [child](MemoryBudget::child) of another, which counts in both. A handle may also have a manner of
/// its own, which its clones and the reservations made through it share: [patience](MemoryBudget::with_patience), and
/// [frugality](MemoryBudget::frugal).
#[derive(Clone)]
pub struct MemoryBudget {
    inner: Arc<Inner>,
    patience: Option<Arc<dyn Patience>>,
    is_frugal: bool,
}

/// Decides, each time that memory is short, whether a thread waits for it or is refused.
///
/// What works ahead of need waits, and leaves some bytes to those who do not; whoever must have the memory now, and has
/// nothing to give back, is refused at once.
pub trait Patience: Send + Sync {
    /// `None` when the current thread is to be refused; else the bytes that its reservations leave free for others. It
    /// is asked again every few milliseconds while the thread waits.
    fn waits(&self) -> Option<u64>;

    /// The current thread begins to wait.
    fn sits_down(&self) {}

    /// The current thread does not wait any more, whether it got the memory or not.
    fn gets_up(&self) {}
}

struct Inner {
    limit_bytes: u64,
    parent: Option<Arc<Inner>>,
    state: Mutex<State>,
    /// One for a budget and all that descend from it.
    queue: Arc<Queue>,
}

/// Those who wait for memory, first come, first served.
#[derive(Default)]
struct Queue {
    tickets: Mutex<Tickets>,
    freed: Condvar,
    /// So many wait; without any, giving back costs no lock.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    waiting: VecDeque<u64>,
}

#[derive(Default)]
struct State {
    used_bytes: u64,
    peak_bytes: u64,
    recent_peak_bytes: u64,
    held_bytes_by_purpose: BTreeMap<&'static str, u64>,
    peak_bytes_by_purpose: BTreeMap<&'static str, u64>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // The counters are valid after every statement, so a panic elsewhere cannot have broken them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `bytes` here and in all parents, or nowhere. `spare_bytes` stay free.
    fn take(&self, purpose: &'static str, bytes: u64, spare_bytes: u64) -> Result<(), BudgetError> {
        let mut state = self.state();
        let free_bytes = self.limit_bytes - state.used_bytes;
        if bytes.saturating_add(spare_bytes) > free_bytes {
            return Err(BudgetError {
                purpose,
                asked_bytes: bytes,
                free_bytes,
                limit_bytes: self.limit_bytes,
                holders: holders(&state),
            });
        }
        // Locks are taken from child to parent only, so no two threads wait for each other.
        if let Some(parent) = &self.parent {
            parent.take(purpose, bytes, spare_bytes)?;
        }
        state.used_bytes += bytes;
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        state.recent_peak_bytes = state.recent_peak_bytes.max(state.used_bytes);
        let held_bytes = state.held_bytes_by_purpose.entry(purpose).or_default();
        *held_bytes += bytes;
        let held_bytes = *held_bytes;
        let peak_bytes = state.peak_bytes_by_purpose.entry(purpose).or_default();
        *peak_bytes = held_bytes.max(*peak_bytes);
        Ok(())
    }

    fn give_back(&self, purpose: &'static str, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut at = Some(self);
        while let Some(inner) = at {
            let mut state = inner.state();
            state.used_bytes -= bytes;
            if let Some(held) = state.held_bytes_by_purpose.get_mut(purpose) {
                *held -= bytes;
            }
            at = inner.parent.as_deref();
        }
        if self.queue.waiting.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that nobody is about to sit down who has not seen what was given back.
            let _tickets = self.queue.tickets();
            self.queue.freed.notify_all();
        }
    }

    /// The least limit from here on up.
    fn least_limit_bytes(&self) -> u64 {
        let parents = self.parent.as_ref().map_or(u64::MAX, |parent| parent.least_limit_bytes());
        self.limit_bytes.min(parents)
    }
}

impl Queue {
    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        // Tickets are whole after every statement.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue, given up when dropped.
struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn new(queue: &'a Queue) -> Ticket<'a> {
        let mut tickets = queue.tickets();
        let number = tickets.next;
        tickets.next += 1;
        tickets.waiting.push_back(number);
        queue.waiting.fetch_add(1, Ordering::SeqCst);
        Ticket { queue, number }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut tickets = self.queue.tickets();
        tickets.waiting.retain(|number| *number != self.number);
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        // It is the next one's turn.
        self.queue.freed.notify_all();
    }
}

impl MemoryBudget {
    /// A budget of `limit_bytes` of which nothing is used yet.
    pub fn new(limit_bytes: u64) -> Self {
        Self::of(Inner { limit_bytes, parent: None, state: Mutex::default(), queue: Arc::default() })
    }

    fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), patience: None, is_frugal: false }
    }

    /// A budget of at most `limit_bytes` whose reservations count in this one as well: both limits hold. It has this
    /// handle's manner.
    #[must_use]
    pub fn child(&self, limit_bytes: u64) -> Self {
        let Inner { queue, .. } = &*self.inner;
        let (parent, queue) = (Some(self.inner.clone()), queue.clone());
        let child = Self::of(Inner { limit_bytes, parent, state: Mutex::default(), queue });
        Self { patience: self.patience.clone(), is_frugal: self.is_frugal, ..child }
    }

    /// The same budget, through a handle by which reservations wait for memory as long as `patience` says.
    #[must_use]
    pub fn with_patience(&self, patience: Arc<dyn Patience>) -> Self {
        Self { patience: Some(patience), ..self.clone() }
    }

    /// The same budget, through a handle for those who are to take no more than they need, and to keep nothing for the
    /// next time: see [`MemoryBudget::is_frugal`].
    #[must_use]
    pub fn frugal(&self) -> Self {
        Self { is_frugal: true, ..self.clone() }
    }

    /// True where memory is taken anew each time and only as much as is needed, so that what fits depends on nothing
    /// that went before.
    pub fn is_frugal(&self) -> bool {
        self.is_frugal
    }

    /// The limit in bytes: its own, or a parent's that is less.
    pub fn limit_bytes(&self) -> u64 {
        self.inner.least_limit_bytes()
    }

    /// Bytes reserved now.
    pub fn used_bytes(&self) -> u64 {
        self.inner.state().used_bytes
    }

    /// The most bytes that were ever reserved at once.
    pub fn peak_bytes(&self) -> u64 {
        self.inner.state().peak_bytes
    }

    /// The most bytes that were reserved at once since [`MemoryBudget::restart_recent_peak`].
    pub fn recent_peak_bytes(&self) -> u64 {
        self.inner.state().recent_peak_bytes
    }

    /// Begins to count anew what [`MemoryBudget::recent_peak_bytes`] tells, for who measures what one piece of work takes
    /// while nobody else does.
    pub fn restart_recent_peak(&self) {
        let mut state = self.inner.state();
        state.recent_peak_bytes = state.used_bytes;
    }

    /// Bytes that can still be reserved, here and in all parents.
    pub fn free_bytes(&self) -> u64 {
        let mut free_bytes = u64::MAX;
        let mut at = Some(&*self.inner);
        while let Some(inner) = at {
            free_bytes = free_bytes.min(inner.limit_bytes - inner.state().used_bytes);
            at = inner.parent.as_deref();
        }
        free_bytes
    }

    /// Bytes held now by each purpose, largest first.
    pub fn holders(&self) -> Vec<(&'static str, u64)> {
        holders(&self.inner.state())
    }

    /// Calls `each` with every purpose that ever held something: what it holds now, and the most that it held at once, in
    /// bytes. Allocates nothing.
    pub fn for_each_purpose(&self, each: &mut dyn FnMut(&'static str, u64, u64)) {
        let state = self.inner.state();
        for (purpose, peak_bytes) in &state.peak_bytes_by_purpose {
            let held_bytes = state.held_bytes_by_purpose.get(purpose).copied().unwrap_or(0);
            each(purpose, held_bytes, *peak_bytes);
        }
    }

    /// Reserves `bytes` for `purpose`, or says why it cannot. It waits only through a handle
    /// [with patience](MemoryBudget::with_patience).
    ///
    /// # Errors
    /// [`BudgetError`] when fewer than `bytes` are free; nothing is reserved then.
    pub fn try_reserve(&self, purpose: &'static str, bytes: u64) -> Result<Reservation, BudgetError> {
        self.take(purpose, bytes)?;
        Ok(Reservation { budget: self.clone(), purpose, bytes })
    }

    /// Reserves `bytes` for `purpose`, and waits until they are free as long as `patience` says. Those who wait are
    /// served in the order they came; who does not wait is not held up by them.
    ///
    /// # Errors
    /// [`BudgetError`] at once when the limit is less than `bytes`, and otherwise when fewer are free and there is no
    /// more patience; nothing is reserved then.
    pub fn reserve_waiting(
        &self,
        purpose: &'static str,
        bytes: u64,
        patience: &dyn Patience,
    ) -> Result<Reservation, BudgetError> {
        self.take_waiting(purpose, bytes, patience)?;
        Ok(Reservation { budget: self.clone(), purpose, bytes })
    }

    /// Lets those who wait look at once whether they still may, and not only in a few milliseconds.
    pub fn wake(&self) {
        let _tickets = self.inner.queue.tickets();
        self.inner.queue.freed.notify_all();
    }

    fn take(&self, purpose: &'static str, bytes: u64) -> Result<(), BudgetError> {
        match &self.patience {
            Some(patience) => self.take_waiting(purpose, bytes, &**patience),
            None => self.inner.take(purpose, bytes, 0),
        }
    }

    fn take_waiting(
        &self,
        purpose: &'static str,
        bytes: u64,
        patience: &dyn Patience,
    ) -> Result<(), BudgetError> {
        let Some(spare_bytes) = patience.waits() else { return self.inner.take(purpose, bytes, 0) };
        let queue = &*self.inner.queue;
        let refused = match queue.waiting.load(Ordering::SeqCst) {
            // Nobody is passed over.
            0 => match self.inner.take(purpose, bytes, spare_bytes) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            _ if bytes == 0 => return self.inner.take(purpose, bytes, 0),
            _ => self.refusal(purpose, bytes),
        };
        if bytes > self.limit_bytes() {
            return Err(refused);
        }
        patience.sits_down();
        let taken = self.wait_in_queue(purpose, bytes, patience);
        patience.gets_up();
        taken
    }

    fn wait_in_queue(
        &self,
        purpose: &'static str,
        bytes: u64,
        patience: &dyn Patience,
    ) -> Result<(), BudgetError> {
        let queue = &*self.inner.queue;
        let ticket = Ticket::new(queue);
        loop {
            let Some(spare_bytes) = patience.waits() else { return self.inner.take(purpose, bytes, 0) };
            let tickets = queue.tickets();
            if tickets.waiting.front() == Some(&ticket.number)
                && self.inner.take(purpose, bytes, spare_bytes).is_ok()
            {
                drop(tickets);
                return Ok(());
            }
            let waited = queue.freed.wait_timeout(tickets, LOOK_INTERVAL);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn refusal(&self, purpose: &'static str, bytes: u64) -> BudgetError {
        BudgetError {
            purpose,
            asked_bytes: bytes,
            free_bytes: self.free_bytes(),
            limit_bytes: self.limit_bytes(),
            holders: self.holders(),
        }
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
            self.budget.inner.give_back(self.purpose, self.bytes - bytes);
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
        self.budget.inner.give_back(self.purpose, self.bytes);
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

impl BudgetError {
    /// True of an error of reading or writing that is one of the budget: what goes through readers and writers is wrapped.
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<BudgetError>())
    }
}

impl From<BudgetError> for io::Error {
    fn from(error: BudgetError) -> io::Error {
        io::Error::new(io::ErrorKind::OutOfMemory, error)
    }
}

#[cfg(test)]
mod tests;
