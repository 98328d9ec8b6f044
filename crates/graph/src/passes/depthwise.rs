//! Makes a depthwise convolution of a Conv2D of as many groups as channels, as Keras writes those of ConvNeXt: each output
//! channel is computed from one channel of the image, and the filter's bytes are the same.

use std::sync::Arc;

use super::rewrite::{Uses, replace, reshaped, sweep};
use crate::ir::{Graph, NodeId};
use crate::ops::nn::conv2d::Conv2d;
use crate::ops::nn::depthwise::DepthwiseConv2d;
use crate::ops::shared::weighted::WEIGHT;

/// Makes all that can be.
pub fn make(graph: &mut Graph) -> bool {
    sweep(graph, make_one)
}

fn make_one(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Conv2d { window, fused, is_transposed: false } = *node.is::<Conv2d>()? else { return None };
    let (name, mut inputs) = (format!("{}/filter", node.name), node.inputs.clone());
    let channels = graph.fact(inputs[0]).dims.get()?.get(3)?.size()?;
    let filter = graph.fact(inputs[WEIGHT]).dims.concrete()?;
    let [height, width, 1, out_channels] = filter[..] else { return None };
    if channels < 2 || out_channels % channels != 0 {
        return None;
    }
    let dims = [height, width, channels, out_channels / channels];
    inputs[WEIGHT] = reshaped(graph, uses, &name, inputs[WEIGHT], &dims)?;
    replace(graph, uses, id, Arc::new(DepthwiseConv2d { window, fused }), inputs);
    Some(())
}

#[cfg(test)]
mod tests {
    use tightfit_core::{Shape, TensorView};

    use crate::exec::Feed;
    use crate::import::text_graph::{context, filter, graph, placeholder, plain, window};

    /// Two filters for each of three channels, and a bias: output channel 2 c + i is that of filter i of channel c.
    #[test]
    fn a_group_for_each_channel() {
        const SIZE: usize = 5;
        let text = [
            placeholder("x", &[1, SIZE, SIZE, 3]),
            filter("f", &[3, 3, 1, 6]),
            filter("bias", &[6]),
            window("sums", "Conv2D", "x f", 1, "SAME"),
            plain("shifted", "BiasAdd", "sums bias"),
        ];
        let mut context = context(graph(&text.join("\n"), &["shifted"]).unwrap(), 2);
        let names = context.plan().steps.iter().map(|step| step.op_name()).collect::<Vec<_>>();
        assert_eq!(names, ["DepthwiseConv2dNative"]);
        let x: Vec<f32> = (0..SIZE * SIZE * 3).map(|i| (i as f32 * 1.3).cos()).collect();
        let shape = Shape::new(&[1, SIZE, SIZE, 3]).unwrap();
        context.run(&[Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())]).unwrap();
        let constant = |i: usize, name: &str| (i as f32 * 0.7 + name.len() as f32).sin();
        let output = context.output(0).unwrap();
        for (i, y) in output.as_slice::<f32>().unwrap().iter().enumerate() {
            let (pixel, channel) = (i / 6, i % 6);
            let mut sum = constant(channel, "bias");
            for tap in 0..9 {
                let (row, column) = (pixel / SIZE + tap / 3, pixel % SIZE + tap % 3);
                if (1..=SIZE).contains(&row) && (1..=SIZE).contains(&column) {
                    let from = ((row - 1) * SIZE + column - 1) * 3 + channel / 2;
                    sum += x[from] * constant(tap * 6 + channel, "f");
                }
            }
            assert!((y - sum).abs() < 1e-5, "{i}: {y} {sum}");
        }
    }
}
