//! Records of any number of files in random order, in one file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tightfit_core::{BudgetError, MemoryBudget};
use tightfit_data::shuffle::{Mixing, Order, RecordIndex, ShuffleReader};
use tightfit_data::{BadRow, DataError, RowFault, shuffle as data};

use super::files::{is_same, list_files};
use super::output::RecordOutput;
use crate::error::Error;
use crate::memory::usage::Usage;
use crate::progress::Progress;

/// Records between two looks at whether to stop and how far it is.
const STEP_RECORDS: u64 = 1 << 10;

/// What to shuffle.
#[derive(Debug, Clone)]
pub struct ShuffleOptions {
    /// Files, folders and globs, none of them compressed.
    pub sources: Vec<PathBuf>,
    /// The file that is written, compressed as its name says.
    pub output: PathBuf,
    /// What tells orders apart.
    pub seed: u64,
    /// Each epoch of a seed has an order of its own.
    pub epoch: u64,
    /// Bytes of records that stay together on the way into the window; `None` for a uniform order.
    pub block_bytes: Option<u64>,
    /// A folder for the indexes, which otherwise are beside the data.
    pub index_folder: Option<PathBuf>,
    /// Threads that read.
    pub threads: usize,
}

/// How far it is.
#[derive(Debug)]
pub enum ShuffleProgress {
    /// Records are being looked for.
    Indexing {
        /// Bytes passed over.
        bytes: u64,
        /// Bytes of all files.
        total_bytes: u64,
    },
    /// Records are being written.
    Writing(Progress),
}

/// What was done.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Shuffling {
    /// Records written.
    pub records: u64,
    /// Bytes of the files read.
    pub bytes: u64,
    /// How far the order mixes.
    pub mixing: Mixing,
    /// How many times the window was filled.
    pub windows: u64,
    /// Making the index, or reading one that was there.
    pub index_elapsed: Duration,
    /// Reading and writing.
    pub shuffle_elapsed: Duration,
}

/// Writes the records of `sources` in random order. The output appears when it is whole. A uniform order depends on
/// nothing but the seed, the epoch and the records; one of blocks on the memory too, which says how many are mixed.
///
/// # Errors
/// [`Error`] for a file that cannot be indexed, for a bad record, with its place, when the budget has no room for the
/// largest record, or `stop` was set. No output appears then.
pub fn shuffle(
    options: &ShuffleOptions,
    budget: &MemoryBudget,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&ShuffleProgress),
) -> Result<Shuffling, Error> {
    let begin = Instant::now();
    let list = list_files(&options.sources, true, budget)?;
    if list.files.iter().any(|file| is_same(&file.path, &options.output)) {
        return Err(Error::Usage(format!("{} would be read and written", options.output.display())));
    }
    let size = |file: &tightfit_data::DataFile| std::fs::metadata(&file.path).map_or(0, |m| m.len());
    let total_bytes = list.files.iter().map(size).sum();
    let index = RecordIndex::open(&list, options.index_folder.as_deref(), budget, &mut |bytes| {
        progress(&ShuffleProgress::Indexing { bytes, total_bytes });
        !stop.load(Ordering::Relaxed)
    })?;
    let (index, index_elapsed) = (Arc::new(index), begin.elapsed());
    let begin = Instant::now();
    let mut output = RecordOutput::create(&options.output, budget)?;
    let mut reader = open_reader(&index, options, budget)?;
    while reader.advance()? {
        let Some(record) = reader.current() else { break };
        output.write(record.data)?;
        if reader.position() % STEP_RECORDS == 0 || record.data.len() as u64 > STEP_RECORDS {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            progress(&ShuffleProgress::Writing(Progress {
                rows: reader.position(),
                resumed_rows: 0,
                total_rows: Some(index.records()),
                usage: Usage::of(budget),
                elapsed: begin.elapsed(),
            }));
        }
    }
    let records = output.records();
    output.finish()?.commit()?;
    Ok(Shuffling {
        records,
        bytes: index.bytes(),
        mixing: reader.mixing(),
        windows: reader.windows(),
        index_elapsed,
        shuffle_elapsed: begin.elapsed(),
    })
}

/// A reader whose window takes what is free, as far as it is of use.
fn open_reader(
    index: &Arc<RecordIndex>,
    options: &ShuffleOptions,
    budget: &MemoryBudget,
) -> Result<ShuffleReader, Error> {
    let fixed_bytes = ShuffleReader::fixed_bytes(index, options.threads) as u64;
    let free_bytes = budget.free_bytes();
    let window_bytes = free_bytes.saturating_sub(fixed_bytes).min(ShuffleReader::whole_bytes(index));
    let needed_bytes = ShuffleReader::least_window_bytes(index);
    if window_bytes < needed_bytes {
        let Some(place) = index.largest() else { return Err(no_room(fixed_bytes, budget)) };
        let path = index.files().get(place.file as usize).map(|f| f.path().to_path_buf());
        let path = path.ok_or(Error::Defect("a record is of no file"))?;
        let fault = RowFault::Window { needed_bytes, window_bytes };
        let (record, offset) = (Some(place.index), Some(place.offset));
        return Err(DataError::Row(Box::new(BadRow::new(path, record, offset, fault))).into());
    }
    let order = match options.block_bytes {
        None => Order::Uniform,
        Some(block_bytes) => Order::Blocks { block_bytes, mix_bytes: None },
    };
    let options = data::ShuffleOptions {
        order,
        epoch: options.epoch,
        threads: options.threads,
        ..data::ShuffleOptions::new(options.seed, usize::try_from(window_bytes).unwrap_or(usize::MAX))
    };
    Ok(ShuffleReader::new(index.clone(), options, budget)?)
}

fn no_room(asked_bytes: u64, budget: &MemoryBudget) -> Error {
    BudgetError {
        purpose: "shuffle window",
        asked_bytes,
        free_bytes: budget.free_bytes(),
        limit_bytes: budget.limit_bytes(),
        holders: budget.holders(),
    }
    .into()
}
