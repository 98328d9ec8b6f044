//! Freezing: a model as one GraphDef that TensorFlow loads and runs, variables as constants, calls inlined, nothing in it
//! that only trains, saves or restores. Values go from the shards to the output in small pieces.

pub(crate) mod tflite;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use tightfit_core::MemoryBudget;
use tightfit_graph::Operators;

pub use crate::convert::writing::{Frozen, MESSAGE_MAX_BYTES};
use crate::convert::writing::{frozen, write};
use crate::error::Error;
use crate::memory::process;
use crate::model::{ModelSource, Plain, describe};

/// What is wanted of a frozen model.
#[derive(Debug, Clone, Default)]
pub struct FreezeOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature.
    pub fetches: Vec<String>,
    /// Operators beside those that are built in; see [`crate::operator`].
    pub operators: Operators,
}

/// True for the name of a TensorFlow Lite model.
pub fn is_tflite(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tflite"))
}

/// Writes the model at `path` to `output`, whole or not at all: as a TensorFlow Lite model where its name ends in `.tflite`, else
/// as a frozen GraphDef.
///
/// # Errors
/// As [`crate::Model::open`], but for operators that cannot be run here; [`Error::Io`] when it cannot be written, and
/// [`Error::Interrupted`] when `stop` was raised.
pub fn freeze(
    path: &Path,
    options: &FreezeOptions,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<Frozen, Error> {
    if is_tflite(output) {
        return tflite::freeze(path, options, output, stop, budget);
    }
    let Plain { def, ports, keep, fetched, _names } = Plain::of(
        path,
        describe(path, &options.source, &options.operators, budget)?,
        &options.fetches,
        &options.operators,
        budget,
    )?;
    let mut frozen = frozen(&def, &ports, fetched, keep);
    // What has read the description is not needed to write it.
    process::end_phase();
    frozen.bytes = write(&def, output, stop, budget)?;
    Ok(frozen)
}
