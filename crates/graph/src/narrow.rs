//! Integers for operators that take other ones: indices of int16 and their like become int32, and the operands of a
//! product become what it returns or is computed in.

use std::sync::Arc;

use tightfit_core::DType;

use crate::infer::infer_node;
use crate::ir::{Graph, Node, NodeId, NodeKind, ValueRef};
use crate::ops::{BatchMatMul, Cast};
use crate::signature;

/// Converts the inputs of a node that refused them: returns the node, or `None` when it is not their width that it
/// refused.
pub fn widen(graph: &mut Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let inputs = node.inputs.clone();
    let product = node.is::<BatchMatMul>().copied();
    let name = node.op_name();
    let target = |graph: &Graph, position: usize, value: &ValueRef| {
        let dtype = graph.fact(*value).dtype;
        match product {
            Some(BatchMatMul { output: Some(output), .. }) => {
                let computed = product_type(output).unwrap_or(output);
                (dtype != computed).then_some(computed)
            }
            Some(_) => product_type(dtype).filter(|_| dtype.is_integer()),
            None => {
                let is_narrow = matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16);
                (is_narrow && signature::is_index(name, position)).then_some(DType::I32)
            }
        }
    };
    if !inputs.iter().enumerate().any(|(i, value)| target(graph, i, value).is_some()) {
        return None;
    }
    let mut widened = Vec::with_capacity(inputs.len());
    for (position, value) in inputs.iter().enumerate() {
        widened.push(match target(graph, position, value) {
            Some(to) => cast(graph, id, *value, to)?,
            None => *value,
        });
    }
    graph.node_mut(id).inputs = widened;
    match infer_node(graph, id) {
        Ok(facts) => {
            graph.node_mut(id).facts = facts;
            // A product of integers wraps in its own type, as what is cut off a wider one does.
            let own = product.and_then(|p| p.output.or(Some(graph.fact(*inputs.first()?).dtype)));
            match own {
                Some(own) if own != graph.node(id).facts[0].dtype => {
                    cast(graph, id, ValueRef::of(id), own).map(|value| value.node)
                }
                _ => Some(id),
            }
        }
        Err(_) => {
            graph.node_mut(id).inputs = inputs;
            None
        }
    }
}

/// The type that products of these types are computed in.
fn product_type(dtype: DType) -> Option<DType> {
    match dtype {
        DType::I8 | DType::U8 | DType::I16 | DType::U16 => Some(DType::I32),
        DType::U32 | DType::U64 => Some(DType::I64),
        DType::F16 | DType::BF16 => Some(DType::F32),
        _ => None,
    }
}

fn cast(graph: &mut Graph, id: NodeId, value: ValueRef, to: DType) -> Option<ValueRef> {
    let name = graph.node(id).name.clone();
    let kind = NodeKind::Operator(Arc::new(Cast { to }));
    let added = graph.add(Node { name, kind, inputs: vec![value], control: vec![], facts: vec![] });
    graph.node_mut(added).facts = infer_node(graph, added).ok()?;
    Some(ValueRef::of(added))
}
