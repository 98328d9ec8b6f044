//! Lines of JSON: each is an object whose keys are fields, of numbers, strings and nested lists of them.
//!
//! ```json
//! {"jsonl": ["part-*.jsonl"], "columns": {"age": "int64", "image": {"dtype": "float32", "shape": [28, 28], "default": 0}},
//!  "select": ["age", "image"], "cycle": 2, "block": 8}
//! ```
//!
//! A string is text, and `{"b64": ".."}` bytes. What is not described is found from the first 100 lines: int64, float32, bool or
//! string, and each dimension that is the same in all of them. A key that is missing, or null, is its default or an error. Keys
//! whose values make no tensor there are left out, as are those that come later. Where the first line is no object, each is a
//! value of the one field `value`. Blank lines are passed over.

mod learn;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::DType;

use self::learn::Learnt;
use self::rows::{Fields, LineFormat};
use super::files::{Interleave, open_files, read_interleave};
use crate::error::DataError;
use crate::flow::element::{Field, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read, read_dtype};
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::{Wanted, list_of};

const PURPOSE: &str = "JSON line";

/// Files of JSON lines as a source.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JsonLines {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// The types and shapes of fields; others are found.
    pub columns: Vec<JsonColumn>,
    /// The keys that become fields, in order; `None` for all whose values are tensors.
    pub select: Option<Vec<String>>,
    /// Types that whoever takes the rows wants of fields that nothing else is said of.
    #[serde(serialize_with = "identity::dtypes")]
    pub wanted: Vec<(String, DType)>,
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct JsonColumn {
    /// The key.
    pub name: String,
    /// The type of its values.
    #[serde(serialize_with = "identity::dtype")]
    pub dtype: DType,
    /// Its shape; `None` for a dimension that differs from line to line.
    pub dims: Vec<Option<usize>>,
    /// What each element is where the key is missing: a number, true, false or text; `None` when it may not be.
    pub default: Option<Value>,
}

impl JsonLines {
    /// Lines whose fields are found.
    pub fn new(paths: Vec<PathBuf>) -> JsonLines {
        JsonLines {
            paths,
            interleave: Interleave::default(),
            columns: Vec::new(),
            select: None,
            wanted: Vec::new(),
        }
    }
}

impl JsonColumn {
    fn read(name: &str, value: &Value) -> Read<JsonColumn> {
        let wrong = |why: String| format!("jsonl: column {name:?}: {why}");
        let Some(object) = value.as_object() else {
            let dtype = read_dtype(value).map_err(wrong)?;
            return Ok(JsonColumn { name: name.to_string(), dtype, dims: Vec::new(), default: None });
        };
        if let Some(key) = object.keys().find(|key| !["dtype", "shape", "default"].contains(&key.as_str())) {
            return Err(wrong(format!("dtype, shape and default, not {key:?}")));
        }
        let dtype = object.get("dtype").ok_or_else(|| wrong("it has no dtype".to_string()))?;
        let dim = |dim: &Value| match dim {
            Value::Null => Some(None),
            dim => dim.as_u64().map(|dim| Some(dim as usize)),
        };
        let dims = match object.get("shape") {
            None => Vec::new(),
            Some(shape) => shape
                .as_array()
                .and_then(|dims| dims.iter().map(dim).collect::<Option<Vec<_>>>())
                .ok_or_else(|| wrong(format!("{shape} is no shape, as [null, 3]")))?,
        };
        let default = match object.get("default") {
            Some(default @ (Value::Null | Value::Array(_) | Value::Object(_))) => {
                return Err(wrong(format!("{default} is not a default")));
            }
            default => default.cloned(),
        };
        Ok(JsonColumn { name: name.to_string(), dtype: read_dtype(dtype).map_err(wrong)?, dims, default })
    }
}

impl SourceSpec for JsonLines {
    fn identity(&self) -> Value {
        identity::of("jsonl", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::JSON_LINES), &context.access, &context.budget)?;
        let Learnt { columns, is_bare, reservation } = self.learn(&list, &context.budget)?;
        let fields = columns.iter().map(|c| Field::new(&c.spec.name, c.spec.dtype, &c.spec.dims)).collect();
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let places = columns.iter().enumerate().map(|(index, c)| (c.spec.name.clone(), index)).collect();
        let fields = Arc::new(Fields { columns, places, is_bare, _counted: reservation });
        let format = LineFormat { schema, fields, budget: context.budget.clone() };
        open_files("jsonl", format, list, self.interleave, context)
    }

    fn wanting(&self, types: &[(String, DType)]) -> Option<Arc<dyn SourceSpec>> {
        Some(Arc::new(JsonLines { wanted: types.to_vec(), ..self.clone() }))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let mut lines = JsonLines::new(args.paths()?);
    lines.interleave = read_interleave(args)?;
    lines.select = args.texts_option("select")?;
    if let Some(columns) = args.option("columns") {
        let columns = columns.as_object().ok_or_else(|| args.wrong("columns", "an object of columns"))?;
        lines.columns =
            columns.iter().map(|(name, value)| JsonColumn::read(name, value)).collect::<Read<_>>()?;
    }
    Ok(Arc::new(lines))
}
