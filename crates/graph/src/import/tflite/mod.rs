//! TensorFlow Lite models: the operators of the graph that is run become the nodes that TensorFlow has for the same, and the
//! graphs that these call become functions. Everything after this, from the inlining of bodies to the plan, is the same as
//! for a GraphDef.
//!
//! Tables say for every builtin what it becomes ([`table`]), a file for each group. What cannot be computed is a node of the
//! builtin's own name that says why, and is told of like an unsupported node of a GraphDef.
//!
//! A tensor is known by its name, as TensorFlow Lite's interpreter tells it. Integers that stand for other numbers are
//! integers here too: an operator that computes with them is a node `tfl.NAME` with their scales as attributes.

mod attrs;
mod build;
mod constants;
mod control;
mod custom;
mod dense;
mod elementwise;
mod hybrid;
mod moves;
mod names;
mod operator;
mod products;
mod quantized;
mod recurrent;
mod reductions;
mod rows;
mod shapes;
mod stablehlo;
mod table;
mod walk;

use std::collections::HashSet;

use tightfit_core::{Account, MemoryBudget};
use tightfit_format::tflite::{Model, Signature, SubGraph, Tensor};
use tightfit_format::{
    AttrValue, FormatError, GraphDef, MetaGraphDef, MetaInfo, NodeDef, Place, Problem, SignatureDef,
    TensorInfo, TensorShapeDef,
};

use build::{Context, Lower};
pub use table::{Builtin, builtins};

/// What the memory of the nodes is reserved for.
const PURPOSE: &str = "description of the model's graph";

/// The key of the signature that stands for the inputs and outputs of a model's first graph.
pub const MAIN: &str = "";

/// The oldest version of TensorFlow's graphs that has all the operators.
const PRODUCER: i32 = 1087;

/// The signature that a model is run by: the one that is asked for, or its only one, or [`MAIN`].
fn chosen<'m>(model: &'m Model, key: Option<&str>, default: &str) -> Option<&'m Signature> {
    let find = |key: &str| model.signatures.iter().find(|signature| *signature.key == *key);
    match (key, &model.signatures[..]) {
        (Some(key), _) => find(key),
        (None, [only]) => Some(only),
        (None, _) => find(default),
    }
}

/// The description of a model as a graph of TensorFlow's nodes, with the graph that the signature `key` runs. Without a key
/// that is the signature `default`, or the only one, or the first graph.
///
/// # Errors
/// [`FormatError`] for a model without a graph, for values that are not in the file, and for what does not fit the budget.
pub fn describe(
    model: Model,
    key: Option<&str>,
    default: &str,
    budget: &MemoryBudget,
) -> Result<MetaGraphDef, FormatError> {
    let source = model.source.clone();
    let invalid = |found: &str| {
        FormatError::new(source.path(), Place::Whole, Problem::invalid("a model with a graph", found))
    };
    let signature = chosen(&model, key, default);
    let number = signature.map_or(0, |signature| signature.subgraph as usize);
    let main = model.subgraphs.get(number).ok_or_else(|| invalid("one without"))?;
    let context =
        Context::new(&model, control::initial_values(&model), Account::new(budget, PURPOSE), budget);
    let mut lower = Lower::main(&context, main)?;
    lower.operators()?;
    let (nodes, names) = lower.finish_main()?;
    let functions = context.functions(number)?;
    let mut info = MetaInfo::default();
    for own in &model.signatures {
        let Some(subgraph) = model.subgraphs.get(own.subgraph as usize) else { continue };
        let is_main = own.subgraph as usize == number;
        let tensors = |list: &[(Box<str>, u32)]| {
            let mut infos = Vec::with_capacity(list.len());
            for (key, number) in list {
                let Some(tensor) = subgraph.tensors.get(*number as usize) else { continue };
                let name = if is_main { names.reference(*number) } else { Box::default() };
                infos.push((key.clone(), tensor_info(&context, tensor, name, key.len())?));
            }
            Ok::<_, FormatError>(infos)
        };
        let (inputs, outputs) = (tensors(&own.inputs)?, tensors(&own.outputs)?);
        info.signatures.push((own.key.clone(), SignatureDef { inputs, outputs, ..SignatureDef::default() }));
    }
    if signature.is_none() {
        info.signatures.push((MAIN.into(), of_graph(&context, main, &names)?));
    }
    let reservation = context.finish()?;
    let graph = GraphDef {
        nodes,
        functions,
        producer: PRODUCER,
        min_consumer: 0,
        source: source.clone(),
        reservation,
    };
    Ok(MetaGraphDef { graph, info })
}

/// Why a node that stands for a builtin cannot be run; `None` for any other node.
pub(super) fn why(node: &NodeDef) -> Option<&str> {
    match node.attr(build::WHY) {
        Some(AttrValue::Str(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// The inputs and outputs of a graph by the names of their tensors, or by their positions, as `#0`, where they have none.
fn of_graph(
    context: &Context<'_>,
    graph: &SubGraph,
    names: &names::Names,
) -> Result<SignatureDef, FormatError> {
    let tensors = |list: &[i32]| {
        let mut infos = Vec::with_capacity(list.len());
        let mut keys = HashSet::new();
        for (position, number) in list.iter().enumerate() {
            let number = build::place(*number);
            let Some(tensor) = graph.tensors.get(number) else { continue };
            let mut key = match &*tensor.name {
                "" => format!("#{position}"),
                name => name.to_string(),
            };
            // Outputs may be one tensor, or share a name.
            if keys.contains(&key) {
                key = format!("{key}#{position}");
            }
            let name = names.reference(number as u32);
            let info = tensor_info(context, tensor, name, 2 * key.len())?;
            keys.insert(key.clone());
            infos.push((Box::<str>::from(key), info));
        }
        Ok::<_, FormatError>(infos)
    };
    let (inputs, outputs) = (tensors(&graph.inputs)?, tensors(&graph.outputs)?);
    Ok(SignatureDef { inputs, outputs, method: Box::default() })
}

/// What is told of a tensor of a signature, counted before it is made with `more` bytes of its key.
fn tensor_info(
    context: &Context<'_>,
    tensor: &Tensor,
    name: Box<str>,
    more: usize,
) -> Result<TensorInfo, FormatError> {
    let quantization = tensor.quantization.as_ref().map_or(0, |q| q.heap_bytes());
    let texts = tensor.name.len() + name.len() + more + 8 * tensor.shape.len();
    context.charge((size_of::<TensorInfo>() + texts + 200) as u64 + quantization)?;
    Ok(TensorInfo {
        name,
        alias: tensor.name.clone(),
        dtype: tensor.kind.data_type().map_or(0, |data_type| data_type.0),
        shape: TensorShapeDef { dims: Some(tensor.open_shape()) },
        quantization: tensor.quantization.clone(),
        ..TensorInfo::default()
    })
}
