//! TFRecord files of other projects (`cases/*/SOURCE.json` says whose): record counts, and digests of the records and of
//! what they hold, against TensorFlow's. `cases/expected.py` says how the digests are made.
#![allow(missing_docs)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::message::MessageKind;
use tightfit_format::tfrecord::RecordReader;

#[path = "common/digest.rs"]
mod digest;

use digest::Digest;

/// Where a case lies: beside this test, or, the large ones, in the folder `TIGHTFIT_CASES`.
fn find(path: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(path);
    let elsewhere = std::env::var_os("TIGHTFIT_CASES").map(|folder| Path::new(&folder).join(path));
    [Some(here), elsewhere].into_iter().flatten().find(|path| path.exists())
}

#[test]
fn reads_what_tensorflow_reads() {
    let mut checked = 0;
    for line in include_str!("cases/expected.txt").lines() {
        let [path, kind, records, raw, held] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let Some(found) = find(path) else { continue };
        let window = Buffer::new(&MemoryBudget::new(1 << 20), "test", 64 << 10).unwrap();
        let file = File::open(&found).unwrap();
        let mut reader = RecordReader::new(Arc::from(found), file, window).unwrap();
        let (mut raw_digest, mut held_digest, mut count) = (Digest::new(), Digest::new(), 0u64);
        while let Some(record) = reader.next_record().unwrap() {
            raw_digest.count(record.data.len());
            raw_digest.add(record.data);
            held_digest.message(kind, record.data).unwrap();
            count += 1;
            let expected = match kind {
                "example" => MessageKind::Example,
                "sequence" => MessageKind::SequenceExample,
                "list" => MessageKind::ExampleListWithContext,
                _ => MessageKind::Other,
            };
            assert_eq!(MessageKind::of(record.data), expected, "{path}, record {}", record.index);
        }
        assert_eq!(count.to_string(), records, "{path}");
        assert_eq!(format!("{:016x}", raw_digest.0), raw, "{path}: the records");
        assert_eq!(format!("{:016x}", held_digest.0), held, "{path}: what they hold");
        checked += 1;
    }
    assert!(checked >= 11, "only {checked} files are there");
}
