//! Two runners of one model at once: each computes what it would alone, and the weights are in memory once.

use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value as Json;
use tightfit::{DType, Feed, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, TensorView};

const ROUNDS: usize = 20;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models").join(name)
}

/// The shapes that a golden model is fed, by name.
fn shapes(folder: &Path) -> Vec<(String, Shape)> {
    let manifest = std::fs::read(folder.join("ref_tf/manifest.json")).unwrap();
    let manifest: Json = serde_json::from_slice(&manifest).unwrap();
    let input = |input: &Json| {
        let dims = input["shape"].as_array().unwrap().iter();
        let dims: Vec<usize> = dims.map(|d| d.as_u64().unwrap() as usize).collect();
        (input["name"].as_str().unwrap().to_string(), Shape::new(&dims).unwrap())
    };
    manifest["in"].as_array().unwrap().iter().map(input).collect()
}

/// Every output for inputs that depend on `seed`.
fn run(runner: &mut Runner, seed: usize) -> Vec<Vec<u8>> {
    let plan = runner.context().plan();
    let inputs = plan.inputs.iter().map(|(_, slot)| {
        let info = plan.slots[*slot].info;
        assert_eq!(info.dtype, DType::F32);
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0;
        (info.shape, (0..info.shape.elements()).map(value).collect::<Vec<f32>>())
    });
    let inputs: Vec<_> = inputs.collect();
    let feeds: Vec<Feed<'_>> = inputs
        .iter()
        .map(|(shape, values)| Feed::Tensor(TensorView::from_slice(*shape, values).unwrap()))
        .collect();
    let outputs = runner.run(&feeds).unwrap();
    (0..outputs.len()).map(|i| outputs.tensor(i).unwrap().bytes().to_vec()).collect()
}

/// Loads at `memory_bytes`, and runs the model and a clone at once. Returns the bytes of the weights in memory.
fn check(model: &Model, options: &FitOptions) -> usize {
    let fit = tightfit::fit::fit(model, options).unwrap();
    let plan = &fit.plan;
    let weights_bytes = plan.weights_bytes;
    let own_bytes = (plan.arena_bytes + plan.window_bytes() + plan.string_bytes) as u64;
    let loading_bytes = fit.lines.total_bytes() - fit.lines.runtime_bytes;
    // As much as loading takes, and what one more run takes: a second copy of the weights has no room where they are
    // larger than that.
    let budget = MemoryBudget::new(loading_bytes + own_bytes);
    let pool = tightfit::ThreadPool::new(options.threads).unwrap();
    let mut first = Runner::with_fit(model, fit, pool.into(), options, &budget).unwrap();
    let before = budget.used_bytes();
    let mut second = first.try_clone().unwrap();
    assert_eq!(budget.used_bytes() - before, own_bytes, "a clone takes only what a run writes");
    let expected: Vec<_> = (0..ROUNDS).map(|seed| run(&mut first, seed)).collect();
    thread::scope(|scope| {
        for (runner, step) in [(&mut first, 1), (&mut second, 7)] {
            let expected = &expected;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let seed = round * step % ROUNDS;
                    assert!(run(runner, seed) == expected[seed], "seed {seed}");
                }
            });
        }
    });
    weights_bytes
}

#[test]
fn two_runners_share_the_weights_and_compute_what_each_would_alone() {
    for name in ["bn_after_conv_bias", "bn_after_depthwise", "act_gelu_erf", "bn_after_dense"] {
        let path = folder(name).join("model.pb");
        let model = Model::open(&path, &OpenOptions::default(), &MemoryBudget::new(64 << 20)).unwrap();
        let shapes = shapes(&folder(name)).into_iter().collect();
        let ample =
            FitOptions { batch: 1, threads: 2, memory_bytes: 1 << 30, shapes, ..FitOptions::default() };
        let resident = check(&model, &ample);
        let minimum_bytes = tightfit::fit::fit(&model, &ample).unwrap().minimum_bytes;
        let streamed = check(&model, &FitOptions { memory_bytes: minimum_bytes, ..ample });
        assert!(resident > 0 && streamed <= resident, "{name}: {resident} and {streamed} bytes");
    }
}
