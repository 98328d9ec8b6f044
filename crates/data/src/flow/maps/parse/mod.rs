//! Records into fields: tf.train.Example, SequenceExample and ExampleListWithContext read straight into the memory of
//! an element, as `tf.io.parse_single_example` and its siblings parse them, without building the message.
//!
//! ```json
//! {"parse": {"features": {"label": {"dtype": "int32", "shape": []},
//!                         "x": {"dtype": "float16", "shape": [40]},
//!                         "pixels": {"raw": "uint8", "shape": [28, 28], "dtype": "float32"},
//!                         "age": {"dtype": "int64", "shape": [], "default": 0},
//!                         "boxes": {"dtype": "float32", "shape": [null, 4]},
//!                         "tags": {"dtype": "string"},
//!                         "words": {"dtype": "string", "row_lengths": "words_per_line"}},
//!            "sequence": {"frame": {"dtype": "string", "shape": []}, "tokens": {"dtype": "int64"}}}}
//! {"parse": null}
//! ```
//!
//! A shape makes a FixedLenFeature, of steps a FixedLenSequenceFeature; `null` in front a FixedLenSequenceFeature with
//! `allow_missing`; no shape a VarLenFeature, whose values are `[n]`. Ragged features, and steps without a shape,
//! become two fields, the values and `name/row_splits`. `"examples"` in place of `"sequence"` parses an
//! ExampleListWithContext. With `null` the features are [learnt](infer) from the first records. The option `field` says
//! which field holds the records, if it is not `record`; what other fields there are stay before the new ones.

mod infer;
mod spec;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget};

pub use spec::{DefaultValue, FeatureForm, FeatureSpec, MessageForm, ParseSpec, Partition};

use super::{MapOp, MapWorker};
use crate::error::DataError;
use crate::flow::element::Schema;
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::pipeline::Pipeline;
use crate::flow::sources::records::RECORD;
use crate::flow::spec::{PipelineSpec, StageSpec};
use crate::flow::stage::{Context, Node};
use crate::flow::stages::map::{MapMode, read_mode};

/// Records into fields.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Parse {
    /// What to parse; `None` to learn it from the first records.
    pub spec: Option<ParseSpec>,
    /// The field that holds the records: one string.
    pub field: String,
    /// Who does it. Parsing takes hardly longer than handing a record to another thread, so usually whoever takes the
    /// elements.
    pub mode: MapMode,
}

impl Parse {
    /// Parses `spec` out of the field `record`.
    pub fn new(spec: ParseSpec) -> Parse {
        Parse { spec: Some(spec), ..Parse::default() }
    }

    /// What there is to parse in the first records of the pipeline `before`.
    ///
    /// # Errors
    /// [`DataError`] when there is none, it is no message of TensorFlow, or two records do not agree on a feature.
    pub fn infer(&self, before: &PipelineSpec, budget: &MemoryBudget) -> Result<ParseSpec, DataError> {
        let mut pipeline = Pipeline::open(before, budget, 1)?;
        let field = self.index(pipeline.schema()).map_err(DataError::Spec)?;
        infer::infer(&mut pipeline, field)
    }

    fn index(&self, input: &Schema) -> Result<usize, String> {
        let index = input.index(&self.field)?;
        match input.fields().get(index) {
            Some(field) if field.dtype == DType::String && field.dims.is_empty() => Ok(index),
            _ => Err(format!("{} is not a single string: {input}", self.field)),
        }
    }
}

impl Default for Parse {
    /// Learns from the first records what there is to parse in the field `record`.
    fn default() -> Self {
        Parse { spec: None, field: RECORD.to_string(), mode: MapMode::Inline }
    }
}

impl StageSpec for Parse {
    fn identity(&self) -> serde_json::Value {
        identity::of("parse", self)
    }

    fn settle(
        &self,
        before: &PipelineSpec,
        context: &Context,
    ) -> Result<Option<Arc<dyn StageSpec>>, DataError> {
        if self.spec.is_some() {
            return Ok(None);
        }
        let spec = Some(self.infer(before, &context.budget)?);
        Ok(Some(Arc::new(Parse { spec, ..self.clone() })))
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        self.mode.open(vec![Arc::new(self.clone())], input, context)
    }

    fn as_map(&self) -> Option<(Arc<dyn MapOp>, MapMode)> {
        Some((Arc::new(self.clone()), self.mode))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let spec = if args.value().is_null() { None } else { Some(ParseSpec::from_json(args.value())?) };
    let field = args.text_option("field")?.unwrap_or(RECORD).to_string();
    Ok(Arc::new(Parse { spec, field, mode: read_mode(args, MapMode::Inline)? }))
}

impl MapOp for Parse {
    fn identity(&self) -> serde_json::Value {
        identity::of("parse", self)
    }

    fn name(&self) -> String {
        "parse".to_string()
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let index = self.index(input)?;
        let spec = self.spec.as_ref().ok_or("its features are not known yet")?;
        let kept = input.fields().iter().enumerate().filter(|(i, _)| *i != index);
        let mut fields: Vec<_> = kept.map(|(_, field)| field.clone()).collect();
        for feature in &spec.features {
            fields.extend(feature.fields(false)?);
        }
        for feature in &spec.steps {
            fields.extend(feature.fields(true)?);
        }
        Schema::new(fields)
    }

    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        let field = self.index(input).map_err(DataError::Spec)?;
        let spec = self.spec.as_ref().ok_or_else(|| DataError::Spec("parse: no features".to_string()))?;
        Ok(Box::new(worker::ParseWorker::new(spec, field, budget)?))
    }
}
