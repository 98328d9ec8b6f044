//! Which record stands at which position: every order is a permutation that is computed, so any position can be
//! reached at once.

use super::blocks::Blocks;
use super::permutation::Permutation;

/// How records are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum Order {
    /// Every record can stand anywhere, whatever its neighbours do. It depends on the seed, the epoch and the number of
    /// records alone. Records are read one by one unless the window holds a good part of the data.
    Uniform,
    /// Records stay together in blocks that a disk reads in one go; blocks are put in random order, and the records of
    /// several blocks mixed. How well is said at [`Mixing`].
    Blocks {
        /// Bytes of a block, about: its number of records is that of records of the mean size.
        block_bytes: u64,
        /// Bytes of the blocks that are mixed with each other; `None` for as many as the window holds, in which case
        /// the order depends on the window's size too.
        mix_bytes: Option<u64>,
    },
}

/// How far an order mixes. `n` records in blocks of `r` are put into groups of `G` blocks, `m = G r` records; blocks
/// come to groups in random order, and records of a group stand in random order. Then, up to the short last block:
///
/// - Each record is as likely at any position as at another.
/// - Two records of one block are in one group, always: their distance d has the probability `2 (m - d) / (m (m - 1))`,
///   the mean of which is `(m + 1) / 3` instead of `(n + 1) / 3`. Orders in which they are m apart or more do not occur.
/// - Two records of different blocks are in one group with the probability `(G - 1) / (n / r - 1)`.
/// - Where neighbours in the data are alike at the worst (all records of a block have the label or none), the share of a
///   label in a group strays from its share q in the data with the variance
///   `q (1 - q) / G * (1 - (G - 1) / (n / r - 1))`: G blocks are as good as G records drawn. Where neighbours have
///   nothing in common it is `q (1 - q) / m`, as in a uniform order.
///
/// A uniform order is one group of blocks of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mixing {
    /// Records, `n`.
    pub records: u64,
    /// Records of a block, `r`.
    pub block_records: u64,
    /// Blocks of a group, `G`.
    pub group_blocks: u64,
}

impl Mixing {
    /// Records of a group, `m`.
    pub fn group_records(&self) -> u64 {
        self.block_records.saturating_mul(self.group_blocks).min(self.records)
    }

    /// The variance of a label's share in a group, of a label with the share `share` in the data, where the records of
    /// each block are alike.
    pub fn share_variance(&self, share: f64) -> f64 {
        let blocks = self.records.div_ceil(self.block_records.max(1)) as f64;
        let group = (self.group_blocks as f64).clamp(1.0, blocks.max(1.0));
        let finite = if blocks > 1.0 { 1.0 - (group - 1.0) / (blocks - 1.0) } else { 0.0 };
        share * (1.0 - share) / group * finite
    }
}

/// The order of one epoch.
#[derive(Debug)]
pub enum Sequence {
    Uniform(Box<Permutation>),
    Blocks(Box<Blocks>),
}

impl Sequence {
    /// The order of `mixing.records` records.
    pub fn new(order: Order, mixing: Mixing, seed: u64, epoch: u64) -> Sequence {
        match order {
            Order::Uniform => Sequence::Uniform(Box::new(Permutation::new(mixing.records, seed, epoch))),
            Order::Blocks { .. } => Sequence::Blocks(Box::new(Blocks::new(mixing, seed, epoch))),
        }
    }

    /// The record at `position`; `None` beyond the last.
    pub fn record_at(&mut self, position: u64) -> Option<u64> {
        match self {
            Sequence::Uniform(permutation) => permutation.index_at(position),
            Sequence::Blocks(blocks) => blocks.record_at(position),
        }
    }

    /// Where a window that begins at `position` and has room for the records up to `end` had better end: after a group,
    /// so that no block is read twice, if there is one whose end is inside.
    pub fn window_end(&self, position: u64, end: u64) -> u64 {
        match self {
            Sequence::Uniform(_) => end,
            Sequence::Blocks(blocks) => blocks.last_group_end(end).filter(|at| *at > position).unwrap_or(end),
        }
    }
}
