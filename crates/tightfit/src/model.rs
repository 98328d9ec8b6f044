//! A model file, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::MemoryBudget;
use tightfit_format::{GraphDef, ModelFormat, SourceFile, detect};
use tightfit_graph::ir::Graph;
use tightfit_graph::{ImportOptions, import, passes};

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
    metadata_bytes: u64,
}

impl Model {
    /// Reads the structure of a model; weights stay in the file.
    ///
    /// # Errors
    /// [`Error::Format`] and [`Error::Graph`] for a file that is no model or one that cannot be run.
    pub fn open(path: &Path, options: &OpenOptions, budget: &MemoryBudget) -> Result<Model, Error> {
        let (source, def) = read_graph_def(path, budget)?;
        let metadata_bytes = def.reservation.bytes();
        let options = ImportOptions { fetches: options.fetches.clone(), feeds: options.feeds.clone() };
        let mut graph = import(&source, def, &options)?;
        passes::run(&mut graph)?;
        process::tend();
        Ok(Model { path: path.to_path_buf(), graph, metadata_bytes })
    }

    /// Which of `tensors` the model in `path` has: `node` or `node:0`. What else was called so is something else, such as
    /// a path with an equals sign.
    ///
    /// # Errors
    /// As [`Model::open`] for a file that is no model.
    pub fn has_tensors(path: &Path, tensors: &[&str], budget: &MemoryBudget) -> Result<Vec<bool>, Error> {
        let (_, def) = read_graph_def(path, budget)?;
        let is_there = |tensor: &&str| {
            let name = import::split_name(tensor).0;
            def.nodes.iter().any(|node| &*node.name == name)
        };
        Ok(tensors.iter().map(is_there).collect())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Bytes of the file's structure in memory.
    pub fn metadata_bytes(&self) -> u64 {
        self.metadata_bytes
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
        ModelFormat::SavedModelDir
        | ModelFormat::SavedModelFile
        | ModelFormat::Checkpoint
        | ModelFormat::MetaGraph
        | ModelFormat::TfLite => {
            return Err(Error::data(path, format!("is {format}; only frozen GraphDefs are supported yet")));
        }
        ModelFormat::Unknown if path.is_dir() => {
            return Err(Error::data(path, "is a folder without a saved_model.pb"));
        }
        other => return Err(Error::data(path, format!("is {other}"))),
    };
    Ok((def.source.clone(), def))
}
