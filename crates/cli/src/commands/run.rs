//! `run`: computes a model's outputs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tightfit::sink::{self, Labels, Rows, SinkFormat, SinkOptions};
use tightfit::{Error, Feeds, FitOptions, MemoryBudget, Model, OpenOptions, Runner, ThreadPool};

use super::{Limits, name_and_file};
use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::progress::Summary;
use crate::system::{Start, is_interrupted};

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    positional: "MODEL",
    about: "Computes a model's outputs",
    flags: &["input", "output", "fetch", "memory", "threads", "labels", "top", "report", "signature", "json", "quiet"],
    run,
};

/// The most classes that are shown of a row.
const MAX_TOP: usize = 1 << 16;

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    if args.has("signature") {
        return Err(Failure::Usage("--signature: a frozen graph has no signatures; name tensors with --fetch".into()));
    }
    let inputs: Vec<_> = args.all("input").map(|value| (value, name_and_file(value))).collect();
    if let Some((value, None)) = inputs.iter().find(|(_, pair)| pair.is_none()) {
        return Err(Failure::Usage(format!("--input {}: write it as NAME=FILE", value.to_string_lossy())));
    }
    run_once(args, &inputs.into_iter().filter_map(|(_, pair)| pair).collect::<Vec<_>>())
}

/// What the output is to be, from the flags.
fn sink_options(args: &Args, budget: &MemoryBudget) -> Result<SinkOptions, Failure> {
    let labels = args.path("labels").map(|path| Labels::read(&path, budget)).transpose()?;
    Ok(SinkOptions { top: args.count("top", MAX_TOP)?, labels })
}

/// One call of the model on fed tensors.
fn run_once(args: &Args, files: &[(String, PathBuf)]) -> Result<(), Failure> {
    let limits = Limits::read(args)?;
    let output = args.path("output");
    let format = output.as_deref().map_or(Ok(SinkFormat::Jsonl), SinkFormat::of)?;
    let reading = limits.reading_budget();
    let sink_options = sink_options(args, &reading)?;
    let open = OpenOptions {
        fetches: args.texts("fetch")?,
        feeds: files.iter().map(|(name, _)| name.clone()).collect(),
    };
    let begin = Instant::now();
    let model = Model::open(args.model(), &open, &reading)?;
    let feeds = Feeds::read(&model, files, &reading)?;
    let mut options =
        FitOptions { threads: limits.threads, memory_bytes: limits.memory_bytes, ..FitOptions::default() };
    let labels_bytes = sink_options.labels.as_ref().map_or(0, Labels::memory_bytes);
    let fit = feeds.fit(&model, &mut options, |graph| format.memory_bytes(graph) + labels_bytes)?;
    let mut sink = sink::create(output.as_deref(), sink_options)?;
    let pool = ThreadPool::new(limits.threads).map_err(|error| Error::io("threads", error))?;
    let budget = MemoryBudget::new(fit.lines.total_bytes());
    let mut runner = Runner::with_fit(&model, fit, Arc::new(pool), &options, &budget)?;
    let tensors = feeds.feeds(runner.inputs())?;
    let outputs = runner.run(&tensors)?;
    let rows = feeds.rows(&model);
    sink.write(&Rows { outputs, rows, first_row: 0, is_whole: true, sources: &|_| String::new() })?;
    if is_interrupted() {
        return Err(Error::Interrupted.into());
    }
    sink.finish()?;
    let summary = Summary { rows: rows as u64, elapsed: begin.elapsed(), lines: *runner.lines(), memory_bytes: limits.memory_bytes };
    summary.finish(args)
}
