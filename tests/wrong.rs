//! Wrong calls, and the line that each gets: `tests/golden/wrong-calls.txt`, which is read like a page of documentation.
//! `TIGHTFIT_BLESS=1` writes it anew.
#![cfg(target_os = "linux")]

mod common;

use std::fs;

use common::{Folder, repository, tightfit_in};

/// Files as people bring them, and the example.
fn workplace() -> Folder {
    let folder = Folder::new();
    std::os::unix::fs::symlink(repository("examples/digits").canonicalize().unwrap(), folder.path("digits"))
        .unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path("full.csv")).unwrap();
    let mut keras = b"PK\x03\x04".to_vec();
    keras.resize(30, 0);
    keras[26] = 13;
    keras.extend(b"metadata.json");
    let onnx = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0";
    for (name, content) in [
        ("empty.pb", &b""[..]),
        ("model.onnx", onnx),
        ("model.keras", &keras),
        ("model.h5", b"\x89HDF\r\n\x1a\n\0\0\0\0"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{\"a\": {}}        "),
        ("notes.txt", b"Dear all,\n"),
        ("pipeline.json", b"{\"source\": {\"range\": 3}, \"stages\": [{\"bacth\": 2}]}"),
        ("source.json", b"{\"source\": {\"tfrecords\": \"a\"}}"),
        ("image.json", b"{\"source\": {\"images\": [\"digits\"]}, \"stages\": [{\"image\": \"flip_up_dwn\", \"field\": \"image\"}]}"),
        ("config.json", b"{\"class_name\": \"Functional\"}"),
        ("data.csv", b"a,b\n1,2\n3\n"),
        ("noise.tfrecord", b"this is not a file of records, is it?"),
        ("names.txt", b"zero\none\n"),
        ("graph.pbtxt", b"node { name: 'x' op: 'Placeholder' attr { key: 'dtype' value { type: DT_FLOAT } } }\n\
            node { name: 'v' op: 'VarHandleOp' }\nnode { name: 'y' op: 'ReadVariableOp' input: 'v' }"),
    ] {
        folder.write(name, content);
    }
    fs::create_dir(folder.path("folder")).unwrap();
    folder
}

/// The line without what differs between builds: sizes of the program itself.
fn settled(line: &str) -> String {
    // What is alive at the peak depends on the processor's instructions.
    let line = line.split("; at the peak").next().unwrap_or(line);
    let mut words: Vec<String> = line.split(' ').map(str::to_string).collect();
    let is_number = |word: &str| word.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !word.is_empty();
    for at in 0..words.len().saturating_sub(1) {
        let is_size = words[at + 1].starts_with("MiB") || words[at + 1].starts_with('(');
        let bare = words[at].trim_start_matches('(').to_string();
        if is_size && is_number(&bare) {
            words[at] = words[at].replace(&bare, "N");
        }
    }
    words.join(" ")
}

#[test]
fn wrong_calls_get_the_line_that_helps() {
    let folder = workplace();
    let path = repository("tests/golden/wrong-calls.txt");
    let golden = fs::read_to_string(&path).unwrap();
    let (mut anew, mut count) = (String::new(), 0);
    for line in golden.lines() {
        let Some(call) = line.strip_prefix("$ tightfit") else {
            if line.starts_with('#') {
                anew.push_str(&format!("{line}\n"));
            }
            continue;
        };
        let answer = tightfit_in(&folder.path(""), call.split_whitespace());
        let told = answer.stderr.strip_suffix('\n').unwrap_or_default();
        assert!(told.lines().count() == 1 && told.starts_with("tightfit: "), "{call}: {answer:?}");
        assert!(answer.stdout.is_empty() && !told.contains("defect"), "{call}: {answer:?}");
        anew.push_str(&format!("$ tightfit{call}\n{} {}\n", answer.code, settled(told)));
        count += 1;
    }
    assert!(count >= 40, "{count}");
    if std::env::var_os("TIGHTFIT_BLESS").is_some() {
        fs::write(&path, anew).unwrap();
        return;
    }
    for (now, then) in anew.lines().zip(golden.lines()) {
        assert_eq!(now, then);
    }
    assert_eq!(anew, golden);
}
