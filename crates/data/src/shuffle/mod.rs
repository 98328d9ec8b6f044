//! Whole data sets in random order, however large: through an index of where records begin, in memory that is given.

mod permutation;
mod random;

pub use permutation::Permutation;
pub use random::{Random, SplitMix64};
