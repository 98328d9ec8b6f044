//! A model file, opened.

mod chain;
mod floats;
mod manifest;
mod plain;
mod source;

use std::path::{Path, PathBuf};

use tightfit_core::{MemoryBudget, Quantization, Shape};
use tightfit_format::MetaInfo;
use tightfit_graph::ir::{Graph, Port};
use tightfit_graph::{ImportOptions, Operators, import, passes};

use crate::error::Error;
use crate::memory::process;
pub(crate) use chain::describe;
pub(crate) use floats::IntegerInput;
pub use manifest::{FILE as MANIFEST, Manifest, Part, PartPort};
pub(crate) use plain::Plain;
pub(crate) use source::Described;
pub use source::{DEFAULT_SIGNATURE, ModelSource};

/// What the names of a signature are reserved for.
pub(crate) const NAMES: &str = "names of the model's signature";

/// What is wanted of a model.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Tensors to compute; empty for the model's own outputs.
    pub fetches: Vec<String>,
    /// Tensors that are fed besides the model's own inputs.
    pub feeds: Vec<String>,
    /// Which graph and which values are meant, for [`Model::open`].
    pub source: ModelSource,
    /// Operators beside those that are built in; see [`crate::operator`].
    pub operators: Operators,
    /// Shapes of inputs by their names. Of a TensorFlow Lite model they take the place of those that the file says, as its
    /// interpreter resizes inputs; of any other model an open shape is bound when it is laid out.
    pub shapes: Vec<(String, Shape)>,
    /// Inputs of quantised integers that are fed floats, by their names: these become the integers that stand for them, as
    /// [`crate::job::float_inputs`] finds from data.
    pub float_inputs: Vec<String>,
}

/// A model: its graph, made simple, with open dimensions.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    graph: Graph,
    signature: Option<String>,
    opening_bytes: u64,
    held_bytes: u64,
    is_in_parts: bool,
    /// What the integers of inputs and outputs stand for, by their names.
    quantizations: Vec<(String, Quantization)>,
    /// Inputs whose floats are quantised as they are fed.
    float_inputs: Vec<String>,
}

/// A model file of which the structure has been read, and nothing been made yet.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    described: Described,
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
    pub fn read(path: impl AsRef<Path>, budget: &MemoryBudget) -> Result<ModelFile, Error> {
        ModelFile::read_source(path, &ModelSource::default(), &Operators::default(), budget)
    }

    /// The same of one graph of several, with the values of variables, and with operators beside the built-in ones: of a model
    /// in parts they say what nodes of loops' bodies give.
    ///
    /// # Errors
    /// As [`ModelFile::read`], and [`Error::Usage`] for a graph, a signature or a checkpoint that is not there.
    pub fn read_source(
        path: impl AsRef<Path>,
        wanted: &ModelSource,
        operators: &Operators,
        budget: &MemoryBudget,
    ) -> Result<ModelFile, Error> {
        let path = path.as_ref();
        let before_bytes = budget.used_bytes();
        budget.restart_recent_peak();
        let described = describe(path, wanted, operators, budget)?;
        Ok(ModelFile {
            path: path.to_path_buf(),
            described,
            budget: budget.clone(),
            reading_bytes: budget.recent_peak_bytes().saturating_sub(before_bytes),
            held_bytes: budget.used_bytes().saturating_sub(before_bytes),
        })
    }

    /// True when the model has the tensor: a key of its signature, `node` or `node:0`. What else is called so is something
    /// else, such as a path with an equals sign.
    pub fn has_tensor(&self, tensor: &str) -> bool {
        self.described.has_tensor(tensor)
    }

    /// Makes the graph. Weights stay in the file.
    ///
    /// # Errors
    /// [`Error::Graph`] for a model that cannot be run, and for a graph that does not fit the budget.
    pub fn open(self, options: &OpenOptions) -> Result<Model, Error> {
        let ModelFile { path, mut described, budget, reading_bytes, held_bytes } = self;
        described.check_fetches(&options.fetches)?;
        described.resize(&options.shapes);
        described.feed_floats(&options.float_inputs)?;
        let float_inputs = options.float_inputs.clone();
        let before_bytes = budget.used_bytes().saturating_sub(held_bytes);
        budget.restart_recent_peak();
        let names = budget.try_reserve(NAMES, described.names_bytes())?;
        let options = ImportOptions {
            fetches: options.fetches.clone(),
            feeds: options.feeds.clone(),
            ports: described.ports(),
            keep: described.table_initializers(),
            checkpoint: described.checkpoint.take(),
            operators: options.operators.clone(),
        };
        let Described { file, def, signature, info, is_in_parts, .. } = described;
        let quantizations = quantizations(info, signature.as_deref());
        crate::pictures::provide();
        // What has read the description is not needed to make the graph.
        process::end_phase();
        let mut graph = import(&file, def, &options, &budget)?;
        drop((options, names));
        process::end_phase();
        passes::run(&mut graph)?;
        // The description is gone; weights and values, which come next, are blocks of their own.
        process::end_phase();
        let opening_bytes = budget.recent_peak_bytes().saturating_sub(before_bytes).max(reading_bytes);
        let held_bytes = budget.used_bytes().saturating_sub(before_bytes);
        Ok(Model {
            path,
            graph,
            signature,
            opening_bytes,
            held_bytes,
            is_in_parts,
            quantizations,
            float_inputs,
        })
    }
}

/// What is told of the integers of a signature's inputs and outputs.
fn quantizations(info: MetaInfo, signature: Option<&str>) -> Vec<(String, Quantization)> {
    let own = info.signatures.into_iter().filter(|(key, _)| signature.is_none_or(|own| own == &**key));
    let ports = own.flat_map(|(_, signature)| signature.inputs.into_iter().chain(signature.outputs));
    ports.filter_map(|(name, tensor)| Some((name.into(), tensor.quantization?))).collect()
}

impl Model {
    /// Reads the structure of a model, which `budget` holds from then on; weights stay in the file.
    ///
    /// # Errors
    /// [`Error::Format`] and [`Error::Graph`] for a file that is no model, for one that cannot be run, and for one whose
    /// structure does not fit the budget.
    pub fn open(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        budget: &MemoryBudget,
    ) -> Result<Model, Error> {
        ModelFile::read_source(path, &options.source, &options.operators, budget)?.open(options)
    }

    /// A model of a graph that was made of a part of the file `path`.
    pub(crate) fn of_graph(path: &Path, graph: Graph) -> Model {
        Model {
            path: path.to_path_buf(),
            graph,
            signature: None,
            opening_bytes: 0,
            held_bytes: 0,
            is_in_parts: false,
            quantizations: Vec::new(),
            float_inputs: Vec::new(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key of the signature whose names its inputs and outputs have, where there is one.
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// True when a caller means this input by `name`: what it is called, or its tensor, `node` or `node:0`.
    pub fn is_called(&self, input: &Port, name: &str) -> bool {
        if self.graph.inputs.iter().any(|port| port.name == name) {
            return input.name == name;
        }
        let tensor = import::split_name(name).0;
        *self.graph.producer(input.value).name == *tensor || input.name == tensor
    }

    /// What the integers of an input or an output stand for, where the model says so.
    pub fn quantization(&self, name: &str) -> Option<&Quantization> {
        self.quantizations.iter().find(|(own, _)| own == name).map(|(_, quantization)| quantization)
    }

    /// True for an input of integers that stand for other numbers by one scale, which may be fed these numbers.
    pub fn takes_quantized(&self, input: &str) -> bool {
        let is_integer = |own: &Quantization| own.scales.len() == 1 && own.axis.is_none();
        self.quantization(input).is_some_and(is_integer)
    }

    /// The inputs whose floats become quantised integers as they are fed: see [`OpenOptions::float_inputs`].
    pub fn float_inputs(&self) -> &[String] {
        &self.float_inputs
    }

    /// True for a model in parts, whose weights are not to be present all at once: they are streamed in whatever memory.
    pub fn is_in_parts(&self) -> bool {
        self.is_in_parts
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
