//! What models have in common that are written with other weights: what is wanted, the model of floats, and what came of it.

use std::path::Path;

use tightfit_core::{MemoryBudget, StopFlag};
use tightfit_format::{ModelFormat, detect};

use super::temporary::Temporary;
use super::weights::Layer;
use crate::convert::freeze::{FreezeOptions, tflite};
use crate::error::Error;
use crate::job::DataOptions;
use crate::memory::process;
use crate::model::ModelSource;

/// What is wanted of a model that is written with other weights.
#[derive(Debug, Clone, Default)]
pub struct RewriteOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature.
    pub fetches: Vec<String>,
    /// The data that the model of floats is watched on, and compared with what was written.
    pub data: DataOptions,
    /// Rows of it that are computed at once.
    pub batch: usize,
    /// Threads that compute them.
    pub threads: usize,
}

/// A model that has been written with other weights.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Rewritten {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of all constants, before and now.
    pub constant_bytes: [u64; 2],
    /// Weights that are stored in another way.
    pub layers: Vec<Layer>,
    /// Outputs beside those of the model of floats, where there was data.
    pub outputs: Vec<Agreement>,
}

/// How an output differs from that of the model of floats.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Agreement {
    /// The output.
    pub name: String,
    /// Its power over that of the difference, in dB; infinite where there is none.
    pub snr_db: f64,
    /// The share of rows in which the same element is the largest, in percent; `None` for an output without rows of several.
    pub top1_agreement: Option<f64>,
}

/// The model as one of floats of TensorFlow Lite, where it is not such itself.
pub(super) fn floats(
    path: &Path,
    options: &RewriteOptions,
    output: &Path,
    stop: &StopFlag,
    budget: &MemoryBudget,
) -> Result<Option<Temporary>, Error> {
    if detect(path).is_ok_and(|format| format == ModelFormat::TfLite) {
        return Ok(None);
    }
    let mut floats = Temporary::beside(output);
    let freeze = FreezeOptions {
        source: options.source.clone(),
        fetches: options.fetches.clone(),
        ..FreezeOptions::default()
    };
    tflite::freeze(path, &freeze, floats.path(), stop.flag(), budget)?;
    floats.hold();
    process::end_phase();
    Ok(Some(floats))
}
