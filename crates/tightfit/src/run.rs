//! A model in memory, ready to run.

use std::sync::Arc;

use tightfit_core::{MemoryBudget, StringRef, TensorView};
use tightfit_graph::exec::{Feed, Session};
use tightfit_kernels::ThreadPool;

use crate::error::Error;
use crate::fit::{Bound, Fit, FitOptions, Lines};
use crate::model::Model;

/// A model with its memory and threads, for one batch size.
pub struct Runner {
    session: Session,
    lines: Lines,
    minimum_bytes: u64,
}

impl Runner {
    /// Reserves everything, reads the weights and starts the threads.
    ///
    /// # Errors
    /// [`Error::NotFit`] when the model does not fit, [`Error::Graph`] when it cannot be planned or read.
    pub fn new(model: &Model, options: &FitOptions, budget: &MemoryBudget) -> Result<Runner, Error> {
        let fit = Bound::new(model, options)?.fit()?;
        let pool = ThreadPool::new(options.threads).map_err(|error| Error::io("threads", error))?;
        Runner::with_fit(model, fit, Arc::new(pool), options, budget)
    }

    /// The same for a layout that was made before.
    ///
    /// # Errors
    /// As [`Runner::new`].
    pub fn with_fit(
        model: &Model,
        fit: Fit,
        pool: Arc<ThreadPool>,
        options: &FitOptions,
        budget: &MemoryBudget,
    ) -> Result<Runner, Error> {
        let file = model.path().display().to_string();
        let session = Session::new(fit.plan, &file, pool, budget, options.string_bytes as usize)?;
        Ok(Runner { session, lines: fit.lines, minimum_bytes: fit.minimum_bytes })
    }

    /// The names of the inputs, in the order they are fed.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.session.plan().inputs.iter().map(|(name, _)| name.as_str())
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The budget, line by line.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The least memory that works for this batch.
    pub fn minimum_bytes(&self) -> u64 {
        self.minimum_bytes
    }

    /// Computes the outputs, which are valid until the next run.
    ///
    /// # Errors
    /// [`Error::Graph`] for a tensor that does not fit its input, and what an operator finds.
    pub fn run(&mut self, feeds: &[Feed<'_>]) -> Result<Outputs<'_>, Error> {
        self.session.run(feeds)?;
        Ok(Outputs { session: &self.session })
    }
}

/// The outputs of a run.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    session: &'a Session,
}

impl<'a> Outputs<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.session.plan().outputs.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that was asked for.
    pub fn name(&self, index: usize) -> Option<&'a str> {
        self.session.plan().outputs.get(index).map(|(name, _)| name.as_str())
    }

    /// The tensor.
    pub fn tensor(&self, index: usize) -> Option<TensorView<'a>> {
        self.session.output(index)
    }

    /// The text of an element of a string tensor.
    pub fn string(&self, string: StringRef) -> &'a [u8] {
        self.session.string(string)
    }
}
