//! `freeze`: a model as one file with its variables as constants: a GraphDef that TensorFlow loads, or a TensorFlow Lite model.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tightfit::display_bytes;
use tightfit::freeze::{FreezeOptions, Frozen, freeze};

use super::{Limits, open_to_write};
use crate::args::{LimitFlags, SourceFlags, SummaryFlags};
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::columns;

const EXAMPLES: &str = "\
Examples:
  tightfit freeze saved_model/ --output model.pb
  tightfit freeze graph.pbtxt --checkpoint model.ckpt --fetch logits -o model.pb
  tightfit freeze saved_model/ --output model.tflite";

/// Write a SavedModel or a checkpoint as one GraphDef, or a .tflite
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit freeze MODEL --output FILE [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a checkpoint's .meta, or a graph
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    /// Write the frozen graph to FILE: a GraphDef, or with the ending .tflite a
    /// TensorFlow Lite model. - is standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
    /// Keep this tensor as an output [default: the signature's outputs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    fetch: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    summary: SummaryFlags,
}

/// # Errors
/// What is wrong with the model, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let output = &stdio::output_of(flags.output.clone(), flags.summary.is_json())?;
    let options = FreezeOptions {
        source: flags.source.source(),
        fetches: flags.fetch.clone(),
        ..FreezeOptions::default()
    };
    let memory = open_to_write(&Limits::of(&flags.limits))?;
    let frozen = freeze(&stdio::path_of(&flags.model)?, &options, output, stop_flag(), &memory.budget)?;
    if frozen.is_too_large_for_tensorflow() && !flags.summary.is_quiet() {
        eprintln!(
            "tightfit: {} is {}; TensorFlow reads no file of 2 GiB or more: for it, `partition` the model",
            flags.output.display(),
            display_bytes(frozen.bytes)
        );
    }
    flags.summary.tell_of(output, |output| json(output, &frozen), |output| text(output, &frozen))
}

/// The same for programs.
pub(super) fn json(output: &str, frozen: &Frozen) -> Value {
    let pairs = |list: &[(String, String)]| {
        Value::Object(list.iter().map(|(name, tensor)| (name.clone(), json!(tensor))).collect())
    };
    json!({
        "output": output,
        "bytes": frozen.bytes,
        "nodes": frozen.nodes,
        "constants": frozen.constants,
        "constant_bytes": frozen.constant_bytes,
        "inputs": pairs(&frozen.inputs),
        "outputs": pairs(&frozen.outputs),
        "init_ops": frozen.init_ops,
        "tensorflow_can_read": !frozen.is_too_large_for_tensorflow(),
    })
}

/// What was written, to read.
pub(super) fn text(output: &str, frozen: &Frozen) -> String {
    let Frozen { bytes, nodes, constants, constant_bytes, .. } = frozen;
    let mut text = format!(
        "{output}: {}, {nodes} nodes, {constants} constants with {}\n",
        display_bytes(*bytes),
        display_bytes(*constant_bytes)
    );
    for (title, list) in [("Inputs", &frozen.inputs), ("Outputs", &frozen.outputs)] {
        let rows: Vec<_> = list.iter().map(|(name, tensor)| vec![name.clone(), tensor.clone()]).collect();
        text.push_str(&format!("{title}\n{}", columns(&rows, &[])));
    }
    if !frozen.init_ops.is_empty() {
        let operators = frozen.init_ops.join(", ");
        text.push_str(&format!("Run first in TensorFlow, to fill tables: {operators}\n"));
    }
    text
}
