//! Moves products out of loops: where a turn multiplies one element of a list that the loop is given with a constant matrix,
//! as recurrent networks do with their inputs, all elements are multiplied before the loop, in one product of many rows,
//! and a turn takes its row of that.

use std::sync::Arc;

use tightfit_core::{DType, Shape};

use super::rewrite::{Uses, insert, produced_by, replace};
use crate::ir::{Constant, Graph, Node, NodeId, NodeKind, Port, RegionKind, ValueRef, dead_nodes};
use crate::operator::product::Fused;
use crate::ops::data_flow::list_parts::Said;
use crate::ops::data_flow::list_reads::GetItem;
use crate::ops::data_flow::tensor_list::FromTensor;
use crate::ops::math::matmul::MatMul;

/// What the products of all turns may take for one row of a batch: more would be felt in a small memory.
const PRODUCTS_BYTES: usize = 1 << 20;

/// A product in the body of a loop.
struct Product {
    node: NodeId,
    /// Which of the loop's inputs is the list.
    list: usize,
    /// The element's place.
    index: ValueRef,
    weight: Arc<Constant>,
    is_transposed: bool,
}

/// Moves all that can be.
pub fn products(graph: &mut Graph) -> bool {
    let mut has_changed = false;
    for id in graph.regions() {
        for product in found(graph, id) {
            has_changed |= hoist(graph, id, product).is_some();
        }
        // What has taken the elements of the list itself.
        let bodies = graph.region_mut(id).map(|region| &mut region.bodies);
        bodies.into_iter().flatten().for_each(dead_nodes::remove);
    }
    has_changed
}

fn found(graph: &Graph, id: NodeId) -> Vec<Product> {
    let region = graph.node(id).region().filter(|region| region.kind == RegionKind::Loop);
    let Some((region, body)) = region.and_then(|region| Some((region, region.bodies.get(1)?))) else {
        return Vec::new();
    };
    let product = |node: NodeId| -> Option<Product> {
        let product = body.node(node);
        let MatMul { transpose_a: false, transpose_b, fused, .. } = product.is::<MatMul>()? else {
            return None;
        };
        let [left, right] = product.inputs[..] else { return None };
        let (item, get) = produced_by::<GetItem>(body, left)?;
        let (GetItem { list: 0, .. }, [list, index, ..]) = (get, &item.inputs[..]) else { return None };
        let list = body.inputs.iter().position(|port| port.value == *list)?;
        let is_plain = *fused == Fused::default() && product.control.is_empty() && item.control.is_empty();
        let weight = Arc::clone(body.producer(right).constant()?);
        (is_plain && list >= region.variables() && get.dtype == DType::F32).then_some(Product {
            node,
            list,
            index: *index,
            weight,
            is_transposed: *transpose_b,
        })
    };
    body.ids().filter_map(product).collect()
}

fn hoist(graph: &mut Graph, id: NodeId, product: Product) -> Option<()> {
    let list = graph.node(id).inputs[product.list];
    let (made, _) = produced_by::<FromTensor>(graph, list).filter(|(node, _)| node.control.is_empty())?;
    let rows = made.inputs[0];
    let [length, _, _] = graph.fact(rows).dims.get()? else { return None };
    let columns = *product.weight.fact().dims.concrete()?.get(usize::from(!product.is_transposed))?;
    let bytes = length.size()?.checked_mul(columns)?.checked_mul(size_of::<f32>())?;
    if bytes > PRODUCTS_BYTES {
        return None;
    }
    let name = graph.node(id).region()?.bodies[1].node(product.node).name.to_string();
    // Before anything is added, as what cannot be changed must stay as it is.
    graph.region_mut(id)?;
    let mut uses = Uses::new(graph);
    let weight = add_constant(graph, &name, &product.weight);
    let operator = MatMul {
        transpose_a: false,
        transpose_b: product.is_transposed,
        has_rows: true,
        fused: Fused::default(),
    };
    let products = insert(graph, &mut uses, &name, Arc::new(operator), vec![rows, weight])?;
    let element = graph.add_constant(&format!("{name}/shape"), element_shape(columns)?);
    let products =
        insert(graph, &mut uses, &name, Arc::new(FromTensor(DType::F32)), vec![products, element])?;
    let fact = graph.fact(products).clone();
    graph.node_mut(id).inputs.push(products);
    for body in &mut graph.region_mut(id)?.bodies {
        let kind = NodeKind::Input { dtype: fact.dtype, dims: fact.dims.clone() };
        let given = format!("{name}/products");
        let node = Node {
            name: given.clone().into(),
            kind,
            inputs: vec![],
            control: vec![],
            facts: vec![fact.clone()],
        };
        let value = ValueRef::of(body.add(node));
        body.inputs.push(Port { name: given, value });
    }
    let body = graph.region_mut(id)?.bodies.get_mut(1)?;
    let products = body.inputs.last()?.value;
    let element = body.add_constant(&format!("{name}/shape"), element_shape(columns)?);
    let mut uses = Uses::new(body);
    let get = GetItem { dtype: DType::F32, list: 0, shape: Said::Input(2) };
    replace(body, &mut uses, product.node, Arc::new(get), vec![products, product.index, element]);
    Some(())
}

fn add_constant(graph: &mut Graph, name: &str, constant: &Arc<Constant>) -> ValueRef {
    let facts = vec![constant.fact()];
    let kind = NodeKind::Constant(Arc::clone(constant));
    ValueRef::of(graph.add(Node { name: name.into(), kind, inputs: vec![], control: vec![], facts }))
}

/// `[-1, columns]`, the shape of one element.
fn element_shape(columns: usize) -> Option<Constant> {
    let dims = [-1, i32::try_from(columns).ok()?];
    let bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    Some(Constant::in_memory(DType::I32, Shape::new(&[2]).ok()?, bytes))
}

#[cfg(test)]
#[path = "hoist_tests.rs"]
mod tests;
