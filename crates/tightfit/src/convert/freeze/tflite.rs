//! A model as one of TensorFlow Lite.

use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tightfit_core::MemoryBudget;
use tightfit_format::tflite::{Draft, Place, Signature, SubGraph, Values};
use tightfit_format::whole::WholeFile;
use tightfit_format::{GraphDef, NodeDef};
use tightfit_graph::export::tflite::{Facts, Lowered, lower};
use tightfit_graph::import::{Fetched, output_type};
use tightfit_graph::{ImportOptions, import};

use super::FreezeOptions;
use crate::convert::optimize::{OptimizeOptions, simplify};
use crate::convert::writing::{Counted, Frozen, PURPOSE, WRITE_BYTES, of_writing};
use crate::error::Error;
use crate::memory::process;
use crate::model::Plain;

/// What a file says that has made it.
pub(crate) const DESCRIPTION: &str = concat!("TightFit ", env!("CARGO_PKG_VERSION"));

/// What a node of the copy takes that types and shapes are found of.
const NODE_BYTES: u64 = 1 << 10;

/// Writes the model at `path` to `output`.
///
/// # Errors
/// As [`super::freeze`]; [`Error::Graph`] with every node that has no builtin.
pub(crate) fn freeze(
    path: &Path,
    options: &FreezeOptions,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<Frozen, Error> {
    let wanted = OptimizeOptions {
        source: options.source.clone(),
        fetches: options.fetches.clone(),
        operators: options.operators.clone(),
        ..OptimizeOptions::default()
    };
    let Plain { def, ports, fetched, keep, _names } = simplify(path, &wanted, budget)?.plain;
    if let Some(filler) = keep.first() {
        let why = format!("'{filler}' fills a table, which a .tflite cannot: freeze it to a .pb");
        return Err(Error::data(path, why));
    }
    let inputs: Vec<(String, String)> = def
        .nodes
        .iter()
        .filter(|node| is_input(node))
        .map(|node| {
            let shown = ports.input_key(&node.name).unwrap_or(&node.name);
            (shown.to_string(), format!("{}:0", node.name))
        })
        .collect();
    let outputs: Vec<(String, String)> =
        fetched.into_iter().map(|Fetched { name, tensor }| (name, tensor)).collect();
    let facts = facts(&def, budget)?;
    let lowered = lower(&def, &facts, &inputs, &outputs, budget)?;
    drop(facts);
    process::end_phase();
    let bytes = write_lowered(&lowered, &def, output, stop, budget)?;
    let tensor =
        |number: &u32| lowered.graph.tensors.get(*number as usize).map_or("", |t| &t.name).to_string();
    let shown = |list: &[(Box<str>, u32)]| {
        list.iter().map(|(name, number)| (name.to_string(), tensor(number))).collect()
    };
    Ok(Frozen {
        bytes,
        nodes: lowered.graph.operators.len(),
        inputs: shown(&lowered.signature.inputs),
        outputs: shown(&lowered.signature.outputs),
        init_ops: Vec::new(),
        constants: lowered.graph.tensors.iter().filter(|tensor| tensor.values.bytes > 0).count(),
        constant_bytes: lowered.graph.tensors.iter().map(|tensor| tensor.values.bytes).sum(),
    })
}

fn is_input(node: &NodeDef) -> bool {
    matches!(&*node.op, "Placeholder" | "PlaceholderWithDefault")
}

/// Type and shape of every tensor of a graph, as import finds them.
fn facts(def: &GraphDef, budget: &MemoryBudget) -> Result<Facts, Error> {
    let mut fetches = Vec::new();
    for node in def.nodes.iter().filter(|node| !matches!(&*node.op, "Const" | "NoOp")) {
        // The first is there whatever is known of its type.
        let outputs = (0..).take_while(|number| *number == 0 || output_type(node, *number).is_some());
        fetches.extend(outputs.map(|number| format!("{}:{number}", node.name)));
    }
    let bytes = NODE_BYTES * def.nodes.len() as u64;
    let copy = GraphDef {
        nodes: def.nodes.clone(),
        functions: def.functions.clone(),
        producer: def.producer,
        min_consumer: def.min_consumer,
        source: def.source.clone(),
        reservation: budget.try_reserve("copy of the graph to infer shapes", bytes)?,
    };
    let options = ImportOptions { fetches, ..ImportOptions::default() };
    let graph = import(&def.source, copy, &options, budget)?;
    Ok(graph.outputs.iter().map(|port| (port.name.clone(), graph.fact(port.value).clone())).collect())
}

fn write_lowered(
    lowered: &Lowered,
    def: &GraphDef,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<u64, Error> {
    let mut values = |place: Place, out: &mut dyn std::io::Write| match lowered.constant(place) {
        Some(constant) => constant.write(&def.source, out, budget),
        None => Err(std::io::Error::other(Error::Defect("a constant has no values"))),
    };
    let parts = (std::slice::from_ref(&lowered.graph), std::slice::from_ref(&lowered.signature));
    write(parts, &mut values, output, stop, budget)
}

/// Writes a model, whole or not at all.
///
/// # Errors
/// As [`super::freeze`].
pub(crate) fn write(
    (subgraphs, signatures): (&[SubGraph], &[Signature]),
    values: &mut Values<'_>,
    output: &Path,
    stop: &AtomicBool,
    budget: &MemoryBudget,
) -> Result<u64, Error> {
    let at = |error: std::io::Error| of_writing(output, error);
    let mut file = WholeFile::create(output).map_err(at)?;
    let _buffer = budget.try_reserve(PURPOSE, WRITE_BYTES as u64)?;
    let mut out = Counted { out: BufWriter::with_capacity(WRITE_BYTES, &mut file), bytes: 0, stop };
    let draft = Draft { description: DESCRIPTION, subgraphs, signatures, metadata: &[] };
    draft.write(values, &mut out, budget).map_err(at)?;
    std::io::Write::flush(&mut out).map_err(at)?;
    let bytes = out.bytes;
    drop(out);
    file.commit().map_err(at)?;
    Ok(bytes)
}
