//! Freezing: a model as one GraphDef that TensorFlow loads and runs, variables as constants, calls inlined, nothing in it
//! that only trains, saves or restores. Values go from the shards to the output in small pieces.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_format::whole::WholeFile;
use tightfit_format::{FormatError, GraphDef, GraphWriter, NodeDef};
use tightfit_graph::import::{Fetched, PortNames, plain, split_name};
use tightfit_graph::{GraphError, ImportOptions};

use crate::error::Error;
use crate::model::{Described, ModelSource, NAMES};
use crate::process;

/// The most bytes of a message that protobuf, and so TensorFlow, reads.
pub const MESSAGE_MAX_BYTES: u64 = i32::MAX as u64;

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 256 << 10;

/// What is wanted of a frozen model.
#[derive(Debug, Clone, Default)]
pub struct FreezeOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature.
    pub fetches: Vec<String>,
}

/// A model that has been frozen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frozen {
    /// Bytes of the file.
    pub bytes: u64,
    /// Nodes in it.
    pub nodes: usize,
    /// Inputs: what the signature calls them, or else what the node is called, and the tensor.
    pub inputs: Vec<(String, String)>,
    /// Outputs: what was asked for, and the tensor.
    pub outputs: Vec<(String, String)>,
    /// Operators that TensorFlow has to run once before others, because they fill tables.
    pub init_ops: Vec<String>,
    /// How many constants there are.
    pub constants: usize,
    /// Bytes of their values.
    pub constant_bytes: u64,
}

impl Frozen {
    /// True when TensorFlow cannot read the file, because it is one message of 2 GiB or more.
    pub fn is_too_large_for_tensorflow(&self) -> bool {
        self.bytes > MESSAGE_MAX_BYTES
    }
}

/// A model as a graph that is whole by itself: what every file that is written of a model begins with.
pub(crate) struct Plain {
    pub def: GraphDef,
    pub ports: PortNames,
    /// The operators that fill tables, which have to be run first.
    pub keep: Vec<String>,
    /// What is computed; nothing where neither a signature nor the caller says it.
    pub fetched: Vec<Fetched>,
    /// What names take.
    pub _names: Reservation,
}

impl Plain {
    /// Reads the model at `path`.
    ///
    /// # Errors
    /// As [`freeze`].
    pub fn read(
        path: &Path,
        source: &ModelSource,
        fetches: &[String],
        budget: &MemoryBudget,
    ) -> Result<Plain, Error> {
        let mut described = Described::read(path, source, budget)?;
        described.check_fetches(fetches)?;
        let names = budget.try_reserve(NAMES, described.names_bytes())?;
        let (ports, keep) = (described.ports(), described.table_initializers());
        let import = ImportOptions {
            fetches: fetches.to_vec(),
            ports: ports.clone(),
            keep: keep.clone(),
            checkpoint: described.checkpoint.take(),
            ..ImportOptions::default()
        };
        let fetched = plain(&mut described.def, &import, budget)?;
        check_no_variables(path, &described.def)?;
        let mut def = described.def;
        def.nodes.iter_mut().for_each(tidy);
        Ok(Plain { def, ports, keep, fetched, _names: names })
    }
}

/// Writes the model at `path` as a frozen GraphDef to `output`, whole or not at all.
///
/// # Errors
/// As [`crate::Model::open`], but for operators that cannot be run here; [`Error::Io`] when it cannot be written, and
/// [`Error::Interrupted`] when `stop` was raised.
pub fn freeze(
    path: &Path,
    options: &FreezeOptions,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<Frozen, Error> {
    let Plain { def, ports, keep, fetched, _names } =
        Plain::read(path, &options.source, &options.fetches, budget)?;
    let mut frozen = frozen(&def, &ports, fetched, keep);
    // What has read the description is not needed to write it.
    process::end_phase();
    frozen.bytes = write(&def, output, stop, budget)?;
    Ok(frozen)
}

/// What is told of a graph that is written.
pub(crate) fn frozen(def: &GraphDef, ports: &PortNames, fetched: Vec<Fetched>, keep: Vec<String>) -> Frozen {
    let mut frozen = Frozen { nodes: def.nodes.len(), ..Frozen::default() };
    for node in &def.nodes {
        if let Some(tightfit_format::AttrValue::Tensor(tensor)) = node.attr("value") {
            frozen.constants += 1;
            frozen.constant_bytes += tensor.bytes().unwrap_or(0);
        }
        if matches!(&*node.op, "Placeholder" | "PlaceholderWithDefault") {
            let name = ports.input_key(&node.name).unwrap_or(&node.name);
            frozen.inputs.push((name.to_string(), format!("{}:0", node.name)));
        }
    }
    let shown = |Fetched { name, tensor }: Fetched| {
        let (node, number) = split_name(&tensor);
        (name, format!("{node}:{number}"))
    };
    frozen.outputs = fetched.into_iter().map(shown).collect();
    frozen.init_ops = keep;
    frozen
}

/// # Errors
/// [`Error::Data`] for a variable that is left, because the graph assigns it.
fn check_no_variables(path: &Path, def: &GraphDef) -> Result<(), Error> {
    let is_variable = |node: &&NodeDef| matches!(&*node.op, "VarHandleOp" | "VariableV2" | "Variable");
    let mut nodes = def.nodes.iter().chain(def.functions.iter().flat_map(|function| &function.nodes));
    let Some(variable) = nodes.find(is_variable) else { return Ok(()) };
    let takes = |node: &&NodeDef| {
        let is_read = node.op.contains("Read") || &*node.op == "Identity";
        !is_read && node.inputs.iter().any(|input| split_name(input).0 == &*variable.name)
    };
    let user = def.nodes.iter().find(takes);
    let user = user.map_or(String::new(), |node| format!(" by node '{}' ({})", node.name, node.op));
    let why = format!(
        "variable '{}' is assigned{user}, so it is no constant; name outputs with --fetch that need no assignment",
        variable.name
    );
    Err(Error::data(path, why))
}

/// Takes off a node what means something only where it was saved.
fn tidy(node: &mut NodeDef) {
    node.device = None;
    node.attrs.retain(|(name, _)| &**name != "_class");
}

/// Writes a graph, and returns its bytes.
pub(crate) fn write(
    def: &GraphDef,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<u64, Error> {
    let at = |error: io::Error| of_writing(output, error);
    let mut file = WholeFile::create(output).map_err(at)?;
    let _buffer = budget.try_reserve("writing the frozen graph", WRITE_BYTES as u64)?;
    let out = Counted { out: BufWriter::with_capacity(WRITE_BYTES, &mut file), bytes: 0, stop };
    let mut writer = GraphWriter::new(out, budget).map_err(at)?;
    for node in &def.nodes {
        writer.node(node, Some(&def.source)).map_err(at)?;
    }
    for function in &def.functions {
        writer.function(function, Some(&def.source)).map_err(at)?;
    }
    let written = writer.finish(def.producer, def.min_consumer).map_err(at)?;
    let bytes = written.bytes;
    drop(written);
    file.commit().map_err(at)?;
    Ok(bytes)
}

/// Counts what goes through, and ends when it is asked to.
pub(crate) struct Counted<'s, W> {
    pub out: W,
    pub bytes: u64,
    pub stop: &'s AtomicBool,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Error::Interrupted));
        }
        let written = self.out.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What went wrong while values were copied: reading them, the memory, or the output.
pub(crate) fn of_writing(output: &Path, error: io::Error) -> Error {
    let inner = match error.downcast::<Error>() {
        Ok(own) => return own,
        Err(error) => error,
    };
    match inner.downcast::<FormatError>() {
        Ok(format) => GraphError::Format(format).into(),
        Err(error) => match error.downcast::<tightfit_core::BudgetError>() {
            Ok(budget) => budget.into(),
            Err(error) => Error::io(output, error),
        },
    }
}
