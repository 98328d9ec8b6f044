//! Removes arithmetic that changes nothing: `x * 1`, `x / 1`, `x - 0`, and `x + -0`, for `x + 0` makes 0 of -0.

use tightfit_core::DType;
use tightfit_kernels::BinaryOp;

use super::rewrite::{forward, known_floats, sweep};
use crate::ir::{Graph, NodeId, ValueRef};
use crate::ops::math::binary::Binary;

/// Makes the users of each use its input.
pub fn remove(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        let x = neutral_input(graph, id)?;
        forward(graph, uses, ValueRef::of(id), x);
        Some(())
    })
}

/// The input that a node returns as it is.
fn neutral_input(graph: &Graph, id: NodeId) -> Option<ValueRef> {
    let node = graph.node(id);
    let op = node.is::<Binary>()?.op;
    let (a, b) = (node.inputs[0], node.inputs[1]);
    // The sign of a zero counts: 0 added to -0 is 0.
    let is = |value: ValueRef, neutral: f32| {
        known_scalars(graph, value).is_some_and(|bits| bits == neutral.to_bits())
    };
    let x = match op {
        BinaryOp::Mul if is(b, 1.0) => a,
        BinaryOp::Mul if is(a, 1.0) => b,
        BinaryOp::Div if is(b, 1.0) => a,
        BinaryOp::Sub if is(b, 0.0) => a,
        BinaryOp::Add if is(b, -0.0) => a,
        BinaryOp::Add if is(a, -0.0) => b,
        _ => return None,
    };
    let fact = &node.facts[0];
    let is_same =
        fact.dtype == DType::F32 && graph.fact(x).dims.is_surely(&fact.dims) && node.control.is_empty();
    is_same.then_some(x)
}

/// The bits of the one number of a small constant all of whose elements are the same.
fn known_scalars(graph: &Graph, value: ValueRef) -> Option<u32> {
    let values = known_floats(graph, value)?;
    let first = values.first()?.to_bits();
    values.iter().all(|value| value.to_bits() == first).then_some(first)
}
