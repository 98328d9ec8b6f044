//! `prune`: a model as a TensorFlow Lite model with fewer weights.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};
use tightfit::display_bytes;
use tightfit::quantize::{Kept, Pattern, PruneOptions, Pruned, prune};

use super::rewrite::RewriteFlags;
use crate::args::one_of;
use crate::failure::Failure;
use crate::layers;
use crate::system::stop_flag;
use crate::table::columns;

const EXAMPLES: &str = "\
Examples:
  tightfit prune model.pb --sparsity 0.7 --calibrate photos/ --preprocess tf \\
      --output small.tflite
  tightfit prune model.tflite --pattern 2:4 --output half.tflite
  tightfit prune model.tflite --pattern channels --sparsity 0.3 \
      --calibrate rows.tfrecord --output thin.tflite";

/// Write a model as a .tflite with a share of its weights zeroed or removed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit prune MODEL --output FILE.tflite [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    pub rewrite: RewriteFlags,
    /// Set this share of each weight to zero, or remove this share of each
    /// layer's channels [default: 0.7; 0.5 for 2:4; 0.3 for channels]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Model")]
    sparsity: Option<f64>,
    /// Zero weights in this pattern (unstructured, 1x4 or 2:4), or remove whole
    /// channels, which shrinks activations too (channels) [default: unstructured]
    #[arg(long, visible_alias = "block", value_name = "NAME", value_parser = one_of(Pattern::ALL), hide_possible_values = true, help_heading = "Model")]
    pattern: Option<Pattern>,
}

/// # Errors
/// What is wrong with the model or the data, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    flags.rewrite.check_output(false)?;
    let pattern = flags.pattern.unwrap_or_default();
    if pattern == Pattern::TwoOfFour && flags.sparsity.is_some_and(|share| share != 0.5) {
        return Err(Failure::Usage("--sparsity: of --pattern 2:4 it is 0.5".into()));
    }
    let options = PruneOptions { rewrite: flags.rewrite.options()?, sparsity: flags.sparsity, pattern };
    let (memory, model) = flags.rewrite.open()?;
    let pruned = prune(&model, &options, &flags.rewrite.output, stop_flag(), &memory.budget)?;
    let [before, now] = pruned.written.constant_bytes.map(display_bytes);
    let json = json(&flags.rewrite.output, pattern, &pruned);
    let zeros = 100.0 * pruned.sparsity;
    let are = pattern.leaves();
    let mut text = format!(
        "{}: {}, constants {now} of {before}, {zeros:.1} % of the weights are {are}\n",
        flags.rewrite.output.display(),
        display_bytes(pruned.written.bytes)
    );
    if !pruned.kept.is_empty() {
        let row = |kept: &Kept| vec![kept.name.clone(), kept.op.clone(), kept.why.clone()];
        let rows: Vec<Vec<String>> = pruned.kept.iter().map(row).collect();
        let _ = write!(text, "Layers that keep their channels\n{}", columns(&rows, &[]));
    }
    flags.rewrite.tell(&pruned.written, &format!("{zeros:.1} % {are}"), json, &text)
}

/// The same for programs.
pub fn json(output: &Path, pattern: Pattern, pruned: &Pruned) -> Value {
    let mut more = json!({
        "pattern": pattern.name(),
        "sparsity": pruned.sparsity,
        "compensated_layers": pruned.compensated,
    });
    if pattern == Pattern::Channels {
        let kept = |kept: &Kept| json!({"tensor": kept.name, "op": kept.op, "why": kept.why});
        more["kept_layers"] = pruned.kept.iter().map(kept).collect();
    }
    layers::json(output, &pruned.written, more)
}

/// A share below 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..1.0).contains(number));
    number.ok_or_else(|| "a number from 0 to below 1, as 0.7".into())
}
