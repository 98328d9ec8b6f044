//! A model in memory, ready to run.

use std::cell::Cell;
use std::sync::Arc;

use tightfit_core::{MemoryBudget, StopFlag};
use tightfit_graph::exec::{Context, Feed};
use tightfit_graph::plan::{Bounds, WeightMode};
use tightfit_kernels::ThreadPool;

use crate::error::Error;
use crate::fit::{Bound, Fit, FitOptions};
use crate::memory::lines::Lines;
use crate::memory::process::{self, Ahead};
use crate::memory::usage::Usage;
use crate::model::Model;
use crate::outputs::Outputs;

/// Runs between two looks at how much code is resident, once a run has executed all that it needs. A look takes as long as
/// a very small model.
const UNTENDED_RUNS: u32 = 64;

/// A model with its memory and threads, for one batch size.
pub struct Runner {
    context: Context,
    lines: Lines,
    minimum_bytes: u64,
    weights: WeightMode,
    bounds: Bounds,
    batch: usize,
    has_failed: bool,
    budget: MemoryBudget,
    /// What is set aside for values that grow.
    growth_bytes: u64,
    /// Runs before the next look at how much code is resident; 0 while each step is followed by one.
    untended_runs: u32,
    /// Steps that were run since code was last let go of, up to all of them: then none has code that is not there.
    steps_since: usize,
    /// False until a run is over: what is done between two runs has not been executed before.
    has_run: bool,
}

impl Runner {
    /// Reserves everything, reads the weights and starts the threads.
    ///
    /// # Errors
    /// [`Error::NotFit`] when the model does not fit, [`Error::Graph`] when it cannot be planned or read.
    pub fn new(model: &Model, options: &FitOptions, budget: &MemoryBudget) -> Result<Runner, Error> {
        let fit = Bound::new(model, options)?.fit()?;
        process::rest();
        let pool = ThreadPool::with_isa(options.threads, options.isa)
            .map_err(|error| Error::io("threads", error.into()))?;
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
        // What has planned is not needed to load and run.
        process::end_phase();
        if !options.is_inner {
            process::begin_run(fit.room);
        }
        let mut context = Context::load(fit.plan, &file, pool, budget, options.string_bytes as usize)?;
        if fit.growth_bytes > 0 {
            context.grow_in(&budget.child(fit.growth_bytes));
        }
        // Nor is what has loaded needed to run.
        process::end_phase();
        Ok(Runner {
            context,
            budget: budget.clone(),
            untended_runs: 0,
            steps_since: 0,
            has_run: false,
            growth_bytes: fit.growth_bytes,
            lines: fit.lines,
            minimum_bytes: fit.minimum_bytes,
            weights: fit.weights,
            bounds: fit.bounds,
            batch: options.batch,
            has_failed: false,
        })
    }

    /// Another runner of the same loaded model, to run at the same time: weights and threads are shared, and what a run
    /// writes is reserved from the same budget once more.
    ///
    /// # Errors
    /// [`Error::Graph`] when its memory is not free.
    pub fn try_clone(&self) -> Result<Runner, Error> {
        Ok(Runner {
            context: self.context.try_clone()?,
            lines: self.lines,
            minimum_bytes: self.minimum_bytes,
            weights: self.weights,
            bounds: self.bounds,
            batch: self.batch,
            has_failed: self.has_failed,
            budget: self.budget.clone(),
            growth_bytes: self.growth_bytes,
            untended_runs: 0,
            steps_since: 0,
            has_run: false,
        })
    }

    /// Lays the same memory out for another batch. Weights stay as they are held, and where they are.
    ///
    /// # Errors
    /// [`Error::Graph`] when it cannot be planned or its memory is not free; the runner does not run any more then.
    pub fn replan(&mut self, model: &Model, options: &FitOptions) -> Result<(), Error> {
        self.replan_with(Bound::new(model, options)?.with(self.weights, self.bounds)?, options)
    }

    /// The same for a layout that was made before, held as [`Runner::held`] says.
    ///
    /// # Errors
    /// As [`Runner::replan`].
    pub fn replan_with(&mut self, fit: Fit, options: &FitOptions) -> Result<(), Error> {
        process::end_phase();
        (self.untended_runs, self.steps_since, self.has_run) = (0, 0, false);
        self.has_failed = true;
        self.context.replan(fit.plan)?;
        self.has_failed = false;
        let (before_bytes, bytes) = (self.lines.total_bytes(), fit.lines.total_bytes());
        if bytes > before_bytes {
            self.lines = fit.lines;
        }
        // What a larger batch has taken is kept.
        self.growth_bytes = fit.growth_bytes.saturating_sub(before_bytes.saturating_sub(bytes));
        self.context.grow_in(&self.budget.child(self.growth_bytes));
        self.batch = options.batch;
        Ok(())
    }

    /// How its weights are held, and values whose size has a bound.
    pub fn held(&self) -> (WeightMode, Bounds) {
        (self.weights, self.bounds)
    }

    /// True when a layout for another batch could not be taken on, so that it does not run any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Makes every variable what it is before the first run, and random numbers begin anew.
    ///
    /// # Errors
    /// [`Error::Graph`] when a value cannot be read from its file.
    pub fn reset(&mut self) -> Result<(), Error> {
        Ok(self.context.reset()?)
    }

    /// True when the runner could change to another batch inside the memory.
    ///
    /// # Errors
    /// [`Error::Graph`] when the model cannot be planned for it.
    pub fn fits(&self, model: &Model, options: &FitOptions) -> Result<bool, Error> {
        let fit = Bound::new(model, options)?.with(self.weights, self.bounds)?;
        let memory_bytes = options.memory_bytes.min(model.graph().budget().limit_bytes());
        Ok(fit.lines.total_bytes() <= memory_bytes)
    }

    /// From now on a run ends between two steps, with [`Error::Interrupted`], once `flag` is set.
    pub fn stop_at(&mut self, flag: impl Into<StopFlag>) {
        self.context.stop_at(flag);
    }

    /// Rows at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The names of the inputs, in the order they are fed.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.context.plan().inputs.iter().map(|(name, _)| name.as_str())
    }

    /// Bytes in use and their peak, by line of the plan: what [`Runner::lines`] are compared with. They are the counters of
    /// the budget that the runner was made with, so what else is reserved from it is in them too.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.budget)
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The budget, line by line, of the largest batch it was laid out for: a smaller one keeps its memory.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Bytes that are set aside for values whose size is only known in a run; 0 where there are none.
    pub fn growth_bytes(&self) -> u64 {
        self.growth_bytes
    }

    /// The least memory that works for this batch, besides what values need that grow.
    pub fn minimum_bytes(&self) -> u64 {
        self.minimum_bytes
    }

    /// Computes the outputs, which are valid until the next run.
    ///
    /// # Errors
    /// [`Error::Graph`] for a tensor that does not fit its input, and what an operator finds.
    pub fn run(&mut self, feeds: &[Feed<'_>]) -> Result<Outputs<'_>, Error> {
        self.run_steps(feeds, &mut |_| {})?;
        Ok(self.outputs())
    }

    /// The same; `after` is called with each step's position when it is done, to time them.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_steps(&mut self, feeds: &[Feed<'_>], after: &mut dyn FnMut(usize)) -> Result<(), Error> {
        if self.untended_runs == 0 {
            return self.run_tended(feeds, after);
        }
        self.context.run_steps(feeds, after)?;
        self.untended_runs -= 1;
        if self.untended_runs == 0 {
            match process::tend(Ahead::Nothing) {
                true => self.steps_since = 0,
                false => self.untended_runs = UNTENDED_RUNS,
            }
        }
        Ok(())
    }

    /// A run with looks at how much code is resident. What one run has executed, the next ones will, so once each step has been
    /// executed since code was last let go of, and what comes between two runs, all of the room may be in use. `done` is called with
    /// each step's position.
    fn run_tended(&mut self, feeds: &[Feed<'_>], done: &mut dyn FnMut(usize)) -> Result<(), Error> {
        let steps = self.context.plan().steps.len();
        let since = Cell::new(self.steps_since);
        let has_run = self.has_run;
        let look = |executed, ahead| {
            let is_known = has_run && executed >= steps;
            if process::tend(if is_known { Ahead::Nothing } else { ahead }) {
                since.set(0);
            }
        };
        let mut after = |step| {
            done(step);
            since.set(since.get() + 1);
            look(since.get(), Ahead::Step);
        };
        // A body is in the step that comes next.
        let between = || look(since.get() + 1, Ahead::Operator);
        let result = self.context.run_tended(feeds, &mut after, &between);
        self.has_run = true;
        self.steps_since = since.get().min(steps);
        self.untended_runs = if self.steps_since < steps { 0 } else { UNTENDED_RUNS };
        Ok(result?)
    }

    /// The outputs of the last run: none of them is there before the first one, and after one that failed.
    pub fn outputs(&self) -> Outputs<'_> {
        Outputs { context: &self.context, kept_rows: None }
    }

    /// The outputs of no row at all, each with its type and the shape of a row. One that has no rows is left out.
    pub fn no_rows(&self) -> Outputs<'_> {
        Outputs { context: &self.context, kept_rows: Some((self.batch, 0)) }
    }
}
