//! JSON lines: an object for each row, or one for a single call, with a nested list for each output.
//!
//! With the top classes wanted, an object holds those in place of the tensors.

use std::io::{self, Write};

use super::elements::{write_json, write_json_score, write_json_text};
use super::file::Output;
use super::labels::Top;
use super::{OutputRows, Part, RowPlace, Sink};
use crate::error::{Error, defect};
use crate::outputs::Outputs;

/// Writes JSON lines.
pub struct JsonLines {
    output: Output,
    top: Option<Top>,
    best: Vec<(usize, f64)>,
}

impl JsonLines {
    /// Nothing written yet.
    pub fn new(output: Output, top: Option<Top>) -> JsonLines {
        JsonLines { output, top, best: Vec::new() }
    }

    fn write_row(&mut self, rows: &OutputRows<'_>, row: usize) -> Result<(), Error> {
        open(&mut self.output, rows, row).map_err(|error| self.output.error(error))?;
        for (i, named) in rows.named().enumerate() {
            let (name, tensor) = named?;
            let part = rows.part(name, &tensor, row)?;
            let output = &mut self.output;
            let lead: &[u8] = if i > 0 { b", " } else { b"" };
            let written = output.write_all(lead).and_then(|()| write_json_text(output, name.as_bytes()));
            let written = written.and_then(|()| output.write_all(b": "));
            let written = written.and_then(|()| write_nested(output, &part, &rows.outputs));
            written.map_err(|error| self.output.error(error))?;
        }
        self.output.write_all(b"}\n").map_err(|error| self.output.error(error))
    }
}

/// `{`, and where the row comes from.
fn open(output: &mut Output, rows: &OutputRows<'_>, row: usize) -> io::Result<()> {
    if rows.is_whole {
        return output.write_all(b"{");
    }
    let RowPlace { file, record } = (rows.sources)(row);
    write!(output, "{{\"row\": {}, \"file\": ", rows.first_row + row as u64)?;
    write_json_text(output, file.as_bytes())?;
    match record {
        Some(record) => write!(output, ", \"record\": {record}, "),
        None => output.write_all(b", "),
    }
}

fn write_best(output: &mut Output, top: &Top, best: &[(usize, f64)]) -> io::Result<()> {
    output.write_all(b"\"top\": [")?;
    for (i, (index, score)) in best.iter().enumerate() {
        write!(output, "{}{{\"index\": {index}", if i > 0 { ", " } else { "" })?;
        if let Some(label) = top.label(*index) {
            output.write_all(b", \"label\": ")?;
            write_json_text(output, label.as_bytes())?;
        }
        output.write_all(b", \"score\": ")?;
        write_json_score(output, *score)?;
        output.write_all(b"}")?;
    }
    output.write_all(b"]}\n")
}

impl Sink for JsonLines {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let JsonLines { output, top, best } = self;
        if let Some(top) = top {
            for (row, part) in top.rows(rows)?.iter().enumerate() {
                top.best(part, best)?;
                let written = open(output, rows, row).and_then(|()| write_best(output, top, best));
                written.map_err(|error| output.error(error))?;
            }
            return Ok(());
        }
        (0..rows.records()).try_for_each(|row| self.write_row(rows, row))
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.output.commit()
    }
}

/// Writes a tensor as nested lists.
fn write_nested(write: &mut impl Write, part: &Part<'_>, outputs: &Outputs<'_>) -> io::Result<()> {
    let Some((first, rest)) = part.shape.split_first() else {
        return write_json(write, part.dtype, part.bytes, outputs);
    };
    write.write_all(b"[")?;
    let shape = tightfit_core::Shape::new(rest).map_err(io::Error::other)?;
    let bytes = shape.elements() * part.dtype.bytes();
    for i in 0..*first {
        if i > 0 {
            write.write_all(b", ")?;
        }
        let inner = part.bytes.get(i * bytes..(i + 1) * bytes);
        let inner = inner.ok_or_else(|| defect("a part lies outside of its tensor"))?;
        write_nested(write, &Part { dtype: part.dtype, shape, bytes: inner }, outputs)?;
    }
    write.write_all(b"]")
}
