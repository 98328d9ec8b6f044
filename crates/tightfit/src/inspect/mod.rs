//! What a model file is, without running it.

mod weights;

use std::collections::BTreeMap;
use std::path::Path;

use tightfit_core::{MemoryBudget, Quantization};
use tightfit_format::{
    AttrValue, DataType, MetaInfo, ModelFormat, NodeDef, SignatureDef, TensorBundle, TensorInfo,
    TensorShapeDef, detect,
};
use tightfit_graph::import::{is_result, is_supported, plain, tflite};
use tightfit_graph::{GraphError, ImportOptions, Operators};

use crate::error::Error;
use crate::model::{Described, ModelSource, NAMES, describe};
pub use tightfit_graph::import::nearest;
pub use weights::{Duplicates, Scope, Weights, scopes, weights};

/// A model file in figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspection {
    /// What kind of file it is.
    pub format: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The inputs.
    pub inputs: Vec<Endpoint>,
    /// The tensors that no node uses.
    pub outputs: Vec<String>,
    /// Outputs of a TensorFlow Lite model by type and shape, in the same order; none of another model.
    pub typed_outputs: Vec<Endpoint>,
    /// Number of nodes.
    pub nodes: usize,
    /// Nodes by operator, most first.
    pub operators: Vec<(String, usize)>,
    /// Operators that cannot be run, and how many nodes.
    pub unsupported: Vec<(String, usize)>,
    /// Bytes of constants by name scope, most first: the first part of the name after what all names have in common.
    pub weight_bytes_by_scope: Vec<(String, u64)>,
    /// Bytes of all constants.
    pub weight_bytes: u64,
    /// The signatures.
    pub signatures: Vec<Signature>,
    /// The key of the one that inputs, outputs and operators are of.
    pub signature: Option<String>,
    /// Of a checkpoint without a graph, its tensors.
    pub tensors: Vec<Endpoint>,
}

/// What a caller may feed and fetch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signature {
    /// Its key.
    pub key: String,
    /// Its inputs by name.
    pub inputs: Vec<Endpoint>,
    /// Its outputs by name.
    pub outputs: Vec<Endpoint>,
}

/// An input.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: String,
    /// Its shape, -1 for an open dimension; `None` when nothing is known of it.
    pub shape: Option<Vec<i64>>,
    /// What its integers stand for, where a TensorFlow Lite model says so.
    pub quantization: Option<Quantization>,
}

/// Reads a model's structure, or the index of a checkpoint. Of a model with signatures, operators and weights are those
/// that its signature needs.
///
/// # Errors
/// [`Error::Format`] for a file that is no model, and [`Error::Usage`] for a signature that is not there.
pub fn inspect(path: &Path, wanted: &ModelSource, budget: &MemoryBudget) -> Result<Inspection, Error> {
    let format = detect(path)?;
    if format == ModelFormat::Checkpoint
        && !tightfit_format::tensor_bundle::with_ending(
            &tightfit_format::tensor_bundle::prefix(path),
            ".meta",
        )
        .is_file()
    {
        return inspect_checkpoint(path, budget);
    }
    let mut described = describe(path, wanted, &Operators::default(), budget)?;
    let _names = budget.try_reserve(NAMES, described.names_bytes())?;
    let ports = described.ports();
    let signature = described.signature.clone();
    if signature.is_some() {
        let options =
            ImportOptions { ports, checkpoint: described.checkpoint.take(), ..ImportOptions::default() };
        match plain(&mut described.def, &options, budget) {
            // It is told of all the same.
            Ok(_) | Err(GraphError::NotFrozen { .. } | GraphError::NoValue { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Inspection {
        format: match format {
            ModelFormat::GraphDef | ModelFormat::GraphDefText => "frozen GraphDef".to_string(),
            other => other.to_string().trim_start_matches("a ").to_string(),
        },
        file_bytes: described.file.len(),
        signatures: signatures(&described.info),
        ..figures(&described, signature)
    })
}

/// Nodes, operators and weights.
fn figures(described: &Described, signature: Option<String>) -> Inspection {
    let def = &described.def;
    let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
    let mut weights: Vec<(&str, u64)> = Vec::new();
    let mut used: std::collections::HashSet<&str> = Default::default();
    let (mut inputs, mut typed_outputs) = (Vec::new(), Vec::new());
    for node in &def.nodes {
        *operators.entry(&node.op).or_default() += 1;
        used.extend(
            node.inputs.iter().map(|i| tightfit_graph::import::split_name(i.trim_start_matches('^')).0),
        );
        if let Some(AttrValue::Tensor(tensor)) = node.attr("value") {
            weights.push((&*node.name, tensor.bytes().unwrap_or(0)));
        }
        if &*node.op == "Placeholder" {
            inputs.push(endpoint(node));
        }
    }
    // Without a signature the graph is as it was saved, and the checkpoint beside it has the weights.
    if let Some(checkpoint) = &described.checkpoint {
        let stored = checkpoint.bundle.entries();
        weights.extend(stored.map(|(name, entry)| (name, entry.bytes)));
    }
    let is_output = |node: &&NodeDef| !used.contains(&*node.name) && is_result(&node.op);
    let mut outputs: Vec<String> = def.nodes.iter().filter(is_output).map(|n| n.name.to_string()).collect();
    if let Some(own) = signature.as_deref().and_then(|key| described.info.signature(key)) {
        inputs = endpoints(&own.inputs);
        outputs = own.outputs.iter().map(|(key, _)| key.to_string()).collect();
        if described.format == ModelFormat::TfLite {
            typed_outputs = endpoints(&own.outputs);
        }
    }
    let scopes = bytes_by_scope(&weights);
    let unsupported = operators.iter().filter(|(op, _)| !is_supported(op));
    Inspection {
        inputs,
        outputs,
        typed_outputs,
        nodes: def.nodes.len(),
        unsupported: most_first(unsupported.map(|(op, n)| (*op, *n))),
        weight_bytes: scopes.values().sum(),
        operators: most_first(operators.iter().map(|(op, n)| (*op, *n))),
        weight_bytes_by_scope: most_first(scopes.iter().map(|(scope, n)| (*scope, *n))),
        signature: signature.filter(|key| key != tflite::MAIN),
        ..Inspection::default()
    }
}

fn signatures(info: &MetaInfo) -> Vec<Signature> {
    let named = info.signatures.iter().filter(|(key, _)| &**key != tflite::MAIN);
    let signature = |(key, signature): &(Box<str>, SignatureDef)| Signature {
        key: key.to_string(),
        inputs: endpoints(&signature.inputs),
        outputs: endpoints(&signature.outputs),
    };
    named.map(signature).collect()
}

fn endpoints(tensors: &[(Box<str>, TensorInfo)]) -> Vec<Endpoint> {
    let one = |(key, tensor): &(Box<str>, TensorInfo)| {
        let endpoint = typed(key, tensor.dtype, tensor.shape.dims.clone());
        Endpoint { quantization: tensor.quantization.clone(), ..endpoint }
    };
    tensors.iter().map(one).collect()
}

fn typed(name: &str, dtype: i32, shape: Option<Vec<i64>>) -> Endpoint {
    let dtype = DataType(dtype).dtype().map_or_else(|| DataType(dtype).to_string(), |d| d.to_string());
    Endpoint { name: name.to_string(), dtype, shape, quantization: None }
}

/// What a checkpoint holds that has no graph beside it.
fn inspect_checkpoint(path: &Path, budget: &MemoryBudget) -> Result<Inspection, Error> {
    let bundle = TensorBundle::open(path, budget)?;
    let weights: Vec<(&str, u64)> = bundle.entries().map(|(name, entry)| (name, entry.bytes)).collect();
    let scopes = bytes_by_scope(&weights);
    let tensor = |(name, entry): (&str, &tightfit_format::BundleEntry)| {
        typed(name, entry.dtype, Some(entry.shape.clone()))
    };
    Ok(Inspection {
        format: "checkpoint".to_string(),
        file_bytes: bundle.index().len(),
        weight_bytes: scopes.values().sum(),
        weight_bytes_by_scope: most_first(scopes.iter().map(|(scope, n)| (*scope, *n))),
        tensors: bundle.entries().map(tensor).collect(),
        ..Inspection::default()
    })
}

/// Constants smaller than this are no weights; their names do not say where the weights are.
const WEIGHT_FROM_BYTES: u64 = 1024;

fn bytes_by_scope<'n>(weights: &[(&'n str, u64)]) -> BTreeMap<&'n str, u64> {
    let large = weights.iter().filter(|(_, bytes)| *bytes >= WEIGHT_FROM_BYTES).map(|(name, _)| *name);
    let common = large.reduce(common_scope).map_or(0, |name| name.rfind('/').map_or(0, |end| end + 1));
    let prefix =
        weights.iter().find(|(_, bytes)| *bytes >= WEIGHT_FROM_BYTES).map_or("", |(name, _)| &name[..common]);
    let mut scopes = BTreeMap::new();
    for (name, bytes) in weights {
        let start = if name.starts_with(prefix) { prefix.len() } else { 0 };
        let end = name[start..].find('/').map_or(name.len(), |end| start + end);
        *scopes.entry(&name[..end]).or_default() += bytes;
    }
    scopes
}

/// The scopes that two names share, with the slash after them.
fn common_scope<'n>(a: &'n str, b: &str) -> &'n str {
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let end = a.as_bytes()[..same].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    &a[..end]
}

fn endpoint(node: &NodeDef) -> Endpoint {
    let shape = match node.attr("shape") {
        Some(AttrValue::Shape(TensorShapeDef { dims })) => dims.clone(),
        _ => None,
    };
    match node.attr("dtype") {
        Some(AttrValue::Type(number)) => typed(&node.name, *number, shape),
        _ => {
            let dtype = "?".to_string();
            Endpoint { name: node.name.to_string(), dtype, shape, quantization: None }
        }
    }
}

fn most_first<N: Ord + Copy>(counts: impl Iterator<Item = (impl ToString, N)>) -> Vec<(String, N)> {
    let mut list: Vec<(String, N)> = counts.map(|(name, n)| (name.to_string(), n)).collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list
}
