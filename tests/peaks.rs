//! Peak bytes of six known models, as golden numbers: a change that raises one shows up in review.
//!
//! `golden/structures` holds the models without their values, see `crates/format/examples/structure.rs`; a model and
//! its structure have the same plan. With `TIGHTFIT_MODELS` set to a folder of `NAME/model.pb` this is checked too.
//! With `TIGHTFIT_WRITE_GOLDEN` set the numbers are written anew. They depend on the width of the processor's vectors,
//! so there is a set for each; on a processor without one the plans are checked but not their sizes.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tightfit::fit::Bound;
use tightfit::plan::{Plan, PlanOptions, WeightMode};
use tightfit::{FitOptions, MemoryBudget, Model, OpenOptions};
use tightfit_kernels::Isa;

const MODELS: [&str; 6] =
    ["bert_base", "efficientnet_b0", "inception_v3", "mobilenet_v2", "resnet50", "vgg16"];
const BATCHES: [usize; 2] = [1, 8];
const THREADS: usize = 2;
/// The smallest window that is ever planned.
const WINDOW_BYTES: usize = 256 << 10;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn plans(path: &Path, batch: usize) -> [Plan; 2] {
    let model = Model::open(path, &OpenOptions::default(), &MemoryBudget::new(u64::MAX)).unwrap();
    let options = FitOptions { batch, threads: THREADS, ..FitOptions::default() };
    let bound = Bound::new(&model, &options).unwrap();
    [WeightMode::Resident, WeightMode::Streamed { window_bytes: WINDOW_BYTES }].map(|weights| {
        let plan = Plan::new(bound.graph(), &PlanOptions::new(THREADS, weights)).unwrap();
        assert!(plan.arena_bytes >= plan.arena_lower_bound_bytes);
        plan
    })
}

fn figures([resident, streamed]: &[Plan; 2]) -> Json {
    json!({
        "weights_bytes": resident.weights_bytes,
        "arena_bytes": resident.arena_bytes,
        "arena_lower_bound_bytes": resident.arena_lower_bound_bytes,
        "streamed_resident_bytes": streamed.weights_bytes,
        "streamed_window_bytes": streamed.window_bytes(),
        "streamed_arena_bytes": streamed.arena_bytes,
    })
}

#[test]
fn the_plans_of_known_models_are_as_large_as_ever() {
    let isa = format!("{:?}", Isa::detect()).to_lowercase();
    let mut found = serde_json::Map::new();
    for name in MODELS {
        let mut by_batch = serde_json::Map::new();
        for batch in BATCHES {
            let plans = plans(&golden().join(format!("structures/{name}.pb")), batch);
            let slack = plans[0].arena_bytes as f64 / plans[0].arena_lower_bound_bytes as f64;
            assert!(slack < 1.05, "{name}, batch {batch}: the arena is {slack:.3} of its lower bound");
            by_batch.insert(format!("batch_{batch}"), figures(&plans));
        }
        found.insert(name.to_string(), by_batch.into());
    }
    let path = golden().join("peaks.json");
    let read = || serde_json::from_str::<Json>(&std::fs::read_to_string(&path).unwrap()).unwrap();
    if std::env::var_os("TIGHTFIT_WRITE_GOLDEN").is_some() {
        let mut all = if path.exists() { read() } else { json!({}) };
        all[&isa] = found.into();
        std::fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
        return;
    }
    let all = read();
    let Some(golden) = all.get(&isa) else {
        println!("there are no golden numbers for {isa}");
        return;
    };
    for (name, by_batch) in &found {
        assert_eq!(&golden[name], by_batch, "{name}");
    }
}

#[test]
fn a_model_and_its_structure_have_the_same_plan() {
    let Some(models) = std::env::var_os("TIGHTFIT_MODELS") else {
        println!("TIGHTFIT_MODELS is not set");
        return;
    };
    for name in MODELS {
        let model = Path::new(&models).join(name).join("model.pb");
        let of_model = figures(&plans(&model, 1));
        let of_structure = figures(&plans(&golden().join(format!("structures/{name}.pb")), 1));
        assert_eq!(of_model, of_structure, "{name}");
    }
}

/// The constants in memory, by the value of the graph that they are.
fn kept(plan: &Plan) -> Vec<String> {
    plan.weights.iter().map(|weight| format!("{:?} {:?}", weight.value, weight.layout)).collect()
}

#[test]
fn what_is_left_keeps_weights_of_streamed_models() {
    // What is lost to a window, and to weights that are larger than what is left of the memory.
    const LOST_BYTES: u64 = 18 << 20;
    for name in ["bert_base", "resnet50"] {
        let path = golden().join(format!("structures/{name}.pb"));
        let model = Model::open(&path, &OpenOptions::default(), &MemoryBudget::new(u64::MAX)).unwrap();
        let options = |memory_bytes| FitOptions { threads: THREADS, memory_bytes, ..FitOptions::default() };
        let fit = |options: &FitOptions| Bound::new(&model, options).unwrap().fit().unwrap();
        let resident = fit(&options(u64::MAX));
        let (least, most) = (resident.minimum_bytes, resident.lines.total_bytes());
        assert_eq!(resident.plan.streaming_cost(), 0, "{name}");
        let all_streamed = fit(&options(least));
        assert_eq!(all_streamed.weights.kept_bytes(), 0, "{name}");
        let mut cost = u64::MAX;
        for eighth in 0..8 {
            let memory_bytes = least + (most - least) / 8 * eighth;
            let now = fit(&options(memory_bytes));
            assert!(now.lines.total_bytes() <= memory_bytes, "{name} in {memory_bytes}");
            assert!(now.plan.streaming_cost() <= cost, "{name} in {memory_bytes}");
            cost = now.plan.streaming_cost();
            let all = all_streamed.plan.streaming_cost();
            let wanted = all.min(memory_bytes - least);
            assert!(all - cost + LOST_BYTES >= wanted, "{name} in {memory_bytes}: {cost} of {all}");
            // Another batch finds the same weights in memory.
            let larger = FitOptions { batch: 3, ..options(memory_bytes) };
            let larger = Bound::new(&model, &larger).unwrap().with(now.weights, now.bounds).unwrap();
            assert_eq!(kept(&larger.plan), kept(&now.plan), "{name} in {memory_bytes}");
            // Where memory is for another batch, no more than what has to be is in it.
            let unfilled = fit(&FitOptions { fills_rest: false, ..options(memory_bytes) });
            assert_eq!(unfilled.plan.weights_bytes, all_streamed.plan.weights_bytes, "{name}");
        }
    }
}
