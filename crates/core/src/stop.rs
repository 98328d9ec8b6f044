//! A flag that ends work between two of its steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that one side sets and the other looks at between two steps. A clone is the same flag.
#[derive(Debug, Clone)]
pub struct StopFlag(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Shared(Arc<AtomicBool>),
    /// What a signal handler can reach.
    Static(&'static AtomicBool),
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> StopFlag {
        StopFlag(Kind::Shared(Arc::default()))
    }

    /// Ends the work that looks at it, at its next step.
    pub fn set(&self) {
        self.flag().store(true, Ordering::Relaxed);
    }

    /// True once it was set.
    pub fn is_set(&self) -> bool {
        self.flag().load(Ordering::Relaxed)
    }

    fn flag(&self) -> &AtomicBool {
        match &self.0 {
            Kind::Shared(flag) => flag,
            Kind::Static(flag) => flag,
        }
    }
}

impl Default for StopFlag {
    fn default() -> StopFlag {
        StopFlag::new()
    }
}

impl From<&'static AtomicBool> for StopFlag {
    fn from(flag: &'static AtomicBool) -> StopFlag {
        StopFlag(Kind::Static(flag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_flag() {
        static FLAG: AtomicBool = AtomicBool::new(false);
        for flag in [StopFlag::new(), StopFlag::from(&FLAG)] {
            let other = flag.clone();
            assert!(!other.is_set());
            flag.set();
            assert!(other.is_set());
        }
        assert!(FLAG.load(Ordering::Relaxed) && !StopFlag::new().is_set());
    }
}
