//! What is parsed out of a record: its features with their types and shapes, as code and as JSON.

use serde_json::{Map, Value, json};
use tightfit_core::{DType, Shape};

use crate::convert::{can_cast, cast};
use crate::error::RowFault;
use crate::flow::element::Field;
use crate::flow::identity;
use crate::flow::json::{Read, read_dtype};

/// Which message records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum MessageForm {
    /// tf.train.Example.
    Example,
    /// tf.train.SequenceExample: features are those of its context, steps those of its feature lists.
    SequenceExample,
    /// ExampleListWithContext: features are those of its context, steps those of its examples.
    ExampleListWithContext,
}

/// What to parse.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ParseSpec {
    /// The message.
    pub message: MessageForm,
    /// Features of the record, or of its context.
    pub features: Vec<FeatureSpec>,
    /// Features of each step or example, all of them together.
    pub steps: Vec<FeatureSpec>,
}

/// A feature to parse.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FeatureSpec {
    /// What it is called in the record, and the field that it becomes.
    pub name: String,
    /// The type of the field: float types are read from floats, all numbers from integers that fit, strings from byte
    /// strings.
    #[serde(serialize_with = "identity::dtype")]
    pub dtype: DType,
    /// Its shape.
    pub form: FeatureForm,
    /// The feature is one byte string that is numbers of this type as they lie in memory, little-endian, as
    /// `tf.io.decode_raw` reads it.
    #[serde(serialize_with = "identity::dtype_option")]
    pub raw: Option<DType>,
    /// What it is where it is missing.
    pub default: Option<DefaultValue>,
    /// Whether a feature of no fixed count that is missing is one of no values, or an error.
    pub allow_missing: bool,
}

/// The shape of a feature.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum FeatureForm {
    /// Always this, as of a FixedLenFeature. Of steps: `[steps, ...]`, as of a FixedLenSequenceFeature.
    Fixed(Vec<usize>),
    /// `[n, ...]` with this after the first dimension, as of a FixedLenSequenceFeature with `allow_missing`; as of a
    /// VarLenFeature, if that is nothing. Of steps it is nothing, and they are ragged: the values of all in one
    /// field, and where each begins and ends in another, `name/row_splits`.
    Variable(Vec<usize>),
    /// Ragged rows of values: a field of all values, and `name/row_splits`.
    Ragged(Partition),
}

/// Which feature says where the rows of a ragged feature are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum Partition {
    /// The feature of this name has the length of each row.
    RowLengths(String),
    /// The feature of this name has where each row begins, and where the last ends.
    RowSplits(String),
}

/// What a feature is where it is missing: as many values as it has, or one for all.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub enum DefaultValue {
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f64>),
    /// Byte strings.
    Strings(Vec<Vec<u8>>),
}

/// What is put after the name of a ragged feature for that of its row splits.
const ROW_SPLITS: &str = "/row_splits";

impl FeatureSpec {
    /// A feature that has this shape in each record.
    pub fn fixed(name: impl Into<String>, dtype: DType, dims: &[usize]) -> FeatureSpec {
        let (name, form) = (name.into(), FeatureForm::Fixed(dims.to_vec()));
        FeatureSpec { name, dtype, form, raw: None, default: None, allow_missing: false }
    }

    /// A feature with any number of values, none where it is missing.
    pub fn variable(name: impl Into<String>, dtype: DType) -> FeatureSpec {
        let (name, form) = (name.into(), FeatureForm::Variable(Vec::new()));
        FeatureSpec { name, dtype, form, raw: None, default: None, allow_missing: true }
    }

    /// The fields that it becomes.
    pub(super) fn fields(&self, is_step: bool) -> Read<Vec<Field>> {
        let wrong = |why: &str| Err(format!("feature {:?}: {why}", self.name));
        let from = self.raw.unwrap_or(self.dtype);
        if self.raw == Some(DType::String) || !can_cast(from, self.dtype) {
            return wrong(&format!("{from} values do not become {}; convert them first", self.dtype));
        }
        if self.raw.is_none() && self.dtype.is_complex() {
            return wrong("there are no complex features but raw ones");
        }
        let values = |dims: &[Option<usize>]| Field::new(&self.name, self.dtype, dims);
        let with_splits = || {
            let splits = Field::new(format!("{}{ROW_SPLITS}", self.name), DType::I64, &[None]);
            Ok(vec![values(&[None]), splits])
        };
        if self.default.is_some() && (is_step || !matches!(self.form, FeatureForm::Fixed(_))) {
            return wrong("only features of a record with a fixed shape have a default");
        }
        match &self.form {
            FeatureForm::Fixed(dims) => {
                Shape::new(dims).map_err(|e| format!("feature {:?}: {e}", self.name))?;
                self.default_bytes()?;
                let field = Field::fixed(&self.name, self.dtype, dims);
                Ok(vec![if is_step { field.batched(None) } else { field }])
            }
            FeatureForm::Variable(inner) if !is_step => {
                match Shape::new(inner) {
                    Ok(shape) if shape.elements() > 0 => {}
                    _ => return wrong("its shape has no elements, or too many"),
                }
                Ok(vec![Field::fixed(&self.name, self.dtype, inner).batched(None)])
            }
            FeatureForm::Variable(inner) if inner.is_empty() && self.raw.is_none() => with_splits(),
            FeatureForm::Ragged(_) if !is_step && self.raw.is_none() => with_splits(),
            _ => wrong("such a shape is not parsed here"),
        }
    }

    /// Its default as one value or as many as it has: numbers of its type, or nothing for strings.
    pub(super) fn default_bytes(&self) -> Read<Vec<u8>> {
        let wrong = |why: &str| Err(format!("feature {:?}: the default {why}", self.name));
        let FeatureForm::Fixed(dims) = &self.form else { return Ok(Vec::new()) };
        let count = |count: usize| count == 1 || Some(count) == Shape::new(dims).ok().map(|s| s.elements());
        let (from, bytes): (_, &[u8]) = match &self.default {
            None => return Ok(Vec::new()),
            Some(DefaultValue::Strings(strings)) if self.dtype == DType::String => {
                return if count(strings.len()) { Ok(Vec::new()) } else { wrong("has another shape") };
            }
            Some(DefaultValue::Strings(_)) => return wrong("is text"),
            Some(DefaultValue::Ints(values)) => (DType::I64, bytemuck::cast_slice(values)),
            Some(DefaultValue::Floats(values)) => (DType::F64, bytemuck::cast_slice(values)),
        };
        let values = bytes.len() / 8;
        if !count(values) {
            return wrong("has another shape");
        }
        let mut out = vec![0; values * self.dtype.bytes()];
        match cast(from, bytes, self.dtype, &mut out) {
            Ok(()) => Ok(out),
            Err(RowFault::Range { value, .. }) => wrong(&format!("{value} does not fit {}", self.dtype)),
            Err(_) => wrong(&format!("does not become {}", self.dtype)),
        }
    }

    fn read(name: &str, value: &Value, is_step: bool) -> Read<FeatureSpec> {
        let wrong = |why: String| format!("feature {name:?}: {why}");
        let object = value.as_object().ok_or_else(|| wrong(format!("{value} is not an object")))?;
        let known = ["dtype", "shape", "raw", "default", "allow_missing", "row_lengths", "row_splits"];
        if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(wrong(format!("there is no option {key:?}, but {}", known.join(", "))));
        }
        let raw = object.get("raw").map(read_dtype).transpose().map_err(wrong)?;
        let dtype = object.get("dtype").map(read_dtype).transpose().map_err(wrong)?;
        let dtype = dtype.or(raw).ok_or_else(|| wrong("it has no dtype".to_string()))?;
        let form = read_form(object).map_err(wrong)?;
        let allow_missing = match object.get("allow_missing") {
            // As in TensorFlow a list of steps must be there, if each has a shape.
            None => !is_step || matches!(form, FeatureForm::Variable(_)),
            Some(flag) => flag.as_bool().ok_or_else(|| wrong(format!("allow_missing is {flag}")))?,
        };
        let default = object.get("default").map(read_default).transpose().map_err(wrong)?;
        let spec = FeatureSpec { name: name.to_string(), dtype, form, raw, default, allow_missing };
        spec.fields(is_step)?;
        Ok(spec)
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("dtype".to_string(), json!(self.dtype.name()));
        match &self.form {
            FeatureForm::Fixed(dims) => drop(object.insert("shape".to_string(), json!(dims))),
            FeatureForm::Variable(inner) if inner.is_empty() => {}
            FeatureForm::Variable(inner) => {
                let dims: Vec<_> = std::iter::once(None).chain(inner.iter().map(Some)).collect();
                object.insert("shape".to_string(), json!(dims));
            }
            FeatureForm::Ragged(Partition::RowLengths(key)) => {
                drop(object.insert("row_lengths".to_string(), json!(key)));
            }
            FeatureForm::Ragged(Partition::RowSplits(key)) => {
                drop(object.insert("row_splits".to_string(), json!(key)));
            }
        }
        if let Some(raw) = self.raw {
            object.insert("raw".to_string(), json!(raw.name()));
        }
        let default = self.default.as_ref().map(|default| match default {
            DefaultValue::Ints(values) => json!(values),
            DefaultValue::Floats(values) => json!(values),
            DefaultValue::Strings(values) => {
                json!(values.iter().map(|v| String::from_utf8_lossy(v)).collect::<Vec<_>>())
            }
        });
        object.extend(default.map(|default| ("default".to_string(), default)));
        object.insert("allow_missing".to_string(), json!(self.allow_missing));
        Value::Object(object)
    }
}

fn read_form(object: &Map<String, Value>) -> Read<FeatureForm> {
    let text = |key: &str| object.get(key).map(|v| v.as_str().ok_or_else(|| format!("{key} is {v}")));
    if let Some(key) = text("row_lengths") {
        return Ok(FeatureForm::Ragged(Partition::RowLengths(key?.to_string())));
    }
    if let Some(key) = text("row_splits") {
        return Ok(FeatureForm::Ragged(Partition::RowSplits(key?.to_string())));
    }
    let Some(shape) = object.get("shape") else { return Ok(FeatureForm::Variable(Vec::new())) };
    let wrong = || format!("{shape} is not a shape such as [28, 28], or [null, 3] for any number of threes");
    let dims = shape.as_array().ok_or_else(wrong)?;
    let (is_variable, dims) = match dims.split_first() {
        Some((Value::Null, inner)) => (true, inner),
        _ => (false, &dims[..]),
    };
    let size = |dim: &Value| dim.as_u64().and_then(|dim| usize::try_from(dim).ok()).ok_or_else(wrong);
    let dims = dims.iter().map(size).collect::<Read<_>>()?;
    Ok(if is_variable { FeatureForm::Variable(dims) } else { FeatureForm::Fixed(dims) })
}

fn read_default(value: &Value) -> Read<DefaultValue> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    let all = |is: fn(&Value) -> bool| values.iter().all(is);
    if all(Value::is_i64) {
        Ok(DefaultValue::Ints(values.iter().filter_map(Value::as_i64).collect()))
    } else if all(Value::is_number) {
        Ok(DefaultValue::Floats(values.iter().filter_map(Value::as_f64).collect()))
    } else if all(Value::is_string) {
        let strings = values.iter().filter_map(Value::as_str);
        Ok(DefaultValue::Strings(strings.map(|s| s.as_bytes().to_vec()).collect()))
    } else {
        Err(format!("{value} is not a default: give numbers or text, one or a list"))
    }
}

impl ParseSpec {
    /// Reads `{"features": {...}, "sequence": {...}}`, or `"examples"` in place of `"sequence"`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(value: &Value) -> Read<ParseSpec> {
        let object =
            value.as_object().ok_or_else(|| format!("parse: {value} is not an object of features"))?;
        if let Some(key) = object.keys().find(|k| !["features", "sequence", "examples"].contains(&k.as_str()))
        {
            return Err(format!("parse: features, sequence or examples, not {key:?}"));
        }
        let list = |key: &str, is_step| match object.get(key) {
            None => Ok(Vec::new()),
            Some(features) => {
                let features = features.as_object().ok_or_else(|| format!("parse: {key} is {features}"))?;
                features.iter().map(|(name, value)| FeatureSpec::read(name, value, is_step)).collect()
            }
        };
        let (message, steps) = match (object.get("sequence"), object.get("examples")) {
            (None, None) => (MessageForm::Example, ""),
            (Some(_), None) => (MessageForm::SequenceExample, "sequence"),
            (None, Some(_)) => (MessageForm::ExampleListWithContext, "examples"),
            _ => return Err("parse: a record has a sequence or examples, not both".to_string()),
        };
        Ok(ParseSpec { message, features: list("features", false)?, steps: list(steps, true)? })
    }

    /// The description in JSON that gives this: what stands after `"parse"`.
    pub fn to_json(&self) -> Value {
        let list = |features: &[FeatureSpec]| {
            Value::Object(features.iter().map(|f| (f.name.clone(), f.to_json())).collect())
        };
        let mut object = Map::new();
        object.insert("features".to_string(), list(&self.features));
        let steps = match self.message {
            MessageForm::Example => return Value::Object(object),
            MessageForm::SequenceExample => "sequence",
            MessageForm::ExampleListWithContext => "examples",
        };
        object.insert(steps.to_string(), list(&self.steps));
        Value::Object(object)
    }
}
