//! A .csv file: a header, then a line for each row with every element of every output (RFC 4180).
//!
//! A single call has the rows along the first dimension of its outputs. With the top classes wanted, a line holds
//! those in place of the elements.

use std::io::{self, Write};

use super::elements::{write_csv, write_csv_score, write_csv_text};
use super::file::Output;
use super::labels::Top;
use super::{OutputRows, Part, RowPlace, Sink};
use crate::error::Error;

/// The columns that tell where a row comes from.
const PLACE: &[u8] = b"row,file,record";

/// Writes a .csv file.
pub struct Csv {
    output: Output,
    top: Option<Top>,
    best: Vec<(usize, f64)>,
    has_header: bool,
}

impl Csv {
    /// Nothing written yet.
    pub fn new(output: Output, top: Option<Top>) -> Csv {
        Csv { output, top, best: Vec::new(), has_header: false }
    }

    fn write_tops(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let Csv { output, top: Some(top), best, has_header } = self else { return Ok(()) };
        for (row, part) in top.rows(rows)?.iter().enumerate() {
            top.best(part, best)?;
            let header =
                if *has_header { Ok(()) } else { write_top_header(output, rows.is_whole, best.len()) };
            *has_header = true;
            let written = header.and_then(|()| write_top(output, rows, row, top, best));
            written.map_err(|error| output.error(error))?;
        }
        Ok(())
    }

    fn write_rows(&mut self, rows: &OutputRows<'_>, has_place: bool) -> Result<(), Error> {
        let output = &mut self.output;
        for row in 0..rows.rows {
            let parts =
                rows.named().map(|named| named.and_then(|(name, t)| Ok((name, rows.part(name, &t, row)?))));
            let parts = parts.collect::<Result<Vec<_>, Error>>()?;
            let header = if self.has_header { Ok(()) } else { write_header(output, has_place, &parts) };
            self.has_header = true;
            let place = has_place.then_some(row);
            header
                .and_then(|()| write_row(output, rows, place, &parts))
                .map_err(|error| output.error(error))?;
        }
        Ok(())
    }
}

impl Sink for Csv {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        if self.top.is_some() {
            return self.write_tops(rows);
        }
        if !rows.is_whole {
            return self.write_rows(rows, true);
        }
        // The tensors of a call stand side by side when they have as many rows; scalars and vectors fill one column.
        let first = rows.named().next().transpose()?.and_then(|(_, tensor)| tensor.shape().first().copied());
        let Some(count) = first else { return self.write_whole(rows) };
        self.write_rows(&OutputRows { rows: count, is_whole: false, ..*rows }, false)
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.output.commit()
    }
}

impl Csv {
    /// One line: every output is a scalar.
    fn write_whole(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let parts = rows.named().map(|named| named.and_then(|(name, t)| Ok((name, rows.part(name, &t, 0)?))));
        let parts = parts.collect::<Result<Vec<_>, Error>>()?;
        let output = &mut self.output;
        let written =
            write_header(output, false, &parts).and_then(|()| write_row(output, rows, None, &parts));
        written.map_err(|error| output.error(error))
    }
}

fn write_header(output: &mut Output, has_place: bool, parts: &[(&str, Part<'_>)]) -> io::Result<()> {
    let mut lead = "";
    if has_place {
        output.write_all(PLACE)?;
        lead = ",";
    }
    for (name, part) in parts {
        let elements = part.shape.elements();
        for i in 0..elements {
            output.write_all(lead.as_bytes())?;
            let name = if part.shape.rank() == 0 { name.to_string() } else { format!("{name}[{i}]") };
            write_csv_text(output, &name)?;
            lead = ",";
        }
    }
    output.write_all(b"\n")
}

fn write_row(
    output: &mut Output,
    rows: &OutputRows<'_>,
    place: Option<usize>,
    parts: &[(&str, Part<'_>)],
) -> io::Result<()> {
    let mut lead: &[u8] = b"";
    if let Some(row) = place {
        write_place(output, rows, row)?;
        lead = b",";
    }
    for (_, part) in parts {
        for element in part.bytes.chunks_exact(part.dtype.bytes()) {
            output.write_all(lead)?;
            write_csv(output, part.dtype, element, &rows.outputs)?;
            lead = b",";
        }
    }
    output.write_all(b"\n")
}

fn write_place(output: &mut Output, rows: &OutputRows<'_>, row: usize) -> io::Result<()> {
    write!(output, "{},", rows.first_row + row as u64)?;
    let RowPlace { file, record } = (rows.sources)(row);
    write_csv_text(output, &file)?;
    match record {
        Some(record) => write!(output, ",{record}"),
        None => output.write_all(b","),
    }
}

fn write_top_header(output: &mut Output, is_whole: bool, k: usize) -> io::Result<()> {
    output.write_all(if is_whole { b"row" } else { PLACE })?;
    (1..=k).try_for_each(|i| write!(output, ",index_{i},label_{i},score_{i}"))?;
    output.write_all(b"\n")
}

fn write_top(
    output: &mut Output,
    rows: &OutputRows<'_>,
    row: usize,
    top: &Top,
    best: &[(usize, f64)],
) -> io::Result<()> {
    match rows.is_whole {
        true => write!(output, "{row}")?,
        false => write_place(output, rows, row)?,
    }
    for (index, score) in best {
        write!(output, ",{index},")?;
        write_csv_text(output, top.label(*index).unwrap_or_default())?;
        output.write_all(b",")?;
        write_csv_score(output, *score)?;
    }
    output.write_all(b"\n")
}
