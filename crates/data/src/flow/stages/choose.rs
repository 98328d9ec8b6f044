//! Some of the elements: `take`, `skip` and `shard` of tf.data, which differ only in which numbers they let pass.

use std::sync::Arc;

use crate::error::DataError;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// The first so many elements: `tf.data.Dataset.take`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take(pub u64);

/// All but the first so many: `tf.data.Dataset.skip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skip(pub u64);

/// Those whose number leaves the remainder `index` when divided by `count`: `tf.data.Dataset.shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// How many shards there are.
    pub count: u64,
    /// Which one this is, from 0.
    pub index: u64,
}

/// Which elements pass, by their number.
#[derive(Debug, Clone, Copy, serde::Serialize)]
enum Choice {
    Take(u64),
    Skip(u64),
    Shard { count: u64, index: u64 },
}

impl Choice {
    fn identity(self) -> serde_json::Value {
        identity::of("choose", &self)
    }

    fn open(self, name: &'static str, input: Node, context: &mut Context) -> Node {
        let meter = context.meter(name, &[&input]);
        context.node(Choose { input, choice: self, next: 0 }, meter)
    }
}

impl StageSpec for Take {
    fn identity(&self) -> serde_json::Value {
        Choice::Take(self.0).identity()
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        Ok(Choice::Take(self.0).open("take", input, context))
    }
}

impl StageSpec for Skip {
    fn identity(&self) -> serde_json::Value {
        Choice::Skip(self.0).identity()
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        Ok(Choice::Skip(self.0).open("skip", input, context))
    }
}

impl Shard {
    fn choice(self) -> Choice {
        Choice::Shard { count: self.count, index: self.index }
    }
}

impl StageSpec for Shard {
    fn identity(&self) -> serde_json::Value {
        self.choice().identity()
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let Shard { count, index } = *self;
        if index >= count {
            return Err(DataError::Spec(format!("shard {index} of {count}: they are numbered from 0")));
        }
        Ok(self.choice().open("shard", input, context))
    }
}

pub(crate) fn read_take(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(Take(args.number()?)))
}

pub(crate) fn read_skip(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(Skip(args.number()?)))
}

pub(crate) fn read_shard(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let index = args.number_option("index")?.ok_or("shard: which? Give its index, from 0")?;
    Ok(Arc::new(Shard { count: args.number()?, index }))
}

/// See the module.
struct Choose {
    input: Node,
    choice: Choice,
    /// The number of the next element.
    next: u64,
}

impl Stage for Choose {
    fn schema(&self) -> &Arc<Schema> {
        self.input.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        loop {
            if let Choice::Take(count) = self.choice
                && self.next >= count
            {
                return Ok(false);
            }
            if !self.input.advance()? {
                return Ok(false);
            }
            let number = self.next;
            self.next += 1;
            let passes = match self.choice {
                Choice::Take(_) => true,
                Choice::Skip(count) => number >= count,
                Choice::Shard { count, index } => number % count.max(1) == index,
            };
            if passes {
                return Ok(true);
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
        self.next = 0;
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        state.numbers(&[self.next])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        [self.next] = state.numbers()?;
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        let rows = self.input.rows();
        match self.choice {
            Choice::Take(count) => rows.map(|rows| rows.min(count)),
            Choice::Skip(count) => rows.map(|rows| rows.saturating_sub(count)),
            Choice::Shard { count, index } => {
                rows.map(|rows| rows.saturating_sub(index).div_ceil(count.max(1)))
            }
        }
    }
}
