use tightfit_core::MemoryBudget;

use crate::flow::tests::{Folder, numbered, records, run};
use crate::flow::*;

fn shuffled(bytes: u64, seed: u64) -> Shuffle {
    Shuffle { buffer_bytes: bytes, seed, reshuffles: true }
}

/// The numbers that come, in their order.
fn order(spec: PipelineSpec) -> Vec<usize> {
    run(spec).iter().map(|text| text.parse().unwrap()).collect()
}

/// Chi squared of `counts`, which are expected to be equal.
fn chi_squared(counts: &[u64]) -> f64 {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|count| (*count as f64 - mean).powi(2) / mean).sum()
}

#[test]
fn every_order_is_as_likely() {
    let folder = Folder::new("orders");
    let paths = numbered(&folder, &[4]);
    let spec = records(paths, 1, 1).then(shuffled(1 << 10, 5));
    let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 1).unwrap();
    let mut counts = [0; 4 * 4 * 4 * 4];
    for epoch in 0..4800 {
        pipeline.reset(epoch).unwrap();
        let mut order = 0;
        while pipeline.advance().unwrap() {
            order = 4 * order + usize::from(pipeline.current().string(0).unwrap()[0] - b'0');
        }
        counts[order] += 1;
    }
    let counts: Vec<u64> = counts.into_iter().filter(|count| *count > 0).collect();
    // 23 degrees of freedom: more than 49.7 comes once in a thousand seeds.
    assert!(counts.len() == 24 && chi_squared(&counts) < 49.7, "{counts:?}");
}

#[test]
fn elements_stay_as_long_as_chance_has_it() {
    let folder = Folder::new("stay");
    let count = 30_000;
    // Each record is five digits, and takes 28 bytes or 36: 8 in the arena's units for where it came from.
    let texts = (0..count).map(|n| format!("{n:05}").into_bytes());
    let path = folder.records("data.tfrecord", texts);
    let order = order(records(vec![path], 1, 1).then(shuffled(3600, 1)));
    let mut sorted = order.clone();
    sorted.sort();
    assert!(sorted.into_iter().eq(0..count));
    // How far the furthest comes early is what the buffer holds.
    let held = order.iter().enumerate().map(|(at, n)| n.saturating_sub(at)).max().unwrap() + 1;
    assert!((80..=112).contains(&held), "{held}");
    // Once the buffer is full, a step draws each with the same probability 1/n: sorted into classes of equal
    // probability by how long they stayed, the counts are equal.
    let n = held as f64;
    let mut counts = [0u64; 10];
    for (at, number) in order.iter().enumerate().filter(|(_, n)| (1000..28_000).contains(*n)) {
        let stayed = (at + held - 1 - number) as f64;
        // The continuous quantile of its step, spread evenly within the step.
        let spread = (number * 7919 % 1000) as f64 / 1000.0;
        let (from, to) = ((1.0 - 1.0 / n).powf(stayed), (1.0 - 1.0 / n).powf(stayed + 1.0));
        let quantile = from - (from - to) * spread;
        counts[((quantile * 10.0) as usize).min(9)] += 1;
    }
    // 9 degrees of freedom: more than 27.9 comes once in a thousand seeds.
    assert!(chi_squared(&counts) < 27.9, "{counts:?} of {held}");
}

#[test]
fn epochs_have_orders_of_their_own_unless_told_not_to() {
    let folder = Folder::new("epochs");
    let paths = numbered(&folder, &[40]);
    let passes = |shuffle: Shuffle| {
        let order = order(records(paths.clone(), 1, 1).then(shuffle).then(Repeat(Some(2))));
        (order[..40].to_vec(), order[40..].to_vec())
    };
    let (first, second) = passes(shuffled(1 << 20, 1));
    assert_ne!(first, second);
    assert_eq!(passes(shuffled(1 << 20, 1)), (first.clone(), second));
    assert_ne!(passes(shuffled(1 << 20, 2)).0, first);
    let (again, same) = passes(Shuffle { reshuffles: false, ..shuffled(1 << 20, 1) });
    assert_eq!((&again, &same), (&first, &first));
}

#[test]
fn an_element_larger_than_the_buffer_is_an_error_with_its_place() {
    let folder = Folder::new("too-large");
    let path = folder.records("data.tfrecord", [vec![b'1'; 10], vec![b'2'; 2000], vec![b'3'; 10]]);
    let spec = records(vec![path], 1, 1).then(shuffled(1000, 0));
    let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 1).unwrap();
    // What is before it comes first, as there is no room for both.
    assert!(pipeline.advance().unwrap());
    let error = pipeline.advance().unwrap_err().to_string();
    assert!(error.contains("data.tfrecord, record 1 at byte 26: it takes 20"), "{error}");
    assert!(pipeline.advance().unwrap());
    assert_eq!(pipeline.current().string(0), Ok(&[b'3'; 10][..]));
    assert!(!pipeline.advance().unwrap());
    let spec = records(vec![folder.path("data.tfrecord")], 1, 1).then(shuffled(1 << 30, 0));
    assert!(Pipeline::open(&spec, &MemoryBudget::new(1 << 20), 1).is_err());
}
