//! What lines of JSON become, and what is wrong with them.

use tightfit_core::DType;

use crate::flow::sources::tests::{all, check_resume, error, gzip, open, run};
use crate::flow::tests::Folder;
use crate::flow::{JsonLines, PipelineSpec};

const TEXT: &str = "\u{feff}{\"a\": 1, \"x\": [[1, 2.5], [3, 4]], \"s\": \"\\u00e4\\n\", \"t\": [true, false], \"o\": {\"p\": 1}}\n\
                    \n\
                    {\"x\": [[-1e2, \"NaN\"], [NaN, 0]], \"a\": -7, \"t\": [false, true], \"s\": {\"b64\": \"Yg==\"}, \"n\": null}\r\n\
                    {\"t\": [true, true], \"s\": \"\", \"x\": [[1, 1], [1, 1]], \"\\u0061\": 3, \"a\": 4}";

#[test]
fn objects_become_elements() {
    let folder = Folder::new("jsonl");
    let expected = [
        "a[] 1; x[2, 2] 1 2.5 3 4; s[] \"ä\\n\"; t[2] 1 0",
        "a[] -7; x[2, 2] -100 NaN NaN 0; s[] \"b\"; t[2] 0 1",
        "a[] 4; x[2, 2] 1 1 1 1; s[] \"\"; t[2] 1 1",
    ];
    for (name, bytes) in [("a.jsonl", TEXT.as_bytes().to_vec()), ("b.jsonl.gz", gzip(TEXT.as_bytes()))] {
        let path = folder.write(name, &bytes);
        assert_eq!(run(&format!(r#"{{"source": {{"jsonl": {path:?}}}}}"#)), expected);
        check_resume(&folder, || PipelineSpec::new(JsonLines::new(vec![path.clone()])));
    }
    let path = folder.path("a.jsonl");
    let described = r#""columns": {"a": "float64", "z": {"dtype": "int8", "shape": [2], "default": -1}}, "select": ["z", "a"]"#;
    assert_eq!(
        run(&format!(r#"{{"source": {{"jsonl": {path:?}, {described}}}}}"#)),
        ["z[2] -1 -1; a[] 1", "z[2] -1 -1; a[] -7", "z[2] -1 -1; a[] 4"]
    );
}

#[test]
fn lines_may_be_values() {
    let folder = Folder::new("jsonl-values");
    let path = folder.write("a.jsonl", b"[1, 2]\n [3, 4] \n");
    let got = run(&format!(r#"{{"source": {{"jsonl": {path:?}}}}}"#));
    assert_eq!(got, ["value[2] 1 2", "value[2] 3 4"]);
    // Of another rank than the others: then there is no field to be found.
    let path = folder.write("b.jsonl", b"[1]\n[[1]]\n");
    assert!(error(&format!(r#"{{"source": {{"jsonl": {path:?}}}}}"#)).contains("no key"));
}

#[test]
fn types_are_those_that_are_wanted_where_rows_allow() {
    let folder = Folder::new("jsonl-wanted");
    let path = folder.write("a.jsonl", b"{\"x\": 16777217, \"y\": 1, \"s\": \"1\"}\n");
    let wanted = ["x", "y", "s"].map(|name| (name.to_string(), DType::F64));
    let spec = PipelineSpec::new(JsonLines::new(vec![path])).wanting(&wanted[..1]);
    let mut pipeline = open(spec, 1 << 20).unwrap();
    assert_eq!(pipeline.schema().to_string(), "x: float64 []");
    assert_eq!(all(&mut pipeline), ["x[] 16777217"]);
    // Of names that are not there, all keys are left to choose from.
    let other = [("other".to_string(), DType::F32)];
    let spec = PipelineSpec::new(JsonLines::new(vec![folder.path("a.jsonl")])).wanting(&other);
    assert_eq!(all(&mut open(spec, 1 << 20).unwrap()), ["x[] 16777217; y[] 1; s[] \"1\""]);
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_key() {
    let folder = Folder::new("jsonl-wrong");
    let good = "{\"x\": [1, 2], \"n\": 1}\n".repeat(100);
    for (line, why) in [
        ("{\"x\": [1, 2]}", "\"n\": the key is missing"),
        ("{\"x\": [1, 2], \"n\": null}", "\"n\": the key is missing"),
        ("{\"x\": [1], \"n\": 1}", "\"x\": [1], where: int64 [2] is expected"),
        ("{\"x\": [1, [2]], \"n\": 1}", "\"x\": no tensor"),
        ("{\"x\": [1, 2.5], \"n\": 1}", "\"x\": 2.5 is not a valid int64"),
        ("{\"x\": [1, 2], \"n\": \"a\"}", "\"n\": no int64"),
        ("{\"x\": [1, 2], \"n\": 1", "a comma or }"),
        ("{\"x\": [1, 2], \"n\": 1} x", "the end of the line"),
        ("[1, 2]", "an object is to be"),
    ] {
        let path = folder.write("a.jsonl", format!("{good}{line}\n{good}").as_bytes());
        let got = run(&format!(r#"{{"source": {{"jsonl": {path:?}}}}}"#));
        assert_eq!(got.len(), 201, "{line}");
        let told = &got[100];
        assert!(told.contains("a.jsonl, line 101 at byte") && told.contains(why), "{told}");
        let skipped = run(&format!(r#"{{"source": {{"jsonl": {path:?}}}, "stages": [{{"skip_bad": 1}}]}}"#));
        assert_eq!(skipped.len(), 200, "{line}");
    }
    for (text, why) in
        [("", "no lines"), ("\n\n", "no lines"), ("{", "line 1: the line ends"), ("{\"a\": {}}", "no key")]
    {
        let path = folder.write("b.jsonl", text.as_bytes());
        let error = error(&format!(r#"{{"source": {{"jsonl": {path:?}}}}}"#));
        assert!(error.contains(why) && error.contains("b.jsonl"), "{text}: {error}");
    }
    let path = folder.write("c.jsonl", b"{\"a\": 1}");
    for (options, why) in [
        (r#""columns": {"a": "int"}"#, "is not an element type"),
        (r#""columns": {"a": {"dtype": "int8", "shape": 3}}"#, "no shape"),
        (r#""columns": {"a": {"dtype": "int8", "default": 300}}"#, "not of type int8"),
        (r#""columns": {"a": {"dtype": "int8", "shape": [null], "default": 3}}"#, "open dimensions"),
        (r#""select": ["b"]"#, "no key \"b\""),
    ] {
        let error = error(&format!(r#"{{"source": {{"jsonl": {path:?}, {options}}}}}"#));
        assert!(error.contains(why), "{options}: {error}");
    }
}

#[test]
fn a_line_that_does_not_fit_is_passed_over() {
    let folder = Folder::new("jsonl-long");
    let long = format!("{{\"s\": \"{}\"}}", "x".repeat(3 << 20));
    let path = folder.write("a.jsonl", format!("{{\"s\": \"a\"}}\n{long}\n{{\"s\": \"b\"}}\n").as_bytes());
    let got = all(&mut open(PipelineSpec::new(JsonLines::new(vec![path.clone()])), 1 << 20).unwrap());
    assert!(got.len() == 3 && got[0] == "s[] \"a\"" && got[2] == "s[] \"b\"", "{got:?}");
    assert!(got[1].contains("line 2") && got[1].contains("JSON line needs"), "{got:?}");
    let all = all(&mut open(PipelineSpec::new(JsonLines::new(vec![path])), 16 << 20).unwrap());
    assert!(all.len() == 3 && all[1].len() > 3 << 20);
    // Many keys are counted before they are kept.
    let keys: String = (0..100_000).map(|i| format!("\"k{i}\": 1, ")).collect();
    let path = folder.write("b.jsonl", format!("{{{keys}\"x\": 1}}").as_bytes());
    let error = open(PipelineSpec::new(JsonLines::new(vec![path])), 4 << 20).err().unwrap();
    assert!(error.contains("needs"), "{error}");
}
