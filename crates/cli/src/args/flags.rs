//! The flags that several commands share, each written once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;
use tightfit::{ModelSource, Preprocess, Shape};

use crate::failure::Failure;
use crate::stdio;
use crate::table::print;

use super::values::{BatchSize, Sides, count, feature, precision, shape, size};

/// The most threads that are accepted.
const MAX_THREADS: usize = 256;

/// The most classes that are shown of a row.
const MAX_TOP: usize = 1 << 16;

/// The most levels of a tree that are shown.
const MAX_DEPTH: usize = 64;

/// How much memory a command may take.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Memory and speed")]
pub struct MemoryFlag {
    /// Keep the process below this size, as 64MiB or 2GB [default: 80 % of what
    /// is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
}

/// How much memory and how many threads a command may take.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Memory and speed")]
pub struct LimitFlags {
    #[command(flatten)]
    pub memory: MemoryFlag,
    /// Use N threads [default: all processors]
    #[arg(long, value_name = "N", value_parser = count::<MAX_THREADS>)]
    pub threads: Option<usize>,
}

/// Only the result, which every command can be asked for: of one that prints nothing else, too.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct QuietFlag {
    /// Print no progress and no summary
    #[arg(short, long)]
    pub quiet: bool,
}

/// Results for programs.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct JsonFlag {
    /// Print one JSON object, errors included
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    quiet: QuietFlag,
}

/// How a command tells what it has done.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct SummaryFlags {
    #[command(flatten)]
    json: JsonFlag,
}

impl SummaryFlags {
    /// True when a program reads what the command prints.
    pub fn is_json(&self) -> bool {
        self.json.json
    }

    /// True when nothing but the result is wanted.
    pub fn is_quiet(&self) -> bool {
        self.json.quiet.quiet
    }

    /// Tells people what was done, unless it is not wanted.
    pub fn say(&self, text: &str) {
        if !self.is_quiet() {
            // Where stderr cannot be written to there is nobody to tell.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        }
    }

    /// Tells what was done on standard output: a program as JSON, people in words, unless it is not wanted.
    ///
    /// # Errors
    /// What the system says of the standard output.
    pub fn tell(&self, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.is_json() {
            true => self.print_json(value),
            false if self.is_quiet() => Ok(()),
            false => print(&text()),
        }
    }

    /// As [`SummaryFlags::tell`] of what was written to `output`: people on stderr, where that is the standard output.
    ///
    /// # Errors
    /// As [`SummaryFlags::tell`].
    pub fn tell_of(
        &self,
        output: &Path,
        value: impl FnOnce(&str) -> Value,
        text: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        let path = output.display().to_string();
        let name = stdio::shown(path.clone());
        if name != path {
            self.say(&text(&name));
            return Ok(());
        }
        self.tell(|| value(&name), || text(&name))
    }

    /// Tells a program what was done, or nothing.
    ///
    /// # Errors
    /// What the system says of the standard output.
    pub fn print_json(&self, value: impl FnOnce() -> Value) -> Result<(), Failure> {
        if self.is_json() { print(&format!("{:#}\n", value())) } else { Ok(()) }
    }
}

/// Where a command that makes records writes them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputFlag {
    /// Write to FILE; its name says how (.tfrecord, .tfrecord.gz, ..). - is
    /// standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl OutputFlag {
    /// Where it is, see [`stdio::output_of`].
    ///
    /// # Errors
    /// As there.
    pub fn path(self, summary: &SummaryFlags) -> Result<PathBuf, Failure> {
        stdio::output_of(self.output, summary.is_json())
    }
}

/// A pipeline.
#[derive(Debug, Args)]
pub struct SpecArg {
    /// A pipeline's JSON or its .json file, - to read it from standard input, or
    /// data files to read as they are
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
}

/// A model and its data: what a run and the plan of one are told.
#[derive(Debug, Default, Args)]
pub struct JobFlags {
    /// The model: a SavedModel's folder, a frozen graph, a .tflite, a
    /// checkpoint's .meta, a folder of parts, or - for standard input
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceFlags,
    #[command(flatten)]
    pub inputs: InputFlags,
    #[command(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    pub results: ResultFlags,
    #[command(flatten)]
    pub limits: LimitFlags,
    /// Compute N rows at once, or auto: as many as run fastest [default: 1]
    #[arg(long, value_name = "N", help_heading = "Memory and speed")]
    pub batch: Option<BatchSize>,
    /// Compute in this precision: f32
    #[arg(long, value_name = "NAME", value_parser = precision, help_heading = "Memory and speed")]
    pub precision: Option<String>,
}

impl JobFlags {
    /// The model's file. After `--input PATH` and no other flag it is the last of the list.
    ///
    /// # Errors
    /// [`Failure::Usage`] when there is none.
    pub fn take_model(&mut self, command: &str) -> Result<PathBuf, Failure> {
        let of_list = |input: &mut Vec<OsString>| if input.len() > 1 { input.pop() } else { None };
        let model = self.model.take().or_else(|| of_list(&mut self.inputs.input).map(PathBuf::from));
        model.ok_or_else(|| {
            Failure::Usage(format!("{command} needs a MODEL; see `tightfit {command} --help`"))
        })
    }
}

/// Which graph of a model is meant, and which values of its variables.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub struct SourceFlags {
    /// Run this signature [default: serving_default, or the only one]
    #[arg(long, value_name = "KEY")]
    pub signature: Option<String>,
    /// Take the graph with these tags from a SavedModel [default: serve, or the
    /// only graph]
    #[arg(long, value_name = "TAG,..", value_delimiter = ',')]
    pub tags: Option<Vec<String>>,
    /// Read the values of variables from this checkpoint, for a graph that is not
    /// frozen
    #[arg(long, value_name = "PREFIX")]
    pub checkpoint: Option<PathBuf>,
}

impl SourceFlags {
    /// The same for the library.
    pub fn source(&self) -> ModelSource {
        ModelSource {
            signature: self.signature.clone(),
            tags: self.tags.clone(),
            checkpoint: self.checkpoint.clone(),
        }
    }
}

/// How bytes are shown.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct ScopeFlags {
    /// Show a tree of the weights' bytes by name scope, and list duplicate
    /// weights
    #[arg(long, value_name = "WHAT", value_parser = PossibleValuesParser::new(["scope"]))]
    pub by: Option<String>,
    /// Show this many levels of the tree [default: 2]
    #[arg(long, value_name = "N", value_parser = count::<MAX_DEPTH>, requires = "by")]
    pub depth: Option<usize>,
}

impl ScopeFlags {
    /// The depth of the tree, where one is asked for.
    pub fn depth(&self) -> Option<usize> {
        self.by.as_ref().map(|_| self.depth.unwrap_or(2))
    }
}

/// What a model computes on.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Input")]
pub struct InputFlags {
    /// Read a data set in batches: images, folders and .tar of them, .npy, .npz,
    /// .csv, .tsv, .jsonl, .txt, .tfrecord (text and records also .gz and .zst),
    /// a pipeline's .json, globs. Or feed one tensor with NAME=FILE: a .npy; for
    /// strings, .json of nested lists or any file, whose bytes are one scalar
    #[arg(long, value_name = "PATH|NAME=FILE", num_args = 1..)]
    pub input: Vec<OsString>,
    /// Set the shape of an input that the model leaves open
    #[arg(long, value_name = "NAME=D0,D1,..", value_parser = shape)]
    pub shape: Vec<(String, Shape)>,
}

/// How the rows of a data set are read.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Reading a data set")]
pub struct DataFlags {
    /// Resize images to this height and width, as tf.image.resize does
    #[arg(long, value_name = "HxW")]
    pub resize: Option<Sides>,
    /// Scale pixels as Keras does: tf, torch, caffe, unit or none [default:
    /// none]
    #[arg(long, value_name = "NAME", value_parser = preprocess(), hide_possible_values = true)]
    pub preprocess: Option<Preprocess>,
    /// Feed an input from the tf.Example feature NAME [default: of the same
    /// name]
    #[arg(long, value_name = "INPUT=NAME", value_parser = feature)]
    pub feature: Vec<(String, String)>,
    /// Compare answers with this integer feature and print the accuracy
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// Skip rows that cannot be read, and count them
    #[arg(long)]
    pub skip_bad: bool,
    /// Refuse images that need more than this to decode [default: what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub decode_memory: Option<u64>,
    /// Refuse records larger than this [default: what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub record_memory: Option<u64>,
    /// Let the strings of a row take this much, on average over a batch
    /// [default: the longest row]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub string_memory: Option<u64>,
    /// Let the stages of a pipeline take this much [default: 32MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub pipeline_memory: Option<u64>,
}

impl DataFlags {
    /// The names of all of them.
    pub const NAMES: [&str; 9] = [
        "resize",
        "preprocess",
        "feature",
        "label",
        "skip-bad",
        "decode-memory",
        "record-memory",
        "string-memory",
        "pipeline-memory",
    ];
}

/// What is written of the results.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct ResultFlags {
    /// Write results to FILE: .npz, .npy, .jsonl, .csv or .tfrecord [default:
    /// JSON lines on standard output, a table on a terminal]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Return this tensor [default: the model's outputs]
    #[arg(long, value_name = "NAME")]
    pub fetch: Vec<String>,
    /// Name the classes after the lines of FILE, in .jsonl and .csv
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Keep the K largest scores of each row, in .jsonl and .csv [default: 5
    /// with --labels, else all]
    #[arg(long, value_name = "K", value_parser = count::<MAX_TOP>)]
    pub top: Option<usize>,
}

impl ResultFlags {
    /// The names of those that are about the rows of a data set.
    pub const NAMES: [&str; 3] = ["output", "labels", "top"];
}

fn preprocess() -> impl TypedValueParser<Value = Preprocess> {
    one_of(Preprocess::ALL.map(|p| (p.name(), p)))
}

/// Takes one of these names for what it stands for.
pub fn one_of<T: Clone + Send + Sync + 'static, const N: usize>(
    all: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let names = all.clone().map(|(name, _)| name);
    let meant = move |name: String| {
        all.iter().find(|(own, _)| *own == name).map(|(_, meant)| meant.clone()).ok_or("no such name")
    };
    PossibleValuesParser::new(names).try_map(meant)
}
