//! What a file of records is: how many, how large, of which features.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_data::storage;
use tightfit_format::tfrecord::{Compression, FOOTER_BYTES, HEADER_BYTES, RecordError, RecordFault};
use tightfit_format::{FormatError, Place, Problem};

use super::files::RecordFile;
use super::schema::{FeatureSummary, Range, Schema, SchemaError};
use crate::error::Error;

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Its number in the file, from 0.
    pub record: u64,
    /// Where it begins, in bytes of the uncompressed file.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

impl BadRecord {
    pub(super) fn new(error: &RecordError) -> BadRecord {
        let rest = match error.fault {
            RecordFault::LengthCrc | RecordFault::Compression(_) => "; the rest of the file cannot be read",
            _ => "",
        };
        BadRecord { record: error.record, offset: error.offset, why: format!("{}{rest}", error.fault) }
    }
}

/// Sizes of records in bytes of their data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// All together.
    pub total: u64,
}

/// What a file of records is.
#[derive(Debug)]
pub struct Inspection {
    /// Records that can be read.
    pub records: u64,
    /// Bytes of the file as it is stored.
    pub bytes: u64,
    /// Bytes of the uncompressed file, as far as it can be read.
    pub plain_bytes: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// Records of each kind, in the order of [`tightfit_format::message::MessageKind::ALL`].
    pub messages: [u64; 4],
    /// Sizes of the records.
    pub sizes: Sizes,
    /// The features, by scope and name.
    pub schema: Vec<FeatureSummary>,
    /// Examples of a record, for ExampleListWithContext.
    pub examples: Option<Range>,
    /// Records that cannot be read.
    pub bad_records: u64,
    /// The first of them.
    pub first_bad: Option<BadRecord>,
    _reservation: Reservation,
}

/// Reads `path` from front to back.
///
/// # Errors
/// [`Error`] when it cannot be opened, or a record or its features do not fit `budget`, with the place, or `stop` was
/// set. Bad records are counted.
pub fn inspect(path: &Path, budget: &MemoryBudget, stop: &AtomicBool) -> Result<Inspection, Error> {
    let _stores = storage::reserve(path, budget)?;
    let mut file = RecordFile::open(path, budget)?;
    let bytes = file.file_bytes();
    let mut schema = Schema::new(budget)?;
    let (mut records, mut plain_bytes, mut bad_records) = (0, 0, 0);
    let (mut sizes, mut first_bad) = (None::<Sizes>, None);
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        match file.advance()? {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                bad_records += 1;
                first_bad.get_or_insert_with(|| BadRecord::new(&error));
                continue;
            }
        }
        let record = file.current();
        schema.add(record.data).map_err(|error| schema_error(path, record.index, record.offset, error))?;
        let size = record.data.len() as u64;
        let all = sizes.get_or_insert(Sizes { min: size, max: size, total: 0 });
        *all = Sizes { min: all.min.min(size), max: all.max.max(size), total: all.total + size };
        plain_bytes = record.offset + size + (HEADER_BYTES + FOOTER_BYTES) as u64;
        records += 1;
    }
    let (messages, examples) = (schema.kinds(), schema.examples_range());
    let (schema, reservation) = schema.finish();
    Ok(Inspection {
        records,
        bytes,
        plain_bytes,
        compression: file.compression(),
        messages,
        sizes: sizes.unwrap_or_default(),
        schema,
        examples,
        bad_records,
        first_bad,
        _reservation: reservation,
    })
}

fn schema_error(path: &Path, record: u64, offset: u64, error: SchemaError) -> Error {
    match error {
        SchemaError::Budget(error) => {
            FormatError::new(&Arc::from(path), Place::Offset(offset), Problem::Budget(error)).into()
        }
        error => Error::data(path, format!("record {record} at byte {offset}: {error}")),
    }
}
