//! Sources over small files: what they give, where they stop, and how they go on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use half::bf16;
use proptest::prelude::*;
use serde_json::{Value, json};
use tightfit_core::{DType, MemoryBudget, Shape};
use tightfit_format::npz::NpzWriter;
use tightfit_format::spool::Rows as SpoolRows;

use crate::Access;
use crate::error::RowFault;
use crate::flow::tests::{Folder, show};
use crate::flow::{Element, Field, Generated, Pipeline, PipelineSpec, Schema};

fn spec(json: &str) -> PipelineSpec {
    PipelineSpec::from_json(json, &Access::everything(), &|_| None).unwrap()
}

/// Elements and errors in order.
pub(super) fn all(pipeline: &mut Pipeline) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match pipeline.advance() {
            Ok(true) => all.push(show(&pipeline.current()).join("; ")),
            Ok(false) => return all,
            Err(error) => all.push(error.to_string()),
        }
    }
}

pub(super) fn open(spec: PipelineSpec, budget_bytes: u64) -> Result<Pipeline, String> {
    Pipeline::open(&spec, &MemoryBudget::new(budget_bytes), 2).map_err(|error| error.to_string())
}

pub(super) fn run(json: &str) -> Vec<String> {
    all(&mut open(spec(json), 16 << 20).unwrap())
}

pub(super) fn error(json: &str) -> String {
    let read =
        PipelineSpec::from_json(json, &Access::everything(), &|_| None).map_err(|error| error.to_string());
    read.and_then(|spec| open(spec, 16 << 20).map(drop)).unwrap_err()
}

/// Whatever the element at which the state is saved, what comes before it and after it is the whole.
pub(super) fn check_resume(folder: &Folder, make: impl Fn() -> PipelineSpec) {
    let whole = all(&mut open(make(), 16 << 20).unwrap());
    for at in 0..=whole.len() {
        let mut pipeline = open(make(), 16 << 20).unwrap();
        let mut seen = Vec::new();
        while seen.len() < at && pipeline.advance().unwrap() {
            seen.push(show(&pipeline.current()).join("; "));
        }
        let state = folder.path("state");
        pipeline.save_state(&state).unwrap();
        let mut resumed = open(make(), 16 << 20).unwrap();
        resumed.resume(&state).unwrap();
        seen.extend(all(&mut resumed));
        assert_eq!(seen, whole, "saved after {at}");
        pipeline.reset(1).unwrap();
        assert_eq!(all(&mut pipeline), whole);
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

impl Folder {
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

#[test]
fn lines_as_tensorflow() {
    let folder = Folder::new("lines");
    // As of tf.data.TextLineDataset.
    let cases: [(&[u8], &[&str]); 4] = [
        (b"a\r\nb\n\nc\n\xff", &["a", "b", "", "c", "\u{fffd}"]),
        (b"", &[]),
        (b"a\n", &["a"]),
        (b"\n", &[""]),
    ];
    for (text, lines) in cases {
        for (name, bytes) in [("a.txt", text.to_vec()), ("a.txt.gz", gzip(text))] {
            let path = folder.write(name, &bytes);
            let expected: Vec<_> = lines.iter().map(|line| format!("line[] {line:?}")).collect();
            assert_eq!(run(&format!(r#"{{"source": {{"text": {path:?}}}}}"#)), expected);
            let filled: Vec<_> = expected.iter().filter(|line| *line != "line[] \"\"").cloned().collect();
            assert_eq!(run(&format!(r#"{{"source": {{"text": {path:?}, "skip_empty": true}}}}"#)), filled);
        }
    }
}

#[test]
fn a_line_that_does_not_fit_is_an_error_with_its_place() {
    let folder = Folder::new("long-line");
    let text = [&b"one\n"[..], &[b'x'; 3 << 20], b"\nthree\n"].concat();
    for (name, bytes) in [("a.txt", text.clone()), ("b.txt.gz", gzip(&text))] {
        let path = folder.write(name, &bytes);
        let json = format!(r#"{{"source": {{"text": {path:?}}}}}"#);
        let got = all(&mut open(spec(&json), 1 << 20).unwrap());
        assert_eq!((got.len(), &got[0][..], &got[2][..]), (3, "line[] \"one\"", "line[] \"three\""));
        assert!(got[1].contains(&format!("{name}, line 2 at byte 4: lines needs")), "{}", got[1]);
        assert_eq!(run(&json).len(), 3);
    }
}

#[test]
fn lines_go_on() {
    let folder = Folder::new("lines-resume");
    let text: String = (0..20).map(|i| format!("{i}\n{}", if i % 3 == 0 { "\r\n" } else { "" })).collect();
    let plain = folder.write("a.txt", text.as_bytes());
    let packed = folder.write("b.txt.gz", &gzip(text.as_bytes()));
    check_resume(&folder, || {
        spec(&format!(
            r#"{{"source": {{"text": [{plain:?}, {packed:?}], "cycle": 2, "block": 3, "skip_empty": true}}}}"#
        ))
    });
}

#[test]
fn csv_as_tensorflow() {
    let folder = Folder::new("csv");
    let csv = |text: &str, options: &str| {
        let path = folder.write("a.csv", text.as_bytes());
        run(&format!(r#"{{"source": {{"csv": {path:?}{options}}}}}"#))
    };
    // As of tf.data.experimental.CsvDataset with record_defaults [tf.int32, 0.25, "none"] and header=True.
    let options = r#", "columns": {"a": "int32", "b": {"dtype": "float32", "default": 0.25},
                      "c": {"dtype": "string", "default": "none"}}"#;
    let text = "a,b,c\r\n1, 2.5 ,\"x \"\"y\"\",\nz\"\r\n-3,,\n";
    let expected = ["a[] 1; b[] 2.5; c[] \"x \\\"y\\\",\\nz\"", "a[] -3; b[] 0.25; c[] \"none\""];
    assert_eq!(csv(text, options), expected);
    let int =
        |rest: &str| format!(r#", "names": ["a", "b"], "columns": {{"a": "int32", "b": "int32"}}{rest}"#);
    // Selected columns and another delimiter, quotes around numbers, no quotes at all, and signs.
    let semicolons = r#", "names": ["a", "b", "c"], "select": ["c", "a"], "delimiter": ";""#;
    assert_eq!(csv("1;2;3\n", semicolons), ["c[] 3; a[] 1"]);
    assert_eq!(csv("\"3\",+4", &int("")), ["a[] 3; b[] 4"]);
    let plain = r#", "names": ["a", "b"], "quotes": false"#;
    assert_eq!(csv("\"a,b\n", plain), ["a[] \"\\\"a\"; b[] \"b\""]);
    // What TensorFlow refuses as well.
    let path = folder.path("a.csv").display().to_string();
    for (text, why) in [
        ("3000000000,4\n", "line 1 at byte 0: column \"a\": \"3000000000\" is not a valid int32"),
        ("1,2\nx,2\n", "line 2 at byte 4: column \"a\": \"x\" is not a valid int32"),
        (",2\n", "line 1 at byte 0: column \"a\": it is required but missing"),
        ("1\n", "1 fields, but there are 2 columns"),
        ("1,2,3\n", "3 fields, but there are 2 columns"),
        ("1,2\n\n\"1,2", "line 3 at byte 5: a quote is not closed"),
        ("\"1\"1,2\n", "text after a closing quote"),
    ] {
        let got = csv(text, &int("")).pop().unwrap();
        assert!(got.starts_with(&path) && got.contains(why), "{got}");
    }
    // A blank line is one empty cell.
    let one = |dtype: &str| format!(r#", "names": ["a"], "columns": {{"a": {dtype}}}"#);
    assert_eq!(
        csv("1\n\n3\r\n\r\n", &one(r#"{"dtype": "int32", "default": 7}"#)),
        ["a[] 1", "a[] 7", "a[] 3", "a[] 7"]
    );
    let got = csv("1\n\n3\n", &one(r#""int32""#));
    assert!(
        got.len() == 3 && got[1].contains("line 2 at byte 2: column \"a\": it is required but missing"),
        "{got:?}"
    );
    let got = csv("1,2\n\n3,4\n", &int(""));
    assert!(
        got.len() == 3 && got[1].contains("line 2 at byte 4: 1 fields, but there are 2 columns"),
        "{got:?}"
    );
    // Lines that end in CR.
    assert_eq!(csv("1,2\r3,4\r", &int("")), ["a[] 1; b[] 2", "a[] 3; b[] 4"]);
    // A bad row does not end the file.
    assert_eq!(csv("1,2\n\"x\"y,2\n5,6\n", &int("")).len(), 3);
    assert_eq!(csv("NA,2\n", &int(r#", "na": "NA""#)).len(), 1);
}

#[test]
fn csv_finds_the_types_of_columns() {
    let folder = Folder::new("csv-types");
    let path = folder.write("a.csv", b"\xef\xbb\xbfi,f,s,n\n1,2,x,\n,0.5,007,\n");
    assert_eq!(
        run(&format!(r#"{{"source": {{"csv": {path:?}}}}}"#)),
        [
            "i[] 1; f[] 2; s[] \"x\"; n[] \"\"".to_string(),
            format!(
                "{}, line 3 at byte 18: column \"i\": it is required but missing; \"columns\": {{\"i\": {{\"dtype\": \
                 \"int64\", \"default\": ..}}}} says what it is then",
                path.display()
            ),
        ]
    );
    assert_eq!(
        run(&format!(
            r#"{{"source": {{"csv": {path:?}, "columns": {{"i": {{"dtype": "int64", "default": -1}}}}}}}}"#
        )),
        ["i[] 1; f[] 2; s[] \"x\"; n[] \"\"", "i[] -1; f[] 0.5; s[] \"007\"; n[] \"\""]
    );
    let other = folder.write("b.csv", b"i,g,s,n\n1,2,x,\n");
    let got = run(&format!(r#"{{"source": {{"csv": [{path:?}, {other:?}]}}}}"#));
    assert!(got[2].contains("b.csv, line 1 at byte 0: other columns"), "{got:?}");
    for (options, why) in [
        (r#", "select": ["z"]"#, "there is no column \"z\", but i, f, s, n"),
        (r#", "columns": {"z": "int32"}"#, "there is no column \"z\""),
        (r#", "columns": {"i": "int31"}"#, "csv: column \"i\": \"int31\" is not an element type"),
        (
            r#", "columns": {"i": {"dtype": "int8", "default": 300}}"#,
            "the default \"300\" is not of type int8",
        ),
        (r#", "columns": {"i": "complex64"}"#, "there are no complex columns"),
        (r#", "delimiter": "ab""#, "one character"),
        (r#", "header": false"#, "the columns need names"),
        (r#", "select": ["i", "i"]"#, "two fields are called \"i\""),
    ] {
        let error = error(&format!(r#"{{"source": {{"csv": {path:?}{options}}}}}"#));
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn csv_goes_on() {
    let folder = Folder::new("csv-resume");
    let rows: String = (0..15).map(|i| format!("{i},\"{}\n\"\"\"\r\n", "x".repeat(i))).collect();
    let text = format!("a,b\n{rows}");
    let plain = folder.write("a.csv", text.as_bytes());
    let packed = folder.write("b.csv.gz", &gzip(text.as_bytes()));
    check_resume(&folder, || {
        spec(&format!(r#"{{"source": {{"csv": [{plain:?}, {packed:?}], "cycle": 2, "block": 2}}}}"#))
    });
}

/// A .npy file as numpy writes it.
fn npy(descr: &str, is_fortran: bool, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let dims: String = dims.iter().map(|dim| format!("{dim},")).collect();
    let fortran = if is_fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({dims}), }}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), data].concat()
}

/// The values of an array of this shape in the order of the file: each is its number in C order.
fn numbers(dims: &[usize], is_fortran: bool) -> Vec<usize> {
    let count: usize = dims.iter().product();
    if !is_fortran {
        return (0..count).collect();
    }
    let place = |mut at: usize| {
        let mut number = 0;
        let index: Vec<usize> = dims.iter().map(|dim| (at % dim, at /= dim).0).collect();
        index.iter().zip(dims).for_each(|(i, dim)| number = number * dim + i);
        number
    };
    (0..count).map(place).collect()
}

fn rows_of(dims: &[usize], name: &str) -> Vec<String> {
    let row: usize = dims[1..].iter().product();
    let values = |r: usize| (r * row..(r + 1) * row).map(|v| v.to_string()).collect::<Vec<_>>().join(" ");
    (0..dims[0]).map(|r| format!("{name}{:?} {}", &dims[1..], values(r))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every order of dimensions and bytes, through any window.
    #[test]
    fn arrays_of_every_order(dims in prop::collection::vec(1usize..7, 1..5), rows in 1usize..200, is_fortran: bool, is_big: bool, window in 0usize..3000, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("npy-{case}"));
        let dims = [&[rows][..], &dims[..]].concat();
        let bytes: Vec<u8> = numbers(&dims, is_fortran).iter().flat_map(|v| match is_big {
            true => (*v as f32).to_be_bytes(),
            false => (*v as f32).to_le_bytes(),
        }).collect();
        let path = folder.write("a.npy", &npy(if is_big { ">f4" } else { "<f4" }, is_fortran, &dims, &bytes));
        let json = format!(r#"{{"source": {{"npy": {path:?}, "field": "x", "window": {window}}}}}"#);
        let mut pipeline = open(spec(&json), 8 << 20).unwrap();
        prop_assert_eq!(pipeline.rows(), Some(rows as u64));
        prop_assert_eq!(all(&mut pipeline), rows_of(&dims, "x"));
    }
}

#[test]
fn arrays_of_strings_and_small_floats() {
    let folder = Folder::new("npy-strings");
    let path = folder.write("s.npy", &npy("|S3", true, &[2, 2], b"a\0\0abc\0\0\0b\0c"));
    assert_eq!(
        run(&format!(r#"{{"source": {{"npy": {path:?}}}}}"#)),
        ["array[2] \"a\" \"\"", "array[2] \"abc\" \"b\\0c\""]
    );
    let points: Vec<u8> = ['é', '\0', '€', 'x'].iter().flat_map(|c| u32::from(*c).to_be_bytes()).collect();
    let path = folder.write("u.npy", &npy(">U2", false, &[2], &points));
    assert_eq!(run(&format!(r#"{{"source": {{"npy": {path:?}}}}}"#)), ["array[] \"é\"", "array[] \"€x\""]);
    let halves: Vec<u8> = [1.5, -2.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
    let path = folder.write("b.npy", &npy("<V2", false, &[2, 1], &halves));
    assert_eq!(run(&format!(r#"{{"source": {{"npy": {path:?}}}}}"#)), ["array[1] 1.5", "array[1] -2"]);
    let path = folder.write("e.npy", &npy("<f4", true, &[3, 0, 2], &[]));
    assert_eq!(run(&format!(r#"{{"source": {{"npy": {path:?}}}}}"#)), vec!["array[0, 2] "; 3]);
}

#[test]
fn broken_arrays_are_errors() {
    let folder = Folder::new("npy-broken");
    let read = |path: &Path| run(&format!(r#"{{"source": {{"npy": {path:?}}}}}"#));
    for is_fortran in [false, true] {
        let path = folder.write("cut.npy", &npy("<f4", is_fortran, &[4, 2], &[0; 28]));
        let got = read(&path);
        let rows = if is_fortran { 0 } else { 3 };
        assert_eq!(got.len(), rows + 1);
        assert!(got[rows].contains(&format!("cut.npy, record {rows} at byte")), "{got:?}");
    }
    let points: Vec<u8> = u32::MAX.to_le_bytes().to_vec();
    let path = folder.write("u.npy", &npy("<U1", false, &[1], &points));
    assert!(read(&path)[0].contains("invalid code point"));
    for (bytes, why) in [
        (npy("<f4", false, &[], &[0; 4]), "a single value, which has no rows"),
        (npy("|O", false, &[1], &[0; 8]), "dtype \"|O\""),
        (b"no array".to_vec(), "other.npy"),
    ] {
        let path = folder.write("other.npy", &bytes);
        let error = error(&format!(r#"{{"source": {{"npy": {path:?}}}}}"#));
        assert!(error.contains(why), "{error}");
    }
    let (a, b) = (npy("<f4", false, &[1, 2], &[0; 8]), npy("<f4", false, &[1, 3], &[0; 12]));
    let (a, b) = (folder.write("a.npy", &a), folder.write("b.npy", &b));
    let error = error(&format!(r#"{{"source": {{"npy": [{a:?}, {b:?}]}}}}"#));
    assert!(error.contains("b.npy: its rows are array: float32 [3]"), "{error}");
}

#[test]
fn arrays_go_on() {
    let folder = Folder::new("npy-resume");
    let file = |name: &str, is_fortran| {
        let bytes: Vec<u8> =
            numbers(&[9, 2, 3], is_fortran).iter().flat_map(|v| (*v as i64).to_le_bytes()).collect();
        folder.write(name, &npy("<i8", is_fortran, &[9, 2, 3], &bytes))
    };
    let (a, b) = (file("a.npy", false), file("b.npy", true));
    check_resume(&folder, || {
        spec(&format!(r#"{{"source": {{"npy": [{a:?}, {b:?}], "cycle": 2, "block": 2, "window": 100}}}}"#))
    });
}

fn npz(folder: &Folder, name: &str, rows: usize) -> PathBuf {
    let mut npz = NpzWriter::new(std::env::temp_dir());
    let x = npz.add("x", DType::F32, SpoolRows::Counted, Shape::new(&[2]).unwrap()).unwrap();
    let names = npz.add("names", DType::String, SpoolRows::Counted, Shape::SCALAR).unwrap();
    for row in 0..rows {
        let values = [row as f32, -1.0];
        npz.array(x).unwrap().push(bytemuck::cast_slice(&values)).unwrap();
        npz.array(names).unwrap().push_string(&b"abcdefgh"[..row]).unwrap();
    }
    let bytes = npz.finish(std::io::Cursor::new(Vec::new())).unwrap().into_inner();
    folder.write(name, &bytes)
}

#[test]
fn archives() {
    let folder = Folder::new("npz");
    let (a, b) = (npz(&folder, "a.npz", 3), npz(&folder, "b.npz", 5));
    let json = format!(r#"{{"source": {{"npz": [{a:?}, {b:?}], "cycle": 2}}}}"#);
    let got = run(&json);
    assert_eq!((got.len(), &got[4][..]), (8, "x[2] 2 -1; names[] \"ab\""));
    check_resume(&folder, || spec(&json));
    assert_eq!(
        run(&format!(r#"{{"source": {{"npz": {a:?}, "fields": ["names"]}}}}"#)),
        ["names[] \"\"", "names[] \"a\"", "names[] \"ab\""]
    );
    let error = |json: String| self::error(&json);
    let found = error(format!(r#"{{"source": {{"npz": {a:?}, "fields": ["y"]}}}}"#));
    assert!(found.contains("a.npz: there is no array \"y\""), "{found}");
    let broken = folder.write("c.npz", b"PK no archive");
    assert!(error(format!(r#"{{"source": {{"npz": {broken:?}}}}}"#)).contains("c.npz"));
    // Written by numpy.savez with x of shape (3, 2) in Fortran order, and by savez_compressed.
    let bytes: Vec<u8> = numbers(&[3, 2], true).iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
    let array = npy("<f4", true, &[3, 2], &bytes);
    let mut zip = Vec::new();
    stored_zip(&mut zip, "x.npy", &array);
    let path = folder.write("f.npz", &zip);
    assert_eq!(run(&format!(r#"{{"source": {{"npz": {path:?}}}}}"#)), rows_of(&[3, 2], "x"));
}

/// A zip file with one entry that is not packed.
fn stored_zip(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    stored_entries(out, &[name.to_string()], content);
}

/// A zip file with entries of these names that are not packed, all of one content.
fn stored_entries(out: &mut Vec<u8>, names: &[String], content: &[u8]) {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let (crc, bytes) = (crc.sum().to_le_bytes(), (content.len() as u32).to_le_bytes());
    let mut directory = Vec::new();
    for name in names {
        let name_bytes = (name.len() as u16).to_le_bytes();
        let common =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &bytes, &bytes, &name_bytes, &[0, 0]].concat();
        let at = (out.len() as u32).to_le_bytes();
        out.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), content].concat());
        directory.extend([&b"PK\x01\x02\x14\0"[..], &common, &[0; 10], &at, name.as_bytes()].concat());
    }
    let (start, count) = ((out.len() as u32).to_le_bytes(), (names.len() as u16).to_le_bytes());
    out.extend(&directory);
    let end = (directory.len() as u32).to_le_bytes();
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &end, &start, &[0, 0]].concat());
}

#[cfg(target_os = "linux")]
#[test]
fn arrays_of_one_archive_share_its_file() {
    let folder = Folder::new("npz-many");
    let names: Vec<String> = (0..1500).map(|i| format!("x{i}.npy")).collect();
    for is_fortran in [false, true] {
        let bytes: Vec<u8> =
            numbers(&[3, 2], is_fortran).iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
        let mut zip = Vec::new();
        stored_entries(&mut zip, &names, &npy("<f4", is_fortran, &[3, 2], &bytes));
        let path = folder.write("many.npz", &zip);
        let spec = spec(&format!(r#"{{"source": {{"npz": {path:?}}}}}"#));
        let mut pipeline = open(spec, 256 << 20).unwrap();
        assert!(pipeline.advance().unwrap());
        let view = pipeline.current();
        assert_eq!(view.places().len(), 1500);
        assert_eq!(view.tensor(1499).unwrap().as_slice::<f32>(), Some(&[0.0, 1.0][..]));
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let is_it = |link: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_link(link.unwrap().path()).is_ok_and(|to| to == path)
        };
        assert!(links.map(is_it).filter(|is_it| *is_it).count() <= 4);
    }
}

#[test]
fn image_files() {
    let folder = Folder::new("images");
    let paths: Vec<_> =
        (0..3).map(|i| folder.write(&format!("{i}.jpg"), &vec![b'a' + i; 1 + 3 * usize::from(i)])).collect();
    folder.write("notes.txt", b"no image");
    let json = format!(r#"{{"source": {{"images": {:?}}}}}"#, paths[0].parent().unwrap());
    let expected: Vec<_> = ["a", "bbbb", "ccccccc"]
        .iter()
        .zip(&paths)
        .map(|(bytes, path)| format!("image[] {bytes:?}; path[] {:?}", path.display().to_string()))
        .collect();
    assert_eq!(run(&json), expected);
    assert_eq!(open(spec(&json), 1 << 20).unwrap().rows(), Some(3));
    check_resume(&folder, || spec(&json));
    let large = folder.write("3.png", &vec![0; 2 << 20]);
    let got = all(&mut open(spec(&json), 1 << 20).unwrap());
    assert!(
        got.len() == 4 && got[3].starts_with(&format!("{}: image files needs", large.display())),
        "{got:?}"
    );
}

#[test]
fn ranges_as_tensorflow() {
    let folder = Folder::new("range");
    // As of tf.data.Dataset.range.
    for (range, expected) in [
        ("5", &[0i64, 1, 2, 3, 4][..]),
        ("[10, 0, -3]", &[10, 7, 4, 1]),
        ("[2, 3]", &[2]),
        ("[3, 2]", &[]),
        ("[9223372036854775806, 9223372036854775807, 5]", &[i64::MAX - 1]),
    ] {
        let json = format!(r#"{{"source": {{"range": {range}}}}}"#);
        let mut pipeline = open(spec(&json), 1 << 10).unwrap();
        assert_eq!(pipeline.rows(), Some(expected.len() as u64));
        let mut got = Vec::new();
        while pipeline.advance().unwrap() {
            got.push(bytemuck::pod_read_unaligned::<i64>(pipeline.current().tensor(0).unwrap().bytes()));
        }
        assert_eq!(got, expected);
    }
    check_resume(&folder, || spec(r#"{"source": {"range": [5, -5, -2]}}"#));
    assert!(error(r#"{"source": {"range": [1, 2, 0]}}"#).contains("a step of 0"));
    assert!(error(r#"{"source": {"range": "x"}}"#).contains("[start, stop]"));
}

#[test]
fn what_a_program_makes() {
    let folder = Folder::new("generated");
    let schema = || Schema::new(vec![Field::new("n", DType::I64, &[None])]).unwrap();
    let fill = |count: usize, out: &mut Element| {
        if count == 3 {
            return Err(RowFault::Map("there is no 3".to_string()));
        }
        let shape = if count == 5 { Shape::SCALAR } else { Shape::new(&[count]).unwrap() };
        out.add(shape)?.fill(0);
        Ok(())
    };
    let make =
        move |count: usize| PipelineSpec::new(Generated::from_items("counts", schema(), 0..count, fill));
    let got = all(&mut open(make(6), 1 << 16).unwrap());
    let expected =
        ["n[0] ", "n[1] 0", "n[2] 0 0", "counts, record 3 at byte 0: there is no 3", "n[4] 0 0 0 0"];
    assert_eq!(got[..5], expected);
    assert!(got[5].contains("counts, record 5 at byte 0: ") && got[5].contains("n: int64 [?]"), "{}", got[5]);
    check_resume(&folder, move || make(3));
}

proptest! {
    /// Whatever the bytes of a file, there are elements or errors, and an end.
    #[test]
    fn hostile_files_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..400, at in 0usize..400, value: u8, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("hostile-{case}"));
        let array = npy("<f4", true, &[6, 2], &[1; 48]);
        let mut zip = Vec::new();
        stored_zip(&mut zip, "x.npy", &array);
        for (name, good) in [("csv", b"a,b\n1,\"x\"\n2,\"y\"\n".to_vec()), ("text", gzip(b"a\nb\n")), ("npy", array), ("npz", zip)] {
            let mut broken = good.clone();
            broken.truncate(cut);
            if let Some(byte) = broken.get_mut(at) {
                *byte = value;
            }
            for content in [&bytes, &broken] {
                let path = folder.write("file", content);
                let json = format!(r#"{{"source": {{{name:?}: {path:?}}}}}"#);
                if let Ok(mut pipeline) = open(spec(&json), 4 << 20) {
                    all(&mut pipeline);
                }
            }
        }
    }
}

/// What a host that allows one folder and one scheme makes of `json`: the elements, or why it is refused, when it is
/// read or when its files are opened.
fn run_in(folder: &Path, json: &str) -> Result<Vec<String>, String> {
    let access = Access::default().with_folder(folder).unwrap().with_scheme("http");
    let spec = PipelineSpec::from_json(json, &access, &|_| None).map_err(|error| error.to_string())?;
    Ok(all(&mut open(spec, 16 << 20)?))
}

#[cfg(unix)]
#[test]
fn a_description_opens_what_its_host_allows() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("access");
    let (inside, outside) = (folder.path("in"), folder.path("out"));
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(inside.join("a.txt"), "a\n").unwrap();
    fs::write(outside.join("s.txt"), "secret\n").unwrap();
    let linked = inside.join("linked");
    fs::create_dir_all(&linked).unwrap();
    symlink(outside.join("s.txt"), linked.join("s.txt")).unwrap();
    symlink(&outside, inside.join("sub/out")).unwrap();
    let text = |path: &Path| json!({"text": path});
    let check = |source: Value, stages: Value| {
        run_in(&inside, &json!({"source": source, "stages": stages}).to_string())
    };
    let a = vec![r#"line[] "a""#.to_string()];
    assert_eq!(check(text(&inside.join("a.txt")), json!([])), Ok(a.clone()));
    assert_eq!(check(text(&inside.join("*.txt")), json!([{"cache": inside.join("new")}])), Ok(a.clone()));
    let inner = |path: &Path| json!({"source": text(path)});
    let concatenate = |path: &Path| json!({"concatenate": [inner(&inside.join("a.txt")), inner(path)]});
    assert_eq!(check(concatenate(&inside.join("a.txt")), json!([])), Ok([a.clone(), a].concat()));
    let records = folder.records("in/x.tfrecord", [b"x".to_vec()]);
    let no_stages = || json!([]);
    let refused = [
        (text(&outside.join("s.txt")), no_stages(), "outside the folders"),
        (text(&inside.join("../in/a.txt")), no_stages(), "'..'"),
        (text(&inside.join("*/../../out/s.txt")), no_stages(), "'..'"),
        (text(&linked.join("s.txt")), no_stages(), "outside the folders"),
        (text(&linked.join("*.txt")), no_stages(), "linked/s.txt: this pipeline may not open it"),
        (text(&inside.join("**/s.txt")), no_stages(), "s.txt: this pipeline may not open it"),
        (text(&linked), no_stages(), "linked/s.txt: this pipeline may not open it"),
        (text(&inside.join("sub")), no_stages(), "sub/out/s.txt: this pipeline may not open it"),
        (text(&inside.join("sub/out/*")), no_stages(), "outside the folders"),
        (concatenate(&outside.join("s.txt")), no_stages(), "outside the folders"),
        (text(&inside.join("a.txt")), json!([{"cache": outside}]), "outside the folders"),
        (text(&inside.join("a.txt")), json!([{"cache": inside.join("sub/out/new")}]), "outside the folders"),
        (json!({"shuffled": records, "index": outside}), no_stages(), "outside the folders"),
        (json!({"text": "http://169.254.169.254/latest/meta-data/"}), no_stages(), "link-local"),
        (json!({"text": "https://example.com/x.txt"}), no_stages(), "of URLs, http are allowed"),
        (json!({"text": "file:///etc/passwd"}), no_stages(), "of URLs, http are allowed"),
    ];
    for (source, stages, why) in refused {
        let answer = check(source.clone(), stages.clone());
        assert!(answer.as_ref().is_err_and(|error| error.contains(why)), "{source} {stages}: {answer:?}");
    }
    assert!(!outside.join("new").exists() && fs::read_dir(&outside).unwrap().count() == 1);
    // What a host says later counts as well.
    let mut late = spec(&json!({"source": text(&inside.join("a.txt"))}).to_string());
    late.access = Access::default();
    assert!(open(late, 16 << 20).map(drop).unwrap_err().contains("may not open it"));
}
