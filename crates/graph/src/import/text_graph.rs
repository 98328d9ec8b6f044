//! Graphs of tests, as text.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use tightfit_core::MemoryBudget;
use tightfit_format::{GraphDef, SourceFile};

use super::{ImportOptions, import};
use crate::error::GraphError;
use crate::ir::Graph;

pub fn budget() -> MemoryBudget {
    MemoryBudget::new(64 << 20)
}

/// The graph of a text, as a file is read.
pub fn graph(text: &str, fetches: &[&str]) -> Result<Graph, GraphError> {
    graph_with(text, fetches, ImportOptions::default())
}

/// The same with other options.
pub fn graph_with(text: &str, fetches: &[&str], options: ImportOptions) -> Result<Graph, GraphError> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = std::env::temp_dir().join(format!("graph-{}-{number}.pbtxt", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let source = SourceFile::open(&path).unwrap();
    let def = GraphDef::read_text(source.clone(), &budget()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let fetches = fetches.iter().map(|name| name.to_string()).collect();
    import(&source, def, &ImportOptions { fetches, ..options }, &budget())
}

/// A node: its name, operator, inputs and attributes.
pub fn node(name: &str, op: &str, inputs: &str, attributes: &str) -> String {
    let inputs: String = inputs.split_whitespace().map(|input| format!("input: \"{input}\" ")).collect();
    format!("name: \"{name}\" op: \"{op}\" {inputs} {attributes}")
}

const DTYPE: &str = "attr { key: \"dtype\" value { type: DT_FLOAT } }";
const T: &str = "attr { key: \"T\" value { type: DT_FLOAT } }";

/// A float32 shape.
fn shape(dims: &[usize]) -> String {
    dims.iter().map(|size| format!("dim {{ size: {size} }} ")).collect()
}

/// A float32 input.
pub fn placeholder(name: &str, dims: &[usize]) -> String {
    let shape = format!("{DTYPE} attr {{ key: \"shape\" value {{ shape {{ {} }} }} }}", shape(dims));
    format!("node {{ {} }}", node(name, "Placeholder", "", &shape))
}

/// A float32 constant whose elements are all different, and other ones for a name of another length.
pub fn filter(name: &str, dims: &[usize]) -> String {
    let values: String = (0..dims.iter().product::<usize>())
        .map(|i| format!("float_val: {} ", (i as f32 * 0.7 + name.len() as f32).sin()))
        .collect();
    let tensor = format!("tensor {{ dtype: DT_FLOAT tensor_shape {{ {} }} {values} }}", shape(dims));
    let value = format!("attr {{ key: \"value\" value {{ {tensor} }} }}");
    format!("node {{ {} }}", node(name, "Const", "", &format!("{DTYPE} {value}")))
}

/// An int32 vector as a constant.
pub fn ints(name: &str, values: &[i32]) -> String {
    let list: String = values.iter().map(|value| format!("int_val: {value} ")).collect();
    let size = format!("tensor_shape {{ {} }}", shape(&[values.len()]));
    let value = format!("attr {{ key: \"value\" value {{ tensor {{ dtype: DT_INT32 {size} {list} }} }} }}");
    let dtype = "attr { key: \"dtype\" value { type: DT_INT32 } }";
    format!("node {{ {} }}", node(name, "Const", "", &format!("{dtype} {value}")))
}

/// A convolution of float32 images.
pub fn window(name: &str, op: &str, inputs: &str, stride: usize, padding: &str) -> String {
    let attributes = format!(
        "{T} attr {{ key: \"strides\" value {{ list {{ i: 1 i: {stride} i: {stride} i: 1 }} }} }} \
         attr {{ key: \"padding\" value {{ s: \"{padding}\" }} }}"
    );
    format!("node {{ {} }}", node(name, op, inputs, &attributes))
}

/// A node of float32 without other attributes.
pub fn plain(name: &str, op: &str, inputs: &str) -> String {
    format!("node {{ {} }}", node(name, op, inputs, T))
}

/// A context of the graph as passes make it.
pub fn context(mut graph: Graph, batch: usize) -> crate::exec::Context {
    use crate::plan::{Plan, PlanOptions, WeightMode};
    crate::passes::run(&mut graph).unwrap();
    crate::verify(&graph).unwrap();
    let binding = crate::Binding { batch: Some(batch), ..Default::default() };
    let mut bound = crate::bind(&graph, &binding).unwrap();
    crate::passes::run_bound(&mut bound, 1).unwrap();
    let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident)).unwrap();
    let pool = std::sync::Arc::new(tightfit_kernels::ThreadPool::new(1).unwrap());
    crate::exec::Context::load(plan, "test", pool, &budget(), 0).unwrap()
}

/// Counts to three, and negates what that makes.
pub const COUNT: &str = r#"
node { name: "zero" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
       attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 0 } } } }
node { name: "loop" op: "While" input: "zero"
       attr { key: "cond" value { func { name: "go_on" } } } attr { key: "body" value { func { name: "turn" } } }
       attr { key: "T" value { list { type: DT_INT32 } } } }
node { name: "neg" op: "Neg" input: "loop" attr { key: "T" value { type: DT_INT32 } } }
library {
function { signature { name: "go_on" input_arg { name: "i" type: DT_INT32 } output_arg { name: "b" type: DT_BOOL } }
  node_def { name: "most" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
             attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 3 } } } }
  node_def { name: "less" op: "Less" input: "i" input: "most:output:0" attr { key: "T" value { type: DT_INT32 } } }
  ret { key: "b" value: "less:z:0" } }
function { signature { name: "turn" input_arg { name: "i" type: DT_INT32 } output_arg { name: "j" type: DT_INT32 } }
  node_def { name: "one" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
             attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 1 } } } }
  node_def { name: "add" op: "AddV2" input: "i" input: "one:output:0" attr { key: "T" value { type: DT_INT32 } } }
  ret { key: "j" value: "add:z:0" } }
}
"#;
