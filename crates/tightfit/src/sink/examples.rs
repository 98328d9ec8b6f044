//! TFRecord: a tf.train.Example for each row, or one for a single call, with one feature for each output.
//!
//! Floats of every width become a float list, integers and bools an int64 list, strings a bytes list: an Example has
//! no other lists, and no shapes.

use std::path::PathBuf;

use tightfit_core::DType;
use tightfit_format::example::{Values, write_example};
use tightfit_format::tfrecord::RecordWriter;

use super::elements::{integer, number, string};
use super::file::Output;
use super::{OutputRows, Part, Sink};
use crate::error::Error;

/// Memory for each element of a row: its value, and up to ten bytes in the record, in a list that may have twice its
/// length.
pub const ELEMENT_BYTES: u64 = 36;

/// Writes TFRecord files.
pub struct Examples {
    records: RecordWriter<Output>,
    path: PathBuf,
    record: Vec<u8>,
}

/// The values of one feature.
enum List<'a> {
    Float(Vec<f32>),
    Int64(Vec<i64>),
    Bytes(Vec<&'a [u8]>),
}

impl Examples {
    /// Nothing written yet.
    pub fn new(output: Output) -> Examples {
        let path = output.path().to_path_buf();
        Examples { records: RecordWriter::new(output), path, record: Vec::new() }
    }
}

impl Sink for Examples {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        for row in 0..rows.records() {
            let mut lists = Vec::with_capacity(rows.outputs.len());
            for named in rows.named() {
                let (name, tensor) = named?;
                lists.push((name, list(name, &rows.part(name, &tensor, row)?, rows)?));
            }
            let features: Vec<(&str, Values<'_>)> =
                lists.iter().map(|(name, list)| (*name, list.values())).collect();
            self.record.clear();
            write_example(&mut self.record, &features);
            self.records.write(&self.record).map_err(|error| Error::io(&self.path, error))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.records.into_inner().commit()
    }
}

impl<'a> List<'a> {
    fn values(&self) -> Values<'_> {
        match self {
            List::Float(values) => Values::Float(values),
            List::Int64(values) => Values::Int64(values),
            List::Bytes(values) => Values::Bytes(values),
        }
    }
}

fn list<'a>(name: &str, part: &Part<'a>, rows: &OutputRows<'a>) -> Result<List<'a>, Error> {
    let dtype = part.dtype;
    let elements = part.bytes.chunks_exact(dtype.bytes());
    Ok(match dtype {
        DType::String => List::Bytes(elements.map(|e| string(&rows.outputs, e)).collect()),
        DType::C64 | DType::C128 => {
            return Err(Error::Usage(format!(
                "'{name}' is {dtype}, which a tf.train.Example cannot hold: use .npz"
            )));
        }
        _ if dtype.is_float() => {
            List::Float(elements.filter_map(|e| Some(number(dtype, e)? as f32)).collect())
        }
        _ => List::Int64(elements.filter_map(|e| integer(dtype, e)).collect()),
    })
}
