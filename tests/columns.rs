//! `tightfit records convert` from and to Parquet and Arrow files.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Folder, tightfit};
use serde_json::json;
use tightfit_format::example::{NamedValues, Values, write_example};
use tightfit_format::tfrecord::RecordWriter;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/golden/columns").join(name)
}

/// Records of a label, three floats, a list of words and bytes of differing length.
fn records(folder: &Folder, count: u64) -> PathBuf {
    let mut writer = RecordWriter::new(Vec::new());
    for i in 0..count {
        let words: Vec<&[u8]> = [&b"one"[..], b"", b"three"].into_iter().take(i as usize % 4).collect();
        let (x, id, blob) = ([i as f32, 0.5, -1.0], [i as i64 - 5], vec![i as u8; (i % 1000) as usize]);
        let blob = [&*blob];
        let features: [NamedValues<'_>; 4] = [
            ("blob", Values::Bytes(&blob)),
            ("id", Values::Int64(&id)),
            ("words", Values::Bytes(&words)),
            ("x", Values::Float(&x)),
        ];
        let mut record = Vec::new();
        write_example(&mut record, &features);
        writer.write(&record).expect("memory");
    }
    folder.write("a.tfrecord", writer.into_inner())
}

#[test]
fn examples_become_columns_and_come_back() {
    let folder = Folder::new();
    let source = records(&folder, 5000);
    for name in ["a.parquet", "a.arrow"] {
        let (columns, back) = (folder.path(name), folder.path("back.tfrecord"));
        for (from, to) in [(&source, &columns), (&columns, &back)] {
            let args =
                ["records", "convert", text(from), "--output", text(to), "--memory", "24MiB", "--json"];
            assert_eq!(tightfit(args).json()["records"], json!(5000));
        }
        assert!(fs::read(&back).expect("the file") == fs::read(&source).expect("the file"), "{name}");
    }
    assert_eq!(folder.names(), ["a.arrow", "a.parquet", "a.tfrecord", "back.tfrecord"]);
}

#[test]
fn files_of_pyarrow_become_examples() {
    let folder = Folder::new();
    let output = folder.path("small.tfrecord");
    let nulls = golden("nulls.parquet");
    // A value that is null inside a list.
    tightfit(["records", "convert", text(&nulls), "--output", text(&output)])
        .assert_fails(1, "column \"l\" is null here");
    assert!(!output.exists());
    let plain = golden("bare.parquet");
    tightfit(["records", "convert", text(&plain), "--output", text(&output)]).assert_fails(1, "does not fit");
    tightfit(["records", "convert", text(&plain), "--output", text(&folder.path("a.csv"))])
        .assert_fails(2, "one side of a conversion has to be TFRecord");
}

#[test]
fn what_a_record_does_not_have_is_null_and_no_value() {
    let folder = Folder::new();
    let ids: [&[i64]; 3] = [&[7], &[], &[9]];
    let mut writer = RecordWriter::new(Vec::new());
    for (i, id) in ids.into_iter().enumerate() {
        let lists = [[0.5f32, 1.0], [2.0, 3.0]];
        let all = [("id", Values::Int64(id)), ("x", Values::Float(&lists[i % 2]))];
        let mut record = Vec::new();
        write_example(&mut record, &all[..2 - i % 2]);
        writer.write(&record).expect("memory");
    }
    let source = folder.write("a.tfrecord", writer.into_inner());
    let (columns, back) = (folder.path("a.parquet"), folder.path("back.tfrecord"));
    for (from, to) in [(&source, &columns), (&columns, &back)] {
        let answer = tightfit(["records", "convert", text(from), "--output", text(to), "--json"]);
        assert_eq!(answer.json()["records"], json!(3));
    }
    let head = tightfit(["records", "head", text(&back), "-n", "3", "--json"]).json();
    let values = |record: usize, name: &str| head["records"][record]["features"][name]["values"].clone();
    assert_eq!([0, 1, 2].map(|r| values(r, "id")), [json!([7]), json!([]), json!([9])]);
    assert_eq!([0, 1, 2].map(|r| values(r, "x")), [json!([0.5, 1.0]), json!([]), json!([0.5, 1.0])]);
}

#[test]
fn too_little_memory_is_an_error() {
    let folder = Folder::new();
    let source = records(&folder, 2000);
    let output = folder.path("a.parquet");
    let answer =
        tightfit(["records", "convert", text(&source), "--output", text(&output), "--memory", "3MiB"]);
    assert!(answer.code != 0 && !output.exists(), "{answer:?}");
}
