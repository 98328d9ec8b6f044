//! What the pipeline takes is what its plan says, and nothing per batch.
#![allow(missing_docs, clippy::cloned_ref_to_slice_refs)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{Folder, column, golden, numbered, spec};
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::image::{
    DecodeOptions, ImageHeader, ImageOp, ImageType, ResizeMethod, decode, encode_png, encode_png_heap_bytes,
};
use tightfit_data::{Dataset, DatasetSpec, Resize};

static COUNT: AtomicU64 = AtomicU64::new(0);
static USED: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

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
    let budget = MemoryBudget::new(u64::MAX);
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

/// All in one test: the counters are the process's, and what runs tests allocates when one of several ends.
#[test]
fn memory_is_what_was_promised() {
    nothing_is_allocated_per_batch();
    decoders_take_no_more_than_their_headers_promise();
    the_budget_never_passes_the_plan();
    operations_on_images_allocate_nothing();
    decoding_and_encoding_take_no_more_than_they_promise();
}

fn nothing_is_allocated_per_batch() {
    let folder = Folder::new();
    let records = folder.write("x.tfrecord", &numbered(0..5000));
    let mut numbers = spec(&[records], vec![column("x", DType::F32, &[2])]);
    numbers.label = Some("label".to_string());
    assert_eq!(steady_state_allocations(numbers), 0);
    let array = folder.npy("x.npy", &[5000, 3], &vec![1u8; 15000]);
    assert_eq!(steady_state_allocations(spec(&[array], vec![column("x", DType::F32, &[3])])), 0);
}

fn decoders_take_no_more_than_their_headers_promise() {
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

fn the_budget_never_passes_the_plan() {
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
        let unlimited = MemoryBudget::new(u64::MAX);
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

fn operations_on_images_allocate_nothing() {
    let input = ImageType::new([60, 80, 3], DType::U8);
    let pixels: Vec<u8> = (0..60 * 80 * 3).map(|v| (v % 251) as u8).collect();
    let mut ops = vec![
        ImageOp::CentralCrop { fraction: 0.5 },
        ImageOp::Rot90 { k: 1 },
        ImageOp::RandomCrop { size: [20, 20], seed: 1 },
        ImageOp::ConvertImageDType { dtype: DType::F32, saturate: false },
        ImageOp::PerImageStandardization,
        ImageOp::AdjustContrast { factor: 1.5 },
        ImageOp::AdjustSaturation { factor: 1.5 },
        ImageOp::RgbToGrayscale,
    ];
    for method in ResizeMethod::ALL {
        for antialias in [false, true] {
            ops.push(ImageOp::ResizeWithPad { size: [40, 50], method, antialias });
        }
    }
    for op in ops {
        let mut out = vec![0u32; op.output(input).unwrap().bytes().unwrap().div_ceil(4)];
        let mut scratch = vec![0u32; op.scratch_bytes(input).unwrap().div_ceil(4)];
        let (out, scratch) = (bytemuck::cast_slice_mut(&mut out), bytemuck::cast_slice_mut(&mut scratch));
        let before = COUNT.load(Relaxed);
        op.run(input, &pixels, out, scratch, 5).unwrap();
        assert_eq!(COUNT.load(Relaxed), before, "{op:?}");
    }
}

fn decoding_and_encoding_take_no_more_than_they_promise() {
    for name in ["alpha.png", "wide.png", "palette.png", "rgb.bmp", "palette.gif", "rgb.jpg", "grey.jpg"] {
        let bytes = fs::read(golden(name)).unwrap();
        let header = ImageHeader::read(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
        let options = DecodeOptions { channels: 3, dtype: DType::F32, expand_animations: false };
        let decoded = options.output(&bytes, &header).unwrap();
        let (mut out, mut scratch) = (vec![0; decoded.bytes().unwrap()], vec![0; decoded.scratch_bytes]);
        let (peak, result) = peak_of(|| options.decode(&bytes, &header, &mut out, &mut scratch));
        result.unwrap();
        assert!(peak <= header.heap_bytes, "{name}: {peak} of {}", header.heap_bytes);
    }
    // Noise, which does not get smaller.
    let mut state = 1u32;
    for (shape, dtype) in [([400, 500, 3], DType::U8), ([300, 700, 4], DType::U16), ([3, 2, 1], DType::U8)] {
        let image = ImageType::new(shape, dtype);
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let pixels: Vec<u8> = (0..image.bytes().unwrap()).map(|_| noise()).collect();
        let (peak, result) = peak_of(|| encode_png(image, &pixels, std::io::sink()));
        result.unwrap();
        let promised = encode_png_heap_bytes(image).unwrap() as u64;
        assert!(peak <= promised, "{image}: {peak} of {promised}");
    }
}
