//! A flag that ends work between two of its steps.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that one side sets and the other looks at between two steps. A clone is the same flag.
#[derive(Debug, Clone)]
pub struct StopFlag(Kind);

#[derive(Clone)]
enum Kind {
    Shared(Arc<AtomicBool>),
    /// What a signal handler can reach.
    Static(&'static AtomicBool),
    /// Set, or somebody says so who is asked.
    Asked(Arc<AtomicBool>, Arc<dyn Fn() -> bool + Send + Sync>),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Shared(flag) => f.debug_tuple("Shared").field(flag).finish(),
            Kind::Static(flag) => f.debug_tuple("Static").field(flag).finish(),
            Kind::Asked(flag, _) => f.debug_tuple("Asked").field(flag).finish(),
        }
    }
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> StopFlag {
        StopFlag(Kind::Shared(Arc::default()))
    }

    /// A flag that is set as well while `wants_stop` says so, which is asked between any two steps, on the thread that
    /// does them: for a host that only tells its own threads of signals. It has to answer in far less time than a step
    /// takes.
    pub fn asking(wants_stop: impl Fn() -> bool + Send + Sync + 'static) -> StopFlag {
        StopFlag(Kind::Asked(Arc::default(), Arc::new(wants_stop)))
    }

    /// Ends the work that looks at it, at its next step.
    pub fn set(&self) {
        self.flag().store(true, Ordering::Relaxed);
    }

    /// True once it was set.
    pub fn is_set(&self) -> bool {
        let is_set = self.flag().load(Ordering::Relaxed);
        match &self.0 {
            Kind::Asked(_, wants_stop) => is_set || wants_stop(),
            Kind::Shared(_) | Kind::Static(_) => is_set,
        }
    }

    /// What [`StopFlag::set`] sets, for work that looks at that alone.
    pub fn flag(&self) -> &AtomicBool {
        match &self.0 {
            Kind::Shared(flag) | Kind::Asked(flag, _) => flag,
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
        for flag in [StopFlag::new(), StopFlag::from(&FLAG), StopFlag::asking(|| false)] {
            let other = flag.clone();
            assert!(!other.is_set());
            flag.set();
            assert!(other.is_set());
        }
        assert!(FLAG.load(Ordering::Relaxed) && !StopFlag::new().is_set());
    }

    #[test]
    fn who_is_asked_is_heard_while_he_says_so() {
        let wish = Arc::new(AtomicBool::new(false));
        let asked = wish.clone();
        let flag = StopFlag::asking(move || asked.load(Ordering::Relaxed));
        assert!(!flag.is_set());
        wish.store(true, Ordering::Relaxed);
        assert!(flag.is_set() && flag.clone().is_set());
        wish.store(false, Ordering::Relaxed);
        assert!(!flag.is_set());
    }
}
