//! What is done to the elements as they flow: one file for each stage of tf.data's vocabulary.

pub(crate) mod batch;
pub(crate) mod bucket;
pub(crate) mod cache;
pub(crate) mod choose;
pub(crate) mod gather;
mod inline;
pub(crate) mod map;
pub(crate) mod padded;
pub(crate) mod parallel;
pub(crate) mod repeat;
pub(crate) mod shuffle;
pub(crate) mod skip_bad;
#[cfg(test)]
mod tests;
pub(crate) mod unbatch;
pub(crate) mod window;
pub(crate) mod worker;
