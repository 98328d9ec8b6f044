//! `run`: computes a model's outputs, of a data set in batches or of fed tensors once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tightfit::job::{BatchSize, DataOptions, Job, JobOptions, ShardOptions, ShardedJob};
use tightfit::sink::{self, Labels, Rows, SinkFormat, SinkNeed, SinkOptions};
use tightfit::usage::Usage;
use tightfit::{
    Access, Error, FeedSizes, Feeds, Fit, FitOptions, MemoryBudget, Model, ModelFile, OpenOptions,
    Preprocess, Resize, Runner, ThreadPool, process,
};

use super::source::{self, SOURCE_FLAGS};
use super::{DATA_FLAGS, JOB_FLAGS, Limits, MAX_BATCH, Memory, RESULT_FLAGS, name_and_file};
use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::progress::{Bar, Summary};
use crate::report::Recording;
use crate::system::{Start, stop_flag};

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    positional: "MODEL",
    about: "Computes a model's outputs for a data set, or for single tensors",
    flags: &[JOB_FLAGS, DATA_FLAGS, RESULT_FLAGS, SHARD_FLAGS, SOURCE_FLAGS, &["report", "json", "quiet"]],
    run,
};

/// Flags of a job in shards, which is one over a data set.
const SHARD_FLAGS: &[&str] = &["resume", "shard-rows"];

/// The most classes that are shown of a row.
const MAX_TOP: usize = 1 << 16;

/// The most rows of a shard that are accepted.
const MAX_SHARD_ROWS: usize = 1 << 40;

/// The largest side that images are brought to.
const MAX_SIDE: usize = 1 << 15;

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    // Hours later it would be too late to say so.
    if let Some(folder) = args.path("report").as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(Failure::Job(Error::io(folder, std::io::ErrorKind::NotFound.into())));
    }
    let mut call = Call::read(args)?;
    match call.sources.is_empty() {
        true => call.run_once(),
        false => call.run_data_set(),
    }
}

/// What every run is told, and every plan of one.
pub(super) struct Call<'a> {
    args: &'a Args,
    /// Tensors that are fed as they are.
    files: Vec<(String, PathBuf)>,
    /// The data set.
    sources: Vec<PathBuf>,
    limits: Limits,
    output: Option<PathBuf>,
    begin: Instant,
    /// What has been opened already, where `--input` could only be understood with the model.
    opening: Option<Opening>,
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
    pub(super) fn read(args: &'a Args) -> Result<Call<'a>, Failure> {
        let mut call = Call {
            args,
            files: Vec::new(),
            sources: Vec::new(),
            limits: Limits::read(args)?,
            output: args.path("output"),
            begin: Instant::now(),
            opening: None,
        };
        // What is wrong with the flags is told before anything is read.
        call.format()?;
        call.shards()?;
        call.data_options()?;
        call.batch_size()?;
        for value in args.all("input") {
            // What is neither an input nor a file is most likely a misspelt input.
            let is_path = Path::new(value).exists() || value.to_string_lossy().contains(['*', '?', '[']);
            match name_and_file(value) {
                Some(pair) if call.model_file()?.has_tensor(&pair.0) || !is_path => call.files.push(pair),
                _ => call.sources.push(PathBuf::from(value)),
            }
        }
        if call.sources.is_empty()
            && let Some(flag) = of_data_set().find(|flag| args.has(flag))
        {
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
        let recording = Recording::start(self.args, &memory.budget);
        let file = ModelFile::read_source(self.args.model(), &source::read(self.args)?, &memory.budget)?;
        Ok(Opening { memory, recording, file })
    }

    /// The memory, and the model in it.
    fn open(&mut self) -> Result<(Memory, Option<Recording>, Model), Failure> {
        let Opening { memory, recording, file } = match self.opening.take() {
            Some(opening) => opening,
            None => self.read_model()?,
        };
        let feeds = self.files.iter().map(|(name, _)| name.clone()).collect();
        let model =
            file.open(&OpenOptions { fetches: self.args.texts("fetch")?, feeds, ..OpenOptions::default() })?;
        Ok((memory, recording, model))
    }

    /// The layout that a run of the same flags has. Where no output is named it has room for any that holds arrays.
    ///
    /// # Errors
    /// As the run.
    pub(super) fn plan(&mut self) -> Result<(FitOptions, Fit), Failure> {
        let (memory, _, model) = self.open()?;
        let budget = &memory.budget;
        let (_, mut sink) = self.sink(self.sources.is_empty(), budget)?;
        if self.output.is_none() {
            sink.format = Some(SinkFormat::Npz);
        }
        if self.sources.is_empty() {
            let Once { options, fit, .. } = self.lay_out(&model, sink, budget)?;
            return Ok((options, fit));
        }
        Ok(tightfit::job::plan(&model, &self.job_options(&model, sink, budget)?, budget)?)
    }

    fn format(&self) -> Result<SinkFormat, Failure> {
        Ok(self.output.as_deref().map_or(Ok(SinkFormat::Jsonl), SinkFormat::of)?)
    }

    /// What the output is to be, and what its memory follows from.
    fn sink(&self, is_whole: bool, budget: &MemoryBudget) -> Result<(SinkOptions, SinkNeed), Failure> {
        let format = self.format()?;
        let labels = self.args.path("labels").map(|path| Labels::read(&path, budget)).transpose()?;
        let labels = labels.map(Arc::new);
        let labels_bytes = labels.as_ref().map_or(0, |labels| labels.memory_bytes());
        let need = SinkNeed { format: Some(format), is_whole, labels_bytes };
        Ok((SinkOptions { top: self.args.count("top", MAX_TOP)?, labels }, need))
    }

    /// Lays the model out for the fed tensors, of which only the sizes are looked at where that is enough.
    fn lay_out(&self, model: &Model, sink: SinkNeed, budget: &MemoryBudget) -> Result<Once, Failure> {
        let (threads, memory_bytes) = (self.limits.threads, self.limits.memory_bytes);
        let mut options = FitOptions { threads, memory_bytes, sink, ..FitOptions::default() };
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
        let (sink_options, sink) = self.sink(true, budget)?;
        let Once { options, fit, feeds } = self.lay_out(&model, sink, budget)?;
        let feeds = feeds.map_or_else(|| Feeds::read(&model, &self.files, budget), Ok)?;
        let stop = stop_flag();
        let mut sink = sink::create(self.output.as_deref(), sink_options)?;
        let sink_bytes = fit.lines.sink_bytes.saturating_sub(options.sink.labels_bytes);
        let _sink = budget.try_reserve("sink", sink_bytes).map_err(Error::from)?;
        let pool = ThreadPool::new(threads).map_err(|error| Error::io("threads", error.into()))?;
        let mut runner = Runner::with_fit(&model, fit, Arc::new(pool), &options, budget)?;
        runner.stop_at(stop);
        let tensors = feeds.feeds(runner.inputs())?;
        let outputs = runner.run(&tensors)?;
        // What has computed is not needed to write.
        process::end_phase();
        sink.write(&Rows {
            outputs,
            rows: options.batch,
            first_row: 0,
            is_whole: true,
            sources: &|_| String::new(),
        })?;
        process::end_phase();
        sink.finish()?;
        let summary = Summary {
            rows: options.batch as u64,
            batch: options.batch,
            elapsed: self.begin.elapsed(),
            lines: *runner.lines(),
            usage: runner.usage(),
            memory_bytes: self.limits.memory_bytes,
            ..Summary::default()
        };
        summary.finish(self.args, recording)
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
            batch: self.batch_size()?,
            threads: self.limits.threads,
            memory_bytes: self.limits.memory_bytes,
            sink,
            shapes: super::input_shapes(self.args, model)?,
        })
    }

    /// The model over a data set.
    fn run_data_set(&mut self) -> Result<(), Failure> {
        if self.args.has("json") && self.output.is_none() {
            return Err(Failure::Usage(
                "--json tells what the run took: give the results an --output".into(),
            ));
        }
        let shards = self.shards()?;
        let (memory, recording, model) = self.open()?;
        let (budget, memory_bytes) = (&memory.budget, self.limits.memory_bytes);
        let (sink_options, sink) = self.sink(false, budget)?;
        let options = self.job_options(&model, sink, budget)?;
        let mut bar = Bar::new(self.args.has("quiet"), memory_bytes);
        let report = match shards {
            Some((output, rows)) => {
                let shards = ShardOptions { output, rows, sink: sink_options };
                let job = ShardedJob::open(&model, options, shards, budget)?;
                job.run(&mut |progress| bar.show(progress), stop_flag())
            }
            None => {
                let job = Job::new(&model, options, budget)?;
                let stop = stop_flag();
                let sink = sink::create(self.output.as_deref(), sink_options)?;
                job.run(sink, &mut |progress| bar.show(progress), stop)
            }
        };
        bar.clear();
        Summary::of(report?, Usage::of(budget), memory_bytes).finish(self.args, recording)
    }

    /// The name and the rows of shards, where they are asked for.
    fn shards(&self) -> Result<Option<(PathBuf, Option<u64>)>, Failure> {
        let rows = self.args.count("shard-rows", MAX_SHARD_ROWS)?.map(|rows| rows as u64);
        match (self.args.has("resume"), &self.output) {
            (true, Some(output)) => Ok(Some((output.clone(), rows))),
            (true, None) => Err(Failure::Usage("--resume needs an --output to go on with".into())),
            (false, _) if rows.is_some() => Err(Failure::Usage("--shard-rows goes with --resume".into())),
            (false, _) => Ok(None),
        }
    }

    fn batch_size(&self) -> Result<BatchSize, Failure> {
        if self.args.text("batch")?.as_deref() == Some("auto") {
            return Ok(BatchSize::Auto);
        }
        let count = self.args.count("batch", MAX_BATCH).map_err(|failure| match failure {
            Failure::Usage(why) => Failure::Usage(format!("{why}, or auto")),
            other => other,
        });
        Ok(BatchSize::Fixed(count?.unwrap_or(1)))
    }

    fn data_options(&self) -> Result<DataOptions, Failure> {
        let args = self.args;
        let feature = |text: String| {
            let pair = text.split_once('=').map(|(input, name)| (input.to_string(), name.to_string()));
            pair.ok_or_else(|| Failure::Usage(format!("--feature {text}: write it as INPUT=NAME")))
        };
        let preprocess = match args.text("preprocess")? {
            None => Preprocess::None,
            Some(name) => *Preprocess::ALL.iter().find(|p| p.name() == name).ok_or_else(|| {
                Failure::Usage(format!("--preprocess {name}: there are tf, torch, caffe, unit and none"))
            })?,
        };
        let resize = args.text("resize")?.map(|text| height_and_width(&text)).transpose()?;
        let size = |flag: &str| -> Result<Option<usize>, Failure> {
            let bytes = args.bytes(flag)?.map(usize::try_from).transpose();
            bytes.map_err(|_| Failure::Usage(format!("--{flag}: more than the address space")))
        };
        Ok(DataOptions {
            access: Access::everything(),
            record_bytes: size("record-memory")?,
            decode_bytes: args.bytes("decode-memory")?,
            string_bytes: size("string-memory")?,
            pipeline_bytes: args.bytes("pipeline-memory")?,
            sources: self.sources.clone(),
            features: args.texts("feature")?.into_iter().map(feature).collect::<Result<_, _>>()?,
            label: args.text("label")?,
            resize,
            method: resize.map(|_| Resize::Bilinear),
            preprocess,
            skip_bad: args.has("skip-bad"),
        })
    }
}

/// Flags that make sense for a data set only.
fn of_data_set() -> impl Iterator<Item = &'static str> {
    ["batch", "shape"].iter().chain(DATA_FLAGS).chain(SHARD_FLAGS).copied()
}

fn height_and_width(text: &str) -> Result<[usize; 2], Failure> {
    let side = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=MAX_SIDE).contains(n));
    let sides = text.split_once('x').and_then(|(height, width)| Some([side(height)?, side(width)?]));
    sides.ok_or_else(|| Failure::Usage(format!("--resize {text}: write it as 224x224, height first")))
}
