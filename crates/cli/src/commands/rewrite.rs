//! What commands have in common that write a model as a .tflite with other weights.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use tightfit::freeze::is_tflite;
use tightfit::process;
use tightfit::quantize::{RewriteOptions, Rewritten};

use super::{Limits, Memory, data_options};
use crate::args::{self, DataFlags, LimitFlags, SourceFlags, SummaryFlags, count};
use crate::failure::Failure;
use crate::layers;
use crate::stdio;

/// The model, its data, and where it goes.
#[derive(Debug, Args)]
pub struct RewriteFlags {
    /// The model: a SavedModel's folder, a graph, or a .tflite of floats
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    /// Calibrate on this data set, in batches: images or folders of them, .npy,
    /// .npz, .csv, .tsv, .jsonl, .txt, .tfrecord, a pipeline's .json, globs
    #[arg(long, visible_alias = "input", value_name = "PATH", num_args = 1.., help_heading = "Input")]
    calibrate: Vec<OsString>,
    #[command(flatten)]
    data: DataFlags,
    /// Write the model to FILE, a .tflite; quantize can also write a GraphDef (.pb)
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: PathBuf,
    /// Keep this tensor as an output [default: the signature's outputs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    fetch: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Read N rows of the data at once [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<{ args::BatchSize::MOST }>, help_heading = "Memory and speed")]
    batch: Option<usize>,
    /// Compare layers and outputs with the original model in FILE, JSON or .html
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,
    #[command(flatten)]
    summary: SummaryFlags,
}

impl RewriteFlags {
    /// The list of files, the rest of which may stand elsewhere.
    pub fn input_mut(&mut self) -> &mut Vec<OsString> {
        &mut self.calibrate
    }

    /// # Errors
    /// [`Failure::Usage`] for an output of another kind: a .tflite, or if `may_be_graph` a .pb.
    pub fn check_output(&self, may_be_graph: bool) -> Result<(), Failure> {
        let is_graph = self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pb"));
        if is_tflite(&self.output) || is_graph && may_be_graph {
            return Ok(());
        }
        let or_graph = if may_be_graph { " or .pb" } else { "" };
        Err(Failure::Usage(format!("--output: a name that ends in .tflite{or_graph}")))
    }

    /// # Errors
    /// What is wrong with the flags of the data.
    pub fn options(&self) -> Result<RewriteOptions, Failure> {
        let sources = self.calibrate.iter().map(|value| stdio::data_of(Path::new(value)));
        Ok(RewriteOptions {
            source: self.source.source(),
            fetches: self.fetch.clone(),
            data: data_options(&self.data, sources.collect::<Result<_, _>>()?)?,
            batch: self.batch.unwrap_or(1),
            threads: Limits::of(&self.limits).threads,
        })
    }

    /// The memory, and the file that the model is read from.
    ///
    /// # Errors
    /// Less memory than the process takes, and a standard input that cannot be kept.
    pub(super) fn open(&self) -> Result<(Memory, PathBuf), Failure> {
        let memory = Limits::of(&self.limits).open_for(process::working_bytes())?;
        Ok((memory, stdio::path_of(&self.model)?))
    }

    /// Tells what was written: in the report, and in short. `how` is what a page says of it, `json` what programs are told, and
    /// `summary` what the text has before its tables.
    ///
    /// # Errors
    /// What the system says about the report.
    pub fn tell(&self, written: &Rewritten, how: &str, json: Value, summary: &str) -> Result<(), Failure> {
        if let Some(path) = &self.report {
            let title = self.output.display().to_string();
            let subtitle = format!("{how}, {}", self.model.display());
            layers::write(path, &json, &title, &subtitle, written)?;
        }
        self.summary.tell(|| json, || format!("{summary}{}", layers::text(written)))
    }
}
