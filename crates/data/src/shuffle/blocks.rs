//! The order of a block shuffle: blocks in random order, and the records of each group of blocks in random order.

use super::order::Mixing;
use super::permutation::Permutation;
use super::random::{key, mix};

/// The order of one epoch.
#[derive(Debug)]
pub struct Blocks {
    records: u64,
    block_records: u64,
    group_blocks: u64,
    blocks: Permutation,
    /// How many records the last block of the data lacks, and where that block stands.
    lacking: u64,
    short_at: u64,
    key: u64,
    /// The group that was last asked for.
    group: Option<Group>,
}

/// The order of the records of a group.
#[derive(Debug)]
struct Group {
    number: u64,
    /// The position of its first record.
    start: u64,
    order: Permutation,
}

impl Blocks {
    pub fn new(mixing: Mixing, seed: u64, epoch: u64) -> Blocks {
        let block_records = mixing.block_records.clamp(1, mixing.records.max(1));
        let count = mixing.records.div_ceil(block_records);
        let blocks = Permutation::new(count, seed, epoch);
        let short = count.checked_sub(1);
        Blocks {
            records: mixing.records,
            block_records,
            group_blocks: mixing.group_blocks.clamp(1, count.max(1)),
            lacking: count * block_records - mixing.records,
            short_at: short.and_then(|short| blocks.position_of(short)).unwrap_or_default(),
            blocks,
            key: key(seed, epoch),
            group: None,
        }
    }

    /// The position of the first record of group `group`, or the number of records beyond the last.
    fn start(&self, group: u64) -> u64 {
        let first_block = group.saturating_mul(self.group_blocks).min(self.blocks.len());
        let is_behind_short = self.short_at < first_block;
        first_block * self.block_records - if is_behind_short { self.lacking } else { 0 }
    }

    /// The group of the record at `position`.
    fn group_of(&self, position: u64) -> u64 {
        let whole = self.group_blocks * self.block_records;
        // After the short block all positions are lower than they would be were it a whole one.
        let is_behind_short = position >= self.start(self.short_at / self.group_blocks + 1);
        (position + if is_behind_short { self.lacking } else { 0 }) / whole
    }

    /// The record at `position`; `None` beyond the last.
    pub fn record_at(&mut self, position: u64) -> Option<u64> {
        if position >= self.records {
            return None;
        }
        let group = match &self.group {
            Some(group) if position.checked_sub(group.start).is_some_and(|at| at < group.order.len()) => {
                group
            }
            _ => {
                let number = self.group_of(position);
                let start = self.start(number);
                let key = mix(self.key ^ mix(number.wrapping_add(1)));
                let order = Permutation::with_key(self.start(number + 1) - start, key);
                self.group.insert(Group { number, start, order })
            }
        };
        let first_block = group.number * self.group_blocks;
        let mut record = group.order.index_at(position - group.start)?;
        // As if the short block were a whole one.
        let short = self.short_at.checked_sub(first_block).filter(|at| *at < self.group_blocks);
        if short.is_some_and(|at| record >= (at + 1) * self.block_records - self.lacking) {
            record += self.lacking;
        }
        let block = self.blocks.index_at(first_block + record / self.block_records)?;
        Some(block * self.block_records + record % self.block_records)
    }

    /// The end of the last group that ends at `position` or before; `None` when none does.
    pub fn last_group_end(&self, position: u64) -> Option<u64> {
        match position >= self.records {
            true => Some(self.records),
            false => Some(self.start(self.group_of(position))).filter(|end| *end > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(mixing: Mixing, seed: u64, epoch: u64) -> Vec<u64> {
        let mut blocks = Blocks::new(mixing, seed, epoch);
        assert_eq!(blocks.record_at(mixing.records), None);
        (0..mixing.records).map(|position| blocks.record_at(position).unwrap()).collect()
    }

    fn chi_deviations(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let chi: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
        let freedom = counts.len() as f64 - 1.0;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    /// What [`Mixing`] says, measured: 64 blocks of 50 records, 8 in a group.
    #[test]
    fn mixing_is_as_stated() {
        let mixing = Mixing { records: 3200, block_records: 50, group_blocks: 8 };
        let group_records = mixing.group_records();
        assert_eq!(group_records, 400);
        let (seeds, share) = (400, 0.25);
        let (mut anywhere, mut variance, mut distance) = (vec![0u64; 16], 0.0, 0.0);
        let (mut together, mut pairs) = (0u64, 0u64);
        for seed in 0..seeds {
            let order = order(mixing, seed, 1);
            let mut position = vec![0u64; 3200];
            order.iter().zip(0..).for_each(|(record, at)| position[*record as usize] = at);
            anywhere[(position[1234] / 200) as usize] += 1;
            for record in (0..3200).step_by(50) {
                let (a, b) = (position[record], position[record + 1]);
                assert_eq!(a / group_records, b / group_records, "of one block, so of one group");
                distance += a.abs_diff(b) as f64 / (64 * seeds) as f64;
                if record > 0 {
                    together += u64::from(a / group_records == position[0] / group_records);
                    pairs += 1;
                }
            }
            // The data is sorted by label: the first quarter has it.
            for group in order.chunks(group_records as usize) {
                let found = group.iter().filter(|record| **record < 800).count() as f64 / group.len() as f64;
                variance += (found - share).powi(2) / (8 * seeds) as f64;
            }
        }
        assert!(chi_deviations(&anywhere) < 3.1, "{anywhere:?}");
        let expected = (group_records as f64 + 1.0) / 3.0;
        assert!((distance / expected - 1.0).abs() < 0.02, "distance {distance}, expected {expected}");
        let expected = 7.0 / 63.0;
        let found = together as f64 / pairs as f64;
        assert!((found / expected - 1.0).abs() < 0.06, "together {found}, expected {expected}");
        let expected = mixing.share_variance(share);
        assert!((variance / expected - 1.0).abs() < 0.08, "variance {variance}, expected {expected}");
        assert!((expected - 0.25 * 0.75 / 8.0 * (1.0 - 7.0 / 63.0)).abs() < 1e-12);
    }

    #[test]
    fn one_record_blocks_in_one_group_are_a_uniform_order() {
        let mixing = Mixing { records: 4, block_records: 1, group_blocks: 4 };
        let mut counts = std::collections::BTreeMap::<Vec<u64>, u64>::new();
        (0..24 * 200).for_each(|seed| *counts.entry(order(mixing, seed, 0)).or_default() += 1);
        assert_eq!(counts.len(), 24);
        assert!(chi_deviations(&counts.into_values().collect::<Vec<_>>()).abs() < 3.1);
        assert_eq!(Mixing { records: 4, block_records: 1, group_blocks: 4 }.share_variance(0.5), 0.0);
    }

    proptest! {
        #[test]
        fn every_record_once(records in 0..3000u64, block_records in 1..200u64, group_blocks in 1..40u64, seed: u64) {
            let mixing = Mixing { records, block_records, group_blocks };
            let mut order = order(mixing, seed, 3);
            let blocks = Blocks::new(mixing, seed, 3);
            let mut group_ends: Vec<u64> = (0..=records).filter_map(|end| blocks.last_group_end(end)).collect();
            group_ends.dedup();
            let mut start = 0;
            for end in group_ends {
                // A group has its blocks and no others.
                let group = &order[start as usize..end as usize];
                let found: std::collections::BTreeSet<_> = group.iter().map(|r| r / block_records.min(records)).collect();
                prop_assert!(found.len() as u64 <= group_blocks);
                start = end;
            }
            prop_assert!(start == records);
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..records));
        }
    }
}
