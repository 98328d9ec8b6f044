//! `inspect`: what a model file is.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use tightfit::display_bytes;
use tightfit::inspect::{Endpoint, Inspection, Signature, inspect, nearest};
use tightfit::partition::Manifest;

use super::open_memory;
use super::weights::WeightTree;
use crate::args::{JsonFlag, MemoryFlag, ScopeFlags, SourceFlags};
use crate::failure::Failure;
use crate::stdio;
use crate::table::{columns, count_of, print};

const EXAMPLES: &str = "\
Examples:
  tightfit inspect model.pb
  tightfit inspect model.pb --by scope --depth 3
  tightfit inspect model.pb --json | jq .unsupported";

/// Show what a model file contains, and what in it cannot run
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit inspect MODEL [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a frozen graph, a .tflite, a
    /// checkpoint's .meta, or - for standard input
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    scopes: ScopeFlags,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    memory: MemoryFlag,
}

/// How many entries of a list one screen shows.
const SHOWN: usize = 10;

/// How many operators stand in one line.
const OPERATORS_PER_LINE: usize = 4;

/// # Errors
/// What is wrong with the model's file.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    if let Some(manifest) = Manifest::read(&flags.model)? {
        return super::parts::inspect(&flags.model, &manifest, flags.json.json);
    }
    let memory = open_memory(&flags.memory)?;
    let model = stdio::path_of(&flags.model)?;
    let inspection = inspect(&model, &flags.source.source(), &memory.budget)?;
    let tree = match flags.scopes.depth() {
        Some(depth) => Some(WeightTree::read(&model, &flags.source.source(), depth, &memory.budget)?),
        None => None,
    };
    if flags.json.json {
        let mut value = json(&inspection);
        tree.iter().for_each(|tree| tree.add_to(&mut value));
        return print(&format!("{value:#}\n"));
    }
    let tree = tree.map_or(String::new(), |tree| tree.text());
    print(&format!("{}{tree}", text(&flags.model.display().to_string(), &inspection)))
}

fn json(inspection: &Inspection) -> Value {
    let counts =
        |list: &[(String, usize)]| Value::Object(list.iter().map(|(k, n)| (k.clone(), json!(n))).collect());
    let bytes: Map<_, _> =
        inspection.weight_bytes_by_scope.iter().map(|(k, n)| (k.clone(), json!(n))).collect();
    let input = |e: &Endpoint| {
        let mut value = json!({"name": e.name, "dtype": e.dtype, "shape": e.shape});
        if let (Some(q), Some(object)) = (&e.quantization, value.as_object_mut()) {
            let quantization = json!({"scales": q.scales, "zero_points": q.zero_points, "axis": q.axis});
            object.insert("quantization".to_string(), quantization);
        }
        value
    };
    let inputs = |list: &[Endpoint]| list.iter().map(input).collect::<Vec<_>>();
    let signature =
        |s: &Signature| (s.key.clone(), json!({"inputs": inputs(&s.inputs), "outputs": inputs(&s.outputs)}));
    let nearest = inspection.unsupported.iter().map(|(op, _)| (op.clone(), json!(nearest(op))));
    let mut value = json!({
        "format": inspection.format,
        "file_bytes": inspection.file_bytes,
        "inputs": inputs(&inspection.inputs),
        "outputs": inspection.outputs,
        "nodes": inspection.nodes,
        "operators": counts(&inspection.operators),
        "unsupported": counts(&inspection.unsupported),
        "nearest": nearest.collect::<Map<_, _>>(),
        "weight_bytes": inspection.weight_bytes,
        "weight_bytes_by_scope": bytes,
        "signature": inspection.signature,
        "signatures": inspection.signatures.iter().map(signature).collect::<Map<_, _>>(),
    });
    if let (false, Some(object)) = (inspection.typed_outputs.is_empty(), value.as_object_mut()) {
        object.insert("typed_outputs".to_string(), json!(inputs(&inspection.typed_outputs)));
    }
    if let (false, Some(object)) = (inspection.tensors.is_empty(), value.as_object_mut()) {
        object.insert("tensors".to_string(), json!(inputs(&inspection.tensors)));
    }
    value
}

fn text(path: &str, inspection: &Inspection) -> String {
    let mut text = format!("{path}: {}, {}\n", inspection.format, display_bytes(inspection.file_bytes));
    let endpoints = |list: &[Endpoint]| -> Vec<_> {
        let one = |e: &Endpoint| vec![e.name.clone(), format!("{}{}{}", e.dtype, shape(e), stands_for(e))];
        list.iter().map(one).collect()
    };
    if !inspection.tensors.is_empty() {
        // A list like any other: all of it.
        text.push_str(&format!(
            "Tensors: {}\n{}",
            inspection.tensors.len(),
            columns(&endpoints(&inspection.tensors), &[])
        ));
        return text;
    }
    let keys: Vec<_> = inspection.signatures.iter().map(|s| vec![s.key.clone()]).collect();
    if !keys.is_empty() {
        let count = keys.len();
        section(&mut text, "Signatures", keys, count, &[]);
    }
    if let Some(key) = &inspection.signature {
        text.push_str(&format!("Of {key}:\n"));
    }
    section(&mut text, "Inputs", endpoints(&inspection.inputs), inspection.inputs.len(), &[]);
    let outputs = match &inspection.typed_outputs[..] {
        [] => inspection.outputs.iter().map(|name| vec![name.clone()]).collect(),
        typed => endpoints(typed),
    };
    section(&mut text, "Outputs", outputs, inspection.outputs.len(), &[]);
    let operators: Vec<String> = inspection.operators.iter().map(|(op, n)| format!("{n} {op}")).collect();
    let lines: Vec<Vec<String>> = operators.chunks(OPERATORS_PER_LINE).map(<[String]>::to_vec).collect();
    let (nodes, kinds) = (count_of(inspection.nodes, "node"), count_of(operators.len(), "kind"));
    let title = format!("Operators: {nodes} of {kinds}");
    section(&mut text, &title, lines, operators.len().div_ceil(OPERATORS_PER_LINE), &[]);
    let total = inspection.weight_bytes;
    let share = |bytes: u64| format!("{:.1} %", 100.0 * bytes as f64 / total.max(1) as f64);
    let scopes = inspection.weight_bytes_by_scope.iter().filter(|(_, bytes)| *bytes > 0);
    let scopes: Vec<_> = scopes.map(|(name, n)| vec![name.clone(), display_bytes(*n), share(*n)]).collect();
    let count = scopes.len();
    section(&mut text, &format!("Weights: {}", display_bytes(total)), scopes, count, &[1, 2]);
    if inspection.unsupported.is_empty() {
        text.push_str("Every operator is supported.\n");
    } else {
        let unsupported: Vec<_> = inspection
            .unsupported
            .iter()
            .map(|(op, n)| vec![op.clone(), n.to_string(), suggestion(op)])
            .collect();
        let count = unsupported.len();
        // All of them: this is what a person looks for.
        let count = count_of(count, "operator");
        text.push_str(&format!("Not supported: {count}\n{}", columns(&unsupported, &[1])));
    }
    text
}

/// What is supported in the place of an operator that is not.
fn suggestion(op: &str) -> String {
    nearest(op).map_or(String::new(), |name| format!("did you mean {name}?"))
}

fn section(text: &mut String, title: &str, mut rows: Vec<Vec<String>>, count: usize, right: &[usize]) {
    rows.truncate(SHOWN);
    text.push_str(&format!("{title}\n{}", columns(&rows, right)));
    if count > SHOWN {
        text.push_str(&format!("  .. and {} more\n", count - SHOWN));
    }
}

/// What the integers of a tensor stand for.
fn stands_for(endpoint: &Endpoint) -> String {
    match endpoint.quantization.as_ref().map(|q| (&q.scales[..], &q.zero_points[..])) {
        None => String::new(),
        Some(([scale], [zero])) => format!(", (q - {zero}) * {scale}").replace("- -", "+ "),
        Some((scales, _)) => format!(", {} scales", scales.len()),
    }
}

fn shape(endpoint: &Endpoint) -> String {
    let Some(dims) = &endpoint.shape else { return "[..]".to_string() };
    let dims: Vec<String> =
        dims.iter().map(|d| if *d < 0 { "?".to_string() } else { d.to_string() }).collect();
    format!("[{}]", dims.join(", "))
}
