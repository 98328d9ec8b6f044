//! CSV to Examples. The first row names the features. What a column becomes is found in a pass over all rows: integers
//! where every cell is one, else floats where every cell is a number, else text. `007` is text: as a number it would
//! lose its zeros.

use tightfit_format::example::{NamedValues, Values};

use super::csv::CsvReader;
use super::{Job, finish};
use crate::error::Error;
use crate::records::output::{ExampleEncoder, RecordOutput};

/// Memory of a column: its name's place, its kind, and its value in a row with what points to it.
const COLUMN_BYTES: u64 = 160;

/// What the cells of a column seen so far could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All were empty.
    Unknown,
    Int64,
    Float,
    Text,
}

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
    kind: Kind,
}

/// Converts all files of `job`, which must have the same first row.
pub fn convert(job: &Job<'_>) -> Result<u64, Error> {
    let mut columns: Vec<Column> = Vec::new();
    let mut reservation = job.budget.try_reserve("csv columns", 0)?;
    for file in &job.list.files {
        let mut reader = CsvReader::open(&file.path, job.budget)?;
        let is_first = columns.is_empty();
        if !reader.advance()? {
            return Err(reader.error("no row with the names of the columns"));
        }
        if is_first {
            reservation.try_grow(reader.fields().map(|name| name.len() as u64 + COLUMN_BYTES).sum())?;
            columns = names(&reader)?;
        } else if !reader.fields().eq(columns.iter().map(|c| c.name.as_bytes())) {
            return Err(reader.error("other columns than the first file has"));
        }
        while next_row(&mut reader, columns.len(), job)? {
            for (column, cell) in columns.iter_mut().zip(reader.fields()) {
                column.kind = column.kind.with(cell);
            }
        }
    }
    let mut output = RecordOutput::create(job.output, job.budget)?;
    let mut encoder = ExampleEncoder::new(job.budget)?;
    for file in &job.list.files {
        let mut reader = CsvReader::open(&file.path, job.budget)?;
        reader.advance()?;
        while next_row(&mut reader, columns.len(), job)? {
            write_row(&reader, &columns, &mut encoder, &mut output)?;
        }
    }
    finish(output)
}

fn names(reader: &CsvReader) -> Result<Vec<Column>, Error> {
    let mut columns: Vec<Column> = Vec::with_capacity(reader.fields().len());
    let mut seen = std::collections::BTreeSet::new();
    for field in reader.fields() {
        let name = std::str::from_utf8(field).map_err(|_| reader.error("a column's name is no UTF-8"))?;
        if !seen.insert(name) {
            return Err(reader.error(format!("two columns are called '{name}'")));
        }
        columns.push(Column { name: name.to_string(), kind: Kind::Unknown });
    }
    Ok(columns)
}

fn next_row(reader: &mut CsvReader, columns: usize, job: &Job<'_>) -> Result<bool, Error> {
    job.check_stop()?;
    if !reader.advance()? {
        return Ok(false);
    }
    match reader.fields().len() {
        found if found == columns => Ok(true),
        found => Err(reader.error(format!("{found} fields, but there are {columns} columns"))),
    }
}

fn write_row(
    reader: &CsvReader,
    columns: &[Column],
    encoder: &mut ExampleEncoder,
    output: &mut RecordOutput,
) -> Result<(), Error> {
    let cells: Vec<(Cell, [&[u8]; 1])> =
        columns.iter().zip(reader.fields()).map(|(column, cell)| (column.kind.cell(cell), [cell])).collect();
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

impl Kind {
    fn with(self, cell: &[u8]) -> Kind {
        let found = match cell {
            [] => return self,
            _ => number_text(cell).map_or(Kind::Text, |text| match text.parse::<i64>() {
                Ok(_) => Kind::Int64,
                Err(_) if text.parse::<f64>().is_ok() => Kind::Float,
                Err(_) => Kind::Text,
            }),
        };
        match (self, found) {
            (Kind::Unknown, found) => found,
            (known, found) if known == found => known,
            (Kind::Text, _) | (_, Kind::Text) => Kind::Text,
            _ => Kind::Float,
        }
    }

    fn cell(self, cell: &[u8]) -> Cell {
        let text = std::str::from_utf8(cell).unwrap_or_default().trim_ascii();
        match self {
            _ if cell.is_empty() => Cell::Missing,
            Kind::Int64 => text.parse().map_or(Cell::Missing, |v| Cell::Int64([v])),
            Kind::Float => text.parse().map_or(Cell::Missing, |v| Cell::Float([v])),
            Kind::Text | Kind::Unknown => Cell::Text,
        }
    }
}

/// The text of what could be a number.
fn number_text(cell: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(cell).ok()?.trim_ascii();
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0', b'0'..=b'9', ..] => None,
        _ => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_columns() {
        let kind = |cells: &[&str]| cells.iter().fold(Kind::Unknown, |kind, cell| kind.with(cell.as_bytes()));
        assert_eq!(kind(&["", ""]), Kind::Unknown);
        assert_eq!(kind(&["1", "", "-2"]), Kind::Int64);
        assert_eq!(kind(&["1", "0.5"]), Kind::Float);
        assert_eq!(kind(&["0.5", "1"]), Kind::Float);
        assert_eq!(kind(&["-0.5", "1e-3", "NaN"]), Kind::Float);
        assert_eq!(kind(&["99999999999999999999"]), Kind::Float);
        assert_eq!(kind(&["1", "x", "2"]), Kind::Text);
        assert_eq!(kind(&["1", "007"]), Kind::Text);
    }
}
