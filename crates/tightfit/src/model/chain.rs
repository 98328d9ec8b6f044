//! A model in parts, read as the one model that it is.
//!
//! What a part takes of earlier ones is joined to what those give, so that a chain is planned, run over data sets and
//! continued as any other model is. Weights stay where they are, in the checkpoints of the parts, and are read each time that
//! they are needed: never are more of them present than the window, or than one weight that has to be whole.

use std::collections::HashMap;
use std::path::Path;

use tightfit_core::{Buffer, MemoryBudget, block_bytes};
use tightfit_format::{
    AttrValue, GraphDef, InlineBytes, MetaInfo, ModelFormat, NodeDef, SignatureDef, SourceFile,
    TensorContent, TensorInfo,
};
use tightfit_graph::Operators;
use tightfit_graph::import::split_name;

use super::manifest::{FILE, Manifest, Part};
use super::plain::Plain;
use super::source::{DEFAULT_SIGNATURE, Described, ModelSource};
use crate::error::Error;

/// What the values of constants that are not variables are reserved for.
const VALUES: &str = "constants of a model in parts";

/// Reads the model at `path`, in parts or not. `operators` are those beside the built-in ones.
///
/// # Errors
/// As [`Described::read`], and as [`read`].
pub(crate) fn describe(
    path: &Path,
    wanted: &ModelSource,
    operators: &Operators,
    budget: &MemoryBudget,
) -> Result<Described, Error> {
    let Some(manifest) = Manifest::read(path)? else { return Described::read(path, wanted, budget) };
    check_alone(wanted)?;
    read(path, &manifest, operators, budget)
}

/// A model in parts has one signature, and its values beside it.
fn check_alone(wanted: &ModelSource) -> Result<(), Error> {
    let ModelSource { signature, tags, checkpoint } = wanted;
    let flag = match (signature, tags, checkpoint) {
        (Some(key), ..) if key != DEFAULT_SIGNATURE => "--signature",
        (_, Some(_), _) => "--tags",
        (.., Some(_)) => "--checkpoint",
        _ => return Ok(()),
    };
    Err(Error::Usage(format!("{flag} does not go with a model in parts")))
}

/// Reads the chain in `folder`.
///
/// # Errors
/// As reading each part, and [`Error::Data`] for parts that do not go together.
fn read(
    folder: &Path,
    manifest: &Manifest,
    operators: &Operators,
    budget: &MemoryBudget,
) -> Result<Described, Error> {
    let path = folder.join(FILE);
    let mut chain = Chain::new(&path, budget)?;
    for part in &manifest.parts {
        let place = folder.join(&part.folder);
        let described = Described::read(&place, &ModelSource::default(), budget)?;
        let plain = Plain::of(&place, described, &[], operators, budget)?;
        chain.add(part, plain)?;
    }
    let Chain { def, inputs, given, mut fillers, .. } = chain;
    fillers.sort_unstable();
    fillers.dedup();
    let mut signature =
        SignatureDef { method: "tensorflow/serving/predict".into(), ..SignatureDef::default() };
    let tensor = |name: &str| TensorInfo { name: name.into(), ..TensorInfo::default() };
    for key in &manifest.inputs {
        if let Some((_, name)) = inputs.iter().find(|(own, _)| own == key) {
            signature.inputs.push((key.as_str().into(), tensor(name)));
        }
    }
    let last = manifest.parts.last().ok_or(Error::Defect("a manifest names a part"))?;
    for key in &manifest.outputs {
        let port = last.outputs.iter().find(|port| port.key == *key);
        let name = port.and_then(|port| given.get(&port.tensor));
        let name = name.ok_or_else(|| Error::data(&path, format!("no part gives the output '{key}'")))?;
        signature.outputs.push((key.as_str().into(), tensor(name)));
    }
    let key = DEFAULT_SIGNATURE.to_string();
    let info = MetaInfo {
        signatures: vec![(key.as_str().into(), signature)],
        table_initializers: fillers,
        ..MetaInfo::default()
    };
    Ok(Described {
        format: ModelFormat::SavedModelDir,
        file: def.source.clone(),
        def,
        info,
        signature: Some(key),
        checkpoint: None,
        is_in_parts: true,
    })
}

/// The parts so far as one graph.
struct Chain<'c> {
    path: &'c Path,
    budget: &'c MemoryBudget,
    def: GraphDef,
    /// Where each node stands.
    names: HashMap<Box<str>, usize>,
    /// What fills tables.
    fillers: Vec<Box<str>>,
    /// What callers call the inputs, and their tensors.
    inputs: Vec<(String, String)>,
    /// The tensors that parts have given: what the manifest calls them, and what they are in the graph.
    given: HashMap<String, String>,
}

impl<'c> Chain<'c> {
    fn new(path: &'c Path, budget: &'c MemoryBudget) -> Result<Chain<'c>, Error> {
        let def = GraphDef {
            nodes: Vec::new(),
            functions: Vec::new(),
            producer: 0,
            min_consumer: 0,
            source: SourceFile::open(path)?,
            reservation: budget.try_reserve(VALUES, 0)?,
        };
        Ok(Chain {
            path,
            budget,
            def,
            names: HashMap::new(),
            fillers: Vec::new(),
            inputs: Vec::new(),
            given: HashMap::new(),
        })
    }

    /// Adds a part after those that are there.
    fn add(&mut self, part: &Part, plain: Plain) -> Result<(), Error> {
        let Plain { def, ports, fetched, keep, .. } = plain;
        let path = self.path;
        let lie = |why: String| Error::data(path, format!("part '{}' {why}", part.folder));
        // What the part's placeholders stand for.
        let mut places: HashMap<String, String> = HashMap::new();
        for port in &part.inputs {
            let own = ports.inputs.iter().find(|(_, key)| *key == port.key);
            let own = own.ok_or_else(|| lie(format!("does not take '{}'", port.key)))?;
            let node = split_name(&own.0).0.to_string();
            match self.given.get(&port.tensor) {
                Some(tensor) => drop(places.insert(node, tensor.clone())),
                None if self.inputs.iter().any(|(key, _)| *key == port.tensor) => {
                    places.insert(node.clone(), node);
                }
                None => self.inputs.push((port.tensor.clone(), node)),
            }
        }
        self.def.producer = self.def.producer.max(def.producer);
        self.def.min_consumer = self.def.min_consumer.max(def.min_consumer);
        let more = def.reservation.bytes();
        self.def.reservation.try_grow(more)?;
        for mut function in def.functions {
            if self.def.function(&function.name).is_some() {
                continue;
            }
            for node in &mut function.nodes {
                self.hold_values(node, &def.source)?;
            }
            self.def.functions.push(function);
        }
        self.def.functions.sort_by(|a, b| a.name.cmp(&b.name));
        for mut node in def.nodes {
            if places.contains_key(&*node.name) {
                continue;
            }
            if keep.iter().any(|kept| **kept == *node.name) {
                let fillers = node.inputs.iter().filter_map(|input| input.strip_prefix('^'));
                fillers.for_each(|filler| self.fillers.push(filler.into()));
                continue;
            }
            node.inputs.iter_mut().for_each(|input| join(input, &places));
            if let Some(other) = self.names.get(&node.name).and_then(|at| self.def.nodes.get(*at)) {
                // Constants, what is computed of them, and tables, of which each part has its own.
                if (&other.op, &other.inputs) == (&node.op, &node.inputs) {
                    continue;
                }
                return Err(lie(format!("has the node '{}', as another part", node.name)));
            }
            self.hold_values(&mut node, &def.source)?;
            self.names.insert(node.name.clone(), self.def.nodes.len());
            self.def.nodes.push(node);
        }
        for port in &part.outputs {
            let own = fetched.iter().find(|fetched| fetched.name == port.key);
            let own = own.ok_or_else(|| lie(format!("does not give '{}'", port.key)))?;
            let mut tensor: Box<str> = own.tensor.as_str().into();
            join(&mut tensor, &places);
            self.given.insert(port.tensor.clone(), tensor.into());
        }
        Ok(())
    }

    /// Reads what of a node stands in the part's own file, of which the graph has no other: small constants.
    fn hold_values(&mut self, node: &mut NodeDef, source: &SourceFile) -> Result<(), Error> {
        for (_, value) in &mut node.attrs {
            let AttrValue::Tensor(tensor) = value else { continue };
            if !matches!(tensor.content, TensorContent::File { .. } | TensorContent::Segments(_)) {
                continue;
            }
            // One element stands for the rest where only that is written.
            let (Some(bytes), present) = (tensor.bytes(), tensor.present_bytes()) else { continue };
            let bytes = usize::try_from(bytes.min(present))
                .map_err(|_| Error::data(self.path, "has a constant larger than the address space"))?;
            let content = if bytes <= SMALL_BYTES {
                let mut held = vec![0; bytes].into_boxed_slice();
                self.def.reservation.try_grow(block_bytes(bytes as u64))?;
                tensor.read_at(source, 0, &mut held)?;
                InlineBytes::Small(held)
            } else {
                let mut held = Buffer::new(self.budget, VALUES, bytes)?;
                tensor.read_at(source, 0, &mut held)?;
                InlineBytes::Large(held.into())
            };
            tensor.content = TensorContent::Inline(content);
        }
        Ok(())
    }
}

/// Values up to this size are held beside the description.
const SMALL_BYTES: usize = 4 << 10;

/// Makes an input of a node that of what its placeholder stands for.
fn join(input: &mut Box<str>, places: &HashMap<String, String>) {
    let (is_control, tensor) = match input.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, &**input),
    };
    let (name, output) = split_name(tensor);
    let Some(tensor) = places.get(name).filter(|_| output == 0) else { return };
    *input = match is_control {
        true => format!("^{}", split_name(tensor).0).into(),
        false => tensor.as_str().into(),
    };
}
