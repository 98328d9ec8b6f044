//! Elements of one shape together as one, with a dimension more: `tf.data.Dataset.batch`.

use std::sync::Arc;

use tightfit_core::{DType, MAX_RANK, Shape};

use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::json::{Args, Read};
use crate::flow::origin::Names;
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// Batches of one size, but for the last.
#[derive(Debug, Clone, Copy)]
pub struct BatchOf {
    /// Elements of a batch.
    pub size: usize,
    /// Whether a last batch of fewer is left out.
    pub drop_remainder: bool,
}

impl StageSpec for BatchOf {
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
        let BatchOf { size, drop_remainder: drops_rest } = *self;
        Ok(context.node(Batch { input, size, drops_rest, made, rows: 0, names, meter: meter.clone() }, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    Ok(Arc::new(BatchOf { size: args.number()? as usize, drop_remainder: args.flag("drop_remainder")? }))
}

/// See the module.
pub(crate) struct Batch {
    input: Node,
    size: usize,
    drops_rest: bool,
    made: Element,
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

/// Makes room in `made` for `size` elements like `row`, the first.
fn begin(made: &mut Element, row: &ElementView<'_>, size: usize) -> Result<(), RowFault> {
    made.begin(row.origin());
    for place in row.places() {
        made.add(batched(size, &place.shape)?)?;
    }
    Ok(())
}

/// Puts `row` at number `at` of `made`.
fn put(made: &mut Element, row: &ElementView<'_>, at: usize) -> Result<(), RowFault> {
    for index in 0..row.places().len() {
        let Some(tensor) = row.tensor(index) else { continue };
        let shape = made.view().places().get(index).map(|place| place.shape).unwrap_or(Shape::SCALAR);
        if shape.get(1..) != Some(&tensor.shape()[..]) {
            let name = row.schema().fields().get(index).map(|f| f.name.clone()).unwrap_or_default();
            return Err(RowFault::Map(format!(
                "{name} is {} here and {:?} in the rows before it; padded_batch or ragged_batch takes both",
                tensor.shape(),
                shape.get(1..).unwrap_or_default(),
            )));
        }
        let bytes = tensor.bytes();
        let from = at * bytes.len();
        if tensor.dtype() == DType::String {
            made.put_strings(index, from, bytes, row.text())?;
        } else if let Some(to) = made.field_mut(index).get_mut(from..from + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
    Ok(())
}

impl Stage for Batch {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while self.rows < self.size && self.input.advance()? {
            let row = self.input.current();
            let put = match self.rows {
                0 => begin(&mut self.made, &row, self.size).and_then(|()| put(&mut self.made, &row, 0)),
                at => put(&mut self.made, &row, at),
            };
            put.map_err(|fault| self.names.bad(row.origin(), fault))?;
            self.rows += 1;
        }
        let rows = std::mem::take(&mut self.rows);
        if rows < self.size && (rows == 0 || self.drops_rest) {
            return Ok(false);
        }
        self.made.keep_rows(rows);
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
        if self.rows > 0 { state.element(&mut self.made) } else { Ok(()) }
    }

    fn rows(&self) -> Option<u64> {
        let (rows, size) = (self.input.rows()?, self.size as u64);
        Some(if self.drops_rest { rows / size } else { rows.div_ceil(size) })
    }
}
