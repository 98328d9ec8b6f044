//! Examples to Parquet (Snappy) and to Arrow IPC files: float32, int64 and binary columns. A feature of up to one value
//! is a column of values, one that all records have n values of is one of fixed-size lists, others are of lists; where a
//! record does not have it, the column is null.
//!
//! Row groups are as large as a part of the memory allows: what is written of one stays in memory until it is whole.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Int64Array, ListArray, RecordBatch,
    RecordBatchOptions,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tightfit_core::Reservation;
use tightfit_format::example::{ExampleError, Feature, FeatureKind};

use super::{Job, PICKED_BYTES, RecordPlace, picked};
use crate::error::Error;
use crate::records::schema::FeatureSummary;
use crate::sink::file::{BUFFER_BYTES, Output};

/// What the values of a batch take, if a single record does not take more.
const BATCH_BYTES: u64 = 1 << 20;

/// The least and the most that a row group takes in memory.
const ROW_GROUP_BYTES: [u64; 2] = [1 << 20, 64 << 20];

/// The pages of a column that are being made, and its dictionary.
const PAGE_BYTES: usize = 64 << 10;

/// What a column takes beside its values: its writer, and each time a row group is done what the footer says of it.
const COLUMN_BYTES: u64 = 6 * PAGE_BYTES as u64;
const CHUNK_BYTES: u64 = 1 << 10;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Parquet,
    Arrow,
}

/// How many values a row of a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    One,
    Fixed(i32),
    Lists,
}

/// Values of the one kind that a feature has.
enum Values {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts { bytes: Vec<u8>, ends: Vec<i32> },
}

/// A feature that becomes a column, and its values in the batch that is being gathered.
struct Column {
    name: String,
    rows: Rows,
    is_nullable: bool,
    values: Values,
    /// Where the list of each row ends.
    ends: Vec<i32>,
    valid: Vec<bool>,
}

impl Column {
    fn new(feature: &FeatureSummary) -> Result<Column, Error> {
        let values = match *feature.kinds {
            [FeatureKind::Float] => Values::Floats(Vec::new()),
            [FeatureKind::Int64] => Values::Ints(Vec::new()),
            [FeatureKind::Bytes] => Values::Texts { bytes: Vec::new(), ends: vec![0] },
            _ => {
                let why = "is not of one kind in all records, as a column has to be";
                return Err(Error::Usage(format!("feature '{}' {why}", feature.name)));
            }
        };
        let (min, max) = feature.count.map_or((0, 0), |count| (count.min, count.max));
        let rows = match (min, i32::try_from(max)) {
            (_, Ok(0 | 1)) => Rows::One,
            (_, Ok(size)) if min == max && feature.records == feature.of_records => Rows::Fixed(size),
            _ => Rows::Lists,
        };
        let is_nullable = feature.records < feature.of_records || rows == Rows::One && min == 0;
        Ok(Column { name: feature.name.clone(), rows, is_nullable, values, ends: vec![0], valid: Vec::new() })
    }

    fn field(&self) -> Field {
        let value = match &self.values {
            Values::Floats(_) => DataType::Float32,
            Values::Ints(_) => DataType::Int64,
            Values::Texts { .. } => DataType::Binary,
        };
        let item = || FieldRef::new(Field::new("item", value.clone(), false));
        let data_type = match self.rows {
            Rows::One => value,
            Rows::Fixed(size) => DataType::FixedSizeList(item(), size),
            Rows::Lists => DataType::List(item()),
        };
        Field::new(&self.name, data_type, self.is_nullable)
    }

    /// Values in the batch.
    fn count(&self) -> usize {
        match &self.values {
            Values::Floats(values) => values.len(),
            Values::Ints(values) => values.len(),
            Values::Texts { ends, .. } => ends.len() - 1,
        }
    }

    /// Adds the values of a record.
    fn push(&mut self, found: Option<Feature<'_>>) -> Result<(), String> {
        let text = |error: ExampleError| error.to_string();
        let before = self.count();
        if let Some(feature) = &found {
            match &mut self.values {
                Values::Floats(values) => {
                    for run in feature.float_runs() {
                        values.extend(run.map_err(text)?.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                    }
                }
                Values::Ints(values) => {
                    for value in feature.ints() {
                        values.push(value.map_err(text)?);
                    }
                }
                Values::Texts { bytes, ends } => {
                    for value in feature.bytes() {
                        bytes.extend_from_slice(value.map_err(text)?);
                        ends.push(
                            i32::try_from(bytes.len()).map_err(|_| "more than 2 GiB of text in a batch")?,
                        );
                    }
                }
            }
        }
        let added = self.count() - before;
        let missing = match self.rows {
            Rows::One => 1 - added.min(1),
            _ => 0,
        };
        self.valid.push(found.is_some() && !(self.rows == Rows::One && added == 0));
        self.pad(missing);
        self.ends.push(i32::try_from(self.count()).map_err(|_| "more than 2^31 values in a batch")?);
        let is_as_many = match self.rows {
            Rows::One => added + missing == 1,
            Rows::Fixed(size) => added + missing == size as usize,
            Rows::Lists => true,
        };
        if is_as_many { Ok(()) } else { Err("another number of values: the file has changed".to_string()) }
    }

    fn pad(&mut self, values: usize) {
        match &mut self.values {
            Values::Floats(floats) => floats.resize(floats.len() + values, 0.0),
            Values::Ints(ints) => ints.resize(ints.len() + values, 0),
            Values::Texts { ends, .. } => ends.resize(ends.len() + values, ends.last().copied().unwrap_or(0)),
        }
    }

    /// The column of the batch, which begins anew.
    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = self.valid.len();
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let valid = std::mem::take(&mut self.valid);
        let nulls = self.is_nullable.then(|| NullBuffer::from(valid));
        let value_nulls = nulls.clone().filter(|_| self.rows == Rows::One);
        let values: ArrayRef = match &mut self.values {
            Values::Floats(values) => Arc::new(Float32Array::new(std::mem::take(values).into(), value_nulls)),
            Values::Ints(values) => Arc::new(Int64Array::new(std::mem::take(values).into(), value_nulls)),
            Values::Texts { bytes, ends } => {
                let offsets = OffsetBuffer::new(std::mem::replace(ends, vec![0]).into());
                Arc::new(BinaryArray::try_new(offsets, Buffer::from_vec(std::mem::take(bytes)), value_nulls)?)
            }
        };
        Ok(match self.field().data_type() {
            DataType::FixedSizeList(item, size) => {
                Arc::new(FixedSizeListArray::try_new_with_length(item.clone(), *size, values, nulls, rows)?)
            }
            DataType::List(item) => {
                Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::new(ends.into()), values, nulls)?)
            }
            _ => values,
        })
    }
}

/// What the values of a feature take in a batch, whose lists grow by doubling.
fn values_bytes(feature: &Feature<'_>) -> Result<u64, ExampleError> {
    let mut bytes = (feature.count()? as u64).saturating_mul(8);
    for value in feature.bytes() {
        bytes = bytes.saturating_add(value?.len() as u64);
    }
    Ok(bytes.saturating_mul(2))
}

enum Writer {
    Parquet(Box<ArrowWriter<Output>>),
    Arrow(Box<FileWriter<Output>>),
}

/// The rows on their way to the file.
struct Table<'a> {
    job: &'a Job<'a>,
    columns: Vec<Column>,
    schema: Arc<Schema>,
    writer: Writer,
    rows: u64,
    /// Rows of the batch, and what covers it.
    batch_rows: usize,
    batch: Reservation,
    /// Covers the row group and what the footer will say.
    group: Reservation,
    group_bytes: u64,
}

fn failed(job: &Job<'_>, error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Error::io(job.output, *error),
            Err(error) => Error::data(job.output, error.to_string()),
        },
        error => Error::data(job.output, error.to_string()),
    }
}

fn failed_arrow(job: &Job<'_>, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => Error::io(job.output, error),
        error => Error::data(job.output, error.to_string()),
    }
}

impl<'a> Table<'a> {
    fn create(job: &'a Job<'a>, kind: Kind, features: &[FeatureSummary]) -> Result<Table<'a>, Error> {
        let columns = features.iter().map(Column::new).collect::<Result<Vec<_>, _>>()?;
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let [least, most] = ROW_GROUP_BYTES;
        let group_bytes = (job.budget.free_bytes() / 8).clamp(least, most);
        let column_bytes = COLUMN_BYTES.saturating_mul(columns.len() as u64);
        // Whole pages come on top before the row group is seen to be full.
        let held_bytes = group_bytes.saturating_add(column_bytes).saturating_add(2 * BATCH_BYTES);
        let group = job.budget.try_reserve("row group", held_bytes)?;
        let batch = job.budget.try_reserve("rows", 0)?;
        let output = Output::create(job.output)?;
        let writer = match kind {
            Kind::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_data_page_size_limit(PAGE_BYTES)
                    .set_dictionary_page_size_limit(PAGE_BYTES)
                    .set_max_row_group_row_count(None)
                    .set_statistics_enabled(EnabledStatistics::Chunk)
                    .set_offset_index_disabled(true)
                    .build();
                let writer = ArrowWriter::try_new(output, schema.clone(), Some(properties));
                Writer::Parquet(Box::new(writer.map_err(|error| failed(job, error))?))
            }
            Kind::Arrow => {
                let writer = FileWriter::try_new(output, &schema);
                Writer::Arrow(Box::new(writer.map_err(|error| failed_arrow(job, error))?))
            }
        };
        Ok(Table { job, columns, schema, writer, rows: 0, batch_rows: 0, batch, group, group_bytes })
    }

    /// Adds a record.
    fn push(&mut self, place: &RecordPlace<'_>, found: Vec<Option<Feature<'_>>>) -> Result<(), Error> {
        let needed = |all: u64, found: &Option<Feature<'_>>| {
            let bytes = found.as_ref().map_or(Ok(0), values_bytes)?;
            Ok::<_, ExampleError>(all.saturating_add(bytes).saturating_add(32))
        };
        let needed_bytes = found.iter().try_fold(0, needed).map_err(|error| place.error(error))?;
        let fixed_bytes = self.columns.iter().map(|column| match column.rows {
            Rows::Fixed(size) => size as u64 * 16,
            _ => 0,
        });
        let needed_bytes = needed_bytes.saturating_add(fixed_bytes.sum());
        if self.batch_rows > 0 && self.batch.bytes().saturating_add(needed_bytes) > BATCH_BYTES {
            self.write()?;
        }
        self.batch.try_grow(needed_bytes)?;
        for (column, found) in self.columns.iter_mut().zip(found) {
            column.push(found).map_err(|why| place.error(format!("'{}': {why}", column.name)))?;
        }
        self.batch_rows += 1;
        Ok(())
    }

    /// Writes the batch.
    fn write(&mut self) -> Result<(), Error> {
        if self.batch_rows == 0 {
            return Ok(());
        }
        let job = self.job;
        let arrays = self.columns.iter_mut().map(Column::take).collect::<Result<Vec<_>, _>>();
        let options = RecordBatchOptions::new().with_row_count(Some(self.batch_rows));
        let batch = arrays.and_then(|a| RecordBatch::try_new_with_options(self.schema.clone(), a, &options));
        let batch = batch.map_err(|error| failed_arrow(job, error))?;
        // The copy that is encoded, beside the batch.
        let _encoded = job.budget.try_reserve("rows", self.batch.bytes())?;
        match &mut self.writer {
            Writer::Parquet(writer) => {
                writer.write(&batch).map_err(|error| failed(job, error))?;
                // A record may be larger than what a row group is to take.
                let held_bytes = writer.memory_size() as u64;
                if held_bytes > self.group.bytes() {
                    self.group.try_grow(held_bytes - self.group.bytes())?;
                }
                if held_bytes >= self.group_bytes {
                    writer.flush().map_err(|error| failed(job, error))?;
                    self.group.try_grow(CHUNK_BYTES.saturating_mul(self.columns.len() as u64))?;
                }
            }
            Writer::Arrow(writer) => writer.write(&batch).map_err(|error| failed_arrow(job, error))?,
        }
        self.rows += self.batch_rows as u64;
        self.batch_rows = 0;
        drop(batch);
        self.batch.shrink(0);
        Ok(())
    }

    fn finish(mut self) -> Result<u64, Error> {
        self.write()?;
        let job = self.job;
        let output = match self.writer {
            Writer::Parquet(writer) => writer.into_inner().map_err(|error| failed(job, error))?,
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(|error| failed_arrow(job, error))?;
                writer.into_inner().map_err(|error| failed_arrow(job, error))?
            }
        };
        output.commit()?;
        Ok(self.rows)
    }
}

/// Converts all records of `job`.
pub fn convert(job: &Job<'_>, kind: Kind) -> Result<u64, Error> {
    let (features, _held) = job.schema()?;
    if features.is_empty() {
        return Err(Error::Usage("the records have no features".to_string()));
    }
    let columns_bytes = features.len() as u64 * (512 + PICKED_BYTES);
    let _buffers = job.budget.try_reserve("output", BUFFER_BYTES as u64 + columns_bytes)?;
    let mut table = Table::create(job, kind, &features)?;
    job.each_record(&mut |place, record| {
        let found = picked(&features, record).map_err(|error| place.error(error))?;
        table.push(place, found)
    })?;
    table.finish()
}
