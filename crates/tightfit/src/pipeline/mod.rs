//! Pipelines of [`tightfit_data::flow`] as the command line names them: described in JSON, in a file or on the spot, or
//! just data files.

mod head;
mod model;
mod store;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tightfit_core::MemoryBudget;
use tightfit_data::flow::{
    Archives, Args, Arrays, Csv, Images, Interleave, Lines, Pipeline, PipelineSpec, Records, Report,
};
use tightfit_data::{FileKind, list};

pub use head::{Head, head};
pub use store::{StoreOptions, Stored, store};

use crate::error::Error;

/// The largest description that is read.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

/// Reads a pipeline, whose models compute with `threads` and keep their structure in `budget`: JSON if it begins with a
/// brace or is the name of a .json file, and otherwise a file, a folder or a pattern of them, without stages, read by
/// the source for such files.
///
/// # Errors
/// What is wrong with the description.
pub fn read_spec(text: &Path, threads: usize, budget: &MemoryBudget) -> Result<PipelineSpec, Error> {
    let json = match text.to_str() {
        Some(inline) if inline.trim_start().starts_with('{') => inline.to_string(),
        _ if text.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) => read_description(text)?,
        _ => return Ok(files(text, budget)),
    };
    let read_model =
        |args: &mut Args<'_>| (args.name() == "model").then(|| model::read(args, threads, budget));
    Ok(PipelineSpec::from_json(&json, &read_model)?)
}

/// The pipeline of the rows of files that nothing else is said of.
fn files(path: &Path, budget: &MemoryBudget) -> PipelineSpec {
    let (paths, interleave) = (vec![path.to_path_buf()], Interleave::default());
    // Text and archives are told by their names alone, as patterns have them too.
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "csv" => return PipelineSpec::new(Csv::new(paths)),
        "txt" => return PipelineSpec::new(Lines { paths, interleave, skip_empty: false }),
        "npz" => return PipelineSpec::new(Archives { paths, interleave, fields: None }),
        _ => {}
    }
    // What cannot be listed is told when the pipeline is opened.
    let first = list(&paths, budget).ok().and_then(|list| list.files.into_iter().next());
    match first.map(|file| file.kind) {
        Some(FileKind::Array) => PipelineSpec::new(Arrays::new(paths)),
        Some(FileKind::Image) => PipelineSpec::new(Images { paths, interleave }),
        _ => PipelineSpec::new(Records { paths, interleave }),
    }
}

/// Whether a source describes a pipeline: the name of a .json file, or JSON itself.
pub fn is_description(source: &Path) -> bool {
    source.to_str().is_some_and(|text| text.trim_start().starts_with('{'))
        || source.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

fn read_description(path: &Path) -> Result<String, Error> {
    let bytes = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if bytes > MAX_DESCRIPTION_BYTES {
        return Err(Error::Usage(format!("{}: too large for the description of a pipeline", path.display())));
    }
    fs::read_to_string(path).map_err(|e| Error::io(path, e))
}

/// What running a pipeline took.
#[derive(Debug)]
pub struct Measured {
    /// Elements that came out of it.
    pub elements: u64,
    /// Time from the first asked for to the last.
    pub elapsed: Duration,
    /// What each stage did.
    pub report: Report,
}

/// Runs the pipeline to its end, or for `limit`, and throws away what comes out of it.
///
/// # Errors
/// What is wrong with an element; [`Error::Interrupted`] when it was stopped.
pub fn measure(
    spec: &PipelineSpec,
    threads: usize,
    limit: Duration,
    budget: &MemoryBudget,
    stop: &AtomicBool,
) -> Result<Measured, Error> {
    let mut pipeline = Pipeline::open(spec, budget, threads)?;
    let start = Instant::now();
    let mut elements = 0u64;
    while pipeline.advance()? {
        elements += 1;
        // A look at the clock costs as much as a small record.
        if elements.is_multiple_of(16) && (start.elapsed() >= limit || stop.load(Ordering::Relaxed)) {
            break;
        }
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(Measured { elements, elapsed: start.elapsed(), report: pipeline.report() })
}
