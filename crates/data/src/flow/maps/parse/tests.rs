//! Parsing against what TensorFlow makes of the same bytes.

use proptest::prelude::*;
use serde_json::json;
use tightfit_core::DType;
use tightfit_format::example::list::write_example_list;
use tightfit_format::example::sequence::write_sequence_example;
use tightfit_format::example::{NamedValues, Values, write_example};

use super::*;
use crate::error::RowFault;
use crate::flow::element::{Element, Field};
use crate::flow::origin::Origin;
use crate::flow::tests::{Folder, show};
use crate::flow::{Pipeline, TfRecord};

fn parse(spec: serde_json::Value, record: &[u8]) -> Result<Vec<String>, String> {
    let budget = MemoryBudget::new(1 << 20);
    let op = Parse::new(ParseSpec::from_json(&spec)?);
    assert_eq!(
        ParseSpec::from_json(&op.spec.as_ref().unwrap().to_json()).as_ref(),
        Ok(op.spec.as_ref().unwrap())
    );
    let input = Arc::new(Schema::new(vec![Field::fixed("record", DType::String, &[])])?);
    let schema = op.schema(&input)?;
    let mut worker = op.worker(&input, &budget).map_err(|e| e.to_string())?;
    let mut element = Element::new(input, "test", &budget);
    element.begin(Origin::default());
    element.add_string(record).map_err(|e| e.to_string())?;
    let mut out = Element::new(Arc::new(schema), "test", &budget);
    // Twice, as what is kept between records must not be seen.
    for _ in 0..2 {
        out.begin(Origin::default());
        worker.run(&element.view(), &mut out).map_err(|fault: RowFault| fault.to_string())?;
    }
    Ok(show(&out.view()))
}

fn example(features: &[NamedValues<'_>]) -> Vec<u8> {
    let mut record = Vec::new();
    write_example(&mut record, features);
    record
}

const FEATURES: [NamedValues<'static>; 6] = [
    ("f", Values::Float(&[0.5, 1.5, -2.0, 4.0])),
    ("i", Values::Int64(&[1, -2, 300])),
    ("lens", Values::Int64(&[2, 0, 1])),
    ("none", Values::Float(&[])),
    ("raw", Values::Bytes(&[&[1, 0, 2, 0, 2, 3]])),
    ("s", Values::Bytes(&[b"a", b"", b"xyz"])),
];

#[test]
fn parses_examples_as_tensorflow() {
    // As of tf.io.parse_single_example with FixedLenFeature, FixedLenSequenceFeature(allow_missing=True),
    // VarLenFeature (its values), RaggedFeature, tf.io.decode_raw and tf.cast.
    let spec = json!({"features": {
        "i": {"dtype": "int32", "shape": [3]},
        "f": {"dtype": "float16", "shape": [null, 2]},
        "s": {"dtype": "string", "row_lengths": "lens"},
        "raw": {"raw": "uint16", "shape": [3, 1], "dtype": "float32"},
        "d": {"dtype": "float32", "shape": [2], "default": [7, 8.5]},
        "void": {"dtype": "float32", "shape": [2], "default": 1.0},
        "none": {"dtype": "float32", "shape": [0]},
        "t": {"dtype": "string", "shape": [], "default": "no"},
        "m": {"dtype": "int64"},
        "lens": {"dtype": "int64"},
    }});
    let expected = [
        "i[3] 1 -2 300",
        "f[2, 2] 0.5 1.5 -2 4",
        "s[3] \"a\" \"\" \"xyz\"",
        "s/row_splits[4] 0 2 2 3",
        "raw[3, 1] 1 2 770",
        "d[2] 7 8.5",
        "void[2] 1 1",
        "none[0] ",
        "t[] \"no\"",
        "m[0] ",
        "lens[3] 2 0 1",
    ];
    // With a feature of no kind, which is as good as none.
    let record = [&example(&FEATURES)[..], b"\x0a\x0a\x0a\x08\x0a\x04void\x12\x00"].concat();
    assert_eq!(parse(spec, &record).unwrap(), expected);
}

#[test]
fn a_name_that_comes_twice_counts_as_its_last() {
    let record = [example(&[("a", Values::Int64(&[1]))]), example(&[("a", Values::Int64(&[2]))])].concat();
    assert_eq!(
        parse(json!({"features": {"a": {"dtype": "int8", "shape": []}}}), &record).unwrap(),
        ["a[] 2"]
    );
}

#[test]
fn what_does_not_fit_names_the_feature() {
    let record = example(&FEATURES);
    for (feature, why) in [
        (json!({"x": {"dtype": "float32", "shape": []}}), "it has no feature \"x\""),
        (
            json!({"none": {"dtype": "float32", "shape": [2], "default": 1.0}}),
            "\"none\" has 0 values, a row needs 2",
        ),
        (json!({"x": {"dtype": "float32", "allow_missing": false}}), "it has no feature \"x\""),
        (json!({"i": {"dtype": "int64", "shape": [2]}}), "\"i\" has 3 values, a row needs 2"),
        (json!({"i": {"dtype": "int64", "shape": [null, 2]}}), "\"i\" has 3 values, a row needs 4"),
        (json!({"i": {"dtype": "string", "shape": [3]}}), "\"i\" holds integers, which cannot become string"),
        (json!({"f": {"dtype": "int64", "shape": [4]}}), "\"f\" holds floats, which cannot become int64"),
        (json!({"i": {"dtype": "uint8", "shape": [3]}}), "feature \"i\": -2 does not fit uint8"),
        (json!({"i": {"raw": "uint8"}}), "\"i\" holds integers"),
        (json!({"raw": {"raw": "uint8", "shape": [5]}}), "has 6 bytes and is not an image; a row needs 5"),
        (json!({"raw": {"raw": "float32"}}), "has 6 bytes and is not an image; a row needs 8"),
        (json!({"s": {"raw": "uint8"}}), "\"s\" has 3 values, a row needs 1"),
        (
            json!({"f": {"dtype": "float32", "row_lengths": "lens"}}),
            "feature \"lens\": its rows end at value 3",
        ),
        (json!({"s": {"dtype": "string", "row_splits": "lens"}}), "feature \"lens\": its rows go backwards"),
        (json!({"s": {"dtype": "string", "row_splits": "x"}}), "it has no feature \"x\""),
        (json!({"s": {"dtype": "strings"}}), "feature \"s\": \"strings\" is not an element type"),
        (json!({"s": {"shape": []}}), "feature \"s\": it has no dtype"),
        (json!({"s": {"dtype": "string", "shapes": []}}), "there is no option \"shapes\""),
        (json!({"i": {"dtype": "int64", "shape": [-1]}}), "[-1] is not a shape"),
        (json!({"i": {"dtype": "int64", "shape": [null, 0]}}), "no elements"),
        (json!({"i": {"dtype": "int64", "shape": [4294967296u64, 4294967296u64]}}), "feature \"i\""),
        (json!({"i": {"dtype": "uint8", "shape": [], "default": 256}}), "256 does not fit uint8"),
        (json!({"i": {"dtype": "uint8", "shape": [3], "default": [1, 2]}}), "the default has another shape"),
        (json!({"i": {"dtype": "uint8", "shape": [], "default": "a"}}), "the default is text"),
        (json!({"i": {"raw": "float32", "dtype": "uint8"}}), "float32 values do not become uint8"),
    ] {
        let error = parse(json!({"features": feature}), &record).unwrap_err();
        assert!(error.contains(why), "{feature}: {error}");
    }
}

#[test]
fn parses_sequences_as_tensorflow() {
    // As of tf.io.parse_single_sequence_example with FixedLenFeature in the context, and FixedLenSequenceFeature and
    // RaggedFeature in the sequence.
    let mut record = Vec::new();
    let frames = [Values::Float(&[1.0, 2.0]), Values::Float(&[3.0, 4.0]), Values::Float(&[5.0, 6.0])];
    let words = [Values::Bytes(&[b"a", b"b"]), Values::Bytes(&[]), Values::Bytes(&[b"c"])];
    let lists = [("frame", &frames[..]), ("words", &words[..])];
    write_sequence_example(&mut record, &[("id", Values::Int64(&[9]))], &lists);
    let spec = |sequence| json!({"features": {"id": {"dtype": "int64", "shape": []}}, "sequence": sequence});
    let got = parse(
        spec(json!({
            "words": {"dtype": "string"},
            "frame": {"dtype": "float64", "shape": [2]},
            "x": {"dtype": "int64"},
            "y": {"dtype": "int64", "shape": [4], "allow_missing": true},
        })),
        &record,
    );
    let expected = [
        "id[] 9",
        "words[3] \"a\" \"b\" \"c\"",
        "words/row_splits[4] 0 2 2 3",
        "frame[3, 2] 1 2 3 4 5 6",
        "x[0] ",
        "x/row_splits[1] 0",
        "y[0, 4] ",
    ];
    assert_eq!(got.unwrap(), expected);
    let error = parse(spec(json!({"y": {"dtype": "int64", "shape": []}})), &record).unwrap_err();
    assert!(error.contains("no feature \"y\""), "{error}");
    let error = parse(spec(json!({"frame": {"dtype": "float32", "shape": []}})), &record).unwrap_err();
    assert!(error.contains("\"frame\" has 2 values, a row needs 1"), "{error}");
}

#[test]
fn parses_lists_of_examples() {
    let mut record = Vec::new();
    let first = [("a", Values::Int64(&[1])), ("t", Values::Bytes(&[b"x", b"y"]))];
    let second = [("t", Values::Bytes(&[])), ("a", Values::Int64(&[2]))];
    let third = [("a", Values::Int64(&[3]))];
    write_example_list(&mut record, &[&first, &second, &third], Some(&[("q", Values::Float(&[0.5]))]));
    let spec = |examples| json!({"features": {"q": {"dtype": "float32", "shape": []}}, "examples": examples});
    let got = parse(spec(json!({"a": {"dtype": "uint8", "shape": [1]}, "t": {"dtype": "string"}})), &record);
    let expected = ["q[] 0.5", "a[3, 1] 1 2 3", "t[2] \"x\" \"y\"", "t/row_splits[4] 0 2 2 2"];
    assert_eq!(got.unwrap(), expected);
    let error = parse(spec(json!({"t": {"dtype": "string", "shape": []}})), &record).unwrap_err();
    assert!(error.contains("\"t\" has 2 values, a row needs 1"), "{error}");
    let error = parse(spec(json!({"t": {"dtype": "string", "allow_missing": false}})), &record).unwrap_err();
    assert!(error.contains("no feature \"t\""), "{error}");
}

#[test]
fn a_list_of_very_many_examples_is_an_error_of_the_budget() {
    let record = [0x0a, 0].repeat(200_000);
    let error = parse(json!({"examples": {"t": {"dtype": "string"}}}), &record).unwrap_err();
    assert!(error.contains("parse") && error.contains("budget"), "{error}");
}

#[test]
fn learns_what_there_is() {
    let folder = Folder::new("infer");
    let learn = |records: Vec<Vec<u8>>| {
        let path = folder.records("a.tfrecord", records);
        let before = PipelineSpec::new(TfRecord { paths: vec![path], interleave: Default::default() });
        let spec = Parse::default().infer(&before, &MemoryBudget::new(8 << 20)).map(|spec| spec.to_json());
        // And it can be used.
        if spec.is_ok() {
            let budget = MemoryBudget::new(8 << 20);
            let mut pipeline = Pipeline::open(&before.then(Parse::default()), &budget, 2).unwrap();
            while pipeline.advance().unwrap() {}
        }
        spec.map(|spec| spec.to_string()).map_err(|e| e.to_string())
    };
    let one = example(&FEATURES);
    let two = example(&[
        ("f", Values::Float(&[0.5, 1.5, -2.0, 4.0])),
        ("i", Values::Int64(&[1])),
        ("new", Values::Int64(&[1])),
        ("raw", Values::Bytes(&[b"x"])),
    ]);
    assert_eq!(
        learn(vec![one.clone(), two]).unwrap(),
        concat!(
            r#"{"features":{"f":{"dtype":"float32","shape":[4],"allow_missing":false},"#,
            r#""i":{"dtype":"int64","allow_missing":true},"lens":{"dtype":"int64","allow_missing":true},"#,
            r#""new":{"dtype":"int64","allow_missing":true},"none":{"dtype":"float32","allow_missing":true},"#,
            r#""raw":{"dtype":"string","shape":[],"allow_missing":false},"s":{"dtype":"string","allow_missing":true}}}"#
        )
    );
    let mut sequence = Vec::new();
    let steps = [Values::Float(&[1.0, 2.0]), Values::Float(&[3.0, 4.0])];
    write_sequence_example(&mut sequence, &[("c", Values::Int64(&[7]))], &[("w", &steps), ("v", &[])]);
    assert_eq!(
        learn(vec![sequence.clone(); 2]).unwrap(),
        r#"{"features":{"c":{"dtype":"int64","shape":[],"allow_missing":false}},"sequence":{"w":{"dtype":"float32","shape":[2],"allow_missing":false}}}"#
    );
    let mut list = Vec::new();
    let both = [("a", Values::Int64(&[1])), ("t", Values::Bytes(&[b"x"]))];
    write_example_list(&mut list, &[&both, &both[..1]], Some(&[("q", Values::Float(&[0.5]))]));
    assert_eq!(
        learn(vec![list.clone()]).unwrap(),
        r#"{"features":{"q":{"dtype":"float32","shape":[],"allow_missing":false}},"examples":{"a":{"dtype":"int64","shape":[],"allow_missing":false},"t":{"dtype":"string","allow_missing":true}}}"#
    );
    for (records, why) in [
        (vec![], "no record to learn"),
        (vec![one.clone(), b"no example".to_vec()], "a.tfrecord, record 1 at byte"),
        (vec![sequence, list], "another message"),
        (vec![one, example(&[("i", Values::Float(&[1.0]))])], "a feature holds floats here and integers"),
    ] {
        let error = learn(records).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

proptest! {
    /// Whatever the bytes, there is an element or an error.
    #[test]
    fn hostile_records_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0usize..90, at in 0usize..90, value: u8) {
        let feature = json!({"i": {"dtype": "int32"}, "f": {"dtype": "float16", "shape": [null, 2]}, "raw": {"raw": "uint8"},
            "s": {"dtype": "string", "row_lengths": "lens"}});
        let steps = json!({"i": {"dtype": "int64"}, "f": {"dtype": "float32", "shape": [2], "allow_missing": true}});
        let mut broken = example(&FEATURES);
        broken.truncate(cut);
        if let Some(byte) = broken.get_mut(at) {
            *byte = value;
        }
        for record in [bytes, broken] {
            for spec in [
                json!({"features": feature}),
                json!({"features": feature, "sequence": steps}),
                json!({"features": feature, "examples": steps}),
            ] {
                let _ = parse(spec, &record);
            }
        }
    }
}
