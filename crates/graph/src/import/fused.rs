//! Products that were fused with what follows them, as TensorFlow's optimizer and TensorFlow.js write them, become the nodes
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
    let is_fused = |node: &NodeDef| FUSED.iter().any(|(fused, _)| **fused == *node.op);
    if !def.nodes.iter().any(is_fused) {
        return Ok(());
    }
    let mut names: HashSet<Box<str>> = def.nodes.iter().map(|node| node.name.clone()).collect();
    let mut added = Vec::new();
    for node in def.nodes.iter_mut().filter(|node| is_fused(node)) {
        if let Some(mut parts) = parts(node, &mut names) {
            *node = parts.pop().unwrap_or_default();
            added.append(&mut parts);
        }
    }
    let bytes = added.iter().map(node_bytes).sum();
    def.reservation.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
    def.nodes.append(&mut added);
    Ok(())
}

/// The nodes that a fused one stands for, each taking the one before it; the last has its name.
fn parts(node: &NodeDef, names: &mut HashSet<Box<str>>) -> Option<Vec<NodeDef>> {
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
    Some(parts)
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
        let made = parts(&node(&["BiasAdd", "Relu"], &["x", "w", "b", "^p"]), &mut names).unwrap();
        let shown: Vec<String> =
            made.iter().map(|node| format!("{} {} {}", node.name, node.op, node.inputs.join(" "))).collect();
        assert_eq!(shown, ["c/Conv2D Conv2D x w ^p", "c/BiasAdd_1 BiasAdd c/Conv2D b", "c Relu c/BiasAdd_1"]);
        assert!(made[0].attr("strides").is_some() && made[0].attr("num_args").is_none());
        // An argument too few, one too many, and a step that is not known.
        for (steps, inputs) in [
            (&["BiasAdd"][..], &["x", "w"][..]),
            (&["Relu"][..], &["x", "w", "b"][..]),
            (&["Prelu"][..], &["x", "w", "b"][..]),
        ] {
            assert!(parts(&node(steps, inputs), &mut names.clone()).is_none());
        }
    }
}
