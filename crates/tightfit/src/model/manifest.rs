//! `manifest.json`: what the parts of a model are, and how they go together.

use std::fs;
use std::path::{Component, Path};

use serde_json::{Value, json};

use crate::error::Error;

/// The file beside the parts.
pub const FILE: &str = "manifest.json";

/// Of a later version something else is meant.
const VERSION: u64 = 1;

/// The largest manifest that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A tensor that a part takes or gives: what its signature calls it, and which tensor of the whole model it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPort {
    /// The key in the part's signature.
    pub key: String,
    /// The tensor of the whole model: `node` or `node:output`, or what the model calls an input or output.
    pub tensor: String,
    /// Its type.
    pub dtype: String,
    /// Its shape, -1 where it is open; `None` where nothing is known of it.
    pub shape: Option<Vec<i64>>,
}

/// A part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The folder of its SavedModel, beside the manifest.
    pub folder: String,
    /// What it takes.
    pub inputs: Vec<PartPort>,
    /// What it gives.
    pub outputs: Vec<PartPort>,
    /// Nodes of the model in it.
    pub nodes: usize,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Bytes of one row that goes on to later parts.
    pub carried_bytes: u64,
}

/// A model in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The file that it was made of.
    pub model: String,
    /// What the model takes.
    pub inputs: Vec<String>,
    /// What it gives; the last part gives all of it.
    pub outputs: Vec<String>,
    /// The parts, in the order in which they run.
    pub parts: Vec<Part>,
}

impl Manifest {
    /// The manifest of the parts in `folder`, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, and [`Error::Data`] for one that is none or does not agree with
    /// itself.
    pub fn read(folder: &Path) -> Result<Option<Manifest>, Error> {
        let path = folder.join(FILE);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            _ => return Ok(None),
        };
        if folder.join("saved_model.pb").is_file() {
            return Ok(None);
        }
        if metadata.len() > MAX_BYTES {
            return Err(Error::data(&path, "is larger than a manifest is"));
        }
        let text = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| Error::data(&path, format!("is no manifest: {error}")))?;
        let manifest = Manifest::parse(&value).map_err(|why| Error::data(&path, why))?;
        manifest.check().map_err(|why| Error::data(&path, why))?;
        for part in &manifest.parts {
            if !folder.join(&part.folder).is_dir() {
                return Err(Error::data(
                    &path,
                    format!("names the part '{}', which is not there", part.folder),
                ));
            }
        }
        Ok(Some(manifest))
    }

    fn parse(value: &Value) -> Result<Manifest, String> {
        match value.get("tightfit_partition").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("is of version {other}; {VERSION} is known here")),
            None => return Err("is no manifest of a partitioned model".to_string()),
        }
        let parts = list(value, "parts")?.iter().map(|part| {
            Ok(Part {
                folder: text(part, "folder")?,
                inputs: list(part, "inputs")?.iter().map(port).collect::<Result<_, String>>()?,
                outputs: list(part, "outputs")?.iter().map(port).collect::<Result<_, String>>()?,
                nodes: part.get("nodes").and_then(Value::as_u64).unwrap_or(0) as usize,
                weight_bytes: part.get("weight_bytes").and_then(Value::as_u64).unwrap_or(0),
                carried_bytes: part.get("carried_bytes").and_then(Value::as_u64).unwrap_or(0),
            })
        });
        Ok(Manifest {
            model: text(value, "model")?,
            inputs: names(value, "inputs")?,
            outputs: names(value, "outputs")?,
            parts: parts.collect::<Result<_, String>>()?,
        })
    }

    /// Each part is a folder beside the manifest, and takes what is there by then; the last one gives what the model does.
    fn check(&self) -> Result<(), String> {
        let mut known: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        let Some(last) = self.parts.last() else { return Err("names no parts".to_string()) };
        for part in &self.parts {
            let mut components = Path::new(&part.folder).components();
            if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
                return Err(format!("names the part '{}', which is no folder beside it", part.folder));
            }
            if let Some(port) = part.inputs.iter().find(|port| !known.contains(&port.tensor.as_str())) {
                return Err(format!(
                    "part '{}' takes '{}', which no part before it gives",
                    part.folder, port.tensor
                ));
            }
            known.extend(part.outputs.iter().map(|port| port.tensor.as_str()));
        }
        match self.outputs.iter().find(|name| !last.outputs.iter().any(|port| port.key == **name)) {
            Some(name) => Err(format!("the last part does not give the output '{name}'")),
            None => Ok(()),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let port = |port: &PartPort| json!({"key": port.key, "tensor": port.tensor, "dtype": port.dtype, "shape": port.shape});
        let ports = |list: &[PartPort]| list.iter().map(port).collect::<Vec<_>>();
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "folder": part.folder,
                    "nodes": part.nodes,
                    "weight_bytes": part.weight_bytes,
                    "carried_bytes": part.carried_bytes,
                    "inputs": ports(&part.inputs),
                    "outputs": ports(&part.outputs),
                })
            })
            .collect();
        let value = json!({
            "tightfit_partition": VERSION,
            "model": self.model,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "parts": parts,
        });
        format!("{value:#}\n")
    }
}

fn text(value: &Value, key: &str) -> Result<String, String> {
    value.get(key).and_then(Value::as_str).map(str::to_string).ok_or_else(|| format!("has no text '{key}'"))
}

fn list<'v>(value: &'v Value, key: &str) -> Result<&'v Vec<Value>, String> {
    value.get(key).and_then(Value::as_array).ok_or_else(|| format!("has no list '{key}'"))
}

fn names(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let name = |value: &Value| {
        value.as_str().map(str::to_string).ok_or_else(|| format!("'{key}' is no list of texts"))
    };
    list(value, key)?.iter().map(name).collect()
}

fn port(value: &Value) -> Result<PartPort, String> {
    let dims = value.get("shape").and_then(Value::as_array);
    let shape = dims.map(|dims| dims.iter().map(|dim| dim.as_i64().unwrap_or(-1)).collect());
    Ok(PartPort {
        key: text(value, "key")?,
        tensor: text(value, "tensor")?,
        dtype: text(value, "dtype")?,
        shape,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(key: &str, tensor: &str) -> PartPort {
        PartPort { key: key.into(), tensor: tensor.into(), dtype: "float32".into(), shape: Some(vec![-1, 4]) }
    }

    fn manifest() -> Manifest {
        let part = |folder: &str, input, output| Part {
            folder: folder.into(),
            inputs: vec![input],
            outputs: vec![output],
            nodes: 3,
            weight_bytes: 64,
            carried_bytes: 16,
        };
        Manifest {
            model: "model.pb".into(),
            inputs: vec!["x".into()],
            outputs: vec!["y".into()],
            parts: vec![
                part("part-000", port("x", "x"), port("h", "h")),
                part("part-001", port("h", "h"), port("y", "y")),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let value = serde_json::from_str(&manifest().to_text()).unwrap();
        assert_eq!(Manifest::parse(&value).unwrap(), manifest());
    }

    #[test]
    fn manifests_that_lie_are_errors() {
        let error = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.check().unwrap_err()
        };
        assert!(error(&|m| m.parts.clear()).contains("no parts"));
        for folder in ["../part", "/etc", "a/b", "", "."] {
            let found = error(&|m| m.parts[0].folder = folder.into());
            assert!(found.contains("no folder beside it"), "{folder}: {found}");
        }
        assert!(error(&|m| m.parts.reverse()).contains("no part before it gives"));
        assert!(error(&|m| m.outputs[0] = "z".into()).contains("does not give"));
        assert!(Manifest::parse(&json!({"tightfit_partition": 2})).unwrap_err().contains("version 2"));
        assert!(Manifest::parse(&json!({"parts": []})).is_err());
    }
}
