//! Several passes over the data: `tf.data.Dataset.repeat`.

use std::sync::Arc;

use crate::error::DataError;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// Passes over the data; `None` for no end of them.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Repeat(pub Option<u64>);

impl StageSpec for Repeat {
    fn identity(&self) -> serde_json::Value {
        identity::of("repeat", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("repeat", &[&input]);
        Ok(context.node(RepeatStage { input, count: self.0, first: 0, done: 0, had_any: false }, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let count = if args.value().is_null() { None } else { Some(args.number()?) };
    Ok(Arc::new(Repeat(count)))
}

/// See the module.
pub(crate) struct RepeatStage {
    input: Node,
    /// Passes; `None` for no end of them.
    count: Option<u64>,
    /// The number of the first pass, and how many have ended.
    first: u64,
    done: u64,
    /// Whether this pass has had an element: data without any would be repeated without end.
    had_any: bool,
}

impl Stage for RepeatStage {
    fn schema(&self) -> &Arc<Schema> {
        self.input.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while self.count.is_none_or(|count| self.done < count) {
            if self.input.advance()? {
                self.had_any = true;
                return Ok(true);
            }
            if !self.had_any {
                return Ok(false);
            }
            self.done += 1;
            self.had_any = false;
            if self.count.is_none_or(|count| self.done < count) {
                self.input.reset(self.epoch())?;
            }
        }
        Ok(false)
    }

    fn current(&self) -> ElementView<'_> {
        self.input.current()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        self.input.take(out)
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        // Passes of passes are numbered on, so that each has an order of its own.
        (self.first, self.done, self.had_any) = (epoch.saturating_mul(self.count.unwrap_or(1)), 0, false);
        self.input.reset(self.epoch())
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        state.numbers(&[self.first, self.done, u64::from(self.had_any)])?;
        self.input.save(state)
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        let [first, done, had_any] = state.numbers()?;
        (self.first, self.done, self.had_any) = (first, done, had_any != 0);
        self.input.reset(self.epoch())?;
        self.input.restore(state)
    }

    fn rows(&self) -> Option<u64> {
        self.input.rows()?.checked_mul(self.count?)
    }
}

impl RepeatStage {
    /// The number of the pass that is on.
    fn epoch(&self) -> u64 {
        self.first.saturating_add(self.done)
    }
}
