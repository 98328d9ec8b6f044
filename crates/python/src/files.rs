//! What is told of a model's file, and what is written of a model.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tightfit::freeze::{FreezeOptions, Frozen};
use tightfit::inspect::Endpoint;
use tightfit::operator::Operators;
use tightfit::optimize::{OptimizeOptions, Transform};
use tightfit::partition::{Cut, PartitionOptions};
use tightfit::{Error, MemoryBudget, ModelSource, Reservation, hosted_budget, process};

use crate::signals::interruptible;
use crate::{errors, memory_bytes};

/// Which graph and which values of a model are meant.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Source {
    signature: Option<String>,
    tags: Option<Vec<String>>,
    checkpoint: Option<PathBuf>,
    fetches: Vec<String>,
}

impl Source {
    /// The source and the fetches for the library.
    pub fn split(self) -> (ModelSource, Vec<String>) {
        let Source { signature, tags, checkpoint, fetches } = self;
        (ModelSource { signature, tags, checkpoint }, fetches)
    }
}

/// The memory of a call: one budget, out of which the process itself is taken.
pub struct Memory {
    pub budget: MemoryBudget,
    _process: Reservation,
}

impl Memory {
    /// That of a call that computes on so many threads.
    ///
    /// # Errors
    /// [`Error::Floor`] for less than the process takes.
    pub fn of(memory_bytes: u64, threads: usize) -> Result<Memory, Error> {
        let (budget, process) = hosted_budget(memory_bytes, threads, process::working_bytes())?;
        Ok(Memory { budget, _process: process })
    }
}

fn told<'py>(py: Python<'py>, frozen: &Frozen) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("bytes", frozen.bytes)?;
    dict.set_item("nodes", frozen.nodes)?;
    dict.set_item("constants", frozen.constants)?;
    dict.set_item("constant_bytes", frozen.constant_bytes)?;
    for (key, pairs) in [("inputs", &frozen.inputs), ("outputs", &frozen.outputs)] {
        let names = PyDict::new(py);
        pairs.iter().try_for_each(|(name, tensor)| names.set_item(name, tensor))?;
        dict.set_item(key, names)?;
    }
    dict.set_item("init_ops", &frozen.init_ops)?;
    dict.set_item("tensorflow_can_read", !frozen.is_too_large_for_tensorflow())?;
    Ok(dict)
}

/// `tightfit freeze`.
#[pyfunction]
pub fn freeze<'py>(
    py: Python<'py>,
    path: PathBuf,
    output: PathBuf,
    source: Source,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let memory_bytes = memory_bytes(memory)?;
    let (source, fetches) = source.split();
    let options = FreezeOptions { source, fetches, ..FreezeOptions::default() };
    let frozen = interruptible(py, |stop| {
        tightfit::freeze::freeze(&path, &options, &output, stop.flag(), &Memory::of(memory_bytes, 1)?.budget)
    })?;
    told(py, &frozen)
}

/// `tightfit optimize`.
#[pyfunction]
pub fn optimize<'py>(
    py: Python<'py>,
    path: PathBuf,
    output: PathBuf,
    source: Source,
    transforms: Option<&str>,
    inputs: Vec<String>,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let memory_bytes = memory_bytes(memory)?;
    let transforms = transforms.map(Transform::parse).transpose();
    let transforms = transforms.map_err(|why| errors::invalid(py, &format!("transforms: {why}")))?;
    let (source, fetches) = source.split();
    let options = OptimizeOptions {
        source,
        fetches,
        inputs,
        transforms: transforms.unwrap_or_default(),
        ..OptimizeOptions::default()
    };
    let optimized = interruptible(py, |stop| {
        tightfit::optimize::optimize(
            &path,
            &options,
            &output,
            stop.flag(),
            &Memory::of(memory_bytes, 1)?.budget,
        )
    })?;
    let dict = told(py, &optimized.frozen)?;
    dict.set_item("nodes_before", optimized.nodes_before)?;
    dict.set_item("constant_bytes_before", optimized.constant_bytes_before)?;
    let passes = PyDict::new(py);
    optimized.passes.iter().try_for_each(|(name, count)| passes.set_item(name, count))?;
    dict.set_item("passes", passes)?;
    Ok(dict)
}

/// `tightfit partition`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "they are named in Python")]
pub fn partition<'py>(
    py: Python<'py>,
    path: PathBuf,
    output: PathBuf,
    source: Source,
    max_bytes: Option<&Bound<'py, PyAny>>,
    at: Vec<String>,
    by_scope: bool,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let cut = match (max_bytes, at.is_empty(), by_scope) {
        (Some(bytes), true, false) => Cut::MaxBytes(memory_bytes(Some(bytes))?),
        (None, false, false) => Cut::At(at),
        (None, true, true) => Cut::Scope,
        _ => return Err(errors::invalid(py, "give one of max_bytes=, at= and by='scope'")),
    };
    let memory_bytes = memory_bytes(memory)?;
    let (source, fetches) = source.split();
    let options = PartitionOptions { source, fetches, cut, operators: Operators::default() };
    let manifest = interruptible(py, |stop| {
        tightfit::partition::partition(
            &path,
            &options,
            &output,
            stop.flag(),
            &Memory::of(memory_bytes, 1)?.budget,
        )
    })?;
    let dict = PyDict::new(py);
    dict.set_item("model", manifest.model)?;
    dict.set_item("inputs", manifest.inputs)?;
    dict.set_item("outputs", manifest.outputs)?;
    let parts = manifest.parts.into_iter().map(|part| {
        let dict = PyDict::new(py);
        dict.set_item("folder", part.folder)?;
        dict.set_item("nodes", part.nodes)?;
        dict.set_item("weight_bytes", part.weight_bytes)?;
        dict.set_item("carried_bytes", part.carried_bytes)?;
        Ok(dict)
    });
    dict.set_item("parts", parts.collect::<PyResult<Vec<_>>>()?)?;
    Ok(dict)
}

/// Names, types and shapes: -1 for an open dimension, nothing where not even their number is known.
type Tensors = Vec<(String, String, Option<Vec<i64>>)>;

fn tensors(endpoints: Vec<Endpoint>) -> Tensors {
    endpoints.into_iter().map(|e| (e.name, e.dtype, e.shape)).collect()
}

/// `tightfit inspect`.
#[pyfunction]
pub fn inspect<'py>(
    py: Python<'py>,
    path: PathBuf,
    source: Source,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let memory_bytes = memory_bytes(memory)?;
    let (source, _) = source.split();
    let found = interruptible(py, |_| {
        tightfit::inspect::inspect(&path, &source, &Memory::of(memory_bytes, 1)?.budget)
    })?;
    let dict = PyDict::new(py);
    dict.set_item("format", found.format)?;
    dict.set_item("file_bytes", found.file_bytes)?;
    dict.set_item("inputs", tensors(found.inputs))?;
    dict.set_item("outputs", found.outputs)?;
    dict.set_item("nodes", found.nodes)?;
    dict.set_item("operators", found.operators)?;
    dict.set_item("unsupported", found.unsupported)?;
    dict.set_item("weight_bytes", found.weight_bytes)?;
    dict.set_item("weight_bytes_by_scope", found.weight_bytes_by_scope)?;
    dict.set_item("signature", found.signature)?;
    let signatures = found.signatures.into_iter();
    let signatures: Vec<(String, Tensors, Tensors)> =
        signatures.map(|s| (s.key, tensors(s.inputs), tensors(s.outputs))).collect();
    dict.set_item("signatures", signatures)?;
    Ok(dict)
}
