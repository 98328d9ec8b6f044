use tightfit_core::{Shape, TensorView};

use super::fuse;
use crate::exec::{Context, Feed};
use crate::import::text_graph::{context, filter, graph, placeholder, plain, window};
use crate::ir::Graph;
use crate::ops::nn::expanded_depthwise::ExpandedDepthwise;

const SIZE: usize = 96;

/// An image that is expanded, convolved by itself, and projected, with a bias and an activation each.
fn block(size: usize, fetches: &[&str]) -> Graph {
    let text = [
        placeholder("x", &[2, size, size, 8]),
        filter("f", &[1, 1, 8, 40]),
        filter("gg", &[3, 3, 40, 1]),
        filter("hhh", &[1, 1, 40, 4]),
        filter("bias", &[40]),
        window("wide", "Conv2D", "x f", 1, "SAME"),
        plain("biased", "BiasAdd", "wide bias"),
        plain("image", "Relu6", "biased"),
        window("own", "DepthwiseConv2dNative", "image gg", 2, "SAME"),
        plain("shifted", "BiasAdd", "own bias"),
        plain("sums", "Relu", "shifted"),
        window("narrow", "Conv2D", "sums hhh", 1, "SAME"),
    ];
    graph(&text.join("\n"), fetches).unwrap()
}

fn output(context: &mut Context) -> Vec<f32> {
    let x: Vec<f32> = (0..2 * SIZE * SIZE * 8).map(|i| (i as f32 * 1.3).cos()).collect();
    let shape = Shape::new(&[2, SIZE, SIZE, 8]).unwrap();
    context.run(&[Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())]).unwrap();
    context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn an_expanded_image_is_never_whole() {
    let mut fused = context(block(SIZE, &["narrow"]), 2);
    // Where the image is an output of its own it is made whole.
    let mut whole = context(block(SIZE, &["narrow", "image"]), 2);
    let image_bytes = 2 * SIZE * SIZE * 40 * 4;
    let names = |context: &Context| context.plan().steps.iter().map(|s| s.op_name()).collect::<Vec<_>>();
    assert_eq!(names(&fused), ["Conv2D+DepthwiseConv2dNative", "Conv2D"]);
    assert_eq!(names(&whole), ["Conv2D", "DepthwiseConv2dNative", "Conv2D"]);
    assert!(fused.plan().arena_bytes < image_bytes && whole.plan().arena_bytes > image_bytes);
    assert_eq!(output(&mut fused), output(&mut whole));
}

#[test]
fn small_images_and_many_threads_are_left_alone() {
    let count = |size: usize, threads: usize| {
        let mut graph = block(size, &["narrow"]);
        crate::passes::run(&mut graph).unwrap();
        let has_changed = fuse(&mut graph, threads);
        let fused = graph.ids().filter(|id| graph.node(*id).is::<ExpandedDepthwise>().is_some()).count();
        assert_eq!(has_changed, fused > 0);
        fused
    };
    assert_eq!(count(SIZE, 1), 1);
    assert_eq!(count(SIZE, 16), 1);
    assert_eq!(count(SIZE, 17), 0);
    assert_eq!(count(48, 1), 0);
}
