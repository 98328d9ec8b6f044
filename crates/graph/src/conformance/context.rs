//! A context run on plain values.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, TensorView};
use tightfit_kernels::ThreadPool;

use super::call::{Caller, Value};
use crate::exec::{Context, Feed};
use crate::ir::Graph;
use crate::plan::{Plan, PlanOptions, WeightMode};

/// The outputs of a context, twice over: the second run finds the memory of the first.
///
/// # Errors
/// What it finds, and where the two runs differ.
pub fn run(
    graph: &Graph,
    fed: &HashMap<String, Value>,
    weights: WeightMode,
    threads: usize,
    caller: &Caller,
) -> Result<Vec<Value>, String> {
    run_with(graph, fed, &PlanOptions::new(threads, weights), caller)
}

/// The same for any options.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    graph: &Graph,
    fed: &HashMap<String, Value>,
    options: &PlanOptions,
    caller: &Caller,
) -> Result<Vec<Value>, String> {
    let plan = Plan::new(graph, options).map_err(|e| e.to_string())?;
    if plan.arena_bytes < plan.arena_lower_bound_bytes {
        return Err("the arena is smaller than its lower bound".to_string());
    }
    run_plan(plan, fed, caller)
}

/// The same for a plan that was made before.
///
/// # Errors
/// As [`run`].
pub fn run_plan(plan: Plan, fed: &HashMap<String, Value>, caller: &Caller) -> Result<Vec<Value>, String> {
    let threads = plan.options.threads;
    let texts: HashMap<&String, Vec<Box<[u8]>>> =
        fed.iter().map(|(name, v)| (name, texts_of(v, caller))).collect();
    let string_bytes = texts.values().flatten().map(|t| t.len()).sum();
    let pool = Arc::new(ThreadPool::with_isa(threads, plan.options.isa).unwrap());
    let budget = MemoryBudget::new(plan.total_bytes() + (16 << 20));
    let mut context = Context::load(plan, "test", pool, &budget, string_bytes).map_err(|e| e.to_string())?;
    let names: Vec<String> = context.plan().inputs.iter().map(|(name, _)| name.clone()).collect();
    let aligned: Vec<Vec<u128>> = names.iter().map(|name| aligned(&fed[name].bytes)).collect();
    let feeds = names.iter().zip(&aligned).map(|(name, memory)| {
        let value = &fed[name];
        match value.dtype {
            DType::String => Feed::Strings(value.shape, &texts[name]),
            dtype => {
                let bytes = &bytemuck::cast_slice(memory)[..value.bytes.len()];
                Feed::Tensor(TensorView::new(dtype, value.shape, bytes).unwrap())
            }
        }
    });
    let feeds: Vec<Feed<'_>> = feeds.collect();
    let mut runs = Vec::new();
    for _ in 0..2 {
        // Random numbers begin anew.
        context.reset().map_err(|e| e.to_string())?;
        context.run(&feeds).map_err(|e| e.to_string())?;
        let outputs = (0..context.plan().outputs.len()).map(|i| {
            let view = context.output(i).expect("an output is in memory");
            if view.dtype() == DType::String {
                let references = view.as_slice().unwrap();
                let texts: Vec<&[u8]> = references.iter().map(|r| context.string(*r)).collect();
                return caller.strings(*view.shape(), &texts);
            }
            Value { dtype: view.dtype(), shape: *view.shape(), bytes: view.bytes().to_vec() }
        });
        runs.push(outputs.collect::<Vec<Value>>());
    }
    let second = runs.pop().unwrap();
    same_outputs("a second run", &runs[0], &second, caller)?;
    Ok(second)
}

/// Memory at an address that suits every element type.
fn aligned(bytes: &[u8]) -> Vec<u128> {
    let mut memory = vec![0u128; bytes.len().div_ceil(16)];
    bytemuck::cast_slice_mut(&mut memory)[..bytes.len()].copy_from_slice(bytes);
    memory
}

fn texts_of(value: &Value, caller: &Caller) -> Vec<Box<[u8]>> {
    match value.dtype {
        DType::String => caller.texts(value).into_iter().map(Into::into).collect(),
        _ => vec![],
    }
}

pub fn same_outputs(how: &str, a: &[Value], b: &[Value], caller: &Caller) -> Result<(), String> {
    match a.iter().zip(b).position(|(a, b)| !caller.same(a, b)) {
        Some(i) => Err(format!("{how} differs: output {i} is {:?}, not {:?}", b[i], a[i])),
        None => Ok(()),
    }
}
