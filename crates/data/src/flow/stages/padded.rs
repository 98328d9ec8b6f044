//! Elements of different shapes together as one: `tf.data.Dataset.padded_batch` and `ragged_batch`.

use std::sync::Arc;

use super::gather::{Layout, Pile, batch_schema};
use crate::error::DataError;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Names;
use crate::flow::scalar::Scalar;
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// What fields are padded to, and with what. A field that is not named is padded to the longest of its batch, with zeros,
/// empty strings or false.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Padding {
    /// The shape that a field is padded to; `None` for a dimension that is padded to the longest.
    pub shapes: Vec<(String, Vec<Option<usize>>)>,
    /// What is put after the values of a field.
    pub values: Vec<(String, Scalar)>,
}

impl Padding {
    /// How the fields of `schema` are padded; dimensions that would be padded to the longest get `open`.
    pub(crate) fn layouts(&self, schema: &Schema, open: Option<usize>) -> Result<Vec<Layout>, DataError> {
        let names = self.shapes.iter().map(|(name, _)| name).chain(self.values.iter().map(|(name, _)| name));
        for name in names {
            schema.index(name).map_err(DataError::Spec)?;
        }
        let layout = |field: &crate::flow::element::Field| {
            let shape = self.shapes.iter().find(|(name, _)| *name == field.name);
            let value = self.values.iter().find(|(name, _)| *name == field.name);
            let dims = shape.map_or(&field.dims, |(_, dims)| dims);
            if dims.len() != field.dims.len() {
                return Err(format!("{field} is to be padded to {} dimensions", dims.len()));
            }
            let too_small =
                |(to, from): (&Option<usize>, &Option<usize>)| to.zip(*from).is_some_and(|(t, f)| t < f);
            if dims.iter().zip(&field.dims).any(too_small) {
                return Err(format!("{field} is to be padded to the smaller shape {dims:?}"));
            }
            // A known dimension needs no padding where none was asked for.
            let dims = dims.iter().zip(&field.dims).map(|(to, from)| to.or(*from).or(open)).collect();
            let value = value.map_or_else(|| Scalar::zero(field.dtype), |(_, value)| value.clone());
            let value =
                value.bytes(field.dtype).map_err(|why| format!("padding of {}: {why}", field.name))?;
            Ok(Layout::Padded { dims, value })
        };
        schema.fields().iter().map(layout).collect::<Result<_, _>>().map_err(DataError::Spec)
    }

    /// The options `padded_shapes` and `padding_values`.
    pub(crate) fn read(args: &mut Args<'_>) -> Read<Padding> {
        let mut padding = Padding::default();
        for (name, value) in args.object_option("padded_shapes")?.into_iter().flatten() {
            let dim = |dim: &serde_json::Value| match dim {
                serde_json::Value::Null => Some(None),
                dim => dim.as_u64().map(|size| Some(size as usize)),
            };
            let dims = value.as_array().and_then(|dims| dims.iter().map(dim).collect());
            let wrong = || args.wrong("padded_shapes", "of each field a list of whole numbers and null");
            padding.shapes.push((name.clone(), dims.ok_or_else(wrong)?));
        }
        for (name, value) in args.object_option("padding_values")?.into_iter().flatten() {
            let wrong = || args.wrong("padding_values", "of each field a number or text");
            padding.values.push((name.clone(), Scalar::from_json(value).ok_or_else(wrong)?));
        }
        Ok(padding)
    }
}

/// Batches of elements that are padded to one shape: `tf.data.Dataset.padded_batch`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PaddedBatch {
    /// Elements of a batch.
    pub size: usize,
    /// What they are padded to.
    pub padding: Padding,
    /// Whether a last batch of fewer is left out.
    pub drop_remainder: bool,
}

impl StageSpec for PaddedBatch {
    fn identity(&self) -> serde_json::Value {
        identity::of("padded_batch", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let layouts = self.padding.layouts(input.schema(), None)?;
        open("padded_batch", (self.size, self.drop_remainder), layouts, input, context)
    }
}

pub(crate) fn read_padded(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(PaddedBatch {
        size: args.number()? as usize,
        padding: Padding::read(args)?,
        drop_remainder: args.flag("drop_remainder")?,
    }))
}

/// Batches whose rows have lengths of their own: of a field `x` of shape `[n, ...]` the rows lie one after the other in
/// `x`, `[total, ...]`, and row `i` is what lies from `x/row_splits[i]` up to `x/row_splits[i + 1]`, `int64 [batch + 1]`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RaggedBatch {
    /// Elements of a batch.
    pub size: usize,
    /// The fields that are ragged; `None` for all whose first dimension is open. Others have one shape in all rows.
    pub fields: Option<Vec<String>>,
    /// Whether a last batch of fewer is left out.
    pub drop_remainder: bool,
}

impl StageSpec for RaggedBatch {
    fn identity(&self) -> serde_json::Value {
        identity::of("ragged_batch", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let schema = input.schema();
        for name in self.fields.iter().flatten() {
            schema.index(name).map_err(DataError::Spec)?;
        }
        let is_ragged = |field: &crate::flow::element::Field| match &self.fields {
            Some(names) => names.contains(&field.name),
            None => field.dims.first() == Some(&None),
        };
        let layout = |field| if is_ragged(field) { Layout::Ragged } else { Layout::Equal };
        let layouts = schema.fields().iter().map(layout).collect();
        open("ragged_batch", (self.size, self.drop_remainder), layouts, input, context)
    }
}

pub(crate) fn read_ragged(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(RaggedBatch {
        size: args.number()? as usize,
        fields: args.texts_option("fields")?,
        drop_remainder: args.flag("drop_remainder")?,
    }))
}

fn open(
    name: &'static str,
    (size, drops_rest): (usize, bool),
    layouts: Vec<Layout>,
    input: Node,
    context: &mut Context,
) -> Result<Node, DataError> {
    if size == 0 {
        return Err(DataError::Spec(format!("{name} of 0 elements")));
    }
    let schema = batch_schema(input.schema(), &layouts, drops_rest.then_some(size))?;
    let meter = context.meter(name, &[&input]);
    let pile = Pile::new(input.schema().clone(), layouts, name, &context.budget);
    let made = Element::new(Arc::new(schema), name, &context.budget);
    let names = context.names.clone();
    Ok(context.node(Gather { input, size, drops_rest, pile, made, names, meter: meter.clone() }, meter))
}

/// See the module.
struct Gather {
    input: Node,
    size: usize,
    drops_rest: bool,
    pile: Pile,
    made: Element,
    names: Names,
    meter: Arc<Meter>,
}

impl Stage for Gather {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while self.pile.len() < self.size && self.input.advance()? {
            let row = self.input.current();
            self.pile.add(&row).map_err(|fault| self.names.bad(row.origin(), fault))?;
        }
        let rows = self.pile.len();
        if rows < self.size && (rows == 0 || self.drops_rest) {
            self.pile.clear();
            return Ok(false);
        }
        let laid = self.pile.lay_out(&mut self.made);
        self.meter.holds(self.pile.held_bytes() + self.made.held_bytes());
        laid.map_err(|(origin, fault)| self.names.bad(origin, fault))?;
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
        self.pile.clear();
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        self.pile.save(state)
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        self.pile.restore(state)
    }

    fn rows(&self) -> Option<u64> {
        let (rows, size) = (self.input.rows()?, self.size as u64);
        Some(if self.drops_rest { rows / size } else { rows.div_ceil(size) })
    }
}
