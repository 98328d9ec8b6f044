//! From a path to the description of a model: which file has the graph, which checkpoint its variables, which signature is
//! meant.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Shape};
use tightfit_format::tensor_bundle::{prefix, with_ending};
use tightfit_format::{
    AttrValue, DataType, GraphDef, MetaGraphDef, MetaInfo, ModelFormat, NodeDef, SignatureDef, SourceFile,
    TensorBundle, TensorContent, TensorDef, detect, saved_model_file, saved_model_tags, tfjs, tflite,
};
use tightfit_graph::import::{Checkpoint, PortNames, tflite as lite};

use crate::error::Error;

/// The signature that is meant where nobody names one.
pub const DEFAULT_SIGNATURE: &str = "serving_default";

/// The tag of graphs that are for use, not for training.
const DEFAULT_TAG: &str = "serve";

/// How many names an error lists.
const LISTED: usize = 12;

/// What is wanted of a file that holds more than one graph, or not all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// The signature to run; without it `serving_default`, or the only one there is.
    pub signature: Option<String>,
    /// The tags that the graph has, all of them; without them `serve`, or the only graph there is.
    pub tags: Option<Vec<String>>,
    /// The checkpoint that has the values of variables, where the model does not say.
    pub checkpoint: Option<PathBuf>,
}

/// The description of a model, whatever it was saved as.
#[derive(Debug)]
pub(crate) struct Described {
    pub format: ModelFormat,
    /// The file with the graph.
    pub file: Arc<SourceFile>,
    pub def: GraphDef,
    pub info: MetaInfo,
    /// The key of the signature that is run.
    pub signature: Option<String>,
    pub checkpoint: Option<Checkpoint>,
    /// True for a model in parts, whose weights are not to be present all at once.
    pub is_in_parts: bool,
}

impl Described {
    /// The operators that fill the model's tables, where it has any: who runs the result has to run them first.
    pub(crate) fn table_initializers(&self) -> Vec<String> {
        let is_table = |node: &NodeDef| node.op.contains("HashTable") || node.op.starts_with("LookupTable");
        let (def, info) = (&self.def, &self.info);
        let mut nodes = def.nodes.iter().chain(def.functions.iter().flat_map(|function| &function.nodes));
        if !nodes.any(is_table) {
            return Vec::new();
        }
        let operators = match &info.init_op {
            Some(operator) => std::slice::from_ref(operator),
            None => &info.table_initializers[..],
        };
        operators.iter().map(|name| name.trim_start_matches('^').to_string()).collect()
    }

    /// Reads what is at `path`, but for a model in parts: see [`super::describe`].
    ///
    /// # Errors
    /// [`Error::Format`] for what cannot be read, [`Error::Data`] for what is no model, [`Error::Usage`] for tags or a
    /// signature that are not there.
    pub fn read(path: &Path, wanted: &ModelSource, budget: &MemoryBudget) -> Result<Described, Error> {
        let format = detect(path)?;
        let (graph, own) = match format {
            ModelFormat::GraphDef => (plain(GraphDef::read(SourceFile::open(path)?, budget)?), None),
            ModelFormat::GraphDefText => (plain(GraphDef::read_text(SourceFile::open(path)?, budget)?), None),
            ModelFormat::MappedPackage => {
                (plain(GraphDef::read_mapped_package(SourceFile::open(path)?, budget)?), None)
            }
            ModelFormat::TfJs => (tfjs::read(SourceFile::open(path)?, budget)?, None),
            ModelFormat::TfLite => {
                let model = tflite::Model::read(SourceFile::open(path)?, budget)?;
                let key = wanted.signature.as_deref();
                (lite::describe(model, key, DEFAULT_SIGNATURE, budget)?, None)
            }
            ModelFormat::SavedModelDir => saved_model(path, wanted, budget)?,
            ModelFormat::SavedModelFile => saved_model(folder_of(path), wanted, budget)?,
            ModelFormat::MetaGraph | ModelFormat::MetaGraphText => {
                let is_text = format == ModelFormat::MetaGraphText;
                (MetaGraphDef::read(SourceFile::open(path)?, is_text, budget)?, beside(path))
            }
            ModelFormat::Checkpoint => {
                let meta = with_ending(&prefix(path), ".meta");
                if !meta.is_file() {
                    let why = "is a checkpoint, which holds values and no graph; give the graph as the model, and this as \
                               its checkpoint";
                    return Err(Error::data(path, why));
                }
                (MetaGraphDef::read(SourceFile::open(&meta)?, false, budget)?, beside(path))
            }
            other => {
                return Err(Error::data(
                    path,
                    match other.foreign() {
                        Some(kind) => format!("is {kind}; {}", kind.advice(path)),
                        None => format!("is {other}"),
                    },
                ));
            }
        };
        let MetaGraphDef { graph: def, info } = graph;
        // Most files of another kind that happen to be wire format have no field that is a node.
        if def.nodes.is_empty() {
            return Err(Error::data(path, "is no model, or an empty one: its graph has no nodes"));
        }
        let bundle = match wanted.checkpoint.clone().or(own) {
            Some(prefix) => Some(TensorBundle::open(&prefix, budget)?),
            None => None,
        };
        let checkpoint = bundle
            .map(|bundle| Checkpoint { bundle: Arc::new(bundle), restore_op: info.restore_op.to_string() });
        let signature = signature(&info, path, wanted)?;
        Ok(Described {
            format,
            file: def.source.clone(),
            def,
            info,
            signature,
            checkpoint,
            is_in_parts: false,
        })
    }

    pub(super) fn signature_def(&self) -> Option<&SignatureDef> {
        self.info.signature(self.signature.as_deref()?)
    }

    /// Bytes that copies of the signature's names take while the graph is made: in the names of its ports, resolved, and
    /// as they are shown.
    pub fn names_bytes(&self) -> u64 {
        let bytes = |text: &str| tightfit_core::block_bytes(text.len() as u64) + size_of::<String>() as u64;
        let tensor = |(key, tensor): &(Box<str>, tightfit_format::TensorInfo)| {
            let parts = tensor.components.iter().map(|part| 2 * bytes(part)).sum::<u64>();
            bytes(key) + 2 * bytes(&tensor.name) + bytes(&tensor.alias) + parts
        };
        let both = |s: &SignatureDef| s.inputs.iter().chain(&s.outputs).map(tensor).sum::<u64>();
        4 * self.signature_def().map_or(0, both)
    }

    /// What callers call the inputs and outputs.
    pub fn ports(&self) -> PortNames {
        let Some(signature) = self.signature_def() else { return PortNames::default() };
        let named = |(key, tensor): &(Box<str>, tightfit_format::TensorInfo)| {
            (!tensor.name.is_empty()).then(|| (key.to_string(), tensor.name.to_string()))
        };
        let mut inputs: Vec<_> =
            signature.inputs.iter().filter_map(named).map(|(key, tensor)| (tensor, key)).collect();
        // The parts of a sparse tensor have no names of their own.
        for part in signature.inputs.iter().flat_map(|(_, tensor)| &tensor.components) {
            let name = tightfit_graph::import::split_name(part).0;
            inputs.push((part.to_string(), name.to_string()));
        }
        let outputs = signature.outputs.iter().filter_map(named).collect();
        let aliased = signature.outputs.iter().filter(|(_, tensor)| !tensor.alias.is_empty());
        let aliases =
            aliased.map(|(_, tensor)| (tensor.alias.to_string(), tensor.name.to_string())).collect();
        PortNames { inputs, outputs, aliases, are_fed: false }
    }

    /// Checks that it is known what to compute.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are several signatures and none is the default, and where there is none at all but the
    /// graph was saved with all that trains it.
    pub fn check_fetches(&self, fetches: &[String]) -> Result<(), Error> {
        use ModelFormat::{GraphDef, GraphDefText, MappedPackage, TfJs, TfLite};
        let is_frozen = matches!(self.format, GraphDef | GraphDefText | MappedPackage | TfJs | TfLite)
            && self.checkpoint.is_none();
        if !fetches.is_empty() || is_frozen || self.signature.is_some() {
            return Ok(());
        }
        let file = self.file.path().display();
        let keys = list(self.info.signatures.iter().map(|(key, _)| &**key));
        Err(Error::Usage(match self.info.signatures.is_empty() {
            true => format!("{file} has no signature; name the tensors to compute with --fetch"),
            false => format!(
                "{file} has no signature {DEFAULT_SIGNATURE}; choose one with --signature, or name tensors with --fetch: \
                 there are {keys}"
            ),
        }))
    }

    /// Gives inputs of a TensorFlow Lite model other shapes than the file's.
    pub fn resize(&mut self, shapes: &[(String, Shape)]) {
        if self.format != ModelFormat::TfLite {
            return;
        }
        for (name, shape) in shapes {
            let by_key = self.signature_def().and_then(|s| s.inputs.iter().find(|(key, _)| **key == **name));
            let node = by_key.map_or_else(
                || tightfit_graph::import::split_name(name).0.to_string(),
                |(_, tensor)| tensor.name.to_string(),
            );
            let is_input = |own: &&mut NodeDef| *own.name == *node && &*own.op == "Placeholder";
            let input = self.def.nodes.iter_mut().find(is_input);
            let declared = input.and_then(|node| node.attrs.iter_mut().find(|(key, _)| &**key == "shape"));
            if let Some((_, AttrValue::Shape(declared))) = declared
                && let Some(dims) = &mut declared.dims
                && dims.len() == shape.rank()
            {
                // An open dimension stays one: what is fed binds it.
                for (dim, given) in dims.iter_mut().zip(shape.iter()).filter(|(dim, _)| **dim >= 0) {
                    *dim = *given as i64;
                }
            }
        }
    }

    /// True when the model has the tensor: a key of its signature, `node` or `node:0`.
    pub fn has_tensor(&self, tensor: &str) -> bool {
        let name = tightfit_graph::import::split_name(tensor).0;
        let has_key = |s: &SignatureDef| s.inputs.iter().any(|(key, _)| &**key == tensor);
        self.signature_def().is_some_and(has_key) || self.def.nodes.iter().any(|node| &*node.name == name)
    }
}

fn plain(graph: GraphDef) -> MetaGraphDef {
    MetaGraphDef { graph, info: MetaInfo::default() }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The checkpoint that a `.meta` belongs to, if it is there.
fn beside(path: &Path) -> Option<PathBuf> {
    let prefix = prefix(path);
    with_ending(&prefix, ".index").is_file().then_some(prefix)
}

/// The graph of a SavedModel, and the checkpoint in it.
fn saved_model(
    folder: &Path,
    wanted: &ModelSource,
    budget: &MemoryBudget,
) -> Result<(MetaGraphDef, Option<PathBuf>), Error> {
    let (path, is_text) = saved_model_file(folder)
        .ok_or_else(|| Error::data(folder, "is a folder without a saved_model.pb"))?;
    let file = SourceFile::open(&path)?;
    let graphs = saved_model_tags(&file, is_text, budget)?;
    let index = choose(&graphs, &path, wanted)?;
    let mut graph = MetaGraphDef::read_saved_model(file, is_text, index, budget)?;
    give_assets(&mut graph, folder)?;
    let variables = folder.join("variables").join("variables");
    let own = with_ending(&variables, ".index").is_file().then_some(variables);
    Ok((graph, own))
}

/// Which graph is meant.
fn choose(graphs: &[Vec<Box<str>>], path: &Path, wanted: &ModelSource) -> Result<usize, Error> {
    let default = vec![DEFAULT_TAG.to_string()];
    let tags = wanted.tags.as_ref().unwrap_or(&default);
    let has_all = |own: &&Vec<Box<str>>| tags.iter().all(|tag| own.iter().any(|own| **own == **tag));
    let fits = |own: &&Vec<Box<str>>| own.len() == tags.len() && has_all(own);
    if let Some(index) = graphs.iter().position(|own| fits(&own)) {
        return Ok(index);
    }
    if wanted.tags.is_none() && graphs.len() == 1 {
        return Ok(0);
    }
    let mut having = graphs.iter().enumerate().filter(|(_, own)| has_all(own));
    if let (Some((index, _)), None) = (having.next(), having.next()) {
        return Ok(index);
    }
    let all = list(graphs.iter().map(|own| own.join(",")));
    let why = format!(
        "{} has no one graph tagged {}; choose with --tags among: {all}",
        path.display(),
        tags.join(",")
    );
    Err(if graphs.is_empty() {
        Error::data(path, "is a SavedModel without a graph")
    } else {
        Error::Usage(why)
    })
}

/// Makes the paths of files that come with the model those that they have here.
fn give_assets(graph: &mut MetaGraphDef, folder: &Path) -> Result<(), Error> {
    let mut assets: Vec<(&str, &str)> = Vec::with_capacity(graph.info.assets.len());
    for (tensor, file) in &graph.info.assets {
        let mut parts = Path::new(&**file).components();
        if !parts.all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(Error::data(
                folder,
                format!("names the asset '{file}', which is outside of its folder"),
            ));
        }
        assets.push((tightfit_graph::import::split_name(tensor).0, file));
    }
    if assets.is_empty() {
        return Ok(());
    }
    assets.sort_unstable();
    let folder = std::path::absolute(folder.join("assets")).map_err(|error| Error::io(folder, error))?;
    let place = |name: &str| assets.binary_search_by(|(own, _)| (*own).cmp(name)).ok();
    for node in graph.graph.nodes.iter_mut().filter(|node| matches!(&*node.op, "Const" | "Placeholder")) {
        let Some((_, file)) = place(&node.name).and_then(|at| assets.get(at)) else { continue };
        let text = folder.join(file).to_string_lossy().into_owned().into_bytes().into_boxed_slice();
        let more = tightfit_core::block_bytes(text.len() as u64);
        graph.graph.reservation.try_grow(more)?;
        let content = TensorContent::Strings(vec![text]);
        let value = TensorDef { dtype: DataType::from(DType::String).0, shape: Vec::new(), content };
        node.op = "Const".into();
        node.attrs.retain(|(key, _)| &**key == "dtype");
        node.attrs.push(("value".into(), AttrValue::Tensor(Box::new(value))));
    }
    read_assets(&mut graph.graph.nodes, &|name| place(name).is_some());
    Ok(())
}

/// Takes the paths of files out of the variables that TensorFlow 2 keeps them in: who reads such a variable reads the path.
fn read_assets(nodes: &mut [NodeDef], is_asset: &dyn Fn(&str) -> bool) {
    let mut paths: HashMap<Box<str>, Box<str>> = HashMap::new();
    for node in nodes.iter_mut().filter(|node| &*node.op == "AssignVariableOp") {
        let [variable, path, ..] = &node.inputs[..] else { continue };
        if is_asset(tightfit_graph::import::split_name(path).0) {
            paths.insert(variable.clone(), path.clone());
            let NodeDef { name, device, .. } = std::mem::take(node);
            *node = NodeDef { name, device, op: "NoOp".into(), ..NodeDef::default() };
        }
    }
    for node in nodes.iter_mut().filter(|node| &*node.op == "ReadVariableOp") {
        let Some(path) = node.inputs.first().and_then(|variable| paths.get(variable)) else { continue };
        node.inputs = vec![path.clone()];
        node.op = "Identity".into();
        node.attrs = vec![("T".into(), AttrValue::Type(DataType::from(DType::String).0))];
    }
}

/// The key of the signature that is meant.
fn signature(info: &MetaInfo, path: &Path, wanted: &ModelSource) -> Result<Option<String>, Error> {
    let keys = || list(info.signatures.iter().map(|(key, _)| &**key).filter(|key| *key != lite::MAIN));
    match (&wanted.signature, &info.signatures[..]) {
        (Some(key), _) if info.signature(key).is_some() => Ok(Some(key.clone())),
        (Some(key), []) => {
            let why =
                format!("--signature {key}: {} has no signatures; name tensors with --fetch", path.display());
            Err(Error::Usage(why))
        }
        (Some(key), _) => Err(Error::Usage(format!("--signature {key}: {} has {}", path.display(), keys()))),
        (None, _) if info.signature(DEFAULT_SIGNATURE).is_some() => Ok(Some(DEFAULT_SIGNATURE.to_string())),
        (None, [(only, _)]) => Ok(Some(only.to_string())),
        (None, _) if info.signature(lite::MAIN).is_some() => Ok(Some(lite::MAIN.to_string())),
        (None, _) => Ok(None),
    }
}

/// Names with commas between them, the first few.
fn list(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let mut text = String::new();
    for (number, name) in names.enumerate() {
        if number == LISTED {
            text.push_str(", ..");
            break;
        }
        if number > 0 {
            text.push_str(", ");
        }
        text.push_str(&name.to_string());
    }
    text
}
