//! A model in, a model out: what TensorFlow and TensorFlow Lite load and run.

pub mod freeze;
pub mod optimize;
pub mod partition;
pub mod quantize;
mod writing;
