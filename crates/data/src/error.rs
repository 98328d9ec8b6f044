//! What can go wrong, and with which row.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tightfit_core::{BudgetError, DType, display_bytes, display_bytes_up};
use tightfit_format::FormatError;
use tightfit_format::example::{ExampleError, FeatureKind};
use tightfit_format::location::{Shown, debug_error, redact};
use tightfit_format::tfrecord::RecordFault;

use crate::image::ImageError;

/// A data set that cannot be opened or read on.
#[non_exhaustive]
pub enum DataError {
    /// A source that stands for no file.
    NoFiles {
        /// The source.
        source: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A file or folder that cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// An array that cannot be read.
    Format(FormatError),
    /// A row that cannot be used.
    Row(Box<BadRow>),
    /// What was asked cannot be done with these files.
    Spec(String),
    /// It does not fit the memory budget.
    Budget(BudgetError),
    /// The reading thread could not be started, or panicked.
    Thread(String),
    /// An error that had come up, and was not yet told, when the state was saved that the pipeline goes on from.
    Saved(String),
    /// The same, of one that was about memory.
    SavedBudget(String),
    /// An index of records that cannot be written or used.
    Index {
        /// The index, or the file it is of.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The work was asked to stop.
    Stopped,
    /// What this program has counted on does not hold: nothing is wrong with the data.
    Defect(&'static str),
}

/// A row that cannot be used: where it is, and why.
#[non_exhaustive]
pub struct BadRow {
    /// The file.
    pub path: PathBuf,
    /// The number of the record or row in the file, from 0; `None` for an image file.
    pub record: Option<u64>,
    /// Where it begins, in bytes of the (uncompressed) file.
    pub offset: Option<u64>,
    /// Why.
    pub fault: RowFault,
}

/// Why a row cannot be used.
#[non_exhaustive]
pub enum RowFault {
    /// It cannot be read.
    Io(io::Error),
    /// The array it is a row of cannot be read on.
    Array(FormatError),
    /// The record is broken.
    Record(RecordFault),
    /// The record is no tf.train.Example.
    Example(ExampleError),
    /// The Example has no such feature.
    MissingFeature {
        /// The feature.
        feature: String,
    },
    /// A feature of another kind than its column needs.
    Kind {
        /// The feature.
        feature: String,
        /// The column's type.
        dtype: DType,
        /// What it holds.
        found: FeatureKind,
    },
    /// A feature of more or fewer values than a row has.
    Count {
        /// The feature, or the column.
        feature: String,
        /// Values of a row.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A row of text that cannot be used.
    Line {
        /// The line that it begins in, from 1.
        line: u64,
        /// Why.
        fault: Box<RowFault>,
    },
    /// A feature whose values cannot be used.
    Feature {
        /// The feature.
        feature: String,
        /// Why.
        fault: Box<RowFault>,
    },
    /// Bytes that are neither as many as the row's nor an image.
    RawBytes {
        /// The feature.
        feature: String,
        /// Bytes of a row.
        expected_bytes: usize,
        /// Bytes found.
        found_bytes: usize,
    },
    /// A row of an array of another shape.
    RowShape {
        /// The column's row shape.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// A number that the column's type cannot hold.
    Range {
        /// The number.
        value: i128,
        /// The column's type.
        dtype: DType,
    },
    /// Numbers that are not turned into the column's type.
    Cast {
        /// The type found.
        from: DType,
        /// The column's type.
        to: DType,
    },
    /// An image that cannot be decoded.
    Image(String),
    /// An image that something cannot be done to.
    ImageOp(ImageError),
    /// An image of another size, and no resizing was asked for.
    ImageSize {
        /// `[height, width]` of the column.
        expected: [usize; 2],
        /// `[height, width]` of the image.
        found: [usize; 2],
    },
    /// An image that needs more memory to decode than one may take.
    DecodeBytes {
        /// Bytes it needs.
        needed_bytes: u64,
        /// Bytes that one may take.
        planned_bytes: u64,
    },
    /// Text that does not fit into its batch.
    StringBytes {
        /// Bytes of the text.
        needed_bytes: usize,
        /// Bytes that are left for the batch.
        left_bytes: usize,
    },
    /// An image that there is not enough memory to decode.
    LargeImage {
        /// Bytes it needs.
        bytes: u64,
        /// What is missing.
        error: BudgetError,
    },
    /// A record that there is not enough memory to read.
    LargeRecord {
        /// Bytes of its data.
        bytes: u64,
        /// What is missing.
        error: BudgetError,
    },
    /// A record that the window of a shuffle has no room for.
    Window {
        /// Bytes of a window that would.
        needed_bytes: u64,
        /// Bytes of the window.
        window_bytes: u64,
    },
    /// An element that is larger than the buffer of a shuffle.
    Buffer {
        /// Bytes of the element.
        needed_bytes: u64,
        /// Bytes of the buffer.
        buffer_bytes: u64,
    },
    /// A unicode string with an invalid code point.
    Unicode,
    /// There is no memory for it.
    Memory(BudgetError),
    /// An operation cannot be done to it.
    Map(String),
    /// What this program has counted on does not hold: nothing is wrong with the row.
    Broken(&'static str),
}

impl fmt::Debug for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_error("DataError", self, f)
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::NoFiles { source, why } => write!(f, "{}: {why}", Shown(source)),
            DataError::Io { path, error } => write!(f, "{}: {}", Shown(path), redact(&error.to_string())),
            DataError::Format(error) => write!(f, "{error}"),
            DataError::Row(row) => write!(f, "{row}"),
            DataError::Spec(text)
            | DataError::Thread(text)
            | DataError::Saved(text)
            | DataError::SavedBudget(text) => f.write_str(&redact(text)),
            DataError::Budget(error) => write!(f, "{error}"),
            DataError::Index { path, why } => write!(f, "{}: {why}", Shown(path)),
            DataError::Stopped => f.write_str("interrupted"),
            DataError::Defect(what) => write!(f, "{}", Defect(what)),
        }
    }
}

impl BadRow {
    /// The row of `path` with this number that begins at this byte, where it has one, and what is wrong with it.
    pub fn new(path: PathBuf, record: Option<u64>, offset: Option<u64>, fault: RowFault) -> BadRow {
        BadRow { path, record, offset, fault }
    }
}

impl fmt::Debug for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_error("BadRow", self, f)
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, fault) = match &self.fault {
            RowFault::Line { line, fault } => (Some(line), &**fault),
            fault => (None, fault),
        };
        write!(f, "{}", Shown(&self.path))?;
        if let Some(record) = self.record {
            write!(f, ", record {record}")?;
        }
        if let Some(line) = line {
            write!(f, ", line {line}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {fault}")
    }
}

impl DataError {
    /// The error of what is of no single row.
    pub fn of_fault(fault: RowFault) -> DataError {
        match fault {
            RowFault::Memory(error) => DataError::Budget(error),
            RowFault::Broken(what) => DataError::Defect(what),
            fault => DataError::Spec(fault.to_string()),
        }
    }

    /// True when it is memory that is missing, whatever that is about.
    pub fn is_budget(&self) -> bool {
        match self {
            DataError::Budget(_) | DataError::SavedBudget(_) => true,
            DataError::Row(row) => row.fault.is_budget(),
            DataError::Format(error) => error.as_budget().is_some(),
            DataError::Io { error, .. } => BudgetError::is_in(error),
            DataError::NoFiles { .. }
            | DataError::Spec(_)
            | DataError::Thread(_)
            | DataError::Saved(_)
            | DataError::Index { .. }
            | DataError::Stopped
            | DataError::Defect(_) => false,
        }
    }
}

impl RowFault {
    /// True when nothing is known to be wrong with the row, so that it is never left out.
    pub fn is_broken(&self) -> bool {
        match self {
            RowFault::Broken(_) => true,
            RowFault::Line { fault, .. } | RowFault::Feature { fault, .. } => fault.is_broken(),
            _ => false,
        }
    }

    /// True when it is memory that is missing.
    pub fn is_budget(&self) -> bool {
        match self {
            RowFault::Window { .. } | RowFault::Buffer { .. } | RowFault::Memory(_) => true,
            RowFault::LargeImage { .. } | RowFault::LargeRecord { .. } => true,
            // Whatever is wrong with them cannot be known: they were not read.
            RowFault::DecodeBytes { .. } | RowFault::StringBytes { .. } => true,
            RowFault::Record(fault) => matches!(fault, RecordFault::TooLarge { .. }),
            RowFault::Io(error) => BudgetError::is_in(error),
            RowFault::Line { fault, .. } | RowFault::Feature { fault, .. } => fault.is_budget(),
            RowFault::Array(error) => error.as_budget().is_some(),
            _ => false,
        }
    }
}

impl fmt::Debug for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_error("RowFault", self, f)
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowFault::Io(error) => f.write_str(&redact(&error.to_string())),
            RowFault::Array(error) => write!(f, "{error}"),
            RowFault::Record(fault) => write!(f, "{fault}"),
            RowFault::Example(error) => write!(f, "{error}"),
            RowFault::MissingFeature { feature } => write!(f, "it has no feature {feature:?}"),
            RowFault::Kind { feature, dtype, found } => {
                write!(f, "feature {feature:?} holds {found}, which cannot become {dtype}")
            }
            RowFault::Count { feature, expected, found } => {
                write!(f, "{feature:?} has {found} values, a row needs {expected}")
            }
            RowFault::Line { line, fault } => write!(f, "line {line}: {fault}"),
            RowFault::Feature { feature, fault } => write!(f, "feature {feature:?}: {fault}"),
            RowFault::RawBytes { feature, expected_bytes, found_bytes } => write!(
                f,
                "feature {feature:?} has {found_bytes} bytes and is not an image; a row needs {expected_bytes} bytes"
            ),
            RowFault::RowShape { expected, found } => {
                write!(f, "its rows have the shape {found:?}, the input needs {expected:?}")
            }
            RowFault::Range { value, dtype } => write!(f, "{value} does not fit {dtype}"),
            RowFault::Cast { from, to } => write!(f, "{from} values cannot become {to}; convert them first"),
            RowFault::ImageOp(error) => write!(f, "{error}"),
            RowFault::Image(why) => write!(f, "the image cannot be decoded: {why}"),
            RowFault::ImageSize { expected: [eh, ew], found: [h, w] } => {
                write!(f, "the image is {h} high and {w} wide, the input needs {eh} by {ew}")
            }
            RowFault::DecodeBytes { needed_bytes, planned_bytes } => write!(
                f,
                "the image needs {} to decode, and may take {}",
                display_bytes_up(*needed_bytes),
                display_bytes(*planned_bytes)
            ),
            RowFault::StringBytes { needed_bytes, left_bytes } => {
                write!(f, "it has {needed_bytes} bytes of text, but {left_bytes} are left for its batch")
            }
            RowFault::LargeImage { bytes, error } => {
                write!(f, "the image needs {} to decode: {error}", display_bytes_up(*bytes))
            }
            RowFault::LargeRecord { bytes, error } => {
                write!(f, "it is {} long: {error}", display_bytes_up(*bytes))
            }
            RowFault::Window { needed_bytes, window_bytes } => write!(
                f,
                "the shuffle window of {} has no room for it; {} more memory is needed",
                display_bytes(*window_bytes),
                display_bytes_up(needed_bytes.saturating_sub(*window_bytes))
            ),
            RowFault::Buffer { needed_bytes, buffer_bytes } => {
                write!(f, "it takes {needed_bytes} bytes, but the shuffle buffer has {buffer_bytes}")
            }
            RowFault::Unicode => f.write_str("a unicode string with an invalid code point"),
            RowFault::Memory(error) => write!(f, "{error}"),
            RowFault::Map(why) => f.write_str(&redact(why)),
            RowFault::Broken(what) => write!(f, "{}", Defect(what)),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DataError::Io { error, .. } => Some(error),
            DataError::Format(error) => Some(error),
            DataError::Row(row) => Some(row),
            DataError::Budget(error) => Some(error),
            DataError::NoFiles { .. }
            | DataError::Spec(_)
            | DataError::Thread(_)
            | DataError::Saved(_)
            | DataError::SavedBudget(_)
            | DataError::Index { .. }
            | DataError::Stopped
            | DataError::Defect(_) => None,
        }
    }
}

impl std::error::Error for BadRow {}

impl From<BudgetError> for DataError {
    fn from(error: BudgetError) -> Self {
        DataError::Budget(error)
    }
}

impl From<ExampleError> for RowFault {
    fn from(error: ExampleError) -> Self {
        RowFault::Example(error)
    }
}

/// What this program has counted on does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defect(pub &'static str);

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; that is a fault of this program, please report it with the file", self.0)
    }
}

impl std::error::Error for Defect {}

impl From<Defect> for RowFault {
    fn from(Defect(what): Defect) -> Self {
        RowFault::Broken(what)
    }
}

impl From<Defect> for DataError {
    fn from(Defect(what): Defect) -> Self {
        DataError::Defect(what)
    }
}

impl From<Defect> for io::Error {
    fn from(defect: Defect) -> Self {
        io::Error::other(defect)
    }
}

/// What has to be there.
pub(crate) trait Needed<T> {
    /// It; or, where it is not, the error that says what is missing.
    fn needed(self, what: &'static str) -> Result<T, Defect>;
}

impl<T> Needed<T> for Option<T> {
    fn needed(self, what: &'static str) -> Result<T, Defect> {
        self.ok_or(Defect(what))
    }
}

impl<T> Needed<T> for Result<T, bytemuck::PodCastError> {
    fn needed(self, what: &'static str) -> Result<T, Defect> {
        self.map_err(|_| Defect(what))
    }
}

/// A size as an address can have it; one that no memory has becomes the largest, which no budget grants.
pub(crate) fn clamped(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The error of an operation on `path`.
pub(crate) fn io_error(path: &std::path::Path, error: io::Error) -> DataError {
    DataError::Io { path: path.to_path_buf(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn developers_see_no_secrets_either() {
        let path = PathBuf::from("https://user:SECRET@host/x?signature=SECRET");
        let io = || io::Error::other("GET https://host/x?signature=SECRET failed");
        let bad = BadRow { path: path.clone(), record: Some(3), offset: None, fault: RowFault::Io(io()) };
        let errors = [
            DataError::NoFiles { source: path.clone(), why: "nothing matches this pattern" },
            DataError::Io { path: path.clone(), error: io() },
            DataError::Row(Box::new(bad)),
            DataError::Spec(format!("{}: wrong", path.display())),
            DataError::Index { path, why: "it is damaged".to_string() },
        ];
        for error in errors {
            let text = format!("{error:?} {error:#?} {error}");
            assert!(!text.contains("SECRET") && text.contains("host/x?signature=***"), "{text}");
        }
        let fault = format!("{:?}", RowFault::Io(io()));
        assert_eq!(fault, r#"RowFault("GET https://host/x?signature=*** failed")"#);
    }
}
