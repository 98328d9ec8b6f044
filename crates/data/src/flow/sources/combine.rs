//! Pipelines put together to one: `tf.data.Dataset.zip` and `concatenate`.

use std::sync::Arc;

use crate::error::{DataError, Needed};
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Names;
use crate::flow::spec::{PipelineSpec, SourceSpec};
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// One element of each pipeline together as one, until the shortest is at its end.
#[derive(Debug, Clone)]
pub struct Zip {
    /// The pipelines.
    pub inputs: Vec<PipelineSpec>,
    /// What is put before the names of the fields of each; without, all names have to differ.
    pub prefixes: Option<Vec<String>>,
}

/// The elements of one pipeline after the other. All are of one type, but for the sizes of dimensions.
#[derive(Debug, Clone)]
pub struct Concatenate {
    /// The pipelines.
    pub inputs: Vec<PipelineSpec>,
}

fn open_all(inputs: &[PipelineSpec], what: &str, context: &mut Context) -> Result<Vec<Node>, DataError> {
    if inputs.is_empty() {
        return Err(DataError::Spec(format!("{what} of no pipelines")));
    }
    inputs.iter().map(|input| input.open(context)).collect()
}

fn inner(inputs: &[PipelineSpec]) -> Vec<serde_json::Value> {
    inputs.iter().map(PipelineSpec::identity).collect()
}

impl SourceSpec for Zip {
    fn identity(&self) -> serde_json::Value {
        identity::of("zip", &(inner(&self.inputs), &self.prefixes))
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let inputs = open_all(&self.inputs, "zip", context)?;
        if self.prefixes.as_ref().is_some_and(|prefixes| prefixes.len() != inputs.len()) {
            return Err(DataError::Spec("zip: prefixes are to be as many as pipelines".to_string()));
        }
        let mut fields = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            let prefix = self.prefixes.as_ref().and_then(|prefixes| prefixes.get(number));
            fields.extend(input.schema().fields().iter().map(|field| {
                let name = format!("{}{}", prefix.map_or("", String::as_str), field.name);
                Field { name, ..field.clone() }
            }));
        }
        let schema = Schema::new(fields)
            .map_err(|why| DataError::Spec(format!("zip: {why}; prefixes would tell them apart")))?;
        let meter = context.meter("zip", &inputs.iter().collect::<Vec<_>>());
        let made = Element::new(Arc::new(schema), "zip", &context.budget);
        let names = context.names.clone();
        let zipped = Zipped { inputs, made, is_at_end: false, names, meter: meter.clone() };
        Ok(context.node(zipped, meter))
    }
}

pub(crate) fn read_zip(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    Ok(Arc::new(Zip { inputs: args.pipelines()?, prefixes: args.texts_option("prefixes")? }))
}

/// See [`Zip`].
struct Zipped {
    inputs: Vec<Node>,
    made: Element,
    is_at_end: bool,
    names: Names,
    meter: Arc<Meter>,
}

impl Stage for Zipped {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        if self.is_at_end {
            return Ok(false);
        }
        let mut first_error = None;
        for input in &mut self.inputs {
            match input.advance() {
                Ok(more) => self.is_at_end |= !more,
                // The others go on as well, so that what belongs together stays together.
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        if self.is_at_end {
            return Ok(false);
        }
        let origin = self.inputs.first().needed("a zip of nothing")?.current().origin();
        self.made.begin(origin);
        for input in &self.inputs {
            let element = input.current();
            for index in 0..element.places().len() {
                let tensor = element.tensor(index).needed("a field lies outside its element")?;
                let copied = self.made.add_copy(tensor, element.text());
                copied.map_err(|fault| self.names.bad(element.origin(), fault))?;
            }
        }
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
        self.is_at_end = false;
        self.inputs.iter_mut().try_for_each(|input| input.reset(epoch))
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.inputs.iter_mut().try_for_each(|input| input.save(state))?;
        state.numbers(&[u64::from(self.is_at_end)])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.inputs.iter_mut().try_for_each(|input| input.restore(state))?;
        let [is_at_end] = state.numbers()?;
        self.is_at_end = is_at_end != 0;
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        let rows: Option<Vec<u64>> = self.inputs.iter().map(Node::rows).collect();
        rows?.into_iter().min()
    }
}

/// What is of type `a` or of type `b`: a dimension is open where they differ.
fn merged(a: &Schema, b: &Schema) -> Result<Schema, String> {
    let is_same =
        |(a, b): (&Field, &Field)| a.name == b.name && a.dtype == b.dtype && a.dims.len() == b.dims.len();
    if a.fields().len() != b.fields().len() || !a.fields().iter().zip(b.fields()).all(is_same) {
        return Err(format!("concatenate: the elements of one pipeline are {a}, and of another {b}"));
    }
    let field = |(a, b): (&Field, &Field)| {
        let dims: Vec<_> = a.dims.iter().zip(&b.dims).map(|(a, b)| a.filter(|_| a == b)).collect();
        Field::new(&a.name, a.dtype, &dims)
    };
    Schema::new(a.fields().iter().zip(b.fields()).map(field).collect())
}

impl SourceSpec for Concatenate {
    fn identity(&self) -> serde_json::Value {
        identity::of("concatenate", &inner(&self.inputs))
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let inputs = open_all(&self.inputs, "concatenate", context)?;
        let first =
            inputs.first().ok_or_else(|| DataError::Spec("concatenate: there is no pipeline".into()))?;
        let mut schema = (**first.schema()).clone();
        for input in &inputs {
            schema = merged(&schema, input.schema()).map_err(DataError::Spec)?;
        }
        let meter = context.meter("concatenate", &inputs.iter().collect::<Vec<_>>());
        Ok(context.node(Chained { inputs, schema: Arc::new(schema), at: 0 }, meter))
    }
}

pub(crate) fn read_concatenate(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    Ok(Arc::new(Concatenate { inputs: args.pipelines()? }))
}

/// See [`Concatenate`].
struct Chained {
    inputs: Vec<Node>,
    schema: Arc<Schema>,
    /// The input whose turn it is.
    at: usize,
}

impl Stage for Chained {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while let Some(input) = self.inputs.get_mut(self.at) {
            if input.advance()? {
                return Ok(true);
            }
            self.at += 1;
        }
        Ok(false)
    }

    fn current(&self) -> ElementView<'_> {
        match self.inputs.get(self.at) {
            Some(input) => {
                let ours = input.current();
                ElementView::new(&self.schema, ours.places(), ours.values(), ours.text(), ours.origin())
            }
            None => ElementView::new(&self.schema, &[], &[], &[], Default::default()),
        }
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        match self.inputs.get_mut(self.at) {
            // An element keeps its schema when it is moved, so it has to be the same.
            Some(input) if *input.schema() == self.schema => input.take(out),
            _ => out.copy_from(&self.current()).map_err(DataError::of_fault),
        }
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.at = 0;
        self.inputs.iter_mut().try_for_each(|input| input.reset(epoch))
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.inputs.iter_mut().try_for_each(|input| input.save(state))?;
        state.numbers(&[self.at as u64])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.inputs.iter_mut().try_for_each(|input| input.restore(state))?;
        let [at] = state.numbers()?;
        self.at = at as usize;
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        self.inputs.iter().map(Node::rows).sum()
    }
}
