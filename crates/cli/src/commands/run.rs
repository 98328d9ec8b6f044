//! `run`: computes a model's outputs, of a data set in batches or of fed tensors once.

use std::cell::RefCell;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tightfit::job::{BatchSize, DataOptions, Job, JobOptions, ShardOptions, ShardedJob, float_inputs};
use tightfit::operator::Operators;
use tightfit::sink::{self, Labels, OutputRows, RowPlace, Sink, SinkFormat, SinkNeed, SinkOptions};
use tightfit::usage::Usage;
use tightfit::{
    Error, Expected, FeedSizes, Feeds, Fit, FitOptions, MemoryBudget, Model, ModelFile, OpenOptions, Runner,
    ThreadPool, array_shapes, process,
};

use super::{Limits, Memory, name_and_file};
use crate::args::{self, DataFlags, Given, JobFlags, ResultFlags, SummaryFlags, count};
use crate::failure::Failure;
use crate::progress::{Bar, Summary};
use crate::report::{Recording, is_page};
use crate::rows::RowTable;
use crate::show::{Gallery, Watched};
use crate::stdio;
use crate::style::Stream;
use crate::system::stop_flag;
use crate::table::print;

const EXAMPLES: &str = "\
Examples:
  tightfit run model.pb --input photos/ --preprocess tf --output scores.jsonl
  tightfit run model.pb --input 'train-*.tfrecord' --batch auto --memory 96MiB \\
      --output scores.csv --resume
  tightfit run model.pb --input image=row.npy --output outputs.npz
  cat photo.jpg | tightfit run model.pb --input - --labels names.txt --top 1";

/// Compute a model's outputs for a data set, or for single tensors
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit run MODEL --input PATH... [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    pub job: JobFlags,
    #[command(flatten)]
    wishes: Wishes,
}

/// What is asked of a run, and not of a plan.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct Wishes {
    /// Write --output in numbered shards, and continue after those that an
    /// earlier run has finished
    #[arg(long)]
    resume: bool,
    /// Write N rows to each shard, rounded up to whole batches [default: 8192]
    #[arg(long, value_name = "N", value_parser = count::<MAX_SHARD_ROWS>)]
    shard_rows: Option<usize>,
    /// Draw the first N rows beside their answers, and N of those that went
    /// wrong
    #[arg(long, value_name = "N", value_parser = count::<MAX_SHOWN>)]
    show: Option<usize>,
    /// Write what the run took: .json, or .html with memory over time beside the
    /// plan
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pub(super) summary: SummaryFlags,
}

/// The flags among them that make sense for a data set only.
const OF_DATA_SETS: [&str; 5] = ["batch", "shape", "resume", "shard-rows", "show"];

/// The most rows that are drawn.
const MAX_SHOWN: usize = 1000;

/// Rows that a page shows, of the first ones and of those with a wrong answer.
const PAGE_ROWS: [usize; 2] = [24, 24];

/// The most rows of a shard that are accepted.
const MAX_SHARD_ROWS: usize = 1 << 40;

/// # Errors
/// What is wrong with the model or the data, and a job that does not fit.
pub fn run(mut flags: Flags, given: &Given) -> Result<(), Failure> {
    let path = flags.job.take_model("run")?;
    let Flags { job, wishes } = flags;
    // Hours later it would be too late to say so.
    if let Some(folder) = wishes.report.as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(Failure::Job(Error::io(folder, std::io::ErrorKind::NotFound.into())));
    }
    let mut call = Call::read(&path, &job, given, wishes)?;
    match call.sources.is_empty() {
        true => call.run_once(),
        false => call.run_data_set(),
    }
}

/// What every run is told, and every plan of one.
pub(super) struct Call<'a> {
    /// The model as it was named.
    path: &'a Path,
    /// The file that it is read from.
    model_path: PathBuf,
    flags: &'a JobFlags,
    wishes: Wishes,
    /// Tensors that are fed as they are.
    files: Vec<(String, PathBuf)>,
    /// The data set.
    sources: Vec<PathBuf>,
    limits: Limits,
    output: Option<PathBuf>,
    begin: Instant,
    /// What has been opened already, where `--input` could only be understood with the model.
    opening: Option<Opening>,
    /// Inputs whose floats become quantised integers, once the model is open.
    pub(super) float_inputs: Vec<String>,
}

/// The memory of a call, and the model's structure in it.
struct Opening {
    memory: Memory,
    recording: Option<Recording>,
    file: ModelFile,
}

/// A call of the model on fed tensors, laid out.
struct Once {
    options: FitOptions,
    fit: Fit,
    /// The tensors, where the layout follows from what is in them.
    feeds: Option<Feeds>,
}

impl<'a> Call<'a> {
    /// # Errors
    /// [`Failure::Usage`] for flags that make no sense.
    pub(super) fn read(
        path: &'a Path,
        flags: &'a JobFlags,
        given: &Given,
        wishes: Wishes,
    ) -> Result<Call<'a>, Failure> {
        let mut call = Call {
            path,
            model_path: stdio::path_of(path)?,
            flags,
            wishes,
            files: Vec::new(),
            sources: Vec::new(),
            limits: Limits::of(&flags.limits),
            output: flags.results.output.clone().filter(|output| output.as_os_str() != "-"),
            begin: Instant::now(),
            opening: None,
            float_inputs: Vec::new(),
        };
        // What is wrong with the flags is told before anything is read.
        call.format()?;
        call.shards()?;
        call.data_options()?;
        for value in &flags.inputs.input {
            // What is neither an input nor a file is most likely a misspelt input.
            let is_path = Path::new(value).exists() || value.to_string_lossy().contains(['*', '?', '[']);
            match name_and_file(value) {
                Some((name, file)) if call.model_file()?.has_tensor(&name) || !is_path => {
                    call.files.push((name, stdio::path_of(&file)?));
                }
                _ => call.sources.push(stdio::data_of(Path::new(value))?),
            }
        }
        let of_data_sets = OF_DATA_SETS.into_iter().chain(DataFlags::NAMES);
        if let Some(flag) = given.first_of(of_data_sets).filter(|_| call.sources.is_empty()) {
            return Err(Failure::Usage(format!("--{flag} is for a data set: give one with --input PATH")));
        }
        Ok(call)
    }

    /// The model's structure, which is read the first time.
    fn model_file(&mut self) -> Result<&ModelFile, Failure> {
        let opening = match self.opening.take() {
            Some(opening) => opening,
            None => self.read_model()?,
        };
        Ok(&self.opening.insert(opening).file)
    }

    fn read_model(&self) -> Result<Opening, Failure> {
        let memory = self.limits.open()?;
        let recording = Recording::start(self.wishes.report.as_deref(), &memory.budget)?;
        let source = self.flags.source.source();
        let file = ModelFile::read_source(&self.model_path, &source, &Operators::default(), &memory.budget)?;
        Ok(Opening { memory, recording, file })
    }

    /// The memory, and the model in it.
    fn open(&mut self) -> Result<(Memory, Option<Recording>, Model), Failure> {
        let Opening { memory, recording, file } = match self.opening.take() {
            Some(opening) => opening,
            None => self.read_model()?,
        };
        let feeds = self.files.iter().map(|(name, _)| name.clone()).collect();
        let fetches = self.flags.results.fetch.clone();
        let mut shapes = self.flags.inputs.shape.clone();
        shapes.extend(array_shapes(&self.files));
        let (data, threads) = (self.data_options()?, self.limits.threads);
        let float_inputs = float_inputs(&file, &self.files, &data, threads, &memory.budget)?;
        self.float_inputs.clone_from(&float_inputs);
        let model =
            file.open(&OpenOptions { fetches, feeds, shapes, float_inputs, ..OpenOptions::default() })?;
        Ok((memory, recording, model))
    }

    /// The layout that a run of the same flags has, and where `is_timed` how long it is expected to take. Where no output is named the
    /// layout has room for any that holds arrays.
    ///
    /// # Errors
    /// As the run.
    pub(super) fn plan(&mut self, is_timed: bool) -> Result<(FitOptions, Fit, Option<Expected>), Failure> {
        let (memory, recording, model) = self.open()?;
        let budget = &memory.budget;
        let (_, mut sink) = self.sink(recording.as_ref(), budget)?;
        if self.output.is_none() {
            sink.format = Some(SinkFormat::Npz);
        }
        let (options, fit) = if self.sources.is_empty() {
            let Once { options, fit, .. } = self.lay_out(&model, sink, budget)?;
            (options, fit)
        } else {
            tightfit::job::plan(&model, &self.job_options(&model, sink, budget)?, budget)?
        };
        let expected = is_timed.then(|| Expected::of(&fit.plan, &model)).transpose()?;
        Ok((options, fit, expected))
    }

    fn format(&self) -> Result<SinkFormat, Failure> {
        Ok(self.output.as_deref().map_or(Ok(SinkFormat::Jsonl), SinkFormat::of)?)
    }

    /// What the output is to be, and what its memory follows from.
    fn sink(
        &self,
        recording: Option<&Recording>,
        budget: &MemoryBudget,
    ) -> Result<(SinkOptions, SinkNeed), Failure> {
        let ResultFlags { labels, top, .. } = &self.flags.results;
        let labels = labels.as_ref().map(|path| Labels::read(path, budget)).transpose()?.map(Arc::new);
        let labels_bytes = labels.as_ref().map_or(0, |labels| labels.memory_bytes());
        let need = SinkNeed {
            format: Some(self.format()?),
            is_whole: self.sources.is_empty(),
            held_bytes: labels_bytes + recording.map_or(0, Recording::memory_bytes),
            kept_bytes: Gallery::memory_bytes(self.shown_rows().iter().sum()),
        };
        Ok((SinkOptions { top: *top, labels }, need))
    }

    /// Lays the model out for the fed tensors, of which only the sizes are looked at where that is enough.
    fn lay_out(&self, model: &Model, sink: SinkNeed, budget: &MemoryBudget) -> Result<Once, Failure> {
        let (threads, memory_bytes) = (self.limits.threads, self.limits.memory_bytes);
        let mut options =
            FitOptions { threads, memory_bytes, sink, runs_again: false, ..FitOptions::default() };
        if let Some(sizes) = FeedSizes::read(model, &self.files, budget)? {
            match sizes.fit(model, &mut options) {
                // Shapes may follow from what is in the tensors.
                Err(error @ Error::Graph(_)) if !error.is_budget() => {}
                Ok(fit) if fit.can_outgrow() => {}
                fit => return Ok(Once { options, fit: fit?, feeds: None }),
            }
        }
        let feeds = Feeds::read(model, &self.files, budget)?;
        let fit = feeds.fit(model, &mut options)?;
        Ok(Once { options, fit, feeds: Some(feeds) })
    }

    /// One call of the model on fed tensors.
    fn run_once(&mut self) -> Result<(), Failure> {
        let (memory, recording, model) = self.open()?;
        let (budget, threads) = (&memory.budget, self.limits.threads);
        let (sink_options, sink) = self.sink(recording.as_ref(), budget)?;
        let Once { options, fit, feeds } = self.lay_out(&model, sink, budget)?;
        let feeds = feeds.map_or_else(|| Feeds::read(&model, &self.files, budget), Ok)?;
        process::rest();
        let stop = stop_flag();
        let mut sink = sink::create(self.output.as_deref(), sink_options)?;
        let sink_bytes = fit.lines.sink_bytes.saturating_sub(options.sink.held_bytes);
        let _sink = budget.try_reserve("sink", sink_bytes).map_err(Error::from)?;
        process::rest();
        let pool = ThreadPool::new(threads).map_err(|error| Error::io("threads", error.into()))?;
        let mut runner = Runner::with_fit(&model, fit, Arc::new(pool), &options, budget)?;
        runner.stop_at(stop);
        let tensors = feeds.feeds(runner.inputs())?;
        let begin = Instant::now();
        let outputs = runner.run(&tensors)?;
        let run_time = begin.elapsed();
        // What has computed is not needed to write.
        process::end_phase();
        sink.write(&OutputRows {
            outputs,
            inputs: &[],
            labels: None,
            rows: options.batch,
            first_row: 0,
            is_whole: true,
            run_time,
            sources: &|_| RowPlace::default(),
        })?;
        process::end_phase();
        sink.finish()?;
        let summary = Summary {
            rows: options.batch as u64,
            batch: options.batch,
            elapsed: self.begin.elapsed(),
            lines: *runner.lines(),
            growth_bytes: runner.growth_bytes(),
            usage: runner.usage(),
            memory_bytes: self.limits.memory_bytes,
            quantized_inputs: self.float_inputs.clone(),
            ..Summary::default()
        };
        self.finish(&summary, recording, None)
    }

    /// The job of a data set.
    fn job_options(
        &self,
        model: &Model,
        sink: SinkNeed,
        budget: &MemoryBudget,
    ) -> Result<JobOptions, Failure> {
        Ok(JobOptions {
            data: self.data_options()?,
            fixed: Feeds::read_some(model, &self.files, budget)?.into_tensors(),
            batch: match self.flags.batch {
                Some(args::BatchSize::Auto) => BatchSize::Auto,
                Some(args::BatchSize::Fixed(batch)) => BatchSize::Fixed(batch),
                None => BatchSize::Fixed(1),
            },
            threads: self.limits.threads,
            memory_bytes: self.limits.memory_bytes,
            sink,
            shapes: super::input_shapes(&self.flags.inputs.shape, model)?,
        })
    }

    /// The model over a data set.
    fn run_data_set(&mut self) -> Result<(), Failure> {
        if self.wishes.summary.is_json() && self.output.is_none() {
            return Err(Failure::Usage(
                "--json tells what the run took: give the results an --output".into(),
            ));
        }
        let shards = self.shards()?;
        let (memory, recording, model) = self.open()?;
        let (budget, memory_bytes) = (&memory.budget, self.limits.memory_bytes);
        let (sink_options, sink) = self.sink(recording.as_ref(), budget)?;
        let options = self.job_options(&model, sink, budget)?;
        let [first, wrong] = self.shown_rows();
        let gallery = Rc::new(RefCell::new(Gallery::new(first, wrong, sink_options.labels.clone())));
        let mut bar = Bar::new(self.wishes.summary.is_quiet() || self.is_table(), memory_bytes);
        let report = match shards {
            Some((output, rows)) => {
                let shards = ShardOptions { output, rows, sink: sink_options };
                let job = ShardedJob::open(&model, options, shards, budget)?;
                job.run(&mut |progress| bar.show(progress), stop_flag())
            }
            None => {
                let job = Job::new(&model, options, budget)?;
                let stop = stop_flag();
                let sink =
                    Box::new(Watched { sink: self.create_sink(sink_options)?, gallery: gallery.clone() });
                job.run(sink, &mut |progress| bar.show(progress), stop)
            }
        };
        bar.clear();
        let gallery = gallery.borrow();
        if let Some(rows) = self.wishes.show {
            let mut out = BufWriter::new(std::io::stderr());
            // Where stderr cannot be written to there is nobody to tell.
            let _ = gallery.write_text(&mut out, rows, Stream::Err.has_colours()).and_then(|()| out.flush());
        }
        let quantized_inputs = self.float_inputs.clone();
        let summary = Summary { quantized_inputs, ..Summary::of(report?, Usage::of(budget), memory_bytes) };
        self.finish(&summary, recording, Some(&gallery))
    }

    /// Tells what the run took: in the report, on stderr, and with `--json` and a file for the results on stdout.
    fn finish(
        &self,
        summary: &Summary,
        recording: Option<Recording>,
        gallery: Option<&Gallery>,
    ) -> Result<(), Failure> {
        if let Some(recording) = recording {
            recording.write(summary, &self.path.display().to_string(), gallery)?;
        }
        if !self.wishes.summary.is_quiet() {
            summary.show();
        }
        match self.wishes.summary.is_json() && self.output.is_some() {
            true => print(&format!("{:#}\n", summary.json())),
            false => Ok(()),
        }
    }

    /// How many rows are kept to be looked at: of the first ones, and of those with a wrong answer.
    fn shown_rows(&self) -> [usize; 2] {
        if self.wishes.resume || self.sources.is_empty() {
            return [0, 0];
        }
        let is_page = self.wishes.report.as_deref().is_some_and(is_page);
        let rows = if is_page { PAGE_ROWS } else { [0, 0] };
        rows.map(|rows| rows.max(self.wishes.show.unwrap_or(0)))
    }

    /// Whether results are a table on a terminal.
    fn is_table(&self) -> bool {
        self.flags.results.output.is_none() && Stream::Out.is_terminal()
    }

    /// Where the results of a data set go: to a file, as a table to a terminal, as JSON lines elsewhere.
    fn create_sink(&self, options: SinkOptions) -> Result<Box<dyn Sink>, Failure> {
        if self.is_table() {
            return Ok(Box::new(RowTable::new(options, Stream::Out.has_colours())));
        }
        Ok(sink::create(self.output.as_deref(), options)?)
    }

    /// The name and the rows of shards, where they are asked for.
    fn shards(&self) -> Result<Option<(PathBuf, Option<u64>)>, Failure> {
        let rows = self.wishes.shard_rows.map(|rows| rows as u64);
        match (self.wishes.resume, &self.output) {
            (true, Some(output)) => Ok(Some((output.clone(), rows))),
            (true, _) if self.wishes.show.is_some() => {
                Err(Failure::Usage("--show does not go with --resume".into()))
            }
            (true, None) => Err(Failure::Usage("--resume needs an --output FILE".into())),
            (false, _) if rows.is_some() => Err(Failure::Usage("--shard-rows goes with --resume".into())),
            (false, _) => Ok(None),
        }
    }

    fn data_options(&self) -> Result<DataOptions, Failure> {
        super::data_options(&self.flags.data, self.sources.clone())
    }
}
