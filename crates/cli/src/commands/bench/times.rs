//! How long runs took, in memory that does not grow with them.

use tightfit::{Error, MemoryBudget, Reservation};

/// Times in milliseconds: of all runs, or of one in two, in four, and so on.
pub(super) struct Times {
    /// Runs that were measured.
    pub runs: usize,
    /// The least of all their times.
    pub shortest: f64,
    /// Times of runs that follow each other at one distance, in the order of the runs until they are sorted.
    pub kept: Vec<f64>,
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

    /// The median of what is kept, sorted.
    pub fn median(&self) -> f64 {
        let middle = self.kept.len() / 2;
        match self.kept.len() % 2 {
            0 => (self.kept[middle - 1] + self.kept[middle]) / 2.0,
            _ => self.kept[middle],
        }
    }

    /// The milliseconds within which this share of the runs ended, of what is kept, sorted.
    pub fn at_most(&self, share: f64) -> f64 {
        let runs = (self.kept.len() as f64 * share).ceil() as usize;
        self.kept[runs.clamp(1, self.kept.len()) - 1]
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
        times.kept.sort_by(f64::total_cmp);
        assert_eq!((times.runs, times.shortest), (runs, 0.0));
        for (share, time) in [(0.5, times.median()), (0.9, times.at_most(0.9)), (0.99, times.at_most(0.99))] {
            assert!((time / runs as f64 - share).abs() < 0.005, "{share}: {time}");
        }
    }

    #[test]
    fn few_runs_are_all_there() {
        let mut times = Times::new(&MemoryBudget::new(Times::BYTES)).unwrap();
        for time in [3.0, 1.0, 2.0, 4.0] {
            times.add(time);
        }
        times.kept.sort_by(f64::total_cmp);
        assert_eq!((times.median(), times.at_most(0.9), times.shortest), (2.5, 4.0, 1.0));
        assert!(Times::new(&MemoryBudget::new(Times::BYTES - 1)).is_err());
    }
}
