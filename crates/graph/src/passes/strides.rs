//! Moves the steps of convolutions that look at one pixel each up to the convolution that makes their image: where all of
//! them take only every second pixel, no other is computed. ResNets reduce their images that way.
//!
//! What a convolution adds to its sums is thinned out before it, by a pool of single pixels.

use std::sync::Arc;

use tightfit_kernels::PoolKind;

use super::rewrite::{Uses, insert, replace, sweep};
use crate::infer::infer_node;
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::Operator;
use crate::ops::nn::conv2d::Conv2d;
use crate::ops::nn::pool::Pool;
use crate::ops::shared::weighted::WEIGHT;
use crate::ops::shared::window::{Padding, WindowAttributes};

/// Moves all that can be. A convolution that has been thinned out may itself be one of one pixel.
pub fn move_up(graph: &mut Graph) -> bool {
    let mut has_changed = false;
    while !graph.is_refused() && sweep(graph, thin) {
        has_changed = true;
    }
    has_changed
}

/// Thins out a convolution whose users take only some of its pixels.
fn thin(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let conv = graph.node(id).is::<Conv2d>()?.clone();
    let users = uses.all(graph, ValueRef::of(id))?;
    let steps = steps_of(graph, users.first()?.0)?;
    if !users.iter().all(|(user, position)| *position == 0 && steps_of(graph, *user) == Some(steps)) {
        return None;
    }
    let mut inputs = graph.node(id).inputs.clone();
    let image = pixels(graph, inputs[0])?;
    // An image without pixels is left as it is.
    if pixels(graph, ValueRef::of(id))?.contains(&0) {
        return None;
    }
    let window = conv.window.thinned(filter_size(graph, id)?, image, steps);
    if let Some(residual) = conv.fused.residual() {
        let single = WindowAttributes { strides: steps, ..WindowAttributes::NONE };
        let pool = Pool { kind: PoolKind::Average, size: [1, 1], window: single };
        let name = format!("{}/residual", graph.node(id).name);
        inputs[residual] = insert(graph, uses, &name, Arc::new(pool), vec![inputs[residual]])?;
    }
    replace(graph, uses, id, Arc::new(Conv2d { window, ..conv }), inputs);
    graph.node_mut(id).facts = infer_node(graph, id).ok()?;
    for (user, _) in users {
        let node = graph.node(user);
        let whole = Conv2d { window: WindowAttributes::NONE, ..node.is::<Conv2d>()?.clone() };
        let inputs = node.inputs.clone();
        replace(graph, uses, user, Arc::new(whole) as Arc<dyn Operator>, inputs);
    }
    Some(())
}

/// The steps of a convolution that looks at one pixel each and takes more than one.
fn steps_of(graph: &Graph, id: NodeId) -> Option<[usize; 2]> {
    let window = graph.node(id).is::<Conv2d>()?.window;
    let is_bare =
        window.padding != Padding::Explicit([0; 4]) && matches!(window.padding, Padding::Explicit(_));
    (filter_size(graph, id)? == [1, 1] && !is_bare && window.strides != [1, 1]).then_some(window.strides)
}

/// Height and width of a convolution's filter.
fn filter_size(graph: &Graph, id: NodeId) -> Option<[usize; 2]> {
    let node = graph.node(id);
    let dims = graph.fact(*node.inputs.get(WEIGHT)?).dims.concrete()?;
    let first = node.is::<Conv2d>()?.is_transposed as usize;
    Some([*dims.get(first)?, *dims.get(first + 1)?])
}

/// Height and width of an image.
fn pixels(graph: &Graph, image: ValueRef) -> Option<[usize; 2]> {
    let dims = graph.fact(image).dims.get()?;
    Some([dims.get(1)?.size()?, dims.get(2)?.size()?])
}

#[cfg(test)]
#[path = "strides_tests.rs"]
mod tests;
