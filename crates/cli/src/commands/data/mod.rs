//! `data`: pipelines, one file per command.

pub mod bench;
pub mod head;
