//! Makes the scale of a batch norm part of the weights before it, and its shift part of the bias: what is left of both is one
//! addition.
//!
//! A norm is a FusedBatchNorm of constants, or a product with a constant for each channel and a sum with another, as it stands
//! once constants have been folded. The weights are multiplied as they are written.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::block_bytes;
use tightfit_format::{AttrValue, GraphDef, InlineBytes, NodeDef, Scaled, TensorContent, TensorDef};
use tightfit_graph::passes::scale_shift::of_batch_norm;

use super::nodes::Nodes;
use crate::error::Error;

const FLOAT: i32 = 1;

/// The most channels that a norm may have.
const MOST_CHANNELS: u64 = 1 << 20;

/// What a node does to each channel of what it takes.
struct Norm {
    /// The node that it takes.
    from: usize,
    /// What it multiplies with first; `None` for a sum.
    scale: Option<Vec<f32>>,
    /// What it adds after; `None` for a product.
    shift: Option<Vec<f32>>,
}

/// A product of weights, and what is added to it.
struct Product {
    node: usize,
    /// The node that adds a constant for each channel, and that.
    bias: Option<(usize, Vec<f32>)>,
}

/// Folds batch norms. Returns how many.
pub fn fold(nodes: &mut Nodes, def: &mut GraphDef) -> Result<usize, Error> {
    let mut count = 0;
    for index in 0..nodes.list().len() {
        let users = nodes.users();
        let Some(norm) = norm(nodes, def, index)? else { continue };
        if users[norm.from] != 1 || nodes.is_kept(norm.from) {
            continue;
        }
        let Some(product) = product(nodes, def, norm.from, &users)? else { continue };
        if apply(nodes, def, index, norm, product)? {
            count += 1;
        }
    }
    nodes.strip();
    Ok(count)
}

/// The values of a constant of one axis.
fn channels(nodes: &Nodes, def: &GraphDef, input: &str) -> Result<Option<Vec<f32>>, Error> {
    let Some((_, tensor)) = nodes.constant(input) else { return Ok(None) };
    // What is broadcast along axes of 1 before the channels is the same.
    let is_channels = tensor.shape.iter().rev().skip(1).all(|dim| *dim == 1) && !tensor.shape.is_empty();
    if tensor.dtype != FLOAT || !is_channels || tensor.elements() > MOST_CHANNELS || tensor.shape.len() > 4 {
        return Ok(None);
    }
    let mut bytes = vec![0; tensor.elements() as usize * 4];
    tensor.read_into(&def.source, &mut bytes)?;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(Some(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

fn is_channels_last(node: &NodeDef) -> bool {
    match node.attr("data_format") {
        Some(AttrValue::Str(format)) => &**format == b"NHWC",
        _ => true,
    }
}

/// What node `index` does, if it is a norm of constants.
fn norm(nodes: &Nodes, def: &GraphDef, index: usize) -> Result<Option<Norm>, Error> {
    let node = &nodes.list()[index];
    if node.inputs.iter().any(|input| input.starts_with('^')) {
        return Ok(None);
    }
    let inputs: Vec<&str> = node.inputs.iter().map(|input| &**input).collect();
    match (&*node.op, &inputs[..]) {
        ("Mul" | "BiasAdd" | "Add" | "AddV2", [a, b]) if is_channels_last(node) => {
            for (value, constant) in [(a, b), (b, a)] {
                if let (Some(values), Some(from)) = (channels(nodes, def, constant)?, nodes.find(value)) {
                    let (scale, shift) =
                        if &*node.op == "Mul" { (Some(values), None) } else { (None, Some(values)) };
                    return Ok(Some(Norm { from, scale, shift }));
                }
            }
            Ok(None)
        }
        ("FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3", [value, rest @ ..])
            if rest.len() == 4 =>
        {
            let is_training = !matches!(node.attr("is_training"), Some(AttrValue::Bool(false)));
            let others = nodes.list().iter().flat_map(|node| &node.inputs);
            let takes_others = others.into_iter().any(|input| {
                let (name, output) = tightfit_graph::import::split_name(input);
                output > 0 && *name == *node.name
            });
            let mut four = Vec::with_capacity(4);
            for input in rest {
                four.extend(channels(nodes, def, input)?);
            }
            let (Some(from), [gamma, beta, mean, variance]) = (nodes.find(value), &four[..]) else {
                return Ok(None);
            };
            let is_even = four.iter().all(|values| values.len() == gamma.len());
            if is_training || takes_others || !is_even || !is_channels_last(node) {
                return Ok(None);
            }
            let epsilon = match node.attr("epsilon") {
                Some(AttrValue::Float(epsilon)) => *epsilon,
                _ => 1e-4,
            };
            let (scale, shift) = of_batch_norm([gamma, beta, mean, variance], epsilon);
            let floats = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
            Ok(Some(Norm { from, scale: Some(floats(scale)), shift: Some(floats(shift)) }))
        }
        _ => Ok(None),
    }
}

/// The product of weights that node `from` is, or is the sum of with a constant for each channel.
fn product(nodes: &Nodes, def: &GraphDef, from: usize, users: &[usize]) -> Result<Option<Product>, Error> {
    let is_product = |op: &str| matches!(op, "Conv2D" | "DepthwiseConv2dNative" | "MatMul");
    let node = &nodes.list()[from];
    if is_product(&node.op) {
        return Ok(is_channels_last(node).then_some(Product { node: from, bias: None }));
    }
    if !matches!(&*node.op, "BiasAdd" | "Add" | "AddV2") || !is_channels_last(node) {
        return Ok(None);
    }
    let [a, b] = &node.inputs[..] else { return Ok(None) };
    for (value, bias) in [(a, b), (b, a)] {
        let (Some(bias), Some(of)) = (channels(nodes, def, bias)?, nodes.find(value)) else { continue };
        let own = &nodes.list()[of];
        if is_product(&own.op) && is_channels_last(own) && users[of] == 1 && !nodes.is_kept(of) {
            return Ok(Some(Product { node: of, bias: Some((from, bias)) }));
        }
    }
    Ok(None)
}

/// The weights of a product: the constant, its channels, and how many elements stand together for each of them.
fn weights<'n>(nodes: &'n Nodes, node: &NodeDef) -> Option<(&'n TensorDef, u64, u64)> {
    let (_, weights) = nodes.constant(node.inputs.get(1)?)?;
    let size = |axis: usize| weights.shape.get(axis).and_then(|dim| u64::try_from(*dim).ok());
    let is_set = |name: &str| matches!(node.attr(name), Some(AttrValue::Bool(true)));
    let (channels, inner) = match &*node.op {
        "Conv2D" => (size(3)?, 1),
        "DepthwiseConv2dNative" => (size(2)?.checked_mul(size(3)?)?, 1),
        _ if is_set("transpose_b") => (size(0)?, size(1)?),
        _ => (size(1)?, 1),
    };
    Some((weights, channels, inner))
}

fn constant(name: String, value: TensorDef) -> NodeDef {
    NodeDef {
        name: name.into(),
        op: "Const".into(),
        attrs: vec![
            ("dtype".into(), AttrValue::Type(value.dtype)),
            ("value".into(), AttrValue::Tensor(Box::new(value))),
        ],
        ..NodeDef::default()
    }
}

fn vector(values: &[f32]) -> TensorDef {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
    TensorDef { dtype: FLOAT, shape: vec![values.len() as i64], content }
}

/// Scales the weights, and makes the norm an addition or nothing. False where that is not possible.
fn apply(
    nodes: &mut Nodes,
    def: &mut GraphDef,
    index: usize,
    norm: Norm,
    product: Product,
) -> Result<bool, Error> {
    let own = &nodes.list()[product.node];
    let Some((weights, channels, inner)) = weights(nodes, own) else { return Ok(false) };
    let is_each = |values: &Vec<f32>| values.len() as u64 == channels;
    let is_even = |values: &Vec<f32>| is_each(values) || values.len() == 1;
    let bias = product.bias.as_ref().map(|(_, bias)| bias);
    // A bias alone is what is to be made.
    let is_done = norm.scale.is_none() && bias.is_none();
    // One factor for all is no norm of channels unless there is one.
    if is_done
        || !norm.scale.as_ref().is_none_or(is_each)
        || !norm.shift.as_ref().is_none_or(is_even)
        || !bias.is_none_or(is_even)
    {
        return Ok(false);
    }
    let (name, norm_name) = (own.name.clone(), nodes.list()[index].name.clone());
    def.reservation.try_grow(2 * block_bytes(4 * channels) + 1024)?;
    let scaled = match &norm.scale {
        None => None,
        Some(scale) => {
            let Some(scaled) = Scaled::new(weights.clone(), scale.clone().into(), inner) else {
                return Ok(false);
            };
            let content = TensorContent::Scaled(Arc::new(scaled));
            Some(TensorDef { dtype: weights.dtype, shape: weights.shape.clone(), content })
        }
    };
    if let Some(scaled) = scaled {
        let scaled = nodes.add(constant(format!("{name}/scaled_weights"), scaled));
        nodes.node_mut(product.node).inputs[1] = scaled;
    }
    let of = |values: &[f32], channel: usize| values[channel.min(values.len() - 1)];
    let channel = |at: usize| {
        let bias = bias.map_or(0.0, |bias| of(bias, at));
        let scaled = norm.scale.as_ref().map_or(bias, |scale| bias * of(scale, at));
        norm.shift.as_ref().map_or(scaled, |shift| of(shift, at) + scaled)
    };
    let added = (bias.is_some() || norm.shift.is_some())
        .then(|| (0..channels as usize).map(channel).collect::<Vec<f32>>());
    let Some(added) = added else {
        // Nothing is left of it but its name.
        let node = nodes.node_mut(index);
        node.op = "Identity".into();
        node.inputs = vec![name.clone()];
        node.attrs = vec![("T".into(), AttrValue::Type(FLOAT))];
        if !nodes.is_kept(index) {
            nodes.replace(&HashMap::from([((norm_name, 0), name)]));
        }
        return Ok(true);
    };
    if let Some((bias, _)) = product.bias {
        // Nothing takes it any more, and it is to be no user of the product.
        nodes.node_mut(bias).inputs.clear();
    }
    let added = nodes.add(constant(format!("{norm_name}/shift"), vector(&added)));
    let node = nodes.node_mut(index);
    node.op = "BiasAdd".into();
    node.inputs = vec![name, added];
    node.attrs = vec![
        ("T".into(), AttrValue::Type(FLOAT)),
        ("data_format".into(), AttrValue::Str(b"NHWC".as_slice().into())),
    ];
    Ok(true)
}
