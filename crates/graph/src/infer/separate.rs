//! Additions apart from the products that took them in, for inputs that are bound to batches of their own: then one summand
//! may have to be repeated along the other.

use std::sync::Arc;

use tightfit_kernels::{Activation, BinaryOp, UnaryOp};

use crate::ir::{Graph, Node, NodeId, NodeKind, ValueRef};
use crate::operator::Operator;
use crate::operator::product::Fused;
use crate::ops::math::binary::Binary;
use crate::ops::math::unary::Unary;

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
