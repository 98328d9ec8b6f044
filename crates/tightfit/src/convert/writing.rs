//! How models are written: counted, whole or not at all, and what is told of them.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tightfit_core::MemoryBudget;
use tightfit_format::whole::WholeFile;
use tightfit_format::{FormatError, GraphDef, GraphWriter};
use tightfit_graph::GraphError;
use tightfit_graph::import::{Fetched, PortNames, split_name};

use crate::error::Error;

/// The most bytes of a message that protobuf, and so TensorFlow, reads.
pub const MESSAGE_MAX_BYTES: u64 = i32::MAX as u64;

/// What the memory of writing is reserved for.
pub(crate) const PURPOSE: &str = "writing the frozen graph";

/// Bytes that are written at a time.
pub(crate) const WRITE_BYTES: usize = 256 << 10;

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

/// Writes a graph, and returns its bytes.
pub(crate) fn write(
    def: &GraphDef,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<u64, Error> {
    let at = |error: io::Error| of_writing(output, error);
    let mut file = WholeFile::create(output).map_err(at)?;
    let _buffer = budget.try_reserve(PURPOSE, WRITE_BYTES as u64)?;
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
