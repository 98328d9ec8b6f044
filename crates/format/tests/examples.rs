//! Examples and SequenceExamples as TensorFlow writes them, and in every other encoding that protobuf allows, are read
//! and written again: byte for byte the file that TensorFlow writes of them. `tests/golden/examples.py` makes the files,
//! and does the same with many more.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::message::MessageKind;
use tightfit_format::tfrecord::{RecordReader, RecordWriter};

#[path = "common/canonical.rs"]
mod canonical;

fn rewritten(path: &Path, kind: &str) -> Vec<u8> {
    let window = Buffer::new(&MemoryBudget::new(1 << 20), "test", 64 << 10).unwrap();
    let mut reader =
        RecordReader::new(Arc::from(path), fs::File::open(path).unwrap(), window).expect("a header");
    let mut writer = RecordWriter::new(Vec::new());
    while let Some(record) = reader.next_record().unwrap() {
        let again = canonical::canonical(kind, record.data).unwrap();
        writer.write(&again).unwrap();
        let found = MessageKind::of(&again);
        assert!(matches!(found, MessageKind::Example | MessageKind::SequenceExample), "{found}: {again:?}");
    }
    writer.into_inner()
}

#[test]
fn what_was_read_is_written_as_tensorflow_writes_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples");
    let mut checked = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "expected") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = if name.contains("sequence") { "sequence" } else { "example" };
        let expected = fs::read(PathBuf::from(format!("{}.expected", path.display()))).unwrap();
        assert!(rewritten(&path, kind) == expected, "{name} is written differently");
        checked += 1;
    }
    assert_eq!(checked, 8);
}
