//! `quantize`: a model with weights of fewer bits, of TensorFlow Lite or as a GraphDef.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};
use tightfit::display_bytes;
use tightfit::quantize::{Method, QuantizeOptions, Quantized, Scheme, quantize};

use super::rewrite::RewriteFlags;
use crate::args::one_of;
use crate::failure::Failure;
use crate::layers;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit quantize model.pb --output small.tflite
  tightfit quantize model.pb --scheme int8 --calibrate photos/ --preprocess tf \\
      --output int8.tflite
  tightfit quantize model.tflite --scheme f16 --output half.tflite
  tightfit quantize model.pb --scheme weight-only-int8 --output small.pb

Schemes:
  dynamic           int8 weights; activations are quantized as they are computed
  weight-only-int8  int8 weights, converted back to floats before use
  f16               float16 weights, converted back to floats before use
  bf16              bfloat16 weights, converted back to floats before use
  weight-only-int4  int4 weights, converted back to floats before use
  int8              int8 weights and activations; needs --calibrate DATA
  int16x8           int8 weights, int16 activations; needs --calibrate DATA

A GraphDef (.pb) takes dynamic, weight-only-int8, f16 and bf16; it computes in
floats.";

/// Write a model as a .tflite with quantized weights, and activations if calibrated
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit quantize MODEL --output FILE.tflite [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    pub rewrite: RewriteFlags,
    /// Use this scheme, one of those below [default: dynamic]
    #[arg(long, value_name = "NAME", value_parser = one_of(Scheme::ALL), hide_possible_values = true, help_heading = "Model")]
    scheme: Option<Scheme>,
    /// Keep inputs and outputs float32 with --scheme int8 or int16x8
    #[arg(long, help_heading = "Model")]
    float_io: bool,
    /// Calibrate ranges by min-max, moving-average, mse or entropy [default: mse]
    #[arg(long, value_name = "NAME", value_parser = one_of(Method::ALL), hide_possible_values = true, help_heading = "Model")]
    calibration: Option<Method>,
    /// Correct biases for the shift that rounding causes in each channel's mean
    #[arg(long, help_heading = "Model")]
    correct_biases: bool,
    /// Keep outputs within this relative error: layers that hurt most stay in floats
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Model")]
    max_error: Option<f64>,
}

/// # Errors
/// What is wrong with the model or the data, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    flags.rewrite.check_output(true)?;
    let scheme = flags.scheme.unwrap_or_default();
    let is_of_ranges = flags.calibration.is_some() || flags.correct_biases || flags.max_error.is_some();
    if !scheme.has_ranges() && is_of_ranges {
        let why = "--calibration, --correct-biases and --max-error go with --scheme int8 or int16x8";
        return Err(Failure::Usage(why.into()));
    }
    let options = QuantizeOptions {
        rewrite: flags.rewrite.options()?,
        scheme,
        has_integer_ports: scheme.has_ranges() && !flags.float_io,
        method: flags.calibration.unwrap_or_default(),
        corrects_biases: flags.correct_biases,
        max_error: flags.max_error,
    };
    let (memory, model) = flags.rewrite.open()?;
    let quantized = quantize(&model, &options, &flags.rewrite.output, stop_flag(), &memory.budget)?;
    let json = json(&flags.rewrite.output, scheme, &quantized);
    let output = flags.rewrite.output.display();
    let [before, now] = quantized.written.constant_bytes.map(display_bytes);
    let mut text =
        format!("{output}: {}, constants {now} of {before}\n", display_bytes(quantized.written.bytes));
    if quantized.calibration_rows > 0 {
        text.push_str(&format!("Ranges of {}\n", count_of(quantized.calibration_rows, "row")));
    }
    flags.rewrite.tell(&quantized.written, scheme.name(), json, &text)
}

/// The same for programs.
pub fn json(output: &Path, scheme: Scheme, quantized: &Quantized) -> Value {
    let in_floats = quantized.in_floats.iter().map(|(name, count)| (name.clone(), json!(count)));
    let more = json!({
        "scheme": scheme.name(),
        "calibration_rows": quantized.calibration_rows,
        "operators_in_floats": Value::Object(in_floats.collect()),
    });
    layers::json(output, &quantized.written, more)
}

/// A share: a number above 0.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "a number above 0, as 0.1".into())
}
