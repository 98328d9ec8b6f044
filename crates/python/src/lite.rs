//! The numbers and names that TensorFlow Lite's interpreter has for the tensors of a .tflite.

use std::path::PathBuf;

use pyo3::prelude::*;
use tightfit::Error;
use tightfit_format::tflite::{Model, SubGraph, Tensor};
use tightfit_format::{ModelFormat, SourceFile, detect};

use crate::files::Memory;
use crate::session::Scales;
use crate::{errors, memory_bytes};

/// Number, name, type, shape, shape with -1 for open dimensions, what integers stand for, and how
/// many neighbours share a scale where not all along an axis do.
type Told = (usize, String, &'static str, Vec<i32>, Vec<i64>, Option<Scales>, i32);

/// The names of inputs or outputs of a signature, and the numbers of their tensors.
type Named = Vec<(String, u32)>;

/// Tensors, the numbers of inputs and outputs in their order, and what the signature calls them.
type Lite = (Vec<Told>, [Vec<i32>; 2], [Named; 2]);

/// What a .tflite tells of the graph that the signature `key` runs: of all tensors, or of inputs and outputs alone. Nothing
/// for a model of another kind.
#[pyfunction]
pub fn lite_tensors(
    py: Python<'_>,
    path: PathBuf,
    key: Option<&str>,
    of_all: bool,
    memory: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Lite>> {
    let memory_bytes = memory_bytes(memory)?;
    py.detach(|| read(&path, key, of_all, memory_bytes)).map_err(|error| errors::raise(py, &error))
}

fn read(path: &PathBuf, key: Option<&str>, of_all: bool, memory_bytes: u64) -> Result<Option<Lite>, Error> {
    if detect(path)? != ModelFormat::TfLite {
        return Ok(None);
    }
    let memory = Memory::of(memory_bytes, 1)?;
    let model = Model::read(SourceFile::open(path)?, &memory.budget)?;
    let signature = model.signatures.iter().find(|signature| Some(&*signature.key) == key);
    let number = signature.map_or(0, |signature| signature.subgraph as usize);
    let Some(graph) = model.subgraphs.get(number) else { return Ok(None) };
    let named = |list: &[(Box<str>, u32)]| list.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    let names = match signature {
        Some(signature) => [named(&signature.inputs), named(&signature.outputs)],
        None => [of_graph(graph, &graph.inputs), of_graph(graph, &graph.outputs)],
    };
    let is_port = |number: &usize| {
        i32::try_from(*number).is_ok_and(|n| graph.inputs.contains(&n) || graph.outputs.contains(&n))
    };
    let numbered = graph.tensors.iter().enumerate();
    let tensors = numbered.filter(|(number, _)| of_all || is_port(number)).map(told).collect();
    Ok(Some((tensors, [graph.inputs.clone(), graph.outputs.clone()], names)))
}

/// Inputs or outputs by the names of their tensors.
fn of_graph(graph: &SubGraph, list: &[i32]) -> Named {
    let numbers = list.iter().filter_map(|number| u32::try_from(*number).ok());
    let named = numbers.filter_map(|n| Some((graph.tensors.get(n as usize)?.name.to_string(), n)));
    named.collect()
}

fn told((number, tensor): (usize, &Tensor)) -> Told {
    let dtype = tensor.kind.data_type().and_then(|data_type| data_type.dtype());
    let name = match (dtype, tensor.kind.bits()) {
        (Some(dtype), _) => dtype.name(),
        // Integers of fewer bits are unpacked.
        (None, Some(_)) => "int8",
        (None, None) => "resource",
    };
    let scales = tensor.quantization.as_ref();
    let scales = scales.map(|q| (q.scales.clone(), q.zero_points.clone(), q.axis));
    let block = tensor.blockwise.map_or(0, |blocks| blocks.size);
    (number, tensor.name.to_string(), name, tensor.shape.clone(), tensor.open_shape(), scales, block)
}
