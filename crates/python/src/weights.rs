//! Models that are written with other weights, and two models side by side.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;
use tightfit::compare::{CompareData, compare as compare_models};
use tightfit::job::{BatchSize, JobOptions, open_for};
use tightfit::quantize::{
    Method, Pattern, PruneOptions, QuantizeOptions, RewriteOptions, Scheme, prune as prune_model,
    quantize as quantize_model,
};
use tightfit::sink::SinkNeed;
use tightfit::{FitOptions, Model, OpenOptions, Shape, array_shapes};
use tightfit_cli::told;

use crate::data::Data;
use crate::files::{Memory, Source};
use crate::signals::interruptible;
use crate::{errors, memory_bytes, thread_count};

/// A model, its data, and where it goes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rewrite {
    path: PathBuf,
    output: PathBuf,
    source: Source,
    data: Data,
    batch: usize,
    threads: Option<usize>,
    report: Option<PathBuf>,
}

/// What of it the work needs.
struct Job {
    path: PathBuf,
    output: PathBuf,
    options: RewriteOptions,
    report: Option<PathBuf>,
}

impl Rewrite {
    fn job(self, py: Python<'_>) -> PyResult<Job> {
        if !tightfit::freeze::is_tflite(&self.output) {
            return Err(errors::invalid(py, "output: a name that ends in .tflite"));
        }
        let (source, fetches) = self.source.split();
        let options = RewriteOptions {
            source,
            fetches,
            data: self.data.options(py)?,
            batch: batch_size(py, self.batch)?,
            threads: thread_count(py, self.threads)?,
        };
        Ok(Job { path: self.path, output: self.output, options, report: self.report })
    }
}

fn batch_size(py: Python<'_>, batch: usize) -> PyResult<usize> {
    match batch {
        0 => Err(errors::invalid(py, "batch=0: give a number of rows")),
        rows => Ok(rows),
    }
}

/// What one of these names stands for.
fn one_of<T: Clone>(py: Python<'_>, argument: &str, name: &str, all: &[(&str, T)]) -> PyResult<T> {
    if let Some((_, meant)) = all.iter().find(|(own, _)| *own == name) {
        return Ok(meant.clone());
    }
    let names: Vec<&str> = all.iter().map(|(own, _)| *own).collect();
    Err(errors::invalid(py, &format!("{argument}='{name}': give one of {}", names.join(", "))))
}

/// `tightfit quantize`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "they are named in Python")]
pub fn quantize<'py>(
    py: Python<'py>,
    rewrite: Rewrite,
    scheme: &str,
    float_io: bool,
    calibration: Option<&str>,
    corrects_biases: bool,
    max_error: Option<f64>,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let scheme = one_of(py, "scheme", scheme, &Scheme::ALL)?;
    let is_of_ranges = calibration.is_some() || corrects_biases || max_error.is_some();
    if !scheme.has_ranges() && is_of_ranges {
        let why = "calibration, correct_biases and max_error go with scheme 'int8' or 'int16x8'";
        return Err(errors::invalid(py, why));
    }
    if max_error.is_some_and(|share| !(share > 0.0 && share.is_finite())) {
        return Err(errors::invalid(py, "max_error: give a number above 0, as 0.1"));
    }
    let method = calibration.map(|name| one_of(py, "calibration", name, &Method::ALL)).transpose()?;
    let memory_bytes = memory_bytes(memory)?;
    let Job { path, output, options: rewrite, report } = rewrite.job(py)?;
    let threads = rewrite.threads;
    let options = QuantizeOptions {
        rewrite,
        scheme,
        has_integer_ports: scheme.has_ranges() && !float_io,
        method: method.unwrap_or_default(),
        corrects_biases,
        max_error,
    };
    let told = interruptible(py, |stop| {
        let memory = Memory::of(memory_bytes, threads)?;
        let done = quantize_model(&path, &options, &output, stop.clone(), &memory.budget)?;
        let json = told::quantize_json(&output, scheme, &done);
        if let Some(report) = &report {
            let subtitle = format!("{}, {}", scheme.name(), path.display());
            told::write_report(report, &json, &output.display().to_string(), &subtitle, &done.written)?;
        }
        Ok(json)
    })?;
    to_python(py, &told)
}

/// `tightfit prune`.
#[pyfunction]
pub fn prune<'py>(
    py: Python<'py>,
    rewrite: Rewrite,
    sparsity: Option<f64>,
    pattern: &str,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let pattern = one_of(py, "pattern", pattern, &Pattern::ALL)?;
    if sparsity.is_some_and(|share| !(0.0..1.0).contains(&share)) {
        return Err(errors::invalid(py, "sparsity: give a number from 0 to below 1, as 0.7"));
    }
    if pattern == Pattern::TwoOfFour && sparsity.is_some_and(|share| share != 0.5) {
        return Err(errors::invalid(py, "sparsity: of pattern '2:4' it is 0.5"));
    }
    let memory_bytes = memory_bytes(memory)?;
    let Job { path, output, options: rewrite, report } = rewrite.job(py)?;
    let threads = rewrite.threads;
    let options = PruneOptions { rewrite, sparsity, pattern };
    let told = interruptible(py, |stop| {
        let memory = Memory::of(memory_bytes, threads)?;
        let done = prune_model(&path, &options, &output, stop.clone(), &memory.budget)?;
        let json = told::prune_json(&output, pattern, &done);
        if let Some(report) = &report {
            let zeros = 100.0 * done.sparsity;
            let subtitle = format!("{zeros:.1} % {}, {}", pattern.leaves(), path.display());
            told::write_report(report, &json, &output.display().to_string(), &subtitle, &done.written)?;
        }
        Ok(json)
    })?;
    to_python(py, &told)
}

/// `tightfit compare`: on rows, or on `files`, one for each input.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "they are named in Python")]
pub fn compare<'py>(
    py: Python<'py>,
    paths: [PathBuf; 2],
    source: Source,
    data: Data,
    files: Vec<(String, PathBuf)>,
    shapes: HashMap<String, Vec<usize>>,
    batch: usize,
    threads: Option<usize>,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (source, fetches) = source.split();
    let (memory_bytes, threads) = (memory_bytes(memory)?, thread_count(py, threads)?);
    let (data, batch) = (data.options(py)?, batch_size(py, batch)?);
    let shapes = crate::data::shapes(py, shapes)?;
    let told = interruptible(py, |stop| {
        let memory = Memory::of(memory_bytes, threads)?;
        let mut given: Vec<(String, Shape)> =
            shapes.iter().map(|(name, shape)| (name.clone(), *shape)).collect();
        given.extend(array_shapes(&files));
        let options = |source| OpenOptions {
            fetches: fetches.clone(),
            shapes: given.clone(),
            source,
            ..OpenOptions::default()
        };
        let first = open_for(&paths[0], options(source), (&files, &data), threads, &memory.budget)?;
        let second = Model::open(&paths[1], &options(Default::default()), &memory.budget)?;
        let rows = match files.is_empty() {
            true => CompareData::Rows(Box::new(JobOptions {
                data,
                fixed: Vec::new(),
                batch: BatchSize::Fixed(batch),
                threads,
                memory_bytes,
                sink: SinkNeed::default(),
                shapes,
            })),
            false => CompareData::Files(files, FitOptions { threads, ..FitOptions::default() }),
        };
        let compared = compare_models(&first, second, rows, stop.clone(), &memory.budget)?;
        Ok(told::compare_json(&paths.map(|path| path.display().to_string()), &compared))
    })?;
    to_python(py, &told)
}

/// What a program is told, in Python's words.
fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(is_so) => is_so.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(count), _) => count.into_pyobject(py)?.into_any(),
            (None, Some(count)) => count.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().into_pyobject(py)?,
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(|item| to_python(py, item)).collect::<PyResult<_>>()?;
            PyList::new(py, items)?.into_any()
        }
        Value::Object(object) => {
            let dict = PyDict::new(py);
            for (name, item) in object {
                dict.set_item(name, to_python(py, item)?)?;
            }
            dict.into_any()
        }
    })
}
