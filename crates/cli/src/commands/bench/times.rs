//! How long runs took, in memory that does not grow with them.

use tightfit::{Error, MemoryBudget, Reservation};

/// What the times of runs were, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    /// Runs that were measured.
    pub runs: usize,
    /// The least of all times.
    pub shortest: f64,
    pub median: f64,
    /// Within this, 90 % of the runs ended.
    pub p90: f64,
    /// Within this, 99 % of the runs ended.
    pub p99: f64,
}

/// Times in milliseconds: of all runs, or of one in two, in four, and so on.
pub(super) struct Times {
    runs: usize,
    shortest: f64,
    /// Times of runs that follow each other at one distance.
    kept: Vec<f64>,
    /// One run in so many is kept.
    distance: usize,
    _memory: Reservation,
}

impl Times {
    /// The most times that are kept. With more, of each two only the first one is.
    const MOST: usize = 4096;
    /// Bytes that it takes.
    pub const BYTES: u64 = (Self::MOST * size_of::<f64>()) as u64;

    /// No run was measured yet.
    ///
    /// # Errors
    /// [`Error`] where its memory is not free.
    pub fn new(budget: &MemoryBudget) -> Result<Times, Error> {
        let _memory = budget.try_reserve("times", Self::BYTES)?;
        let kept = Vec::with_capacity(Self::MOST);
        Ok(Times { runs: 0, shortest: f64::INFINITY, kept, distance: 1, _memory })
    }

    /// Counts a run that took so many milliseconds.
    pub fn add(&mut self, time: f64) {
        if self.runs.is_multiple_of(self.distance) {
            if self.kept.len() == Self::MOST {
                let mut number = 0;
                self.kept.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.distance *= 2;
            }
            self.kept.push(time);
        }
        self.runs += 1;
        self.shortest = self.shortest.min(time);
    }

    /// Runs that were counted.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// What they were, of at least one run.
    pub fn spread(mut self) -> Spread {
        self.kept.sort_by(f64::total_cmp);
        let (kept, middle) = (&self.kept, self.kept.len() / 2);
        let median = match kept.len() % 2 {
            0 => (kept[middle - 1] + kept[middle]) / 2.0,
            _ => kept[middle],
        };
        let at_most = |share: f64| {
            let runs = (kept.len() as f64 * share).ceil() as usize;
            kept[runs.clamp(1, kept.len()) - 1]
        };
        Spread { runs: self.runs, shortest: self.shortest, median, p90: at_most(0.90), p99: at_most(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_take_no_more_memory_and_have_the_same_shares() {
        let mut times = Times::new(&MemoryBudget::new(Times::BYTES)).unwrap();
        let runs = 50_000;
        (0..runs).for_each(|run| times.add((run * 7919 % runs) as f64));
        assert!(times.kept.len() <= Times::MOST && times.kept.capacity() == Times::MOST);
        let spread = times.spread();
        assert_eq!((spread.runs, spread.shortest), (runs, 0.0));
        for (share, time) in [(0.5, spread.median), (0.9, spread.p90), (0.99, spread.p99)] {
            assert!((time / runs as f64 - share).abs() < 0.005, "{share}: {time}");
        }
    }

    #[test]
    fn few_runs_are_all_there() {
        let mut times = Times::new(&MemoryBudget::new(Times::BYTES)).unwrap();
        for time in [3.0, 1.0, 2.0, 4.0] {
            times.add(time);
        }
        let all = Spread { runs: 4, shortest: 1.0, median: 2.5, p90: 4.0, p99: 4.0 };
        assert_eq!(times.spread(), all);
        assert!(Times::new(&MemoryBudget::new(Times::BYTES - 1)).is_err());
    }
}
