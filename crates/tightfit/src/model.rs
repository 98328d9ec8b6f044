//! A model file, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::MemoryBudget;
use tightfit_format::{GraphDef, ModelFormat, SourceFile, detect, foreign};
use tightfit_graph::ir::Graph;
use tightfit_graph::{GraphError, ImportOptions, import, passes};

use crate::error::Error;
use crate::process;

/// What is wanted of a model.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Tensors to compute; empty for the model's own outputs.
    pub fetches: Vec<String>,
    /// Tensors that are fed besides the model's own inputs.
    pub feeds: Vec<String>,
}

/// A model: its graph, made simple, with open dimensions.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    graph: Graph,
    opening_bytes: u64,
    held_bytes: u64,
}

/// A model file of which the structure has been read, and nothing been made yet.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    source: Arc<SourceFile>,
    def: GraphDef,
    budget: MemoryBudget,
    /// The most bytes that reading took, and those that it still holds.
    reading_bytes: u64,
    held_bytes: u64,
}

impl ModelFile {
    /// Reads the structure of the model in `path`, which `budget` holds from then on.
    ///
    /// # Errors
    /// [`Error::Format`] and [`Error::Data`] for a file that is no model, and for a structure that does not fit the
    /// budget.
    pub fn read(path: &Path, budget: &MemoryBudget) -> Result<ModelFile, Error> {
        let before_bytes = budget.used_bytes();
        budget.restart_recent_peak();
        let (source, def) = read_graph_def(path, budget)?;
        Ok(ModelFile {
            path: path.to_path_buf(),
            source,
            def,
            budget: budget.clone(),
            reading_bytes: budget.recent_peak_bytes().saturating_sub(before_bytes),
            held_bytes: budget.used_bytes().saturating_sub(before_bytes),
        })
    }

    /// True when the model has the tensor: `node` or `node:0`. What else is called so is something else, such as a path
    /// with an equals sign.
    pub fn has_tensor(&self, tensor: &str) -> bool {
        let name = import::split_name(tensor).0;
        self.def.nodes.iter().any(|node| &*node.name == name)
    }

    /// Makes the graph. Weights stay in the file.
    ///
    /// # Errors
    /// [`Error::Graph`] for a model that cannot be run, and for a graph that does not fit the budget.
    pub fn open(self, options: &OpenOptions) -> Result<Model, Error> {
        let ModelFile { path, source, def, budget, reading_bytes, held_bytes } = self;
        let before_bytes = budget.used_bytes().saturating_sub(held_bytes);
        budget.restart_recent_peak();
        let options = ImportOptions { fetches: options.fetches.clone(), feeds: options.feeds.clone() };
        let mut graph = import(&source, def, &options, &budget).map_err(|error| why_not(error, &path))?;
        process::end_phase();
        passes::run(&mut graph)?;
        // The description is gone; weights and values, which come next, are blocks of their own.
        process::end_phase();
        let opening_bytes = budget.recent_peak_bytes().saturating_sub(before_bytes).max(reading_bytes);
        let held_bytes = budget.used_bytes().saturating_sub(before_bytes);
        Ok(Model { path, graph, opening_bytes, held_bytes })
    }
}

/// Operators of weights that are not in the graph.
pub(crate) const VARIABLES: [&str; 5] =
    ["Variable", "VariableV2", "VarHandleOp", "ReadVariableOp", "RestoreV2"];

/// The error of a graph that cannot be run: one that is not frozen has nodes for weights that are elsewhere.
fn why_not(error: GraphError, path: &Path) -> Error {
    match &error {
        GraphError::Unsupported(nodes)
            if nodes.groups.keys().any(|(op, _)| VARIABLES.contains(&op.as_str())) =>
        {
            let unfrozen = &foreign::UNFROZEN;
            Error::data(path, format!("is {unfrozen}; {}", unfrozen.advice(path)))
        }
        _ => error.into(),
    }
}

impl Model {
    /// Reads the structure of a model, which `budget` holds from then on; weights stay in the file.
    ///
    /// # Errors
    /// [`Error::Format`] and [`Error::Graph`] for a file that is no model, for one that cannot be run, and for one whose
    /// structure does not fit the budget.
    pub fn open(path: &Path, options: &OpenOptions, budget: &MemoryBudget) -> Result<Model, Error> {
        ModelFile::read(path, budget)?.open(options)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Bytes that its structure takes: the graph and the constants that are kept in memory, and what those are parts of.
    pub fn structure_bytes(&self) -> u64 {
        self.graph.structure_bytes().max(self.held_bytes)
    }

    /// The most bytes that reading it took: the description in the file and the graph at once, and what passes work
    /// with. No smaller memory can open it.
    pub fn opening_bytes(&self) -> u64 {
        self.opening_bytes
    }
}

/// The GraphDef of a file, binary or text.
///
/// # Errors
/// [`Error::Format`] for a file that cannot be read, and [`Error::Data`] for one of another kind.
pub fn read_graph_def(path: &Path, budget: &MemoryBudget) -> Result<(Arc<SourceFile>, GraphDef), Error> {
    let format = detect(path)?;
    let source = || SourceFile::open(path);
    let def = match format {
        ModelFormat::GraphDef => GraphDef::read(source()?, budget)?,
        ModelFormat::GraphDefText => GraphDef::read_text(source()?, budget)?,
        other => {
            let why = match other.foreign() {
                Some(kind) => format!("is {kind}; {}", kind.advice(path)),
                None => format!("is {other}"),
            };
            return Err(Error::data(path, why));
        }
    };
    // Most files of another kind that happen to be wire format have no field that is a node.
    if def.nodes.is_empty() {
        return Err(Error::data(path, "is not a frozen GraphDef, or an empty one: it has no nodes"));
    }
    Ok((def.source.clone(), def))
}
