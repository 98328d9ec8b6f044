//! Where results go: one file per format.
//!
//! Invariant: under its own name an output is either whole or not there. It is written beside its place and renamed
//! when all of it has reached the disk; a sink that is dropped before leaves nothing behind.

mod arrays;
mod csv;
pub(crate) mod elements;
mod examples;
pub(crate) mod file;
mod json_lines;
mod labels;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tightfit_core::{DType, Shape, TensorView};
use tightfit_format::spool::SPOOL_BYTES;
use tightfit_graph::exec::Feed;
use tightfit_graph::ir::Graph;

use crate::error::Error;
use crate::outputs::Outputs;
use crate::progress::Done;

pub use labels::Labels;

/// Takes results in the order of their input.
pub trait Sink {
    /// Takes the rows of one batch.
    ///
    /// # Errors
    /// [`Error::Io`] for what the system says, [`Error::Usage`] for a tensor that the format cannot hold.
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error>;

    /// Told after each batch, and once more at the end, how far the job is. A sink that a later job goes on with keeps
    /// it.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn checkpoint(&mut self, _done: &Done) -> Result<(), Error> {
        Ok(())
    }

    /// Brings the output to the disk under its own name.
    ///
    /// # Errors
    /// As [`Sink::write`]. Nothing is left behind then.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// The results of one batch.
pub struct OutputRows<'a> {
    /// The tensors.
    pub outputs: Outputs<'a>,
    /// What was fed, in the order of the model's inputs. May have more rows than there are.
    pub inputs: &'a [Feed<'a>],
    /// The right class of each row, in a data set that has them.
    pub labels: Option<&'a [i64]>,
    /// Rows of this batch: the first dimension of tensors that hold a row for each.
    pub rows: usize,
    /// The number of the first row among all.
    pub first_row: u64,
    /// True when this is a single call on fed tensors: results are tensors, not rows.
    pub is_whole: bool,
    /// How long the model took for it.
    pub run_time: Duration,
    /// Where a row of this batch comes from.
    pub sources: &'a dyn Fn(usize) -> RowPlace,
}

/// Where a row comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPlace {
    /// The file, with the secrets of URLs left out.
    pub file: String,
    /// The number of the record or row in it, from 0; `None` for an image file.
    pub record: Option<u64>,
}

impl fmt::Display for RowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "{}, record {record}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl<'a> OutputRows<'a> {
    /// The outputs with their names.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tensor that cannot be returned.
    fn named(&self) -> impl Iterator<Item = Result<(&'a str, TensorView<'a>), Error>> + use<'a> {
        let outputs = self.outputs;
        (0..outputs.len()).map(move |i| {
            let name = outputs.name(i).ok_or(Error::Defect("an output has no name"))?;
            let tensor = outputs.tensor(i);
            tensor
                .map(|t| (name, t))
                .ok_or_else(|| Error::Usage(format!("'{name}' is a weight and not kept as it is")))
        })
    }

    /// A tensor that has one part for each row, cut into them.
    ///
    /// # Errors
    /// [`Error::Usage`] when its first dimension is not the rows.
    fn part(&self, name: &str, tensor: &TensorView<'a>, row: usize) -> Result<Part<'a>, Error> {
        if self.is_whole {
            return Ok(Part { dtype: tensor.dtype(), shape: *tensor.shape(), bytes: tensor.bytes() });
        }
        let row_shape = row_shape(name, tensor, self.rows)?;
        let bytes = row_shape.elements() * tensor.dtype().bytes();
        let bytes = tensor.bytes().get(row * bytes..(row + 1) * bytes);
        let bytes = bytes.ok_or(Error::Defect("a row lies outside of its tensor"))?;
        Ok(Part { dtype: tensor.dtype(), shape: row_shape, bytes })
    }

    /// How many records a format writes that has one for each row.
    fn records(&self) -> usize {
        if self.is_whole { 1 } else { self.rows }
    }
}

/// One row of a tensor, or all of it.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    dtype: DType,
    shape: Shape,
    bytes: &'a [u8],
}

/// The shape of one row of a tensor of `rows` rows.
fn row_shape(name: &str, tensor: &TensorView<'_>, rows: usize) -> Result<Shape, Error> {
    let dims = tensor.shape();
    let row = dims.split_first().filter(|(first, _)| **first == rows).map(|(_, row)| Shape::new(row));
    match row {
        Some(Ok(shape)) => Ok(shape),
        _ => Err(Error::Usage(format!(
            "'{name}' is {}{dims} for a batch of {rows}: it has no row for each input row, and cannot be written by rows",
            tensor.dtype()
        ))),
    }
}

/// A file format for results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkFormat {
    /// NumPy's archive, an array for each output.
    Npz,
    /// A NumPy array, of the only output.
    Npy,
    /// A JSON object for each row.
    Jsonl,
    /// A line for each row.
    Csv,
    /// A tf.train.Example for each row.
    TfRecord,
}

impl SinkFormat {
    const BY_EXTENSION: [(&str, SinkFormat); 5] = [
        ("npz", SinkFormat::Npz),
        ("npy", SinkFormat::Npy),
        ("jsonl", SinkFormat::Jsonl),
        ("csv", SinkFormat::Csv),
        ("tfrecord", SinkFormat::TfRecord),
    ];

    /// The format that a file's extension stands for.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other.
    pub fn of(path: &Path) -> Result<SinkFormat, Error> {
        let extension = path.extension().unwrap_or_default();
        let known = Self::BY_EXTENSION.iter().find(|(name, _)| extension.eq_ignore_ascii_case(name));
        known.map(|(_, format)| *format).ok_or_else(|| {
            Error::Usage(format!(
                "{}: end the output's name in .npz, .npy, .jsonl, .csv or .tfrecord",
                path.display()
            ))
        })
    }

    /// The most memory that a sink of this format takes for records of `elements`, labels aside.
    fn memory_bytes(self, outputs: &Arrays, is_whole: bool, elements: u64) -> u64 {
        let buffer = file::BUFFER_BYTES as u64;
        match self {
            SinkFormat::Npz | SinkFormat::Npy if is_whole => buffer.saturating_add(outputs.directory_bytes),
            // While one spool is written out it is read through a second buffer.
            SinkFormat::Npz | SinkFormat::Npy => {
                buffer + outputs.directory_bytes + (outputs.count as u64 + 1) * SPOOL_BYTES as u64
            }
            SinkFormat::Jsonl | SinkFormat::Csv => buffer,
            SinkFormat::TfRecord => buffer.saturating_add(elements.saturating_mul(examples::ELEMENT_BYTES)),
        }
    }
}

/// The arrays that outputs make.
struct Arrays {
    count: usize,
    /// What names and places of all take until the file is whole.
    directory_bytes: u64,
}

/// What the memory of a sink follows from.
#[derive(Debug, Clone, Copy, Default)]
pub struct SinkNeed {
    /// The format; `None` for a sink of which nothing is known, or none.
    pub format: Option<SinkFormat>,
    /// True when results are written as tensors, not by rows.
    pub is_whole: bool,
    /// Bytes that are held from before the model is laid out: labels, the record of what is in use.
    pub held_bytes: u64,
    /// Bytes of rows that are kept to be looked at.
    pub kept_bytes: u64,
}

impl SinkNeed {
    /// The most memory that the sink takes for the outputs of a bound graph of `batch` rows.
    pub fn memory_bytes(&self, graph: &Graph, batch: usize) -> u64 {
        let besides_bytes = self.held_bytes.saturating_add(self.kept_bytes);
        let Some(format) = self.format else { return besides_bytes };
        let elements = graph.outputs.iter().filter_map(|port| {
            let shape = graph.fact(port.value).dims.concrete()?;
            let is_by_rows = !self.is_whole && shape.first() == Some(&batch);
            Some(if is_by_rows { shape[1..].iter().product::<usize>() } else { shape.elements() } as u64)
        });
        let directory_bytes = graph.outputs.iter().map(|port| arrays::entry_bytes(&port.name)).sum();
        let outputs = Arrays { count: graph.outputs.len(), directory_bytes };
        format.memory_bytes(&outputs, self.is_whole, elements.sum()).saturating_add(besides_bytes)
    }
}

/// What is wanted of the output besides its place.
#[derive(Debug, Clone, Default)]
pub struct SinkOptions {
    /// Only the largest elements of each row of the first output: how many.
    pub top: Option<usize>,
    /// Names of the elements of a row.
    pub labels: Option<Arc<Labels>>,
}

/// How many classes are shown when there are labels and nobody says how many.
pub const DEFAULT_TOP: usize = 5;

/// A sink that writes to `path`, by its extension, or JSON lines to the standard output.
///
/// # Errors
/// [`Error::Usage`] for an extension that is not known and options the format does not have, and [`Error::Io`] when
/// the file cannot be made.
pub fn create(path: Option<&Path>, options: SinkOptions) -> Result<Box<dyn Sink>, Error> {
    let Some(path) = path else {
        return Ok(Box::new(json_lines::JsonLines::new(file::Output::stdout(), options.top())));
    };
    let format = options.format(path)?;
    Ok(over(file::Output::create(path)?, format, options))
}

impl SinkOptions {
    /// The format of an output at `path`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an extension that is not known and options the format does not have.
    pub(crate) fn format(&self, path: &Path) -> Result<SinkFormat, Error> {
        let format = SinkFormat::of(path)?;
        let is_text = matches!(format, SinkFormat::Jsonl | SinkFormat::Csv);
        if !is_text && (self.top.is_some() || self.labels.is_some()) {
            let why = format!(
                "{} is neither .jsonl nor .csv, where scores have names and an order",
                path.display()
            );
            let name = if self.top.is_some() { "top" } else { "labels" };
            return Err(Error::option(name, "", why));
        }
        Ok(format)
    }

    fn top(self) -> Option<labels::Top> {
        let SinkOptions { top, labels } = self;
        top.or(labels.as_ref().map(|_| DEFAULT_TOP)).map(|k| labels::Top::new(k, labels))
    }
}

/// A sink that writes to `output`.
pub(crate) fn over(output: file::Output, format: SinkFormat, options: SinkOptions) -> Box<dyn Sink> {
    let top = options.top();
    match format {
        SinkFormat::Npz => Box::new(arrays::Arrays::new(output, arrays::Kind::Npz)),
        SinkFormat::Npy => Box::new(arrays::Arrays::new(output, arrays::Kind::Npy)),
        SinkFormat::Jsonl => Box::new(json_lines::JsonLines::new(output, top)),
        SinkFormat::Csv => Box::new(csv::Csv::new(output, top)),
        SinkFormat::TfRecord => Box::new(examples::Examples::new(output)),
    }
}
