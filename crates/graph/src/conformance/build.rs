//! Graphs made node by node.

use std::sync::Arc;

use tightfit_core::{DType, Shape};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::infer::infer_node;
use crate::ir::{Graph, Node, NodeKind, Port, ValueRef};
use crate::testing;

pub fn input(graph: &mut Graph, name: &str, dtype: DType, dims: &[usize]) -> ValueRef {
    let dims = Dims::from(Shape::new(dims).unwrap());
    let facts = vec![Fact::new(dtype, dims.clone())];
    let kind = NodeKind::Input { dtype, dims };
    let value =
        ValueRef::of(graph.add(Node { name: name.into(), kind, inputs: vec![], control: vec![], facts }));
    graph.inputs.push(Port { name: name.into(), value });
    value
}

pub fn operator(
    graph: &mut Graph,
    op: &str,
    attributes: &[(&str, tightfit_format::AttrValue)],
    inputs: &[ValueRef],
) -> ValueRef {
    let kind = NodeKind::Operator(Arc::from(testing::operator(op, attributes).unwrap()));
    let name = format!("{op}{}", graph.nodes.len());
    let node = Node { name: name.into(), kind, inputs: inputs.to_vec(), control: vec![], facts: vec![] };
    let id = graph.add(node);
    graph.node_mut(id).facts = infer_node(graph, id).unwrap();
    ValueRef::of(id)
}

pub fn fetch(graph: &mut Graph, name: &str, value: ValueRef) {
    graph.outputs.push(Port { name: name.into(), value });
}
