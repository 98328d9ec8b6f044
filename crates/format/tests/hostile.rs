//! Files made to break a reader: whatever they hold, it neither panics nor takes more memory than it has counted.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use common::{TempFile, data, field, int, read, shape, varint, with_attr, with_tensor};
use proptest::collection::vec;
use proptest::prelude::*;
use tightfit_core::MemoryBudget;
use tightfit_format::{AttrValue, FormatError, GraphDef, Problem, TensorContent, detect};

/// Counts what each thread has allocated.
struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    let live = LIVE_BYTES.get() + bytes;
    LIVE_BYTES.set(live);
    PEAK_BYTES.set(PEAK_BYTES.get().max(live));
}

// SAFETY: everything is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is not counted by the budget: the open file's path, the text of an error, a word being read.
const UNCOUNTED_BYTES: i64 = 8 << 10;

/// Reads a file as both encodings out of a small budget, and checks that no more was allocated than counted.
fn attack(content: &[u8]) -> Result<GraphDef, FormatError> {
    const BUDGET_BYTES: u64 = 256 << 10;
    let file = TempFile::new(content);
    detect(&file.0).ok();
    let mut results = [GraphDef::read_text, GraphDef::read].map(|reader| {
        let budget = MemoryBudget::new(BUDGET_BYTES);
        let source = file.open();
        let before = LIVE_BYTES.get();
        PEAK_BYTES.set(before);
        let started = Instant::now();
        let result = reader(source, &budget);
        let took = started.elapsed();
        let heap_bytes = PEAK_BYTES.get() - before;
        // Large buffers do not come out of the heap, so the count may be above it, never below.
        assert!(heap_bytes <= budget.peak_bytes() as i64 + UNCOUNTED_BYTES, "{heap_bytes} of {budget:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        match &result {
            Ok(graph) => assert_eq!(budget.used_bytes(), graph.reservation.bytes() + buffers(graph)),
            Err(error) => {
                assert_eq!(budget.used_bytes(), 0);
                let line = error.to_string();
                assert!(!line.contains('\n') && line.len() < 4096, "{line}");
            }
        }
        result
    });
    std::mem::replace(&mut results[1], read(b""))
}

/// Bytes of the graph's values that have buffers of their own.
fn buffers(graph: &GraphDef) -> u64 {
    let large = |value: &AttrValue| match value {
        AttrValue::Tensor(tensor) => match &tensor.content {
            TensorContent::Inline(tightfit_format::InlineBytes::Large(buffer)) => buffer.len() as u64,
            _ => 0,
        },
        _ => 0,
    };
    graph.nodes.iter().flat_map(|n| &n.attrs).map(|(_, value)| large(value)).sum()
}

fn samples() -> Vec<Vec<u8>> {
    ["every_kind.pb", "every_kind.pbtxt", "distributed_inference.pb", "distributed_inference.pbtxt"]
        .map(|name| std::fs::read(data(name)).unwrap())
        .into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(content in vec(any::<u8>(), 0..600)) {
        attack(&content).ok();
    }

    #[test]
    fn random_fields(content in vec((1u64..22, 0u64..6, vec(any::<u8>(), 0..12)), 0..30)) {
        let fields: Vec<u8> =
            content.iter().flat_map(|(number, wire, rest)| [varint(number << 3 | wire), rest.clone()].concat()).collect();
        attack(&fields).ok();
        attack(&with_attr(&fields)).ok();
        attack(&with_tensor(&[int(1, 3), fields])).ok();
    }

    #[test]
    fn random_text(content in "[a-z{}<>:;,'\"\\\\\\[\\]0-9 \n#.-]{0,200}") {
        attack(content.as_bytes()).ok();
    }

    #[test]
    fn truncated(which in 0usize..4, keep in 0.0f64..1.0) {
        let sample = &samples()[which];
        attack(&sample[..(sample.len() as f64 * keep) as usize]).ok();
    }

    #[test]
    fn mutated(which in 0usize..4, changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut sample = samples().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(sample.len());
            sample[at] = byte;
        }
        attack(&sample).ok();
    }
}

#[test]
fn samples_fit_the_attacked_budget() {
    for sample in samples() {
        let is_binary = !sample.starts_with(b"node");
        assert_eq!(attack(&sample).is_ok(), is_binary);
    }
}

#[test]
fn every_length_may_be_huge() {
    let sample = std::fs::read(data("distributed_inference.pb")).unwrap();
    for at in 0..sample.len() {
        let huge = [&sample[..at], &varint(u64::MAX >> (at % 40)), &sample[at + 1..]].concat();
        attack(&huge).ok();
    }
}

#[test]
fn many_small_things_end_at_the_budget() {
    let many = |field: Vec<u8>| field.repeat(4_000_000 / field.len());
    let entry = |i: u32| field(5, &field(1, &[i as u8 & 0x7f, (i >> 7) as u8 & 0x7f]));
    for content in [
        many(vec![0x0a, 0]),
        field(1, &many(field(3, b""))),
        field(1, &(0..4000).flat_map(entry).collect::<Vec<_>>()),
        field(2, &many(field(1, b""))),
        field(2, &field(1, &many(field(3, b"")))),
        field(2, &field(1, &field(1, &many(field(2, b""))))),
        with_attr(&field(1, &many(field(2, b"")))),
        with_attr(&field(1, &many(field(7, b"")))),
        with_attr(&field(1, &many(field(8, b"")))),
        with_attr(&field(1, &many(field(9, b"")))),
        with_attr(&field(1, &field(3, &vec![1; 4_000_000]))),
        with_tensor(&[int(1, 7), shape(&[1 << 40]), many(field(8, b""))]),
        with_tensor(&[int(1, 7), shape(&[2_000_000]), field(4, &vec![0; 2_000_000])]),
        with_tensor(&[int(1, 9), shape(&[1 << 40]), field(10, &vec![1; 4_000_000])]),
        with_tensor(&[int(1, 9), shape(&[1 << 40]), many(int(10, 1))]),
    ] {
        let error = attack(&content).unwrap_err();
        assert!(matches!(error.problem(), Problem::Budget(_) | Problem::Limit { .. }), "{error}");
    }
    // One shape has no more dimensions than TensorFlow accepts.
    assert!(matches!(
        attack(&with_attr(&field(7, &many(field(2, b""))))).unwrap_err().problem(),
        Problem::Limit { .. }
    ));
}

#[test]
fn values_of_gigabytes_are_passed_over() {
    const VALUES_BYTES: u64 = 4_500_000_000;
    // Each message around the values claims what is in it, although only the structure is written.
    let opening = |number: u64, inside: &[u8], bytes_behind: u64| {
        [varint(number << 3 | 2), varint(inside.len() as u64 + bytes_behind), inside.to_vec()].concat()
    };
    let content = [varint(4 << 3 | 2), varint(VALUES_BYTES)].concat();
    let tensor = opening(8, &[int(1, 1), shape(&[VALUES_BYTES / 4]), content].concat(), VALUES_BYTES);
    let value = opening(2, &tensor, VALUES_BYTES);
    let attr = opening(5, &[field(1, b"value"), value].concat(), VALUES_BYTES);
    let node = opening(1, &[field(1, b"weights"), field(2, b"Const"), attr].concat(), VALUES_BYTES);
    let last = field(1, &[field(1, b"last"), field(2, b"NoOp")].concat());

    let path = TempFile::new(&node);
    let mut file = std::fs::OpenOptions::new().write(true).open(&path.0).unwrap();
    let values_at = node.len() as u64;
    file.set_len(5_000_000_000).unwrap();
    file.seek(SeekFrom::Start(values_at + VALUES_BYTES - 4)).unwrap();
    file.write_all(&1.5f32.to_le_bytes()).unwrap();
    file.write_all(&last).unwrap();
    let unknown_bytes = 5_000_000_000 - (values_at + VALUES_BYTES) - last.len() as u64;
    // A field nobody knows takes the rest: a tag of one byte and a length of five.
    file.write_all(&[vec![0x7a], varint(unknown_bytes - 6)].concat()).unwrap();

    let budget = MemoryBudget::new(72 << 10);
    let started = Instant::now();
    let graph = GraphDef::read(path.open(), &budget).unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((graph.nodes.len(), &*graph.nodes[1].name), (2, "last"));
    assert_eq!(graph.nodes[1].offset, values_at + VALUES_BYTES + 1);
    let Some(AttrValue::Tensor(tensor)) = graph.nodes[0].attr("value") else { panic!() };
    assert_eq!(tensor.content, TensorContent::File { offset: values_at, bytes: VALUES_BYTES });
    let mut value = [0; 4];
    graph.source.read_exact_at(values_at + VALUES_BYTES - 4, &mut value).unwrap();
    assert_eq!(f32::from_le_bytes(value), 1.5);

    // The file shrinks while it is open.
    file.set_len(1000).unwrap();
    let error = graph.source.read_exact_at(values_at + 1_000_000, &mut value).unwrap_err();
    assert!(matches!(error.problem(), Problem::Shrunk { opened_bytes: 5_000_000_000 }), "{error}");
    let error = graph.source.read_exact_at(4_999_999_999, &mut value).unwrap_err();
    assert!(
        matches!(error.problem(), Problem::Truncated { needed_bytes: 4, present_bytes: 1, .. }),
        "{error}"
    );
}
