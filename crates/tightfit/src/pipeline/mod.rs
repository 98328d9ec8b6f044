//! Pipelines of [`tightfit_data::flow`] as the command line names them: described in JSON, in a file or on the spot, or
//! just data files.

mod head;
mod model;
mod store;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use tightfit_core::MemoryBudget;
use tightfit_data::flow::{Args, Pipeline, PipelineSpec, Report};
use tightfit_data::{Access, FileKind, has_packed_extension, list};

pub use head::{Head, head};
pub use store::{StoreOptions, Stored, store};

use crate::error::Error;
use crate::memory::counted::read_whole;
use crate::memory::process;

/// The largest description that is read.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

/// Reads a pipeline, whose models compute with `threads` and keep their structure in `budget`: JSON if it begins with a
/// brace or is the name of a .json file, and otherwise a file, a folder or a pattern of them, without stages, read by
/// the source for such files. All that is named, but the .json file itself, is opened as far as `access` allows.
///
/// # Errors
/// What is wrong with the description.
pub fn read_spec(
    text: &Path,
    access: &Access,
    threads: usize,
    budget: &MemoryBudget,
) -> Result<PipelineSpec, Error> {
    let json = match text.to_str() {
        Some(inline) if inline.trim_start().starts_with('{') => inline.to_string(),
        _ if text.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) => {
            read_description(text, budget)?
        }
        _ => return files(text, access, budget),
    };
    let read_model =
        |args: &mut Args<'_>| (args.name() == "model").then(|| model::read(args, threads, budget));
    // The tree of values that is made of it: the smallest ones are two bytes of text, in lists that double.
    let tree_bytes = (json.len() as u64).saturating_mul(3 * size_of::<serde_json::Value>() as u64 / 2);
    let _tree = budget.try_reserve("pipeline", tree_bytes)?;
    Ok(PipelineSpec::from_json(&json, access, &read_model)?)
}

/// The JSON schema (draft 2020-12) of what [`read_spec`] reads.
///
/// # Errors
/// [`Error::Usage`] when the example of a stage is none.
pub fn json_schema() -> Result<serde_json::Value, Error> {
    let model = |args: &mut Args<'_>| model::describe(args).map(drop);
    tightfit_data::flow::json_schema(&[(model::EXAMPLE, model::ABOUT, &model)]).map_err(Error::Usage)
}

/// Files that are told by the ends of their names alone, with the sources that read them.
const NAMED: [(&str, &[&str]); 3] =
    [("arrow", &["arrow", "arrows", "feather"]), ("npz", &["npz"]), ("parquet", &["parquet"])];

/// The same of text, which may be packed.
const NAMED_TEXT: [(&str, &[&str]); 3] =
    [("csv", &["csv", "tsv"]), ("jsonl", &["jsonl"]), ("text", &["txt"])];

/// The source that reads a file of this name, where the name tells.
fn named_source(path: &Path) -> Option<&'static str> {
    let has = |extensions: &[&str]| {
        path.extension().is_some_and(|found| extensions.iter().any(|e| found.eq_ignore_ascii_case(e)))
    };
    let find = |named: &[(&'static str, &[&str])], has: &dyn Fn(&[&str]) -> bool| {
        named.iter().find(|(_, extensions)| has(extensions)).map(|(source, _)| *source)
    };
    let of_text = |extensions: &[&str]| has_packed_extension(path, extensions);
    find(&NAMED, &has).or_else(|| find(&NAMED_TEXT, &of_text))
}

/// The pipeline that the data of a job comes from: one described, or files that one source reads; `None` where it comes from
/// other files.
///
/// # Errors
/// As [`read_spec`], and for a pipeline that is not all of the data.
pub(crate) fn read_sources(
    sources: &[PathBuf],
    access: &Access,
    threads: usize,
    budget: &MemoryBudget,
) -> Result<Option<PipelineSpec>, Error> {
    let Some(name) = sources.iter().find(|source| is_pipeline(source)) else { return Ok(None) };
    if let [name] = sources {
        return read_spec(name, access, threads, budget).map(Some);
    }
    let source = named_source(name).filter(|source| sources.iter().all(|s| named_source(s) == Some(source)));
    let source = source.ok_or_else(|| {
        Error::Usage(format!(
            "{} describes a pipeline, which is all of the data; concatenate in it what else there is",
            name.display()
        ))
    })?;
    Ok(Some(PipelineSpec::of_files(source, sources, access)?))
}

/// The pipeline of the rows of files that nothing else is said of.
fn files(path: &Path, access: &Access, budget: &MemoryBudget) -> Result<PipelineSpec, Error> {
    // What cannot be listed is told when the pipeline is opened.
    let first = || list(&[path.to_path_buf()], budget).ok()?.files.into_iter().next().map(|file| file.kind);
    let source = named_source(path).unwrap_or_else(|| match first() {
        Some(FileKind::Array) => "npy",
        Some(FileKind::Image) => "images",
        _ => "tfrecord",
    });
    Ok(PipelineSpec::of_files(source, &[path.to_path_buf()], access)?)
}

/// Whether the rows of a source come from a pipeline: it is described here or in a .json file, or is a table, an archive
/// or text.
pub fn is_pipeline(source: &Path) -> bool {
    source.to_str().is_some_and(|text| text.trim_start().starts_with('{'))
        || source.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
        || named_source(source).is_some()
}

fn read_description(path: &Path, budget: &MemoryBudget) -> Result<String, Error> {
    let bytes = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if bytes > MAX_DESCRIPTION_BYTES {
        return Err(Error::Usage(format!("{}: too large for the description of a pipeline", path.display())));
    }
    let (text, _reading) = read_whole(path, "pipeline", budget)?;
    String::from_utf8(text)
        .map_err(|error| Error::io(path, io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// What running a pipeline took.
#[derive(Debug)]
#[non_exhaustive]
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
    let mut tended = process::Tended::default();
    while pipeline.advance()? {
        elements += 1;
        tended.step(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_and_the_schema_have_the_stage_of_models() {
        let row = format!("| `model` | `{}` | {} |", model::EXAMPLE, model::ABOUT);
        assert!(include_str!("../../../../docs/pipelines.md").lines().any(|line| line == row), "{row}");
        let schema = json_schema().unwrap();
        let stages = schema.pointer("/$defs/stage/anyOf").and_then(serde_json::Value::as_array).unwrap();
        let model = stages.iter().find(|stage| stage.pointer("/properties/model").is_some()).unwrap();
        for option in ["feed", "fetch", "keep", "memory"] {
            assert!(model.pointer(&format!("/properties/{option}")).is_some(), "{option}");
        }
    }
}
