//! Takes a convolution of single pixels into the depthwise convolution after it, where the image between them is too large
//! for a core's cache: networks of inverted residuals expand their images that way. The image between is never whole then,
//! which saves its memory, and the time to write and read it.
//!
//! Shapes are known when this runs: whether it pays depends on them.

use std::sync::Arc;

use super::rewrite::{Uses, produced_by, replace, sweep};
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::product::Fused;
use crate::ops::nn::conv2d::Conv2d;
use crate::ops::nn::depthwise::DepthwiseConv2d;
use crate::ops::nn::expanded_depthwise::ExpandedDepthwise;
use crate::ops::shared::weighted::WEIGHT;

/// An image between two convolutions that takes no more bytes than this stays in the second-level caches anyway.
const LEAST_IMAGE_BYTES: usize = 1 << 20;

/// The most bytes of a filter that each thread packs for itself; it stays in the first-level cache beside the rows.
const MOST_FILTER_BYTES: usize = 32 << 10;

/// Takes in all that pays, for a run by so many threads.
pub fn fuse(graph: &mut Graph, threads: usize) -> bool {
    sweep(graph, |graph, uses, id| fuse_node(graph, uses, id, threads))
}

fn fuse_node(graph: &mut Graph, uses: &mut Uses, id: NodeId, threads: usize) -> Option<()> {
    let node = graph.node(id);
    let depthwise = node.is::<DepthwiseConv2d>()?.clone();
    let image = node.inputs[0];
    let (before, expand) = produced_by::<Conv2d>(graph, image)?;
    let is_plain = |fused: &Fused| fused.residual().is_none();
    if !uses.is_used_once(image) || !is_plain(&expand.fused) || !is_plain(&depthwise.fused) {
        return None;
    }
    let filters = [before.inputs[WEIGHT], node.inputs[WEIGHT]];
    let is_fixed = [before.inputs[0], image].iter().all(|value| !graph.fact(*value).depends_on_data());
    if !is_fixed || !filters.iter().all(|filter| graph.producer(*filter).constant().is_some()) {
        return None;
    }
    let [_, height, width, depth] = dims(graph, before.inputs[0])?;
    let channels = dims(graph, image)?[3];
    let mut filter = dims(graph, filters[0])?;
    if expand.is_transposed {
        filter.rotate_left(1);
    }
    let window = expand.window.window([1, 1], [height, width]);
    let is_single = filter == [1, 1, depth, channels] && window.strides == [1, 1] && window.pads == [0; 4];
    let row_bytes = 4 * width * channels;
    let rows = (dims(graph, filters[1])?[0] - 1) * depthwise.window.dilations[0] + 1;
    let image_bytes = row_bytes * height;
    let held_bytes = threads * rows * row_bytes;
    if !is_single
        || image_bytes < LEAST_IMAGE_BYTES
        || 4 * depth * channels > MOST_FILTER_BYTES
        || held_bytes > image_bytes / 2
    {
        return None;
    }
    let operator = ExpandedDepthwise { expand: expand.clone(), depthwise };
    let inputs = before.inputs.iter().chain(&node.inputs[1..]).copied().collect();
    replace(graph, uses, id, Arc::new(operator), inputs);
    Some(())
}

/// The four dimensions of a value.
fn dims(graph: &Graph, value: ValueRef) -> Option<[usize; 4]> {
    <[usize; 4]>::try_from(&graph.fact(value).dims.concrete()?[..]).ok()
}

#[cfg(test)]
#[path = "separable_tests.rs"]
mod tests;
