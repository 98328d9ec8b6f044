//! A data set through a model: into a file, or into arrays.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tightfit::job::{BatchSize, Job, JobOptions, ShardOptions, ShardedJob};
use tightfit::sink::{self, Labels, OutputRows, Sink, SinkFormat, SinkNeed, SinkOptions};
use tightfit::{Error, Feeds, MemoryBudget, Reservation};

use crate::arrays;
use crate::data::Data;
use crate::signals::Signals;

/// What is asked of a run over a data set.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Wishes {
    data: Data,
    fixed: Vec<(String, PathBuf)>,
    shapes: HashMap<String, Vec<usize>>,
    batch: Option<usize>,
    output: Option<PathBuf>,
    labels: Option<PathBuf>,
    top: Option<usize>,
    resume: bool,
    shard_rows: Option<u64>,
}

/// Arrays of each batch, until they are put together.
#[derive(Default)]
struct Chunks {
    names: Vec<String>,
    arrays: Vec<Vec<Py<PyAny>>>,
    failure: Option<PyErr>,
}

/// A sink that makes an array of each output of a batch.
struct ToArrays {
    chunks: Arc<Mutex<Chunks>>,
    budget: MemoryBudget,
    /// The arrays, and what they are put together in.
    memory: Vec<Reservation>,
}

impl Sink for ToArrays {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = rows.outputs;
        if chunks.names.is_empty() {
            chunks.names = (0..outputs.len()).filter_map(|i| outputs.name(i)).map(str::to_string).collect();
            chunks.arrays.resize_with(outputs.len(), Vec::new);
        }
        for index in 0..outputs.len() {
            let tensor = outputs.tensor(index).ok_or(Error::Defect("an output is not there"))?;
            let name = outputs.name(index).unwrap_or_default();
            if tensor.shape().first() != Some(&rows.rows) {
                let (dtype, shape) = (tensor.dtype(), tensor.shape());
                let why = format!(
                    "'{name}' is {dtype}{shape} for a batch of {}: it has no row for each",
                    rows.rows
                );
                return Err(Error::Usage(why));
            }
            let bytes = (tensor.bytes().len() as u64).saturating_mul(2);
            self.memory.push(self.budget.try_reserve("sink", bytes)?);
            let made = Python::attach(|py| {
                let string = |reference| outputs.string(reference).to_vec();
                arrays::to_array(py, &tensor, &string).map(|array| array.into_any().unbind())
            });
            match (made, chunks.arrays.get_mut(index)) {
                (Ok(array), Some(list)) => list.push(array),
                (Err(error), _) => {
                    chunks.failure = Some(error);
                    return Err(Error::Interrupted);
                }
                (Ok(_), None) => return Err(Error::Defect("outputs differ from batch to batch")),
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// Runs the job. Without `output` the dict has under `arrays` a list of arrays for each output.
pub fn run<'py>(
    py: Python<'py>,
    session: &mut tightfit::Session,
    wishes: Wishes,
    signals: &Arc<Signals>,
) -> PyResult<Bound<'py, PyDict>> {
    let Wishes { data, fixed, shapes, batch, output, labels, top, resume, shard_rows } = wishes;
    let data = data.options(py)?;
    let shapes = crate::data::shapes(py, shapes)?;
    let batch = batch.map_or(BatchSize::Auto, BatchSize::Fixed);
    let chunks = Arc::new(Mutex::new(Chunks::default()));
    let (kept, flag) = (chunks.clone(), signals.flag());
    let result = py.detach(|| {
        // What a run has left goes first.
        session.unload();
        session.feed_data(&fixed, &data)?;
        let (model, budget, own) = (session.model(), session.budget(), session.options());
        let labels = labels.map(|path| Labels::read(&path, budget)).transpose()?.map(Arc::new);
        let need = SinkNeed {
            format: output.as_deref().map(SinkFormat::of).transpose()?,
            held_bytes: labels.as_ref().map_or(0, |labels| labels.memory_bytes()),
            ..SinkNeed::default()
        };
        let options = JobOptions {
            data,
            fixed: Feeds::read_some(model, &fixed, budget)?.into_tensors(),
            batch,
            threads: own.threads,
            memory_bytes: own.memory_bytes,
            sink: need,
            shapes,
        };
        let sink = SinkOptions { top, labels };
        if let (true, Some(output)) = (resume, &output) {
            let shards = ShardOptions { output: output.clone(), rows: shard_rows, sink };
            return ShardedJob::open(model, options, shards, budget)?.run(&mut |_| {}, flag);
        }
        let job = Job::new(model, options, budget)?;
        let sink: Box<dyn Sink> = match &output {
            Some(path) => sink::create(Some(path), sink)?,
            None => Box::new(ToArrays { chunks: kept, budget: budget.clone(), memory: Vec::new() }),
        };
        job.run(sink, &mut |_| {}, flag)
    });
    let chunks = std::mem::take(&mut *chunks.lock().unwrap_or_else(PoisonError::into_inner));
    let report = match (result, chunks.failure) {
        (_, Some(failure)) => return Err(failure),
        (Err(error), None) => return Err(signals.raise(py, &error)),
        (Ok(report), None) => report,
    };
    let done = PyDict::new(py);
    done.set_item("rows", report.rows)?;
    done.set_item("resumed_rows", report.resumed_rows)?;
    done.set_item("skipped_rows", report.skipped_rows)?;
    done.set_item("skipped", report.skipped)?;
    done.set_item("right_rows", report.right_rows)?;
    done.set_item("batch", report.batch)?;
    done.set_item("seconds", report.elapsed.as_secs_f64())?;
    done.set_item("planned_bytes", report.lines.total_bytes())?;
    let named = PyDict::new(py);
    for (name, list) in chunks.names.iter().zip(chunks.arrays) {
        named.set_item(name, PyList::new(py, list)?)?;
    }
    done.set_item("arrays", named)?;
    Ok(done)
}
