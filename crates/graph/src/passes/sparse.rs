//! Multiplies with sparse constants as they are held: a matrix product, or a convolution of single pixels, whose weight an operator
//! makes whole in each run takes the elements that are there, and where they stand.
//!
//! Once shapes are known and where there is memory for it, those that are faster so are made dense again: their weights are packed
//! as they are read, and what follows may be computed with them.

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Isa, SparseProduct as Kernel};

use super::rewrite::{Uses, produced_by, replace, sweep};
use crate::ir::{Constant, ConstantData, Graph, Node, NodeId, NodeKind, Sparse, ValueRef};
use crate::operator::Operator;
use crate::operator::product::{Fused, OWN_INPUTS};
use crate::ops::array::transpose::Transpose;
use crate::ops::math::matmul::MatMul;
use crate::ops::nn::conv2d::Conv2d;
use crate::ops::shared::window::Padding;
use crate::ops::tfl::densify::Densify;
use crate::ops::tfl::sparse_product::SparseProduct;

/// From `[out, height, width, in]` to `[height, width, in, out]`.
const ORDER: [i64; 4] = [1, 2, 3, 0];

/// Takes in all that can be.
pub fn multiply(graph: &mut Graph) -> bool {
    sweep(graph, take_in)
}

fn take_in(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let (fused, weight, dense) = product(graph, id)?;
    let (densify, _) = produced_by::<Densify>(graph, weight)?;
    let &[values, marks] = &densify.inputs[..] else { return None };
    let dims = graph.fact(weight).dims.concrete()?;
    let (channels, depth) = (*dims.first()?, *dims.last()?);
    let [elements, marked] = [values, marks].map(|part| graph.producer(part).constant().cloned());
    let is_taken = Kernel::new(Isa::Portable, 1, depth, channels).is_ok();
    if graph.fact(values).dtype != DType::F32 || !is_taken || !densify.control.is_empty() {
        return None;
    }
    let shape = match dense.downcast::<Conv2d>().is_some() {
        true => Shape::new(&[channels, 1, 1, depth]).ok()?,
        false => dims,
    };
    let data = ConstantData::Sparse(Sparse::new(elements?, marked?));
    let weight = Arc::new(Constant { dtype: DType::F32, shape, data, held: None });
    let node = graph.node(id);
    let mut inputs = vec![node.inputs[0], values];
    inputs.extend(&node.inputs[OWN_INPUTS..]);
    inputs.push(marks);
    replace(graph, uses, id, Arc::new(SparseProduct { channels, fused, dense, weight }), inputs);
    Some(())
}

/// A product of rows with a weight that has its output channels first.
fn product(graph: &Graph, id: NodeId) -> Option<(Fused, ValueRef, Arc<dyn Operator>)> {
    let node = graph.node(id);
    let weight = *node.inputs.get(1)?;
    if let Some(product) = node.is::<MatMul>() {
        let is_taken = product.transpose_b && !product.transpose_a;
        return is_taken.then(|| (product.fused, weight, Arc::new(product.clone()) as _));
    }
    let conv = node.is::<Conv2d>()?;
    let is_of_pixels =
        conv.window.strides == [1, 1] && matches!(conv.window.padding, Padding::Same | Padding::Valid);
    let (transposition, operator) = produced_by::<Transpose>(graph, weight)?;
    let &[stored, order] = &transposition.inputs[..] else { return None };
    let is_plain = is_of_pixels
        && !conv.is_transposed
        && !operator.is_conjugate()
        && transposition.control.is_empty()
        && graph.fact(order).ints()? == ORDER;
    let dims = graph.fact(stored).dims.concrete()?;
    let channels = graph.fact(*node.inputs.first()?).dims.get()?.last()?.size()?;
    let is_single = matches!(dims[..], [_, 1, 1, depth] if depth == channels);
    let dense = Conv2d { is_transposed: true, ..conv.clone() };
    (is_plain && is_single).then(|| (conv.fused, stored, Arc::new(dense) as _))
}

/// What a run is for: whether a product is faster dense depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Rows of the batch. What is dense does not depend on it, so that what is in memory serves another batch as well.
    pub batch: usize,
    /// Threads that compute.
    pub threads: usize,
    /// The vector instructions that they use.
    pub isa: Isa,
}

/// Bytes of the weights that would be dense.
pub fn dense_bytes(graph: &Graph, runs: Runs) -> u64 {
    let bytes =
        graph.ids().filter_map(|id| faster_dense(graph, id, runs)).map(|(_, weight)| weight.bytes() as u64);
    bytes.sum()
}

/// Makes products dense that are faster so, all shapes being known.
pub fn make_dense(graph: &mut Graph, runs: Runs) -> bool {
    sweep(graph, |graph, uses, id| {
        let (dense, weight) = faster_dense(graph, id, runs)?;
        let node = graph.node(id);
        let (facts, name) = (vec![weight.fact()], format!("{}/weight", node.name));
        let (_, fused) = node.inputs[OWN_INPUTS..].split_last()?;
        let (rows, fused) = (node.inputs[0], fused.to_vec());
        let kind = NodeKind::Constant(weight);
        let weight = graph.add(Node { name: name.into(), kind, inputs: vec![], control: vec![], facts });
        let inputs = [rows, ValueRef::of(weight)].into_iter().chain(fused).collect();
        replace(graph, uses, id, dense, inputs);
        Some(())
    })
}

/// What computes a sparse product that takes longer than the dense one, and the weight for that.
fn faster_dense(graph: &Graph, id: NodeId, runs: Runs) -> Option<(Arc<dyn Operator>, Arc<Constant>)> {
    let node = graph.node(id);
    let product = node.is::<SparseProduct>()?;
    let dims = graph.fact(node.inputs[0]).dims.concrete()?;
    let (depth, rows) = dims.split_last()?;
    let rows = rows.iter().product::<usize>();
    let rows = if rows.is_multiple_of(runs.batch.max(1)) { rows / runs.batch.max(1) } else { rows };
    let count = graph.fact(node.inputs[1]).dims.concrete()?.elements();
    let kernel = product.kernel(runs.isa, &[rows, *depth]).ok()?;
    kernel.is_faster_dense(runs.threads, count).then(|| (product.dense.clone(), product.weight.clone()))
}
