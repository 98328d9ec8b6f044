//! `optimize`: a model as a frozen graph that computes the same with less, for TensorFlow too.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tightfit::display_bytes;
use tightfit::optimize::{OptimizeOptions, Optimized, Transform, optimize};

use super::freeze::{json as frozen_json, text as frozen_text};
use super::{Limits, open_to_write};
use crate::args::{LimitFlags, SourceFlags, SummaryFlags};
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::{columns, count_of};

const EXAMPLES: &str = "\
Examples:
  tightfit optimize model.pb --output small.pb
  tightfit optimize saved_model/ --fetch logits -o logits.pb
  tightfit optimize model.pb --transforms fold_constants,fold_batch_norms \\
      --output small.pb

Transforms: strip_unused_nodes, remove_nodes, remove_control_dependencies,
fold_constants, fold_batch_norms, merge_duplicate_nodes, sort_by_execution_order.";

/// Write a model as a GraphDef that computes the same with fewer nodes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit optimize MODEL --output FILE.pb [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a checkpoint's .meta, or a graph
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    /// Do these transforms, in this order, between spaces or commas [default:
    /// all]
    #[arg(long, value_name = "NAME..", value_parser = Transforms::parse, help_heading = "Model")]
    transforms: Option<Transforms>,
    /// Make this node an input, and leave out what it is computed from
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    input: Vec<String>,
    /// Write the graph to FILE.pb. - is standard output
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

/// A list of transforms.
#[derive(Debug, Clone)]
struct Transforms(Vec<Transform>);

impl Transforms {
    fn parse(text: &str) -> Result<Transforms, String> {
        let list = Transform::parse(text)?;
        if list.is_empty() { Err("name at least one transform".to_string()) } else { Ok(Transforms(list)) }
    }
}

/// # Errors
/// What is wrong with the model, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let options = OptimizeOptions {
        source: flags.source.source(),
        fetches: flags.fetch.clone(),
        inputs: flags.input.clone(),
        transforms: flags.transforms.clone().map(|list| list.0).unwrap_or_default(),
        ..OptimizeOptions::default()
    };
    let memory = open_to_write(&Limits::of(&flags.limits))?;
    let model = stdio::path_of(&flags.model)?;
    let output = stdio::output_of(flags.output.clone(), flags.summary.is_json())?;
    let optimized = optimize(&model, &options, &output, stop_flag(), &memory.budget)?;
    flags.summary.tell_of(&output, |output| json(output, &optimized), |output| text(output, &optimized))
}

fn json(output: &str, optimized: &Optimized) -> Value {
    let mut value = frozen_json(output, &optimized.frozen);
    if let Some(object) = value.as_object_mut() {
        object.insert("nodes_before".into(), json!(optimized.nodes_before));
        object.insert("constant_bytes_before".into(), json!(optimized.constant_bytes_before));
        let pass = |(name, changed): &(&str, usize)| json!({"transform": name, "nodes": changed});
        object.insert("transforms".into(), optimized.passes.iter().map(pass).collect());
    }
    value
}

fn text(output: &str, optimized: &Optimized) -> String {
    let passes =
        optimized.passes.iter().map(|(name, changed)| vec![(*name).to_string(), changed.to_string()]);
    format!(
        "{}Before: {}, constants with {}\nTransforms\n{}",
        frozen_text(output, &optimized.frozen),
        count_of(optimized.nodes_before, "node"),
        display_bytes(optimized.constant_bytes_before),
        columns(&passes.collect::<Vec<_>>(), &[1])
    )
}
