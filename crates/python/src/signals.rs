//! Signals while Rust computes: Python's handlers are run now and again on the thread that called, and what they raise ends
//! the work between two of its steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tightfit::{Error, StopFlag};

use crate::errors;

/// Time between two looks at signals.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at signals between the steps of runs.
#[derive(Default)]
pub struct Signals {
    /// When it looked last, in milliseconds since the first time.
    last_ms: AtomicU64,
    raised: Mutex<Option<PyErr>>,
}

impl Signals {
    /// A flag that ends a run once a handler has raised something.
    pub fn flag(self: &Arc<Signals>) -> StopFlag {
        let signals = self.clone();
        StopFlag::asking(move || signals.look())
    }

    fn look(&self) -> bool {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        let now_ms = BEGIN.get_or_init(Instant::now).elapsed().as_millis() as u64;
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(last_ms) < INTERVAL.as_millis() as u64 {
            return false;
        }
        self.last_ms.store(now_ms, Ordering::Relaxed);
        // An interpreter that is ending has nobody to tell.
        let looked = Python::try_attach(|py| py.check_signals());
        match looked {
            Some(Err(error)) => {
                *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                true
            }
            _ => false,
        }
    }

    /// The exception of an error: what a handler raised, where that is why the work ended.
    pub fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (error, raised) {
            (Error::Interrupted, Some(raised)) => raised,
            _ => errors::raise(py, error),
        }
    }
}

/// Does `work` on a thread of its own, and raises its flag when a handler raises something.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&StopFlag) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let stop = StopFlag::new();
    let mut raised = None;
    let result = thread::scope(|scope| {
        let (done, ended) = mpsc::sync_channel::<()>(1);
        let stop = &stop;
        let worker = scope.spawn(move || {
            // Dropped when the work has ended, however it did.
            let _done = done;
            work(stop)
        });
        let ended = Mutex::new(ended);
        let is_running = || {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout)
        };
        while py.detach(is_running) {
            if let Err(error) = py.check_signals() {
                raised = Some(error);
                stop.set();
            }
        }
        py.detach(|| worker.join())
    });
    match (result, raised) {
        (Ok(Err(Error::Interrupted)), Some(raised)) => Err(raised),
        (Ok(Ok(done)), _) => Ok(done),
        (Ok(Err(error)), _) => Err(errors::raise(py, &error)),
        (Err(panic), _) => std::panic::resume_unwind(panic),
    }
}
