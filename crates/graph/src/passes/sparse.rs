//! Multiplies with sparse constants as they are held: a matrix product, or a convolution of single pixels, whose weight an operator
//! makes whole in each run takes the elements that are there, and where they stand.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{Isa, SparseProduct as Kernel};

use super::rewrite::{Uses, produced_by, replace, sweep};
use crate::ir::{Graph, NodeId, ValueRef};
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
    let (fused, weight) = product(graph, id)?;
    let (densify, _) = produced_by::<Densify>(graph, weight)?;
    let &[values, marks] = &densify.inputs[..] else { return None };
    let dims = graph.fact(weight).dims.concrete()?;
    let (channels, depth) = (*dims.first()?, *dims.last()?);
    let is_taken = Kernel::new(Isa::Portable, 1, depth, channels).is_ok();
    if graph.fact(values).dtype != DType::F32 || !is_taken || !densify.control.is_empty() {
        return None;
    }
    let node = graph.node(id);
    let mut inputs = vec![node.inputs[0], values];
    inputs.extend(&node.inputs[OWN_INPUTS..]);
    inputs.push(marks);
    replace(graph, uses, id, Arc::new(SparseProduct { channels, fused }), inputs);
    Some(())
}

/// A product of rows with a weight that has its output channels first.
fn product(graph: &Graph, id: NodeId) -> Option<(Fused, ValueRef)> {
    let node = graph.node(id);
    let weight = *node.inputs.get(1)?;
    if let Some(product) = node.is::<MatMul>() {
        return (product.transpose_b && !product.transpose_a).then_some((product.fused, weight));
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
    (is_plain && is_single).then_some((conv.fused, stored))
}
