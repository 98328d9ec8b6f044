//! Takes zeros padded around an image into the convolution after them.

use super::rewrite::{Uses, replace, sweep};
use crate::ir::{Graph, NodeId};

/// Takes in all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, fuse_node)
}

fn fuse_node(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let product = node.operator()?.as_product()?;
    let x = node.inputs[0];
    let pad = graph.producer(x);
    if !matches!(pad.op_name(), "Pad" | "PadV2") || !pad.control.is_empty() {
        return None;
    }
    let is_zero = pad
        .inputs
        .get(2)
        .is_none_or(|v| graph.fact(*v).floats().is_some_and(|f| f.iter().all(|x| *x == 0.0)));
    let paddings = graph.fact(*pad.inputs.get(1)?).ints()?;
    let [0, 0, top, bottom, left, right, 0, 0] = paddings[..] else { return None };
    if !is_zero || paddings.iter().any(|p| *p < 0) {
        return None;
    }
    let added = [top, bottom, left, right].map(|p| p as usize);
    let operator = product.padded(added)?;
    let mut inputs = node.inputs.clone();
    inputs[0] = pad.inputs[0];
    replace(graph, uses, id, operator, inputs);
    Some(())
}
