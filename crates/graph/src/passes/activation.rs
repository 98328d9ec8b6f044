//! Takes the activation after a product into its epilogue.

use tightfit_kernels::Activation;

use super::rewrite::{Uses, replace, sweep};
use crate::ir::{Graph, NodeId};
use crate::operator::product::Fused;
use crate::ops::math::unary::Unary;

/// Takes in all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, fuse_node)
}

fn fuse_node(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let activation = node.is::<Unary>()?.op.epilogue()?;
    let x = node.inputs[0];
    let product_node = graph.producer(x);
    let product = product_node.operator()?.as_product()?;
    let fused = product.fused();
    if fused.activation != Activation::None || !uses.is_used_once(x) || !node.control.is_empty() {
        return None;
    }
    let operator = product.with_fused(Fused { activation, ..fused });
    let inputs = product_node.inputs.clone();
    replace(graph, uses, id, operator, inputs);
    Some(())
}
