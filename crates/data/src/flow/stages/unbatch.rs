//! The rows of each element as elements: `tf.data.Dataset.unbatch`. They are views, and nothing is copied.

use std::sync::Arc;

use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Field, Place, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Names;
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};
use tightfit_core::Shape;

/// The rows of each element, along the first dimension of its fields.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Unbatch;

impl StageSpec for Unbatch {
    fn identity(&self) -> serde_json::Value {
        identity::of("unbatch", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let row = |field: &Field| match field.dims.split_first() {
            Some((_, inner)) => Ok(Field::new(&field.name, field.dtype, inner)),
            None => Err(DataError::Spec(format!("unbatch: {field} has no rows"))),
        };
        let fields = input.schema().fields().iter().map(row).collect::<Result<_, _>>()?;
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let meter = context.meter("unbatch", &[&input]);
        let own = Element::new(input.schema().clone(), "unbatch", &context.budget);
        let (names, places, steps) = (context.names.clone(), Vec::new(), Vec::new());
        let unbatch = UnbatchStage {
            input,
            schema,
            own,
            is_own: false,
            places,
            steps,
            left: 0,
            names,
            meter: meter.clone(),
        };
        Ok(context.node(unbatch, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    if args.value().is_null() { Ok(Arc::new(Unbatch)) } else { Err(args.wrong(args.name(), "null")) }
}

/// See the module.
struct UnbatchStage {
    input: Node,
    schema: Arc<Schema>,
    /// The batch, when it comes from a saved state and not from the input.
    own: Element,
    is_own: bool,
    /// Where the current row lies in the batch, and how far behind it the next does.
    places: Vec<Place>,
    steps: Vec<usize>,
    /// Unbatch after the current one.
    left: usize,
    names: Names,
    meter: Arc<Meter>,
}

impl UnbatchStage {
    fn batch(&self) -> ElementView<'_> {
        if self.is_own { self.own.view() } else { self.input.current() }
    }

    /// Goes before the first row of the batch.
    fn begin(&mut self) -> Result<(), RowFault> {
        self.places.clear();
        self.steps.clear();
        self.left = 0;
        let batch = if self.is_own { self.own.view() } else { self.input.current() };
        let mut rows = None;
        for (place, field) in batch.places().iter().zip(self.schema.fields()) {
            let row =
                place.shape.split_first().and_then(|(count, inner)| Some((*count, Shape::new(inner).ok()?)));
            let (count, shape) = row.ok_or_else(|| RowFault::Map(format!("{} has no rows", field.name)))?;
            if *rows.get_or_insert(count) != count {
                let name = &field.name;
                return Err(RowFault::Map(format!("{name} has {count} rows, and other fields have others")));
            }
            let bytes = shape.elements() * field.dtype.bytes();
            // One before the first: each step to the next adds what a row takes.
            self.places.push(Place { shape, offset: place.offset.wrapping_sub(bytes) });
            self.steps.push(bytes);
        }
        self.left = rows.ok_or_else(|| RowFault::Map("it has no fields, and so no rows".to_string()))?;
        Ok(())
    }

    fn step(&mut self) {
        self.left -= 1;
        for (place, step) in self.places.iter_mut().zip(&self.steps) {
            place.offset = place.offset.wrapping_add(*step);
        }
    }
}

impl Stage for UnbatchStage {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while self.left == 0 {
            self.is_own = false;
            if !self.input.advance()? {
                return Ok(false);
            }
            let begun = self.begin();
            begun.map_err(|fault| self.names.bad(self.batch().origin(), fault))?;
        }
        self.step();
        Ok(true)
    }

    fn current(&self) -> ElementView<'_> {
        let batch = self.batch();
        ElementView::new(&self.schema, &self.places, batch.values(), batch.text(), batch.origin())
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        (self.left, self.is_own) = (0, false);
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        state.numbers(&[self.left as u64])?;
        if self.left > 0 { state.element(&self.batch()) } else { Ok(()) }
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        let [left] = state.numbers()?;
        self.left = 0;
        if left > 0 {
            state.element(&mut self.own)?;
            self.is_own = true;
            self.meter.holds(self.own.held_bytes());
            self.begin().map_err(|fault| state.wrong(&fault.to_string()))?;
            while self.left as u64 > left {
                self.step();
            }
        }
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        let field = self.input.schema().fields().first()?;
        self.input.rows()?.checked_mul((*field.dims.first()?)? as u64)
    }
}
