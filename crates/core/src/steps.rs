//! What is called between two steps of long work, which execute different code: a process may let go of some.

use std::sync::OnceLock;

static TEND: OnceLock<fn()> = OnceLock::new();

/// Pieces of a graph between two calls of [`piece_done`] that pass it on. Tending takes about as long as what is done to them.
const TENDED_PIECES: usize = 8;

/// From now on [`step_done`] calls `tend`, wherever in the process. Only the first counts.
pub fn tend_steps(tend: fn()) {
    TEND.get_or_init(|| tend);
}

/// Work is between two steps. Where somebody [tends](tend_steps) the process, this takes a microsecond.
pub fn step_done() {
    if let Some(tend) = TEND.get() {
        tend();
    }
}

/// [`step_done`], of steps that are short: once in a few of them, by their number.
pub fn piece_done(number: usize) {
    if number.is_multiple_of(TENDED_PIECES) {
        step_done();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn steps_are_tended_by_the_first_who_does() {
        static DONE: AtomicUsize = AtomicUsize::new(0);
        step_done();
        tend_steps(|| _ = DONE.fetch_add(1, Ordering::Relaxed));
        tend_steps(|| panic!("there is one already"));
        step_done();
        (0..17).for_each(piece_done);
        assert_eq!(DONE.load(Ordering::Relaxed), 1 + 3);
    }
}
