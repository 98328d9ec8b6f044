//! Elements of one shape together as one, with a dimension more: `tf.data.Dataset.batch`.

use std::sync::Arc;

use tightfit_core::{DType, MAX_RANK, Shape};

use crate::error::{DataError, Needed, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Names;
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// Batches of one size, but for the last.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Batch {
    /// Elements of a batch.
    pub size: usize,
    /// Whether a last batch of fewer is left out.
    pub drop_remainder: bool,
}

impl StageSpec for Batch {
    fn identity(&self) -> serde_json::Value {
        identity::of("batch", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        if self.size == 0 {
            return Err(DataError::Spec("a batch of 0 elements".to_string()));
        }
        let dim = self.drop_remainder.then_some(self.size);
        let fields = input.schema().fields().iter().map(|field| field.batched(dim)).collect();
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let meter = context.meter("batch", &[&input]);
        let made = Element::new(schema, "batch", &context.budget);
        let names = context.names.clone();
        let Batch { size, drop_remainder: drops_rest } = *self;
        let batch = BatchStage {
            input,
            size,
            drops_rest,
            made,
            columns: Vec::new(),
            rows: 0,
            names,
            meter: meter.clone(),
        };
        Ok(context.node(batch, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(Batch { size: args.number()? as usize, drop_remainder: args.flag("drop_remainder")? }))
}

/// See the module.
pub(crate) struct BatchStage {
    input: Node,
    size: usize,
    drops_rest: bool,
    made: Element,
    /// How each field is put there.
    columns: Vec<Column>,
    /// Elements that are in `made` already; more than 0 between two calls only after an error.
    rows: usize,
    names: Names,
    meter: Arc<Meter>,
}

/// The shape of `rows` elements of `shape`.
pub(crate) fn batched(rows: usize, shape: &Shape) -> Result<Shape, RowFault> {
    let mut dims = [0; MAX_RANK];
    let rank = shape.rank() + 1;
    let too_many = || RowFault::Map("it has too many dimensions, or elements, to be batched".to_string());
    let used = dims.get_mut(..rank).ok_or_else(too_many)?;
    if let Some((first, rest)) = used.split_first_mut() {
        *first = rows;
        rest.copy_from_slice(&shape[..]);
    }
    Shape::new(used).map_err(|_| too_many())
}

/// How a field is put into a batch: worked out for the first of its rows, so that there is little to do for others.
struct Column {
    /// The shape that all rows have, and what each takes.
    shape: Shape,
    bytes: usize,
    /// Where the field begins in the batch.
    offset: usize,
    is_string: bool,
}

/// Makes room in `made` for `size` elements like `row`, the first.
fn begin(
    made: &mut Element,
    columns: &mut Vec<Column>,
    row: &ElementView<'_>,
    size: usize,
) -> Result<(), RowFault> {
    made.begin(row.origin());
    columns.clear();
    for (place, field) in row.places().iter().zip(row.schema().fields()) {
        made.add(batched(size, &place.shape)?)?;
        let bytes = place.shape.elements() * field.dtype.bytes();
        let offset = made.view().places().last().map_or(0, |place| place.offset);
        columns.push(Column { shape: place.shape, bytes, offset, is_string: field.dtype == DType::String });
    }
    Ok(())
}

/// Puts `row` at number `at` of `made`.
fn put(made: &mut Element, columns: &[Column], row: &ElementView<'_>, at: usize) -> Result<(), RowFault> {
    let (places, values) = (row.places(), row.values());
    for (index, (column, place)) in columns.iter().zip(places).enumerate() {
        if place.shape != column.shape {
            return Err(differs(row, index, &column.shape));
        }
        let from = values.get(place.offset..place.offset.saturating_add(column.bytes));
        let from = from.needed("a field of a row is not where it is said to be")?;
        if column.is_string {
            made.put_strings(index, at * column.shape.elements(), from, row.text())?;
            continue;
        }
        let to = made.values_mut(column.offset + at * column.bytes, column.bytes)?;
        // Most fields are single numbers, for which a call to copy would take longer than copying.
        match (to.len(), from.len()) {
            (4, 4) => copy::<4>(from, to),
            (8, 8) => copy::<8>(from, to),
            (a, b) if a == b => to.copy_from_slice(from),
            _ => return Err(RowFault::Broken("a batch has no room for a row")),
        }
    }
    Ok(())
}

fn copy<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut()) {
        *to = *from;
    }
}

#[cold]
fn differs(row: &ElementView<'_>, index: usize, before: &Shape) -> RowFault {
    let name = row.schema().fields().get(index).map_or("", |field| field.name.as_str());
    let shape = row.places().get(index).map_or(Shape::SCALAR, |place| place.shape);
    RowFault::Map(format!(
        "{name} is {shape} here and {before} in the rows before it; padded_batch or ragged_batch takes both"
    ))
}

impl Stage for BatchStage {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while self.rows < self.size && self.input.advance()? {
            let row = self.input.current();
            let begun = match self.rows {
                0 => begin(&mut self.made, &mut self.columns, &row, self.size),
                _ => Ok(()),
            };
            let put = begun.and_then(|()| put(&mut self.made, &self.columns, &row, self.rows));
            put.map_err(|fault| self.names.bad(row.origin(), fault))?;
            self.rows += 1;
        }
        let rows = std::mem::take(&mut self.rows);
        if rows < self.size && (rows == 0 || self.drops_rest) {
            return Ok(false);
        }
        self.made.keep_rows(rows)?;
        self.meter.holds(self.made.held_bytes());
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
        self.rows = 0;
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        state.numbers(&[self.rows as u64])?;
        if self.rows > 0 { state.element(&self.made.view()) } else { Ok(()) }
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        let [rows] = state.numbers()?;
        self.rows = (rows as usize).min(self.size);
        if self.rows > 0 {
            state.element(&mut self.made)?;
            self.columns.clear();
            let batch = self.made.view();
            for (place, field) in batch.places().iter().zip(batch.schema().fields()) {
                let inner = place.shape.get(1..).and_then(|inner| Shape::new(inner).ok());
                let shape = inner.ok_or_else(|| state.wrong("it holds no batch"))?;
                let (bytes, is_string) =
                    (shape.elements() * field.dtype.bytes(), field.dtype == DType::String);
                self.columns.push(Column { shape, bytes, offset: place.offset, is_string });
            }
        }
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        let (rows, size) = (self.input.rows()?, self.size as u64);
        Some(if self.drops_rest { rows / size } else { rows.div_ceil(size) })
    }
}
