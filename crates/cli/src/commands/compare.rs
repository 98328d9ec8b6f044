//! `compare`: two models on the same data, side by side.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tightfit::compare::{CompareData, Compared, Difference, Side, compare};
use tightfit::job::{BatchSize, JobOptions, open_for};
use tightfit::sink::SinkNeed;
use tightfit::{FitOptions, Model, OpenOptions, array_shapes, display_bytes};

use super::{Limits, data_options, input_shapes, name_and_file};
use crate::args::{self, DataFlags, InputFlags, JsonFlag, LimitFlags, SourceFlags, count};
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::{columns, count_of, print};

const EXAMPLES: &str = "\
Examples:
  tightfit compare model.pb model.tflite --input image=row.npy
  tightfit compare model.pb int8.tflite --input 'test-*.tfrecord' --label label
  tightfit compare a.pb b.pb --input photos/ --preprocess tf --json \\
      --fetch logits";

/// Run two models on the same data and show how their outputs differ
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit compare A B --input PATH... [OPTIONS]")]
pub struct Flags {
    /// The reference: a model of any kind
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The model to compare with it
    #[arg(value_name = "B")]
    second: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    inputs: InputFlags,
    #[command(flatten)]
    data: DataFlags,
    /// Compare this tensor [default: the models' outputs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    fetch: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Compute N rows at once [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<{ args::BatchSize::MOST }>, help_heading = "Memory and speed")]
    batch: Option<usize>,
    #[command(flatten)]
    json: JsonFlag,
}

impl Flags {
    /// The list of files, the rest of which may stand elsewhere.
    pub fn input_mut(&mut self) -> &mut Vec<OsString> {
        &mut self.inputs.input
    }
}

/// # Errors
/// What is wrong with a model or the data, and models that do not go together.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let limits = Limits::of(&flags.limits);
    let (mut files, mut sources) = (Vec::new(), Vec::new());
    for value in &flags.inputs.input {
        match name_and_file(value) {
            Some((name, file)) => files.push((name, stdio::path_of(&file)?)),
            None => sources.push(stdio::data_of(Path::new(value))?),
        }
    }
    if files.is_empty() == sources.is_empty() {
        let why = "--input: give a data set, or a NAME=FILE for each input of the models";
        return Err(Failure::Usage(why.into()));
    }
    let data = data_options(&flags.data, sources)?;
    let memory = limits.open()?;
    let budget = &memory.budget;
    let mut shapes = flags.inputs.shape.clone();
    shapes.extend(array_shapes(&files));
    let options = |source| OpenOptions {
        fetches: flags.fetch.clone(),
        shapes: shapes.clone(),
        source,
        ..OpenOptions::default()
    };
    let (path, given) = (stdio::path_of(&flags.first)?, (&files[..], &data));
    let first = open_for(&path, options(flags.source.source()), given, limits.threads, budget)?;
    let second = Model::open(stdio::path_of(&flags.second)?, &options(Default::default()), budget)?;
    let data = if files.is_empty() {
        CompareData::Rows(Box::new(JobOptions {
            data,
            fixed: Vec::new(),
            batch: BatchSize::Fixed(flags.batch.unwrap_or(1)),
            threads: limits.threads,
            memory_bytes: limits.memory_bytes,
            sink: SinkNeed::default(),
            shapes: input_shapes(&flags.inputs.shape, &first)?,
        }))
    } else {
        CompareData::Files(files, FitOptions { threads: limits.threads, ..FitOptions::default() })
    };
    let compared = compare(&first, second, data, stop_flag(), budget)?;
    let names = [&flags.first, &flags.second].map(|path| path.display().to_string());
    print(&if flags.json.json { format!("{:#}\n", json(&names, &compared)) } else { text(&names, &compared) })
}

/// A number that JSON can hold.
pub fn finite(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { Value::Null }
}

/// What programs are told of a comparison of the models of these names.
pub fn json(names: &[String; 2], compared: &Compared) -> Value {
    let side = |(name, side): (&String, &Side)| {
        json!({
            "model": name,
            "planned_bytes": side.planned_bytes,
            "ms_per_run": side.run_ms(),
            "runs": side.runs,
            "right_rows": side.right_rows,
        })
    };
    let output = |difference: &Difference| {
        json!({
            "a": difference.names[0],
            "b": difference.names[1],
            "elements": difference.elements,
            "max_abs_error": finite(difference.max_error),
            "snr_db": finite(difference.snr_db),
            "top1_agreement_percent": difference.top1_agreement,
        })
    };
    json!({
        "rows": compared.rows,
        "models": names.iter().zip(&compared.sides).map(side).collect::<Vec<_>>(),
        "outputs": compared.outputs.iter().map(output).collect::<Vec<_>>(),
    })
}

/// A ratio of powers.
pub fn decibels(value: f64) -> String {
    if value.is_infinite() { "equal".to_string() } else { format!("{value:.1} dB") }
}

/// A share of rows, where there are such.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_string(), |share| format!("{share:.2} %"))
}

fn text(names: &[String; 2], compared: &Compared) -> String {
    let output = |difference: &Difference| {
        let [a, b] = &difference.names;
        let name = if a == b { a.clone() } else { format!("{a} / {b}") };
        let agreement = percent(difference.top1_agreement);
        vec![name, format!("{:.3e}", difference.max_error), decibels(difference.snr_db), agreement]
    };
    let mut rows = vec![["output", "max error", "SNR", "same top 1"].map(String::from).to_vec()];
    rows.extend(compared.outputs.iter().map(output));
    let side = |(name, side): (&String, &Side)| {
        let right = side.right_rows.map_or("-".to_string(), |right| {
            format!("{:.2} %", 100.0 * right as f64 / compared.rows.max(1) as f64)
        });
        vec![name.clone(), format!("{:.3} ms", side.run_ms()), display_bytes(side.planned_bytes), right]
    };
    let mut sides = vec![["model", "per run", "planned", "right"].map(String::from).to_vec()];
    sides.extend(names.iter().zip(&compared.sides).map(side));
    format!(
        "{}\n{}{}",
        count_of(compared.rows as usize, "row"),
        columns(&rows, &[1, 2, 3]),
        columns(&sides, &[1, 2, 3])
    )
}
