//! The budget against the allocator: what is allocated while a model is opened, planned, loaded and run never passes
//! the plan's lines, and a batch allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use serde_json::Value as Json;
use tightfit::{Fit, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, Tensor};

/// Counts what goes through the heap. Buffers of 64 KiB and more are mapped from the system and counted by the budget.
struct Counting;

static HEAP_BYTES: AtomicI64 = AtomicI64::new(0);
static HEAP_PEAK_BYTES: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count(bytes: i64) {
    let now = HEAP_BYTES.fetch_add(bytes, Relaxed) + bytes;
    HEAP_PEAK_BYTES.fetch_max(now, Relaxed);
    ALLOCATIONS.fetch_add((bytes > 0) as u64, Relaxed);
}

// SAFETY: every call is the system allocator's own; the counters are atomics and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The part of the runtime line that is no heap: code, the C library, the main thread's stack.
const CODE_BYTES: u64 = 4 << 20;
/// Batches that must allocate nothing.
const RUNS: usize = 3;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// The golden nets, with the shapes they are fed, and two structures of large models at batch 1.
fn models() -> Vec<(PathBuf, FitOptions)> {
    let mut models = Vec::new();
    for entry in std::fs::read_dir(golden().join("models")).unwrap() {
        let folder = entry.unwrap().path();
        let manifest = std::fs::read(folder.join("ref_tf/manifest.json")).unwrap();
        let manifest: Json = serde_json::from_slice(&manifest).unwrap();
        let shapes = manifest["in"].as_array().unwrap().iter().map(|input| {
            let dims = input["shape"].as_array().unwrap().iter();
            let dims: Vec<usize> = dims.map(|d| d.as_u64().unwrap() as usize).collect();
            (input["name"].as_str().unwrap().to_string(), Shape::new(&dims).unwrap())
        });
        let options = FitOptions { batch: 1, shapes: shapes.collect(), ..FitOptions::default() };
        models.push((folder.join("model.pb"), options));
    }
    for name in ["mobilenet_v2", "inception_v3"] {
        let options = FitOptions { batch: 1, ..FitOptions::default() };
        models.push((golden().join(format!("structures/{name}.pb")), options));
    }
    models
}

/// Opens, plans, loads and runs, and holds each against the lines. Returns the plan's minimum.
fn check(path: &Path, options: &FitOptions) -> u64 {
    let what = || format!("{}, {} threads, {} bytes", path.display(), options.threads, options.memory_bytes);
    let heap_before = HEAP_BYTES.load(Relaxed);
    HEAP_PEAK_BYTES.store(heap_before, Relaxed);
    let model = Model::open(path, &OpenOptions::default(), &MemoryBudget::new(u64::MAX)).unwrap();
    let fit: Fit = tightfit::fit::fit(&model, options).unwrap_or_else(|error| panic!("{}: {error}", what()));
    let minimum_bytes = fit.minimum_bytes;
    let lines = fit.lines;
    let memory_bytes = lines.total_bytes() - lines.runtime_bytes;
    let budget = MemoryBudget::new(memory_bytes);
    let pool = tightfit::ThreadPool::new(options.threads).unwrap();
    // A thread allocates while it starts, and it may start after the first batch is done: each takes one of these.
    let all = Barrier::new(options.threads);
    pool.run(options.threads, &|_, _| {
        all.wait();
    });
    let mut runner = Runner::with_fit(&model, fit, pool.into(), options, &budget)
        .unwrap_or_else(|error| panic!("{}: {error}", what()));
    let plan = runner.context().plan();
    let feed = |slot: &usize| {
        let info = &plan.slots[*slot].info;
        Tensor::zeros(&MemoryBudget::new(u64::MAX), info.dtype, info.shape).unwrap()
    };
    let tensors: Vec<Tensor> = plan.inputs.iter().map(|(_, slot)| feed(slot)).collect();
    let feeds: Vec<_> = tensors.iter().map(|tensor| tensor.feed().unwrap()).collect();
    runner.run(&feeds).unwrap();
    let allocations = ALLOCATIONS.load(Relaxed);
    for _ in 0..RUNS {
        runner.run(&feeds).unwrap();
    }
    let allocations = ALLOCATIONS.load(Relaxed) - allocations;
    assert_eq!(allocations, 0, "{}: {allocations} allocations in {RUNS} batches", what());
    let heap_bytes = (HEAP_PEAK_BYTES.load(Relaxed) - heap_before) as u64;
    assert!(
        heap_bytes + budget.peak_bytes() + CODE_BYTES <= lines.total_bytes(),
        "{}: {heap_bytes} on the heap and {} in the budget pass {lines:?}",
        what(),
        budget.peak_bytes()
    );
    minimum_bytes
}

#[test]
fn memory_stays_inside_the_lines_and_batches_allocate_nothing() {
    assert!(tightfit::process::floor_bytes() > CODE_BYTES);
    for (path, options) in models() {
        for threads in [1, 2] {
            let ample = FitOptions { threads, memory_bytes: 8 << 30, ..options.clone() };
            let minimum_bytes = check(&path, &ample);
            check(&path, &FitOptions { memory_bytes: minimum_bytes, ..ample });
        }
    }
}
