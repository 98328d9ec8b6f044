//! Optimizing: a model written back as a frozen GraphDef that computes the same with less, for TensorFlow too. Passes have
//! the names that TensorFlow's transform_graph gave them. Values go from the model to the output in small pieces; those that
//! change are computed as they are written.

mod batch_norms;
mod constants;
mod duplicates;
pub(crate) mod nodes;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use tightfit_core::MemoryBudget;
use tightfit_format::{AttrValue, GraphDef, NodeDef};
use tightfit_graph::Operators;
use tightfit_graph::import::{Fetched, split_name};

use crate::convert::writing::{Frozen, frozen, write};
use crate::error::Error;
use crate::memory::process;
use crate::model::{ModelSource, Plain, describe};
pub(crate) use duplicates::are_same_values;
use nodes::Nodes;

/// A pass, by transform_graph's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Leaves out what no output needs.
    StripUnusedNodes,
    /// Leaves out nodes that hand on what they are given: Identity, and what only training takes.
    RemoveNodes,
    /// Leaves out control edges to nodes without effect.
    RemoveControlDependencies,
    /// Computes what follows from constants alone.
    FoldConstants,
    /// Makes the scale of a batch norm part of the weights before it.
    FoldBatchNorms,
    /// Makes one of nodes that compute the same, and of constants with the same value.
    MergeDuplicateNodes,
    /// Puts every node after those that it takes.
    SortByExecutionOrder,
}

impl Transform {
    /// All, in the order in which they are done where none are named.
    pub const ALL: [Transform; 7] = [
        Transform::StripUnusedNodes,
        Transform::RemoveNodes,
        Transform::RemoveControlDependencies,
        Transform::FoldConstants,
        Transform::FoldBatchNorms,
        Transform::MergeDuplicateNodes,
        Transform::SortByExecutionOrder,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Transform::StripUnusedNodes => "strip_unused_nodes",
            Transform::RemoveNodes => "remove_nodes",
            Transform::RemoveControlDependencies => "remove_control_dependencies",
            Transform::FoldConstants => "fold_constants",
            Transform::FoldBatchNorms => "fold_batch_norms",
            Transform::MergeDuplicateNodes => "merge_duplicate_nodes",
            Transform::SortByExecutionOrder => "sort_by_execution_order",
        }
    }

    /// The passes of a list in transform_graph's words: names, between spaces or commas. What it puts in parentheses after
    /// a name is not taken here.
    ///
    /// # Errors
    /// The word that is none.
    pub fn parse(text: &str) -> Result<Vec<Transform>, String> {
        let words = text.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty());
        words
            .map(|word| {
                let name = match word {
                    // One pass here does both.
                    "fold_old_batch_norms" => "fold_batch_norms",
                    word => word,
                };
                let found = Transform::ALL.into_iter().find(|transform| transform.name() == name);
                found.ok_or_else(|| {
                    let names = Transform::ALL.map(Transform::name);
                    match tightfit_core::closest(word, names) {
                        Some(name) => format!("there is no transform '{word}'; did you mean {name}?"),
                        None => format!("there is no transform '{word}'; there are {}", names.join(", ")),
                    }
                })
            })
            .collect()
    }
}

/// What is wanted of an optimized model.
#[derive(Debug, Clone, Default)]
pub struct OptimizeOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature, or what no node takes.
    pub fetches: Vec<String>,
    /// Nodes that callers feed besides the placeholders: each becomes one.
    pub inputs: Vec<String>,
    /// What to do, in this order; empty for [`Transform::ALL`].
    pub transforms: Vec<Transform>,
    /// Operators beside those that are built in; see [`crate::operator`].
    pub operators: Operators,
}

/// A model that has been optimized.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Optimized {
    /// What was written.
    pub frozen: Frozen,
    /// Nodes before.
    pub nodes_before: usize,
    /// Bytes of constants before.
    pub constant_bytes_before: u64,
    /// For each pass its name and how many nodes it has left out or changed.
    pub passes: Vec<(&'static str, usize)>,
}

/// A model that is simpler, before it is written.
pub(crate) struct Simplified {
    pub plain: Plain,
    optimized: Optimized,
}

/// Makes the model at `path` simpler.
///
/// # Errors
/// As [`optimize`].
pub(crate) fn simplify(
    path: &Path,
    options: &OptimizeOptions,
    budget: &MemoryBudget,
) -> Result<Simplified, Error> {
    let described = describe(path, &options.source, &options.operators, budget)?;
    let mut plain = Plain::of(path, described, &options.fetches, &options.operators, budget)?;
    let def = &mut plain.def;
    if plain.fetched.is_empty() {
        plain.fetched = crate::convert::partition::results(def);
    }
    let mut optimized = Optimized {
        nodes_before: def.nodes.len(),
        constant_bytes_before: constant_bytes(def),
        ..Optimized::default()
    };
    let inputs = feed(def, &options.inputs)?;
    let mut kept: Vec<String> = plain.fetched.iter().map(|Fetched { tensor, .. }| tensor.clone()).collect();
    kept.extend(plain.keep.iter().cloned().chain(inputs));
    kept.extend(plain.ports.inputs.iter().map(|(tensor, _)| tensor.clone()));
    let names = kept.iter().map(|tensor| split_name(tensor).0.to_string()).collect();
    let mut nodes = Nodes::new(std::mem::take(&mut def.nodes), names, options.operators.clone());
    let chosen = if options.transforms.is_empty() { &Transform::ALL[..] } else { &options.transforms };
    for transform in chosen {
        let changed = match transform {
            Transform::StripUnusedNodes => nodes.strip(),
            Transform::RemoveNodes => nodes.remove_passes(),
            Transform::RemoveControlDependencies => nodes.remove_control(),
            Transform::FoldConstants => constants::fold(&mut nodes, def, path, &options.operators, budget)?,
            Transform::FoldBatchNorms => batch_norms::fold(&mut nodes, def)?,
            Transform::MergeDuplicateNodes => duplicates::merge(&mut nodes, &def.source)?,
            Transform::SortByExecutionOrder => nodes.sort(),
        };
        // What a pass has made superfluous would only be in the way of the next.
        let more = if *transform == Transform::StripUnusedNodes { 0 } else { nodes.strip() };
        optimized.passes.push((transform.name(), changed.max(more)));
    }
    def.nodes = nodes.into_list();
    Ok(Simplified { plain, optimized })
}

/// Writes the model at `path`, optimized, as a frozen GraphDef to `output`, whole or not at all.
///
/// # Errors
/// As [`crate::freeze::freeze`], and [`Error::Usage`] for an input that is not there.
pub fn optimize(
    path: &Path,
    options: &OptimizeOptions,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<Optimized, Error> {
    let Simplified { plain, mut optimized } = simplify(path, options, budget)?;
    let Plain { def, ports, keep, fetched, _names } = plain;
    optimized.frozen = frozen(&def, &ports, fetched, keep);
    process::end_phase();
    optimized.frozen.bytes = write(&def, output, stop, budget)?;
    Ok(optimized)
}

/// Bytes of the values of a graph's constants.
fn constant_bytes(def: &GraphDef) -> u64 {
    let bytes = |node: &NodeDef| match node.attr("value") {
        Some(AttrValue::Tensor(tensor)) => tensor.bytes().unwrap_or(0),
        _ => 0,
    };
    def.nodes.iter().map(bytes).sum()
}

/// Makes placeholders of the nodes that are fed. Returns their names.
fn feed(def: &mut GraphDef, inputs: &[String]) -> Result<Vec<String>, Error> {
    let mut names = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = split_name(input).0;
        let node = def.nodes.iter_mut().find(|node| &*node.name == name);
        let node =
            node.ok_or_else(|| Error::Usage(format!("--input {input}: the model has no such node")))?;
        if !node.op.starts_with("Placeholder") {
            let dtype = tightfit_graph::import::output_type(node, 0).ok_or_else(|| {
                Error::Usage(format!("--input {input}: the type of what {} gives is not known", node.op))
            })?;
            let dtype = AttrValue::Type(tightfit_format::DataType::from(dtype).0);
            let shape = AttrValue::Shape(tightfit_format::TensorShapeDef::default());
            node.op = "Placeholder".into();
            node.inputs.clear();
            node.attrs = vec![("dtype".into(), dtype), ("shape".into(), shape)];
        }
        names.push(name.to_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
