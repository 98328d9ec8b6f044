//! A random order of `0..n` that takes no memory: what stands at a position is computed, and so is where an index
//! stands.
//!
//! It is the generalised Feistel cipher of Black and Rogaway, *Ciphers with Arbitrary Finite Domains* (2002): an index
//! is a cell of a grid of `rows x columns >= n`, both about the square root of n, and each round adds to one coordinate
//! a keyed hash of the other. A round can be undone, whatever the hash, so the rounds together are a permutation of the
//! grid. A cell of the grid that is no index is sent through the rounds again ("cycle walking"), which at most one cell
//! in a square root of n is. Luby and Rackoff (1988) show that four rounds of random functions cannot be told from a
//! random permutation by few samples; here there are more, because the grids are small and all of their cells are used.
//!
//! Of the n! orders no more than 2^64 occur, one for each key, as with any generator of that state. What a data set
//! can show of that is tested: positions by indices, pairs of neighbours, all orders of few elements.

use super::random::{SplitMix64, key, mix};

/// Rounds by the number of elements that they suffice for: in a grid of two by three it takes this many until all
/// orders are as likely, and in large ones more work for each record would be felt.
const ROUNDS: [(u64, usize); 3] = [(1 << 10, MAX_ROUNDS), (1 << 16, 12), (u64::MAX, 8)];

/// The most rounds.
const MAX_ROUNDS: usize = 32;

/// The most elements.
const MAX_LEN: u64 = 1 << 63;

/// A random order of `0..len`.
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    rows: u64,
    columns: u64,
    rounds: usize,
    /// Of two rounds each, the first of which changes the row and the second the column.
    keys: [[u64; 2]; MAX_ROUNDS / 2],
}

impl Permutation {
    /// The order of `0..len` (at most 2^63) that belongs to `seed` and `epoch`.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Permutation {
        Permutation::with_key(len, key(seed, epoch))
    }

    /// The order of `0..len` that belongs to `key`.
    pub(super) fn with_key(len: u64, key: u64) -> Permutation {
        let len = len.min(MAX_LEN);
        let root = len.isqrt();
        let rows = if root * root < len { root + 1 } else { root.max(1) };
        let mut words = SplitMix64::new(key);
        Permutation {
            len,
            rows,
            columns: len.div_ceil(rows).max(1),
            rounds: ROUNDS.iter().find(|(up_to, _)| len <= *up_to).map_or(MAX_ROUNDS, |(_, rounds)| *rounds),
            keys: [(); MAX_ROUNDS / 2].map(|()| [(); 2].map(|()| words.next_u64())),
        }
    }

    /// How many elements are put in order.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The index at `position`; `None` beyond the last.
    pub fn index_at(&self, position: u64) -> Option<u64> {
        (position < self.len).then(|| {
            let mut cell = self.forwards(position);
            while cell >= self.len {
                cell = self.forwards(cell);
            }
            cell
        })
    }

    /// The position of `index`; `None` for one that is not put in order.
    pub fn position_of(&self, index: u64) -> Option<u64> {
        (index < self.len).then(|| {
            let mut cell = self.backwards(index);
            while cell >= self.len {
                cell = self.backwards(cell);
            }
            cell
        })
    }

    fn forwards(&self, cell: u64) -> u64 {
        let (mut row, mut column) = (cell / self.columns, cell % self.columns);
        for [row_key, column_key] in self.keys.iter().take(self.rounds / 2) {
            row = add(row, hash(column, *row_key, self.rows), self.rows);
            column = add(column, hash(row, *column_key, self.columns), self.columns);
        }
        row * self.columns + column
    }

    fn backwards(&self, cell: u64) -> u64 {
        let (mut row, mut column) = (cell / self.columns, cell % self.columns);
        for [row_key, column_key] in self.keys.iter().take(self.rounds / 2).rev() {
            column = add(column, self.columns - hash(row, *column_key, self.columns), self.columns);
            row = add(row, self.rows - hash(column, *row_key, self.rows), self.rows);
        }
        row * self.columns + column
    }
}

/// A number below `bound`.
fn hash(value: u64, key: u64, bound: u64) -> u64 {
    ((u128::from(mix(value ^ key)) * u128::from(bound)) >> 64) as u64
}

/// The sum of two numbers of which the first is below `bound` and the second no more, modulo `bound`. Coordinates are
/// below 2^32, so nothing overflows.
fn add(a: u64, b: u64, bound: u64) -> u64 {
    let sum = a + b;
    if sum >= bound { sum - bound } else { sum }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The statistic of Pearson's test for equal counts.
    fn chi_squared(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum()
    }

    /// Standard deviations between a chi-squared statistic and its mean, after Wilson and Hilferty.
    fn deviations(chi: f64, freedom: f64) -> f64 {
        ((chi / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom))) / (2.0 / (9.0 * freedom)).sqrt()
    }

    fn is_bijection(len: u64, seed: u64, epoch: u64) -> bool {
        let order = Permutation::new(len, seed, epoch);
        let mut seen = vec![false; len as usize];
        for position in 0..len {
            let index = order.index_at(position).unwrap();
            if std::mem::replace(&mut seen[index as usize], true)
                || order.position_of(index) != Some(position)
            {
                return false;
            }
        }
        order.index_at(len).is_none() && order.position_of(len).is_none()
    }

    #[test]
    fn bijections_of_all_small_sizes() {
        (0..600).for_each(|len| assert!(is_bijection(len, len ^ 5, len % 3), "{len}"));
        assert!(Permutation::new(0, 1, 1).is_empty());
    }

    #[test]
    fn large_sizes_go_there_and_back() {
        for len in [u64::MAX, MAX_LEN, MAX_LEN - 1, (1 << 62) + 12345, 1 << 40] {
            let order = Permutation::new(len, 3, 4);
            for position in (0..order.len()).step_by((order.len() / 500) as usize) {
                let index = order.index_at(position).unwrap();
                assert!(index < order.len());
                assert_eq!(order.position_of(index), Some(position));
            }
        }
    }

    #[test]
    fn every_order_of_few_elements_is_as_likely() {
        for (len, orders) in [(2u64, 2), (3, 6), (4, 24), (5, 120), (6, 720)] {
            let mut counts = BTreeMap::<Vec<u64>, u64>::new();
            for seed in 0..200 * orders {
                let order = Permutation::new(len, 11, seed);
                *counts.entry((0..len).map(|p| order.index_at(p).unwrap()).collect()).or_default() += 1;
            }
            assert_eq!(counts.len() as u64, orders);
            let chi = chi_squared(&counts.into_values().collect::<Vec<_>>());
            // More than 3.1 comes once in a thousand.
            let far = deviations(chi, orders as f64 - 1.0);
            assert!(far.abs() < 3.1, "{len}: {chi}, {far:.2} deviations");
        }
    }

    /// Positions by indices, over many seeds: a table of `CELLS x CELLS`.
    #[test]
    fn any_index_stands_anywhere() {
        const CELLS: u64 = 16;
        for len in [16u64, 100, 1000, 4099, 70_000] {
            let mut table = vec![0u64; (CELLS * CELLS) as usize];
            // Cells differ in size by one at most, which the test would see were there more draws.
            let (seeds, step) = if len < 5000 { (2000, 1) } else { (60, 3) };
            let used = len / CELLS * CELLS;
            let (mut draws, mut expected) = (0, 0.0);
            for seed in 0..seeds {
                let order = Permutation::new(len, seed, 9);
                for position in (0..used).step_by(step) {
                    let index = order.index_at(position).unwrap();
                    if index < used {
                        table[(position * CELLS / used * CELLS + index * CELLS / used) as usize] += 1;
                        draws += 1;
                    }
                }
                expected += used as f64 / step as f64 * used as f64 / len as f64;
            }
            assert!((draws as f64 - expected).abs() < 0.01 * expected);
            // With rows and columns fixed, as a permutation has them, the statistic of one table of `len` draws is
            // larger by len / (len - 1) than that of independent draws.
            let freedom = ((CELLS - 1) * (CELLS - 1)) as f64;
            let chi = chi_squared(&table) * (len - 1) as f64 / len as f64;
            let far = deviations(chi, freedom);
            assert!(far.abs() < 3.1, "{len}: {far:.2} deviations");
        }
    }

    /// The distance from an index to the one after it in the new order, and where the next index of the data goes.
    #[test]
    fn neighbours_are_independent() {
        const CELLS: u64 = 32;
        for len in [1024u64, 1000 * 33, 1 << 17] {
            let (mut behind, mut next) = (vec![0u64; CELLS as usize], vec![0u64; CELLS as usize]);
            for seed in 0..40 {
                let order = Permutation::new(len, 5, seed);
                for position in (0..len - 1).step_by(2) {
                    let [a, b] = [0, 1].map(|d| order.index_at(position + d).unwrap());
                    behind[((b + len - a) % len * CELLS / len) as usize] += 1;
                    let [a, b] = [0, 1].map(|d| order.position_of(position + d).unwrap());
                    next[((b + len - a) % len * CELLS / len) as usize] += 1;
                }
            }
            for (what, counts) in [("after", behind), ("next", next)] {
                let far = deviations(chi_squared(&counts), CELLS as f64 - 1.0);
                assert!(far.abs() < 3.1, "{what} of {len}: {far:.2} deviations");
            }
        }
    }

    #[test]
    fn cycles_are_as_many_as_in_random_orders() {
        // A random order of n has a harmonic number of cycles, H(n) = ln n + 0.577 in the mean, with about that variance.
        let (len, seeds) = (5000u64, 400);
        let mut cycles = 0;
        for seed in 0..seeds {
            let order = Permutation::new(len, seed, 0);
            let mut seen = vec![false; len as usize];
            for start in 0..len {
                let mut at = start;
                cycles += u32::from(!seen[start as usize]);
                while !std::mem::replace(&mut seen[at as usize], true) {
                    at = order.index_at(at).unwrap();
                }
            }
        }
        let mean = f64::from(cycles) / seeds as f64;
        assert!((mean - 9.09).abs() < 4.0 * (9.09f64 / seeds as f64).sqrt(), "{mean}");
    }

    #[test]
    fn seeds_and_epochs_give_other_orders() {
        let first = |seed, epoch| -> Vec<_> {
            let order = Permutation::new(1000, seed, epoch);
            (0..20).map(|p| order.index_at(p).unwrap()).collect()
        };
        assert_eq!(first(1, 2), first(1, 2));
        for (seed, epoch) in [(1, 3), (2, 2), (2, 1)] {
            assert_ne!(first(1, 2), first(seed, epoch));
        }
    }

    proptest! {
        #[test]
        fn a_bijection_whatever_the_size(len in 0..20_000u64, seed: u64, epoch: u64) {
            prop_assert!(is_bijection(len, seed, epoch));
        }

        #[test]
        fn there_and_back(len: u64, seed: u64, at: u64) {
            let order = Permutation::new(len, seed, 0);
            prop_assume!(!order.is_empty());
            let position = at % order.len();
            prop_assert_eq!(order.index_at(position).and_then(|i| order.position_of(i)), Some(position));
        }
    }
}
