//! A pipeline that runs: the last of its stages, with the figures of all.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::{MemoryBudget, Reservation};

use super::clock::Taker;
use super::element::{Element, ElementView, Schema};
use super::report::Report;
use super::spec::PipelineSpec;
use super::stage::{Context, Node};
use super::state::{StateReader, StateWriter};
use crate::error::DataError;

/// A pipeline that runs.
///
/// It begins with threads, which work ahead in whatever memory there is. Where that leaves too little for the next
/// element, it goes on without them: all stages are opened again, synchronous and frugal, and come to the same element
/// over the same way, from the start of the epoch. So whether an element fits is what a run without threads says, and
/// depends on sizes alone. Some time later, and in the next epoch, it tries threads again. With threads it holds a little of the budget in reserve ([`RESERVE_BYTES`]), which covers what
/// growing a buffer takes for a moment, so that what fits with them fits without.
pub struct Pipeline {
    node: Node,
    context: Context,
    spec: PipelineSpec,
    epoch: u64,
    /// Elements and errors given in this epoch, and how many there are when threads are tried again.
    given: u64,
    retry_at: u64,
    threads: usize,
    taker: Taker,
    /// Held as long as there are threads.
    reserve: Option<Reservation>,
    budget: MemoryBudget,
}

/// What is held in reserve, at most: with a small budget, a part of it.
const RESERVE_BYTES: u64 = 128 << 10;
const RESERVE_PART: u64 = 32;

/// Threads are tried again when so many times the elements were given that there were when memory was too short for them,
/// and not before so many. Each try comes to the present element from the start of the epoch: with eight times as many
/// from one to the next, all tries together take no more than a part of the work.
const RETRY_FACTOR: u64 = 8;
const RETRY_LEAST: u64 = 256;

impl Pipeline {
    /// Opens all stages of `spec`. Memory comes out of `budget`, and no more than `threads` threads work at once beside
    /// that of whoever takes the elements. Nothing is read before the first element is asked for, but heads of files.
    ///
    /// # Errors
    /// [`DataError`] when a file is missing or of another kind, a stage cannot be done to what comes, or the budget is
    /// too small.
    pub fn open(spec: &PipelineSpec, budget: &MemoryBudget, threads: usize) -> Result<Pipeline, DataError> {
        let (node, context, reserve) = match open_ahead(spec, budget, threads) {
            Err(error) if error.is_budget() => {
                let (node, context) = open_synchronous(spec, budget)?;
                (node, context, None)
            }
            opened => opened.map(|(node, context, reserve)| (node, context, Some(reserve)))?,
        };
        let taker = Taker::new(context.meters_of_thread(&node));
        let (spec, budget) = (spec.clone(), budget.clone());
        // Where not even the first element was tried, memory will be too short later, too.
        let retry_at = u64::MAX;
        Ok(Pipeline { node, context, spec, epoch: 0, given: 0, retry_at, threads, taker, reserve, budget })
    }

    /// Whether threads work ahead; for a while not where memory was too short for that.
    pub fn works_ahead(&self) -> bool {
        !self.context.is_synchronous
    }

    /// Goes on without threads, after the first `given` elements of the epoch.
    fn go_on_synchronously(&mut self, given: u64) -> Result<(), DataError> {
        self.close();
        (self.node, self.context) = open_synchronous(&self.spec, &self.budget)?;
        self.retry_at = given.saturating_mul(RETRY_FACTOR).max(RETRY_LEAST);
        self.come_to(given)
    }

    /// Goes on with threads, after the first `given` elements of the epoch, if there is the memory for it by now.
    fn go_on_ahead(&mut self, given: u64) -> Result<(), DataError> {
        self.close();
        let opened =
            open_ahead(&self.spec, &self.budget, self.threads).and_then(|(node, context, reserve)| {
                (self.node, self.context, self.reserve) = (node, context, Some(reserve));
                self.come_to(given)
            });
        match opened {
            Err(error) if error.is_budget() => self.go_on_synchronously(given),
            opened => opened,
        }
    }

    /// Gives all memory back.
    fn close(&mut self) {
        self.node = Node::nothing(self.node.schema().clone());
        self.context.forget_columns();
        self.reserve = None;
    }

    /// Goes after the first `given` elements of the epoch, with stages that were just opened.
    fn come_to(&mut self, given: u64) -> Result<(), DataError> {
        self.taker.goes_on_with(self.context.meters_of_thread(&self.node));
        if self.epoch != 0 {
            self.node.reset(self.epoch)?;
        }
        for _ in 0..given {
            match self.node.advance() {
                Ok(true) => {}
                Ok(false) => break,
                // It was told when it was its turn.
                Err(error) if !error.is_budget() => {}
                Err(error) => {
                    // Nothing can come after what was given already.
                    self.node = Node::nothing(self.node.schema().clone());
                    return Err(error);
                }
            }
        }
        Ok(())
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
    /// [`DataError`] with file and record. The next call goes on after it, as far as that is possible.
    pub fn advance(&mut self) -> Result<bool, DataError> {
        if !self.works_ahead() && self.given >= self.retry_at {
            self.go_on_ahead(self.given)?;
        }
        let Pipeline { node, taker, .. } = self;
        let mut more = taker.takes(|| node.advance());
        if self.works_ahead() && more.as_ref().is_err_and(DataError::is_budget) {
            more = self.go_on_synchronously(self.given).and_then(|()| self.node.advance());
        }
        self.given += u64::from(!matches!(more, Ok(false)));
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
        let taken = self.node.take(out);
        if self.works_ahead() && taken.as_ref().is_err_and(DataError::is_budget) {
            self.go_on_synchronously(self.given)?;
            return self.node.take(out);
        }
        taken
    }

    /// Starts again, for pass number `epoch`.
    ///
    /// # Errors
    /// [`DataError`] when the data cannot be opened again.
    pub fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        (self.epoch, self.given) = (epoch, 0);
        if !self.works_ahead() && self.retry_at != u64::MAX {
            return self.go_on_ahead(0);
        }
        let reset = self.node.reset(epoch);
        if self.works_ahead() && reset.as_ref().is_err_and(DataError::is_budget) {
            return self.go_on_synchronously(0);
        }
        reset
    }

    /// What each stage did so far.
    pub fn report(&self) -> Report {
        Report::new(self.context.meters(), self.taker.away(), self.taker.total())
    }

    /// What the pipeline was opened with.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What tells this pipeline over these files from others.
    pub(crate) fn identity(&self) -> Value {
        self.context.identity()
    }

    /// Writes to `path` what is needed to go on after the current element, whole or not at all; see
    /// [`WholeFile`](tightfit_format::whole::WholeFile).
    ///
    /// # Errors
    /// [`DataError`] when it cannot be written.
    pub fn save_state(&mut self, path: &Path) -> Result<(), DataError> {
        let mut state = StateWriter::create(path, &self.identity(), &self.context.budget)?;
        state.numbers(&[self.epoch, self.given])?;
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
        let [epoch, given] = state.numbers()?;
        if epoch != self.epoch {
            self.reset(epoch)?;
        }
        let restored = self.node.restore(&mut state);
        self.given = given;
        if restored.as_ref().is_err_and(DataError::is_budget) {
            // What waited in the state does not fit beside what is made anew; so it is made anew as well.
            drop(state);
            return self.go_on_synchronously(given);
        }
        restored?;
        state.finish()
    }
}

/// All stages of `spec`, with threads that work ahead, and what is held in reserve beside them.
fn open_ahead(
    spec: &PipelineSpec,
    budget: &MemoryBudget,
    threads: usize,
) -> Result<(Node, Context, Reservation), DataError> {
    let reserve_bytes = RESERVE_BYTES.min(budget.limit_bytes() / RESERVE_PART);
    let reserve = budget.try_reserve("pipeline", reserve_bytes)?;
    let mut context = Context::new(budget, threads);
    let node = spec.open(&mut context)?;
    Ok((node, context, reserve))
}

/// All stages of `spec`, so that they take no more memory of `budget` than the present element needs.
fn open_synchronous(spec: &PipelineSpec, budget: &MemoryBudget) -> Result<(Node, Context), DataError> {
    let mut context = Context::synchronous(budget);
    let node = spec.open(&mut context)?;
    Ok((node, context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FunctionOp, Map, Prefetch, Range};

    /// The next number, or that there is none.
    fn next(pipeline: &mut Pipeline) -> Option<i64> {
        let is_there = pipeline.advance().unwrap();
        is_there.then(|| pipeline.current().tensor(0).unwrap().as_slice::<i64>().unwrap()[0])
    }

    #[test]
    fn threads_come_back_once_memory_was_too_short_for_them() {
        let spec = PipelineSpec::new(Range { start: 0, stop: 4000, step: 1 })
            .then(Map::new(FunctionOp::filter("all", |_| true)))
            .then(Prefetch::default());
        let budget = MemoryBudget::new(8 << 20);
        let mut pipeline = Pipeline::open(&spec, &budget, 2).unwrap();
        for epoch in 0..2 {
            assert!(pipeline.works_ahead());
            for number in 0..4000 {
                if number == 40 {
                    pipeline.go_on_synchronously(40).unwrap();
                }
                // Tried again at eight times as many; in the second epoch, when it begins.
                assert_eq!(pipeline.works_ahead(), !(40..=320).contains(&number), "{epoch}: {number}");
                assert_eq!(next(&mut pipeline), Some(number), "{epoch}");
            }
            assert_eq!(next(&mut pipeline), None);
            pipeline.go_on_synchronously(4000).unwrap();
            pipeline.reset(epoch + 1).unwrap();
        }
    }

    #[test]
    fn a_pipeline_without_memory_for_threads_gives_all_the_same() {
        let spec = PipelineSpec::new(Range { start: 0, stop: 4000, step: 1 }).then(Prefetch::default());
        let budget = MemoryBudget::new(1 << 20);
        let mut pipeline = Pipeline::open(&spec, &budget, 2).unwrap();
        pipeline.go_on_synchronously(0).unwrap();
        // Whoever else has taken nearly all.
        let _taken = budget.try_reserve("others", budget.free_bytes() - (8 << 10)).unwrap();
        assert_eq!((0..4000).filter(|number| next(&mut pipeline) == Some(*number)).count(), 4000);
        assert!(next(&mut pipeline).is_none() && !pipeline.works_ahead());
    }
}
