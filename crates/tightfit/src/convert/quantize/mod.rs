//! Quantising and pruning: a model as a TensorFlow Lite model whose weights, and with calibration activations too, are integers;
//! or as a GraphDef with weights of fewer bits ([`graph_def`]).
//!
//! A model of another kind is frozen to a TensorFlow Lite model of floats first. What is changed is the description of that
//! file: each tensor's values stay where they are and become integers as they are written ([`values`]).

mod bias;
mod calibrate;
mod channels;
mod compensate;
mod draft;
mod full;
mod graph_def;
mod hessian;
mod histogram;
mod kinds;
mod maker;
mod own_bias;
mod patches;
mod prune;
mod rewrite;
mod rows;
mod samples;
mod scheme;
mod temporary;
mod thin;
mod values;
mod watch;
mod weights;

use std::path::Path;

use tightfit_core::{MemoryBudget, StopFlag};

use crate::convert::freeze::is_tflite;
use crate::error::Error;

pub use calibrate::Method;
pub use channels::Kept;
use maker::rewrite;
pub use prune::{PruneOptions, Pruned, prune};
pub use rewrite::{Agreement, RewriteOptions, Rewritten};
pub use scheme::Scheme;
pub use thin::Pattern;
pub use weights::Layer;

/// What is wanted of a quantised model.
#[derive(Debug, Clone, Default)]
pub struct QuantizeOptions {
    /// The model, and the data that ranges of activations are found with.
    pub rewrite: RewriteOptions,
    /// What becomes of it.
    pub scheme: Scheme,
    /// True where inputs and outputs are integers as well.
    pub has_integer_ports: bool,
    /// How ranges follow from what was seen.
    pub method: Method,
    /// True where biases take away what rounding adds to the mean of each channel.
    pub corrects_biases: bool,
    /// The most that outputs may differ from those of floats, as a share of their size (the roots of the means of squares): the
    /// layers that hurt most compute in floats until it is kept.
    pub max_error: Option<f64>,
}

/// A model that has been quantised.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Quantized {
    /// The file, and the weights that are stored in fewer bits.
    pub written: Rewritten,
    /// Operators that compute in floats, by their builtins, and how many there are.
    pub in_floats: Vec<(String, usize)>,
    /// Rows that ranges were found with.
    pub calibration_rows: u64,
}

/// Writes the model at `path`, quantised, to `output`, whole or not at all: as a TensorFlow Lite model where its name ends in
/// `.tflite`, else as a GraphDef.
///
/// # Errors
/// As [`crate::freeze::freeze`], of calibration as [`crate::job::Job::run`], and [`Error::Usage`] for activations of integers
/// without data, or an error that cannot be kept.
pub fn quantize(
    path: &Path,
    options: &QuantizeOptions,
    output: &Path,
    stop: impl Into<StopFlag>,
    budget: &MemoryBudget,
) -> Result<Quantized, Error> {
    let stop = stop.into();
    if !is_tflite(output) {
        return graph_def::quantize(path, options, output, &stop, budget);
    }
    if options.scheme.has_ranges() && options.rewrite.data.sources.is_empty() {
        let why = format!("{} needs data to find ranges with", options.scheme.name());
        return Err(Error::option("input", "", why));
    }
    rewrite(path, &options.rewrite, output, &stop, budget, &mut |maker| maker.quantize(options))
}
