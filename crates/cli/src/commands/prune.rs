//! `prune`: a model as a TensorFlow Lite model with fewer weights.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tightfit::freeze::is_tflite;
use tightfit::quantize::{Pattern, PruneOptions, Pruned, prune};
use tightfit::{display_bytes, process};

use super::{Limits, data_options};
use crate::args::{self, DataFlags, InputFlags, LimitFlags, SourceFlags, SummaryFlags, count, one_of};
use crate::failure::Failure;
use crate::layers::{self, Head};
use crate::stdio;
use crate::system::stop_flag;

const EXAMPLES: &str = "\
Examples:
  tightfit prune model.pb --sparsity 0.7 --input photos/ --preprocess tf \\
      --output small.tflite
  tightfit prune model.tflite --pattern 2:4 --output half.tflite";

/// Write a model as a .tflite with fewer weights, which others make up for
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit prune MODEL --output FILE.tflite [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a graph, or a .tflite of floats
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    /// Make this share of each weight's elements zero [default: 0.7, of 2:4 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Model")]
    sparsity: Option<f64>,
    /// Let these be zero together: unstructured, 1x4 or 2:4 [default: unstructured]
    #[arg(long, value_name = "NAME", value_parser = one_of(Pattern::ALL), hide_possible_values = true, help_heading = "Model")]
    pattern: Option<Pattern>,
    #[command(flatten)]
    inputs: InputFlags,
    #[command(flatten)]
    data: DataFlags,
    /// Write the model to FILE.tflite
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
    /// Keep this tensor as an output [default: the signature's outputs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    fetch: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Look at N rows at once [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<{ args::BatchSize::MOST }>, help_heading = "Memory and speed")]
    batch: Option<usize>,
    /// Write layers and outputs beside the model as it was to FILE, JSON or .html
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,
    #[command(flatten)]
    summary: SummaryFlags,
}

impl Flags {
    /// The list of files, the rest of which may stand elsewhere.
    pub fn input_mut(&mut self) -> &mut Vec<OsString> {
        &mut self.inputs.input
    }
}

/// # Errors
/// What is wrong with the model or the data, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    if !is_tflite(&flags.output) {
        return Err(Failure::Usage("--output: a name that ends in .tflite".into()));
    }
    let pattern = flags.pattern.unwrap_or_default();
    if pattern == Pattern::TwoOfFour && flags.sparsity.is_some_and(|share| share != 0.5) {
        return Err(Failure::Usage("--sparsity: of --pattern 2:4 it is 0.5".into()));
    }
    let sources = flags.inputs.input.iter().map(|value| stdio::data_of(Path::new(value)));
    let data = data_options(&flags.data, sources.collect::<Result<_, _>>()?)?;
    let limits = Limits::of(&flags.limits);
    let options = PruneOptions {
        source: flags.source.source(),
        fetches: flags.fetch.clone(),
        sparsity: flags.sparsity.unwrap_or(0.7),
        pattern,
        data,
        batch: flags.batch.unwrap_or(1),
        threads: limits.threads,
    };
    let memory = limits.open_for(process::working_bytes())?;
    let model = stdio::path_of(&flags.model)?;
    let pruned = prune(&model, &options, &flags.output, stop_flag(), &memory.budget)?;
    let output = flags.output.display().to_string();
    if let Some(path) = &flags.report {
        let subtitle = format!("{:.1} % zeros, {}", 100.0 * pruned.sparsity, flags.model.display());
        let head = Head {
            title: &output,
            subtitle: &subtitle,
            file_bytes: pruned.bytes,
            constant_bytes: pruned.constant_bytes,
        };
        layers::write(path, &json(&output, pattern, &pruned), &head, &pruned.outputs, &pruned.layers)?;
    }
    flags.summary.tell(|| json(&output, pattern, &pruned), || text(&output, &pruned))
}

fn json(output: &str, pattern: Pattern, pruned: &Pruned) -> Value {
    json!({
        "output": output,
        "pattern": pattern.name(),
        "sparsity": pruned.sparsity,
        "compensated_layers": pruned.compensated,
        "bytes": pruned.bytes,
        "constant_bytes_before": pruned.constant_bytes[0],
        "constant_bytes": pruned.constant_bytes[1],
        "outputs": layers::outputs_json(&pruned.outputs),
        "layers": layers::layers_json(&pruned.layers),
    })
}

fn text(output: &str, pruned: &Pruned) -> String {
    let [before, now] = pruned.constant_bytes.map(display_bytes);
    let bytes = display_bytes(pruned.bytes);
    let zeros = 100.0 * pruned.sparsity;
    let text =
        format!("{output}: {bytes}, constants {now} of {before}, {zeros:.1} % of the weights are zero\n");
    text + &layers::text(&pruned.outputs, &pruned.layers)
}

/// A share below 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..1.0).contains(number));
    number.ok_or_else(|| "a number from 0 to below 1, as 0.7".into())
}
