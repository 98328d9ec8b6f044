//! Records as JSON for people: lists and long values are cut, and say so.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};
use tightfit_core::{MemoryBudget, Reservation};
use tightfit_data::storage;
use tightfit_format::example::list::ExampleListWithContext;
use tightfit_format::example::sequence::SequenceExample;
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind};
use tightfit_format::message::MessageKind;
use tightfit_format::tfrecord::Record;

use super::files::{RecordFile, record_error};
use crate::error::Error;

/// How much of each thing is shown.
pub(crate) const SHOWN_VALUES: usize = 16;
const SHOWN_BYTES: usize = 64;
const SHOWN_FEATURES: usize = 256;

/// The first records of a file, one after the other.
pub struct Head {
    file: RecordFile,
    left: u64,
    _stores: Option<Reservation>,
}

/// The first `records` of `path`.
///
/// # Errors
/// [`Error`] when it cannot be opened or `budget` is too small.
pub fn head(path: &Path, records: u64, budget: &MemoryBudget) -> Result<Head, Error> {
    let stores = storage::reserve(path, budget)?;
    Ok(Head { file: RecordFile::open(path, budget)?, left: records, _stores: stores })
}

impl Head {
    /// The next record as a JSON object: `record`, `offset`, `bytes`, `message`, and the message's fields. `None` at the
    /// end.
    ///
    /// # Errors
    /// [`Error`] for a bad record; the next call goes on after it, as far as the file allows.
    pub fn next_record(&mut self) -> Result<Option<Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.file.advance()?.map_err(record_error)? {
            true => Ok(Some(record_json(&self.file.current()))),
            false => Ok(None),
        }
    }
}

fn record_json(record: &Record<'_>) -> Value {
    let kind = MessageKind::of(record.data);
    let mut value = json!({
        "record": record.index,
        "offset": record.offset,
        "bytes": record.data.len(),
        "message": kind.name(),
    });
    // The kind was found by walking the message, so only the values themselves can be broken.
    let fields =
        fields_of(kind, record.data).unwrap_or_else(|error| vec![("error", json!(error.to_string()))]);
    if let Some(object) = value.as_object_mut() {
        object.extend(fields.into_iter().map(|(name, field)| (name.to_string(), field)));
    }
    value
}

fn fields_of(kind: MessageKind, data: &[u8]) -> Result<Vec<(&'static str, Value)>, ExampleError> {
    Ok(match kind {
        MessageKind::Example => vec![("features", features_json(Example::new(data).features())?)],
        MessageKind::SequenceExample => {
            let sequence = SequenceExample::new(data);
            let mut lists = Map::new();
            for entry in sequence.feature_lists().take(SHOWN_FEATURES) {
                let (name, list) = entry?;
                let steps = list.clone().take(SHOWN_VALUES).map(|step| feature_json(&step?));
                let steps = steps.collect::<Result<Vec<_>, _>>()?;
                lists.insert(text_of(name), json!({"steps": list.count(), "values": steps}));
            }
            vec![("context", features_json(sequence.context())?), ("feature_lists", Value::Object(lists))]
        }
        MessageKind::ExampleListWithContext => {
            let list = ExampleListWithContext::new(data);
            let examples = list.examples().take(SHOWN_VALUES).map(|e| features_json(e?.features()));
            vec![
                ("context", features_json(list.context())?),
                ("example_count", json!(list.examples().count())),
                ("examples", Value::Array(examples.collect::<Result<_, _>>()?)),
            ]
        }
        MessageKind::Other => vec![("data", bytes_json(data))],
    })
}

fn features_json<'a>(
    features: impl Iterator<Item = Result<(&'a [u8], Feature<'a>), ExampleError>>,
) -> Result<Value, ExampleError> {
    let mut object = Map::new();
    for entry in features.take(SHOWN_FEATURES) {
        let (name, feature) = entry?;
        object.insert(text_of(name), feature_json(&feature)?);
    }
    Ok(Value::Object(object))
}

fn feature_json(feature: &Feature<'_>) -> Result<Value, ExampleError> {
    let values: Vec<Value> = match feature.kind() {
        FeatureKind::Empty => Vec::new(),
        FeatureKind::Bytes => {
            feature.bytes().take(SHOWN_VALUES).map(|v| v.map(bytes_json)).collect::<Result<_, _>>()?
        }
        FeatureKind::Int64 => {
            feature.ints().take(SHOWN_VALUES).map(|v| v.map(Value::from)).collect::<Result<_, _>>()?
        }
        FeatureKind::Float => {
            let mut floats = [0.0; SHOWN_VALUES];
            let count = feature.read_floats(&mut floats)?;
            floats.iter().take(count).map(|v| float_json(*v)).collect()
        }
    };
    Ok(json!({"kind": kind_name(feature.kind()), "count": feature.count()?, "values": values}))
}

/// The name of the list in the message.
pub fn kind_name(kind: FeatureKind) -> &'static str {
    match kind {
        FeatureKind::Empty => "empty",
        FeatureKind::Bytes => "bytes",
        FeatureKind::Float => "float",
        FeatureKind::Int64 => "int64",
    }
}

fn text_of(name: &[u8]) -> String {
    let shown = String::from_utf8_lossy(name.get(..4 * SHOWN_BYTES).unwrap_or(name));
    shown.into_owned()
}

/// The shortest number that is this float32; JSON has none for infinities and NaN.
pub(crate) fn float_json(value: f32) -> Value {
    match value.to_string().parse::<f64>() {
        Ok(number) if number.is_finite() => json!(number),
        _ => json!(value.to_string()),
    }
}

/// A short text as it is; else as much as is shown, as text or in base64, and how long it is.
pub(crate) fn bytes_json(bytes: &[u8]) -> Value {
    let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // A character that the cut goes through.
        Err(error) if error.error_len().is_none() && shown.len() < bytes.len() => {
            shown.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    };
    let text = text.filter(|t| !t.chars().any(|c| c.is_control() && !c.is_whitespace()));
    match text {
        Some(text) if shown.len() == bytes.len() => json!(text),
        Some(text) => json!({"text": text, "bytes": bytes.len()}),
        None => json!({"b64": BASE64_STANDARD.encode(shown), "bytes": bytes.len()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_say_so() {
        assert_eq!(bytes_json("für".as_bytes()), json!("für"));
        assert_eq!(bytes_json(&[0, 1]), json!({"b64": "AAE=", "bytes": 2}));
        let long = "é".repeat(40);
        // 64 bytes hold 32 of them; one byte before, the cut goes through a character.
        assert_eq!(bytes_json(long.as_bytes()), json!({"text": "é".repeat(32), "bytes": 80}));
        let shifted = format!("a{long}");
        assert_eq!(
            bytes_json(shifted.as_bytes()),
            json!({"text": format!("a{}", "é".repeat(31)), "bytes": 81})
        );
        assert_eq!(float_json(0.1), json!(0.1));
        assert_eq!(float_json(f32::NAN), json!("NaN"));
        assert_eq!(float_json(f32::NEG_INFINITY), json!("-inf"));
    }
}
