//! Operations on each element: `tf.data.Dataset.map` and `filter`. Without threads of its own, a map works in that of
//! whoever takes the elements.

use std::fmt;
use std::sync::Arc;

use super::parallel::{self, ParallelOptions};
use crate::error::DataError;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::maps::{Chain, MapOp, last_of, schemas_of};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Part, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// Who does the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum MapMode {
    /// Whoever takes the elements.
    Inline,
    /// Threads of its own.
    Parallel {
        /// How many; `None` for as many as its share of the pipeline's work asks for.
        threads: Option<usize>,
        /// Whether elements have to come in the order of the input. Today they do whatever is asked for, so that what
        /// fits the memory does not depend on timing.
        is_ordered: bool,
    },
}

impl Default for MapMode {
    /// As many threads as are worth it, in order.
    fn default() -> Self {
        MapMode::Parallel { threads: None, is_ordered: true }
    }
}

impl MapMode {
    /// Opens a stage that does `ops` to each element of `input`.
    ///
    /// # Errors
    /// [`DataError`] when one cannot be done to such elements, or the budget is too small.
    pub(crate) fn open(
        self,
        ops: Vec<Arc<dyn MapOp>>,
        input: Node,
        context: &mut Context,
    ) -> Result<Node, DataError> {
        let names: Vec<_> = ops.iter().map(|op| label(&op.name())).collect();
        let parts = names.iter().map(|name| Part { name: name.clone(), ..Part::default() }).collect();
        let name = if let [name] = &*names { name.clone() } else { format!("map of {}", names.len()) };
        let meter = context.meter_of_parts(name, &[&input], parts);
        match self {
            MapMode::Inline => {
                let map = MapStage::new(input, &ops, meter.clone(), context)?;
                Ok(context.node(map, meter))
            }
            MapMode::Parallel { threads, .. } => {
                let options = ParallelOptions { threads, elements: None };
                parallel::open(input, ops, options, meter, context)
            }
        }
    }
}

/// Words of an operation's name that a label has.
const LABEL_WORDS: usize = 3;

/// The beginning of an operation's name, for tables: what it is, of which field, without all its options.
fn label(name: &str) -> String {
    let words = name.split_whitespace().take(LABEL_WORDS);
    words.take_while(|word| !word.starts_with(['{', '[', '('])).collect::<Vec<_>>().join(" ")
}

/// An operation as a stage.
#[derive(Clone)]
pub struct Map {
    /// The operation.
    pub op: Arc<dyn MapOp>,
    /// Who does it.
    pub mode: MapMode,
}

impl Map {
    /// `op`, done by as many threads as are worth it, in order.
    pub fn new(op: impl MapOp + 'static) -> Map {
        Map { op: Arc::new(op), mode: MapMode::default() }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.op.name(), self.mode)
    }
}

impl StageSpec for Map {
    fn identity(&self) -> serde_json::Value {
        identity::of("each", &(self.op.identity(), self.mode))
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        self.mode.open(vec![self.op.clone()], input, context)
    }

    fn as_map(&self) -> Option<(Arc<dyn MapOp>, MapMode)> {
        Some((self.op.clone(), self.mode))
    }
}

/// The options `threads` (0 for none of its own) and `unordered`; `usual` where nothing is said.
pub(crate) fn read_mode(args: &mut Args<'_>, usual: MapMode) -> Read<MapMode> {
    let (threads, is_ordered) = (args.number_option("threads")?, !args.flag("unordered")?);
    Ok(match threads {
        Some(0) => MapMode::Inline,
        None if is_ordered => usual,
        threads => MapMode::Parallel { threads: threads.map(|n| n as usize), is_ordered },
    })
}

/// A stage that is `op`, with the options of [`read_mode`].
pub(crate) fn read_each(op: impl MapOp + 'static, args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(Map { op: Arc::new(op), mode: read_mode(args, MapMode::default())? }))
}

/// See the module.
pub(crate) struct MapStage {
    input: Node,
    chain: Chain,
    made: Element,
}

impl MapStage {
    pub fn new(
        input: Node,
        ops: &[Arc<dyn MapOp>],
        meter: Arc<Meter>,
        context: &Context,
    ) -> Result<MapStage, DataError> {
        let schemas = schemas_of(ops, input.schema())?;
        let chain = Chain::new(ops, &schemas, meter, &context.names, &context.budget)?;
        Ok(MapStage { input, chain, made: Element::new(last_of(&schemas)?, "map", &context.budget) })
    }
}

impl Stage for MapStage {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        self.chain.advance(&mut self.input, &mut self.made)
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        std::mem::swap(out, &mut self.made);
        Ok(())
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.chain.begin_pass(epoch);
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)
    }
}
