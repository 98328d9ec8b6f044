//! Takes the addition behind a product into its epilogue: the other summand is added as the sums are stored, in its
//! own memory where nothing else needs it.
//!
//! That both summands have one shape may follow from the batch, which counts as one for all inputs. Where inputs are fed
//! batches of their own, [`separate`] adds apart again, so that one summand is repeated along the other.

use std::sync::Arc;

use tightfit_kernels::{Activation, BinaryOp, UnaryOp};

use super::rewrite::{Uses, replace, sweep};
use crate::ir::{Graph, Node, NodeId, NodeKind, ValueRef};
use crate::operator::Operator;
use crate::operator::product::Fused;
use crate::ops::math::binary::Binary;
use crate::ops::math::unary::Unary;

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

/// Makes a product, an addition and an activation of every product that has taken in an addition, in bodies too.
pub fn separate(graph: &mut Graph) {
    for id in graph.ids() {
        let node = graph.node(id);
        let Some(product) = node.operator().and_then(|o| o.as_product()) else { continue };
        let fused = product.fused();
        let Some(residual) = fused.residual() else { continue };
        let activation = match fused.activation {
            Activation::None => None,
            activation => match UnaryOp::of_epilogue(activation) {
                None => continue,
                op => op,
            },
        };
        let alone = Fused { has_residual: false, activation: Activation::None, ..fused };
        let mut inputs = node.inputs.clone();
        let other = inputs.remove(residual);
        let sums = before(graph, id, "product", product.with_fused(alone), inputs);
        let add: Arc<dyn Operator> = Arc::new(Binary { op: BinaryOp::Add });
        let (operator, inputs) = match activation {
            None => (add, vec![sums, other]),
            Some(op) => {
                let sum = before(graph, id, "sum", add, vec![sums, other]);
                (Arc::new(Unary { op }) as Arc<dyn Operator>, vec![sum])
            }
        };
        let node = graph.node_mut(id);
        node.kind = NodeKind::Operator(operator);
        node.inputs = inputs;
    }
    for id in graph.regions() {
        let bodies = graph.region_mut(id).map(|region| &mut region.bodies);
        bodies.into_iter().flatten().for_each(separate);
    }
}

/// Adds a node for a part of what node `id` computes.
fn before(
    graph: &mut Graph,
    id: NodeId,
    part: &str,
    operator: Arc<dyn Operator>,
    inputs: Vec<ValueRef>,
) -> ValueRef {
    let node = graph.node(id);
    let (name, facts) = (format!("{}/{part}", node.name), node.facts.clone());
    let kind = NodeKind::Operator(operator);
    ValueRef::of(graph.add(Node { name: name.into(), kind, inputs, control: vec![], facts }))
}
