//! tf.train.Examples as bytes, in memory that is counted and used again.

use tightfit_core::{BudgetError, MemoryBudget, Reservation};
use tightfit_format::example::{NamedValues, Values, write_example};

/// Serializes Examples into memory that the budget covers.
#[derive(Debug)]
pub struct ExampleEncoder {
    record: Vec<u8>,
    reservation: Reservation,
}

impl ExampleEncoder {
    /// Holds nothing yet.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn new(budget: &MemoryBudget) -> Result<ExampleEncoder, BudgetError> {
        Ok(ExampleEncoder { record: Vec::new(), reservation: budget.try_reserve("record", 0)? })
    }

    /// The Example of `features`.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn encode(&mut self, features: &[NamedValues<'_>]) -> Result<&[u8], BudgetError> {
        let most_bytes = features.iter().map(most_bytes).fold(32, usize::saturating_add);
        if most_bytes > self.record.capacity() {
            let more_bytes = (most_bytes as u64).saturating_sub(self.reservation.bytes());
            self.reservation.try_grow(more_bytes)?;
            // A new list instead of a larger one: growing would hold both.
            self.record = Vec::new();
            self.record.reserve_exact(most_bytes);
        }
        self.record.clear();
        write_example(&mut self.record, features);
        Ok(&self.record)
    }
}

/// No fewer bytes than a feature takes in an Example: ten for each length and each integer.
fn most_bytes((name, values): &NamedValues<'_>) -> usize {
    let values_bytes = match values {
        Values::Empty => 0,
        Values::Bytes(list) => list.iter().map(|v| v.len().saturating_add(11)).sum::<usize>(),
        Values::Float(list) => list.len().saturating_mul(4),
        Values::Int64(list) => list.len().saturating_mul(10),
    };
    values_bytes.saturating_add(name.len()).saturating_add(64)
}
