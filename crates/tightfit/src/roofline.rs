//! What this machine does at most, which the speed of a model's steps is held against.

use std::time::Duration;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_kernels::{ThreadPool, peak_flops, peak_read_bytes};

use crate::error::Error;

/// Bytes that are read to measure memory: more than a core's own caches hold, as far as the budget has them.
const MOST_BYTES: u64 = 128 << 20;

/// The fewest that say anything of memory.
const LEAST_BYTES: u64 = 16 << 20;

/// How long each figure is measured.
const TIME: Duration = Duration::from_millis(300);

/// The most that all threads do together in a second (the roofline model of Williams, Waterman and Patterson, 2009).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Roofline {
    /// Additions and multiplications of float32.
    pub flops: f64,
    /// Bytes read from memory. What a cache holds is read faster.
    pub read_bytes: f64,
}

impl Roofline {
    /// Measures both with the threads of `pool`. Takes up to 128 MiB of `budget` for the while.
    ///
    /// # Errors
    /// The budget's, when there are no 16 MiB.
    pub fn measure(pool: &ThreadPool, budget: &MemoryBudget) -> Result<Roofline, Error> {
        let bytes = budget.free_bytes().clamp(LEAST_BYTES, MOST_BYTES);
        let mut memory = Buffer::new(budget, "roofline (runtime)", bytes as usize)?;
        // Pages that nobody has written to are one page of zeros.
        memory.fill(1);
        Ok(Roofline::of(pool, &memory, TIME))
    }

    /// Measures both for about `time` each, reading `memory`, which someone has written to.
    pub(crate) fn of(pool: &ThreadPool, memory: &[u8], time: Duration) -> Roofline {
        let data = bytemuck::cast_slice(memory);
        Roofline { flops: peak_flops(pool, time), read_bytes: peak_read_bytes(pool, data, time) }
    }

    /// The seconds that so much work takes at least.
    pub fn least_seconds(&self, operations: f64, bytes: f64) -> f64 {
        (operations / self.flops).max(bytes / self.read_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_what_is_slower() {
        let roofline = Roofline { flops: 100.0, read_bytes: 10.0 };
        assert_eq!(roofline.least_seconds(200.0, 10.0), 2.0);
        assert_eq!(roofline.least_seconds(200.0, 40.0), 4.0);
    }

    #[test]
    fn memory_is_of_the_budget_and_goes_back() {
        let pool = ThreadPool::new(1).unwrap();
        let budget = MemoryBudget::new(20 << 20);
        let measured = Roofline::measure(&pool, &budget).unwrap();
        assert!(measured.flops > 0.0 && measured.read_bytes > 0.0);
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 20 << 20));
        let error = Roofline::measure(&pool, &MemoryBudget::new(1 << 20)).unwrap_err();
        assert!(error.is_budget(), "{error}");
    }
}
