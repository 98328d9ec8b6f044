use tightfit_core::{Shape, TensorView};

use super::move_up;
use crate::exec::Feed;
use crate::import::text_graph::{context, filter, graph, placeholder, plain, window};
use crate::ir::Graph;
use crate::ops::nn::conv2d::Conv2d;
use crate::ops::nn::pool::Pool;

const SIZE: usize = 7;

/// The end of one block of a ResNet and the beginning of the next: a 3x3, a 1x1 to which the input is added, and two 1x1
/// that take every second pixel.
fn blocks(fetches: &[&str]) -> Graph {
    let text = [
        placeholder("x", &[2, SIZE, SIZE, 3]),
        filter("f", &[3, 3, 3, 4]),
        filter("gg", &[1, 1, 4, 3]),
        filter("hhh", &[1, 1, 3, 2]),
        filter("iiii", &[1, 1, 3, 5]),
        window("wide", "Conv2D", "x f", 1, "SAME"),
        plain("sums", "Relu", "wide"),
        window("narrow", "Conv2D", "sums gg", 1, "VALID"),
        plain("added", "AddV2", "x narrow"),
        plain("block", "Relu", "added"),
        window("left", "Conv2D", "block hhh", 2, "SAME"),
        window("right", "Conv2D", "block iiii", 2, "VALID"),
    ];
    graph(&text.join("\n"), fetches).unwrap()
}

fn strides(graph: &Graph) -> Vec<usize> {
    let operators = graph.ids().filter_map(|id| graph.node(id).is::<Conv2d>());
    operators.map(|conv| conv.window.strides[0]).collect()
}

fn run(graph: Graph) -> Vec<Vec<f32>> {
    let mut context = context(graph, 2);
    let x: Vec<f32> = (0..2 * SIZE * SIZE * 3).map(|i| (i as f32 * 1.3).cos()).collect();
    let shape = Shape::new(&[2, SIZE, SIZE, 3]).unwrap();
    context.run(&[Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())]).unwrap();
    (0..2).map(|output| context.output(output).unwrap().as_slice::<f32>().unwrap().to_vec()).collect()
}

#[test]
fn pixels_that_nobody_takes_are_not_computed() {
    let mut graph = blocks(&["left", "right"]);
    crate::passes::run(&mut graph).unwrap();
    assert_eq!(strides(&graph), [2, 1, 1, 1]);
    assert_eq!(graph.ids().filter(|id| graph.node(*id).is::<Pool>().is_some()).count(), 1);
    assert!(!move_up(&mut graph));
    // Where the block's image is an output of its own all of it is computed.
    let mut whole = blocks(&["left", "right", "block"]);
    crate::passes::run(&mut whole).unwrap();
    assert_eq!(strides(&whole), [1, 1, 2, 2]);
    assert_eq!(run(blocks(&["left", "right"])), run(blocks(&["left", "right", "block"])));
}
