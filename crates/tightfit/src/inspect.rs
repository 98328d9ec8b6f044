//! What a model file is, without running it.

use std::collections::BTreeMap;
use std::path::Path;

use tightfit_core::MemoryBudget;
use tightfit_format::{AttrValue, DataType, NodeDef};
use tightfit_graph::ops;

use crate::error::Error;
use crate::model::{VARIABLES, read_graph_def};

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
    /// Number of nodes.
    pub nodes: usize,
    /// Nodes by operator, most first.
    pub operators: Vec<(String, usize)>,
    /// Operators that cannot be run, and how many nodes.
    pub unsupported: Vec<(String, usize)>,
    /// Bytes of constants by name scope, most first: the first part of the name behind what all names have in common.
    pub weight_bytes_by_scope: Vec<(String, u64)>,
    /// Bytes of all constants.
    pub weight_bytes: u64,
}

/// An input.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: String,
    /// Its shape, -1 for an open dimension; `None` when nothing is known of it.
    pub shape: Option<Vec<i64>>,
}

/// Reads a model's structure.
///
/// # Errors
/// [`Error::Format`] for a file that is no model.
pub fn inspect(path: &Path, budget: &MemoryBudget) -> Result<Inspection, Error> {
    let (source, def) = read_graph_def(path, budget)?;
    let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
    let mut weights: Vec<(&str, u64)> = Vec::new();
    let mut used: std::collections::HashSet<&str> = Default::default();
    let mut inputs = Vec::new();
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
    let is_output = |node: &&NodeDef| {
        !used.contains(&*node.name)
            && !matches!(&*node.op, "NoOp" | "Const" | "Assert" | "Placeholder" | "SaveV2")
    };
    let scopes = bytes_by_scope(&weights);
    let unsupported = operators.iter().filter(|(op, _)| !ops::is_supported(op));
    let is_frozen = !operators.keys().any(|op| VARIABLES.contains(op));
    Ok(Inspection {
        format: if is_frozen { "frozen GraphDef" } else { "GraphDef that is not frozen" }.to_string(),
        file_bytes: source.len(),
        inputs,
        outputs: def.nodes.iter().filter(is_output).map(|n| n.name.to_string()).collect(),
        nodes: def.nodes.len(),
        unsupported: most_first(unsupported.map(|(op, n)| (*op, *n))),
        weight_bytes: scopes.values().sum(),
        operators: most_first(operators.iter().map(|(op, n)| (*op, *n))),
        weight_bytes_by_scope: most_first(scopes.iter().map(|(scope, n)| (*scope, *n))),
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

/// The scopes that two names share, with the slash behind them.
fn common_scope<'n>(a: &'n str, b: &str) -> &'n str {
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let end = a.as_bytes()[..same].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    &a[..end]
}

fn endpoint(node: &NodeDef) -> Endpoint {
    let dtype = match node.attr("dtype") {
        Some(AttrValue::Type(number)) => {
            DataType(*number).dtype().map_or_else(|| DataType(*number).to_string(), |d| d.to_string())
        }
        _ => "?".to_string(),
    };
    let shape = match node.attr("shape") {
        Some(AttrValue::Shape(shape)) => shape.dims.clone(),
        _ => None,
    };
    Endpoint { name: node.name.to_string(), dtype, shape }
}

fn most_first<N: Ord + Copy>(counts: impl Iterator<Item = (impl ToString, N)>) -> Vec<(String, N)> {
    let mut list: Vec<(String, N)> = counts.map(|(name, n)| (name.to_string(), n)).collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list
}
