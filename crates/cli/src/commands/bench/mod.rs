//! `bench`: how long a model takes on random input.

mod steps;
mod times;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tightfit::{
    DType, Error, Feed, FitOptions, Isa, MemoryBudget, Model, OpenOptions, Roofline, Runner, Shape, Tensor,
    display_bytes, limits, process,
};

use super::Limits;
use crate::args::{BatchSize, JsonFlag, LimitFlags, SourceFlags, count, one_of, precision, seconds, shape};
use crate::failure::Failure;
use crate::stdio;
use crate::system::{Start, stop_flag};
use crate::table::{count_of, print};
use times::{Spread, Times};

const EXAMPLES: &str = "\
Examples:
  tightfit bench model.pb
  tightfit bench model.pb --batch 8 --threads 2 --steps 10
  tightfit bench model.pb --roofline --steps 10
  tightfit bench model.pb --profile trace.json";

/// Measure how long a model takes on random input
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit bench MODEL [OPTIONS]")]
pub struct Flags {
    /// The model: a SavedModel's folder, a frozen graph, a .tflite, a
    /// checkpoint's .meta, or - for standard input
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    source: SourceFlags,
    /// Compute this tensor [default: the model's outputs]
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    fetch: Vec<String>,
    /// Set the shape of an input that the model leaves open
    #[arg(long, value_name = "NAME=D0,D1,..", value_parser = shape, help_heading = "Input")]
    shape: Vec<(String, Shape)>,
    /// Compute N rows at once [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<{ BatchSize::MOST }>, help_heading = "Memory and speed")]
    batch: Option<usize>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Compute in this precision: f32
    #[arg(long, value_name = "NAME", value_parser = precision, help_heading = "Memory and speed")]
    precision: Option<String>,
    /// Use these vector instructions: avx512, avx2 or portable [default: the
    /// fastest that the processor has]
    #[arg(long, value_name = "NAME", value_parser = one_of(Isa::ALL.map(|isa| (isa.name(), isa))), hide_possible_values = true, help_heading = "Memory and speed")]
    isa: Option<Isa>,
    /// Measure for S seconds [default: 3]
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true, help_heading = "Output")]
    seconds: Option<f64>,
    /// List the N slowest steps
    #[arg(long, value_name = "N", value_parser = count::<MAX_STEPS>, help_heading = "Output")]
    steps: Option<usize>,
    /// Measure the machine's peak FLOP/s and memory bandwidth, and show each
    /// step's share of them; uses up to 128 MiB of --memory
    #[arg(long, help_heading = "Output")]
    roofline: bool,
    /// Write the steps of some runs to FILE, as a trace that Perfetto and Chrome show
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    json: JsonFlag,
}

/// How long is measured when nobody says.
const DEFAULT_SECONDS: f64 = 3.0;

/// The share of the time that is spent before the first measured run.
const WARM_UP_SHARE: f64 = 0.2;

/// The fewest runs that make a median.
const LEAST_RUNS: usize = 3;

/// The most runs that are measured.
const MOST_RUNS: usize = 100_000;

/// The most steps that are listed.
const MAX_STEPS: usize = 1 << 16;

/// Integers fed are below this: they may be numbers of classes, words or positions.
const INTEGERS_BELOW: u64 = 100;

/// The seed of all random input.
const SEED: u64 = 0x7469_6768_7466_6974;

/// # Errors
/// What is wrong with the model, and one that does not fit.
pub fn run(flags: &Flags, start: &Start) -> Result<(), Failure> {
    let limits = Limits::of(&flags.limits);
    let isa = flags.isa.unwrap_or_else(Isa::detect);
    if !isa.is_available() {
        return Err(Failure::Usage(format!("--isa {}: this processor does not have it", isa.name())));
    }
    let seconds = flags.seconds.unwrap_or(DEFAULT_SECONDS);
    let memory = limits.open()?;
    let budget = &memory.budget;
    let open = OpenOptions {
        fetches: flags.fetch.clone(),
        source: flags.source.source(),
        shapes: flags.shape.clone(),
        ..OpenOptions::default()
    };
    let model = Model::open(&stdio::path_of(&flags.model)?, &open, budget)?;
    let batch = flags.batch.unwrap_or(1);
    let shapes = super::input_shapes(&flags.shape, &model)?;
    let inputs = inputs(&model, batch, &shapes)?;
    let options = FitOptions {
        batch,
        threads: limits.threads,
        isa,
        memory_bytes: limits.memory_bytes,
        pipeline_bytes: Times::BYTES
            + inputs.iter().map(|(_, dtype, shape)| (shape.elements() * dtype.bytes()) as u64).sum::<u64>(),
        shapes,
        ..FitOptions::default()
    };
    let mut runner = Runner::new(&model, &options, budget)?;
    runner.stop_at(stop_flag());
    let mut random = Random(SEED);
    let tensors: Vec<(String, Tensor)> = inputs
        .into_iter()
        .map(|(name, dtype, shape)| Ok((name, random.tensor(dtype, shape, budget)?)))
        .collect::<Result<_, Failure>>()?;
    let feeds = feeds(&tensors, runner.inputs())?;
    runner.run(&feeds)?;
    let first = start.elapsed();
    let times = measure(&mut runner, &feeds, seconds, budget)?;
    let steps = flags.steps.map(|n| steps::slowest(&mut runner, &feeds, n)).transpose()?;
    // What the roofline takes is not the model's.
    let peak_bytes = limits::peak_resident_bytes();
    let pool = runner.context().loaded().pool();
    let roofline = flags.roofline.then(|| Roofline::measure(pool, budget)).transpose()?;
    if let Some(path) = &flags.profile {
        steps::trace(&mut runner, &feeds, path, budget)?;
    }
    // What prints is not what ran.
    process::end_phase();
    let result = Measured {
        model: flags.model.display().to_string(),
        batch,
        threads: limits.threads,
        isa,
        first,
        times,
        planned_bytes: runner.lines().total_bytes(),
        peak_bytes,
        steps: steps.unwrap_or_default(),
        roofline,
    };
    print(&if flags.json.json { format!("{:#}\n", result.json()) } else { result.text() })
}

/// Name, type and shape of every input.
fn inputs(
    model: &Model,
    batch: usize,
    shapes: &HashMap<String, Shape>,
) -> Result<Vec<(String, DType, Shape)>, Failure> {
    let options = FitOptions { batch, shapes: shapes.clone(), ..FitOptions::default() };
    let bound = tightfit::fit::Bound::new(model, &options)?;
    let graph = bound.graph();
    let inputs = graph.inputs.iter().map(|port| {
        let fact = graph.fact(port.value);
        let open = || Failure::Usage(format!("say the shape of '{}' with --shape", port.name));
        Ok((port.name.clone(), fact.dtype, fact.dims.concrete().ok_or_else(open)?))
    });
    inputs.collect()
}

fn feeds<'a, 'n>(
    tensors: &'a [(String, Tensor)],
    names: impl Iterator<Item = &'n str>,
) -> Result<Vec<Feed<'a>>, Failure> {
    let feed = |name: &str| {
        let tensor = tensors.iter().find(|(n, _)| n == name);
        let feed = tensor.and_then(|(_, tensor)| tensor.feed());
        feed.ok_or_else(|| Failure::Usage(format!("input '{name}' is not fed")))
    };
    names.map(feed).collect()
}

/// The times of runs, after a warm-up.
fn measure(
    runner: &mut Runner,
    feeds: &[Feed<'_>],
    seconds: f64,
    budget: &MemoryBudget,
) -> Result<Spread, Failure> {
    let mut times = Times::new(budget)?;
    let until = Instant::now() + Duration::from_secs_f64(seconds * WARM_UP_SHARE);
    while Instant::now() < until {
        runner.run(feeds)?;
    }
    let until = Instant::now() + Duration::from_secs_f64(seconds * (1.0 - WARM_UP_SHARE));
    while times.runs() < LEAST_RUNS || (times.runs() < MOST_RUNS && Instant::now() < until) {
        let begin = Instant::now();
        runner.run(feeds)?;
        times.add(begin.elapsed().as_secs_f64() * 1e3);
    }
    // What sums up is not what ran.
    process::end_phase();
    Ok(times.spread())
}

/// What was measured.
struct Measured {
    model: String,
    batch: usize,
    threads: usize,
    isa: Isa,
    first: Duration,
    times: Spread,
    planned_bytes: u64,
    /// Of the process, where the system says.
    peak_bytes: Option<u64>,
    /// The slowest steps, where they were asked for.
    steps: Vec<steps::StepTime>,
    /// What the machine does at most, where that was asked for.
    roofline: Option<Roofline>,
}

impl Measured {
    fn json(&self) -> Value {
        json!({
            "model": self.model,
            "batch": self.batch,
            "threads": self.threads,
            "precision": "f32",
            "isa": self.isa.name(),
            "runs": self.times.runs,
            "ms_median": self.times.median,
            "ms_p90": self.times.p90,
            "ms_p99": self.times.p99,
            "ms_min": self.times.shortest,
            "first_ms": self.first.as_secs_f64() * 1e3,
            "planned_bytes": self.planned_bytes,
            "peak_resident_bytes": self.peak_bytes,
            "roofline": self.roofline.map(|roofline| json!({
                "gflops": roofline.flops / 1e9,
                "gbytes_per_second": roofline.read_bytes / 1e9,
            })),
            "steps": self.steps.iter().map(|step| step.json(self.roofline.as_ref())).collect::<Vec<_>>(),
        })
    }

    fn roofline_text(&self) -> String {
        self.roofline.map_or(String::new(), |roofline| {
            format!(
                "  machine peak: {:.0} GFLOP/s, {:.1} GB/s read from memory\n",
                roofline.flops / 1e9,
                roofline.read_bytes / 1e9
            )
        })
    }

    fn text(&self) -> String {
        let peak = self.peak_bytes.map_or("unknown".to_string(), display_bytes);
        format!(
            "{}: batch {}, threads {}, f32\n  median {:.3} ms, 90 % within {:.3} ms, 99 % within {:.3} ms, shortest {:.3} ms of {}, {:.1} rows/s\n  \
             first result after {:.1} ms\n  memory: planned {}, peak {peak}\n",
            self.model,
            self.batch,
            self.threads,
            self.times.median,
            self.times.p90,
            self.times.p99,
            self.times.shortest,
            count_of(self.times.runs, "run"),
            self.batch as f64 * 1e3 / self.times.median.max(1e-9),
            self.first.as_secs_f64() * 1e3,
            display_bytes(self.planned_bytes),
        ) + &self.roofline_text()
            + &steps::table(&self.steps, self.roofline.as_ref())
    }
}

/// Random numbers that are the same every time: SplitMix64, by Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn tensor(&mut self, dtype: DType, shape: Shape, budget: &MemoryBudget) -> Result<Tensor, Failure> {
        if dtype == DType::String {
            return Ok(Tensor::Strings { shape, texts: vec![Box::default()], memory: None });
        }
        let mut tensor = Tensor::zeros(budget, dtype, shape).map_err(Error::from)?;
        let Tensor::Dense { bytes, .. } = &mut tensor else { return Ok(tensor) };
        match dtype {
            DType::F32 => {
                bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&(self.unit() as f32).to_le_bytes()))
            }
            DType::F64 => {
                bytes.chunks_exact_mut(8).for_each(|b| b.copy_from_slice(&self.unit().to_le_bytes()))
            }
            // The upper half of a float32 is a bfloat16.
            DType::BF16 => bytes
                .chunks_exact_mut(2)
                .for_each(|b| b.copy_from_slice(&(self.unit() as f32).to_le_bytes()[2..])),
            // 0x3c00 is 1 in float16: below it are the numbers from 0 to 1.
            DType::F16 => bytes
                .chunks_exact_mut(2)
                .for_each(|b| b.copy_from_slice(&((self.unit() * 15360.0) as u16).to_le_bytes())),
            DType::Bool => bytes.iter_mut().for_each(|b| *b = (self.next() & 1) as u8),
            DType::C64 | DType::C128 => {}
            // All integers are little-endian, and those fed are below 256.
            _ => bytes
                .chunks_exact_mut(dtype.bytes())
                .for_each(|b| b[0] = (self.next() % INTEGERS_BELOW) as u8),
        }
        Ok(tensor)
    }
}
