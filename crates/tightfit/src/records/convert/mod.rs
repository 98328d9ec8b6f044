//! Other files become records of tf.train.Example, and records other files.
//!
//! | from | to |
//! |---|---|
//! | .csv | one feature a column: integers, floats or text, by what all its cells are; an empty cell is no feature |
//! | .npy, .npz | one feature an array, one record a row; .npy is named after the file |
//! | images | `image/encoded`, `format`, `height`, `width`, `filename`, and of folders `class/text` and `class/label` |
//! | TFRecord | copied byte for byte, compressed as the output's name says |
//! | .parquet, .arrow | one feature a column; a null is a feature without values |
//! | Examples | .csv, .npy, .npz, .parquet, .arrow, or a folder of images |
//!
//! Floats of arrays are float32, or rounded to float16 if that is asked for.
//!
//! Parquet and Arrow need the cargo feature `arrow`.

mod from_arrays;
#[cfg(feature = "arrow")]
mod from_columns;
mod from_csv;
mod from_images;
mod to_arrays;
#[cfg(feature = "arrow")]
mod to_columns;
mod to_csv;
mod to_images;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tightfit_core::{DType, MemoryBudget};
#[cfg(not(feature = "arrow"))]
use tightfit_data::why_no_columns;
use tightfit_data::{FileKind, FileList};
use tightfit_format::example::{Example, ExampleError, Feature};
use tightfit_format::message::MessageKind;
use tightfit_format::whole::is_system;

use super::files::{RecordFile, is_same, list_files, record_error};
use super::output::RecordOutput;
use super::schema::{FeatureSummary, Schema};
use super::shard::each_record;
use crate::error::Error;

/// What to convert.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Files, folders and globs, all of one kind.
    pub sources: Vec<PathBuf>,
    /// What they become, by its name: `.csv`, `.npy`, `.npz`, `.tfrecord`, `.tfrecord.gz`, `.parquet`, `.arrow`,
    /// or with a slash at the end a folder of images.
    pub output: PathBuf,
    /// What floats become in arrays: float32 as they are, float16 or float64.
    pub floats: DType,
}

impl ConvertOptions {
    /// `sources` become `output`, floats as they are.
    pub fn new(sources: Vec<PathBuf>, output: PathBuf) -> ConvertOptions {
        ConvertOptions { sources, output, floats: DType::F32 }
    }

    /// How many times the sources are read: what columns or arrays hold is found out before they are written.
    pub fn passes(&self) -> u64 {
        let is_csv = self.sources.iter().any(|source| extension(source) == "csv");
        match kind_of_output(&self.output) {
            Ok(To::Csv | To::Npy | To::Npz) => 2,
            Ok(To::Records) if is_csv => 2,
            _ => 1,
        }
    }
}

/// What sources are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Csv,
    Array,
    Npz,
    Images,
    Columns,
    Records,
}

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Csv,
    Npy,
    Npz,
    Images,
    Parquet,
    Arrow,
    Records,
}

/// What every conversion is given.
struct Job<'a> {
    list: &'a FileList,
    output: &'a Path,
    floats: DType,
    budget: &'a MemoryBudget,
    stop: &'a AtomicBool,
}

/// Converts; the records or rows written. The output appears when it is whole.
///
/// # Errors
/// [`Error`] for files that cannot be read or turned into the other kind, with the place, when the budget is too small,
/// or `stop` was set. No output appears then.
pub fn convert(options: &ConvertOptions, budget: &MemoryBudget, stop: &AtomicBool) -> Result<u64, Error> {
    let output = options.output.as_path();
    let to = kind_of_output(output)?;
    let list = list_files(&options.sources, false, budget)?;
    let from = kind_of_sources(&list)?;
    if list.files.iter().any(|f| is_same(&f.path, output)) {
        return Err(Error::Usage(format!("{} would be read and written", output.display())));
    }
    let floats = options.floats;
    if floats != DType::F32 && !matches!((from, to), (From::Records, To::Npy | To::Npz)) {
        return Err(Error::option(
            "dtype",
            floats.to_string(),
            "only .npy and .npz made from records can have it",
        ));
    }
    if !matches!(floats, DType::F16 | DType::F32 | DType::F64) {
        return Err(Error::option("dtype", floats.to_string(), "floats become float16, float32 or float64"));
    }
    let job = Job { list: &list, output, floats, budget, stop };
    match (from, to) {
        (From::Csv, To::Records) => from_csv::convert(&job),
        (From::Array, To::Records) => from_arrays::convert_npy(&job),
        (From::Npz, To::Records) => from_arrays::convert_npz(&job),
        (From::Images, To::Records) => from_images::convert(&job, &options.sources),
        (From::Records, To::Records) => copy(&job),
        (From::Records, To::Csv) => to_csv::convert(&job),
        (From::Records, To::Npy) => to_arrays::convert_npy(&job),
        (From::Records, To::Npz) => to_arrays::convert_npz(&job),
        (From::Records, To::Images) => to_images::convert(&job),
        #[cfg(feature = "arrow")]
        (From::Columns, To::Records) => from_columns::convert(&job),
        #[cfg(feature = "arrow")]
        (From::Records, To::Parquet) => to_columns::convert(&job, to_columns::Kind::Parquet),
        #[cfg(feature = "arrow")]
        (From::Records, To::Arrow) => to_columns::convert(&job, to_columns::Kind::Arrow),
        #[cfg(not(feature = "arrow"))]
        (From::Columns, _) => Err(Error::Usage(why_no_columns(list.path(0)))),
        #[cfg(not(feature = "arrow"))]
        (_, To::Parquet | To::Arrow) => Err(Error::Usage(why_no_columns(output))),
        _ => Err(Error::Usage("one side of a conversion has to be TFRecord".to_string())),
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn kind_of_output(path: &Path) -> Result<To, Error> {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    Ok(match extension(path).as_str() {
        _ if path.as_os_str().as_encoded_bytes().ends_with(b"/") => To::Images,
        "csv" => To::Csv,
        "npy" => To::Npy,
        "npz" => To::Npz,
        "parquet" => To::Parquet,
        "arrow" => To::Arrow,
        "gz" | "gzip" | "zlib" | "zz" => To::Records,
        _ if name.contains("tfrecord") || is_system(path) => To::Records,
        _ => {
            let why = "what it is to be is told by .tfrecord, .tfrecord.gz, .csv, .npy, .npz, .parquet, .arrow, or a / at the \
                 end";
            return Err(Error::Usage(format!("{}: {why}", path.display())));
        }
    })
}

/// Whether a file of this name is to hold records.
pub(crate) fn is_record_name(path: &Path) -> bool {
    matches!(kind_of_output(path), Ok(To::Records))
}

fn kind_of_sources(list: &FileList) -> Result<From, Error> {
    let mut kinds = list.files.iter().map(|file| match (file.kind, extension(&file.path).as_str()) {
        (FileKind::Image, _) => From::Images,
        (FileKind::Array, _) => From::Array,
        (FileKind::Columns, _) | (_, "parquet" | "arrow" | "arrows" | "feather") => From::Columns,
        (_, "csv") => From::Csv,
        (_, "npz") => From::Npz,
        _ => From::Records,
    });
    let first = kinds.next().ok_or_else(|| Error::Usage("nothing to convert".to_string()))?;
    if kinds.any(|kind| kind != first) {
        return Err(Error::Usage("the files to convert are of several kinds".to_string()));
    }
    if matches!(first, From::Array | From::Npz) && list.files.len() > 1 {
        let why = "one .npy or .npz is converted at a time; arrays that belong together go into one .npz";
        return Err(Error::Usage(why.to_string()));
    }
    Ok(first)
}

fn copy(job: &Job<'_>) -> Result<u64, Error> {
    let mut output = RecordOutput::create(job.output, job.budget)?;
    each_record(job.list, job.budget, job.stop, &mut |_, record| output.write(record))?;
    finish(output)
}

/// Gives a file of records its name.
fn finish(output: RecordOutput) -> Result<u64, Error> {
    let records = output.records();
    output.finish()?.commit()?;
    Ok(records)
}

impl Job<'_> {
    fn check_stop(&self) -> Result<(), Error> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }

    /// The features of all records, which have to be Examples, and what covers their memory.
    fn schema(&self) -> Result<(Vec<FeatureSummary>, tightfit_core::Reservation), Error> {
        let mut schema = Schema::new(self.budget)?;
        self.each_record(&mut |place, record| {
            schema.add(record).map_err(|error| place.error(error.to_string()))?;
            match MessageKind::of(record) {
                MessageKind::Example => Ok(()),
                kind => Err(place.error(format!("expected a tf.train.Example, found {kind}"))),
            }
        })?;
        Ok(schema.finish())
    }

    /// Calls `each` with the place and the data of every record.
    fn each_record(&self, each: &mut EachPlaced<'_>) -> Result<(), Error> {
        for entry in &self.list.files {
            let mut file = RecordFile::open(&entry.path, self.budget)?;
            while file.advance()?.map_err(record_error)? {
                self.check_stop()?;
                let record = file.current();
                let place = RecordPlace { path: &entry.path, record: record.index, offset: record.offset };
                each(&place, record.data)?;
            }
        }
        Ok(())
    }
}

/// Memory of a feature in [`picked`].
const PICKED_BYTES: u64 = size_of::<Option<Feature<'_>>>() as u64;

/// The features of `record` that `features`, which is in the order of names, lists, in that order. One walk over the
/// record finds them all, however many there are.
fn picked<'a>(
    features: &[FeatureSummary],
    record: &'a [u8],
) -> Result<Vec<Option<Feature<'a>>>, ExampleError> {
    let mut picked = vec![None; features.len()];
    for entry in Example::new(record).features() {
        let (name, feature) = entry?;
        let place = features.binary_search_by(|summary| summary.name.as_bytes().cmp(name));
        if let Some(to) = place.ok().and_then(|index| picked.get_mut(index)) {
            *to = Some(feature);
        }
    }
    Ok(picked)
}

/// What is called with the place and the data of a record.
type EachPlaced<'f> = dyn FnMut(&RecordPlace<'_>, &[u8]) -> Result<(), Error> + 'f;

/// Where a record is, for errors.
struct RecordPlace<'a> {
    path: &'a Path,
    record: u64,
    offset: u64,
}

impl RecordPlace<'_> {
    fn error(&self, why: impl std::fmt::Display) -> Error {
        Error::data(self.path, format!("record {} at byte {}: {why}", self.record, self.offset))
    }
}
