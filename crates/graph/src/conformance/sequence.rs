//! Random numbers that a context draws: others in each run, the same ones after a reset.

use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Shape, TensorView};
use tightfit_format::AttrValue;
use tightfit_kernels::ThreadPool;

use super::build::{fetch, input, operator};
use crate::exec::{Context, Feed};
use crate::ir::Graph;
use crate::plan::{Plan, PlanOptions, WeightMode};
use crate::testing::int;

fn plan(seeds: &[(&str, AttrValue)]) -> Plan {
    let mut graph = Graph::new("test", &MemoryBudget::new(u64::MAX));
    let x = input(&mut graph, "x", DType::F32, &[64]);
    let shuffled = operator(&mut graph, "RandomShuffle", seeds, &[x]);
    fetch(&mut graph, "shuffled", shuffled);
    Plan::new(&graph, &PlanOptions::new(1, WeightMode::Resident)).unwrap()
}

fn context(seeds: &[(&str, AttrValue)]) -> Context {
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    Context::load(plan(seeds), "test", pool, &MemoryBudget::new(64 << 20), 0).unwrap()
}

/// The order of one run.
fn run(context: &mut Context) -> Vec<f32> {
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let view = TensorView::from_slice(Shape::new(&[64]).unwrap(), &x).unwrap();
    context.run(&[Feed::Tensor(view)]).unwrap();
    let mut order = context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec();
    let found = order.clone();
    order.sort_by(f32::total_cmp);
    assert_eq!(order, x);
    found
}

#[test]
fn a_context_goes_on_in_its_sequence() {
    let seeds = [("seed", int(1)), ("seed2", int(2))];
    let mut one = context(&seeds);
    let runs: Vec<_> = (0..4).map(|_| run(&mut one)).collect();
    assert!(runs.windows(2).all(|pair| pair[0] != pair[1]));
    let mut other = context(&seeds);
    assert_eq!([run(&mut other), run(&mut other)], runs[..2]);
    // Another plan of the model goes on where the one before has come to.
    other.replan(plan(&seeds)).unwrap();
    assert_eq!(run(&mut other), runs[2]);
    other.reset().unwrap();
    assert_eq!(run(&mut other), runs[0]);
}

#[test]
fn without_seeds_each_context_has_a_sequence_of_its_own() {
    let (mut one, mut other) = (context(&[]), context(&[]));
    let first = run(&mut one);
    assert_ne!(first, run(&mut other));
    one.reset().unwrap();
    assert_ne!(first, run(&mut one));
}
