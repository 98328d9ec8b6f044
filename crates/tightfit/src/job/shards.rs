//! A job whose output goes to numbered shards, so that it goes on where it was when it is killed.
//!
//! `scores.jsonl` becomes `scores-00000.jsonl`, `scores-00001.jsonl` and so on, each whole or not there, and
//! `scores.jsonl.resume` beside them says how far the job is. A shard ends with a batch, so a job that is gone on with
//! has the same batches and the same shards, byte for byte, as one that was never broken off. Where rows come from a
//! pipeline its state after each shard is saved in `scores.jsonl.resume-00000` and so on, of which the last stays until
//! all is done: nothing is made again, and of a pipeline that keeps no order each row is in one shard.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tightfit_core::{MemoryBudget, StopFlag};
use tightfit_data::SavedStates;
use tightfit_format::whole;

use super::identity::Identity;
use super::journal::{Begun, Journal};
use super::names::ShardNames;
use super::{BatchSize, Job, JobOptions, JobReport, open_dataset};
use crate::error::Error;
use crate::memory::process;
use crate::model::Model;
use crate::progress::{Done, Progress};
use crate::records::check_begins_names;
use crate::sink::{self, OutputRows, Sink, SinkFormat, SinkOptions, file::Output};

/// Rows of a shard where nothing else is said: what a kill loses is seconds to minutes of work, and waiting for the disk
/// at the end of each is not felt.
pub const DEFAULT_SHARD_ROWS: u64 = 8192;

/// Where the shards go.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// The name of the shards without their number.
    pub output: PathBuf,
    /// Rows of a shard, which become whole batches; left out, [`DEFAULT_SHARD_ROWS`].
    pub rows: Option<u64>,
    /// What is wanted of the output besides its place.
    pub sink: SinkOptions,
}

/// A job that goes on where an earlier process has left it.
pub struct ShardedJob<'m> {
    /// `None` when all is done.
    job: Option<Job<'m>>,
    shards: Shards,
    has_labels: bool,
}

impl<'m> ShardedJob<'m> {
    /// Looks at the data and at what is done, and lays out the model, unless all is done. No other process can open the
    /// same job until this one ends.
    ///
    /// # Errors
    /// [`Error::Data`] when another process is at the job, or an earlier one was another job, which is to say that the
    /// model, the data or an option has changed; and as [`Job::new`].
    pub fn open(
        model: &'m Model,
        mut options: JobOptions,
        shards: ShardOptions,
        budget: &MemoryBudget,
    ) -> Result<ShardedJob<'m>, Error> {
        let ShardOptions { output, rows, sink } = shards;
        let has_labels = options.data.label.is_some();
        check_begins_names(&output)?;
        let format = sink.format(&output)?;
        check_is_no_data(&output, &options.data.sources)?;
        let (dataset, columns) = open_dataset(model, &options, budget)?;
        let identity = Identity::new(model, &options, &sink, rows, &dataset)?;
        let names = ShardNames::new(output);
        let mut journal = Journal::open(&names, &identity)?;
        let is_ours = |name: &OsStr| {
            name.to_str().is_some_and(|n| names.number(n).is_some() || names.state_number(n).is_some())
        };
        whole::remove_leftovers(whole::folder_of(&names.output), &is_ours);
        let state = last_state(&names, &journal, dataset.pipeline_key().is_some())?;
        names.remove_states(&|number| Some(number) == state)?;
        if let Some(begun) = journal.begun() {
            options.batch = BatchSize::Fixed(begun.batch);
        }
        let job = match journal.is_done() {
            true => None,
            false => Some(Job::over(model, options, dataset, columns, budget)?),
        };
        let mut job = job;
        let mut saves_states = false;
        if let Some(job) = &mut job {
            let batch = job.batch() as u64;
            let shard_rows = rows.unwrap_or(DEFAULT_SHARD_ROWS).div_ceil(batch).saturating_mul(batch);
            journal.put_begun(Begun { batch: job.batch(), shard_rows }, &identity)?;
            let shard_rows = journal.begun().map_or(shard_rows, |begun| begun.shard_rows);
            saves_states = job.dataset.pipeline_key().is_some();
            job.states = saves_states.then(|| SavedStates {
                resume: state.map(|number| names.state(number)),
                every: (shard_rows / batch).max(1),
                prefix: names.state_prefix(),
                first: journal.shards(),
            });
        }
        let done = journal.done().clone();
        let shards = Shards { names, format, options: sink, journal, saves_states, open: None, done };
        Ok(ShardedJob { job, shards, has_labels })
    }

    /// Computes what is left, and reports on all rows. `progress` and `stop` are as in [`Job::run`]. What is whole when it
    /// is stopped stays, to be gone on with.
    ///
    /// # Errors
    /// As [`Job::run`].
    pub fn run(
        self,
        progress: &mut dyn FnMut(&Progress),
        stop: impl Into<StopFlag>,
    ) -> Result<JobReport, Error> {
        let done = self.shards.done.clone();
        match self.job {
            Some(job) => job.run_behind(done, Box::new(self.shards), progress, stop),
            None => Ok(JobReport {
                was_done: true,
                resumed_rows: done.rows,
                batch: self.shards.journal.begun().map_or(0, |begun| begun.batch),
                ..JobReport::of(done, self.has_labels)
            }),
        }
    }
}

/// That shards at `output` will not be found in a folder of data when the job is gone on with.
fn check_is_no_data(output: &Path, sources: &[PathBuf]) -> Result<(), Error> {
    let Ok(folder) = fs::canonicalize(whole::folder_of(output)) else { return Ok(()) };
    let is_above =
        |source: &&PathBuf| fs::canonicalize(source).is_ok_and(|source| folder.starts_with(source));
    match sources.iter().filter(|source| source.is_dir()).find(is_above) {
        Some(source) if tightfit_data::is_data_name(output) => Err(Error::Usage(format!(
            "{}: its shards would become part of the data in {}; choose an output outside of it",
            output.display(),
            source.display()
        ))),
        _ => Ok(()),
    }
}

/// A sink that writes one shard after the other.
struct Shards {
    names: ShardNames,
    format: SinkFormat,
    options: SinkOptions,
    journal: Journal,
    /// Whether the state of a pipeline is saved after each shard.
    saves_states: bool,
    /// The shard that is being written, and where it goes.
    open: Option<(PathBuf, Box<dyn Sink>)>,
    /// How far the job is.
    done: Done,
}

impl Shards {
    /// Gives the shard its name, and then writes down that it is finished: a process that is killed between the two
    /// makes it again. After the last no state is saved.
    fn close(&mut self, is_last: bool) -> Result<(), Error> {
        let Some((path, sink)) = self.open.take() else { return Ok(()) };
        // The end of a shard and the rows before and behind it have little code in common.
        process::end_phase();
        sink.finish()?;
        let number = self.journal.shards();
        self.journal.put_shard(&path, &self.done, self.saves_states && !is_last, is_last)?;
        process::end_phase();
        match number.checked_sub(1).filter(|_| self.saves_states) {
            Some(before) => self.names.remove_state(before),
            None => Ok(()),
        }
    }
}

impl Sink for Shards {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let (_, sink) = match &mut self.open {
            Some(open) => open,
            closed => {
                let path = self.names.path(self.journal.shards());
                let sink = sink::over(Output::create_one(&path)?, self.format, self.options.clone());
                closed.insert((path, sink))
            }
        };
        sink.write(rows)
    }

    fn checkpoint(&mut self, done: &Done) -> Result<(), Error> {
        self.done = done.clone();
        let rows = done.rows - self.journal.done().rows;
        match self.journal.begun() {
            Some(begun) if rows >= begun.shard_rows => self.close(false),
            _ => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.close(true)?;
        self.journal.put_done(&self.done)?;
        self.names.remove_states(&|_| false)
    }
}

/// The number of the state that a job over a pipeline goes on from.
///
/// # Errors
/// [`Error::Data`] when it is not there.
fn last_state(names: &ShardNames, journal: &Journal, is_pipeline: bool) -> Result<Option<u64>, Error> {
    let last = journal.shards().checked_sub(1).filter(|_| is_pipeline && !journal.is_done());
    let Some(number) = last else { return Ok(None) };
    let path = names.state(number);
    match fs::metadata(&path) {
        Ok(found) if found.is_file() && journal.has_state() => Ok(Some(number)),
        _ => {
            let (journal, pattern) = (names.journal(), names.pattern());
            let why = format!(
                "is missing, and the job continues from it; put it back, or delete {} and {pattern} to \
                 start anew",
                journal.display()
            );
            Err(Error::data(path, why))
        }
    }
}
