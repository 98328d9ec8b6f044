//! `plan` and `inspect` of a model in parts, as `partition` writes it.

use std::path::Path;

use serde_json::{Value, json};
use tightfit::fit::Bound;
use tightfit::partition::{Manifest, Part};
use tightfit::sink::{SinkFormat, SinkNeed};
use tightfit::{FitOptions, MemoryBudget, Model, OpenOptions, display_bytes};

use super::Limits;
use super::plan::pipeline_bytes;
use crate::failure::Failure;
use crate::table::{columns, count_of, print};

/// How each part lies in memory by itself.
pub(super) struct PlannedParts {
    values: Vec<Value>,
    rows: Vec<Vec<String>>,
}

impl PlannedParts {
    /// # Errors
    /// What is wrong with a part, and one that does not fit.
    pub fn new(
        path: &Path,
        manifest: &Manifest,
        limits: &Limits,
        budget: &MemoryBudget,
    ) -> Result<PlannedParts, Failure> {
        let head = ["part alone", "nodes", "weights", "planned", "smallest"].map(str::to_string).to_vec();
        let mut parts = PlannedParts { values: Vec::new(), rows: vec![head] };
        for part in &manifest.parts {
            let model = Model::open(path.join(&part.folder), &OpenOptions::default(), budget)?;
            let mut options = FitOptions {
                batch: 1,
                threads: limits.threads,
                memory_bytes: limits.memory_bytes,
                sink: SinkNeed { format: Some(SinkFormat::Npz), is_whole: true, ..SinkNeed::default() },
                ..FitOptions::default()
            };
            options.pipeline_bytes = pipeline_bytes(Bound::new(&model, &options)?.graph());
            let fit = Bound::new(&model, &options)?.fit()?;
            let planned_bytes = fit.lines.total_bytes();
            parts.rows.push(vec![
                part.folder.clone(),
                part.nodes.to_string(),
                display_bytes(part.weight_bytes),
                display_bytes(planned_bytes),
                display_bytes(fit.minimum_bytes),
            ]);
            let mut value = part_json(part);
            if let Some(object) = value.as_object_mut() {
                object.insert("planned_bytes".into(), json!(planned_bytes));
                object.insert("minimum_bytes".into(), json!(fit.minimum_bytes));
            }
            parts.values.push(value);
        }
        Ok(parts)
    }

    /// Adds them to a plan, for programs.
    pub fn add_to(&self, plan: &mut Value) {
        if let Some(object) = plan.as_object_mut() {
            object.insert("parts".into(), json!(self.values));
        }
    }

    /// What they are, to read.
    pub fn text(&self) -> String {
        columns(&self.rows, &[1, 2, 3, 4])
    }
}

/// Shows what parts there are.
///
/// # Errors
/// An output that cannot be written to.
pub(super) fn inspect(path: &Path, manifest: &Manifest, is_json: bool) -> Result<(), Failure> {
    match is_json {
        true => print(&format!("{:#}\n", manifest_json(path, manifest))),
        false => print(&manifest_text(path, manifest)),
    }
}

fn part_json(part: &Part) -> Value {
    let keys = |ports: &[tightfit::partition::PartPort]| {
        ports.iter().map(|port| json!({"key": port.key, "tensor": port.tensor, "dtype": port.dtype, "shape": port.shape})).collect::<Vec<_>>()
    };
    json!({
        "folder": part.folder,
        "nodes": part.nodes,
        "weight_bytes": part.weight_bytes,
        "carried_bytes": part.carried_bytes,
        "inputs": keys(&part.inputs),
        "outputs": keys(&part.outputs),
    })
}

/// What the parts are, for programs.
pub(super) fn manifest_json(path: &Path, manifest: &Manifest) -> Value {
    json!({
        "format": "model in parts",
        "output": path.display().to_string(),
        "model": manifest.model,
        "inputs": manifest.inputs,
        "outputs": manifest.outputs,
        "parts": manifest.parts.iter().map(part_json).collect::<Vec<_>>(),
    })
}

/// What the parts are, to read.
pub(super) fn manifest_text(path: &Path, manifest: &Manifest) -> String {
    let mut rows = vec![["part", "nodes", "weights", "carried on", "tensors"].map(str::to_string).to_vec()];
    for (number, part) in manifest.parts.iter().enumerate() {
        let is_last = number + 1 == manifest.parts.len();
        let carried = if is_last { String::new() } else { display_bytes(part.carried_bytes) };
        rows.push(vec![
            part.folder.clone(),
            part.nodes.to_string(),
            display_bytes(part.weight_bytes),
            carried,
            part.outputs.len().to_string(),
        ]);
    }
    let weights: u64 = manifest.parts.iter().map(|part| part.weight_bytes).sum();
    format!(
        "{}: {} of {}, weights {}\n{}Inputs: {}\nOutputs: {}\n",
        path.display(),
        count_of(manifest.parts.len(), "part"),
        manifest.model,
        display_bytes(weights),
        columns(&rows, &[1, 2, 3, 4]),
        manifest.inputs.join(", "),
        manifest.outputs.join(", ")
    )
}
