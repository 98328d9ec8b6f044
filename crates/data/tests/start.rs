//! A data set that is read on from a place gives what it would have given without the break.
#![allow(missing_docs)]

mod common;

use std::io::Write;
use std::path::PathBuf;

use common::{Folder, column, golden, numbered, spec};
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::{Batches, Dataset, DatasetSpec, Position, Resize};

/// The bytes of a batch, where its rows came from, and what is after it.
type Seen = (Vec<u8>, Vec<String>, Position, u64);

fn all(mut batches: Batches) -> (Vec<Seen>, u64) {
    let mut seen = Vec::new();
    while let Some(batch) = batches.next().unwrap() {
        let sources = (0..batch.rows()).map(|row| batch.source(row).unwrap().to_string()).collect();
        let bytes = batch.column(0).unwrap().bytes().to_vec();
        seen.push((bytes, sources, batch.end(), batch.skipped_rows()));
    }
    (seen, batches.stats().skipped_rows)
}

/// Starts after every batch of every size, with one thread and with several.
fn starts_anywhere(spec: DatasetSpec, rows: usize) {
    let budget = MemoryBudget::new(u64::MAX);
    let dataset = Dataset::open(spec, &budget).unwrap();
    for batch in [1, 2, 3, 7, 100] {
        let (whole, skipped_rows) = all(dataset.start(batch, 1, 2, &budget).unwrap());
        assert_eq!(whole.iter().map(|seen| seen.1.len()).sum::<usize>(), rows);
        for threads in [1, 3] {
            assert_eq!(all(dataset.start(batch, threads, 2, &budget).unwrap()).0, whole);
            for (done, (_, _, end, before)) in whole.iter().enumerate() {
                let (rest, more) = all(dataset.start_at(*end, batch, threads, 2, &budget).unwrap());
                assert_eq!(before + more, skipped_rows);
                let rest: Vec<Seen> = rest.into_iter().map(|(b, s, e, n)| (b, s, e, before + n)).collect();
                assert_eq!(rest, whole[done + 1..], "after {end:?} in batches of {batch}");
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn records_of_several_files() {
    let folder = Folder::new();
    let sources = [
        folder.write("a", &numbered(0..5)),
        folder.write("b", b""),
        folder.write("c", &gzip(&numbered(5..12))),
        folder.write("d", &numbered(12..13)),
    ];
    starts_anywhere(spec(&sources, vec![column("x", DType::F32, &[2])]), 13);
}

#[test]
fn bad_records_are_not_counted_twice() {
    let folder = Folder::new();
    let record_bytes = numbered(0..1).len();
    let mut bytes = numbered(0..10);
    for record in [0, 3, 4, 9] {
        bytes[record * record_bytes + 20] ^= 1;
    }
    let mut cut = numbered(20..25);
    cut.truncate(record_bytes * 5 - 3);
    let sources = [folder.write("a", &bytes), folder.write("b", &cut), folder.write("c", &gzip(&bytes))];
    let mut spec = spec(&sources, vec![column("x", DType::F32, &[2])]);
    spec.skip_bad = true;
    starts_anywhere(spec, 16);
}

#[test]
fn rows_of_arrays() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..30).map(|i| i as f32).collect();
    let sources = [folder.npy("a.npy", &[10, 3], &values), folder.npy("b.npy", &[5, 3], &values[..15])];
    starts_anywhere(spec(&sources, vec![column("x", DType::F32, &[3])]), 15);
}

#[test]
fn images() {
    let mut sources: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "png" || e == "jpg") {
            sources.push(path);
        }
    }
    sources.sort();
    let folder = Folder::new();
    sources.insert(1, folder.write("bad.png", b"no image"));
    let mut spec = spec(&sources, vec![column("x", DType::U8, &[8, 8, 3])]);
    spec.resize = Some(Resize::Bilinear);
    spec.skip_bad = true;
    let rows = sources.len() - 1;
    assert!(rows > 3, "{sources:?}");
    starts_anywhere(spec, rows);
}
