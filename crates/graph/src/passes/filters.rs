//! Reads a constant filter as it is stored: a convolution of one group whose filter is the transposition of a constant with its
//! output channels first, as TensorFlow Lite stores it, packs that constant by columns and makes no copy of it.

use std::sync::Arc;

use super::rewrite::{Uses, produced_by, replace, sweep};
use crate::ir::{Graph, NodeId};
use crate::ops::array::transpose::Transpose;
use crate::ops::nn::conv2d::Conv2d;

/// From `[out, height, width, in]` to `[height, width, in, out]`.
const ORDER: [i64; 4] = [1, 2, 3, 0];

/// Takes in all that can be.
pub fn read_transposed(graph: &mut Graph) -> bool {
    sweep(graph, take_in)
}

fn take_in(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let conv = node.is::<Conv2d>().filter(|conv| !conv.is_transposed)?;
    let [image, filter, ..] = node.inputs[..] else { return None };
    let (transposition, operator) = produced_by::<Transpose>(graph, filter)?;
    let &[from, order] = &transposition.inputs[..] else { return None };
    if operator.is_conjugate() || !transposition.control.is_empty() || graph.fact(order).ints()? != ORDER {
        return None;
    }
    graph.producer(from).constant()?;
    let stored = graph.fact(from).dims.concrete()?;
    let channels = graph.fact(image).dims.get()?.get(3)?.size()?;
    if stored[..].get(3) != Some(&channels) {
        return None;
    }
    let operator = Arc::new(Conv2d { is_transposed: true, ..conv.clone() });
    let mut inputs = node.inputs.clone();
    inputs[1] = from;
    replace(graph, uses, id, operator, inputs);
    Some(())
}
