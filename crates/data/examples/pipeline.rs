//! What a pipeline gives, written to a file or counted; `bench/pipelines.py` runs it beside tf.data.
//!
//! ```text
//! pipeline SPEC [--threads N] [--memory BYTES] [--out FILE] [--epochs N] [--slow-us N] [--report]
//! ```
//!
//! SPEC is a description in JSON, or the path of one. Beside the stages of the library it may have
//! `{"slow": MICROSECONDS}`, a map that takes so long, sleeping where `"sleep": true`, with the options of all maps. `--out` gets the bytes of all fields of all elements; without
//! it the last of the passes is told as JSON: `{"rows": N, "elements": N, "seconds": S, "budget_peak_bytes": B}`, where
//! an element of some dimensions counts as its first dimension of rows. `--slow-us` is
//! how long the taker sleeps after each element.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tightfit_core::{MemoryBudget, parse_bytes};
use tightfit_data::Access;
use tightfit_data::flow::{
    Args, ElementView, FunctionOp, Map, MapMode, Pipeline, PipelineSpec, Read, StageSpec, Verdict,
};

const USAGE: &str =
    "pipeline SPEC [--threads N] [--memory BYTES] [--out FILE] [--epochs N] [--slow-us N] [--report]";

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn slow(args: &mut Args<'_>) -> Option<Read<Arc<dyn StageSpec>>> {
    if args.name() != "slow" {
        return None;
    }
    let read = |args: &mut Args<'_>| -> Read<Arc<dyn StageSpec>> {
        let time = Duration::from_micros(args.number()?);
        let pass_time = if args.flag("sleep")? { thread::sleep } else { compute };
        let mode = match args.number_option("threads")? {
            Some(0) => MapMode::Inline,
            threads => MapMode::Parallel {
                threads: threads.map(|n| n as usize),
                is_ordered: !args.flag("unordered")?,
            },
        };
        let op = FunctionOp::new(
            format!("slow {}", time.as_micros()),
            |input| Ok(input.clone()),
            move |input, out| {
                pass_time(time);
                out.copy_from(input)?;
                Ok(Verdict::Keep)
            },
        );
        Ok(Arc::new(Map { op: Arc::new(op), mode }))
    };
    Some(read(args))
}

fn write_element(out: &mut impl Write, element: &ElementView<'_>) -> Result<(), Box<dyn Error>> {
    for index in 0..element.places().len() {
        let Some(tensor) = element.tensor(index) else { continue };
        if tensor.dtype() == tightfit_core::DType::String {
            element.strings(index).try_for_each(|text| out.write_all(text?))?;
        } else {
            out.write_all(tensor.bytes())?;
        }
    }
    Ok(())
}

/// One pass, as elements and rows.
fn pass(
    pipeline: &mut Pipeline,
    out: &mut Option<impl Write>,
    taker: Duration,
) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut elements, mut rows) = (0, 0);
    while pipeline.advance()? {
        let element = pipeline.current();
        elements += 1;
        rows += element.places().first().and_then(|place| place.shape.first().copied()).unwrap_or(1) as u64;
        match out {
            Some(out) => write_element(out, &element)?,
            None => drop(black_box(element)),
        }
        if !taker.is_zero() {
            thread::sleep(taker);
        }
    }
    Ok((elements, rows))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut spec, mut out) = (None, None);
    let (mut threads, mut memory_bytes, mut epochs, mut taker, mut reports) =
        (2, 16 << 20, 1, Duration::ZERO, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(USAGE);
        match arg.as_str() {
            "--threads" => threads = value()?.parse()?,
            "--memory" => memory_bytes = parse_bytes(&value()?)?,
            "--out" => out = Some(BufWriter::new(File::create(value()?)?)),
            "--epochs" => epochs = value()?.parse()?,
            "--slow-us" => taker = Duration::from_micros(value()?.parse()?),
            "--report" => reports = true,
            _ => spec = Some(arg),
        }
    }
    let text = spec.ok_or(USAGE)?;
    let text = if text.starts_with('{') { text } else { fs::read_to_string(Path::new(&text))? };
    let spec = PipelineSpec::from_json(&text, &Access::everything(), &slow)?;
    let budget = MemoryBudget::new(memory_bytes);
    let mut pipeline = Pipeline::open(&spec, &budget, threads)?;
    let mut told = (0, 0, 0.0);
    for epoch in 0..epochs {
        let start = Instant::now();
        if epoch > 0 {
            pipeline.reset(epoch)?;
        }
        let (elements, rows) = pass(&mut pipeline, &mut out, taker)?;
        told = (elements, rows, start.elapsed().as_secs_f64());
    }
    if reports {
        let report = pipeline.report();
        let name = |index: usize| report.stages.get(index).map(|stage| stage.name.as_str());
        eprintln!("bottleneck {:?}", report.bottleneck().and_then(name));
        report.stages.iter().for_each(|stage| eprintln!("{stage:?}"));
    }
    if let Some(mut out) = out {
        out.flush()?;
    }
    let (elements, rows, seconds) = told;
    let peak_bytes = budget.peak_bytes();
    println!(
        r#"{{"rows": {rows}, "elements": {elements}, "seconds": {seconds}, "budget_peak_bytes": {peak_bytes}}}"#
    );
    Ok(())
}
