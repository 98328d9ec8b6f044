//! The extension module of the Python package: models, and what is written of them. What needs no speed is Python, in
//! `python/tightfit`.
//!
//! While a model computes, other threads of Python run. A model is run by one of them at a time; who waits for it holds
//! nothing of the interpreter, so that whoever runs it can always ask for signals and make arrays.

mod arrays;
mod calls;
mod data;
mod errors;
mod files;
mod jobs;
mod lite;
mod plan;
mod session;
mod signals;
mod weights;

use pyo3::prelude::*;

/// The extension module `tightfit._tightfit`.
#[pymodule]
mod _tightfit {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::calls::Calls;
    #[pymodule_export]
    use crate::files::{freeze, inspect, optimize, partition};
    #[pymodule_export]
    use crate::lite::{lite_constant, lite_fetches, lite_graphs, lite_operators, lite_tensors};
    #[pymodule_export]
    use crate::session::{Session, forked};
    #[pymodule_export]
    use crate::weights::{compare, prune, quantize};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Says what the process had taken before this module was loaded, then and at most, in bytes.
    #[pyfunction]
    fn join(host_bytes: u64, host_peak_bytes: u64) {
        tightfit::process::join(host_bytes, host_peak_bytes);
    }

    /// Runs the command line with these arguments, the name of the program first; the exit code.
    #[pyfunction]
    fn command_line(py: Python<'_>, args: Vec<OsString>) -> u8 {
        py.detach(|| tightfit_cli::run_in_host(&args))
    }

    /// What the process takes with no model at all, in bytes: no smaller memory works.
    #[pyfunction]
    fn floor_bytes() -> u64 {
        tightfit::process::floor_bytes()
    }
}

/// A size of memory as people give it: bytes, or a text such as 64MiB; nothing for what is taken where nobody says.
fn memory_bytes(size: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let Some(size) = size else { return Ok(tightfit::limits::default_memory_bytes()) };
    if let Ok(bytes) = size.extract::<u64>() {
        return Ok(bytes);
    }
    parse_bytes(size.py(), "memory", &size.extract::<String>()?)
}

fn parse_bytes(py: Python<'_>, name: &str, text: &str) -> PyResult<u64> {
    tightfit::parse_bytes(text).map_err(|error| errors::invalid(py, &format!("{name} '{text}': {error}")))
}

/// Threads as people give them; nothing for one of each processor.
fn thread_count(py: Python<'_>, threads: Option<usize>) -> PyResult<usize> {
    const MOST: usize = 256;
    match threads {
        None => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
        Some(threads @ 1..=MOST) => Ok(threads),
        Some(other) => Err(errors::invalid(py, &format!("threads={other}: give a number from 1 to {MOST}"))),
    }
}
