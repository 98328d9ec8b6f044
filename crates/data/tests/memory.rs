//! What the pipeline takes is what its plan says, and nothing per batch.
#![allow(missing_docs, clippy::cloned_ref_to_slice_refs)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Cursor;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{Folder, column, golden, numbered, spec};
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::image::{ImageHeader, decode};
use tightfit_data::{Dataset, DatasetSpec, Resize};

static COUNT: AtomicU64 = AtomicU64::new(0);
static USED: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
/// The counters are the process's, so one test at a time.
static ONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        let used = USED.fetch_add(layout.size() as u64, Relaxed) + layout.size() as u64;
        PEAK.fetch_max(used, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Heap bytes that `run` takes at most, beside what was there.
fn peak_of<T>(run: impl FnOnce() -> T) -> (u64, T) {
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = run();
    (PEAK.load(Relaxed) - before, result)
}

fn steady_state_allocations(spec: DatasetSpec) -> u64 {
    let budget = MemoryBudget::unlimited();
    let dataset = Dataset::open(spec, &budget).unwrap();
    let mut batches = dataset.start(16, 2, 3, &budget).unwrap();
    for _ in 0..10 {
        batches.next().unwrap().unwrap();
    }
    let before = COUNT.load(Relaxed);
    for _ in 0..200 {
        batches.next().unwrap().unwrap();
    }
    COUNT.load(Relaxed) - before
}

#[test]
fn nothing_is_allocated_per_batch() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let folder = Folder::new();
    let records = folder.write("x.tfrecord", &numbered(0..5000));
    let mut numbers = spec(&[records], vec![column("x", DType::F32, &[2])]);
    numbers.label = Some("label".to_string());
    assert_eq!(steady_state_allocations(numbers), 0);
    let array = folder.npy("x.npy", &[5000, 3], &vec![1u8; 15000]);
    assert_eq!(steady_state_allocations(spec(&[array], vec![column("x", DType::F32, &[3])])), 0);
}

#[test]
fn decoders_take_no_more_than_their_headers_promise() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let names = [
        "rgb.png",
        "grey.png",
        "alpha.png",
        "wide.png",
        "palette.png",
        "rgb.bmp",
        "palette.gif",
        "rgb.jpg",
        "full.jpg",
        "progressive.jpg",
        "grey.jpg",
    ];
    for name in names {
        let bytes = fs::read(golden(name)).unwrap();
        let header = ImageHeader::read(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
        for channels in [1, 3] {
            let mut out = vec![0; header.pixel_bytes as usize];
            let (peak, result) = peak_of(|| decode(&bytes, &header, channels, &mut out));
            result.unwrap();
            assert!(peak <= header.heap_bytes, "{name}: {peak} of {}", header.heap_bytes);
        }
    }
}

#[test]
fn the_budget_never_passes_the_plan() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let folder = Folder::new();
    for name in ["rgb.png", "rgb.jpg", "progressive.jpg", "grey.jpg", "alpha.png", "palette.gif"] {
        fs::copy(golden(name), folder.0.join(name)).unwrap();
    }
    let mut images = spec(&[folder.0.clone()], vec![column("x", DType::F32, &[64, 64, 3])]);
    images.resize = Some(Resize::Bilinear);
    let records = Folder::new();
    let path = records.write("x.tfrecord", &numbered(0..500));
    let numbers = spec(&[path], vec![column("x", DType::F32, &[2])]);
    for spec in [images, numbers] {
        let unlimited = MemoryBudget::unlimited();
        let plan = Dataset::open(spec.clone(), &unlimited).unwrap().plan(4, 3, 2).unwrap();
        let total: u64 = plan.lines().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(total, plan.total_bytes);
        // Exactly the plan is enough, one byte less is not.
        let budget = MemoryBudget::new(plan.total_bytes);
        let dataset = Dataset::open(spec.clone(), &budget).unwrap();
        let (heap_bytes, ()) = peak_of(|| {
            let mut batches = dataset.start(4, 3, 2, &budget).unwrap();
            while batches.next().unwrap().is_some() {}
        });
        assert_eq!(budget.peak_bytes(), plan.total_bytes);
        assert!(heap_bytes <= plan.total_bytes, "{heap_bytes} of {}", plan.total_bytes);
        let budget = MemoryBudget::new(plan.total_bytes - 1);
        let dataset = Dataset::open(spec, &budget).unwrap();
        assert!(dataset.start(4, 3, 2, &budget).is_err());
    }
}
