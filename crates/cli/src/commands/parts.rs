//! `run`, `plan` and `inspect` of a model in parts, as `partition` writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tightfit::fit::Bound;
use tightfit::partition::{ChainRun, Manifest, Part, run_chain};
use tightfit::sink::{self, Labels, OutputRows, RowPlace, SinkFormat, SinkNeed, SinkOptions};
use tightfit::usage::Usage;
use tightfit::{FitOptions, Model, OpenOptions, display_bytes, process};

use super::plan::pipeline_bytes;
use super::run::Wishes;
use super::{Limits, name_and_file};
use crate::args::{DataFlags, Given, JobFlags};
use crate::failure::Failure;
use crate::progress::Summary;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::{columns, count_of, print};

/// Flags that are for models that are in one piece.
const OF_WHOLE_MODELS: [&str; 11] = [
    "fetch",
    "signature",
    "tags",
    "checkpoint",
    "batch",
    "shape",
    "resume",
    "shard-rows",
    "show",
    "report",
    "html",
];

fn check_flags(given: &Given) -> Result<(), Failure> {
    match given.first_of(OF_WHOLE_MODELS.into_iter().chain(DataFlags::NAMES)) {
        Some(flag) => Err(Failure::Usage(format!("--{flag} does not go with a model in parts"))),
        None => Ok(()),
    }
}

/// Runs the parts one after the other on fed tensors.
///
/// # Errors
/// As a run of each part.
pub(super) fn run(
    path: &Path,
    manifest: &Manifest,
    flags: &JobFlags,
    wishes: &Wishes,
    given: &Given,
) -> Result<(), Failure> {
    let begin = Instant::now();
    check_flags(given)?;
    let output = flags.results.output.clone().filter(|output| output.as_os_str() != "-");
    let format = output.as_deref().map_or(Ok(SinkFormat::Jsonl), SinkFormat::of)?;
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for value in &flags.inputs.input {
        let Some((name, file)) = name_and_file(value) else {
            let why = format!(
                "--input {}: a model in parts is fed tensors, as NAME=FILE.npy; a data set runs on the whole model",
                value.to_string_lossy()
            );
            return Err(Failure::Usage(why));
        };
        files.push((name, stdio::path_of(&file)?));
    }
    let limits = Limits::of(&flags.limits);
    let memory = limits.open()?;
    let budget = &memory.budget;
    let labels =
        flags.results.labels.as_ref().map(|path| Labels::read(path, budget)).transpose()?.map(Arc::new);
    let labels_bytes = labels.as_ref().map_or(0, |labels| labels.memory_bytes());
    let mut sink = sink::create(output.as_deref(), SinkOptions { top: flags.results.top, labels })?;
    let options = FitOptions {
        threads: limits.threads,
        memory_bytes: limits.memory_bytes,
        sink: SinkNeed { format: Some(format), is_whole: true, labels_bytes },
        ..FitOptions::default()
    };
    let chain = ChainRun { folder: path, files: &files, options, stop: stop_flag() };
    let mut summary = Summary { memory_bytes: limits.memory_bytes, ..Summary::default() };
    run_chain(&chain, manifest, budget, &mut |outputs, lines, rows| {
        sink.write(&OutputRows {
            outputs,
            inputs: &[],
            labels: None,
            rows,
            first_row: 0,
            is_whole: true,
            sources: &|_| RowPlace::default(),
        })?;
        summary = Summary {
            rows: rows as u64,
            batch: rows,
            lines: *lines,
            memory_bytes: limits.memory_bytes,
            ..Summary::default()
        };
        Ok(())
    })?;
    process::end_phase();
    sink.finish()?;
    summary.elapsed = begin.elapsed();
    summary.usage = Usage::of(budget);
    if !wishes.summary.quiet {
        summary.show();
    }
    match wishes.summary.is_json() && output.is_some() {
        true => print(&format!("{:#}\n", summary.json())),
        false => Ok(()),
    }
}

/// Shows how each part lies in memory.
///
/// # Errors
/// What is wrong with a part, and one that does not fit.
pub(super) fn plan(
    path: &Path,
    manifest: &Manifest,
    flags: &JobFlags,
    is_json: bool,
    given: &Given,
) -> Result<(), Failure> {
    check_flags(given)?;
    let limits = Limits::of(&flags.limits);
    let memory = limits.open()?;
    let mut rows = vec![["part", "nodes", "weights", "planned", "smallest"].map(str::to_string).to_vec()];
    let mut parts = Vec::new();
    let (mut planned, mut minimum) = (0, 0);
    for part in &manifest.parts {
        let model = Model::open(path.join(&part.folder), &OpenOptions::default(), &memory.budget)?;
        let mut options = FitOptions {
            batch: 1,
            threads: limits.threads,
            memory_bytes: limits.memory_bytes,
            sink: SinkNeed { format: Some(SinkFormat::Npz), is_whole: true, labels_bytes: 0 },
            ..FitOptions::default()
        };
        options.pipeline_bytes = pipeline_bytes(Bound::new(&model, &options)?.graph());
        let fit = Bound::new(&model, &options)?.fit()?;
        let bytes = fit.lines.total_bytes();
        planned = bytes.max(planned);
        minimum = fit.minimum_bytes.max(minimum);
        rows.push(vec![
            part.folder.clone(),
            part.nodes.to_string(),
            display_bytes(part.weight_bytes),
            display_bytes(bytes),
            display_bytes(fit.minimum_bytes),
        ]);
        let mut value = part_json(part);
        if let Some(object) = value.as_object_mut() {
            object.insert("planned_bytes".into(), json!(bytes));
            object.insert("minimum_bytes".into(), json!(fit.minimum_bytes));
        }
        parts.push(value);
    }
    if is_json {
        let value = json!({
            "model": path.display().to_string(),
            "memory_bytes": limits.memory_bytes,
            "planned_bytes": planned,
            "minimum_bytes": minimum,
            "parts": parts,
        });
        return print(&format!("{value:#}\n"));
    }
    let text = format!(
        "{}: {}, the largest planned with {}; smallest that works: {minimum} ({})\n{}",
        path.display(),
        count_of(manifest.parts.len(), "part"),
        display_bytes(planned),
        display_bytes(minimum),
        columns(&rows, &[1, 2, 3, 4])
    );
    print(&text)
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
