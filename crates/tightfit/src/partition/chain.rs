//! Running a model in parts: one after the other, each gone before the next is opened. What goes from one to a later one
//! stays in memory, out of the same budget.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget};
use tightfit_kernels::ThreadPool;

use super::manifest::{Manifest, Part};
use crate::error::Error;
use crate::feeds::Feeds;
use crate::fit::FitOptions;
use crate::lines::Lines;
use crate::model::{Model, OpenOptions};
use crate::outputs::Outputs;
use crate::process;
use crate::run::Runner;
use crate::tensor::Tensor;

/// What is wanted of a run in parts.
pub struct ChainRun<'r> {
    /// The folder with the manifest.
    pub folder: &'r Path,
    /// Files to feed, with the names of inputs.
    pub files: &'r [(String, PathBuf)],
    /// Threads, memory and output; the rest follows from what is fed.
    pub options: FitOptions,
    /// Raised to end the run.
    pub stop: &'static std::sync::atomic::AtomicBool,
}

/// Runs the parts, and gives `take` what the last of them computes, with the lines of its plan and the rows. Returns for each part the
/// bytes that it was planned with.
///
/// # Errors
/// [`Error::Usage`] for inputs that the model does not have, and as opening and running each part.
pub fn run_chain(
    run: &ChainRun<'_>,
    manifest: &Manifest,
    budget: &MemoryBudget,
    take: &mut dyn FnMut(Outputs<'_>, &Lines, usize) -> Result<(), Error>,
) -> Result<Vec<u64>, Error> {
    check_names(run, manifest)?;
    let pool = ThreadPool::new(run.options.threads).map_err(|error| Error::io("threads", error.into()))?;
    let pool = Arc::new(pool);
    // What parts have given, by the tensors of the whole model.
    let mut held: Vec<(String, Tensor)> = Vec::new();
    let mut planned = Vec::with_capacity(manifest.parts.len());
    for (number, part) in manifest.parts.iter().enumerate() {
        let later = &manifest.parts[number + 1..];
        let model = Model::open(run.folder.join(&part.folder), &OpenOptions::default(), budget)?;
        let feeds = feeds(run, &model, part, later, &mut held, budget)?;
        let held_bytes: u64 = held.iter().map(|(_, tensor)| tensor.held_bytes()).sum();
        let mut options = run.options.clone();
        options.memory_bytes = options.memory_bytes.saturating_sub(held_bytes);
        let fit = feeds.fit(&model, &mut options)?;
        planned.push(fit.lines.total_bytes().saturating_add(held_bytes));
        let sink_bytes = if later.is_empty() { fit.lines.sink_bytes } else { 0 };
        let _sink = budget.try_reserve("sink", sink_bytes)?;
        let mut runner = Runner::with_fit(&model, fit, pool.clone(), &options, budget)?;
        runner.stop_at(run.stop);
        let tensors = feeds.feeds(runner.inputs())?;
        let lines = *runner.lines();
        let outputs = runner.run(&tensors)?;
        if later.is_empty() {
            process::end_phase();
            take(outputs, &lines, options.batch)?;
            return Ok(planned);
        }
        let given = keep(outputs, part, budget)?;
        // What went in and is taken again.
        held.extend(back(feeds, part, later));
        held.extend(given);
        drop((runner, model));
        process::end_phase();
    }
    Err(Error::Defect("a manifest names a part"))
}

fn check_names(run: &ChainRun<'_>, manifest: &Manifest) -> Result<(), Error> {
    let of = |name: &str| name.strip_suffix(":0").unwrap_or(name).to_string();
    let has = |wanted: &str| manifest.inputs.iter().any(|input| *input == of(wanted) || *input == wanted);
    if let Some((name, _)) = run.files.iter().find(|(name, _)| !has(name)) {
        let inputs = manifest.inputs.join(", ");
        return Err(Error::Usage(format!("--input {name}: the model has no such input; it has {inputs}")));
    }
    let is_fed = |input: &&String| run.files.iter().any(|(name, _)| of(name) == **input || name == *input);
    let missing: Vec<String> = manifest.inputs.iter().filter(|input| !is_fed(input)).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::NotFed(missing)) }
}

/// The tensors that a part takes: out of what is held, and out of files.
fn feeds(
    run: &ChainRun<'_>,
    model: &Model,
    part: &Part,
    later: &[Part],
    held: &mut Vec<(String, Tensor)>,
    budget: &MemoryBudget,
) -> Result<Feeds, Error> {
    let mut tensors = Vec::with_capacity(part.inputs.len());
    let mut files = Vec::new();
    for port in &part.inputs {
        let of = |name: &str| name == port.tensor || name.strip_suffix(":0") == Some(&port.tensor);
        if let Some(at) = held.iter().position(|(name, _)| *name == port.tensor) {
            tensors.push((port.key.clone(), held.swap_remove(at).1));
        } else if let Some((_, file)) = run.files.iter().find(|(name, _)| of(name)) {
            files.push((port.key.clone(), file.clone()));
        } else {
            return Err(Error::Usage(format!(
                "part '{}' takes '{}', which is not there",
                part.folder, port.tensor
            )));
        }
    }
    tensors.extend(Feeds::read_some(model, &files, budget)?.into_tensors());
    // What no later part takes is not held any longer than this.
    held.retain(|(name, _)| later.iter().any(|part| part.inputs.iter().any(|port| port.tensor == *name)));
    Feeds::new(model, tensors)
}

/// The tensors that went into a part and that a later one takes too.
fn back<'p>(feeds: Feeds, part: &'p Part, later: &'p [Part]) -> impl Iterator<Item = (String, Tensor)> + 'p {
    feeds.into_tensors().into_iter().filter_map(|(key, tensor)| {
        let port = part.inputs.iter().find(|port| port.key == key)?;
        let is_taken = later.iter().any(|part| part.inputs.iter().any(|other| other.tensor == port.tensor));
        is_taken.then(|| (port.tensor.clone(), tensor))
    })
}

/// Copies of what a part has computed.
fn keep(outputs: Outputs<'_>, part: &Part, budget: &MemoryBudget) -> Result<Vec<(String, Tensor)>, Error> {
    let mut kept = Vec::with_capacity(outputs.len());
    for index in 0..outputs.len() {
        let (Some(name), Some(view)) = (outputs.name(index), outputs.tensor(index)) else { continue };
        let Some(port) = part.outputs.iter().find(|port| port.key == name) else { continue };
        let shape = *view.shape();
        if view.dtype() == DType::String {
            let strings = view.as_slice::<tightfit_core::StringRef>().unwrap_or_default();
            let texts: Vec<Box<[u8]>> = strings.iter().map(|text| outputs.string(*text).into()).collect();
            let bytes = texts.iter().map(|text| text.len() as u64 + 32).sum();
            let memory = Some(budget.try_reserve("pipeline", bytes)?);
            kept.push((port.tensor.clone(), Tensor::Strings { shape, texts, memory }));
            continue;
        }
        let mut tensor = Tensor::zeros(budget, view.dtype(), shape)?;
        if let Tensor::Dense { bytes, .. } = &mut tensor {
            bytes.copy_from_slice(view.bytes());
        }
        kept.push((port.tensor.clone(), tensor));
    }
    Ok(kept)
}
