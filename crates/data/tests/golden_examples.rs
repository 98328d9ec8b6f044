//! Records parsed and written against TensorFlow's results, which `golden_examples.py` made.
#![allow(missing_docs)]

mod common;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use common::golden;
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::Access;
use tightfit_data::flow::{ElementView, Parse, Pipeline, PipelineSpec};
use tightfit_format::npy::{NpyReader, trim_zeros};

const PARSE: &str = r#"{"parse": {"features": {
    "a": {"dtype": "int64", "shape": [2]}, "b": {"dtype": "float32", "shape": [3]},
    "c": {"dtype": "string", "shape": []}, "d": {"dtype": "int64"}, "e": {"dtype": "string"}}}}"#;

fn open(source: &str, stages: &str) -> Pipeline {
    let source = golden(source);
    let json = format!(r#"{{"source": {{"tfrecord": {source:?}}}, "stages": [{stages}]}}"#);
    let spec = PipelineSpec::from_json(&json, &Access::everything(), &|_| None).unwrap();
    Pipeline::open(&spec, &MemoryBudget::new(16 << 20), 2).unwrap()
}

/// Values, each as its bytes.
type Values = Vec<Vec<u8>>;

/// The values of an array.
fn array(name: &str) -> Values {
    let path: PathBuf = golden(name);
    let mut reader = NpyReader::new(Arc::from(path.clone()), File::open(path).unwrap()).unwrap();
    let header = *reader.header();
    let mut bytes = vec![0; header.data_bytes() as usize];
    reader.read_all(&mut bytes).unwrap();
    let trim = |value: &[u8]| match header.element.dtype() {
        DType::String => trim_zeros(value).to_vec(),
        _ => value.to_vec(),
    };
    bytes.chunks_exact(header.element.bytes()).map(trim).collect()
}

fn values(view: &ElementView<'_>, field: &str) -> Values {
    let tensor = view.field(field).unwrap();
    match tensor.dtype() {
        DType::String => {
            view.strings(view.schema().find(field).unwrap()).map(|text| text.unwrap().to_vec()).collect()
        }
        dtype => tensor.bytes().chunks_exact(dtype.bytes()).map(<[u8]>::to_vec).collect(),
    }
}

#[test]
fn parses_what_tensorflow_parses() {
    let with_missing =
        PARSE.replace(r#""e": "#, r#""missing": {"dtype": "float32", "shape": [], "default": 0.5}, "e": "#);
    let mut pipeline = open("examples.tfrecord", &with_missing);
    let mut found: Vec<(&str, Values, Values)> =
        ["a", "b", "c", "d", "e", "missing"].map(|name| (name, Vec::new(), Vec::new())).to_vec();
    while pipeline.advance().unwrap() {
        for (name, all, lengths) in &mut found {
            let values = values(&pipeline.current(), name);
            lengths.push((values.len() as i32).to_le_bytes().to_vec());
            all.extend(values);
        }
    }
    for (name, all, lengths) in found {
        assert_eq!(all, array(&format!("examples.{name}.npy")), "{name}");
        if ["d", "e"].contains(&name) {
            assert_eq!(lengths, array(&format!("examples.{name}.lengths.npy")), "{name}");
        }
    }
}

#[test]
fn writes_what_tensorflow_writes() {
    let mut ours = open("examples.tfrecord", &format!(r#"{PARSE}, {{"serialize": null}}"#));
    let mut theirs = open("examples.deterministic.tfrecord", "");
    let mut records = 0;
    while theirs.advance().unwrap() {
        assert!(ours.advance().unwrap());
        assert_eq!(ours.current().string(0), theirs.current().string(0));
        records += 1;
    }
    assert!(!ours.advance().unwrap() && records == 300);
}

#[test]
fn learns_the_same_features() {
    let before = PipelineSpec::from_json(
        &format!(r#"{{"source": {{"tfrecord": {:?}}}}}"#, golden("examples.tfrecord")),
        &Access::everything(),
        &|_| None,
    );
    let spec = Parse::default().infer(&before.unwrap(), &MemoryBudget::new(4 << 20)).unwrap();
    assert_eq!(
        spec.to_json().to_string(),
        concat!(
            r#"{"features":{"a":{"dtype":"int64","shape":[2],"allow_missing":false},"#,
            r#""b":{"dtype":"float32","shape":[3],"allow_missing":false},"#,
            r#""c":{"dtype":"string","shape":[],"allow_missing":false},"#,
            r#""d":{"dtype":"int64","allow_missing":true},"e":{"dtype":"string","allow_missing":true}}}"#
        )
    );
}
