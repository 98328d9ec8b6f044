//! CSV to Examples. The first row names the features. What a column becomes is found in a pass over all rows: integers
//! where every cell is one, else floats where every cell is a number, else text. `007` is text: as a number it would
//! lose its zeros.

use std::path::Path;

use tightfit_data::csv::{CellKind, CsvFormat, CsvReader};
use tightfit_data::{ExampleEncoder, RowFault};
use tightfit_format::example::{NamedValues, Values};

use super::{Job, finish};
use crate::error::Error;
use crate::records::output::RecordOutput;

/// Memory of a column: its name's place, its kind, and its value in a row with what points to it.
const COLUMN_BYTES: u64 = 160;

/// A cell's value; text stays in the row.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Missing,
    Int64([i64; 1]),
    Float([f32; 1]),
    Text,
}

struct Column {
    name: String,
    kind: CellKind,
}

/// Converts all files of `job`, which must have the same first row.
pub fn convert(job: &Job<'_>) -> Result<u64, Error> {
    let mut columns: Vec<Column> = Vec::new();
    let mut reservation = job.budget.try_reserve("csv columns", 0)?;
    for file in &job.list.files {
        let mut reader = open(&file.path, job)?;
        let is_first = columns.is_empty();
        if !advance(&mut reader, &file.path)? {
            return Err(error(&reader, &file.path, "no row with the names of the columns"));
        }
        if is_first {
            reservation.try_grow(reader.fields().map(|name| name.len() as u64 + COLUMN_BYTES).sum())?;
            columns = names(&reader, &file.path)?;
        } else if !reader.fields().eq(columns.iter().map(|c| c.name.as_bytes())) {
            return Err(error(&reader, &file.path, "other columns than the first file has"));
        }
        while next_row(&mut reader, &file.path, columns.len(), job)? {
            for (column, cell) in columns.iter_mut().zip(reader.fields()) {
                column.kind = column.kind.with(cell);
            }
        }
    }
    let mut output = RecordOutput::create(job.output, job.budget)?;
    let mut encoder = ExampleEncoder::new(job.budget)?;
    for file in &job.list.files {
        let mut reader = open(&file.path, job)?;
        advance(&mut reader, &file.path)?;
        while next_row(&mut reader, &file.path, columns.len(), job)? {
            write_row(&reader, &columns, &mut encoder, &mut output)?;
        }
    }
    finish(output)
}

fn open(path: &Path, job: &Job<'_>) -> Result<CsvReader, Error> {
    Ok(CsvReader::open(path, CsvFormat::default(), job.budget)?)
}

fn advance(reader: &mut CsvReader, path: &Path) -> Result<bool, Error> {
    reader.advance().map_err(|fault| match fault {
        RowFault::Io(error) => Error::io(path, error),
        RowFault::Memory(error) => error.into(),
        fault => error(reader, path, fault),
    })
}

/// An error at the current row.
fn error(reader: &CsvReader, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::data(path, format!("line {}: {why}", reader.line()))
}

fn names(reader: &CsvReader, path: &Path) -> Result<Vec<Column>, Error> {
    let mut columns: Vec<Column> = Vec::with_capacity(reader.fields().len());
    let mut seen = std::collections::BTreeSet::new();
    for field in reader.fields() {
        let name =
            std::str::from_utf8(field).map_err(|_| error(reader, path, "a column's name is not UTF-8"))?;
        if !seen.insert(name) {
            return Err(error(reader, path, format!("two columns are called '{name}'")));
        }
        columns.push(Column { name: name.to_string(), kind: CellKind::Unknown });
    }
    Ok(columns)
}

fn next_row(reader: &mut CsvReader, path: &Path, columns: usize, job: &Job<'_>) -> Result<bool, Error> {
    job.check_stop()?;
    if !advance(reader, path)? {
        return Ok(false);
    }
    match reader.fields().len() {
        found if found == columns => Ok(true),
        found => Err(error(reader, path, format!("{found} fields, but there are {columns} columns"))),
    }
}

fn write_row(
    reader: &CsvReader,
    columns: &[Column],
    encoder: &mut ExampleEncoder,
    output: &mut RecordOutput,
) -> Result<(), Error> {
    let cells: Vec<(Cell, [&[u8]; 1])> = columns
        .iter()
        .zip(reader.fields())
        .map(|(column, cell)| (value(column.kind, cell), [cell]))
        .collect();
    let mut features: Vec<NamedValues<'_>> = columns
        .iter()
        .zip(&cells)
        .filter_map(|(column, (cell, text))| {
            let values = match cell {
                Cell::Missing => return None,
                Cell::Int64(value) => Values::Int64(value),
                Cell::Float(value) => Values::Float(value),
                Cell::Text => Values::Bytes(text),
            };
            Some((column.name.as_str(), values))
        })
        .collect();
    // The order of TensorFlow's deterministic serialization.
    features.sort_unstable_by_key(|feature| feature.0);
    output.write(encoder.encode(&features)?)
}

fn value(kind: CellKind, cell: &[u8]) -> Cell {
    // What is no text is not a number either.
    let text = std::str::from_utf8(cell).ok().map(str::trim_ascii);
    match kind {
        _ if cell.is_empty() => Cell::Missing,
        CellKind::Int64 => text.and_then(|t| t.parse().ok()).map_or(Cell::Missing, |v| Cell::Int64([v])),
        CellKind::Float => text.and_then(|t| t.parse().ok()).map_or(Cell::Missing, |v| Cell::Float([v])),
        CellKind::Text | CellKind::Unknown => Cell::Text,
    }
}
