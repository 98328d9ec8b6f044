//! Whole data sets in random order, however large: through an index of where records begin, in memory that is given.
//!
//! [`RecordIndex`] (built once) -> [`Permutation`] or blocks (which record stands at a position, computed) ->
//! [`ShuffleReader`] (the records of many positions, read in the order of the files).

mod blocks;
mod index;
mod order;
mod permutation;
mod random;
mod reader;
mod window;

pub(crate) use index::EXTENSION as INDEX_EXTENSION;
pub use index::{IndexCursor, IndexedFile, RecordIndex, RecordPlace};
pub use order::{Mixing, Order};
pub use permutation::Permutation;
pub use random::{Random, SplitMix64};
pub use reader::{ShuffleOptions, ShuffleReader, ShuffledRecord};
