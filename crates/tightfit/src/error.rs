//! What can go wrong between a model, its data and its memory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tightfit_core::{BudgetError, display_bytes, display_bytes_up};
use tightfit_data::DataError;
use tightfit_format::FormatError;
use tightfit_format::location::{Shown, debug_error, redact};
use tightfit_graph::GraphError;
use tightfit_graph::plan::StepReport;

/// Why a job cannot be done.
#[non_exhaustive]
pub enum Error {
    /// The model.
    Graph(Box<GraphError>),
    /// A file.
    Format(FormatError),
    /// The data set.
    Dataset(DataError),
    /// The memory.
    NotFit(Box<NotFit>),
    /// Less memory than the process itself takes, so that nothing was begun.
    Floor {
        /// The memory given, in bytes.
        memory_bytes: u64,
        /// What the process takes before there is a model or data, in bytes.
        floor_bytes: u64,
    },
    /// The system.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file of data or labels holds something else than it should.
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What was asked for makes no sense.
    Usage(String),
    /// An option of the job makes no sense.
    Option {
        /// Its name, as in [`crate::job::JobOptions`] and the options of sinks and records.
        name: &'static str,
        /// Its value, where the error is about one of many.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// Inputs of the model that are not fed, with their types and shapes.
    NotFed(Vec<String>),
    /// A job that another one has begun.
    OtherJob(Box<OtherJob>),
    /// The job was asked to stop.
    Interrupted,
    /// Something that always holds does not: what it is.
    Defect(&'static str),
}

/// A model that does not fit the memory it was given.
#[derive(Debug, Clone)]
pub struct NotFit {
    /// The memory given, in bytes.
    pub memory_bytes: u64,
    /// The least that works.
    pub minimum_bytes: u64,
    /// The batch it was planned for.
    pub batch: usize,
    /// The step at which the most bytes are alive.
    pub peak_step: Option<StepReport>,
    /// So many values need memory besides, as much as follows from the data.
    pub growing: usize,
}

/// What differs between a job and the one whose results are there.
#[derive(Debug, Clone)]
pub struct OtherJob {
    /// The file that tells how far the other job is.
    pub path: PathBuf,
    /// What differs: an option, a file, the program.
    pub name: String,
    /// True where it is an option.
    pub is_option: bool,
    /// What it was.
    pub then: String,
    /// What it is.
    pub now: String,
    /// The files that hold the other job's results, as a pattern.
    pub results: String,
}

impl fmt::Display for OtherJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherJob { path, name, then, now, results, .. } = self;
        let path = Shown(path);
        write!(
            f,
            "{path}: is of another job: {name} was '{then}' and is '{now}'; delete it and {results} to start anew, \
             or choose another output"
        )
    }
}

/// How many tensors at the peak are named.
const NAMED_AT_PEAK: usize = 3;

impl fmt::Display for NotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, minimum) = (display_bytes(self.memory_bytes), display_bytes_up(self.minimum_bytes));
        write!(
            f,
            "does not fit {memory} at batch {}: the smallest memory that works is {} ({minimum})",
            self.batch, self.minimum_bytes
        )?;
        match self.growing {
            0 => {}
            1 => write!(f, " and what 1 value needs whose size depends on data")?,
            many => write!(f, " and what {many} values need whose sizes depend on data")?,
        }
        if let Some(step) = &self.peak_step {
            write!(f, "; at the peak, step {} '{}' ({}), it holds", step.step + 1, step.node, step.op)?;
            for (i, alive) in step.alive.iter().take(NAMED_AT_PEAK).enumerate() {
                let lead = if i == 0 { " " } else { ", " };
                write!(f, "{lead}{} {} {}", alive.name, alive.what, display_bytes(alive.bytes))?;
            }
        }
        if self.batch > 1 {
            write!(f, "; a smaller batch needs less")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_error("Error", self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Graph(error) => error.fmt(f),
            Error::Format(error) => error.fmt(f),
            Error::Dataset(error) => error.fmt(f),
            Error::NotFit(not_fit) => not_fit.fmt(f),
            Error::Floor { memory_bytes, floor_bytes } => write!(
                f,
                "does not fit {}: the program itself needs {floor_bytes} ({}), without a model or data",
                display_bytes(*memory_bytes),
                display_bytes_up(*floor_bytes)
            ),
            Error::Io { path, error } => write!(f, "{}: {}", Shown(path), redact(&error.to_string())),
            Error::Data { path, why } => write!(f, "{}: {}", Shown(path), redact(why)),
            Error::Usage(why) => f.write_str(&redact(why)),
            Error::Option { name, value, why } => {
                let space = if value.is_empty() { "" } else { " " };
                write!(f, "{name}{space}{}: {}", redact(value), redact(why))
            }
            Error::NotFed(inputs) => write!(f, "not fed: {}", inputs.join(", ")),
            Error::OtherJob(other) => other.fmt(f),
            Error::Interrupted => f.write_str("interrupted"),
            Error::Defect(what) => write!(f, "{what} (a defect of TightFit)"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Graph(error) => Some(&**error),
            Error::Format(error) => Some(error),
            Error::Dataset(error) => Some(error),
            Error::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// [`Error::Defect`] where an error of the system is wanted.
pub(crate) fn defect(what: &'static str) -> io::Error {
    io::Error::other(Error::Defect(what))
}

impl Error {
    /// An error of the system at a file.
    pub fn io(path: impl AsRef<Path>, error: io::Error) -> Error {
        Error::Io { path: path.as_ref().to_path_buf(), error }
    }

    /// True when it is memory that is missing.
    pub fn is_budget(&self) -> bool {
        match self {
            Error::NotFit(_) | Error::Floor { .. } => true,
            Error::Format(error) => error.as_budget().is_some(),
            Error::Dataset(error) => error.is_budget(),
            Error::Io { error, .. } => BudgetError::is_in(error),
            Error::Graph(error) => match &**error {
                GraphError::Budget(_) | GraphError::Memory { .. } => true,
                GraphError::Format(error) => error.as_budget().is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    /// An option that makes no sense.
    pub(crate) fn option(name: &'static str, value: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Option { name, value: value.into(), why: why.into() }
    }

    /// A file that holds something else than it should.
    pub fn data(path: impl AsRef<Path>, why: impl Into<String>) -> Error {
        Error::Data { path: path.as_ref().to_path_buf(), why: why.into() }
    }
}

impl From<GraphError> for Error {
    fn from(error: GraphError) -> Error {
        if matches!(error, GraphError::Stopped) { Error::Interrupted } else { Error::Graph(Box::new(error)) }
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Error {
        Error::Format(error)
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Error {
        match error {
            DataError::Spec(why) => Error::Usage(why),
            DataError::Stopped => Error::Interrupted,
            other => Error::Dataset(other),
        }
    }
}

impl From<BudgetError> for Error {
    fn from(error: BudgetError) -> Error {
        GraphError::Budget(error).into()
    }
}
