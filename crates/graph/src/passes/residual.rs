//! Takes the addition after a product into its epilogue: the other summand is added as the sums are stored, in its
//! own memory where nothing else needs it.
//!
//! That both summands have one shape may follow from the batch, which counts as one for all inputs. Where inputs are fed
//! batches of their own, binding them adds apart again, so that one summand is repeated along the other.

use tightfit_kernels::BinaryOp;

use super::rewrite::{Uses, replace, sweep};
use crate::ir::{Graph, NodeId};
use crate::operator::product::Fused;
use crate::ops::math::binary::Binary;

/// Takes in all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, fuse_node)
}

fn fuse_node(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if node.is::<Binary>()?.op != BinaryOp::Add || !node.control.is_empty() {
        return None;
    }
    let (a, b) = (*node.inputs.first()?, *node.inputs.get(1)?);
    let has_one_shape = [a, b].iter().all(|v| graph.fact(*v).dims.is_surely(&node.facts[0].dims))
        && !node.facts[0].depends_on_data();
    if !has_one_shape || a.node == b.node {
        return None;
    }
    // Of two products the one computed later takes the other's result.
    let (first, second) = if a.node > b.node { (a, b) } else { (b, a) };
    for (x, other) in [(first, second), (second, first)] {
        let product_node = graph.producer(x);
        let Some(product) = product_node.operator().and_then(|o| o.as_product()) else { continue };
        let fused = product.fused();
        if !fused.is_linear() || !uses.is_used_once(x) {
            continue;
        }
        let operator = product.with_fused(Fused { has_residual: true, ..fused });
        let mut inputs = product_node.inputs.clone();
        inputs.push(other);
        replace(graph, uses, id, operator, inputs);
        return Some(());
    }
    None
}
