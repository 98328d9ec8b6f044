//! What a stage with threads is where there are to be none: the operations are done in the thread of whoever takes the
//! elements, and nothing is held ahead. Its saved states are those of the stage with threads.

use std::mem;
use std::sync::Arc;

use tightfit_core::MemoryBudget;

use super::parallel::{restore_block, save_error};
use super::worker::Block;
use crate::error::{DataError, Needed};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::maps::{Chain, MapOp, last_of, schemas_of};
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// See the module.
pub(super) struct Inline {
    input: Node,
    chain: Chain,
    made: Element,
    /// What a saved state had waiting, and how many elements of it were given.
    saved: Option<Block>,
    given: usize,
    /// Where the current element is.
    current: Current,
    budget: MemoryBudget,
}

enum Current {
    Input,
    Made,
}

impl Inline {
    pub fn new(
        input: Node,
        ops: &[Arc<dyn MapOp>],
        meter: Arc<Meter>,
        context: &Context,
    ) -> Result<Inline, DataError> {
        let schemas = schemas_of(ops, input.schema())?;
        let budget = context.budget.clone();
        let chain = Chain::new(ops, &schemas, meter, &context.names, &budget)?;
        let made = Element::new(last_of(&schemas)?, "map", &budget);
        Ok(Inline { input, chain, made, saved: None, given: 0, current: Current::Made, budget })
    }

    /// The next of what a saved state had waiting: nothing when there is no more of it.
    fn next_saved(&mut self) -> Option<Result<bool, DataError>> {
        let block = self.saved.as_mut()?;
        if block.errors.front().is_some_and(|(before, _)| *before <= self.given) {
            return block.errors.pop_front().map(|(_, error)| Err(error));
        }
        let Some(element) = block.outputs.get_mut(self.given) else {
            self.saved = None;
            return None;
        };
        mem::swap(element, &mut self.made);
        self.given += 1;
        self.current = Current::Made;
        Some(Ok(true))
    }
}

impl Stage for Inline {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        if let Some(saved) = self.next_saved() {
            return saved;
        }
        if self.chain.is_empty() {
            self.current = Current::Input;
            return self.input.advance();
        }
        self.current = Current::Made;
        self.chain.advance(&mut self.input, &mut self.made)
    }

    fn current(&self) -> ElementView<'_> {
        match self.current {
            Current::Input => self.input.current(),
            Current::Made => self.made.view(),
        }
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        match self.current {
            Current::Input => self.input.take(out),
            Current::Made => {
                mem::swap(out, &mut self.made);
                Ok(())
            }
        }
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.saved = None;
        self.chain.begin_pass(epoch);
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        let Some(block) = &self.saved else { return state.numbers(&[0, 0]) };
        let elements = block.outputs.get(self.given..).needed("more elements were given than there were")?;
        state.numbers(&[elements.len() as u64, block.errors.len() as u64])?;
        for (before, error) in &block.errors {
            save_error(before.saturating_sub(self.given) as u64, error, state)?;
        }
        elements.iter().try_for_each(|element| state.element(&element.view()))
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        let schema = self.made.schema().clone();
        self.saved = Some(restore_block(&schema, &self.budget, state)?);
        self.given = 0;
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        if self.chain.is_empty() { self.input.rows() } else { None }
    }
}
