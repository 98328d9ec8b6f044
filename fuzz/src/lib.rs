//! What is checked of each input, and inputs to begin with; the targets are one line each.

pub mod bodies;
pub mod seeds;
