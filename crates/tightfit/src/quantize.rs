//! Quantising and pruning: a model as a TensorFlow Lite model whose weights, and with calibration activations too, are integers.
//!
//! A model of another kind is frozen to a TensorFlow Lite model of floats first. What is changed is the description of that
//! file: each tensor's values stay where they are and become integers as they are written ([`values`]).

mod bias;
mod calibrate;
mod draft;
mod full;
mod hessian;
mod histogram;
mod kinds;
mod maker;
mod patches;
mod prune;
mod recipe;
mod rows;
mod samples;
mod temporary;
mod thin;
mod values;
mod watch;
mod weights;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use tightfit_core::MemoryBudget;
use tightfit_format::SourceFile;
use tightfit_format::tflite::Model as Lite;

use crate::error::Error;
use crate::freeze::{FreezeOptions, tflite};
use crate::job::DataOptions;
use crate::model::ModelSource;
use crate::process;

pub use calibrate::Method;
use maker::Maker;
pub use prune::{PruneOptions, Pruned, prune};
pub use recipe::Recipe;
use temporary::Temporary;
pub use thin::Pattern;
pub use weights::Layer;

/// What is wanted of a quantised model.
#[derive(Debug, Clone, Default)]
pub struct QuantizeOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature.
    pub fetches: Vec<String>,
    /// What becomes of it.
    pub recipe: Recipe,
    /// True where inputs and outputs are integers as well.
    pub has_integer_ports: bool,
    /// How ranges follow from what was seen.
    pub method: Method,
    /// True where biases take away what rounding adds to the mean of each channel.
    pub corrects_biases: bool,
    /// The most that outputs may differ from those of floats, as a share of their size (the roots of the means of squares): the
    /// layers that hurt most compute in floats until it is kept.
    pub max_error: Option<f64>,
    /// The data that ranges of activations are found with.
    pub data: DataOptions,
    /// Rows of it that are computed at once.
    pub batch: usize,
    /// Threads that compute them.
    pub threads: usize,
}

/// A model that has been quantised.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Quantized {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of all constants, before and now.
    pub constant_bytes: [u64; 2],
    /// Weights that are stored in fewer bits.
    pub layers: Vec<Layer>,
    /// Operators that compute in floats, by their builtins, and how many there are.
    pub in_floats: Vec<(String, usize)>,
    /// Rows that ranges were found with.
    pub calibration_rows: u64,
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

/// Writes the model at `path`, quantised, to `output`, whole or not at all.
///
/// # Errors
/// As [`crate::freeze::freeze`], of calibration as [`crate::job::Job::run`], and [`Error::Usage`] for activations of integers
/// without data, or an error that cannot be kept.
pub fn quantize(
    path: &Path,
    options: &QuantizeOptions,
    output: &Path,
    stop: &'static AtomicBool,
    budget: &MemoryBudget,
) -> Result<Quantized, Error> {
    let has_data = !options.data.sources.is_empty();
    if options.recipe.has_ranges() && !has_data {
        let why = format!("{} needs data to find ranges with: give some with --input", options.recipe.name());
        return Err(Error::Usage(why));
    }
    let floats = floats(path, options, output, stop, budget)?;
    let path = floats.as_ref().map_or(path, Temporary::path);
    let model = Lite::read(SourceFile::open(path)?, budget)?;
    let maker = Maker { path, model: &model, options, output, stop, budget };
    maker.quantize()
}

/// The model as one of floats of TensorFlow Lite, where it is not such itself.
fn floats(
    path: &Path,
    options: &QuantizeOptions,
    output: &Path,
    stop: &'static AtomicBool,
    budget: &MemoryBudget,
) -> Result<Option<Temporary>, Error> {
    let source = SourceFile::open(path).map_err(Error::from);
    let is_lite = source.is_ok_and(|source| {
        let mut head = [0; 8];
        source.read_exact_at(0, &mut head).is_ok() && head[4..] == *b"TFL3"
    });
    if is_lite {
        return Ok(None);
    }
    let mut floats = Temporary::beside(output);
    let freeze = FreezeOptions {
        source: options.source.clone(),
        fetches: options.fetches.clone(),
        ..FreezeOptions::default()
    };
    tflite::freeze(path, &freeze, floats.path(), stop, budget)?;
    floats.hold();
    process::end_phase();
    Ok(Some(floats))
}
