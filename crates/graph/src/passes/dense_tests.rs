use tightfit_core::{Shape, TensorView};

use crate::exec::{Context, Feed};
use crate::import::text_graph::{context, filter, graph, ints, node, placeholder, plain};

/// A dense layer of a sequence as Keras writes it, by Tensordot, with a bias, an activation and a sum.
fn tensordot(order: &[i32], fetches: &[&str]) -> Context {
    let text = [
        placeholder("x", &[2, 3, 4]),
        filter("w", &[4, 5]),
        filter("bias", &[5]),
        ints("order", order),
        ints("matrix", &[6, 4]),
        ints("tensor", &[2, 3, 5]),
        plain("moved", "Transpose", "x order"),
        plain("rows", "Reshape", "moved matrix"),
        plain("product", "MatMul", "rows w"),
        plain("sums", "Reshape", "product tensor"),
        plain("biased", "BiasAdd", "sums bias"),
        plain("y", "Relu", "biased"),
    ];
    context(graph(&text.join("\n"), fetches).unwrap(), 2)
}

/// The scores of attention with two heads, a factor after them.
fn scores(op: &str, factor: f32, fetches: &[&str]) -> Context {
    let equation =
        "attr { key: \"equation\" value { s: \"aecd,abcd->acbe\" } } attr { key: \"N\" value { i: 2 } }";
    let factor = format!(
        "attr {{ key: \"dtype\" value {{ type: DT_FLOAT }} }} attr {{ key: \"value\" value {{ tensor {{ \
         dtype: DT_FLOAT tensor_shape {{ }} float_val: {factor} }} }} }}"
    );
    let einsum = node(
        "scores",
        "Einsum",
        "k q",
        &format!("{equation} attr {{ key: \"T\" value {{ type: DT_FLOAT }} }}"),
    );
    let text = [
        placeholder("x", &[2, 3, 4]),
        filter("w", &[4, 6]),
        filter("ww", &[4, 6]),
        ints("matrix", &[6, 4]),
        ints("heads", &[2, 3, 2, 3]),
        format!("node {{ {} }}", node("factor", "Const", "", &factor)),
        plain("rows", "Reshape", "x matrix"),
        plain("queries", "MatMul", "rows w"),
        plain("keys", "MatMul", "rows ww"),
        plain("q", "Reshape", "queries heads"),
        plain("k", "Reshape", "keys heads"),
        format!("node {{ {einsum} }}"),
        plain("y", op, "scores factor"),
    ];
    context(graph(&text.join("\n"), fetches).unwrap(), 2)
}

fn output(context: &mut Context) -> Vec<f32> {
    let x: Vec<f32> = (0..24).map(|i| (i as f32 * 1.3).cos()).collect();
    let shape = Shape::new(&[2, 3, 4]).unwrap();
    context.run(&[Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())]).unwrap();
    context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn names(context: &Context) -> Vec<&str> {
    context.plan().steps.iter().map(|s| s.op_name()).collect()
}

#[test]
fn a_layer_of_a_sequence_is_one_step() {
    let mut fused = tensordot(&[0, 1, 2], &["y"]);
    let mut apart = tensordot(&[0, 1, 2], &["y", "product", "sums", "biased"]);
    assert_eq!(names(&fused), ["MatMul"]);
    assert!(names(&apart).len() > 2);
    assert_eq!(output(&mut fused), output(&mut apart));
    // The rows are another tensor's where axes change places.
    assert_eq!(names(&tensordot(&[1, 0, 2], &["y"]))[..2], ["Transpose", "MatMul"]);
}

#[test]
fn a_factor_of_scores_is_one_of_queries() {
    for (op, factor) in [("Mul", 0.125), ("Div", 4.0), ("RealDiv", -2.0)] {
        let mut fused = scores(op, factor, &["y"]);
        let mut apart = scores(op, factor, &["y", "scores"]);
        assert_eq!(names(&fused), ["MatMul", "MatMul", "Einsum"]);
        assert_eq!(names(&apart).len(), 4);
        assert_eq!(output(&mut fused), output(&mut apart));
    }
    // A larger factor might be too large for the queries alone, and 0 makes numbers of infinite sums.
    assert_eq!(names(&scores("Mul", 8.0, &["y"])).len(), 4);
    assert_eq!(names(&scores("Mul", 0.0, &["y"])).len(), 4);
}
