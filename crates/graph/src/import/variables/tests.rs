use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tightfit_core::{DType, TensorView};
use tightfit_format::{SourceFile, TensorBundle};
use tightfit_kernels::ThreadPool;

use super::*;
use crate::exec::{Context, Feed};
use crate::import::import;
use crate::infer::{Binding, bind};
use crate::plan::{Plan, PlanOptions, WeightMode};

fn budget() -> MemoryBudget {
    MemoryBudget::new(64 << 20)
}

/// A checkpoint with the one tensor `offset`, float32 [1], which is 0.5.
fn checkpoint() -> Checkpoint {
    let prefix = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/saved_models/saved_text/variables/variables");
    let bundle = Arc::new(TensorBundle::open(&prefix, &budget()).unwrap());
    Checkpoint { bundle, restore_op: String::new() }
}

/// The graph of a text, with the checkpoint or without.
fn graph(
    text: &str,
    fetches: &[&str],
    checkpoint: Option<Checkpoint>,
) -> Result<crate::ir::Graph, GraphError> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("variables-{}-{number}.pbtxt", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let source = SourceFile::open(&path).unwrap();
    let def = GraphDef::read_text(source.clone(), &budget()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let fetches = fetches.iter().map(|name| name.to_string()).collect();
    import(&source, def, &ImportOptions { fetches, checkpoint, ..ImportOptions::default() }, &budget())
}

/// The values of the only fetch, as bytes.
fn run(graph: &crate::ir::Graph) -> (DType, Vec<u8>) {
    let bound = bind(graph, &Binding { batch: Some(1), ..Binding::default() }).unwrap();
    let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident)).unwrap();
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let mut context = Context::load(plan, "test", pool, &budget(), 0).unwrap();
    let feeds: &[Feed<'_>] = &[];
    context.run(feeds).unwrap();
    let output: TensorView<'_> = context.output(0).unwrap();
    (output.dtype(), output.bytes().to_vec())
}

fn floats(values: &[f32]) -> (DType, Vec<u8>) {
    (DType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

const HANDLE: &str = r#"
node { name: "handle" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: 1 } } } } attr { key: "shared_name" value { s: "offset" } } }
node { name: "passed" op: "Identity" input: "handle" attr { key: "T" value { type: DT_RESOURCE } } }
node { name: "ids" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
       attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { dim { size: 3 } } int_val: 0 } } } }
node { name: "read" op: "ReadVariableOp" input: "passed" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "gather" op: "ResourceGather" input: "handle" input: "ids" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "Tindices" value { type: DT_INT32 } } attr { key: "batch_dims" value { i: 0 } } }
node { name: "shape" op: "VariableShape" input: "handle" attr { key: "out_type" value { type: DT_INT32 } } }
node { name: "there" op: "VarIsInitializedOp" input: "passed" }
node { name: "call" op: "twice" input: "handle" }
node { name: "plain" op: "VariableV2" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: 1 } } } } attr { key: "shared_name" value { s: "offset" } } }
node { name: "sum" op: "AddV2" input: "plain" input: "read" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "more" op: "AssignAddVariableOp" input: "handle" input: "read" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "after" op: "ReadVariableOp" input: "handle" input: "^more" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "other" op: "ReadVariableOp" input: "unknown" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "unknown" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value { shape { } } } }
library { function {
  signature { name: "twice" input_arg { name: "v" type: DT_RESOURCE } output_arg { name: "y" type: DT_FLOAT } }
  node_def { name: "read" op: "ReadVariableOp" input: "v" attr { key: "dtype" value { type: DT_FLOAT } } }
  node_def { name: "add" op: "AddV2" input: "read:value:0" input: "read:value:0" attr { key: "T" value { type: DT_FLOAT } } }
  ret { key: "y" value: "add:z:0" }
} }
"#;

#[test]
fn whatever_reads_a_variable_has_its_value() {
    let value = |fetch| run(&graph(HANDLE, &[fetch], Some(checkpoint())).unwrap());
    assert_eq!(value("read"), floats(&[0.5]));
    assert_eq!(value("gather"), floats(&[0.5, 0.5, 0.5]));
    assert_eq!(value("shape"), (DType::I32, vec![1, 0, 0, 0]));
    assert_eq!(value("there"), (DType::Bool, vec![1]));
    assert_eq!(value("call"), floats(&[1.0]));
    assert_eq!(value("sum"), floats(&[1.0]));
}

#[test]
fn a_variable_that_is_assigned_is_no_constant() {
    let assigned = graph(HANDLE, &["after"], Some(checkpoint())).unwrap();
    let [state] = &assigned.states[..] else { panic!("{assigned}") };
    let mut initial = [0; 4];
    state.initial.as_ref().unwrap().read_at(0, &mut initial).unwrap();
    assert_eq!(f32::from_le_bytes(initial), 0.5);
    assert_ne!(state.before, state.after);
    // What assigns it is not fetched here.
    assert!(graph(HANDLE, &["read"], Some(checkpoint())).unwrap().states.is_empty());
}

#[test]
fn values_that_are_missing_or_do_not_fit_are_errors() {
    let error =
        |text: &str, fetch: &str, checkpoint| graph(text, &[fetch], checkpoint).unwrap_err().to_string();
    let frozen = error(HANDLE, "read", None);
    assert!(frozen.contains("not frozen") && frozen.contains("'handle'"), "{frozen}");
    let unknown = error(HANDLE, "other", Some(checkpoint()));
    assert!(unknown.contains("not frozen") && unknown.contains("'unknown'"), "{unknown}");
    let shape = error(&HANDLE.replacen("size: 1", "size: 2", 1), "read", Some(checkpoint()));
    assert!(shape.contains("the checkpoint has [1]") && shape.contains("handle"), "{shape}");
    let dtype = error(&HANDLE.replacen("DT_FLOAT", "DT_DOUBLE", 1), "read", Some(checkpoint()));
    assert!(dtype.contains("the checkpoint has DT_FLOAT"), "{dtype}");
}
