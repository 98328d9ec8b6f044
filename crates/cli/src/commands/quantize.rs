//! `quantize`: a model as a TensorFlow Lite model of integers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tightfit::freeze::is_tflite;
use tightfit::quantize::{Method, QuantizeOptions, Quantized, Recipe, quantize};
use tightfit::{display_bytes, process};

use super::{Limits, data_options};
use crate::args::{self, DataFlags, InputFlags, LimitFlags, SourceFlags, SummaryFlags, count, one_of};
use crate::failure::Failure;
use crate::layers::{self, Head};
use crate::stdio;
use crate::system::stop_flag;
use crate::table::count_of;

const EXAMPLES: &str = "\
Examples:
  tightfit quantize model.pb --output small.tflite
  tightfit quantize model.pb --recipe int8 --input photos/ --preprocess tf \\
      --output int8.tflite
  tightfit quantize model.tflite --recipe f16 --output half.tflite

Recipes:
  dynamic      weights of int8; products round their other operand as they run
  weight-only  weights of int8 that are floats again before they are used
  f16          weights of float16 that are floats again before they are used
  bf16         the same with bfloat16
  int4         the same with int4
  int8         weights and activations of int8; needs --input to find ranges
  int16        weights of int8, activations of int16; needs --input as well";

/// Write a model as a .tflite whose weights, and activations too, are integers
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit quantize MODEL --output FILE.tflite [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a graph, or a .tflite of floats
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    /// Do this: dynamic, weight-only, f16, bf16, int4, int8 or int16 [default: dynamic]
    #[arg(long, value_name = "NAME", value_parser = one_of(Recipe::ALL), hide_possible_values = true, help_heading = "Model")]
    recipe: Option<Recipe>,
    /// Let inputs and outputs be integers too, with --recipe int8 or int16
    #[arg(long, help_heading = "Model")]
    integer_io: bool,
    /// Find ranges by min-max, moving-average, mse or entropy [default: mse]
    #[arg(long, value_name = "NAME", value_parser = one_of(Method::ALL), hide_possible_values = true, help_heading = "Model")]
    calibration: Option<Method>,
    /// Let biases take away what rounding adds to the means of channels
    #[arg(long, help_heading = "Model")]
    correct_biases: bool,
    /// Let outputs differ by at most this share; layers that hurt most stay floats
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Model")]
    max_error: Option<f64>,
    #[command(flatten)]
    inputs: InputFlags,
    #[command(flatten)]
    data: DataFlags,
    /// Write the model to FILE.tflite
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
    /// Keep this tensor as an output [default: the signature's outputs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    fetch: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Find ranges with N rows at once [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<{ args::BatchSize::MOST }>, help_heading = "Memory and speed")]
    batch: Option<usize>,
    /// Write layers and outputs beside the model of floats to FILE, JSON or .html
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,
    #[command(flatten)]
    summary: SummaryFlags,
}

impl Flags {
    /// The list of files, the rest of which may stand elsewhere.
    pub fn input_mut(&mut self) -> &mut Vec<OsString> {
        &mut self.inputs.input
    }
}

/// # Errors
/// What is wrong with the model or the data, and an output that cannot be written.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    if !is_tflite(&flags.output) {
        return Err(Failure::Usage("--output: a name that ends in .tflite".into()));
    }
    let recipe = flags.recipe.unwrap_or_default();
    let is_of_ranges =
        flags.integer_io || flags.calibration.is_some() || flags.correct_biases || flags.max_error.is_some();
    if !recipe.has_ranges() && is_of_ranges {
        let why =
            "--integer-io, --calibration, --correct-biases and --max-error go with --recipe int8 or int16";
        return Err(Failure::Usage(why.into()));
    }
    let sources = flags.inputs.input.iter().map(|value| stdio::data_of(Path::new(value)));
    let data = data_options(&flags.data, sources.collect::<Result<_, _>>()?)?;
    let limits = Limits::of(&flags.limits);
    let options = QuantizeOptions {
        source: flags.source.source(),
        fetches: flags.fetch.clone(),
        recipe,
        has_integer_ports: flags.integer_io,
        method: flags.calibration.unwrap_or_default(),
        corrects_biases: flags.correct_biases,
        max_error: flags.max_error,
        data,
        batch: flags.batch.unwrap_or(1),
        threads: limits.threads,
    };
    let memory = limits.open_for(process::working_bytes())?;
    let model = stdio::path_of(&flags.model)?;
    let quantized = quantize(&model, &options, &flags.output, stop_flag(), &memory.budget)?;
    let output = flags.output.display().to_string();
    if let Some(path) = &flags.report {
        let subtitle = format!("{}, {}", recipe.name(), flags.model.display());
        let head = Head {
            title: &output,
            subtitle: &subtitle,
            file_bytes: quantized.bytes,
            constant_bytes: quantized.constant_bytes,
        };
        layers::write(
            path,
            &json(&output, recipe, &quantized),
            &head,
            &quantized.outputs,
            &quantized.layers,
        )?;
    }
    flags.summary.tell(|| json(&output, recipe, &quantized), || text(&output, &quantized))
}

fn json(output: &str, recipe: Recipe, quantized: &Quantized) -> Value {
    let in_floats = quantized.in_floats.iter().map(|(name, count)| (name.clone(), json!(count)));
    json!({
        "output": output,
        "recipe": recipe.name(),
        "bytes": quantized.bytes,
        "constant_bytes_before": quantized.constant_bytes[0],
        "constant_bytes": quantized.constant_bytes[1],
        "calibration_rows": quantized.calibration_rows,
        "operators_in_floats": Value::Object(in_floats.collect()),
        "outputs": layers::outputs_json(&quantized.outputs),
        "layers": layers::layers_json(&quantized.layers),
    })
}

fn text(output: &str, quantized: &Quantized) -> String {
    let [before, now] = quantized.constant_bytes.map(display_bytes);
    let mut text = format!("{output}: {}, constants {now} of {before}\n", display_bytes(quantized.bytes));
    if quantized.calibration_rows > 0 {
        text.push_str(&format!("Ranges of {}\n", count_of(quantized.calibration_rows as usize, "row")));
    }
    text.push_str(&layers::text(&quantized.outputs, &quantized.layers));
    text
}

/// A share: a number above 0.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "a number above 0, as 0.1".into())
}
