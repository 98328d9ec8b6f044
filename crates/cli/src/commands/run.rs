//! `run`: computes a model's outputs, of a data set in batches or of fed tensors once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tightfit::fit::RUNTIME_BYTES;
use tightfit::job::{BatchSize, DataOptions, Job, JobOptions, ShardOptions, ShardedJob};
use tightfit::sink::{self, Labels, Rows, SinkFormat, SinkNeed, SinkOptions};
use tightfit::{
    Error, Feeds, FitOptions, MemoryBudget, Model, OpenOptions, Preprocess, Resize, Runner, ThreadPool,
};

use super::{Limits, MAX_BATCH, name_and_file};
use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::progress::{Bar, Summary};
use crate::system::{Start, stop_flag};

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    positional: "MODEL",
    about: "Computes a model's outputs for a data set, or for single tensors",
    flags: &[
        "input",
        "output",
        "fetch",
        "memory",
        "batch",
        "threads",
        "shape",
        "resize",
        "preprocess",
        "feature",
        "label",
        "skip-bad",
        "decode-memory",
        "record-memory",
        "string-memory",
        "pipeline-memory",
        "labels",
        "top",
        "resume",
        "shard-rows",
        "report",
        "signature",
        "json",
        "quiet",
    ],
    run,
};

/// Flags that make sense for a data set only.
const DATA_SET_FLAGS: [&str; 13] = [
    "batch",
    "shape",
    "resize",
    "preprocess",
    "feature",
    "label",
    "skip-bad",
    "decode-memory",
    "record-memory",
    "string-memory",
    "pipeline-memory",
    "resume",
    "shard-rows",
];

/// The most classes that are shown of a row.
const MAX_TOP: usize = 1 << 16;

/// The most rows of a shard that are accepted.
const MAX_SHARD_ROWS: usize = 1 << 40;

/// The largest side that images are brought to.
const MAX_SIDE: usize = 1 << 15;

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    if args.has("signature") {
        return Err(Failure::Usage(
            "--signature: a frozen graph has no signatures; name tensors with --fetch".into(),
        ));
    }
    // Hours later it would be too late to say so.
    if let Some(folder) = args.path("report").as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(Failure::Job(Error::io(folder, std::io::ErrorKind::NotFound.into())));
    }
    let mut call = Call { args, files: Vec::new(), limits: Limits::read(args)?, output: args.path("output") };
    let mut sources = Vec::new();
    let values: Vec<_> = args.all("input").map(|value| (value, name_and_file(value))).collect();
    let names: Vec<&str> = values.iter().filter_map(|(_, pair)| Some(pair.as_ref()?.0.as_str())).collect();
    let mut are_tensors = match names.is_empty() {
        true => Vec::new(),
        false => Model::has_tensors(args.model(), &names, &call.limits.reading_budget())?,
    }
    .into_iter();
    for (value, pair) in values {
        match pair.filter(|_| are_tensors.next() == Some(true)) {
            Some(pair) => call.files.push(pair),
            None => sources.push(PathBuf::from(value)),
        }
    }
    match sources.is_empty() {
        true => call.run_once(),
        false => call.run_data_set(sources),
    }
}

/// What every run is told.
struct Call<'a> {
    args: &'a Args,
    /// Tensors that are fed as they are.
    files: Vec<(String, PathBuf)>,
    limits: Limits,
    output: Option<PathBuf>,
}

impl Call<'_> {
    fn open(&self, budget: &MemoryBudget) -> Result<Model, Failure> {
        let feeds = self.files.iter().map(|(name, _)| name.clone()).collect();
        let open = OpenOptions { fetches: self.args.texts("fetch")?, feeds };
        Ok(Model::open(self.args.model(), &open, budget)?)
    }

    /// What the output is to be, and what its memory follows from.
    fn sink(&self, is_whole: bool, budget: &MemoryBudget) -> Result<(SinkOptions, SinkNeed), Failure> {
        let format = self.output.as_deref().map_or(Ok(SinkFormat::Jsonl), SinkFormat::of)?;
        let labels = self.args.path("labels").map(|path| Labels::read(&path, budget)).transpose()?;
        let labels = labels.map(Arc::new);
        let labels_bytes = labels.as_ref().map_or(0, |labels| labels.memory_bytes());
        let need = SinkNeed { format: Some(format), is_whole, labels_bytes };
        Ok((SinkOptions { top: self.args.count("top", MAX_TOP)?, labels }, need))
    }

    /// One call of the model on fed tensors.
    fn run_once(&self) -> Result<(), Failure> {
        if let Some(flag) = DATA_SET_FLAGS.iter().find(|flag| self.args.has(flag)) {
            return Err(Failure::Usage(format!("--{flag} is for a data set: give one with --input PATH")));
        }
        let begin = Instant::now();
        let reading = self.limits.reading_budget();
        let (sink_options, sink) = self.sink(true, &reading)?;
        let model = self.open(&reading)?;
        let feeds = Feeds::read(&model, &self.files, &reading)?;
        let (threads, memory_bytes) = (self.limits.threads, self.limits.memory_bytes);
        let mut options = FitOptions { threads, memory_bytes, sink, ..FitOptions::default() };
        let fit = feeds.fit(&model, &mut options)?;
        let stop = stop_flag();
        let mut sink = sink::create(self.output.as_deref(), sink_options)?;
        let pool = ThreadPool::new(threads).map_err(|error| Error::io("threads", error))?;
        let budget = MemoryBudget::new(fit.lines.total_bytes());
        let mut runner = Runner::with_fit(&model, fit, Arc::new(pool), &options, &budget)?;
        runner.stop_at(stop);
        let tensors = feeds.feeds(runner.inputs())?;
        let outputs = runner.run(&tensors)?;
        sink.write(&Rows {
            outputs,
            rows: options.batch,
            first_row: 0,
            is_whole: true,
            sources: &|_| String::new(),
        })?;
        sink.finish()?;
        let summary = Summary {
            rows: options.batch as u64,
            batch: options.batch,
            elapsed: begin.elapsed(),
            lines: *runner.lines(),
            memory_bytes,
            ..Summary::default()
        };
        summary.finish(self.args)
    }

    /// The model over a data set.
    fn run_data_set(&self, sources: Vec<PathBuf>) -> Result<(), Failure> {
        if self.args.has("json") && self.output.is_none() {
            return Err(Failure::Usage(
                "--json tells what the run took: give the results an --output".into(),
            ));
        }
        let shards = self.shards()?;
        let reading = self.limits.reading_budget();
        let (sink_options, sink) = self.sink(false, &reading)?;
        let data = self.data_options(sources)?;
        let batch = self.batch_size()?;
        let model = self.open(&reading)?;
        let fixed = Feeds::read_some(&model, &self.files, &reading)?.into_tensors();
        let memory_bytes = self.limits.memory_bytes;
        let options = JobOptions {
            data,
            fixed,
            batch,
            threads: self.limits.threads,
            memory_bytes,
            sink,
            shapes: super::input_shapes(self.args, &model)?,
        };
        // Less than the process itself never fits; the plan says so, and how much would.
        let budget = MemoryBudget::new(memory_bytes.max(RUNTIME_BYTES));
        let mut bar = Bar::new(self.args.has("quiet"), memory_bytes);
        let report = match shards {
            Some((output, rows)) => {
                let shards = ShardOptions { output, rows, sink: sink_options };
                let job = ShardedJob::open(&model, options, shards, &budget)?;
                job.run(&mut |progress| bar.show(progress), stop_flag())
            }
            None => {
                let job = Job::new(&model, options, &budget)?;
                let stop = stop_flag();
                let sink = sink::create(self.output.as_deref(), sink_options)?;
                job.run(sink, &mut |progress| bar.show(progress), stop)
            }
        };
        bar.clear();
        Summary::of(report?, memory_bytes).finish(self.args)
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

    fn data_options(&self, sources: Vec<PathBuf>) -> Result<DataOptions, Failure> {
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
            record_bytes: size("record-memory")?,
            decode_bytes: args.bytes("decode-memory")?,
            string_bytes: size("string-memory")?,
            pipeline_bytes: args.bytes("pipeline-memory")?,
            sources,
            features: args.texts("feature")?.into_iter().map(feature).collect::<Result<_, _>>()?,
            label: args.text("label")?,
            resize,
            method: resize.map(|_| Resize::Bilinear),
            preprocess,
            skip_bad: args.has("skip-bad"),
        })
    }
}

fn height_and_width(text: &str) -> Result<[usize; 2], Failure> {
    let side = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=MAX_SIDE).contains(n));
    let sides = text.split_once('x').and_then(|(height, width)| Some([side(height)?, side(width)?]));
    sides.ok_or_else(|| Failure::Usage(format!("--resize {text}: write it as 224x224, height first")))
}
