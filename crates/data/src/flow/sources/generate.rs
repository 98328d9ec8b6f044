//! Elements that a Rust program makes: `tf.data.Dataset.from_generator`.

use std::fmt;
use std::sync::Arc;

use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::origin::{Names, Origin};
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// Makes elements, one after the other.
pub trait Generator: Send {
    /// Fills `out`, which [began](Element::begin) already, with the next element; false when there is none.
    ///
    /// # Errors
    /// [`RowFault`] when there is no memory for it, or it cannot be made; the next call goes on after it.
    fn next(&mut self, out: &mut Element) -> Result<bool, RowFault>;

    /// Passes over `elements` elements, when a saved state is gone on from.
    ///
    /// # Errors
    /// As [`Generator::next`].
    fn skip(&mut self, elements: u64, scratch: &mut Element) -> Result<(), RowFault> {
        for _ in 0..elements {
            scratch.begin(Origin::default());
            // One that could not be made was counted when it was its turn.
            match self.next(scratch) {
                Ok(true) | Err(_) => {}
                Ok(false) => break,
            }
        }
        Ok(())
    }
}

impl<F: FnMut(&mut Element) -> Result<bool, RowFault> + Send> Generator for F {
    fn next(&mut self, out: &mut Element) -> Result<bool, RowFault> {
        self(out)
    }
}

/// A generator as a source. A saved state says how many elements it has made, and is gone on from by making them again
/// unless it knows better, so it has to make the same each time.
#[derive(Clone)]
pub struct Generated {
    name: String,
    schema: Arc<Schema>,
    make: Arc<dyn Fn() -> Box<dyn Generator> + Send + Sync>,
}

impl Generated {
    /// The elements of `schema` that what `make` returns makes; it is called again for each pass. `name` stands for
    /// what it does, in messages and in saved states.
    pub fn new<G: Generator + 'static>(
        name: impl Into<String>,
        schema: Schema,
        make: impl Fn() -> G + Send + Sync + 'static,
    ) -> Generated {
        Generated { name: name.into(), schema: Arc::new(schema), make: Arc::new(move || Box::new(make())) }
    }

    /// An element of `schema` for each of `items`, which `fill` puts into memory.
    pub fn from_items<I>(
        name: impl Into<String>,
        schema: Schema,
        items: I,
        fill: impl Fn(I::Item, &mut Element) -> Result<(), RowFault> + Clone + Send + Sync + 'static,
    ) -> Generated
    where
        I: IntoIterator + Clone + Send + Sync + 'static,
        I::IntoIter: Send + 'static,
    {
        Generated::new(name, schema, move || {
            let (mut items, fill) = (items.clone().into_iter(), fill.clone());
            move |out: &mut Element| match items.next() {
                Some(item) => fill(item, out).map(|()| true),
                None => Ok(false),
            }
        })
    }
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generated {} {:?}", self.name, self.schema)
    }
}

impl SourceSpec for Generated {
    fn identity(&self) -> serde_json::Value {
        identity::of("generated", &(&self.name, self.schema.to_string()))
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter(&self.name, &[]);
        let file = context.names.add_other(&self.name);
        let made = Element::new(self.schema.clone(), "generated elements", &context.budget);
        let (spec, names) = (self.clone(), context.names.clone());
        let stage =
            Generate { generator: (self.make)(), spec, made, next: 0, file, names, meter: meter.clone() };
        Ok(context.node(stage, meter))
    }
}

struct Generate {
    generator: Box<dyn Generator>,
    spec: Generated,
    made: Element,
    /// Elements asked for.
    next: u64,
    file: u32,
    names: Names,
    meter: Arc<Meter>,
}

impl Generate {
    /// Whether what was made is what the schema says.
    fn check(&self) -> Result<(), RowFault> {
        let (fields, view) = (self.spec.schema.fields(), self.made.view());
        let found = view.places();
        match fields.iter().zip(found).find(|(field, place)| !field.allows(&place.shape)) {
            None if fields.len() == found.len() => Ok(()),
            None => Err(RowFault::Map(format!("{} fields, not {}", found.len(), fields.len()))),
            Some((field, place)) => Err(RowFault::Map(format!("{} for {field}", place.shape))),
        }
    }
}

impl Stage for Generate {
    fn schema(&self) -> &Arc<Schema> {
        &self.spec.schema
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        let origin = Origin { file: self.file, record: self.next, offset: 0 };
        self.made.begin(origin);
        let made = self.generator.next(&mut self.made);
        self.next += 1;
        let made = made.and_then(|more| if more { self.check().map(|()| true) } else { Ok(false) });
        self.meter.holds(self.made.held_bytes());
        made.map_err(|fault| self.names.bad(origin, fault))
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        std::mem::swap(out, &mut self.made);
        Ok(())
    }

    fn reset(&mut self, _epoch: u64) -> Result<(), DataError> {
        (self.generator, self.next) = ((self.spec.make)(), 0);
        Ok(())
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        state.numbers(&[self.next])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        [self.next] = state.numbers()?;
        let origin = Origin { file: self.file, record: self.next, offset: 0 };
        let skipped = self.generator.skip(self.next, &mut self.made);
        skipped.map_err(|fault| self.names.bad(origin, fault))
    }
}
