//! An Assert whose condition is known: one that holds is gone, one that does not ends the run and names its node.

use std::path::PathBuf;
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Shape, TensorView};
use tightfit_format::{GraphDef, SourceFile};
use tightfit_graph::exec::{Context, Feed};
use tightfit_graph::import::{ImportOptions, import};
use tightfit_graph::infer::{Binding, bind};
use tightfit_graph::ir::Graph;
use tightfit_graph::passes;
use tightfit_graph::plan::{Plan, PlanOptions, WeightMode};
use tightfit_kernels::ThreadPool;

/// `-x`, after an Assert.
const NEGATIVE: &str = r#"
    node { name: "out" op: "Neg" input: "x" input: "^check/Assert"
           attr { key: "T" value { type: DT_FLOAT } } }
"#;

/// A product with an activation, which become one node, the product after an Assert.
const PRODUCT: &str = r#"
    node { name: "rows" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
           attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { dim { size: 2 } } int_val: 1 int_val: 2 } } } }
    node { name: "row" op: "Reshape" input: "x" input: "rows" attr { key: "T" value { type: DT_FLOAT } }
           attr { key: "Tshape" value { type: DT_INT32 } } }
    node { name: "ones" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
           attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } dim { size: 2 } } float_val: 1 } } } }
    node { name: "product" op: "MatMul" input: "row" input: "ones" input: "^check/Assert"
           attr { key: "T" value { type: DT_FLOAT } } }
    node { name: "out" op: "Relu" input: "product" attr { key: "T" value { type: DT_FLOAT } } }
"#;

/// `-x`, after an Assert of what `condition` computes.
fn graph(name: &str, condition: &str, budget: &MemoryBudget) -> Graph {
    graph_of(name, condition, NEGATIVE, budget)
}

/// The same with what is after the Assert.
fn graph_of(name: &str, condition: &str, behind: &str, budget: &MemoryBudget) -> Graph {
    let text = format!(
        r#"
        versions {{ producer: 1882 }}
        node {{ name: "x" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }}
                attr {{ key: "shape" value {{ shape {{ dim {{ size: 2 }} }} }} }} }}
        node {{ name: "a" op: "Const" attr {{ key: "dtype" value {{ type: DT_INT32 }} }}
                attr {{ key: "value" value {{ tensor {{ dtype: DT_INT32 tensor_shape {{ }} int_val: 3 }} }} }} }}
        node {{ name: "b" op: "Const" attr {{ key: "dtype" value {{ type: DT_INT32 }} }}
                attr {{ key: "value" value {{ tensor {{ dtype: DT_INT32 tensor_shape {{ }} int_val: 4 }} }} }} }}
        node {{ name: "open" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_BOOL }} }}
                attr {{ key: "shape" value {{ shape {{ }} }} }} }}
        {condition}
        node {{ name: "check/Assert" op: "Assert" input: "condition" input: "a"
                attr {{ key: "T" value {{ list {{ type: DT_INT32 }} }} }} }}
        {behind}
        "#
    );
    let path: PathBuf = std::env::temp_dir().join(format!("tightfit-{name}-{}.pbtxt", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let source = SourceFile::open(&path).unwrap();
    let def = GraphDef::read_text(source.clone(), budget).unwrap();
    let options = ImportOptions { fetches: vec!["out".into()], ..ImportOptions::default() };
    let mut graph = import(&source, def, &options, budget).unwrap();
    std::fs::remove_file(path).unwrap();
    passes::run(&mut graph).unwrap();
    graph
}

fn compare(op: &str) -> String {
    format!(
        r#"node {{ name: "condition" op: "{op}" input: "a" input: "b"
                   attr {{ key: "T" value {{ type: DT_INT32 }} }} }}"#
    )
}

/// The steps of the plan, and what a run gives for [1, -2].
fn run(graph: &Graph, budget: &MemoryBudget) -> (usize, Result<Vec<f32>, String>) {
    let bound = bind(graph, &Binding::default()).unwrap();
    let options = PlanOptions::new(1, WeightMode::Resident);
    let plan = Plan::new(&bound, &options).unwrap();
    let steps = plan.steps.len();
    let is_open = plan.inputs.len() > 1;
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let mut context = Context::load(plan, "test", pool, budget, 0).unwrap();
    let x = [1.0f32, -2.0];
    let x = TensorView::new(DType::F32, Shape::new(&[2]).unwrap(), bytemuck::cast_slice(&x)).unwrap();
    let no = TensorView::new(DType::Bool, Shape::SCALAR, &[0]).unwrap();
    let feeds = [Feed::Tensor(x), Feed::Tensor(no)];
    let done = context.run(&feeds[..if is_open { 2 } else { 1 }]);
    let out = done.map(|()| context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec());
    (steps, out.map_err(|error| error.to_string()))
}

#[test]
fn one_that_holds_is_gone_and_one_that_does_not_is_an_error_of_its_node() {
    let budget = MemoryBudget::new(16 << 20);
    let holds = graph("holds", &compare("Less"), &budget);
    assert!(holds.nodes.iter().all(|node| node.op_name() != "Assert"), "{holds}");
    assert_eq!(run(&holds, &budget), (1, Ok(vec![-1.0, 2.0])));

    let fails = graph("fails", &compare("Greater"), &budget);
    assert!(fails.nodes.iter().any(|node| node.op_name() == "Assert"), "{fails}");
    let (steps, error) = run(&fails, &budget);
    let error = error.unwrap_err();
    assert_eq!(steps, 2);
    assert!(error.contains("'check/Assert' (Assert)") && error.contains("assertion failed: [3]"), "{error}");
}

/// A condition that is known but after another check keeps that check.
#[test]
fn one_that_holds_keeps_the_checks_before_it() {
    let condition = r#"
        node { name: "before/Assert" op: "Assert" input: "open" input: "b"
               attr { key: "T" value { list { type: DT_INT32 } } } }
        node { name: "condition" op: "Less" input: "a" input: "b" input: "^before/Assert"
               attr { key: "T" value { type: DT_INT32 } } }"#;
    let budget = MemoryBudget::new(16 << 20);
    let graph = graph("before", condition, &budget);
    let (_, error) = run(&graph, &budget);
    let error = error.unwrap_err();
    assert!(error.contains("'before/Assert' (Assert)") && error.contains("assertion failed: [4]"), "{error}");
}

#[test]
fn one_before_a_product_still_ends_the_run_where_the_product_takes_in_what_is_behind_it() {
    let budget = MemoryBudget::new(16 << 20);
    let holds = graph_of("product", &compare("Less"), PRODUCT, &budget);
    assert_eq!(run(&holds, &budget).1, Ok(vec![0.0, 0.0]));
    let fails = graph_of("no-product", &compare("Greater"), PRODUCT, &budget);
    let (_, done) = run(&fails, &budget);
    assert!(done.unwrap_err().contains("check/Assert"));
}
