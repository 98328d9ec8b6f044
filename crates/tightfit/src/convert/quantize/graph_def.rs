//! Weights of fewer bits in a GraphDef, which TensorFlow runs too: a weight is a constant of int8, float16 or bfloat16, and a Cast
//! of it, times a scale for each output channel where it is of int8. Products compute in floats.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget, StopFlag};
use tightfit_format::{
    AttrValue, GraphDef, InlineBytes, Narrow, NodeDef, Rounding, TensorContent, TensorDef,
};
use tightfit_graph::Operators;
use tightfit_graph::import::{Fetched, split_name};

use super::scheme::{Scheme, Weights};
use super::weights::LEAST_ELEMENTS;
use super::{Layer, QuantizeOptions, Quantized, Rewritten};
use crate::compare::noise::Noise;
use crate::convert::optimize::nodes::Nodes;
use crate::convert::optimize::{OptimizeOptions, simplify};
use crate::convert::writing::{frozen, write};
use crate::error::Error;
use crate::memory::process;
use crate::model::Plain;

/// The number of DT_FLOAT.
const FLOAT: i32 = 1;

/// Bytes of floats that are looked at together.
const PIECE_BYTES: u64 = 256 << 10;

/// Heap bytes of the nodes that a weight becomes, beside its scales.
const NODES_BYTES: u64 = 4 << 10;

/// Writes the model at `path` with weights of fewer bits as a GraphDef.
///
/// # Errors
/// As [`crate::optimize::optimize`], and [`Error::Usage`] for a scheme that a GraphDef does not have.
pub(super) fn quantize(
    path: &Path,
    options: &QuantizeOptions,
    output: &Path,
    stop: &StopFlag,
    budget: &MemoryBudget,
) -> Result<Quantized, Error> {
    let weights = match options.scheme {
        Scheme::Dynamic | Scheme::WeightOnly => Weights::Integers(8),
        Scheme::Half => Weights::Half,
        Scheme::Brain => Weights::Brain,
        other => {
            let name = other.name();
            let why = format!(
                "{name} is for a .tflite; a GraphDef takes dynamic and weight-only-int8, which are one there, f16 and bf16"
            );
            return Err(Error::option("scheme", name, why));
        }
    };
    let rewrite = &options.rewrite;
    if !rewrite.data.sources.is_empty() {
        let why = "data is for a .tflite; `tightfit compare` puts a GraphDef beside the model";
        return Err(Error::option("input", "", why));
    }
    let simple = OptimizeOptions {
        source: rewrite.source.clone(),
        fetches: rewrite.fetches.clone(),
        ..OptimizeOptions::default()
    };
    let Plain { mut def, ports, keep, fetched, _names } = simplify(path, &simple, budget)?.plain;
    let before = constant_bytes(&def);
    let kept: HashSet<String> = fetched
        .iter()
        .map(|Fetched { tensor, .. }| tensor.as_str())
        .chain(keep.iter().map(String::as_str))
        .chain(ports.inputs.iter().map(|(tensor, _)| tensor.as_str()))
        .map(|tensor| split_name(tensor).0.to_string())
        .collect();
    let mut nodes = Nodes::new(std::mem::take(&mut def.nodes), kept, Operators::default());
    let mut layers = Vec::new();
    for index in 0..nodes.list().len() {
        let Some((weight, channels)) = weight_of(&nodes, index) else { continue };
        let op = nodes.list().get(index).map_or_else(String::new, |node| node.op.to_string());
        layers.push(narrow(&mut nodes, &mut def, weight, &channels, weights, op, budget)?);
    }
    nodes.sort();
    def.nodes = nodes.into_list();
    let now = frozen(&def, &ports, fetched, keep).constant_bytes;
    process::end_phase();
    let bytes = write(&def, output, stop.flag(), budget)?;
    let written = Rewritten { bytes, constant_bytes: [before, now], layers, outputs: Vec::new() };
    Ok(Quantized { written, ..Quantized::default() })
}

fn constant_bytes(def: &GraphDef) -> u64 {
    let bytes = |node: &NodeDef| match node.attr("value") {
        Some(AttrValue::Tensor(tensor)) => tensor.bytes().unwrap_or(0),
        _ => 0,
    };
    def.nodes.iter().map(bytes).sum()
}

/// The axes of a weight's output channels: from the first of them up to the last.
struct Channels {
    axes: std::ops::Range<usize>,
}

/// The large constant of floats that is the weight of a product, if node `index` is one.
fn weight_of(nodes: &Nodes, index: usize) -> Option<(usize, Channels)> {
    let node = nodes.list().get(index)?;
    let flag = |name: &str| matches!(node.attr(name), Some(AttrValue::Bool(true)));
    let (weight, tensor) = nodes.constant(node.inputs.get(1)?)?;
    let rank = tensor.shape.len();
    let last = rank.checked_sub(1)?;
    let axes = match &*node.op {
        "Conv2D" | "Conv3D" => last..rank,
        // Inputs and what each is multiplied by are the outputs together.
        "DepthwiseConv2dNative" => 2..rank,
        "Conv2DBackpropInput" => 2..3,
        "MatMul" if flag("transpose_b") => 0..1,
        "BatchMatMul" | "BatchMatMulV2" if flag("adj_y") => last.checked_sub(1)?..last,
        "MatMul" | "BatchMatMul" | "BatchMatMulV2" => last..rank,
        _ => return None,
    };
    let is_plain = tensor.dtype == FLOAT && tensor.present_bytes() == tensor.bytes().unwrap_or(0);
    let is_whole = axes.end <= rank && nodes.list().get(weight)?.inputs.is_empty();
    (is_plain && is_whole && tensor.elements() >= LEAST_ELEMENTS).then_some((weight, Channels { axes }))
}

/// Puts a constant in fewer bits, and what makes floats of it, in the place of a constant of floats.
fn narrow(
    nodes: &mut Nodes,
    def: &mut GraphDef,
    weight: usize,
    channels: &Channels,
    weights: Weights,
    op: String,
    budget: &MemoryBudget,
) -> Result<Layer, Error> {
    let node = nodes.node_mut(weight);
    let Some((_, AttrValue::Tensor(tensor))) = node.attrs.iter().find(|(key, _)| &**key == "value") else {
        return Err(Error::Defect("a weight is a constant"));
    };
    let (name, base) = (node.name.clone(), (**tensor).clone());
    let shape = base.shape.clone();
    let rounding = match weights {
        Weights::Half => Rounding::Half,
        Weights::Brain => Rounding::Brain,
        Weights::Integers(_) => scales(&base, channels, def, budget)?,
    };
    let mut noise = Noise::default();
    look_at(&base, def, budget, &mut |element, value| {
        noise.add(f64::from(value), f64::from(rounding.round(element, value)));
    })?;
    let data_type = rounding.data_type();
    let dtype = data_type.dtype().ok_or(Error::Defect("a narrow type is a type"))?;
    let factors = match &rounding {
        Rounding::Integers { scales, .. } => Some(scales.clone()),
        _ => None,
    };
    let before = base.bytes().unwrap_or(0);
    let scale_bytes = factors.as_ref().map_or(0, |scales| 4 * scales.len() as u64);
    def.reservation.try_grow(NODES_BYTES + 8 * name.len() as u64 + 3 * scale_bytes)?;
    let content = Narrow::new(base, rounding).ok_or(Error::Defect("a weight is of floats"))?;
    let content = TensorContent::Narrow(Arc::new(content));
    let value = TensorDef { dtype: data_type.0, shape: shape.clone(), content };
    let bytes = [before, value.bytes().unwrap_or(0) + scale_bytes];
    let narrow = nodes.add(constant(&format!("{name}/{}", dtype.name()), value));
    let cast = |name: &str| {
        let types = [("SrcT", data_type.0), ("DstT", FLOAT)];
        let attrs = types.map(|(key, data_type)| (key.into(), AttrValue::Type(data_type)));
        plain_node(name, "Cast", &[&narrow], attrs.into())
    };
    let whole = match factors {
        None => cast(&name),
        Some(scales) => {
            let own = |axis| channels.axes.contains(&axis);
            let dims = shape.iter().enumerate().map(|(axis, dim)| if own(axis) { *dim } else { 1 }).collect();
            let values: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
            let content = TensorContent::Inline(InlineBytes::Small(values.into()));
            let scale = TensorDef { dtype: FLOAT, shape: dims, content };
            let scale = nodes.add(constant(&format!("{name}/scale"), scale));
            let floats = nodes.add(cast(&format!("{name}/float32")));
            plain_node(&name, "Mul", &[&floats, &scale], vec![("T".into(), AttrValue::Type(FLOAT))])
        }
    };
    *nodes.node_mut(weight) = whole;
    Ok(Layer {
        name: name.into(),
        op,
        dtype: dtype.name(),
        bytes,
        snr_db: noise.snr_db(),
        ..Layer::default()
    })
}

/// Scales of int8 for each channel, of the largest magnitude there.
fn scales(
    base: &TensorDef,
    channels: &Channels,
    def: &GraphDef,
    budget: &MemoryBudget,
) -> Result<Rounding, Error> {
    let product = |dims: &[i64]| dims.iter().map(|dim| *dim as u64).product::<u64>().max(1);
    let count = product(base.shape.get(channels.axes.clone()).unwrap_or_default());
    let inner = product(base.shape.get(channels.axes.end..).unwrap_or_default());
    let _counted = budget.try_reserve("scales of a weight", 4 * count)?;
    let mut largest = vec![0f32; count as usize];
    look_at(base, def, budget, &mut |element, value| {
        if let Some(own) = largest.get_mut((element / inner % count) as usize).filter(|_| value.is_finite()) {
            *own = own.max(value.abs());
        }
    })?;
    let scale = |largest: f32| if largest > 0.0 { largest / 127.0 } else { 1.0 };
    Ok(Rounding::Integers { scales: largest.into_iter().map(scale).collect(), inner })
}

/// Calls `each` with every float of a tensor and its number.
fn look_at(
    tensor: &TensorDef,
    def: &GraphDef,
    budget: &MemoryBudget,
    each: &mut dyn FnMut(u64, f32),
) -> Result<(), Error> {
    let bytes = tensor.bytes().unwrap_or(0);
    let mut piece = Buffer::new(budget, "values on their way to the file", bytes.min(PIECE_BYTES) as usize)?;
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(PIECE_BYTES) as usize;
        let part = piece.get_mut(..count).ok_or(Error::Defect("a piece is larger than its buffer"))?;
        tensor.read_at(&def.source, at, part)?;
        for (element, value) in (at / 4..).zip(part.as_chunks::<4>().0) {
            each(element, f32::from_le_bytes(*value));
        }
        at += count as u64;
    }
    Ok(())
}

fn constant(name: &str, value: TensorDef) -> NodeDef {
    let dtype = AttrValue::Type(value.dtype);
    let attrs = vec![("dtype".into(), dtype), ("value".into(), AttrValue::Tensor(Box::new(value)))];
    plain_node(name, "Const", &[], attrs)
}

fn plain_node(name: &str, op: &str, inputs: &[&str], attrs: Vec<(Box<str>, AttrValue)>) -> NodeDef {
    let inputs = inputs.iter().map(|input| (*input).into()).collect();
    NodeDef { name: name.into(), op: op.into(), inputs, device: None, attrs, offset: 0 }
}
