//! Contexts of one loaded model: what they share is there once, and what each computes is its own.

use std::sync::{Arc, LazyLock};
use std::thread;

use tightfit_core::{DType, MemoryBudget, Shape, StopFlag, TensorView};
use tightfit_kernels::ThreadPool;

use super::build::{fetch, input, operator};
use crate::GraphError;
use crate::exec::{Context, Feed, Loaded};
use crate::ir::{Constant, Graph};
use crate::plan::{Plan, PlanOptions, WeightMode};
use crate::testing;

const WIDTH: usize = 1024;
static OPTIONS: LazyLock<PlanOptions> = LazyLock::new(|| PlanOptions::new(2, WeightMode::Resident));

/// `rows` rows times a matrix that has 2 on its diagonal.
fn doubled(rows: usize) -> Graph {
    let mut graph = Graph::new("test", &MemoryBudget::new(64 << 20));
    let x = input(&mut graph, "x", DType::F32, &[rows, WIDTH]);
    let weight: Vec<f32> = (0..WIDTH * WIDTH).map(|i| if i % (WIDTH + 1) == 0 { 2.0 } else { 0.0 }).collect();
    let shape = Shape::new(&[WIDTH, WIDTH]).unwrap();
    let bytes = bytemuck::cast_slice::<f32, u8>(&weight);
    let weight = graph.add_constant("weight", Constant::in_memory(DType::F32, shape, bytes));
    let product = operator(&mut graph, "MatMul", &[("T", testing::dtype(DType::F32))], &[x, weight]);
    fetch(&mut graph, "product", product);
    graph
}

fn run(context: &mut Context, rows: usize, value: f32) -> Result<Vec<f32>, GraphError> {
    let fed = vec![value; rows * WIDTH];
    let shape = Shape::new(&[rows, WIDTH]).unwrap();
    context.run(&[Feed::Tensor(TensorView::from_slice(shape, &fed).unwrap())])?;
    Ok(context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn contexts_run_at_once_with_the_weights_once_in_memory() {
    let plan = Plan::new(&doubled(4), &OPTIONS).unwrap();
    let own_bytes = (plan.arena_bytes + plan.string_bytes) as u64;
    let weights_bytes = plan.weights_bytes as u64;
    // A second copy of the weights would not fit.
    let budget = MemoryBudget::new(2 * weights_bytes - 1 + 3 * own_bytes);
    let pool = Arc::new(ThreadPool::new(2).unwrap());
    let loaded = Arc::new(Loaded::new(plan, "test", pool, &budget).unwrap());
    let mut contexts: Vec<Context> =
        (0..3).map(|_| Context::new(loaded.clone(), &budget, 0).unwrap()).collect();
    assert_eq!(budget.used_bytes(), weights_bytes + 3 * own_bytes);
    thread::scope(|scope| {
        for (number, context) in contexts.iter_mut().enumerate() {
            scope.spawn(move || {
                for round in 0..50 {
                    let value = (1000 * number + round) as f32;
                    assert_eq!(run(context, 4, value).unwrap(), vec![2.0 * value; 4 * WIDTH]);
                }
            });
        }
    });
    assert_eq!(budget.used_bytes(), weights_bytes + 3 * own_bytes);
}

#[test]
fn one_context_is_stopped_or_planned_anew_and_the_others_go_on() {
    let budget = MemoryBudget::new(16 << 20);
    let graph = doubled(4);
    let plan = Plan::new(&graph, &OPTIONS).unwrap();
    let pool = Arc::new(ThreadPool::new(2).unwrap());
    let loaded = Arc::new(Loaded::new(plan, "test", pool, &budget).unwrap());
    let [mut first, mut second] = [(); 2].map(|()| Context::new(loaded.clone(), &budget, 0).unwrap());
    drop(loaded);
    let stop = StopFlag::new();
    first.stop_at(stop.clone());
    stop.set();
    assert!(matches!(run(&mut first, 4, 1.0), Err(GraphError::Stopped)));
    assert_eq!(run(&mut second, 4, 1.0).unwrap(), vec![2.0; 4 * WIDTH]);
    second.replan(Plan::new(&doubled(9), &OPTIONS).unwrap()).unwrap();
    assert_eq!(run(&mut second, 9, 3.0).unwrap(), vec![6.0; 9 * WIDTH]);
    first.stop_at(StopFlag::new());
    assert_eq!(run(&mut first, 4, 5.0).unwrap(), vec![10.0; 4 * WIDTH]);
    drop(first);
    assert_eq!(run(&mut second, 9, 4.0).unwrap(), vec![8.0; 9 * WIDTH]);
}
