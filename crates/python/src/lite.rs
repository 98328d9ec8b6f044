//! What TensorFlow Lite's interpreter knows of a .tflite: the numbers and names of tensors, the operators, and what is in the
//! file of values.

use std::collections::HashMap;
use std::path::PathBuf;

use numpy::PyUntypedArray;
use pyo3::prelude::*;
use tightfit::{Error, Shape};
use tightfit_format::tflite::{Model, Operator, Signature, SubGraph, Tensor};
use tightfit_format::{ModelFormat, SourceFile, detect};
use tightfit_graph::import::{split_name, tflite};

use crate::arrays;
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

/// A graph of a file: that of a signature, or of the first graph where there is none, or one by its number.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Graph {
    path: PathBuf,
    key: Option<String>,
    /// 0 for that of the key.
    subgraph: usize,
}

impl Graph {
    fn signature<'m>(&self, model: &'m Model) -> Option<&'m Signature> {
        let find = |signature: &&Signature| Some(&*signature.key) == self.key.as_deref();
        model.signatures.iter().find(find).filter(|_| self.subgraph == 0)
    }

    fn number(&self, model: &Model) -> usize {
        self.signature(model).map_or(self.subgraph, |signature| signature.subgraph as usize)
    }

    /// Reads the file; nothing for a model of another kind.
    fn read(&self, memory_bytes: u64) -> Result<Option<(Memory, Model)>, Error> {
        if detect(&self.path)? != ModelFormat::TfLite {
            return Ok(None);
        }
        let memory = Memory::of(memory_bytes, 1)?;
        let model = Model::read(SourceFile::open(&self.path)?, &memory.budget)?;
        Ok(Some((memory, model)))
    }

    /// What `tell` says of the graph, which is there by its number; nothing for a model of another kind, and for a graph that is not there.
    fn told<T: Send>(
        self,
        py: Python<'_>,
        memory: Option<&Bound<'_, PyAny>>,
        tell: impl FnOnce(&Graph, &Memory, Model, usize) -> Result<T, Error> + Send,
    ) -> PyResult<Option<T>> {
        let memory_bytes = memory_bytes(memory)?;
        let work = || {
            let Some((memory, model)) = self.read(memory_bytes)? else { return Ok(None) };
            let number = self.number(&model);
            match number < model.subgraphs.len() {
                true => tell(&self, &memory, model, number).map(Some),
                false => Ok(None),
            }
        };
        py.detach(work).map_err(|error: Error| errors::raise(py, &error))
    }
}

/// How many graphs a .tflite has, and which of them each signature runs. Nothing for a model of another kind.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "it is a tuple in Python")]
pub fn lite_graphs(
    py: Python<'_>,
    graph: Graph,
    memory: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<(usize, Vec<(String, u32)>)>> {
    graph.told(py, memory, |_, _, model, _| {
        let keys = model.signatures.iter().map(|signature| (signature.key.to_string(), signature.subgraph));
        Ok((model.subgraphs.len(), keys.collect()))
    })
}

/// The tensors of a graph: all of them, or inputs and outputs alone.
#[pyfunction]
pub fn lite_tensors(
    py: Python<'_>,
    graph: Graph,
    of_all: bool,
    memory: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Lite>> {
    graph.told(py, memory, |own, _, model, number| {
        let graph = &model.subgraphs[number];
        let named = |list: &[(Box<str>, u32)]| list.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        let names = match own.signature(&model) {
            Some(signature) => [named(&signature.inputs), named(&signature.outputs)],
            None => [of_graph(graph, &graph.inputs), of_graph(graph, &graph.outputs)],
        };
        let is_port = |number: &usize| {
            i32::try_from(*number).is_ok_and(|n| graph.inputs.contains(&n) || graph.outputs.contains(&n))
        };
        let numbered = graph.tensors.iter().enumerate();
        let tensors = numbered.filter(|(number, _)| of_all || is_port(number)).map(told).collect();
        Ok((tensors, [graph.inputs.clone(), graph.outputs.clone()], names))
    })
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

/// The operators of a graph, each with its name and the numbers of the tensors that it takes and makes.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "it is a tuple in Python")]
pub fn lite_operators(
    py: Python<'_>,
    graph: Graph,
    memory: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Vec<(String, Vec<i32>, Vec<i32>)>>> {
    graph.told(py, memory, |_, _, model, number| {
        let told = |own: &Operator| (own.name().to_string(), own.inputs.clone(), own.outputs.clone());
        Ok(model.subgraphs[number].operators.iter().map(told).collect())
    })
}

/// The key of a signature that returns all tensors.
const ALL: &str = "tightfit: all tensors";

/// For every tensor that an operator of the graph makes what to fetch for it. Tensors that the graph does not have by a name
/// of their own are left out.
#[pyfunction]
pub fn lite_fetches(
    py: Python<'_>,
    graph: Graph,
    memory: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Vec<(usize, String)>>> {
    graph.told(py, memory, |own, memory, mut model, subgraph| {
        let graph = &model.subgraphs[subgraph];
        let signature = own.signature(&model);
        let mut keys = signature.map_or_else(Vec::new, |signature| signature.outputs.clone());
        keys.extend(of_graph(graph, &graph.outputs).into_iter().map(|(name, n)| (name.into(), n)));
        let made = graph.operators.iter().flat_map(|operator| &operator.outputs);
        let made: Vec<u32> = made.filter_map(|number| u32::try_from(*number).ok()).collect();
        let numbers = made.iter().chain(keys.iter().map(|(_, number)| number));
        let outputs = numbers.map(|number| (number.to_string().into(), *number)).collect();
        let subgraph = subgraph as u32;
        model.signatures.push(Signature { key: ALL.into(), subgraph, inputs: Vec::new(), outputs });
        let described = tflite::describe(model, Some(ALL), ALL, &memory.budget)?;
        let all = described.info.signatures.into_iter().find(|(key, _)| **key == *ALL);
        let named = all.into_iter().flat_map(|(_, signature)| signature.outputs);
        let names: HashMap<u32, Box<str>> =
            named.filter_map(|(number, tensor)| Some((number.parse().ok()?, tensor.name))).collect();
        // What the file calls an output may be what the graph calls another tensor.
        let taken: HashMap<&str, &str> =
            keys.iter().filter_map(|(key, number)| Some((&**key, &**names.get(number)?))).collect();
        let fetch = |number: u32| {
            let name = names.get(&number).filter(|name| !name.is_empty())?;
            let (node, output) = split_name(name);
            let spelled = [format!("{node}:{output}"), name.to_string()];
            let is_own = |text: &String| taken.get(text.as_str()).is_none_or(|meant| **meant == **name);
            Some((number as usize, spelled.into_iter().find(is_own)?))
        };
        Ok(made.into_iter().filter_map(fetch).collect())
    })
}

/// The values of a tensor that the file has; nothing for one that is computed.
///
/// # Errors
/// `InvalidArgument` for values that do not stand in the file one after the other.
#[pyfunction]
pub fn lite_constant<'py>(
    py: Python<'py>,
    graph: Graph,
    number: usize,
    memory: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let found = graph.told(py, memory, |_, _, model, subgraph| {
        Ok(model.subgraphs[subgraph].tensors.get(number).map(|tensor| (tensor.clone(), model.source.clone())))
    })?;
    let Some((tensor, source)) = found.flatten() else { return Ok(None) };
    if tensor.values.bytes == 0 && tensor.external.is_none() || tensor.is_variable {
        return Ok(None);
    }
    let refused = |why: &str| errors::invalid(py, &format!("Tensor data is null: {} {why}", tensor.name));
    let dtype = tensor.kind.data_type().and_then(|data_type| data_type.dtype());
    let Some(dtype) = dtype.filter(|_| tensor.kind.bits().is_some_and(|bits| bits >= 8)) else {
        return Err(refused("has elements that are not whole bytes"));
    };
    let dims: Option<Vec<usize>> = tensor.shape.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    let shape = dims.and_then(|dims| Shape::new(&dims).ok());
    let Some(shape) = shape.filter(|_| tensor.sparsity.is_none() && tensor.external.is_none()) else {
        return Err(refused("is sparse, or in another file"));
    };
    if tensor.elements() != Some(tensor.values.bytes / dtype.bytes() as u64) {
        return Err(refused("has not as many values as its shape says"));
    }
    let read = |out: &mut [u8]| source.read_exact_at(tensor.values.offset, out);
    arrays::filled(py, dtype, &shape, read)?.map(Some).map_err(|error| errors::raise(py, &error.into()))
}
