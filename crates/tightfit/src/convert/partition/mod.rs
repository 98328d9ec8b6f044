//! Partitioning: a model as a chain of SavedModels, each of which TensorFlow loads and runs by itself, so that no more than
//! one part's weights need to be in memory, and no file nears the 2 GiB that protobuf reads.

mod cut;
mod layout;
mod part;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tightfit_core::MemoryBudget;
use tightfit_format::whole::WholeFolder;
use tightfit_format::{
    AttrValue, BundleWriter, DataType, GraphDef, SavedModelDef, SignatureDef, TensorShapeDef, tensor_bundle,
};
use tightfit_graph::import::{Fetched, output_type};
use tightfit_graph::ir::Graph;
use tightfit_graph::{GraphError, ImportOptions, Operators, import};

use crate::convert::writing::{Counted, of_writing};
use crate::error::Error;
use crate::memory::process;
use crate::model::{Described, ModelSource, NAMES, Plain, describe};
pub use crate::model::{MANIFEST, Manifest, Part, PartPort};
pub use cut::Cut;
use layout::{Kind, Layout, Tensor};
use part::{PartGraph, Whole, row_bytes};

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 256 << 10;

/// What a tensor counts for whose shape is not known.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// What is wanted of a partitioned model.
#[derive(Debug, Clone)]
pub struct PartitionOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature.
    pub fetches: Vec<String>,
    /// How parts are chosen.
    pub cut: Cut,
    /// Operators beside those that are built in; see [`crate::operator`].
    pub operators: Operators,
}

/// Writes the model at `path` as a folder of SavedModels and a manifest to `output`, where nothing is yet; whole or not at
/// all. Values go from the model to the parts in small pieces.
///
/// # Errors
/// As [`crate::freeze::freeze`]; [`Error::Usage`] for a cut that is not possible.
pub fn partition(
    path: &Path,
    options: &PartitionOptions,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<Manifest, Error> {
    let facts = facts(path, options, budget)?;
    process::end_phase();
    let Plain { def, ports, keep, fetched, _names } = Plain::of(
        path,
        describe(path, &options.source, &options.operators, budget)?,
        &options.fetches,
        &options.operators,
        budget,
    )?;
    let def = &def;
    let fetched = if fetched.is_empty() { results(def) } else { fetched };
    let roots: Vec<String> = fetched.iter().map(|fetched| fetched.tensor.clone()).collect();
    let layout = Layout::new(def, &roots, &keep, &ports).map_err(|why| Error::data(path, why))?;
    let kind = |tensor: Tensor| facts.kind(def, tensor);
    let carried = |tensor: Tensor| {
        let (dtype, shape) = kind(tensor)?;
        if shape.dims.is_none() { Some(UNKNOWN_BYTES) } else { Some(row_bytes(dtype, &shape)) }
    };
    let (parts, count) = cut::cut(def, &layout, &options.cut, &carried)
        .map_err(|why| Error::Usage(format!("{}: {why}", path.display())))?;
    let mut outputs = Vec::with_capacity(fetched.len());
    for Fetched { name, tensor } in fetched {
        let index = layout.find(&tensor).map_err(|why| Error::data(path, why))?;
        outputs.push((name, (index, tightfit_graph::import::split_name(&tensor).1)));
    }
    let input_name = |node: &str| ports.input_key(node).unwrap_or(node).to_string();
    let whole =
        Whole { def, layout: &layout, parts: &parts, count, outputs, kinds: &kind, input_name: &input_name };
    write(path, &whole, &carried, output, stop, budget)
}

/// The tensors that no node takes: what a graph without a signature computes.
pub(crate) fn results(def: &GraphDef) -> Vec<Fetched> {
    let used: std::collections::HashSet<&str> = def
        .nodes
        .iter()
        .flat_map(|node| &node.inputs)
        .map(|input| tightfit_graph::import::split_name(input.trim_start_matches('^')).0)
        .collect();
    let is_result = |node: &&tightfit_format::NodeDef| {
        !used.contains(&*node.name) && tightfit_graph::import::is_result(&node.op)
    };
    let fetched = |node: &tightfit_format::NodeDef| Fetched {
        name: node.name.to_string(),
        tensor: node.name.to_string(),
    };
    def.nodes.iter().filter(is_result).map(fetched).collect()
}

/// What is known of tensors.
#[derive(Debug, Default)]
struct Facts(HashMap<Box<str>, Vec<(i32, TensorShapeDef)>>);

impl Facts {
    /// Type and shape of a tensor that can be carried from one part to another.
    fn kind(&self, def: &GraphDef, (index, output): Tensor) -> Option<(i32, TensorShapeDef)> {
        let node = def.nodes.get(index)?;
        if let Some(known) = self.0.get(&node.name).and_then(|outputs| outputs.get(output as usize)) {
            return Some(known.clone());
        }
        let dtype = match node.attr("dtype") {
            Some(AttrValue::Type(dtype)) if matches!(&*node.op, "Placeholder" | "PlaceholderWithDefault") => {
                *dtype
            }
            _ => DataType::from(output_type(node, output as usize)?).0,
        };
        let shape = match node.attr("shape") {
            Some(AttrValue::Shape(shape)) if node.op.starts_with("Placeholder") => shape.clone(),
            _ => TensorShapeDef::default(),
        };
        Some((dtype, shape))
    }
}

/// Types and shapes of all tensors, as they are found out for a run. Where the model cannot be run here, none.
fn facts(path: &Path, options: &PartitionOptions, budget: &MemoryBudget) -> Result<Facts, Error> {
    let mut described = describe(path, &options.source, &options.operators, budget)?;
    described.check_fetches(&options.fetches)?;
    let _names = budget.try_reserve(NAMES, described.names_bytes())?;
    let import_options = ImportOptions {
        fetches: options.fetches.clone(),
        ports: described.ports(),
        keep: described.table_initializers(),
        checkpoint: described.checkpoint.take(),
        operators: options.operators.clone(),
        ..ImportOptions::default()
    };
    let Described { file, def, .. } = described;
    let graph = match import(&file, def, &import_options, budget) {
        Ok(graph) => graph,
        Err(GraphError::Unsupported(_)) => return Ok(Facts::default()),
        Err(error) => return Err(error.into()),
    };
    Ok(Facts(shapes(&graph)))
}

fn shapes(graph: &Graph) -> HashMap<Box<str>, Vec<(i32, TensorShapeDef)>> {
    let kind = |fact: &tightfit_graph::fact::Fact| {
        let dims = fact.dims.get().map(|dims| dims.iter().map(|dim| dim.known().unwrap_or(-1)).collect());
        (DataType::from(fact.dtype).0, TensorShapeDef { dims })
    };
    let plain = graph.nodes.iter().filter(|node| node.facts.iter().all(|fact| fact.list.is_none()));
    plain.map(|node| ((&*node.name).into(), node.facts.iter().map(kind).collect())).collect()
}

fn write(
    path: &Path,
    whole: &Whole<'_>,
    carried: &dyn Fn(Tensor) -> Option<u64>,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<Manifest, Error> {
    let at = |error: io::Error| of_writing(output, error);
    let folder = WholeFolder::create(output).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Usage(format!(
            "--output {}: is there already; name a folder that is not, or remove it",
            output.display()
        )),
        _ => Error::io(output, error),
    })?;
    let inputs = whole.layout.kinds.iter().enumerate().filter(|(_, kind)| **kind == Kind::Input);
    let mut inputs: Vec<String> = inputs.map(|(index, _)| whole.key((index, 0))).collect();
    let mut manifest = Manifest {
        model: path.display().to_string(),
        inputs: Vec::new(),
        outputs: whole.outputs.iter().map(|(name, _)| name.clone()).collect(),
        parts: Vec::with_capacity(whole.count),
    };
    for number in 0..whole.count {
        let made = whole.part(number).map_err(|why| Error::data(path, why))?;
        let name = format!("part-{number:03}");
        write_part(whole.def, &made, &folder.path().join(&name), stop, budget).map_err(at)?;
        manifest.parts.push(listed(whole, &made, name, carried));
    }
    // What no part takes, nobody needs to give.
    inputs
        .retain(|name| manifest.parts.iter().any(|part| part.inputs.iter().any(|port| port.tensor == *name)));
    manifest.inputs = inputs;
    fs::write(folder.path().join(MANIFEST), manifest.to_text()).map_err(at)?;
    folder.commit().map_err(at)?;
    Ok(manifest)
}

fn listed(
    whole: &Whole<'_>,
    made: &PartGraph,
    folder: String,
    carried: &dyn Fn(Tensor) -> Option<u64>,
) -> Part {
    let port = |tensor: String, (key, info): &(Box<str>, tightfit_format::TensorInfo)| PartPort {
        key: key.to_string(),
        tensor,
        dtype: DataType(info.dtype)
            .dtype()
            .map_or_else(|| DataType(info.dtype).to_string(), |dtype| dtype.to_string()),
        shape: info.shape.dims.clone(),
    };
    let SignatureDef { inputs, outputs, .. } = &made.signature;
    let given =
        |key: &str| made.gives.iter().find(|(own, _)| own == key).map(|(_, tensor)| whole.key(*tensor));
    Part {
        folder,
        inputs: inputs.iter().map(|own| port(own.0.to_string(), own)).collect(),
        outputs: outputs.iter().map(|own| port(given(&own.0).unwrap_or(own.0.to_string()), own)).collect(),
        nodes: made.own_nodes,
        weight_bytes: made.weight_bytes,
        carried_bytes: made.gives.iter().filter_map(|(_, tensor)| carried(*tensor)).sum(),
    }
}

/// Writes one SavedModel to `folder`, which is made.
fn write_part(
    def: &GraphDef,
    made: &PartGraph,
    folder: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> io::Result<()> {
    let _buffer = budget.try_reserve("writing a part", 2 * WRITE_BYTES as u64)?;
    let create = |path: &Path| -> io::Result<_> {
        let out = BufWriter::with_capacity(WRITE_BYTES, File::create_new(path)?);
        Ok(Counted { out, bytes: 0, stop })
    };
    fs::create_dir(folder)?;
    let mut functions = Vec::new();
    tightfit_graph::import::functions_of(def, &made.nodes, &mut |function| functions.push(function));
    let saved = SavedModelDef {
        nodes: &made.nodes,
        functions,
        producer: def.producer,
        min_consumer: def.min_consumer,
        signature: made.signature.clone(),
        variables: made.variables.clone(),
        saver: made.saver.clone(),
        init_op: made.init_op.clone(),
        assets: made.assets.iter().map(|(node, file, _)| (node.clone(), file.clone())).collect(),
    };
    saved.write(&mut create(&folder.join("saved_model.pb"))?, &def.source, budget)?;
    if !made.assets.is_empty() {
        fs::create_dir(folder.join("assets"))?;
    }
    for (_, file, path) in &made.assets {
        let why = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        io::copy(&mut File::open(path).map_err(why)?, &mut create(&folder.join("assets").join(file))?)?;
    }
    if made.stored.is_empty() {
        return Ok(());
    }
    fs::create_dir(folder.join("variables"))?;
    let [data, index] = tensor_bundle::files(&folder.join("variables").join("variables"));
    let mut bundle = BundleWriter::new(create(&data)?, budget)?;
    for constant in &made.stored {
        let node = &def.nodes[*constant];
        if let Some(AttrValue::Tensor(tensor)) = node.attr("value") {
            bundle.tensor(&node.name, tensor, &def.source)?;
        }
    }
    let mut index = create(&index)?;
    bundle.finish(&mut index)?;
    index.flush()
}
