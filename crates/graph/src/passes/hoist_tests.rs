use tightfit_core::{Shape, TensorView};

use crate::exec::Feed;
use crate::import::text_graph::{context, graph};
use crate::ir::Graph;
use crate::ops::data_flow::list_reads::GetItem;
use crate::ops::math::matmul::MatMul;

/// The sum of what the elements of a list are times a matrix, which each turn hands on after a node that does nothing, as Keras
/// writes it.
const SUM: &str = r#"
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: 3 } dim { size: 1 } dim { size: 2 } } } } }
node { name: "w" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } dim { size: 2 } }
              float_val: 1 float_val: 2 float_val: 3 float_val: 4 } } } }
node { name: "zero" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
       attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 0 } } } }
node { name: "zeros" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 2 } } float_val: 0 } } } }
node { name: "element" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
       attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { dim { size: 2 } } int_val: -1 int_val: 2 } } } }
node { name: "list" op: "TensorListFromTensor" input: "x" input: "element"
       attr { key: "element_dtype" value { type: DT_FLOAT } } attr { key: "shape_type" value { type: DT_INT32 } } }
node { name: "loop" op: "While" input: "zero" input: "zeros" input: "list" input: "w"
       attr { key: "cond" value { func { name: "go_on" } } } attr { key: "body" value { func { name: "turn" } } }
       attr { key: "T" value { list { type: DT_INT32 type: DT_FLOAT type: DT_VARIANT type: DT_FLOAT } } } }
library {
function { signature { name: "go_on" input_arg { name: "i" type: DT_INT32 } input_arg { name: "sum" type: DT_FLOAT }
    input_arg { name: "list" type: DT_VARIANT } input_arg { name: "w" type: DT_FLOAT } output_arg { name: "b" type: DT_BOOL } }
  node_def { name: "turns" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
             attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: TURNS } } } }
  node_def { name: "less" op: "Less" input: "i" input: "turns:output:0" attr { key: "T" value { type: DT_INT32 } } }
  ret { key: "b" value: "less:z:0" } }
function { signature { name: "turn" input_arg { name: "i" type: DT_INT32 } input_arg { name: "sum" type: DT_FLOAT }
    input_arg { name: "list" type: DT_VARIANT } input_arg { name: "w" type: DT_FLOAT } output_arg { name: "j" type: DT_INT32 }
    output_arg { name: "next" type: DT_FLOAT } output_arg { name: "same" type: DT_VARIANT }
    output_arg { name: "weight" type: DT_FLOAT } }
  node_def { name: "one" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
             attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 1 } } } }
  node_def { name: "shape" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
             attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { dim { size: 2 } } int_val: -1 int_val: 2 } } } }
  node_def { name: "nothing" op: "NoOp" input: "^item" }
  node_def { name: "hand_on" op: "Identity" input: "w" input: "^nothing" attr { key: "T" value { type: DT_FLOAT } } }
  node_def { name: "item" op: "TensorListGetItem" input: "list" input: "i" input: "shape:output:0"
             attr { key: "element_dtype" value { type: DT_FLOAT } } }
  node_def { name: "product" op: "MatMul" input: "item:item:0" input: "w" attr { key: "T" value { type: DT_FLOAT } } }
  node_def { name: "add" op: "AddV2" input: "sum" input: "product:product:0" attr { key: "T" value { type: DT_FLOAT } } }
  node_def { name: "count" op: "AddV2" input: "i" input: "one:output:0" attr { key: "T" value { type: DT_INT32 } } }
  ret { key: "j" value: "count:z:0" } ret { key: "next" value: "add:z:0" } ret { key: "same" value: "list" }
  ret { key: "weight" value: "hand_on:output:0" } }
}
"#;

fn sum(turns: &str) -> Graph {
    graph(&SUM.replace("TURNS", turns), &["loop:1"]).unwrap()
}

fn run(turns: &str) -> Result<Vec<f32>, String> {
    let mut context = context(sum(turns), 1);
    let shape = Shape::new(&[3, 1, 2]).unwrap();
    let x = [1.0f32, 0.0, 0.0, 1.0, 10.0, 100.0];
    let feeds = [Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())];
    context.run(&feeds).map_err(|error| error.to_string())?;
    Ok(context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn elements_are_multiplied_before_the_loop() {
    let mut graph = sum("3");
    crate::passes::run(&mut graph).unwrap();
    let has_product = |graph: &Graph| graph.nodes.iter().any(|node| node.is::<MatMul>().is_some());
    assert!(has_product(&graph));
    let region = graph.nodes.iter().find_map(|node| node.region()).unwrap();
    let body = &region.bodies[1];
    assert!(!has_product(body), "{body}");
    let items: Vec<_> = body.nodes.iter().filter(|node| node.is::<GetItem>().is_some()).collect();
    assert_eq!(items.len(), 1, "{body}");
    // The counter and the sum; the list of elements is not given any more.
    assert_eq!((region.variables(), body.inputs.len()), (2, 3), "{body}");
}

#[test]
fn a_loop_computes_what_it_did() {
    assert_eq!(run("3"), Ok(vec![1.0 + 3.0 + 310.0, 2.0 + 4.0 + 420.0]));
    assert_eq!(run("1"), Ok(vec![1.0, 2.0]));
    assert_eq!(run("0"), Ok(vec![0.0, 0.0]));
    assert!(run("4").is_err());
}
