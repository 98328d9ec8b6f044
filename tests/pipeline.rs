//! `tightfit records preprocess`, `data head` and `data bench`: pipelines from the command line.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Folder, digits, floats, npy, repository, tightfit};
use serde_json::{Value, json};
use tightfit_format::compress::Compressor;
use tightfit_format::example::{Values, write_example};
use tightfit_format::tfrecord::{Compression, RecordWriter};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A pipeline over `source` with `stages`.
fn spec(source: Value, stages: Value) -> String {
    json!({"source": source, "stages": stages}).to_string()
}

/// A TFRecord file of these records.
fn records(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut writer = RecordWriter::new(
        Compressor::new(Compression::None, Vec::new()).expect("a compression that is written"),
    );
    records.into_iter().for_each(|record| writer.write(&record).expect("memory"));
    writer.into_inner().finish().expect("memory")
}

/// A record that holds its number.
fn numbered(number: i64, more_bytes: usize) -> Vec<u8> {
    let mut record = Vec::new();
    let padding = vec![b'x'; more_bytes];
    let values = [&padding[..]];
    write_example(&mut record, &[("id", Values::Int64(&[number])), ("padding", Values::Bytes(&values))]);
    record
}

/// What `records head` shows of the features of the first records of a file, their values alone.
fn features(path: &Path, records: usize) -> Vec<BTreeMap<String, Value>> {
    let head = tightfit(["records", "head", text(path), "-n", &records.to_string(), "--json"]).json();
    let values = |record: &Value| {
        let features = record["features"].as_object().expect("an Example").iter();
        features.map(|(name, feature)| (name.clone(), feature["values"].clone())).collect()
    };
    head["records"].as_array().expect("a list").iter().map(values).collect()
}

fn count(path: &Path) -> u64 {
    tightfit(["records", "verify", text(path), "--json"]).json()["records"].as_u64().expect("a number")
}

#[test]
fn elements_are_stored_as_examples() {
    let folder = Folder::new();
    let source = json!({"images": text(&repository("examples/digits/digit_*.png"))});
    let stages = json!([
        {"decode_image": "image", "channels": 1},
        {"image": "resize", "field": "image", "size": [2, 2], "method": "area"},
        {"normalise": "image", "mean": [0], "std": [255]},
        {"select": ["image", "path"]},
    ]);
    let output = folder.path("digits.tfrecord.gz");
    let spec = spec(source, stages);
    let stored = tightfit(["records", "preprocess", &spec, "--output", text(&output), "--json"]).json();
    assert_eq!((&stored["records"], &stored["shards"]), (&json!(5), &json!([5])));
    assert_eq!(&fs::read(&output).expect("it")[..2], b"\x1f\x8b");
    let stored = features(&output, 10);
    let elements = tightfit(["data", "head", &spec, "--json"]).json();
    let image = json!({"name": "image", "dtype": "float32", "shape": [2, 2, 1]});
    assert_eq!(elements["schema"][0], image);
    let elements = elements["elements"].as_array().expect("a list");
    assert_eq!((stored.len(), elements.len()), (5, 5));
    for (record, element) in stored.iter().zip(elements) {
        assert_eq!(record["image"], element["fields"]["image"]["values"]);
        assert_eq!(record["path"], element["fields"]["path"]["values"]);
        // The shape of what has more than one dimension is kept.
        assert_eq!(record["image/shape"], json!([2, 2, 1]));
        assert_eq!(element["fields"]["image"]["shape"], json!([2, 2, 1]));
    }
    // Without fields of shapes the same pipeline gives the same bytes.
    let again = folder.path("again.tfrecord.gz");
    assert_eq!(tightfit(["records", "preprocess", &spec, "--output", text(&again), "--quiet"]).code, 0);
    assert_eq!(fs::read(&again).expect("it"), fs::read(&output).expect("it"));
}

#[test]
fn a_model_is_run_once_and_its_results_are_stored() {
    let folder = Folder::new();
    let (model, data) = digits();
    let pixels = json!({"features": {
        "image": {"dtype": "float32", "shape": [8, 8, 1]}, "label": {"dtype": "int64", "shape": []},
    }});
    let stage = json!({"model": text(&model), "feed": {"image": "image"}, "keep": ["label"]});
    let stages = json!([{"parse": pixels}, {"batch": 32}, stage, {"unbatch": null}]);
    let spec_path = folder.write("scores.json", spec(json!({"tfrecord": text(&data)}), stages));
    let output = folder.path("scores.tfrecord");
    let args = ["records", "preprocess", text(&spec_path), "--output", text(&output), "--memory", "32MiB"];
    let answer = tightfit([&args[..], &["--json"]].concat());
    assert!(answer.stderr.contains("scores.tfrecord: 360 records"), "{answer:?}");
    let stored = answer.json();
    assert_eq!(stored["records"], json!(360));
    assert!(stored["peak_resident_bytes"].as_u64() <= Some(32 << 20), "{stored}");
    // The same numbers that `run` gives.
    let rows = folder.path("rows.jsonl");
    let run = ["run", text(&model), "--input", text(&data), "--batch", "32", "--output", text(&rows)];
    assert_eq!(tightfit(run).code, 0);
    let rows = fs::read_to_string(rows).expect("the rows");
    let records = features(&output, 360);
    assert_eq!(records.len(), 360);
    for (record, row) in records.iter().zip(rows.lines()) {
        let row: Value = serde_json::from_str(row).expect("JSON");
        assert_eq!(record["probabilities"], row["probabilities"]);
        assert_eq!(record["label"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn records_are_written_as_they_are_and_dealt_in_turn() {
    let folder = Folder::new();
    let bytes = records((0..11).map(|i| numbered(i, 5)));
    let source = folder.write("a.tfrecord", &bytes);
    let copy = folder.path("copy.tfrecord");
    let answer = tightfit(["records", "preprocess", text(&source), "--output", text(&copy)]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
    assert!(answer.stderr.contains("copy.tfrecord: 11 records"), "{answer:?}");
    assert_eq!(fs::read(&copy).expect("it"), bytes);
    let set = folder.path("set.tfrecord.gz");
    let spec = spec(json!({"tfrecord": text(&source)}), json!([{"skip": 1}]));
    let args = ["records", "preprocess", &spec, "--output", text(&set), "--shards", "4", "--json", "--quiet"];
    let stored = tightfit(args).json();
    assert_eq!((&stored["shards"], &stored["records"]), (&json!([3, 3, 2, 2]), &json!(10)));
    let second = features(&folder.path("set.tfrecord-00001-of-00004.gz"), 9);
    let ids: Vec<_> = second.iter().map(|record| record["id"].clone()).collect();
    assert_eq!(ids, [json!([2]), json!([6]), json!([10])]);
}

#[test]
fn files_of_every_kind_are_a_pipeline() {
    let folder = Folder::new();
    folder.write("t.csv", "a,b\n1,x\n2,y\n");
    folder.write("n.npy", npy("<f4", "(2, 3)", &floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])));
    folder.write("l.txt", "one\ntwo\n");
    let image = repository("examples/digits/digit_0.png");
    let stored = |path: &Path| {
        let output = folder.path("out.tfrecord");
        let answer = tightfit(["records", "preprocess", text(path), "--output", text(&output)]);
        assert_eq!(answer.code, 0, "{answer:?}");
        features(&output, 5)
    };
    let rows = stored(&folder.path("t.csv"));
    assert_eq!((rows.len(), &rows[1]["a"], &rows[1]["b"]), (2, &json!([2]), &json!(["y"])));
    assert_eq!(stored(&folder.path("n.npy"))[1]["array"], json!([3.0, 4.0, 5.0]));
    assert_eq!(stored(&folder.path("l.txt")).len(), 2);
    assert_eq!(stored(&image).len(), 1);
}

#[test]
fn folders_that_say_what_they_hold_are_paths() {
    let folder = Folder::new();
    for (part, ids) in [("dt=2024", 0..3), ("dt=2025", 3..5)] {
        std::fs::create_dir(folder.path(part)).expect("a folder");
        folder.write(&format!("{part}/a=b.tfrecord"), records(ids.map(|i| numbered(i, 5))));
    }
    let found = |source: &str| {
        let elements = tightfit(["data", "head", source, "-n", "9", "--json"]).json();
        elements["elements"].as_array().map(Vec::len)
    };
    let within = |pattern: &str| text(&folder.path(pattern)).to_string();
    assert_eq!(found(&within("dt=2024/*.tfrecord")), Some(3));
    assert_eq!(found(&within("dt=*/a=b.tfrecord")), Some(5));
    assert_eq!(found(&within("dt=2025")), Some(2));
    let described = spec(json!({"tfrecord": within("dt=2024/*.tfrecord")}), json!([]));
    assert_eq!(found(&described), Some(3));
    // The same as rows of a job, where what is before a `=` may be an input.
    let output = folder.path("out.tfrecord");
    let args = ["records", "preprocess", &within("dt=2024/*.tfrecord"), "--output", text(&output), "--quiet"];
    assert_eq!(tightfit(args).code, 0);
    assert_eq!(features(&output, 9).len(), 3);
    let (model, data) = digits();
    fs::copy(&data, folder.path("dt=2025/digits.tfrecord")).expect("a copy");
    let rows = |input: &str| {
        let output = folder.path("rows.jsonl");
        let run = ["run", text(&model), "--input", input, "--output", text(&output), "--quiet"];
        assert_eq!(tightfit(run).code, 0);
        let rows = fs::read_to_string(output).expect("the rows");
        rows.replace(text(&data), "DATA").replace(&within("dt=2025/digits.tfrecord"), "DATA")
    };
    assert_eq!(rows(&within("dt=2025/d*.tfrecord")), rows(text(&data)));
}

#[test]
fn what_is_wrong_with_a_description_is_a_line() {
    let folder = Folder::new();
    let data = digits().1;
    let output = folder.path("out.tfrecord");
    let store = |spec: &str| tightfit(["records", "preprocess", spec, "--output", text(&output)]);
    let with = |stages: Value| spec(json!({"tfrecord": text(&data)}), stages);
    store("{").assert_fails(2, "not JSON");
    store("{\"source\": {\"tfrecordz\": \"a\"}}")
        .assert_fails(2, "there is no source \"tfrecordz\"; did you mean \"tfrecord\"?");
    store(&with(json!([{"bach": 3}]))).assert_fails(2, "there is no stage \"bach\"; did you mean \"batch\"?");
    store(&with(json!([{"batch": 3, "drop": true}]))).assert_fails(2, "batch has no option \"drop\"");
    store(&with(json!([{"decode_image": "picture"}]))).assert_fails(2, "no field \"picture\"");
    store(&with(json!([{"model": "absent.pb"}]))).assert_fails(2, "absent.pb");
    store(&with(json!([{"parse": 3}]))).assert_fails(2, "parse");
    let metadata = json!({"text": "http://169.254.169.254/latest/meta-data/"});
    store(&spec(metadata, json!([]))).assert_fails(2, "may not open it: its host is link-local");
    store(&spec(json!({"text": "file:///etc/passwd"}), json!([])))
        .assert_fails(2, "may not open it: of URLs, s3");
    store("absent.json").assert_fails(1, "absent.json");
    store("absent.tfrecord").assert_fails(1, "absent.tfrecord");
    let to = |output: &Path| tightfit(["records", "preprocess", text(&data), "--output", text(output)]);
    to(&folder.path("out.npz")).assert_fails(2, "records are stored as");
    tightfit(["records", "preprocess", text(&data)]).assert_fails(2, "needs --output");
    let copy = folder.write("copy.tfrecord", fs::read(&data).expect("the records"));
    tightfit(["records", "preprocess", text(&copy), "--output", text(&copy)])
        .assert_fails(2, "would be read and written");
    let shards = ["records", "preprocess", text(&data), "--output", text(&output), "--shards", "100000"];
    tightfit(shards).assert_fails(2, "--shards 100000");
    tightfit(["data", "head", &with(json!([{"bach": 3}]))]).assert_fails(2, "no stage \"bach\"");
    assert_eq!(folder.names(), ["copy.tfrecord"]);
}

#[test]
fn too_little_memory_is_told_with_the_record() {
    let folder = Folder::new();
    let source =
        folder.write("a.tfrecord", records((0..6).map(|i| numbered(i, if i == 4 { 8 << 20 } else { 100 }))));
    let output = folder.path("out.tfrecord");
    let features = json!({"features": {"padding": {"dtype": "string", "shape": []}}});
    let spec = spec(json!({"tfrecord": text(&source)}), json!([{"parse": features}, {"batch": 2}]));
    let args = ["records", "preprocess", &spec, "--output", text(&output), "--memory", "12MiB"];
    tightfit(args).assert_fails(3, "a.tfrecord, record 4 at byte");
    assert_eq!(folder.names(), ["a.tfrecord"]);
    // What comes before is shown.
    let head = tightfit(["data", "head", &spec, "--memory", "12MiB"]);
    assert_eq!((head.code, head.stdout.lines().filter(|line| line.starts_with('{')).count()), (3, 2));
    tightfit(["records", "preprocess", text(&source), "--output", text(&output), "--memory", "1MiB"])
        .assert_fails(3, "the program itself");
    // A model too.
    let model = json!({"model": text(&digits().0), "memory": "1KiB"});
    let pixels = json!({"features": {"image": {"dtype": "float32", "shape": [8, 8, 1]}}});
    let stages = json!([{"parse": pixels}, {"batch": 64}, model]);
    let spec = self::spec(json!({"tfrecord": text(&digits().1)}), stages);
    tightfit(["records", "preprocess", &spec, "--output", text(&output)])
        .assert_fails(3, "test.tfrecord, record 0 at byte 0: the model needs");
}

#[test]
fn a_bad_record_leaves_what_was_there() {
    let folder = Folder::new();
    let mut bytes = records((0..6).map(|i| numbered(i, 0)));
    let record_bytes = bytes.len() / 6;
    bytes[3 * record_bytes + 20] ^= 1;
    let source = folder.write("a.tfrecord", bytes);
    let output = folder.write("out.tfrecord", "from before");
    let store = |stages: Value| {
        let spec = spec(json!({"tfrecord": text(&source)}), stages);
        tightfit(["records", "preprocess", &spec, "--output", text(&output)])
    };
    store(json!([])).assert_fails(1, "a.tfrecord, record 3 at byte");
    assert_eq!(fs::read(&output).expect("it"), b"from before");
    let answer = store(json!([{"skip_bad": null}]));
    assert!(answer.code == 0 && answer.stderr.contains("skipped 1 bad element"), "{answer:?}");
    assert_eq!((count(&output), folder.names().len()), (5, 2));
}

#[test]
fn the_head_of_a_pipeline() {
    let folder = Folder::new();
    let source = folder.write("n.npy", npy("<f4", "(3, 20)", &floats(&[0.5; 60])));
    let head = tightfit(["data", "head", text(&source), "-n", "2"]);
    assert_eq!(head.code, 0, "{head:?}");
    let lines: Vec<&str> = head.stdout.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "array: float32 [20]"));
    let second: Value = serde_json::from_str(lines[2]).expect("JSON");
    assert_eq!((&second["element"], &second["record"]), (&json!(1), &json!(1)));
    assert!(second["file"].as_str().is_some_and(|file| file.ends_with("n.npy")), "{second}");
    // Long tensors are cut.
    let array = &second["fields"]["array"];
    assert_eq!((&array["shape"], array["values"].as_array().map(Vec::len)), (&json!([20]), Some(16)));
    let range = json!({"source": {"range": 0}}).to_string();
    let empty = tightfit(["data", "head", &range, "--json"]).json();
    assert_eq!(empty["elements"], json!([]));
    assert_eq!(empty["schema"], json!([{"name": "value", "dtype": "int64", "shape": []}]));
}

#[test]
fn the_slowest_stage_is_named() {
    let folder = Folder::new();
    let list: Vec<String> =
        (0..200).map(|_| text(&repository("examples/digits/digit_0.png")).into()).collect();
    let stages = json!([
        {"decode_image": "image", "channels": 1, "threads": 1},
        {"prefetch": 4},
        {"image": "resize", "field": "image", "size": [700, 700], "method": "bicubic", "threads": 1},
        {"batch": 4},
    ]);
    let path = folder.write("slow.json", spec(json!({"images": list}), stages));
    let found = tightfit(["data", "bench", text(&path), "--json"]).json();
    assert_eq!(found["elements"], json!(50));
    assert!(found["bottleneck"].as_str().is_some_and(|name| name.contains("Resize")), "{found}");
    for key in [
        "seconds",
        "elements_per_second",
        "source_bytes_per_second",
        "budget_peak_bytes",
        "peak_resident_bytes",
    ] {
        assert!(found[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {found}");
    }
    let stages = found["stages"].as_array().expect("a list");
    assert!(stages.len() >= 4, "{found}");
    for stage in stages {
        for key in
            ["elements", "bytes", "work_seconds", "wait_seconds", "threads", "held_bytes", "peak_bytes"]
        {
            assert!(stage[key].is_number(), "{key}: {stage}");
        }
        assert!(stage["name"].is_string() && stage["inputs"].is_array() && stage["parts"].is_array());
    }
    let table = tightfit(["data", "bench", text(&path), "--seconds", "0.2"]).stdout;
    let slowest: Vec<&str> = table.lines().filter(|line| line.contains("<- the others wait")).collect();
    assert!(slowest.len() == 1 && slowest[0].contains("Resize"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() < 160), "{table}");
    assert!(table.contains("elements/s") && table.contains("memory: reserved"), "{table}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    let folder = Folder::new();
    let spec = spec(json!({"range": 1_000_000_000_000u64}), json!([{"batch": 16}]));
    for (signal, code, shards) in [("-INT", 130, &[][..]), ("-TERM", 143, &["--shards", "3"])] {
        let output = folder.path("out.tfrecord");
        let args = ["records", "preprocess", &spec, "--output", text(&output)];
        let mut child = common::command([&args[..], shards].concat());
        let child = child.stderr(std::process::Stdio::piped()).spawn().expect("the program starts");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while folder.names().is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(folder.names().iter().all(|name| name.contains(".tmp-")), "{:?}", folder.names());
        let status = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.expect("kill starts").success());
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted"), "{ended:?}");
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    }
}

#[cfg(unix)]
#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let folder = Folder::new();
    let endless = spec(json!({"range": 1_000_000_000_000u64}), json!([{"batch": 16}]));
    let output = folder.path("out.tfrecord");
    for shards in [&[][..], &["--shards", "3"]] {
        let store = |spec: &str| {
            let args = ["records", "preprocess", spec, "--output", text(&output), "--quiet"];
            common::command([&args[..], shards].concat())
        };
        let mut child = store(&endless).spawn().expect("the program starts");
        let is_writing = || folder.names().iter().any(|name| name.contains(".tmp-"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_writing() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        assert!(is_writing());
        let status = store(&spec(json!({"range": 10}), json!([]))).status().expect("it starts");
        assert!(status.success() && !is_writing(), "{:?}", folder.names());
    }
    assert_eq!(folder.names().len(), 4);
}

/// What a person at a terminal sees, through util-linux' `script`.
#[cfg(target_os = "linux")]
fn on_a_terminal(args: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_tightfit");
    let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let line = format!("{program} {}", quoted.join(" "));
    let output = std::process::Command::new("script").args(["-qec", &line, "/dev/null"]).output();
    String::from_utf8_lossy(&output.expect("script starts").stdout).into_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_how_far_it_is() {
    let folder = Folder::new();
    let mut packed = Compressor::new(Compression::Gzip, Vec::new()).expect("a compression that is written");
    let bytes = records((0..64).map(|i| numbered(i, 4 << 20)));
    std::io::Write::write_all(&mut packed, &bytes).expect("memory");
    let source = folder.write("a.tfrecord.gz", packed.finish().expect("memory").repeat(16));
    let source = text(&source);
    for args in [&["records", "verify", source][..], &["records", "inspect", source]] {
        let shown = on_a_terminal(args);
        assert!(shown.contains("[") && shown.contains(" left"), "{args:?}: {shown}");
        // The bar is taken away before anything else is said.
        assert!(shown.contains("\r\x1b[K"), "{args:?}: {shown}");
        let quiet = on_a_terminal(&[args, &["--quiet"]].concat());
        assert!(!quiet.contains(" left"), "{quiet}");
    }
}

#[test]
fn data_schema_tells_editors_what_a_pipeline_may_say() {
    let schema = tightfit(["data", "schema"]).json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for (kind, name) in [("source", "tfrecord"), ("stage", "shuffle"), ("stage", "model")] {
        assert!(schema["$defs"][kind].to_string().contains(name), "{kind} {name}");
    }
}
