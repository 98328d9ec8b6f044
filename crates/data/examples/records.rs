//! How fast records are read and parsed; `bench/records.py` runs it beside tf.data.
//!
//! ```text
//! records read FILE                                every record of a TFRecord file, its CRCs checked
//! records parse FILE BATCH NAME:DTYPE:N..          features of tf.Examples into batches; DTYPE is float32 or int64
//! records flow JSON THREADS                         the elements of a pipeline, or
//! records batches JSON THREADS                      the rows of its batches
//! ```
//!
//! Two passes are made and the second is told, as JSON: `{"records": N, "seconds": S}`.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape};
use tightfit_data::flow::{Pipeline, PipelineSpec};
use tightfit_data::{Access, Column, Dataset, DatasetSpec};
use tightfit_format::tfrecord::RecordReader;

/// What this may hold: the target for peak resident memory less the process itself.
const MEMORY_BYTES: u64 = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut told = (0, 0.0);
    for _ in 0..2 {
        let start = Instant::now();
        let records = match &args[..] {
            ["read", path] => read(path)?,
            ["parse", path, batch, columns @ ..] => parse(path, batch.parse()?, columns)?,
            ["flow", json, threads] => flow(json, threads.parse()?, false)?,
            ["batches", json, threads] => flow(json, threads.parse()?, true)?,
            _ => {
                return Err(
                    "records read FILE | parse FILE BATCH NAME:DTYPE:N.. | flow|batches JSON THREADS".into(),
                );
            }
        };
        told = (records, start.elapsed().as_secs_f64());
    }
    println!("{{\"records\": {}, \"seconds\": {}}}", told.0, told.1);
    Ok(())
}

fn flow(json: &str, threads: usize, are_batches: bool) -> Result<u64, Box<dyn Error>> {
    let spec = PipelineSpec::from_json(json, &Access::everything(), &|_| None)?;
    let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(MEMORY_BYTES), threads)?;
    let (mut records, mut bytes) = (0, 0);
    while pipeline.advance()? {
        let element = pipeline.current();
        let rows = element.tensor(0).and_then(|tensor| tensor.shape().first().copied());
        records += if are_batches { rows.unwrap_or(0) as u64 } else { 1 };
        bytes += element.values().len();
    }
    std::hint::black_box(bytes);
    Ok(records)
}

fn read(path: &str) -> Result<u64, Box<dyn Error>> {
    // Room for a record of 600 KB and what is read ahead of it.
    let window = Buffer::new(&MemoryBudget::new(MEMORY_BYTES), "window", 1 << 20)?;
    let mut reader = RecordReader::new(Arc::from(Path::new(path)), File::open(path)?, window)?;
    let (mut records, mut bytes) = (0, 0);
    while let Some(record) = reader.next_record()? {
        records += 1;
        bytes += record.data.len();
    }
    std::hint::black_box(bytes);
    Ok(records)
}

fn parse(path: &str, batch: usize, columns: &[&str]) -> Result<u64, Box<dyn Error>> {
    let column = |text: &&str| -> Result<Column, Box<dyn Error>> {
        let parts: Vec<&str> = text.split(':').collect();
        let [name, dtype, values] = parts[..] else { return Err(format!("{text}: NAME:DTYPE:N").into()) };
        let dtype = DType::ALL.into_iter().find(|d| d.name() == dtype).ok_or("no such dtype")?;
        let row_shape = Shape::new(&[values.parse()?])?;
        Ok(Column { input: name.to_string(), feature: Some(name.to_string()), dtype, row_shape })
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let budget = MemoryBudget::new(MEMORY_BYTES);
    let dataset = Dataset::open(DatasetSpec::new(vec![PathBuf::from(path)], columns), &budget)?;
    let mut batches = dataset.start(batch, 2, 2, &budget)?;
    let mut records = 0;
    while let Some(batch) = batches.next()? {
        records += batch.rows() as u64;
    }
    Ok(records)
}
