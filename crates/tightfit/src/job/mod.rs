//! A model over a data set: batches in, outputs to a sink, in order, inside the budget.

mod columns;
mod floats;
mod identity;
mod journal;
mod names;
mod shards;
mod tune;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tightfit_core::{DType, MemoryBudget, Reservation, Shape, StopFlag};
use tightfit_data::{
    Access, Batch, Batches, Column, Dataset, DatasetSpec, KEPT_REASONS, PipelinePlan, PipelineRows,
    Preprocess, Probe, Resize, SavedStates,
};
use tightfit_format::location::Shown;
use tightfit_graph::exec::Feed;
use tightfit_kernels::Isa;

use crate::error::Error;
use crate::fit::{Fit, FitOptions, fit};
use crate::memory::lines::Lines;
use crate::memory::process;
use crate::memory::usage::Usage;
use crate::model::Model;
use crate::pipeline::read_sources;
use crate::progress::{Done, Progress};
use crate::run::Runner;
use crate::sink::{OutputRows, RowPlace, Sink, SinkNeed};
use crate::tensor::Tensor;

pub(crate) use tune::fastest;

pub use floats::{float_inputs, open_for};
pub use shards::{DEFAULT_SHARD_ROWS, ShardOptions, ShardedJob};

/// Batches that exist at once: the one in use and the one read ahead.
const SLOTS: usize = 2;

/// What the stages of a pipeline may take where nothing is said.
const PIPELINE_BYTES: u64 = 32 << 20;

/// Inputs of a model, at most.
const MAX_INPUTS: usize = 64;

/// A data set for a model.
#[derive(Debug, Clone, Default)]
pub struct DataOptions {
    /// Files, folders and globs; or one pipeline, as [`crate::pipeline::is_pipeline`] knows them.
    pub sources: Vec<PathBuf>,
    /// What a pipeline, a table or text among them may open; the default is nothing.
    pub access: Access,
    /// The most memory that the stages of a pipeline take, in bytes; left out, 32 MiB.
    pub pipeline_bytes: Option<u64>,
    /// The tf.Example feature for an input, where it is not named as the input.
    pub features: Vec<(String, String)>,
    /// A tf.Example feature of one integer to compare the first output's top class with.
    pub label: Option<String>,
    /// Height and width that images are brought to; left out, the model's own.
    pub resize: Option<[usize; 2]>,
    /// How images are resized; left out, an image of another size is a bad row.
    pub method: Option<Resize>,
    /// What is done to pixels.
    pub preprocess: Preprocess,
    /// Bad rows are skipped and counted.
    pub skip_bad: bool,
    /// The most bytes that a record may have; left out, as many as there is memory for.
    pub record_bytes: Option<usize>,
    /// The most bytes that decoding an image may take; left out, as many as there are.
    pub decode_bytes: Option<u64>,
    /// The most bytes of text for each row of a string input, where one row may use what others of its batch leave; left
    /// out, what the longest row has.
    pub string_bytes: Option<usize>,
}

/// How many rows are computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// This many.
    Fixed(usize),
    /// As many as run fastest inside the budget.
    Auto,
}

/// What a job is.
#[derive(Debug)]
pub struct JobOptions {
    /// The data.
    pub data: DataOptions,
    /// Inputs that are the same for every batch, by name.
    pub fixed: Vec<(String, Tensor)>,
    /// Rows at once.
    pub batch: BatchSize,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Where the output goes.
    pub sink: SinkNeed,
    /// Shapes of inputs that the model leaves open, by name.
    pub shapes: HashMap<String, Shape>,
}

/// A job with everything reserved, about to start.
pub struct Job<'m> {
    model: &'m Model,
    options: JobOptions,
    dataset: Dataset,
    runner: Runner,
    batch: usize,
    /// The column that feeds each of the runner's inputs; `None` for one that is fixed.
    columns: Vec<Option<usize>>,
    budget: MemoryBudget,
    /// What the sink takes, which it does not count itself.
    _sink: Reservation,
    /// Where the states of the pipeline go, in a job that is gone on with.
    states: Option<SavedStates>,
}

/// What a job did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct JobReport {
    /// Rows computed.
    pub rows: u64,
    /// Rows among them that an earlier process computed.
    pub resumed_rows: u64,
    /// True when an earlier process had done everything.
    pub was_done: bool,
    /// Rows left out because they were bad.
    pub skipped_rows: u64,
    /// Why the first of them were.
    pub skipped: Vec<String>,
    /// Time from the first batch asked for to the last result written.
    pub elapsed: Duration,
    /// Rows whose top class was the label, where there are labels.
    pub right_rows: Option<u64>,
    /// Rows at once.
    pub batch: usize,
    /// The budget, line by line, of the largest batch that was laid out, in the search for the fastest too.
    pub lines: Lines,
    /// Bytes that were set aside besides for values whose size is only known in a run.
    pub growth_bytes: u64,
}

impl<'m> Job<'m> {
    /// Looks at the data, lays out the model and reserves everything.
    ///
    /// # Errors
    /// [`Error::NotFit`] when it does not fit, and what is wrong with the model or the data.
    pub fn new(model: &'m Model, options: JobOptions, budget: &MemoryBudget) -> Result<Job<'m>, Error> {
        let (dataset, columns) = open_dataset(model, &options, budget)?;
        Job::over(model, options, dataset, columns, budget)
    }

    /// The job over a data set that is open.
    fn over(
        model: &'m Model,
        options: JobOptions,
        dataset: Dataset,
        columns: Vec<Column>,
        budget: &MemoryBudget,
    ) -> Result<Job<'m>, Error> {
        let plan_for = |batch: usize| fit_options(model, &options, &dataset, &columns, batch);
        let fixed_batch = columns::fixed_batch(model, &options);
        let (runner, batch) = match (fixed_batch, options.batch) {
            (Some(batch), _) | (None, BatchSize::Fixed(batch)) => {
                (Runner::new(model, &plan_for(batch)?, budget)?, batch)
            }
            (None, BatchSize::Auto) => fastest(model, usize::MAX, &plan_for, budget)?,
        };
        let column_of = |name: &str| columns.iter().position(|column| column.input == name);
        let columns: Vec<Option<usize>> = runner.inputs().map(column_of).collect();
        if columns.len() > MAX_INPUTS {
            return Err(Error::Usage(format!(
                "a model of {} inputs; at most {MAX_INPUTS} can be fed",
                columns.len()
            )));
        }
        let sink_bytes = runner.lines().sink_bytes.saturating_sub(options.sink.held_bytes);
        let _sink = budget.try_reserve("sink", sink_bytes)?;
        Ok(Job {
            model,
            dataset,
            runner,
            batch,
            columns,
            budget: budget.clone(),
            states: None,
            options,
            _sink,
        })
    }

    /// The model in memory.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Rows at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Computes every row and writes its outputs. `progress` is called after each batch; `stop` ends the job between
    /// two steps.
    ///
    /// # Errors
    /// What is wrong with a row, an operator's values or the sink; [`Error::Interrupted`] when it was stopped. The sink
    /// is not finished then.
    pub fn run(
        self,
        sink: Box<dyn Sink>,
        progress: &mut dyn FnMut(&Progress),
        stop: impl Into<StopFlag>,
    ) -> Result<JobReport, Error> {
        self.run_behind(Done::default(), sink, progress, stop)
    }

    /// As [`Job::run`] for the rows after what is done, which ends with a batch.
    fn run_behind(
        mut self,
        before: Done,
        mut sink: Box<dyn Sink>,
        progress: &mut dyn FnMut(&Progress),
        stop: impl Into<StopFlag>,
    ) -> Result<JobReport, Error> {
        let start = Instant::now();
        let stop = stop.into();
        self.runner.stop_at(stop.clone());
        let (total_rows, resumed_rows) = (self.dataset.total_rows(), before.rows);
        let threads = self.options.threads;
        let sizes = (self.batch, threads, slots(&self.options, &self.dataset, self.batch));
        let states = self.states.take();
        let mut batches = self.dataset.start_saving(before.position, states, sizes, &self.data_budget()?)?;
        let mut done = before.clone();
        let mut tended = process::Tended::default();
        while let Some(batch) = batches.next()? {
            if stop.is_set() {
                return Err(Error::Interrupted);
            }
            self.run_batch(&batch, &mut *sink, &mut done)?;
            done.skip(&before, batch.skipped_rows(), &batches);
            done.position = batch.end();
            sink.checkpoint(&done)?;
            tended.step(0);
            progress(&Progress {
                rows: done.rows,
                resumed_rows,
                total_rows,
                usage: Usage::of(&self.budget),
                elapsed: start.elapsed(),
            });
        }
        let none = self.runner.no_rows();
        if done.rows == 0 && (0..none.len()).all(|index| none.tensor(index).is_some()) {
            // Arrays of no rows: who reads the file finds the names, types and shapes that it always finds.
            let sources = &|_| RowPlace::default();
            sink.write(&OutputRows {
                outputs: none,
                inputs: &[],
                labels: None,
                rows: 0,
                first_row: 0,
                is_whole: false,
                run_time: Duration::ZERO,
                sources,
            })?;
        }
        // Bad rows at the end are in no batch.
        done.skip(&before, batches.stats().skipped_rows, &batches);
        sink.checkpoint(&done)?;
        process::end_phase();
        sink.finish()?;
        let (elapsed, batch, lines) = (start.elapsed(), self.batch, *self.runner.lines());
        let growth_bytes = self.runner.growth_bytes();
        Ok(JobReport {
            resumed_rows,
            elapsed,
            batch,
            lines,
            growth_bytes,
            ..JobReport::of(done, self.has_labels())
        })
    }

    /// What reading may take: its line of the plan, and what no line needs. What others take later is left to them.
    fn data_budget(&self) -> Result<MemoryBudget, Error> {
        let planned_bytes = data_plan(&self.options, &self.dataset, self.batch)?.total_bytes;
        let taken_bytes = self.runner.lines().total_bytes().saturating_add(self.runner.growth_bytes());
        let free_bytes = self.options.memory_bytes.saturating_sub(taken_bytes);
        Ok(self.budget.child(planned_bytes.saturating_add(free_bytes)))
    }

    fn has_labels(&self) -> bool {
        self.options.data.label.is_some()
    }

    fn run_batch(&mut self, batch: &Batch, sink: &mut dyn Sink, done: &mut Done) -> Result<(), Error> {
        let is_whole = batch.rows() == self.batch;
        let is_padded = !is_whole && columns::fixed_batch(self.model, &self.options).is_some();
        let planned = if is_padded { self.batch } else { batch.rows() };
        if planned != self.runner.batch() {
            // The last batch is smaller: the same memory, laid out anew.
            let columns = &self.dataset.spec().columns;
            let options = fit_options(self.model, &self.options, &self.dataset, columns, planned)?;
            self.runner.replan(self.model, &options)?;
        }
        let mut feeds = [Feed::NONE; MAX_INPUTS];
        for (i, name) in self.runner.inputs().enumerate() {
            feeds[i] = feed(&self.options.fixed, self.columns[i], batch, name, is_padded)?;
        }
        let begin = Instant::now();
        let outputs = self.runner.run(&feeds[..self.columns.len()])?.keep_rows(planned, batch.rows());
        if let Some(labels) = batch.labels() {
            done.right_rows += columns::right_rows(&outputs, labels)?;
        }
        let source = |row: usize| {
            let place =
                batch.source(row).map(|s| RowPlace { file: Shown(s.path).to_string(), record: s.record });
            place.unwrap_or_default()
        };
        sink.write(&OutputRows {
            outputs,
            inputs: &feeds[..self.columns.len()],
            labels: batch.labels(),
            rows: batch.rows(),
            first_row: done.rows,
            is_whole: false,
            run_time: begin.elapsed(),
            sources: &source,
        })?;
        done.rows += batch.rows() as u64;
        Ok(())
    }
}

impl Done {
    /// Counts the first `skipped_rows` bad rows of `batches`, which began after `before`.
    fn skip(&mut self, before: &Done, skipped_rows: u64, batches: &Batches) {
        self.skipped_rows = before.skipped_rows + skipped_rows;
        let kept = usize::try_from(self.skipped_rows).unwrap_or(usize::MAX).min(KEPT_REASONS);
        if self.skipped.len() < kept {
            let reasons = batches.stats().skipped;
            self.skipped = before.skipped.iter().chain(&reasons).take(kept).cloned().collect();
        }
    }
}

impl JobReport {
    /// The report of what is done, of data with labels or without.
    fn of(done: Done, has_labels: bool) -> JobReport {
        let Done { rows, skipped_rows, skipped, right_rows, .. } = done;
        let right_rows = has_labels.then_some(right_rows);
        JobReport { rows, skipped_rows, skipped, right_rows, ..JobReport::default() }
    }
}

/// Lays a job out as [`Job::new`] does, and reads no weight and no row: only what of the data its sizes follow from. A
/// batch that is to be found by running is one row, which takes least. The options are those of the layout.
///
/// # Errors
/// As [`Job::new`].
pub fn plan(model: &Model, options: &JobOptions, budget: &MemoryBudget) -> Result<(FitOptions, Fit), Error> {
    let (dataset, columns) = open_dataset(model, options, budget)?;
    let batch = match (columns::fixed_batch(model, options), options.batch) {
        (Some(batch), _) | (None, BatchSize::Fixed(batch)) => batch,
        (None, BatchSize::Auto) => 1,
    };
    let fit_options = fit_options(model, options, &dataset, &columns, batch)?;
    let fit = fit(model, &fit_options)?;
    Ok((fit_options, fit))
}

/// The pipeline that the data of a job comes from, if it is one. Where it has to find the types of fields itself, `types` are
/// what is wanted.
fn open_pipeline(
    data: &DataOptions,
    types: &[(String, DType)],
    threads: usize,
    budget: &MemoryBudget,
) -> Result<Option<Arc<PipelineRows>>, Error> {
    let Some(spec) = read_sources(&data.sources, &data.access, threads, budget)? else { return Ok(None) };
    let spec = spec.wanting(types);
    let memory_bytes = data.pipeline_bytes.unwrap_or(PIPELINE_BYTES);
    let name = data.sources.first().cloned().unwrap_or_default();
    Ok(Some(Arc::new(PipelineRows { name, spec, memory_bytes, threads })))
}

/// A look at the first file of the data.
///
/// # Errors
/// [`Error::Dataset`] when it cannot be read.
fn probe(data: &DataOptions, threads: usize, budget: &MemoryBudget) -> Result<Probe, Error> {
    Ok(match open_pipeline(data, &[], threads, budget)? {
        Some(rows) => Probe::pipeline(&rows, budget)?,
        None => Probe::open(&data.sources, budget)?,
    })
}

/// The data of a job, and the columns that it is read into.
fn open_dataset(
    model: &Model,
    options: &JobOptions,
    budget: &MemoryBudget,
) -> Result<(Dataset, Vec<Column>), Error> {
    let types = columns::types(model, options);
    let pipeline = open_pipeline(&options.data, &types, options.threads, budget)?;
    let columns = columns::columns(model, options, pipeline.as_deref(), budget)?;
    let spec = DatasetSpec {
        pipeline,
        label: options.data.label.clone(),
        resize: options.data.method,
        record_bytes: options.data.record_bytes,
        decode_bytes: options.data.decode_bytes,
        string_bytes: options.data.string_bytes,
        preprocess: options.data.preprocess,
        skip_bad: options.data.skip_bad,
        ..DatasetSpec::new(options.data.sources.clone(), columns.clone())
    };
    let dataset = Dataset::open(spec, budget)?;
    // What has looked at the data is not needed to lay the model out.
    process::end_phase();
    Ok((dataset, columns))
}

/// The tensor for one input: a column of the batch, or what is fixed for it.
fn feed<'a>(
    fixed: &'a [(String, Tensor)],
    column: Option<usize>,
    batch: &'a Batch,
    name: &str,
    is_padded: bool,
) -> Result<Feed<'a>, Error> {
    let missing = || Error::NotFed(vec![name.to_string()]);
    let Some(column) = column else {
        let tensor = fixed.iter().find(|(fixed, _)| fixed == name).map(|(_, tensor)| tensor);
        return tensor.and_then(Tensor::feed).ok_or_else(missing);
    };
    let view = if is_padded { batch.full_column(column) } else { batch.column(column) };
    let view = view.ok_or_else(missing)?;
    Ok(if view.dtype() == DType::String { Feed::Text(view, batch.text()) } else { Feed::Tensor(view) })
}

/// How many batches there are at once: one where all rows are in it, and otherwise the next is read meanwhile.
fn slots(options: &JobOptions, dataset: &Dataset, batch: usize) -> usize {
    let is_fixed = matches!(options.batch, BatchSize::Fixed(_)) && !options.data.skip_bad;
    if is_fixed && dataset.total_rows().is_some_and(|rows| rows <= batch as u64) { 1 } else { SLOTS }
}

/// What reading batches of this size takes.
fn data_plan(options: &JobOptions, dataset: &Dataset, batch: usize) -> Result<PipelinePlan, Error> {
    Ok(dataset.plan(batch, options.threads, slots(options, dataset, batch))?)
}

/// Whether a job may come to another batch than its first: in the search for the fastest, or as the last one is smaller.
fn replans(model: &Model, options: &JobOptions, dataset: &Dataset) -> bool {
    if columns::fixed_batch(model, options).is_some() {
        return false;
    }
    let BatchSize::Fixed(batch) = options.batch else { return true };
    let is_even = |rows: u64| rows.is_multiple_of(batch.max(1) as u64) && !options.data.skip_bad;
    batch > 1 && !dataset.total_rows().is_some_and(is_even)
}

/// What a model is to fit for a batch of the data set.
fn fit_options(
    model: &Model,
    options: &JobOptions,
    dataset: &Dataset,
    columns: &[Column],
    batch: usize,
) -> Result<FitOptions, Error> {
    let mut shapes = options.shapes.clone();
    for column in columns {
        let mut dims = vec![batch];
        dims.extend(&column.row_shape[..]);
        shapes.insert(column.input.clone(), Shape::new(&dims).map_err(|e| Error::Usage(e.to_string()))?);
    }
    let mut values = HashMap::new();
    for (name, tensor) in &options.fixed {
        values.insert(name.clone(), tensor.fact());
        shapes.insert(name.clone(), *tensor.shape());
    }
    let pipeline = data_plan(options, dataset, batch)?;
    let fixed_bytes: u64 = options.fixed.iter().map(|(_, tensor)| tensor.held_bytes()).sum();
    let text_columns = columns.iter().filter(|c| c.dtype == DType::String).count() as u64;
    let string_bytes: usize = options.fixed.iter().map(|(_, tensor)| tensor.string_bytes()).sum();
    Ok(FitOptions {
        batch,
        threads: options.threads,
        isa: Isa::detect(),
        memory_bytes: options.memory_bytes,
        shapes,
        values,
        pipeline_bytes: pipeline.total_bytes + fixed_bytes,
        reads_rows: true,
        sink: options.sink,
        string_bytes: text_columns
            .saturating_mul(dataset.text_bytes(batch))
            .saturating_add(string_bytes as u64),
        runs_again: slots(options, dataset, batch) > 1,
        replans: replans(model, options, dataset),
        is_inner: false,
        copies_outputs: false,
        shares_rest: true,
        // While the fastest batch is searched for, memory that is left is for larger ones.
        fills_rest: matches!(options.batch, BatchSize::Fixed(_)),
    })
}
