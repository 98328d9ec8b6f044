//! Numbers that nobody foresees.

use std::hash::{BuildHasher, RandomState};

/// A number that nobody foresees.
pub fn random() -> u64 {
    // Its keys are from the system's source of randomness, and others each time.
    RandomState::new().hash_one(std::process::id())
}
