//! How a command can fail: what is told of it, and the exit codes.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tightfit::{A_FEED, A_FETCH, DataError, Error, FormatError, GraphError, RecordFault, RowFault};

use crate::style::{Stream, Style};
use crate::{system, table};

/// The command failed.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// The job does not fit the memory.
const NO_FIT: u8 = 3;

/// What the memory of a pipeline's stages is called.
const STAGES: &str = "the data pipeline";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The job cannot be done.
    Job(Error),
    /// The job cannot be done, and what is printed as JSON says so.
    Told(Error),
    /// A defect of the program, reported already.
    Defect,
}

impl Failure {
    /// Says it in one line on stderr, and with `is_json` as an object on stdout; the exit code.
    pub fn report(&self, is_json: bool) -> u8 {
        if self.is_closed_pipe() {
            // Whoever read the output has seen enough.
            return 0;
        }
        if is_json && !matches!(self, Failure::Told(_) | Failure::Defect) {
            // Where stdout cannot be written to, stderr tells.
            let _ = table::print(&format!("{:#}\n", json!({"error": self.json()})));
        }
        if !matches!(self, Failure::Defect) {
            let name = Style::Bad.paint("tightfit:", Stream::Err.has_colours());
            let line = self.text().replace(['\n', '\r'], " ");
            // Where stderr cannot be written to there is nobody to tell.
            let _ = io::stderr().write_all(format!("{name} {line}\n").as_bytes());
        }
        self.code()
    }

    /// The same, once it has been told in what is printed as JSON.
    pub fn told(self) -> Failure {
        match self {
            Failure::Job(error) => Failure::Told(error),
            other => other,
        }
    }

    fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Job(Error::Io { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn text(&self) -> String {
        match self {
            Failure::Usage(why) => why.clone(),
            Failure::Job(error) | Failure::Told(error) => text_of(error),
            Failure::Defect => "a defect of TightFit".to_string(),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Job(error) | Failure::Told(error) => code_of(error),
            Failure::Defect => FAILED,
        }
    }

    /// What a program wants to know of it.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("kind".to_string(), self.kind().into());
        object.insert("message".to_string(), self.text().into());
        object.insert("exit_code".to_string(), self.code().into());
        if let Failure::Job(error) | Failure::Told(error) = self {
            object.extend(facts(error).into_iter().map(|(name, value)| (name.to_string(), value)));
        }
        Value::Object(object)
    }

    fn kind(&self) -> &'static str {
        match self {
            Failure::Usage(_) => "usage",
            Failure::Defect => "defect",
            Failure::Job(error) | Failure::Told(error) => match (code_of(error), error) {
                (USAGE, _) => "usage",
                (NO_FIT, _) => "memory",
                (_, Error::Interrupted) => "interrupted",
                (_, Error::Io { .. } | Error::Dataset(DataError::Io { .. })) => "io",
                (_, Error::Graph(_)) => "model",
                (_, Error::Format(_)) => "format",
                (_, Error::Defect(_)) => "defect",
                _ => "data",
            },
        }
    }
}

/// The error in the words of the command line: the library speaks of options and values, and here are their flags.
fn text_of(error: &Error) -> String {
    let told = match error {
        Error::NotFit(_) => {
            let text = error.to_string().replacen(
                "the smallest memory that works",
                "the smallest --memory that works",
                1,
            );
            text.strip_suffix("a smaller batch needs less")
                .map_or(text.clone(), |start| format!("{start}a smaller --batch needs less"))
        }
        Error::Floor { .. } => error.to_string(),
        Error::Option { name, .. } => {
            format!("--{}", error.to_string().replacen(name, &name.replace('_', "-"), 1))
        }
        Error::OtherJob(other) if other.is_option => error.to_string().replacen(
            &format!(": {} was", other.name),
            &format!(": --{} was", other.name),
            1,
        ),
        Error::Graph(graph) => of_graph(graph).unwrap_or_else(|| error.to_string()),
        error => error.to_string(),
    };
    let told = match error {
        Error::NotFit(_) | Error::Floor { .. } => told,
        error if error.is_budget() => format!("does not fit: {told}"),
        _ => told,
    };
    match advice(error) {
        Some(advice) => format!("{told}; {advice}"),
        None => told,
    }
}

/// An error of the graph about a name of the command line.
fn of_graph(error: &GraphError) -> Option<String> {
    let asked_by = match error {
        GraphError::NoSuchTensor { asked_by, .. } | GraphError::NoSuchOutput { asked_by, .. } => {
            asked_by.as_str()
        }
        _ => return None,
    };
    let flag = flag_of(asked_by)?;
    Some(error.to_string().replacen(asked_by, flag, 1))
}

/// The flag by which a tensor is asked for.
fn flag_of(asked_by: &str) -> Option<&'static str> {
    match asked_by {
        A_FETCH => Some("--fetch"),
        A_FEED => Some("--input"),
        _ => None,
    }
}

/// The flag to change.
fn advice(error: &Error) -> Option<String> {
    let fault = |fault: &RowFault| match fault {
        RowFault::Record(RecordFault::TooLarge { bytes, .. }) => {
            Some(format!("--record-memory {bytes} allows it"))
        }
        RowFault::DecodeBytes { needed_bytes, .. } => {
            Some(format!("--decode-memory {needed_bytes} allows it"))
        }
        RowFault::ImageSize { expected: [height, width], .. } => {
            Some(format!("--resize {height}x{width} resizes it"))
        }
        RowFault::StringBytes { .. } => Some("give a larger --string-memory".to_string()),
        _ => None,
    };
    match error {
        Error::NotFed(_) => Some("give each with --input NAME=FILE".to_string()),
        Error::Dataset(DataError::Row(row)) => fault(&row.fault),
        Error::Dataset(DataError::Index { .. }) => Some("--index DIR sets the folder".to_string()),
        Error::Dataset(DataError::Budget(budget)) if budget.purpose == STAGES => {
            Some("--pipeline-memory sets how much".to_string())
        }
        Error::Graph(graph) => match &**graph {
            GraphError::OpenShape { input, .. } => {
                Some(format!("set it with --shape {input}=D0,D1,.., or for images with --resize HxW"))
            }
            GraphError::Budget(budget) if budget.purpose == STAGES => {
                Some("--pipeline-memory sets how much".to_string())
            }
            _ => None,
        },
        _ => None,
    }
}

fn code_of(error: &Error) -> u8 {
    match error {
        error if error.is_budget() => NO_FIT,
        Error::Usage(_) | Error::Option { .. } | Error::NotFed(_) => USAGE,
        Error::Interrupted => system::interrupted_code(),
        Error::Graph(error) => match &**error {
            GraphError::OpenShape { .. } => USAGE,
            GraphError::TooLarge { .. } => NO_FIT,
            // A name on the command line that the model does not have.
            GraphError::NoSuchTensor { asked_by, .. } | GraphError::NoSuchOutput { asked_by, .. }
                if flag_of(asked_by).is_some() =>
            {
                USAGE
            }
            _ => FAILED,
        },
        _ => FAILED,
    }
}

/// What an error knows besides its text.
fn facts(error: &Error) -> Vec<(&'static str, Value)> {
    let file = |path: &Path| ("file", json!(path.display().to_string()));
    let of_format = |error: &FormatError| vec![file(error.path())];
    match error {
        Error::NotFit(not_fit) => vec![
            ("minimum_bytes", not_fit.minimum_bytes.into()),
            ("budget_bytes", not_fit.memory_bytes.into()),
            ("batch", not_fit.batch.into()),
        ],
        Error::Floor { memory_bytes, floor_bytes } => {
            vec![("minimum_bytes", (*floor_bytes).into()), ("budget_bytes", (*memory_bytes).into())]
        }
        Error::Io { path, .. } | Error::Data { path, .. } => vec![file(path)],
        Error::OtherJob(other) => vec![file(&other.path)],
        Error::Option { name, .. } => vec![("flag", format!("--{}", name.replace('_', "-")).into())],
        Error::Format(error) | Error::Dataset(DataError::Format(error)) => of_format(error),
        Error::Dataset(DataError::Row(row)) => {
            let numbers = [("record", row.record), ("offset", row.offset)];
            let known = numbers.into_iter().filter_map(|(name, n)| Some((name, n?.into())));
            [file(&row.path)].into_iter().chain(known).collect()
        }
        Error::Dataset(DataError::Io { path, .. } | DataError::Index { path, .. }) => vec![file(path)],
        Error::Dataset(DataError::NoFiles { source, .. }) => vec![file(source)],
        Error::Graph(error) => match &**error {
            GraphError::Format(error) => of_format(error),
            GraphError::Node { file, node, op, .. } => {
                vec![
                    ("file", file.as_str().into()),
                    ("node", node.as_str().into()),
                    ("op", op.as_str().into()),
                ]
            }
            GraphError::Unsupported(unsupported) => vec![("file", unsupported.file.as_str().into())],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Job(error)
    }
}
