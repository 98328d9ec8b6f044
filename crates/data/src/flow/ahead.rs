//! How threads that work ahead wait for memory.
//!
//! A thread fills a block of elements that somebody will ask for. As long as nobody does, others may give memory back:
//! what is ready is taken without any more memory, and then its own is free. So it waits, and leaves some of the budget to
//! those who do not work ahead. Once its block is what everybody waits for (whoever takes it waits, and is waited for in
//! turn, up to the taker of the whole pipeline), it waits a little longer, as other threads may be about to give back what
//! they only needed for a moment; then it is refused.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tightfit_core::Patience;

use super::stages::worker::Shared;
use super::tuner::Tuner;

/// Looks at the budget, a few milliseconds apart, before a thread that is waited for is refused.
const LAST_LOOKS: usize = 4;

/// The part of the budget that is left to those who do not work ahead.
const SPARE_PART: u64 = 16;

/// The number of no block.
const NO_BLOCK: u64 = u64::MAX;

/// The block that a thread is filling.
pub(crate) struct Filling {
    shared: Arc<Shared>,
    block: AtomicU64,
    /// How often it was looked at the budget since the block was waited for.
    looks: AtomicUsize,
    /// Whether it waits for memory.
    is_waiting: AtomicBool,
}

/// Who waits for a block.
#[derive(Clone)]
pub(crate) enum Taker {
    /// Whoever takes the elements of the whole pipeline.
    Last,
    /// A thread that fills a block of a later stage.
    Thread(Arc<Filling>),
}

thread_local! {
    static FILLING: RefCell<Option<Arc<Filling>>> = const { RefCell::new(None) };
}

impl Taker {
    /// The thread that calls this.
    pub fn this() -> Taker {
        FILLING.with_borrow(|filling| filling.clone().map_or(Taker::Last, Taker::Thread))
    }

    fn need(&self) -> Need {
        match self {
            Taker::Last => Need::Next,
            Taker::Thread(filling) => filling.need(),
        }
    }
}

/// How much a block is needed.
enum Need {
    /// It will be, later.
    Later,
    /// Everybody waits for it.
    Next,
    /// Not at all: the pipeline is being dropped, or waits until its threads are done with what they do.
    Never,
}

impl Filling {
    /// Says that the calling thread fills blocks of `shared` from now on.
    pub fn begin(shared: Arc<Shared>) -> Arc<Filling> {
        let filling = Filling {
            shared,
            block: AtomicU64::new(NO_BLOCK),
            looks: AtomicUsize::new(0),
            is_waiting: AtomicBool::new(false),
        };
        let filling = Arc::new(filling);
        FILLING.set(Some(filling.clone()));
        filling
    }

    /// Says which block it is.
    pub fn set_block(&self, number: u64) {
        self.block.store(number, Ordering::Relaxed);
        self.looks.store(0, Ordering::Relaxed);
    }

    /// The block is handed over.
    pub fn end_block(&self) {
        self.block.store(NO_BLOCK, Ordering::Relaxed);
    }

    fn need(&self) -> Need {
        if self.shared.hurries() {
            return Need::Never;
        }
        // One lock at a time: the taker's stage is looked at when this one's is free again.
        let taker = self.shared.taker_of(self.block.load(Ordering::Relaxed));
        taker.map_or(Need::Later, |taker| taker.need())
    }
}

/// The [`Patience`] of the threads of one pipeline.
pub(crate) struct Ahead {
    tuner: Arc<Tuner>,
    spare_bytes: u64,
}

impl Ahead {
    /// That of a pipeline with a budget of `limit_bytes`.
    pub fn new(tuner: Arc<Tuner>, limit_bytes: u64) -> Ahead {
        Ahead { tuner, spare_bytes: limit_bytes / SPARE_PART }
    }
}

/// Says whether the calling thread waits for memory.
fn set_waiting(is_waiting: bool) {
    FILLING.with_borrow(|filling| {
        if let Some(filling) = filling {
            filling.is_waiting.store(is_waiting, Ordering::Relaxed);
        }
    });
}

impl Patience for Ahead {
    fn waits(&self) -> Option<u64> {
        let filling = FILLING.with_borrow(Clone::clone)?;
        match filling.need() {
            Need::Never => None,
            Need::Later => Some(self.spare_bytes),
            // As long as it gets what it asks for, nobody has to give anything back.
            Need::Next if !filling.is_waiting.load(Ordering::Relaxed) => Some(0),
            Need::Next => {
                // Whatever is only kept to be used again is worth less than what is waited for.
                self.tuner.relieve();
                (filling.looks.fetch_add(1, Ordering::Relaxed) < LAST_LOOKS).then_some(0)
            }
        }
    }

    fn sits_down(&self) {
        set_waiting(true);
        self.tuner.sit_down();
    }

    fn gets_up(&self) {
        set_waiting(false);
        self.tuner.get_up();
    }
}
