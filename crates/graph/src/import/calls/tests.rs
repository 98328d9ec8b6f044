use std::sync::Arc;

use tightfit_core::{Shape, TensorView};
use tightfit_kernels::ThreadPool;

use crate::exec::{Context, Feed};
use crate::import::text_graph::{budget, graph};
use crate::infer::{Binding, bind};
use crate::ir::Graph;
use crate::plan::{Plan, PlanOptions, WeightMode};

/// The outputs for one input of floats.
fn run(graph: &Graph, x: &[f32]) -> Vec<Vec<f32>> {
    let bound = bind(graph, &Binding { batch: Some(x.len()), ..Binding::default() }).unwrap();
    let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident)).unwrap();
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let mut context = Context::load(plan, "test", pool, &budget(), 0).unwrap();
    let shape = Shape::new(&[x.len()]).unwrap();
    context.run(&[Feed::Tensor(TensorView::from_slice(shape, x).unwrap())]).unwrap();
    let outputs = 0..context.plan().outputs.len();
    outputs.map(|i| context.output(i).unwrap().as_slice::<f32>().unwrap().to_vec()).collect()
}

const INPUT: &str = r#"
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: -1 } } } } }
"#;

/// 2x and -2x.
const TWICE: &str = r#"
function {
  signature { name: "twice" input_arg { name: "a" type_attr: "T" }
              output_arg { name: "sum" type_attr: "T" } output_arg { name: "less" type_attr: "T" } attr { name: "T" type: "type" } }
  node_def { name: "add" op: "AddV2" input: "a" input: "a" attr { key: "T" value { placeholder: "T" } } }
  node_def { name: "neg" op: "Neg" input: "add:z:0" attr { key: "T" value { placeholder: "T" } } }
  node_def { name: "unused" op: "NoSuchOperator" input: "neg:y:0" }
  ret { key: "sum" value: "add:z:0" } ret { key: "less" value: "neg:y:0" }
}
"#;

fn call(name: &str, op: &str, inputs: &str, attributes: &str) -> String {
    let inputs: String = inputs.split_whitespace().map(|input| format!("input: \"{input}\" ")).collect();
    format!("node {{ name: \"{name}\" op: \"{op}\" {inputs} {attributes} }}\n")
}

const T: &str = "attr { key: \"T\" value { type: DT_FLOAT } }";

fn partitioned(function: &str) -> String {
    format!(
        "attr {{ key: \"f\" value {{ func {{ name: \"{function}\" {T} }} }} }} attr {{ key: \"Tout\" value {{ list {{ type: DT_FLOAT type: DT_FLOAT }} }} }}"
    )
}

#[test]
fn a_call_is_what_its_function_returns() {
    let calls = [
        ("twice", T.to_string()),
        ("PartitionedCall", partitioned("twice")),
        ("BatchFunction", partitioned("twice")),
    ];
    for (op, attributes) in calls {
        let text = format!(
            "{INPUT}{}{}library {{ {TWICE} }}",
            call("call", op, "x", &attributes),
            call("product", "Mul", "call call:1", T)
        );
        let all = graph(&text, &["product", "call:1", "call/add"]).unwrap();
        assert_eq!(run(&all, &[1.0, -3.0]), [[-4.0, -36.0], [-2.0, 6.0], [2.0, -6.0]]);
    }
}

#[test]
fn calls_within_calls_have_names_of_their_own() {
    let outer = r#"
function {
  signature { name: "outer" input_arg { name: "a" type: DT_FLOAT } output_arg { name: "y" type: DT_FLOAT } }
  node_def { name: "add" op: "twice" input: "a" attr { key: "T" value { type: DT_FLOAT } } }
  node_def { name: "again" op: "StatefulPartitionedCall" input: "add:less:0"
             attr { key: "f" value { func { name: "twice" attr { key: "T" value { type: DT_FLOAT } } } } }
             attr { key: "Tout" value { list { type: DT_FLOAT type: DT_FLOAT } } } }
  node_def { name: "sum" op: "Sub" input: "again:output:1" input: "add:sum:0" attr { key: "T" value { type: DT_FLOAT } } }
  ret { key: "y" value: "sum:z:0" }
}
"#;
    let text = format!("{INPUT}{}library {{ {TWICE} {outer} }}", call("f", "outer", "x", ""));
    // 2x is sum, -2x less; of that, -(2 * -2x) - 2x.
    assert_eq!(run(&graph(&text, &["f"]).unwrap(), &[1.0, 5.0]), [[2.0, 10.0]]);
    let names = graph(&text, &["f/add/neg", "f/again/add"]).unwrap();
    assert_eq!(run(&names, &[1.0]), [[-2.0], [-4.0]]);
}

#[test]
fn lists_of_tensors_go_in_and_out() {
    let function = r#"
function {
  signature { name: "lists"
    input_arg { name: "all" type: DT_FLOAT number_attr: "N" } input_arg { name: "last" type: DT_FLOAT }
    output_arg { name: "parts" type: DT_FLOAT number_attr: "N" } output_arg { name: "sum" type: DT_FLOAT }
    attr { name: "N" type: "int" } }
  node_def { name: "axis" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
             attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 0 } } } }
  node_def { name: "split" op: "Split" input: "axis:output:0" input: "last" attr { key: "T" value { type: DT_FLOAT } }
             attr { key: "num_split" value { i: 2 } } }
  node_def { name: "add" op: "AddV2" input: "all:0" input: "all:1" attr { key: "T" value { type: DT_FLOAT } } }
  ret { key: "parts" value: "split:output:0" } ret { key: "sum" value: "add:z:0" }
}
"#;
    let n = "attr { key: \"N\" value { i: 2 } }";
    let text = format!(
        "{INPUT}{}{}library {{ {function} }}",
        call("minus", "Neg", "x", T),
        call("f", "lists", "x minus x", n)
    );
    let all = graph(&text, &["f", "f:1", "f:2"]).unwrap();
    assert_eq!(run(&all, &[1.0, 2.0, 3.0, 4.0]), [vec![1.0, 2.0], vec![3.0, 4.0], vec![0.0; 4]]);
}

#[test]
fn a_name_that_is_taken_is_given_a_number() {
    let text = format!(
        "{INPUT}{}{}library {{ {TWICE} }}",
        call("call", "twice", "x", T),
        call("call/add", "Neg", "call", T)
    );
    assert_eq!(run(&graph(&text, &["call/add", "call_1/add"]).unwrap(), &[1.5]), [[-3.0], [3.0]]);
}

#[test]
fn effects_of_a_body_are_kept() {
    let function = r#"
function {
  signature { name: "checked" input_arg { name: "a" type: DT_FLOAT } output_arg { name: "y" type: DT_FLOAT } control_output: "check" }
  node_def { name: "is" op: "Const" attr { key: "dtype" value { type: DT_BOOL } }
             attr { key: "value" value { tensor { dtype: DT_BOOL tensor_shape { } bool_val: false } } } }
  node_def { name: "check" op: "Assert" input: "is:output:0" input: "a" attr { key: "T" value { list { type: DT_FLOAT } } } }
  node_def { name: "neg" op: "Neg" input: "a" attr { key: "T" value { type: DT_FLOAT } } }
  ret { key: "y" value: "neg:y:0" } control_ret { key: "check" value: "check" }
}
"#;
    let text = format!("{INPUT}{}library {{ {function} }}", call("f", "checked", "x", ""));
    let all = graph(&text, &["f"]).unwrap();
    assert!(all.to_string().contains("f/check"), "{all}");
}

#[test]
fn what_cannot_be_called_is_an_error_with_its_name() {
    let error = |text: String, fetch: &str| graph(&text, &[fetch]).unwrap_err().to_string();
    let missing = error(format!("{INPUT}{}", call("f", "PartitionedCall", "x", &partitioned("gone"))), "f");
    assert!(missing.contains("'gone'") && missing.contains("'f'"), "{missing}");
    let itself = r#"
function {
  signature { name: "loop" input_arg { name: "a" type: DT_FLOAT } output_arg { name: "y" type: DT_FLOAT } }
  node_def { name: "next" op: "loop" input: "a" }
  ret { key: "y" value: "next:y:0" }
}
"#;
    let endless = error(format!("{INPUT}{}library {{ {itself} }}", call("f", "loop", "x", "")), "f");
    assert!(endless.contains("'loop'") && endless.contains("f/next"), "{endless}");
    let text = format!(
        "{INPUT}{}library {{ {} }}",
        call("f", "twice", "x", T),
        TWICE.replace("add:z:0\" }", "ad:z:0\" }")
    );
    let similar = error(text, "f");
    assert!(similar.contains("function 'twice'") && similar.contains("add"), "{similar}");
    // What is not needed is not looked at.
    let text = format!(
        "{INPUT}{}{}",
        call("f", "PartitionedCall", "x", &partitioned("gone")),
        call("y", "Neg", "x", T)
    );
    assert_eq!(run(&graph(&text, &["y"]).unwrap(), &[1.0]), [[-1.0]]);
}
