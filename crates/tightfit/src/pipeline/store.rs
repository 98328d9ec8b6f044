//! The elements of a pipeline as tf.train.Examples in TFRecord files: what is costly is done once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tightfit_core::{DType, MemoryBudget};
use tightfit_data::DataError;
use tightfit_data::flow::{
    Context, Map, Node, Pipeline, PipelineSpec, RECORD, Report, Schema, Serialize, StageSpec,
};

use crate::error::Error;
use crate::records::{MAX_SHARDS, RecordOutput, ShardSet, is_record_name, is_same};

/// Where the elements of a pipeline go.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The file, compressed as its name says: `.tfrecord`, `.tfrecord.gz`, ...; with `shards`, the name up to their
    /// number.
    pub output: PathBuf,
    /// Files that elements are dealt to in turn; `None` for one file of the name itself.
    pub shards: Option<usize>,
    /// The most threads that work at once.
    pub threads: usize,
}

/// What was stored.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stored {
    /// Records of each file.
    pub shards: Vec<u64>,
    /// Bytes of the records, uncompressed.
    pub bytes: u64,
    /// From the first element to the last byte on the disk.
    pub elapsed: Duration,
    /// What each stage did.
    pub report: Report,
}

impl Stored {
    /// Records of all files.
    pub fn records(&self) -> u64 {
        self.shards.iter().sum()
    }
}

/// [`Serialize`] with the shapes of fields that have some, unless elements are records already.
#[derive(Debug)]
struct Record;

impl StageSpec for Record {
    fn identity(&self) -> serde_json::Value {
        serde_json::json!("record")
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        if is_record(input.schema()) {
            return Ok(input);
        }
        Map::new(Serialize { has_shapes: true, ..Serialize::new() }).open(input, context)
    }
}

fn is_record(schema: &Schema) -> bool {
    let [field] = schema.fields() else { return false };
    field.name == RECORD && field.dtype == DType::String && field.dims.is_empty()
}

enum Target {
    One(RecordOutput),
    Set(ShardSet, u64),
}

impl Target {
    fn write(&mut self, index: u64, record: &[u8]) -> Result<(), Error> {
        match self {
            Target::One(output) => output.write(record),
            Target::Set(set, shards) => set.write(index % *shards, record),
        }
    }

    fn commit(self) -> Result<Vec<u64>, Error> {
        match self {
            Target::One(output) => {
                let records = output.records();
                output.finish()?.commit()?;
                Ok(vec![records])
            }
            Target::Set(set, _) => set.commit(),
        }
    }
}

/// Runs the pipeline once and writes each element as a tf.train.Example, or as it is where the only field is a string
/// `record`. The files appear when they are whole; of several, as [`crate::records::shard`] says.
///
/// # Errors
/// [`Error`] for what is wrong with the description or an element, with its place, when the budget is too small, or
/// `stop` was set. No file appears then.
pub fn store(
    spec: &PipelineSpec,
    options: &StoreOptions,
    budget: &MemoryBudget,
    stop: &AtomicBool,
) -> Result<Stored, Error> {
    let output = &options.output;
    if !is_record_name(output) {
        let why = "records are stored as .tfrecord, .tfrecord.gz or .tfrecord.zlib";
        return Err(Error::Usage(format!("{}: {why}", output.display())));
    }
    if options.shards.is_some_and(|shards| !(1..=MAX_SHARDS).contains(&shards)) {
        return Err(Error::Usage(format!("there can be 1 to {MAX_SHARDS} shards")));
    }
    let mut pipeline = Pipeline::open(&spec.clone().then(Record), budget, options.threads)?;
    if pipeline.context().names.any_path(|path| is_same(path, output)) {
        return Err(Error::Usage(format!("{} would be read and written", output.display())));
    }
    let mut target = match options.shards {
        None => Target::One(RecordOutput::create(output, budget)?),
        Some(shards) => Target::Set(ShardSet::create(output, shards, budget)?, shards as u64),
    };
    let begin = Instant::now();
    let (mut index, mut bytes) = (0u64, 0u64);
    while pipeline.advance()? {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let record = pipeline.current().string(0).map_err(|defect| Error::Defect(defect.0))?;
        target.write(index, record)?;
        (index, bytes) = (index + 1, bytes + record.len() as u64);
    }
    let report = pipeline.report();
    let shards = target.commit()?;
    Ok(Stored { shards, bytes, elapsed: begin.elapsed(), report })
}
