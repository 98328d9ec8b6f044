//! Records in random order: every one once, the same order whatever the window, and never more memory than given.
#![allow(missing_docs, clippy::cloned_ref_to_slice_refs)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use common::Folder;
use tightfit_core::MemoryBudget;
use tightfit_data::shuffle::{Order, Permutation, RecordIndex, ShuffleOptions, ShuffleReader};
use tightfit_data::{DataError, RowFault, list};
use tightfit_format::tfrecord::RecordWriter;

/// Records that begin with their number, counted from `first`, and are larger by as much as `size` says.
fn file(first: u64, count: u64, size: impl Fn(u64) -> usize) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    for number in first..first + count {
        let mut record = number.to_le_bytes().to_vec();
        record.extend((0..size(number)).map(|at| (at as u64 * 31 + number) as u8));
        writer.write(&record).unwrap();
    }
    writer.into_inner()
}

fn index(paths: &[PathBuf]) -> Arc<RecordIndex> {
    let budget = MemoryBudget::new(u64::MAX);
    Arc::new(RecordIndex::open(&list(paths, &budget).unwrap(), None, &budget, &mut |_| true).unwrap())
}

/// Three files of 3000 records, of 24 to 273 bytes, with an empty one between them.
fn three_files(folder: &Folder) -> Vec<PathBuf> {
    let size = |number: u64| (number * number % 250) as usize;
    vec![
        folder.write("a.tfrecord", &file(0, 1000, size)),
        folder.write("b.tfrecord", b""),
        folder.write("c.tfrecord", &file(1000, 1, size)),
        folder.write("d.tfrecord", &file(1001, 1999, size)),
    ]
}

fn reader(index: &Arc<RecordIndex>, options: ShuffleOptions) -> ShuffleReader {
    ShuffleReader::new(index.clone(), options, &MemoryBudget::new(u64::MAX)).unwrap()
}

/// The number of the next record, whose data is looked at.
fn next(reader: &mut ShuffleReader) -> Option<u64> {
    reader.advance().unwrap().then(|| {
        let record = reader.current().unwrap();
        let number = u64::from_le_bytes(*record.data.first_chunk().unwrap());
        let rest = record.data[8..].iter().enumerate();
        assert!(rest.clone().all(|(at, byte)| *byte == (at as u64 * 31 + number) as u8));
        let name = record.path.file_name().unwrap().to_str().unwrap();
        let first = [("a.tfrecord", 0), ("c.tfrecord", 1000), ("d.tfrecord", 1001)];
        if let Some((_, first)) = first.iter().find(|(n, _)| *n == name) {
            assert_eq!(record.index, number - first);
        }
        number
    })
}

fn all(reader: &mut ShuffleReader) -> Vec<u64> {
    std::iter::from_fn(|| next(reader)).collect()
}

#[test]
fn a_uniform_order_depends_on_seed_and_epoch_alone() {
    let folder = Folder::new();
    let index = index(&three_files(&folder));
    let order = Permutation::new(3000, 5, 2);
    let expected: Vec<u64> = (0..3000).map(|position| order.index_at(position).unwrap()).collect();
    for (window_bytes, threads) in [(400, 1), (4000, 1), (50_000, 3), (700_000, 2), (1 << 30, 4)] {
        let options = ShuffleOptions { epoch: 2, threads, ..ShuffleOptions::new(5, window_bytes) };
        let mut reader = reader(&index, options);
        assert_eq!(all(&mut reader), expected, "window {window_bytes}");
        assert_eq!((reader.position(), reader.records()), (3000, 3000));
        assert_eq!(reader.windows() == 1, window_bytes >= 700_000);
        assert!(!reader.advance().unwrap() && reader.current().is_none());
        reader.reset(3);
        assert_ne!(all(&mut reader), expected);
        reader.reset(2);
        assert_eq!(all(&mut reader), expected);
    }
}

#[test]
fn the_budget_covers_what_is_taken() {
    let folder = Folder::new();
    let index = index(&three_files(&folder));
    for window_bytes in [1000, 100_000] {
        let most_bytes = window_bytes + ShuffleReader::fixed_bytes(&index, 2);
        let budget = MemoryBudget::new(most_bytes as u64);
        let options = ShuffleOptions { threads: 2, ..ShuffleOptions::new(1, window_bytes) };
        let mut reader = ShuffleReader::new(index.clone(), options.clone(), &budget).unwrap();
        assert_eq!(all(&mut reader).len(), 3000);
        let small = MemoryBudget::new(most_bytes as u64 - 100);
        let refused = ShuffleReader::new(index.clone(), options, &small);
        assert!(matches!(refused, Err(DataError::Budget(_))), "nothing is taken that is not counted");
    }
    let whole = ShuffleReader::whole_bytes(&index) as usize;
    let mut reader = reader(&index, ShuffleOptions::new(1, whole));
    assert_eq!((all(&mut reader).len(), reader.windows()), (3000, 1));
}

#[test]
fn goes_on_where_it_was() {
    let folder = Folder::new();
    let index = index(&three_files(&folder));
    let blocks = Order::Blocks { block_bytes: 2000, mix_bytes: Some(20_000) };
    for order in [Order::Uniform, blocks] {
        let options = ShuffleOptions { order, ..ShuffleOptions::new(9, 30_000) };
        let expected = all(&mut reader(&index, options.clone()));
        let mut resumed = reader(&index, ShuffleOptions { window_bytes: 12_345, ..options });
        for position in [2999, 0, 1, 1500, 1501, 700, 3000, 2500] {
            resumed.seek(position);
            assert_eq!(resumed.position(), position);
            assert_eq!(next(&mut resumed), expected.get(position as usize).copied());
        }
        resumed.seek(100);
        assert_eq!(all(&mut resumed), expected[100..]);
    }
}

#[test]
fn shards_are_disjoint_and_cover() {
    let folder = Folder::new();
    let index = index(&three_files(&folder));
    for order in [Order::Uniform, Order::Blocks { block_bytes: 3000, mix_bytes: Some(30_000) }] {
        let options = ShuffleOptions { order, ..ShuffleOptions::new(4, 20_000) };
        let whole = all(&mut reader(&index, options.clone()));
        for parts in [1, 2, 7, 3001] {
            let mut found = vec![None; 3000];
            for part in (0..parts).filter(|part| parts < 3000 || part % 500 == 0) {
                let mut reader = reader(&index, ShuffleOptions { shard: (parts, part), ..options.clone() });
                let list = all(&mut reader);
                assert_eq!(list.len() as u64, reader.records());
                for (at, number) in list.into_iter().enumerate() {
                    found[at * parts as usize + part as usize] = Some(number);
                }
            }
            let is_right = |(found, whole): (&Option<u64>, &u64)| found.is_none_or(|f| f == *whole);
            assert!(found.iter().zip(&whole).all(is_right));
            assert!(parts > 3000 || found.iter().all(Option::is_some));
        }
        let none = ShuffleOptions { shard: (2, 2), ..options };
        let none = ShuffleReader::new(index.clone(), none, &MemoryBudget::new(u64::MAX));
        assert!(matches!(none, Err(DataError::Spec(_))));
    }
}

#[test]
fn blocks_stay_together() {
    let folder = Folder::new();
    let index = index(&three_files(&folder));
    let order = Order::Blocks { block_bytes: 1600, mix_bytes: Some(16_000) };
    let mut expected = None;
    for window_bytes in [2000, 25_000, 1 << 20] {
        let mut reader = reader(&index, ShuffleOptions { order, ..ShuffleOptions::new(1, window_bytes) });
        let mixing = reader.mixing();
        assert!(mixing.block_records > 5 && mixing.group_blocks >= 10, "{mixing:?}");
        let list = all(&mut reader);
        let mut sorted = list.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..3000));
        // Neighbours of one block are in one group.
        let mut position = vec![0u64; 3000];
        list.iter().zip(0..).for_each(|(number, at)| position[*number as usize] = at);
        for pair in (0..3000).collect::<Vec<u64>>().windows(2) {
            if pair[0] / mixing.block_records == pair[1] / mixing.block_records {
                let distance = position[pair[0] as usize].abs_diff(position[pair[1] as usize]);
                assert!(distance < mixing.group_records());
            }
        }
        assert_eq!(expected.get_or_insert(list.clone()), &list, "the window does not matter");
    }
    // As many as the window holds: each block is read once, by groups.
    let order = Order::Blocks { block_bytes: 1600, mix_bytes: None };
    let mut reader = reader(&index, ShuffleOptions { order, ..ShuffleOptions::new(1, 60_000) });
    all(&mut reader);
    let groups = 3000u64.div_ceil(reader.mixing().group_records());
    assert!(reader.windows() <= 2 * groups, "{} windows of {groups} groups", reader.windows());
}

#[test]
fn bad_and_large_records_are_named_and_passed_over() {
    let folder = Folder::new();
    let mut bytes = file(0, 200, |number| if number == 77 { 5000 } else { 12 });
    // Record 3 begins at 3 * 36.
    bytes[3 * 36 + 20] ^= 1;
    let path = folder.write("a.tfrecord", &bytes);
    let index = index(&[path]);
    let mut reader = reader(&index, ShuffleOptions::new(1, 3000));
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    loop {
        match reader.advance() {
            Ok(true) => found.push(reader.current().unwrap().index),
            Ok(false) => break,
            Err(error) => {
                assert!(reader.current().is_none());
                errors.push(error);
            }
        }
    }
    found.sort_unstable();
    assert!(found.into_iter().eq((0..200).filter(|number| ![3, 77].contains(number))));
    assert_eq!((reader.position(), errors.len()), (200, 2));
    errors.sort_by_key(|error| matches!(error, DataError::Row(row) if row.record == Some(77)));
    let text = errors[0].to_string();
    assert!(text.ends_with("a.tfrecord, record 3 at byte 108: the CRC of its data is wrong"), "{text}");
    let DataError::Row(row) = &errors[1] else { panic!("{:?}", errors[1]) };
    let RowFault::Window { needed_bytes, window_bytes: 3000 } = row.fault else { panic!("{row:?}") };
    assert_eq!((row.record, row.offset, needed_bytes), (Some(77), Some(77 * 36), 5008 + 16 + 32));
    assert_eq!(ShuffleReader::least_window_bytes(&index), needed_bytes);
    // With as much it is read.
    reader = self::reader(&index, ShuffleOptions::new(1, needed_bytes as usize));
    let mut bad = 0;
    while reader.advance().unwrap_or_else(|error| {
        assert!(error.to_string().contains("CRC of its data"), "{error}");
        bad += 1;
        true
    }) {}
    assert_eq!((reader.position(), bad), (200, 1));
}

#[test]
fn a_file_that_changes_is_an_error() {
    let folder = Folder::new();
    let whole = file(0, 2000, |_| 50);
    let path = folder.write("a.tfrecord", &whole);
    for changed in [&whole[..whole.len() / 2], &file(0, 1000, |_| 124)[..], b""] {
        fs::write(&path, &whole).unwrap();
        let index = index(&[path.clone()]);
        let mut reader = reader(&index, ShuffleOptions::new(1, 20_000));
        for _ in 0..10 {
            assert!(reader.advance().unwrap());
        }
        fs::write(&path, changed).unwrap();
        let error = loop {
            match reader.advance() {
                Ok(true) => {}
                Ok(false) => panic!("a changed file was read to its end"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("a.tfrecord: it has changed since it was indexed"), "{error}");
        // And again, until somebody makes another reader.
        assert!(reader.advance().is_err());
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, &whole).unwrap();
    let index = index(&[path.clone()]);
    fs::remove_file(&path).unwrap();
    assert!(reader(&index, ShuffleOptions::new(1, 20_000)).advance().is_err());
}
