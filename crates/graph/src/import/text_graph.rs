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

/// A context of the graph as passes make it.
pub fn context(mut graph: Graph, batch: usize) -> crate::exec::Context {
    use crate::plan::{Plan, PlanOptions, WeightMode};
    crate::passes::run(&mut graph).unwrap();
    crate::verify(&graph).unwrap();
    let binding = crate::Binding { batch: Some(batch), ..Default::default() };
    let mut bound = crate::bind(&graph, &binding).unwrap();
    crate::passes::run_bound(&mut bound).unwrap();
    let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident)).unwrap();
    let pool = std::sync::Arc::new(tightfit_kernels::ThreadPool::new(1).unwrap());
    crate::exec::Context::load(plan, "test", pool, &budget(), 0).unwrap()
}
