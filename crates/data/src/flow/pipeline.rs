//! A pipeline that runs: the last of its stages, with the figures of all.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::MemoryBudget;

use super::element::{Element, ElementView, Schema};
use super::report::Report;
use super::spec::PipelineSpec;
use super::stage::{Context, Node, Taker};
use super::state::{StateReader, StateWriter};
use crate::error::DataError;

/// A pipeline that runs.
pub struct Pipeline {
    node: Node,
    context: Context,
    epoch: u64,
    taker: Taker,
}

impl Pipeline {
    /// Opens all stages of `spec`. Memory comes out of `budget`, and no more than `threads` threads work at once beside
    /// that of whoever takes the elements. Nothing is read before the first element is asked for, but heads of files.
    ///
    /// # Errors
    /// [`DataError`] when a file is missing or of another kind, a stage cannot be done to what comes, or the budget is
    /// too small.
    pub fn open(spec: &PipelineSpec, budget: &MemoryBudget, threads: usize) -> Result<Pipeline, DataError> {
        let mut context = Context::new(budget, threads);
        let node = spec.open(&mut context)?;
        Ok(Pipeline { node, context, epoch: 0, taker: Taker::default() })
    }

    /// The type of its elements.
    pub fn schema(&self) -> &Arc<Schema> {
        self.node.schema()
    }

    /// Elements in all, where that is known beforehand.
    pub fn rows(&self) -> Option<u64> {
        self.node.rows()
    }

    /// Goes on to the next element; false when there is none.
    ///
    /// # Errors
    /// [`DataError`] with file and record. The next call goes on behind it, as far as that is possible.
    pub fn advance(&mut self) -> Result<bool, DataError> {
        self.taker.comes();
        let more = self.node.advance();
        self.taker.goes();
        more
    }

    /// The element that the last [`Pipeline::advance`] went to.
    pub fn current(&self) -> ElementView<'_> {
        self.node.current()
    }

    /// Moves the current element to `out`.
    ///
    /// # Errors
    /// [`DataError::Budget`] when it has to be copied and there is no memory for that.
    pub fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        self.node.take(out)
    }

    /// Starts again, for pass number `epoch`.
    ///
    /// # Errors
    /// [`DataError`] when the data cannot be opened again.
    pub fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.epoch = epoch;
        self.node.reset(epoch)
    }

    /// What each stage did so far.
    pub fn report(&self) -> Report {
        Report::new(self.context.meters(), self.taker.time())
    }

    /// What the pipeline was opened with.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What tells this pipeline over these files from others.
    pub(crate) fn identity(&self) -> Value {
        self.context.identity()
    }

    /// Writes to `path` what is needed to go on behind the current element, whole or not at all; see
    /// [`WholeFile`](tightfit_format::whole::WholeFile).
    ///
    /// # Errors
    /// [`DataError`] when it cannot be written.
    pub fn save_state(&mut self, path: &Path) -> Result<(), DataError> {
        let mut state = StateWriter::create(path, &self.identity(), &self.context.budget)?;
        state.numbers(&[self.epoch])?;
        self.node.save(&mut state)?;
        state.finish()
    }

    /// Goes where [`Pipeline::save_state`] was called: the next element is the one that would have come next. For a
    /// pipeline that was just opened.
    ///
    /// # Errors
    /// [`DataError`] when the state cannot be read, or is of another pipeline, or of files that have changed.
    pub fn resume(&mut self, path: &Path) -> Result<(), DataError> {
        let mut state = StateReader::open(path, &self.identity(), &self.context.budget)?;
        let [epoch] = state.numbers()?;
        if epoch != self.epoch {
            self.reset(epoch)?;
        }
        self.node.restore(&mut state)?;
        state.finish()
    }
}
