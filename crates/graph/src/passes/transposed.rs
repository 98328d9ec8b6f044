//! Drops the input that says how large the output of a transposed convolution is, where that is known: it is a product then
//! like any other, whose sums are shifted, added to and activated as they are stored.

use std::sync::Arc;

use super::rewrite::{Uses, replace, sweep};
use crate::ir::{Graph, NodeId};
use crate::ops::nn::conv2d_transpose::Conv2dTranspose;

/// Drops all that can be.
pub fn drop_sizes(graph: &mut Graph) -> bool {
    sweep(graph, drop_one)
}

fn drop_one(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let conv = node.is::<Conv2dTranspose>().filter(|conv| conv.has_sizes && conv.size.is_some())?;
    let &[_, filter, image] = &node.inputs[..] else { return None };
    let conv = Conv2dTranspose { has_sizes: false, ..conv.clone() };
    replace(graph, uses, id, Arc::new(conv), vec![image, filter]);
    Some(())
}

#[cfg(test)]
mod tests {
    use tightfit_core::{Shape, TensorView};

    use crate::exec::Feed;
    use crate::import::text_graph::{context, filter, graph, ints, node, placeholder, plain, window};

    /// An image that is made twice as large, with a bias, and clamped.
    #[test]
    fn takes_in_what_follows() {
        let text = |sizes: &[i32]| {
            let nodes = [
                placeholder("x", &[1, 2, 2, 3]),
                ints("sizes", sizes),
                filter("f", &[2, 2, 2, 3]),
                filter("bias", &[2]),
                window("sums", "Conv2DBackpropInput", "sizes f x", 2, "VALID"),
                plain("shifted", "BiasAdd", "sums bias"),
                plain("image", "Relu", "shifted"),
            ];
            nodes.join("\n")
        };
        let mut context = context(graph(&text(&[1, 4, 4, 2]), &["image"]).unwrap(), 2);
        let names: Vec<_> = context.plan().steps.iter().map(|step| step.op_name()).collect();
        assert_eq!(names, ["Conv2DBackpropInput"]);
        let x: Vec<f32> = (0..12).map(|i| (i as f32 * 1.3).cos()).collect();
        let shape = Shape::new(&[1, 2, 2, 3]).unwrap();
        context.run(&[Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())]).unwrap();
        let constant = |i: usize, name: &str| (i as f32 * 0.7 + name.len() as f32).sin();
        let output = context.output(0).unwrap();
        for (i, y) in output.as_slice::<f32>().unwrap().iter().enumerate() {
            let (channel, column, row) = (i % 2, i / 2 % 4, i / 8);
            let (tap, from) = (row % 2 * 2 + column % 2, (row / 2 * 2 + column / 2) * 3);
            let product = |c: usize| x[from + c] * constant((tap * 2 + channel) * 3 + c, "f");
            let sum = (0..3).map(product).sum::<f32>() + constant(channel, "bias");
            assert!((y - sum.max(0.0)).abs() < 1e-5, "{i}: {y} {sum}");
        }
        assert!(graph(&text(&[2, 4, 4, 2]), &["image"]).is_err());
    }

    /// The batch is that of the image, whatever it is.
    #[test]
    fn takes_the_batch_of_the_image() {
        let shape = "attr { key: \"shape\" value { shape { dim { size: -1 } dim { size: 2 } dim { size: 2 } dim { size: 3 } } } }";
        let float = "attr { key: \"dtype\" value { type: DT_FLOAT } }";
        let int = "attr { key: \"T\" value { type: DT_INT32 } }";
        let mask = "attr { key: \"shrink_axis_mask\" value { i: 1 } }";
        let scalar = |name: &str, value: i32| {
            let tensor = format!("tensor {{ dtype: DT_INT32 tensor_shape {{ }} int_val: {value} }}");
            format!(
                "node {{ name: \"{name}\" op: \"Const\" attr {{ key: \"dtype\" value {{ type: DT_INT32 }} }} \
                 attr {{ key: \"value\" value {{ {tensor} }} }} }}"
            )
        };
        let text = [
            format!("node {{ name: \"x\" op: \"Placeholder\" {float} {shape} }}"),
            filter("f", &[2, 2, 2, 3]),
            filter("bias", &[2]),
            format!(
                "node {{ {} }}",
                node("shape", "Shape", "x", "attr { key: \"T\" value { type: DT_FLOAT } }")
            ),
            ints("begin", &[0]),
            ints("end", &[1]),
            format!(
                "node {{ {} }}",
                node("batch", "StridedSlice", "shape begin end end", &format!("{int} {mask}"))
            ),
            scalar("four", 4),
            scalar("two", 2),
            format!(
                "node {{ {} }}",
                node(
                    "sizes",
                    "Pack",
                    "batch four four two",
                    &format!("{int} attr {{ key: \"N\" value {{ i: 4 }} }}")
                )
            ),
            window("sums", "Conv2DBackpropInput", "sizes f x", 2, "VALID"),
            plain("image", "BiasAdd", "sums bias"),
        ];
        let context = context(graph(&text.join("\n"), &["image"]).unwrap(), 2);
        let names: Vec<_> = context.plan().steps.iter().map(|step| step.op_name()).collect();
        assert_eq!(names, ["Conv2DBackpropInput"]);
    }
}
