//! Elements in random order, as far as a memory budget reaches: `tf.data.Dataset.shuffle`, whose buffer is counted in
//! bytes here and not in elements.
//!
//! As in tf.data, the buffer is filled first; then a random one of the elements in it, each as likely as the others, is
//! given out and its place filled again. With data that fit into the buffer every order is as likely. Of larger data an
//! element comes at most a buffer early, and stays for as many steps as it takes to be drawn: with `n` elements in the
//! buffer, `k` steps or more with the probability `(1 - 1/n)^k`, which are `n` on average. To mix further than that,
//! shuffle the list of files too and interleave them.
//!
//! The order is that of the seed and the epoch, on every machine; which elements the buffer holds depends on their sizes
//! alone. An element takes 12 bytes beside its values and some for where it came from, so that `n` is about 7/8 of the
//! bytes over the mean size of an element and 20.

pub(crate) mod arena;

use std::sync::Arc;

use arena::Arena;

use crate::error::{DataError, RowFault, clamped};
use crate::flow::codec::{Cursor, DecodeError, decode, encode};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::growing::Growing;
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::{Names, Origin};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};
use crate::shuffle::Random;

const PURPOSE: &str = "shuffle";

/// Random order within so many bytes.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Shuffle {
    /// Bytes of the buffer.
    pub buffer_bytes: u64,
    /// What the order depends on.
    pub seed: u64,
    /// Whether each epoch has an order of its own.
    pub reshuffles: bool,
}

impl StageSpec for Shuffle {
    fn identity(&self) -> serde_json::Value {
        identity::of("shuffle", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("shuffle", &[&input]);
        let bytes = clamped(self.buffer_bytes);
        let arena = Arena::new(&context.budget, PURPOSE, bytes)?;
        let made = Element::new(input.schema().clone(), PURPOSE, &context.budget);
        let shuffle = ShuffleStage {
            input,
            spec: *self,
            arena,
            random: Random::new(self.seed, 0),
            pulled: Growing::new(PURPOSE, &context.budget),
            is_waiting: false,
            is_at_end: false,
            made,
            names: context.names.clone(),
            meter: meter.clone(),
        };
        Ok(context.node(shuffle, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let seed = args.number_option("seed")?.unwrap_or(0);
    let reshuffles = args.option("reshuffle").is_none() || args.flag("reshuffle")?;
    Ok(Arc::new(Shuffle { buffer_bytes: args.bytes()?, seed, reshuffles }))
}

/// See the module.
pub(crate) struct ShuffleStage {
    input: Node,
    spec: Shuffle,
    arena: Arena,
    random: Random,
    /// The input's element as bytes, and whether it waits for room.
    pulled: Growing,
    is_waiting: bool,
    is_at_end: bool,
    made: Element,
    names: Names,
    meter: Arc<Meter>,
}

impl ShuffleStage {
    /// Pulls elements until one has no room.
    fn fill(&mut self) -> Result<(), DataError> {
        loop {
            if self.is_waiting {
                let bytes = self.pulled.used();
                self.is_waiting = !self.arena.push(self.pulled.bytes())?;
                if self.is_waiting && self.arena.len() > 0 {
                    return Ok(());
                }
                if std::mem::take(&mut self.is_waiting) {
                    let buffer_bytes = self.arena.held_bytes() as u64;
                    let needed_bytes = bytes as u64;
                    return Err(match Cursor::new(self.pulled.bytes()) {
                        Ok(cursor) => {
                            self.names.bad(cursor.origin(), RowFault::Buffer { needed_bytes, buffer_bytes })
                        }
                        Err(_) => self.names.bad(Origin::default(), fault(DecodeError::Broken)),
                    });
                }
            }
            if self.is_at_end || !self.input.advance()? {
                self.is_at_end = true;
                return Ok(());
            }
            let element = self.input.current();
            self.pulled.set_used(0);
            let encoded = encode(&element, &mut self.pulled);
            encoded.map_err(|fault| self.names.bad(element.origin(), fault))?;
            self.is_waiting = true;
        }
    }
}

/// The fault of an element that cannot be made of its bytes.
pub(crate) fn fault(error: DecodeError) -> RowFault {
    match error {
        DecodeError::Broken => RowFault::Map("it is none of this type".to_string()),
        DecodeError::Fault(fault) => fault,
    }
}

impl Stage for ShuffleStage {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        self.fill()?;
        if self.arena.len() == 0 {
            return Ok(false);
        }
        let number = self.random.below(self.arena.len() as u64) as usize;
        let decoded = decode(self.arena.get(number)?, &mut self.made);
        self.arena.swap_remove(number)?;
        decoded.map_err(|error| self.names.bad(self.made.view().origin(), fault(error)))?;
        self.meter.holds(self.arena.held_bytes() + self.pulled.held_bytes() + self.made.held_bytes());
        Ok(true)
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        std::mem::swap(out, &mut self.made);
        Ok(())
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.random = Random::new(self.spec.seed, if self.spec.reshuffles { epoch } else { 0 });
        self.arena.clear();
        (self.is_waiting, self.is_at_end) = (false, false);
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        let [a, b, c, d] = self.random.state();
        let flags = u64::from(self.is_at_end) | u64::from(self.is_waiting) << 1;
        state.numbers(&[a, b, c, d, flags, self.arena.len() as u64])?;
        (0..self.arena.len()).try_for_each(|number| state.bytes(self.arena.get(number)?))?;
        if self.is_waiting { state.bytes(self.pulled.bytes()) } else { Ok(()) }
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        let [a, b, c, d, flags, count] = state.numbers()?;
        let random = Random::from_state([a, b, c, d]);
        self.random = random.ok_or_else(|| state.wrong("its random numbers are none"))?;
        (self.is_at_end, self.is_waiting) = (flags & 1 != 0, flags & 2 != 0);
        self.arena.clear();
        for _ in 0..count {
            if !self.arena.push(state.bytes()?)? {
                return Err(state.wrong("it holds more elements than the shuffle"));
            }
        }
        if self.is_waiting {
            self.pulled.set_used(0);
            self.pulled.extend(state.bytes()?)?;
        }
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        self.input.rows()
    }
}

#[cfg(test)]
mod tests;
