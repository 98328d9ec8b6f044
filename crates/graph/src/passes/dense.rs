//! Makes plain dense layers of products with a constant, which then have weights and an epilogue of their own:
//!
//! - a batch product with one constant matrix, `[.., k]` by `[k, n]` or `[1, .., k, n]`;
//! - an Einsum whose labels are those of a dense layer, as `abc,cd->abd`, and with several labels in place of one, as
//!   `abc,cde->abde` and `abcd,cde->abe`;
//! - a product of the matrix that a reshape makes of `[.., k]`, as Tensordot does, where another reshape gives the result its
//!   axes back;
//! - a bias or factor of shape `[heads, width]` after a reshape from `[.., heads * width]` is moved before it;
//! - a factor of the products of two tensors, as the scores of attention have, becomes one of the dense layer that one of
//!   the tensors comes from.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::BinaryOp;

use super::rewrite::{Uses, insert, known_scalar, produced_by, replace, reshaped, sweep};
use crate::dim::Dims;
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::Operator;
use crate::operator::product::Fused;
use crate::ops::array::reshape::Reshape;
use crate::ops::array::reshape_tail::ReshapeTail;
use crate::ops::math::batch_matmul::BatchMatMul;
use crate::ops::math::binary::Binary;
use crate::ops::math::einsum::Einsum;
use crate::ops::math::matmul::MatMul;

/// Makes all that can be.
pub fn make(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        let node = graph.node(id);
        if !node.control.is_empty() || node.facts.first().is_none_or(|fact| fact.dtype != DType::F32) {
            return None;
        }
        batch_product(graph, uses, id)
            .or_else(|| einsum(graph, uses, id))
            .or_else(|| between_reshapes(graph, uses, id))
            .or_else(|| before_reshape(graph, uses, id))
            .or_else(|| factor_of_operand(graph, uses, id))
    })
}

fn dense(transpose_b: bool) -> Arc<dyn Operator> {
    Arc::new(MatMul { transpose_a: false, transpose_b, has_rows: true, fused: Fused::default() })
}

fn batch_product(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let BatchMatMul { adj_x, adj_y, .. } = *node.is::<BatchMatMul>()?;
    let (left, right) = (node.inputs[0], node.inputs[1]);
    graph.producer(right).constant()?;
    let shape = graph.fact(right).dims.concrete()?;
    let (batch, [rows, columns]) = shape.split_last_chunk::<2>()?;
    let rank = graph.fact(left).dims.rank()?;
    if adj_x || batch.iter().any(|dim| *dim != 1) || rank < shape.rank() {
        return None;
    }
    let name = node.name.to_string();
    let right = reshaped(graph, uses, &name, right, &[*rows, *columns])?;
    replace(graph, uses, id, dense(adj_y), vec![left, right]);
    Some(())
}

/// The labels of a dense layer: `rows depth, depth columns -> rows columns`, or the right-hand side transposed.
struct DenseLabels {
    depth: usize,
    columns: usize,
    is_transposed: bool,
}

fn dense_labels(einsum: &Einsum) -> Option<DenseLabels> {
    let [left, right] = &einsum.operands[..] else { return None };
    let depth = right.iter().filter(|label| !einsum.output.contains(label)).count();
    let columns = right.len() - depth;
    let rows = left.len().checked_sub(depth)?;
    let (left_rows, left_depth) = left.split_at(rows);
    let (output_rows, output_columns) = einsum.output.split_at_checked(rows)?;
    let all: Vec<u8> = left.iter().chain(output_columns).copied().collect();
    let is_distinct = all.iter().enumerate().all(|(i, label)| !all[..i].contains(label));
    let has_ellipsis = right.contains(&b'.');
    if rows == 0
        || left_rows != output_rows
        || !is_distinct
        || has_ellipsis
        || output_columns.len() != columns
    {
        return None;
    }
    let is_transposed = match (right.split_at(depth), right.split_at(columns)) {
        ((d, c), _) if d == left_depth && c == output_columns => false,
        (_, (c, d)) if d == left_depth && c == output_columns => true,
        _ => return None,
    };
    Some(DenseLabels { depth, columns, is_transposed })
}

fn einsum(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let labels = dense_labels(node.is::<Einsum>()?)?;
    let (left, right) = (node.inputs[0], node.inputs[1]);
    graph.producer(right).constant()?;
    let shape = graph.fact(right).dims.concrete()?;
    let rank = graph.fact(left).dims.rank()?;
    // A product needs a row and a column of its own.
    if rank < labels.depth + 1 || labels.depth == 0 {
        return None;
    }
    let (depth, columns) = if labels.is_transposed {
        let (columns, depth) = shape.split_at(labels.columns);
        (depth, columns)
    } else {
        shape.split_at(labels.depth)
    };
    let (k, n): (usize, usize) = (depth.iter().product(), columns.iter().product());
    let name = node.name.to_string();
    let stored = if labels.is_transposed { [n, k] } else { [k, n] };
    let right = reshaped(graph, uses, &name, right, &stored)?;
    let left = if labels.depth == 1 {
        left
    } else {
        insert(graph, uses, &name, Arc::new(ReshapeTail { axes: labels.depth, tail: vec![k] }), vec![left])?
    };
    if labels.columns == 1 {
        replace(graph, uses, id, dense(labels.is_transposed), vec![left, right]);
    } else {
        let product = insert(graph, uses, &name, dense(labels.is_transposed), vec![left, right])?;
        let split = ReshapeTail { axes: 1, tail: columns.to_vec() };
        replace(graph, uses, id, Arc::new(split), vec![product]);
    }
    Some(())
}

/// A product of the rows of a tensor, which stand in a matrix for it alone.
fn between_reshapes(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    node.is::<Reshape>()?;
    let product = *node.inputs.first()?;
    let (multiplied, matmul) = produced_by::<MatMul>(graph, product)?;
    let (reshape, _) = produced_by::<Reshape>(graph, *multiplied.inputs.first()?)?;
    let tensor = *reshape.inputs.first()?;
    let is_mine = uses.is_used_once(product) && multiplied.control.is_empty() && reshape.control.is_empty();
    if !is_mine || matmul.transpose_a || matmul.fused.has_residual {
        return None;
    }
    let [_, depth] = graph.fact(multiplied.inputs[0]).dims.get()? else { return None };
    let (own_depth, rows) = graph.fact(tensor).dims.get()?.split_last()?;
    let columns = graph.fact(product).dims.get()?.last()?;
    let result = Dims::new(rows.iter().chain([columns]).copied().collect::<Vec<_>>());
    if depth.size().is_none()
        || depth != own_depth
        || rows.is_empty()
        || !result.is_surely(&node.facts[0].dims)
    {
        return None;
    }
    let operator = Arc::new(MatMul { has_rows: true, ..matmul.clone() });
    let inputs = [tensor].iter().chain(&multiplied.inputs[1..]).copied().collect();
    replace(graph, uses, id, operator, inputs);
    Some(())
}

/// A constant after a reshape that splits the channels of a product.
fn before_reshape(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let op = node.is::<Binary>()?.op;
    if !matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div) {
        return None;
    }
    let side = (0..2).find(|side| graph.producer(node.inputs[*side]).constant().is_some())?;
    let (constant, split) = (node.inputs[side], node.inputs[1 - side]);
    let reshape = graph.producer(split);
    let is_reshape = reshape.is::<ReshapeTail>().is_some() || reshape.is::<Reshape>().is_some();
    let product = *reshape.inputs.first()?;
    graph.producer(product).operator()?.as_product()?;
    let is_mine = uses.is_used_once(split) && uses.is_used_once(product) && reshape.control.is_empty();
    let dims = graph.fact(split).dims.get()?;
    if !is_reshape || !is_mine || graph.fact(split).dims != node.facts[0].dims {
        return None;
    }
    let channels = graph.fact(product).dims.get()?.last()?.size()?;
    let shape = graph.fact(constant).dims.concrete()?;
    // The constant's axes must be the last ones of the split, which must be the channels and nothing else.
    let own = &shape[shape.iter().take_while(|dim| **dim == 1).count()..];
    let tail: Vec<usize> = dims.iter().rev().take(own.len()).rev().map_while(|dim| dim.size()).collect();
    let is_channels = tail == own && shape.elements() == channels;
    if shape.elements() != 1 && !is_channels {
        return None;
    }
    let (name, operator) = (node.name.to_string(), reshape.operator_arc()?);
    let mut shape_inputs = reshape.inputs[1..].to_vec();
    let vector = if shape.elements() == 1 { vec![] } else { vec![channels] };
    let vector = reshaped(graph, uses, &name, constant, &vector)?;
    let operands = if side == 0 { vec![vector, product] } else { vec![product, vector] };
    let moved = insert(graph, uses, &name, Arc::new(Binary { op }), operands)?;
    shape_inputs.insert(0, moved);
    replace(graph, uses, id, operator, shape_inputs);
    Some(())
}

/// One factor of all the products of two tensors.
fn factor_of_operand(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let op = node.is::<Binary>()?.op;
    let (products, constant) = match (op, node.inputs[0], node.inputs[1]) {
        (BinaryOp::Mul, a, b) if graph.producer(a).constant().is_some() => (b, a),
        (BinaryOp::Mul | BinaryOp::Div, a, b) => (a, b),
        _ => return None,
    };
    let number = known_scalar(graph, constant)?;
    let factor = if op == BinaryOp::Div { 1.0 / number } else { number };
    // A larger one might take an operand past the range, where the sums are not.
    let is_one = graph.fact(constant).dims.elements().size() == Some(1);
    let is_small = is_one && factor != 0.0 && factor.abs() <= 1.0;
    let producer = graph.producer(products);
    let is_product = producer.is::<Einsum>().is_some_and(|einsum| einsum.operands.len() == 2)
        || producer.is::<BatchMatMul>().is_some();
    let is_mine = uses.is_used_once(products) && producer.control.is_empty();
    if !is_small || !is_product || !is_mine || graph.fact(products).dims != node.facts[0].dims {
        return None;
    }
    let side = (0..2).find(|side| has_epilogue(graph, uses, producer.inputs[*side]))?;
    let (operator, mut inputs) = (producer.operator_arc()?, producer.inputs.clone());
    let name = node.name.to_string();
    let constant = reshaped(graph, uses, &name, constant, &[])?;
    inputs[side] = insert(graph, uses, &name, Arc::new(Binary { op }), vec![inputs[side], constant])?;
    replace(graph, uses, id, operator, inputs);
    Some(())
}

/// Whether a value is a dense layer's, used once, which can take a factor in, or that under another shape.
fn has_epilogue(graph: &Graph, uses: &Uses, value: ValueRef) -> bool {
    let mut value = value;
    loop {
        let node = graph.producer(value);
        if !uses.is_used_once(value) || !node.control.is_empty() {
            return false;
        }
        if let Some(product) = node.operator().and_then(|operator| operator.as_product()) {
            return product.fused().is_linear();
        }
        if node.is::<ReshapeTail>().is_none() && node.is::<Reshape>().is_none() {
            return false;
        }
        value = node.inputs[0];
    }
}

#[cfg(test)]
#[path = "dense_tests.rs"]
mod tests;
