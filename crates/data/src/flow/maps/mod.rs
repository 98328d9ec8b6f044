//! What is done to each element by itself: one file for each operation. An operation is a [`MapOp`]; each thread that
//! does it has a [`MapWorker`] of its own, with the memory that takes.

pub(crate) mod cast;
pub(crate) mod fields;
pub(crate) mod filter;
mod function;
pub(crate) mod image;
pub(crate) mod normalise;
pub(crate) mod one_hot;
pub(crate) mod parse;
pub(crate) mod serialize;
#[cfg(test)]
mod tests;

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tightfit_core::{BudgetError, MemoryBudget};

pub use function::FunctionOp;
pub use image::{DecodeImage, ImageFieldOp};

use super::clock;
use super::element::{Element, ElementView, Schema};
use super::origin::Names;
use super::stage::{Meter, Node};
use crate::error::{DataError, Defect, Needed, RowFault};

/// Something done to each element.
pub trait MapOp: Send + Sync {
    /// What it is called in messages and statistics.
    fn name(&self) -> String;

    /// What it is told from other operations by, as [`StageSpec::identity`](super::StageSpec::identity); left out, its
    /// name.
    fn identity(&self) -> serde_json::Value {
        serde_json::json!({"map": self.name()})
    }

    /// The type of what it makes of elements of `input`.
    ///
    /// # Errors
    /// Why it cannot be done to such elements.
    fn schema(&self, input: &Schema) -> Result<Schema, String>;

    /// What one thread needs to do it to elements of `input`.
    ///
    /// # Errors
    /// [`DataError::Budget`] when there is no memory for it.
    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError>;
}

/// What becomes of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It is left out.
    Drop,
}

/// One thread's share in a [`MapOp`].
pub trait MapWorker: Send {
    /// Makes `out`, which [began](Element::begin) already and is of the schema that [`MapOp::schema`] says, of
    /// `input`.
    ///
    /// # Errors
    /// [`RowFault`] when the element is not what it should be, or there is no memory for the result.
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault>;

    /// Says that the elements that follow are of pass number `epoch` over the data, for operations that are random: the
    /// first pass is number 0.
    fn begin_pass(&mut self, epoch: u64) {
        let _ = epoch;
    }
}

impl From<BudgetError> for RowFault {
    fn from(error: BudgetError) -> Self {
        RowFault::Memory(error)
    }
}

/// Adds fields to `out` that are equal to the fields `range` of `input`.
pub(crate) fn copy_fields(
    input: &ElementView<'_>,
    range: Range<usize>,
    out: &mut Element,
) -> Result<(), RowFault> {
    for tensor in range.filter_map(|index| input.tensor(index)) {
        out.add_copy(tensor, input.text())?;
    }
    Ok(())
}

/// Several operations, one after the other, for one thread.
pub(crate) struct Chain {
    steps: Vec<Step>,
    names: Names,
    meter: Arc<Meter>,
    epoch: u64,
}

struct Step {
    worker: Box<dyn MapWorker>,
    /// What it makes, unless it is the last.
    made: Element,
    /// Time it took where that was measured, and what is not among that of its part yet.
    fresh_ns: u64,
}

impl Chain {
    /// `ops` done to elements of the first of `schemas`, of which each makes the next; `meter` has a part for each.
    pub fn new(
        ops: &[Arc<dyn MapOp>],
        schemas: &[Arc<Schema>],
        meter: Arc<Meter>,
        names: &Names,
        budget: &MemoryBudget,
    ) -> Result<Chain, DataError> {
        let mut steps = Vec::with_capacity(ops.len());
        for (op, schemas) in ops.iter().zip(schemas.windows(2)) {
            let [before, made] = schemas else { break };
            let worker = op.worker(before, budget)?;
            steps.push(Step { worker, made: Element::new(made.clone(), "map", budget), fresh_ns: 0 });
        }
        Ok(Chain { steps, names: names.clone(), meter, epoch: 0 })
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Says that the elements that follow are of pass number `epoch`.
    pub fn begin_pass(&mut self, epoch: u64) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.steps.iter_mut().for_each(|step| step.worker.begin_pass(epoch));
        }
    }

    /// Bytes held between the steps.
    pub fn held_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.made.held_bytes()).sum()
    }

    /// Adds what the steps took since the last call, `times` over, to the figures of their parts.
    pub fn settle(&mut self, times: f64) {
        for (step, part) in self.steps.iter_mut().zip(&self.meter.parts) {
            let ns = clock::scaled(mem::take(&mut step.fresh_ns), times);
            if ns > 0 {
                part.busy_ns.fetch_add(ns, Ordering::Relaxed);
            }
        }
    }

    /// Goes on to the next element of `input` that is kept, and makes `made` of it, in the thread of whoever takes it;
    /// false when there is none.
    ///
    /// # Errors
    /// [`DataError`], with the place of the element.
    pub fn advance(&mut self, input: &mut Node, made: &mut Element) -> Result<bool, DataError> {
        while input.advance()? {
            let verdict = self.run(&input.current(), made);
            self.settle(1.0);
            self.meter.holds(made.held_bytes() + self.held_bytes());
            if verdict? == Verdict::Keep {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes `out` of `input`.
    ///
    /// # Errors
    /// [`DataError::Row`], with the place of the element.
    pub fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, DataError> {
        let origin = input.origin();
        let mut start = if self.steps.len() > 1 { clock::part_begins() } else { None };
        let last = self.steps.len().saturating_sub(1);
        for index in 0..self.steps.len() {
            let (before, rest) = self.steps.split_at_mut(index);
            let Some(step) = rest.first_mut() else { break };
            let made = if index == last { &mut *out } else { &mut step.made };
            made.begin(origin);
            let verdict = match before.last() {
                None => step.worker.run(input, made),
                Some(before) => step.worker.run(&before.made.view(), made),
            };
            if let Some(start) = &mut start {
                let (took_ns, now) = clock::part_ends(*start);
                (step.fresh_ns, *start) = (step.fresh_ns.saturating_add(took_ns), now);
            }
            match verdict {
                Ok(Verdict::Keep) => {}
                Ok(Verdict::Drop) => return Ok(Verdict::Drop),
                Err(fault) => return Err(self.names.bad(origin, fault)),
            }
        }
        Ok(Verdict::Keep)
    }
}

/// The types of elements before and after each of `ops`: that of `input` first, that of what comes out last.
pub(crate) fn schemas_of(ops: &[Arc<dyn MapOp>], input: &Arc<Schema>) -> Result<Vec<Arc<Schema>>, DataError> {
    let mut schemas = vec![input.clone()];
    let mut last = input.clone();
    for op in ops {
        let made = op.schema(&last).map_err(|why| DataError::Spec(format!("{}: {why}", op.name())))?;
        last = Arc::new(made);
        schemas.push(last.clone());
    }
    Ok(schemas)
}

/// The type of what comes out, of those of [`schemas_of`].
pub(crate) fn last_of(schemas: &[Arc<Schema>]) -> Result<Arc<Schema>, Defect> {
    schemas.last().cloned().needed("a chain of operations without a type")
}

/// The memory of a list, emptied, for items of another lifetime: collecting in place keeps it.
pub(crate) fn recycled<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    list.into_iter().filter_map(|_| None).collect()
}
