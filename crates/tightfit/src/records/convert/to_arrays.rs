//! Examples to .npy and .npz: float32, int64 and byte strings, of features that have as many values in all records.

use std::io::{self, Write};

use half::f16;
use tightfit_core::{DType, Shape};
use tightfit_format::example::{Feature, FeatureKind};
use tightfit_format::npz::NpzWriter;
use tightfit_format::spool::{ArraySpool, Rows, SPOOL_BYTES};

use super::{Job, PICKED_BYTES, RecordPlace, picked};
use crate::error::Error;
use crate::records::schema::FeatureSummary;
use crate::sink::file::{BUFFER_BYTES, Output};

/// Why the values of a record did not become a row.
enum Fault {
    /// They cannot.
    Record(String),
    /// There is no place for them.
    Output(io::Error),
}

impl From<&str> for Fault {
    fn from(why: &str) -> Fault {
        Fault::Record(why.to_string())
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault::Record(why)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Output(error)
    }
}

impl Fault {
    fn error(self, job: &Job<'_>, place: &RecordPlace<'_>, feature: &str) -> Error {
        match self {
            Fault::Record(why) => place.error(format!("'{feature}': {why}")),
            Fault::Output(error) => Error::io(job.output, error),
        }
    }
}

/// A feature that becomes an array.
struct Column {
    name: String,
    dtype: DType,
    row_shape: Shape,
    values: usize,
}

impl Column {
    fn new(feature: &FeatureSummary, floats: DType) -> Result<Column, Error> {
        let wrong = |why: String| Error::Usage(format!("feature '{}' {why}", feature.name));
        let dtype = match *feature.kinds {
            [FeatureKind::Float] => floats,
            [FeatureKind::Int64] => DType::I64,
            [FeatureKind::Bytes] => DType::String,
            _ => return Err(wrong("is not of one kind in all records, as an array has to be".to_string())),
        };
        if feature.records < feature.of_records {
            let missing = feature.of_records - feature.records;
            return Err(wrong(format!(
                "is missing in {missing} records, and an array has no place for that"
            )));
        }
        let values = match feature.count {
            Some(count) if count.min == count.max => usize::try_from(count.max).unwrap_or(usize::MAX),
            count => {
                let (min, max) = count.map_or((0, 0), |c| (c.min, c.max));
                return Err(wrong(format!(
                    "has {min} to {max} values; the rows of an array are equally long"
                )));
            }
        };
        let shape = if values == 1 { Ok(Shape::SCALAR) } else { Shape::new(&[values]) };
        let row_shape = shape.map_err(|error| wrong(error.to_string()))?;
        Ok(Column { name: feature.name.clone(), dtype, row_shape, values })
    }

    /// Appends the values of a record.
    fn push(&self, found: Option<Feature<'_>>, spool: &mut ArraySpool) -> Result<(), Fault> {
        let text = |error: tightfit_format::example::ExampleError| error.to_string();
        let feature = found.ok_or("it is gone: the file has changed")?;
        let mut values = 0;
        for run in feature.float_runs() {
            let run = run.map_err(text)?;
            values += run.len();
            push_floats(run, self.dtype, spool)?;
        }
        for value in feature.ints() {
            values += 1;
            spool.push(&value.map_err(text)?.to_le_bytes())?;
        }
        for value in feature.bytes() {
            let value = value.map_err(text)?;
            if value.ends_with(&[0]) {
                return Err("a byte string that ends with a zero byte, which numpy would cut off".into());
            }
            values += 1;
            spool.push_string(value)?;
        }
        match values == self.values {
            true => Ok(()),
            false => Err("another number of values: the file has changed".into()),
        }
    }
}

/// Appends little-endian float32 `values` as `dtype`, rounded to the nearest.
fn push_floats(values: &[[u8; 4]], dtype: DType, spool: &mut ArraySpool) -> io::Result<()> {
    let each = || values.iter().map(|value| f32::from_le_bytes(*value));
    match dtype {
        DType::F16 => each().try_for_each(|v| spool.push(&f16::from_f32(v).to_le_bytes())),
        DType::F64 => each().try_for_each(|v| spool.push(&f64::from(v).to_le_bytes())),
        _ => spool.push(values.as_flattened()),
    }
}

/// Converts all records of `job` to one array, of the only feature they have.
pub fn convert_npy(job: &Job<'_>) -> Result<u64, Error> {
    let (features, _held) = job.schema()?;
    let [feature] = &*features else {
        let why = format!("a .npy file holds one array, and the records have {} features", features.len());
        return Err(Error::Usage(format!("{why}: use .npz")));
    };
    let column = Column::new(feature, job.floats)?;
    let _buffers = job.budget.try_reserve("output", (BUFFER_BYTES + SPOOL_BYTES) as u64)?;
    let mut output = Output::create(job.output)?;
    let at = |error| Error::io(job.output, error);
    let mut spool =
        ArraySpool::create(output.folder(), column.dtype, Rows::Counted, column.row_shape).map_err(at)?;
    let mut rows = 0;
    job.each_record(&mut |place, record| {
        rows += 1;
        let found = picked(&features, record).map_err(|error| place.error(error))?;
        let found = found.first().copied().flatten();
        column.push(found, &mut spool).map_err(|fault| fault.error(job, place, &column.name))
    })?;
    spool.write_npy(&mut output).and_then(|()| output.flush()).map_err(at)?;
    output.commit()?;
    Ok(rows)
}

/// Converts all records of `job` to an array for each feature.
pub fn convert_npz(job: &Job<'_>) -> Result<u64, Error> {
    let (features, _held) = job.schema()?;
    let columns = features.iter().map(|f| Column::new(f, job.floats)).collect::<Result<Vec<_>, _>>()?;
    if columns.is_empty() {
        return Err(Error::Usage("the records have no features".to_string()));
    }
    let spools_bytes = columns.len() as u64 * (SPOOL_BYTES as u64 + 256 + PICKED_BYTES);
    let _buffers = job.budget.try_reserve("output", BUFFER_BYTES as u64 + spools_bytes)?;
    let output = Output::create(job.output)?;
    let at = |error| Error::io(job.output, error);
    let mut npz = NpzWriter::new(output.folder());
    for column in &columns {
        npz.add(&column.name, column.dtype, Rows::Counted, column.row_shape).map_err(at)?;
    }
    let mut rows = 0;
    job.each_record(&mut |place, record| {
        rows += 1;
        let found = picked(&features, record).map_err(|error| place.error(error))?;
        for (index, (column, found)) in columns.iter().zip(found).enumerate() {
            let Some(spool) = npz.array(index) else { continue };
            column.push(found, spool).map_err(|fault| fault.error(job, place, &column.name))?;
        }
        Ok(())
    })?;
    npz.finish(output).map_err(at)?.commit()?;
    Ok(rows)
}
