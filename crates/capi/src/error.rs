//! How calls end, and what the last one of a thread has to say.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tightfit::{Error, GraphError};

/// How a call ended: `tightfit_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs)]
pub enum Status {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    NotFit = 3,
}

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    status: Status,
    text: String,
    minimum_bytes: u64,
}

impl Failure {
    /// An argument that makes no sense.
    pub fn usage(why: impl Into<String>) -> Failure {
        Failure { status: Status::Usage, text: why.into(), minimum_bytes: 0 }
    }

    /// Something that always holds does not.
    pub fn defect(what: &str) -> Failure {
        Failure { status: Status::Failed, text: format!("{what} (a defect of TightFit)"), minimum_bytes: 0 }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let minimum_bytes = match &error {
            Error::NotFit(not_fit) => not_fit.minimum_bytes,
            Error::Floor { floor_bytes, .. } => *floor_bytes,
            _ => 0,
        };
        let status = match &error {
            error if error.is_budget() => Status::NotFit,
            Error::Usage(_) | Error::Option { .. } | Error::NotFed(_) => Status::Usage,
            Error::Graph(graph)
                if matches!(**graph, GraphError::OpenShape { .. } | GraphError::Feed { .. }) =>
            {
                Status::Usage
            }
            _ => Status::Failed,
        };
        Failure { status, text: error.to_string(), minimum_bytes }
    }
}

thread_local! {
    static LAST: RefCell<(CString, u64)> = RefCell::default();
}

/// Does `work`, keeps what went wrong, and lets no panic out.
pub fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> Status {
    let done = catch_unwind(AssertUnwindSafe(work));
    let failure = match done.unwrap_or_else(|_| Err(Failure::defect("a call ended in a panic"))) {
        Ok(()) => return Status::Ok,
        Err(failure) => failure,
    };
    let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
    LAST.with(|last| *last.borrow_mut() = (text, failure.minimum_bytes));
    failure.status
}

/// What went wrong last.
pub fn last_text() -> *const c_char {
    LAST.with(|last| last.borrow().0.as_ptr())
}

/// The smallest memory that works, where that is what went wrong.
pub fn last_minimum_bytes() -> u64 {
    LAST.with(|last| last.borrow().1)
}
