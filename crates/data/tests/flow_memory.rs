//! A pipeline allocates nothing once it has begun.
#![allow(missing_docs)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{Folder, numbered};
use tightfit_core::MemoryBudget;
use tightfit_data::Access;
use tightfit_data::flow::{Pipeline, PipelineSpec};

static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Batches of one look at the counter, and looks: so many that all blocks there may be, ten of 256 elements at most, are
/// made long before the end.
const BATCHES: usize = 100;
const WINDOWS: usize = 40;

#[test]
fn nothing_is_allocated_per_batch() {
    let folder = Folder::new();
    let records = folder.write("x.tfrecord", &numbered(0..80_000));
    let parse = r#"{"parse": {"features": {"x": {"dtype": "float32", "shape": [2]}, "label": {"dtype": "int64", "shape": []}}}}"#;
    for stages in [
        format!(r#"{parse}, {{"batch": 16}}, {{"prefetch": null}}"#),
        format!(r#"{parse}, {{"batch": 16}}"#),
        format!(r#"{{"shuffle": "100KB"}}, {parse}, {{"batch": 16}}, {{"prefetch": 2}}"#),
    ] {
        let json = format!(r#"{{"source": {{"tfrecord": {records:?}}}, "stages": [{stages}]}}"#);
        let spec = PipelineSpec::from_json(&json, &Access::everything(), &|_| None).unwrap();
        let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 2).unwrap();
        let allocated = |_| {
            let before = COUNT.load(Relaxed);
            (0..BATCHES).for_each(|_| assert!(pipeline.advance().unwrap()));
            COUNT.load(Relaxed) - before
        };
        // While it learns what is worth it, a stage may take another block or a larger one.
        let allocations: Vec<u64> = (0..WINDOWS).map(allocated).collect();
        assert!(
            allocations.iter().filter(|count| **count == 0).count() >= WINDOWS / 3,
            "{stages}: {allocations:?}"
        );
    }
}
