//! The one error of every reader in this crate: which file, where in it, what is wrong, what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{BudgetError, display_bytes};

/// What is wrong with a file, and where.
pub struct FormatError {
    path: Arc<Path>,
    place: Place,
    problem: Box<Problem>,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// Bytes from the file's start.
    Offset(u64),
    /// A place in a text, both counted from 1; columns are bytes.
    Line {
        /// The line.
        line: u64,
        /// The column.
        column: u64,
    },
}

/// What can be wrong with a file.
#[non_exhaustive]
pub enum Problem {
    /// The system refused to open or read it.
    Io(io::Error),
    /// What it describes does not fit the memory budget.
    Budget(BudgetError),
    /// It was longer when it was opened.
    Shrunk {
        /// Its bytes when it was opened.
        opened_bytes: u64,
    },
    /// It ends, or the message around it ends, inside something.
    Truncated {
        /// What does not end.
        what: &'static str,
        /// Bytes that it needs.
        needed_bytes: u64,
        /// Bytes that are there.
        present_bytes: u64,
    },
    /// It holds something else than must stand there.
    Invalid {
        /// What must stand there.
        expected: Cow<'static, str>,
        /// What stands there.
        found: String,
    },
    /// It passes one of the crate's limits against hostile files.
    Limit {
        /// What is counted.
        name: &'static str,
        /// The most that is accepted.
        limit: u64,
        /// How many there are, or at least are.
        found: u64,
    },
    /// It is well formed but not something that can be read here.
    Unsupported {
        /// What it is.
        what: String,
        /// What to do instead.
        advice: &'static str,
    },
}

impl FormatError {
    /// An error at `place` of the file `path`.
    pub fn new(path: &Arc<Path>, place: Place, problem: Problem) -> Self {
        Self { path: path.clone(), place, problem: Box::new(problem) }
    }

    /// The error of an operation on the whole file.
    pub fn io(path: &Path, error: io::Error) -> Self {
        Self { path: path.into(), place: Place::Whole, problem: Box::new(Problem::Io(error)) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the file.
    pub fn place(&self) -> Place {
        self.place
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The budget's error, when that is what stopped the reader.
    pub fn as_budget(&self) -> Option<&BudgetError> {
        match &*self.problem {
            Problem::Budget(error) => Some(error),
            _ => None,
        }
    }
}

impl Problem {
    /// [`Problem::Invalid`] from what must and what does stand there.
    pub fn invalid(expected: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Problem::Invalid { expected: expected.into(), found: found.into() }
    }
}

impl fmt::Debug for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::location::debug_error("FormatError", self, f)
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", crate::location::Shown(&self.path))?;
        match self.place {
            Place::Whole => {}
            Place::Offset(offset) => write!(f, ", byte {offset}")?,
            Place::Line { line, column } => write!(f, ":{line}:{column}")?,
        }
        write!(f, ": {}", crate::location::redact(&self.problem.to_string()))
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::location::debug_error("Problem", self, f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Io(error) => write!(f, "{error}"),
            Problem::Budget(error) => write!(f, "{error}; give it more memory"),
            Problem::Shrunk { opened_bytes } => write!(
                f,
                "the file has shrunk from {} since it was opened; do not change it while it is in use",
                display_bytes(*opened_bytes)
            ),
            Problem::Truncated { what, needed_bytes, present_bytes } => write!(
                f,
                "{what} needs {needed_bytes} bytes, but {present_bytes} are left: \
                 the file is damaged or of another kind"
            ),
            Problem::Invalid { expected, found } => write!(f, "expected {expected}, found {found}"),
            Problem::Limit { name, limit, found } => {
                write!(f, "{found} {name}; at most {limit} are accepted")
            }
            Problem::Unsupported { what, advice } => write!(f, "{what}; {advice}"),
        }
    }
}

impl std::error::Error for FormatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.problem {
            Problem::Io(error) => Some(error),
            Problem::Budget(error) => Some(error),
            _ => None,
        }
    }
}
