//! How a command can fail, and the exit codes.

use std::io;
use std::process::ExitCode;

use tightfit::{Error, GraphError};

/// The command failed.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// The job does not fit the memory.
const NO_FIT: u8 = 3;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The job cannot be done.
    Job(Error),
    /// A defect of the program, reported already.
    Defect,
}

impl Failure {
    /// Says it in one line on stderr; the exit code.
    pub fn report(&self) -> ExitCode {
        if self.is_closed_pipe() {
            // Whoever read the output has seen enough.
            return ExitCode::SUCCESS;
        }
        let (text, code) = match self {
            Failure::Usage(why) => (why.clone(), USAGE),
            Failure::Job(error) => (text_of(error), code_of(error)),
            Failure::Defect => return ExitCode::from(FAILED),
        };
        let line = text.replace(['\n', '\r'], " ");
        // Where stderr cannot be written to there is nobody to tell.
        let _ = io::Write::write_all(&mut io::stderr(), format!("tightfit: {line}\n").as_bytes());
        ExitCode::from(code)
    }

    fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Job(Error::Io { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The error as it is, or, where memory is missing, as what it means for the job.
fn text_of(error: &Error) -> String {
    match error {
        Error::NotFit(_) | Error::Floor { .. } => error.to_string(),
        error if error.is_budget() => format!("does not fit: {error}"),
        error => error.to_string(),
    }
}

fn code_of(error: &Error) -> u8 {
    match error {
        error if error.is_budget() => NO_FIT,
        Error::Usage(_) => USAGE,
        Error::Graph(error) => match &**error {
            GraphError::OpenShape { .. } => USAGE,
            GraphError::TooLarge { .. } => NO_FIT,
            // A name on the command line that the model does not have.
            GraphError::NoSuchTensor { asked_by, .. } | GraphError::NoSuchOutput { asked_by, .. }
                if asked_by.starts_with("--") =>
            {
                USAGE
            }
            _ => FAILED,
        },
        _ => FAILED,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Job(error)
    }
}
