//! What is done to the elements as they flow: one file for each stage of tf.data's vocabulary.

pub(crate) mod batch;
pub(crate) mod cache;
pub(crate) mod choose;
pub(crate) mod map;
pub(crate) mod parallel;
pub(crate) mod repeat;
pub(crate) mod shuffle;
pub(crate) mod worker;
