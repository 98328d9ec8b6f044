//! Rows of .npy and .npz arrays to Examples. Floats of every width become float32, integers and bools int64; shapes
//! are not kept, an Example has none.

use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use tightfit_core::{Buffer, DType, MemoryBudget, Reservation};
use tightfit_data::{ExampleEncoder, storage};
use tightfit_format::example::{NamedValues, Values};
use tightfit_format::npy::{NpyReader, NpyType, trim_zeros, utf8_of_ucs4};
use tightfit_format::npz::NpzReader;

use super::{Job, finish};
use crate::error::Error;
use crate::records::output::RecordOutput;

/// Rows are read through at least this.
const WINDOW_BYTES: usize = 64 << 10;

/// Memory of an element of a row beside the array's own: its value, or a string's bytes' place.
const ELEMENT_BYTES: u64 = 24;

/// One array, read row by row.
struct Column<R> {
    name: String,
    reader: NpyReader<R>,
    window: Buffer,
    row_bytes: usize,
    /// The current row's number in the window, and the rows there.
    row: usize,
    rows: usize,
    values: Row,
    _reservation: Reservation,
}

/// The values of the current row.
enum Row {
    Float(Vec<f32>),
    Int64(Vec<i64>),
    /// Text, and where each string ends.
    Text(Vec<u8>, Vec<usize>),
}

/// Converts the one .npy file of `job`.
pub fn convert_npy(job: &Job<'_>) -> Result<u64, Error> {
    let Some(file) = job.list.files.first() else { return Ok(0) };
    let name =
        file.path.file_stem().ok_or(Error::Defect("a file has no name"))?.to_string_lossy().into_owned();
    let read = storage::open(&file.path, job.budget).map_err(|error| Error::io(&file.path, error))?;
    let reader = NpyReader::new(Arc::from(&*file.path), read)?;
    write(job, &file.path, vec![Column::new(name, reader, &file.path, job.budget)?])
}

/// Converts the one .npz file of `job`.
pub fn convert_npz(job: &Job<'_>) -> Result<u64, Error> {
    let Some(file) = job.list.files.first() else { return Ok(0) };
    let path: Arc<Path> = Arc::from(&*file.path);
    let open = || -> Result<_, Error> {
        let read = storage::open(&path, job.budget).map_err(|error| Error::io(&path, error))?;
        // What the reader's own buffer takes.
        let reservation = job.budget.try_reserve("npz arrays", WINDOW_BYTES as u64)?;
        Ok((NpzReader::new(path.clone(), BufReader::new(read), job.budget)?, reservation))
    };
    let names: Vec<String> = open()?.0.names().map(str::to_string).collect();
    // Entries stand one after the other, and all are read side by side: each through a file of its own.
    let mut readers = names.iter().map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    let mut columns = Vec::with_capacity(names.len());
    for (name, (npz, _)) in names.iter().zip(&mut readers) {
        if let Some(reader) = npz.array(name)? {
            columns.push(Column::new(name.clone(), reader, &path, job.budget)?);
        }
    }
    write(job, &path, columns)
}

fn write<R: Read>(job: &Job<'_>, path: &Path, mut columns: Vec<Column<R>>) -> Result<u64, Error> {
    let Some(rows) = columns.first().map(|c| c.reader.header().rows()) else {
        return Err(Error::data(path, "no arrays"));
    };
    if let Some(other) = columns.iter().find(|c| c.reader.header().rows() != rows) {
        let (name, found) = (&other.name, other.reader.header().rows());
        return Err(Error::data(path, format!("'{name}' has {found} rows, the first array has {rows}")));
    }
    let mut output = RecordOutput::create(job.output, job.budget)?;
    let mut encoder = ExampleEncoder::new(job.budget)?;
    for row in 0..rows {
        job.check_stop()?;
        for column in &mut columns {
            column.advance(path, row)?;
        }
        let texts: Vec<Vec<&[u8]>> = columns.iter().map(|column| column.values.texts()).collect();
        let mut features: Vec<NamedValues<'_>> = columns
            .iter()
            .zip(&texts)
            .map(|(column, texts)| {
                let values = match &column.values {
                    Row::Float(values) => Values::Float(values),
                    Row::Int64(values) => Values::Int64(values),
                    Row::Text(..) => Values::Bytes(texts),
                };
                (column.name.as_str(), values)
            })
            .collect();
        // The order of TensorFlow's deterministic serialization.
        features.sort_unstable_by_key(|feature| feature.0);
        output.write(encoder.encode(&features)?)?;
    }
    finish(output)
}

impl<R: Read> Column<R> {
    fn new(name: String, reader: NpyReader<R>, path: &Path, budget: &MemoryBudget) -> Result<Self, Error> {
        let header = *reader.header();
        let wrong = |why: String| Error::data(path, format!("'{name}': {why}"));
        if header.shape.rank() == 0 {
            return Err(wrong("a single value, which has no rows".to_string()));
        }
        let values = match header.element {
            NpyType::Plain(DType::C64 | DType::C128) => {
                return Err(wrong("complex numbers, which a tf.train.Example cannot hold".to_string()));
            }
            NpyType::Plain(dtype) if dtype.is_float() => Row::Float(Vec::new()),
            NpyType::Plain(_) => Row::Int64(Vec::new()),
            NpyType::Bytes(_) | NpyType::Unicode(_) => Row::Text(Vec::new(), Vec::new()),
        };
        let row_bytes = header.row_bytes();
        // Values, text and places of a row, and the name.
        let elements = header.row_shape().iter().product::<usize>() as u64;
        let held_bytes = elements.saturating_mul(ELEMENT_BYTES).saturating_add(row_bytes as u64);
        let reservation = budget.try_reserve("rows of arrays", held_bytes + name.len() as u64)?;
        let window_bytes = (WINDOW_BYTES / row_bytes.max(1)).max(1).saturating_mul(row_bytes);
        let window = Buffer::new(budget, "rows of arrays", window_bytes)?;
        Ok(Column { name, reader, window, row_bytes, row: 0, rows: 0, values, _reservation: reservation })
    }

    /// Goes on to the next row, `number`, which there is.
    fn advance(&mut self, path: &Path, number: u64) -> Result<(), Error> {
        self.row += 1;
        if self.row >= self.rows {
            self.rows = self.reader.read_rows(&mut self.window)?;
            self.row = 0;
        }
        let start = self.row * self.row_bytes;
        let bytes = self.window.get(start..start + self.row_bytes);
        let bytes = bytes.ok_or(Error::Defect("a row lies outside of its window"))?;
        let element = self.reader.header().element;
        self.values.read(bytes, element).ok_or_else(|| {
            Error::data(path, format!("'{}', row {number}: a value that int64 or UTF-8 has not", self.name))
        })
    }
}

impl Row {
    /// Reads a row of `element`s; `None` for a value that cannot be held.
    fn read(&mut self, bytes: &[u8], element: NpyType) -> Option<()> {
        match self {
            Row::Float(values) => {
                values.clear();
                match element.dtype() {
                    DType::F16 => extend(values, bytes, |b| f16::from_le_bytes(b).to_f32()),
                    DType::BF16 => extend(values, bytes, |b| bf16::from_le_bytes(b).to_f32()),
                    DType::F64 => extend(values, bytes, |b| f64::from_le_bytes(b) as f32),
                    _ => extend(values, bytes, f32::from_le_bytes),
                }
            }
            Row::Int64(values) => {
                values.clear();
                match element.dtype() {
                    DType::I8 => extend(values, bytes, |b| i8::from_le_bytes(b).into()),
                    DType::U8 | DType::Bool => extend(values, bytes, |b| u8::from_le_bytes(b).into()),
                    DType::I16 => extend(values, bytes, |b| i16::from_le_bytes(b).into()),
                    DType::U16 => extend(values, bytes, |b| u16::from_le_bytes(b).into()),
                    DType::I32 => extend(values, bytes, |b| i32::from_le_bytes(b).into()),
                    DType::U32 => extend(values, bytes, |b| u32::from_le_bytes(b).into()),
                    DType::U64 => {
                        for chunk in bytes.as_chunks::<8>().0 {
                            values.push(i64::try_from(u64::from_le_bytes(*chunk)).ok()?);
                        }
                    }
                    _ => extend(values, bytes, i64::from_le_bytes),
                }
            }
            Row::Text(text, ends) => {
                ends.clear();
                text.resize(bytes.len(), 0);
                let mut at = 0;
                // numpy has no strings of no bytes: an array of empty ones has elements of one.
                for string in bytes.chunks_exact(element.bytes().max(1)) {
                    let room = text.get_mut(at..)?;
                    at += match element {
                        NpyType::Unicode(_) => utf8_of_ucs4(string, room)?,
                        _ => {
                            let string = trim_zeros(string);
                            room.get_mut(..string.len())?.copy_from_slice(string);
                            string.len()
                        }
                    };
                    ends.push(at);
                }
            }
        }
        Some(())
    }

    fn texts(&self) -> Vec<&[u8]> {
        let Row::Text(text, ends) = self else { return Vec::new() };
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(ends).map(|(start, end)| &text[start..*end]).collect()
    }
}

fn extend<const N: usize, T>(values: &mut Vec<T>, bytes: &[u8], value: impl Fn([u8; N]) -> T) {
    values.extend(bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)));
}
