//! Products that were fused with what follows them or stands before them, as TensorFlow's optimizer and TensorFlow.js write them, become the nodes
//! that they were fused from. Passes fuse them again, for the kernels that there are here.

use std::collections::HashSet;

use tightfit_format::{AttrValue, GraphDef, ListValue, NodeDef};

use super::calls::node_bytes;
use super::memory_error_of;
use crate::error::GraphError;

/// A fused operator, and what it is without what is fused to it.
const FUSED: [(&str, &str); 3] = [
    ("_FusedConv2D", "Conv2D"),
    ("_FusedMatMul", "MatMul"),
    ("FusedDepthwiseConv2dNative", "DepthwiseConv2dNative"),
];

/// Convolutions of padded images, which may have been resized first.
const PADDED: [&str; 2] = ["FusedPadConv2D", "FusedResizeAndPadConv2D"];

/// True for a node that is taken apart.
pub(super) fn is_fused(op: &str) -> bool {
    FUSED.iter().any(|(fused, _)| *fused == op) || PADDED.contains(&op)
}

/// Every operator that is taken apart.
pub(super) fn ops() -> impl Iterator<Item = &'static str> {
    FUSED.into_iter().map(|(fused, _)| fused).chain(PADDED)
}

/// Attributes of the fused operator alone.
const OWN: [&str; 8] = [
    "fused_ops",
    "num_args",
    "num_host_args",
    "TArgs",
    "epsilon",
    "leakyrelu_alpha",
    "filter_format",
    "user_ops",
];

/// Takes fused nodes apart. What cannot be is left, and told of by name later.
///
/// # Errors
/// [`GraphError::Memory`] when the nodes do not fit the budget.
pub(super) fn take_apart(def: &mut GraphDef) -> Result<(), GraphError> {
    if !def.nodes.iter().any(|node| is_fused(&node.op)) {
        return Ok(());
    }
    let mut names: HashSet<Box<str>> = def.nodes.iter().map(|node| node.name.clone()).collect();
    let mut added = Vec::new();
    for node in def.nodes.iter_mut().filter(|node| is_fused(&node.op)) {
        let found = if PADDED.contains(&&*node.op) { padded_parts(node) } else { parts(node) };
        if let Some(mut parts) = found.map(|parts| chained(parts, node, &mut names)) {
            *node = parts.pop().unwrap_or_default();
            added.append(&mut parts);
        }
    }
    let bytes = added.iter().map(node_bytes).sum();
    def.reservation.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
    def.nodes.append(&mut added);
    Ok(())
}

/// The nodes that a product with what follows it stands for, without names, and without the one before each.
fn parts(node: &NodeDef) -> Option<Vec<NodeDef>> {
    let (_, plain) = FUSED.iter().find(|(fused, _)| **fused == *node.op)?;
    let Some(AttrValue::List(ListValue::Strs(steps))) = node.attr("fused_ops") else { return None };
    let (control, data): (Vec<_>, Vec<_>) =
        node.inputs.iter().cloned().partition(|input| input.starts_with('^'));
    let mut more = data.iter().skip(2);
    let kept = |name: &str| node.attrs.iter().find(|(own, _)| &**own == name).cloned();
    let dtype = kept("T")?;
    let attrs = node.attrs.iter().filter(|(name, _)| !OWN.contains(&&**name)).cloned();
    let mut inputs: Vec<Box<str>> = data.iter().take(2).cloned().collect();
    inputs.extend(control);
    let mut parts = vec![NodeDef { op: (*plain).into(), inputs, attrs: attrs.collect(), ..node.clone() }];
    for step in steps {
        let mut attrs = vec![dtype.clone()];
        let mut extra = None;
        let op = match &**step {
            b"BiasAdd" => {
                extra = Some(more.next()?.clone());
                attrs.extend(kept("data_format"));
                "BiasAdd"
            }
            b"Prelu" => return None,
            b"Relu" => "Relu",
            b"Relu6" => "Relu6",
            b"Elu" => "Elu",
            b"Tanh" => "Tanh",
            b"Sigmoid" => "Sigmoid",
            b"LeakyRelu" => {
                attrs.extend(kept("leakyrelu_alpha").map(|(_, alpha)| ("alpha".into(), alpha)));
                "LeakyRelu"
            }
            _ => return None,
        };
        parts.push(NodeDef {
            name: Box::default(),
            op: op.into(),
            inputs: extra.into_iter().collect(),
            attrs,
            device: None,
            offset: node.offset,
        });
    }
    if more.next().is_some() {
        return None;
    }
    Some(parts)
}

/// The same of a convolution with what stands before it.
fn padded_parts(node: &NodeDef) -> Option<Vec<NodeDef>> {
    let (control, data): (Vec<_>, Vec<_>) =
        node.inputs.iter().cloned().partition(|input| input.starts_with('^'));
    let kept = |name: &str, as_name: &str| {
        node.attrs.iter().find(|(own, _)| &**own == name).map(|(_, value)| (as_name.into(), value.clone()))
    };
    let part = |op: &str, inputs: &[Box<str>], attrs: Vec<_>| NodeDef {
        name: Box::default(),
        op: op.into(),
        inputs: inputs.to_vec(),
        attrs,
        device: node.device.clone(),
        offset: node.offset,
    };
    let dtype = kept("T", "T")?;
    let (image, rest) = data.split_first()?;
    let (resized, [paddings, filter]) = match rest {
        [size, paddings, filter] if &*node.op == "FusedResizeAndPadConv2D" => {
            (Some(size), [paddings, filter])
        }
        [paddings, filter] if &*node.op == "FusedPadConv2D" => (None, [paddings, filter]),
        _ => return None,
    };
    let mut parts = Vec::new();
    if let Some(size) = resized {
        let align = kept("resize_align_corners", "align_corners");
        let attrs = [dtype.clone()].into_iter().chain(align).collect();
        parts.push(part("ResizeBilinear", std::slice::from_ref(size), attrs));
    }
    parts.push(part("MirrorPad", std::slice::from_ref(paddings), vec![dtype.clone(), kept("mode", "mode")?]));
    let attrs = vec![dtype, kept("strides", "strides")?, kept("padding", "padding")?];
    parts.push(part("Conv2D", std::slice::from_ref(filter), attrs));
    let first = parts.first_mut()?;
    first.inputs.insert(0, image.clone());
    first.inputs.extend(control);
    Some(parts)
}

/// The parts of a node, each taking the one before it; the last has its name.
fn chained(mut parts: Vec<NodeDef>, node: &NodeDef, names: &mut HashSet<Box<str>>) -> Vec<NodeDef> {
    let count = parts.len();
    let mut before: Option<Box<str>> = None;
    for (number, part) in parts.iter_mut().enumerate() {
        if let Some(before) = before.take() {
            part.inputs.insert(0, before);
        }
        part.name = match number + 1 == count {
            true => node.name.clone(),
            false => free(&format!("{}/{}", node.name, part.op), names),
        };
        before = Some(part.name.clone());
    }
    parts
}

fn free(wanted: &str, names: &mut HashSet<Box<str>>) -> Box<str> {
    let numbered = (1..).map(|n| format!("{wanted}_{n}").into_boxed_str());
    let found = std::iter::once(Box::from(wanted)).chain(numbered).find(|name| !names.contains(name));
    let name = found.unwrap_or_default();
    names.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parts: &[NodeDef]) -> Vec<String> {
        parts.iter().map(|node| format!("{} {} {}", node.name, node.op, node.inputs.join(" "))).collect()
    }

    #[test]
    fn a_padded_convolution_is_taken_apart() {
        let node = |op: &str, inputs: &[&str]| NodeDef {
            name: "c".into(),
            op: op.into(),
            inputs: inputs.iter().map(|input| (*input).into()).collect(),
            attrs: vec![
                ("T".into(), AttrValue::Type(1)),
                ("mode".into(), AttrValue::Str((*b"REFLECT").into())),
                ("strides".into(), AttrValue::List(ListValue::Ints(vec![1, 1, 1, 1]))),
                ("padding".into(), AttrValue::Str((*b"VALID").into())),
                ("resize_align_corners".into(), AttrValue::Bool(true)),
            ],
            ..NodeDef::default()
        };
        let made = |op: &str, inputs: &[&str]| {
            let node = node(op, inputs);
            padded_parts(&node).map(|parts| chained(parts, &node, &mut HashSet::from(["c".into()])))
        };
        let resized = made("FusedResizeAndPadConv2D", &["x", "size", "pads", "w", "^p"]).unwrap();
        assert_eq!(
            shown(&resized),
            [
                "c/ResizeBilinear ResizeBilinear x size ^p",
                "c/MirrorPad MirrorPad c/ResizeBilinear pads",
                "c Conv2D c/MirrorPad w"
            ]
        );
        assert_eq!(resized[0].attr("align_corners"), Some(&AttrValue::Bool(true)));
        assert!(resized[1].attr("mode").is_some() && resized[2].attr("strides").is_some());
        let padded = made("FusedPadConv2D", &["x", "pads", "w"]).unwrap();
        assert_eq!(shown(&padded), ["c/MirrorPad MirrorPad x pads", "c Conv2D c/MirrorPad w"]);
        assert!(made("FusedPadConv2D", &["x", "w"]).is_none());
    }

    #[test]
    fn a_fused_product_is_taken_apart() {
        let strings = |list: &[&str]| {
            AttrValue::List(ListValue::Strs(list.iter().map(|text| text.as_bytes().into()).collect()))
        };
        let node = |steps: &[&str], inputs: &[&str]| NodeDef {
            name: "c".into(),
            op: "_FusedConv2D".into(),
            inputs: inputs.iter().map(|input| (*input).into()).collect(),
            attrs: vec![
                ("T".into(), AttrValue::Type(1)),
                ("strides".into(), AttrValue::List(ListValue::Ints(vec![1, 2, 2, 1]))),
                ("fused_ops".into(), strings(steps)),
                ("num_args".into(), AttrValue::Int(1)),
            ],
            ..NodeDef::default()
        };
        let mut names = HashSet::from(["c".into(), "c/BiasAdd".into()]);
        let fused = node(&["BiasAdd", "Relu"], &["x", "w", "b", "^p"]);
        let made = chained(parts(&fused).unwrap(), &fused, &mut names);
        assert_eq!(
            shown(&made),
            ["c/Conv2D Conv2D x w ^p", "c/BiasAdd_1 BiasAdd c/Conv2D b", "c Relu c/BiasAdd_1"]
        );
        assert!(made[0].attr("strides").is_some() && made[0].attr("num_args").is_none());
        // An argument too few, one too many, and a step that is not known.
        for (steps, inputs) in [
            (&["BiasAdd"][..], &["x", "w"][..]),
            (&["Relu"][..], &["x", "w", "b"][..]),
            (&["Prelu"][..], &["x", "w", "b"][..]),
        ] {
            assert!(parts(&node(steps, inputs)).is_none());
        }
    }
}
