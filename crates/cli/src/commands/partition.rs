//! `partition`: a model as a chain of SavedModels, each of which TensorFlow runs by itself.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use tightfit::operator::Operators;
use tightfit::partition::{Cut, Manifest, PartitionOptions, partition};

use super::parts::{manifest_json, manifest_text};
use super::{Limits, open_to_write};
use crate::args::{LimitFlags, SourceFlags, SummaryFlags, size};
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;

const EXAMPLES: &str = "\
Examples:
  tightfit partition bert.pb --max-bytes 100MiB --output bert.parts
  tightfit partition saved_model/ --at pool/Relu --output parts
  tightfit run bert.parts --input ids=ids.npy --output out.npz --memory 160MiB";

/// Cut a model into SavedModels that run one after the other
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit partition MODEL --output DIR [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a checkpoint's .meta, or a graph
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    cut: CutFlags,
    /// Write the parts and manifest.json to DIR, which must not be there yet
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    output: PathBuf,
    /// Keep this tensor as an output [default: the signature's outputs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    fetch: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    summary: SummaryFlags,
}

/// Where parts end.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Cut")]
struct CutFlags {
    /// Give each part at most SIZE of weights: as few parts as that takes, cut
    /// where least has to be carried over
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// End a part after each of these nodes
    #[arg(long, value_name = "NODE", num_args = 1..)]
    at: Option<Vec<String>>,
    /// Make a part of each top-level name scope
    #[arg(long, value_name = "WHAT", value_parser = PossibleValuesParser::new(["scope"]))]
    by: Option<String>,
}

/// # Errors
/// What is wrong with the model, a cut that is not possible, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let cut = match (&flags.cut.max_bytes, &flags.cut.at) {
        (Some(bytes), _) => Cut::MaxBytes(*bytes),
        (None, Some(nodes)) => Cut::At(nodes.clone()),
        (None, None) => Cut::Scope,
    };
    let options = PartitionOptions {
        source: flags.source.source(),
        fetches: flags.fetch.clone(),
        cut,
        operators: Operators::default(),
    };
    let memory = open_to_write(&Limits::of(&flags.limits))?;
    let model = stdio::path_of(&flags.model)?;
    let manifest: Manifest = partition(&model, &options, &flags.output, stop_flag(), &memory.budget)?;
    let output = &flags.output;
    flags.summary.tell(|| manifest_json(output, &manifest), || manifest_text(output, &manifest))
}
