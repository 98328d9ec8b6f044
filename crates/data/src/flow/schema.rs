//! The JSON schema of pipelines. It is what the readers themselves say: each reads the example of its source or stage, and
//! the schema has the options that it asks for, as what it asks for them.

use serde_json::{Map, Value, json};

use super::catalogue::{SOURCES, STAGES};
use super::json::{Args, Read, look_at};

/// What a value is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Whole,
    Size,
    Flag,
    Text,
    /// Or a single one, as [`Kind::Floats`].
    Texts,
    Wholes,
    Floats,
    Object,
    TextPairs,
    Pipelines,
}

impl Kind {
    fn schema(self) -> Value {
        let list = |items: Value| json!({"type": "array", "items": items});
        match self {
            Kind::Any => json!({}),
            Kind::Whole => json!({"type": "integer", "minimum": 0}),
            Kind::Size => json!({"$ref": "#/$defs/size"}),
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Text => json!({"type": "string"}),
            Kind::Texts => json!({"anyOf": [{"type": "string"}, list(json!({"type": "string"}))]}),
            Kind::Wholes => list(json!({"type": "integer", "minimum": 0})),
            Kind::Floats => json!({"anyOf": [{"type": "number"}, list(json!({"type": "number"}))]}),
            Kind::Object => json!({"type": "object"}),
            Kind::TextPairs => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            Kind::Pipelines => list(json!({"$ref": "#/$defs/pipeline"})),
        }
    }
}

/// The schema of what was read as `args`.
fn of(args: &Args<'_>, about: &str) -> Value {
    let mut own = args.taken.get().map_or_else(|| json!({}), Kind::schema);
    if args.may_be_null.get() && args.taken.get().is_some() {
        own = json!({"anyOf": [own, {"type": "null"}]});
    }
    let mut properties = Map::new();
    properties.insert(args.name().to_string(), own);
    for (key, kind) in args.asked.iter().chain(&args.mentioned) {
        properties.entry(*key).or_insert_with(|| kind.schema());
    }
    json!({
        "type": "object",
        "description": about,
        "properties": properties,
        "required": [args.name()],
        "additionalProperties": false,
    })
}

/// A stage of whoever runs pipelines: an example with all its options, what it is, and its reader.
pub type OtherStage<'a> = (&'a str, &'a str, &'a dyn Fn(&mut Args<'_>) -> Read<()>);

/// The JSON schema (draft 2020-12) of pipelines whose stages are those known here and `others`.
///
/// # Errors
/// What is wrong with the example of a stage.
pub fn json_schema(others: &[OtherStage<'_>]) -> Read<Value> {
    let (mut sources, mut stages) = (Vec::new(), Vec::new());
    for entry in SOURCES {
        // What this build does not read is not in its schema.
        let _ = look_at(entry.example, entry.read, |args| sources.push(of(args, entry.about)));
    }
    for entry in STAGES {
        look_at(entry.example, entry.read, |args| stages.push(of(args, entry.about)))?;
    }
    for (example, about, read) in others {
        look_at(example, read, |args| stages.push(of(args, about)))?;
    }
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of TightFit",
        "$ref": "#/$defs/pipeline",
        "$defs": {
            "pipeline": {
                "type": "object",
                "properties": {
                    "source": {"$ref": "#/$defs/source"},
                    "stages": {"type": "array", "items": {"$ref": "#/$defs/stage"}},
                },
                "required": ["source"],
                "additionalProperties": false,
            },
            "size": {
                "description": "Bytes: a number, or text such as 64MiB",
                "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}],
            },
            "source": {"anyOf": sources},
            "stage": {"anyOf": stages},
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::OPS;

    /// Whether `value` is what `schema` says, by the words that schemas have here.
    fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
        let all = |list: Option<&Value>, mut test: Box<dyn FnMut(&Value) -> bool + '_>| {
            list.and_then(Value::as_array).is_none_or(|list| list.iter().any(&mut test))
        };
        let target = schema.get("$ref").and_then(Value::as_str);
        let is_target = target.is_none_or(|to| is_valid(root, root.pointer(&to[1..]).unwrap(), value));
        let is_type = match schema.get("type").and_then(Value::as_str) {
            None => true,
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("number") => value.is_number(),
            Some("integer") => value.as_u64().is_some(),
            Some("null") => value.is_null(),
            Some(other) => panic!("{other}"),
        };
        let has_items = value
            .as_array()
            .into_iter()
            .flatten()
            .all(|item| schema.get("items").is_none_or(|items| is_valid(root, items, item)));
        let has_properties = value.as_object().into_iter().flatten().all(|(key, item)| {
            match schema.get("properties").and_then(|known| known.get(key)) {
                Some(known) => is_valid(root, known, item),
                None => match schema.get("additionalProperties") {
                    None => true,
                    Some(Value::Bool(any)) => *any,
                    Some(others) => is_valid(root, others, item),
                },
            }
        });
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let has_required = required.clone().all(|key| value.get(key.as_str().unwrap()).is_some());
        is_target
            && is_type
            && has_items
            && has_properties
            && has_required
            && all(schema.get("anyOf"), Box::new(|schema| is_valid(root, schema, value)))
    }

    #[test]
    fn the_schema_takes_what_readers_take() {
        let schema = json_schema(&[]).unwrap();
        let stages = STAGES.iter().map(|entry| entry.example.to_string());
        let ops = OPS.iter().map(|op| {
            let given = op.arguments.iter().map(|key| format!(", {:?}: 1", key.trim_matches(['[', ']'])));
            format!(r#"{{"image": {:?}, "field": "x"{}}}"#, op.name, given.collect::<String>())
        });
        for stage in stages.chain(ops) {
            let pipeline = format!(r#"{{"source": {{"range": 3}}, "stages": [{stage}]}}"#);
            assert!(is_valid(&schema, &schema, &serde_json::from_str(&pipeline).unwrap()), "{stage}");
        }
        let is_known = |entry: &str| cfg!(feature = "arrow") || !["arrow", "parquet"].contains(&entry);
        for entry in SOURCES.iter().filter(|entry| is_known(entry.name)) {
            let pipeline = format!(r#"{{"source": {}}}"#, entry.example);
            assert!(is_valid(&schema, &schema, &serde_json::from_str(&pipeline).unwrap()), "{}", entry.name);
        }
        for pipeline in [
            r#"{"stages": []}"#,
            r#"{"source": {"range": 3}, "stage": []}"#,
            r#"{"source": {"rang": 3}}"#,
            r#"{"source": {"tfrecord": "a", "cycles": 4}}"#,
            r#"{"source": {"range": 3}, "stages": [{"batch": "many"}]}"#,
            r#"{"source": {"range": 3}, "stages": [{"batch": 3, "drop_remainder": 1}]}"#,
            r#"{"source": {"range": 3}, "stages": [{"select": 3}]}"#,
            r#"{"source": {"zip": [{"sauce": 1}]}}"#,
        ] {
            assert!(!is_valid(&schema, &schema, &serde_json::from_str(pipeline).unwrap()), "{pipeline}");
        }
        for repeat in ["3", "null"] {
            let pipeline = format!(r#"{{"source": {{"range": 3}}, "stages": [{{"repeat": {repeat}}}]}}"#);
            assert!(is_valid(&schema, &schema, &serde_json::from_str(&pipeline).unwrap()), "{repeat}");
        }
    }
}
