//! What is wrong with single elements is counted and passed over: `tf.data.Dataset.ignore_errors`.

use std::sync::Arc;

use crate::error::DataError;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// An error that comes this often without an element in between is one that does not pass.
const REPEATS: usize = 4;

/// Leaves out elements that are in error, as far as what is after them can be read. The meter counts them and has the
/// first messages.
///
/// Errors that are not about single elements or files (of the description, of threads), elements that do not fit the
/// memory, which are not bad but large, and an error that comes again and again without anything between, are errors all the same.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct SkipBad {
    /// The most that are left out; the next is an error.
    pub limit: Option<u64>,
}

impl StageSpec for SkipBad {
    fn identity(&self) -> serde_json::Value {
        identity::of("skip_bad", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("skip_bad", &[&input]);
        let skip = Skip {
            input,
            limit: self.limit,
            skipped: 0,
            last: String::new(),
            repeats: 0,
            meter: meter.clone(),
        };
        Ok(context.node(skip, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let limit = if args.value().is_null() { None } else { Some(args.number()?) };
    Ok(Arc::new(SkipBad { limit }))
}

/// See the module.
struct Skip {
    input: Node,
    limit: Option<u64>,
    skipped: u64,
    /// The last error since the last element, and how often it came.
    last: String,
    repeats: usize,
    meter: Arc<Meter>,
}

impl Skip {
    /// Takes note of `error`, or gives it back when it is not to be passed over.
    fn pass_over(&mut self, error: DataError) -> Result<(), DataError> {
        if error.is_budget() {
            // It is not bad, but large.
            return Err(error);
        }
        match &error {
            DataError::Row(row) if row.fault.is_broken() => return Err(error),
            DataError::Row(_) | DataError::Saved(_) | DataError::Io { .. } | DataError::Format(_) => {}
            DataError::NoFiles { .. }
            | DataError::Spec(_)
            | DataError::Budget(_)
            | DataError::SavedBudget(_)
            | DataError::Thread(_)
            | DataError::Index { .. }
            | DataError::Stopped
            | DataError::Defect(_) => return Err(error),
        }
        let message = error.to_string();
        self.repeats = if message == self.last { self.repeats + 1 } else { 1 };
        if self.repeats >= REPEATS || self.limit.is_some_and(|limit| self.skipped >= limit) {
            return Err(error);
        }
        self.skipped += 1;
        self.meter.skips(&message);
        self.last = message;
        Ok(())
    }
}

impl Stage for Skip {
    fn schema(&self) -> &Arc<Schema> {
        self.input.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        loop {
            match self.input.advance() {
                Ok(more) => {
                    self.repeats = 0;
                    return Ok(more);
                }
                Err(error) => self.pass_over(error)?,
            }
        }
    }

    fn current(&self) -> ElementView<'_> {
        self.input.current()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        self.input.take(out)
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        (self.skipped, self.repeats) = (0, 0);
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        state.numbers(&[self.skipped])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        [self.skipped] = state.numbers()?;
        Ok(())
    }
}
