//! A pipeline as the source of a data set: each of its elements is a row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::MemoryBudget;

use super::stream::BadRead;
use crate::error::{BadRow, DataError, RowFault};
use crate::flow::identity::canonical;
use crate::flow::{ElementView, Pipeline, PipelineSpec, Schema};

/// A pipeline whose elements are the rows of a data set.
#[derive(Debug, Clone)]
pub struct PipelineRows {
    /// What it is called in messages.
    pub name: PathBuf,
    /// The pipeline.
    pub spec: PipelineSpec,
    /// The most memory that its stages take together, in bytes.
    pub memory_bytes: u64,
    /// The most threads that work in it at once.
    pub threads: usize,
}

impl PipelineRows {
    /// Opens it in memory of its own, which somebody has reserved.
    pub(crate) fn open(&self) -> Result<Pipeline, DataError> {
        Pipeline::open(&self.spec, &MemoryBudget::new(self.memory_bytes), self.threads)
    }

    /// Opens it for a moment: the type of its rows, how many there are if that is known, and what tells it from other
    /// pipelines and other files.
    pub(crate) fn look(&self, budget: &MemoryBudget) -> Result<PipelineFacts, DataError> {
        let _reserved = budget.try_reserve("the data pipeline", self.memory_bytes)?;
        let pipeline = self.open()?;
        let (schema, rows) = (pipeline.schema().clone(), pipeline.rows());
        Ok(PipelineFacts { schema, rows, key: canonical(&pipeline.identity()) })
    }
}

/// Where the states of a pipeline go that a job can be gone on from, and the one that it goes on from.
#[derive(Debug, Clone)]
pub struct SavedStates {
    /// The state that [`Dataset::start_saving`](crate::Dataset::start_saving) goes on from; `None` for the beginning.
    pub resume: Option<PathBuf>,
    /// Batches after which a state is saved, and again after as many more; at least 1.
    pub every: u64,
    /// States are called this with their number after it, from `first` on.
    pub prefix: PathBuf,
    /// The number of the first.
    pub first: u64,
}

impl SavedStates {
    /// The path of state `number`.
    pub fn path(&self, number: u64) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!("{number:05}"));
        PathBuf::from(path)
    }
}

/// What is known of a pipeline before it is read.
#[derive(Debug, Clone)]
pub(crate) struct PipelineFacts {
    pub schema: Arc<Schema>,
    pub rows: Option<u64>,
    pub key: String,
}

/// The rows of an open pipeline.
pub(crate) struct ElementRows {
    pipeline: Pipeline,
    name: PathBuf,
    /// Rows that were given, bad ones included: the number of the next.
    next: u64,
}

impl ElementRows {
    /// The rows of `pipeline` after the first `skip`: by the state that was saved there, if there is one.
    pub fn open(rows: &PipelineRows, skip: u64, state: Option<&Path>) -> Result<ElementRows, BadRead> {
        let fail = |error| bad(&rows.name, skip, error);
        let mut open = ElementRows { pipeline: rows.open().map_err(fail)?, name: rows.name.clone(), next: 0 };
        if let Some(state) = state {
            open.pipeline.resume(state).map_err(fail)?;
            open.next = skip;
        }
        // Bad rows count as well as good ones; what went before is not told again.
        while open.next < skip {
            match open.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(bad) if bad.can_skip => {}
                Err(bad) => return Err(bad),
            }
        }
        Ok(open)
    }

    /// Saves what is needed to go on after the current row.
    pub fn save(&mut self, path: &Path) -> Result<(), DataError> {
        self.pipeline.save_state(path)
    }

    pub fn advance(&mut self) -> Result<bool, BadRead> {
        let number = self.next;
        let more = self.pipeline.advance();
        self.next += u64::from(!matches!(more, Ok(false)));
        more.map_err(|error| bad(&self.name, number, error))
    }

    /// The number of the next row.
    pub fn next_row(&self) -> u64 {
        self.next
    }

    pub fn current(&self) -> ElementView<'_> {
        self.pipeline.current()
    }
}

fn bad(name: &Path, number: u64, error: DataError) -> BadRead {
    let can_skip = matches!(error, DataError::Row(_));
    let own = |fault| BadRow { path: name.to_path_buf(), record: Some(number), offset: None, fault };
    let bad = match error {
        // It names the file that the element came from.
        DataError::Row(row) => row,
        DataError::Budget(error) => Box::new(own(RowFault::Memory(error))),
        error => Box::new(own(RowFault::Map(error.to_string()))),
    };
    BadRead { bad, can_skip, grows_to: None }
}
