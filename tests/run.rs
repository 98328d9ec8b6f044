//! `run`: what goes in, what comes out, and what is left behind when it fails.

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use common::{Answer, Folder, digits, floats, npy, pair, repository, tightfit};
use tightfit::{MemoryBudget, Shape};
use tightfit_format::npy::{NpyReader, NpyType};
use tightfit_format::npz::NpzReader;

const STRINGS: &str = "
    node { name: 'text' op: 'Placeholder' attr { key: 'dtype' value { type: DT_STRING } }
           attr { key: 'shape' value { shape { unknown_rank: true } } } }
    node { name: 'same' op: 'Identity' input: 'text' attr { key: 'T' value { type: DT_STRING } } }";

fn run(model: &Path, args: &[&OsStr]) -> Answer {
    tightfit([&["run".as_ref(), model.as_os_str(), "--quiet".as_ref()], args].concat())
}

/// Runs the digits' model over its records into a file.
fn run_digits(output: &Path, args: &[&str]) -> Answer {
    let (model, records) = digits();
    let mut all: Vec<&OsStr> =
        vec!["--input".as_ref(), records.as_os_str(), "--output".as_ref(), output.as_os_str()];
    all.extend(args.iter().map(OsStr::new));
    run(&model, &all)
}

fn array(path: &Path, name: &str) -> (Vec<usize>, NpyType, Vec<u8>) {
    let file = BufReader::new(File::open(path).unwrap());
    let mut npz = NpzReader::new(Arc::from(path), file, &MemoryBudget::new(1 << 20)).unwrap();
    let names: Vec<String> = npz.names().map(str::to_string).collect();
    let mut array = npz.array(name).unwrap().unwrap_or_else(|| panic!("{name} in {names:?}"));
    let header = *array.header();
    let mut data = vec![0; header.data_bytes() as usize];
    array.read_all(&mut data).unwrap();
    (header.shape.to_vec(), header.element, data)
}

fn numbers(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn a_fed_tensor_gives_tensorflows_numbers() {
    let folder = Folder::new();
    let case = repository("tests/golden/models/act_relu");
    let reference = case.join("ref_tf");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(reference.join("manifest.json")).unwrap()).unwrap();
    let (input, wanted) = (&manifest["in"][0], &manifest["out"][0]);
    let file = |entry: &serde_json::Value| reference.join(entry["file"].as_str().unwrap());
    let name = wanted["name"].as_str().unwrap();
    let output = folder.path("out.npz");
    let fed = pair(input["name"].as_str().unwrap(), &file(input));
    let args: [&OsStr; 6] = [
        "--input".as_ref(),
        fed.as_ref(),
        "--fetch".as_ref(),
        name.as_ref(),
        "--output".as_ref(),
        output.as_ref(),
    ];
    let answer = run(&case.join("model.pb"), &args);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    let (shape, element, data) = array(&output, name);
    let expected = file(wanted);
    let mut reader = NpyReader::new(Arc::from(expected.as_path()), File::open(&expected).unwrap()).unwrap();
    let header = *reader.header();
    let mut wanted = vec![0; header.data_bytes() as usize];
    reader.read_all(&mut wanted).unwrap();
    assert_eq!((shape, element), (header.shape.to_vec(), header.element));
    for (got, wanted) in numbers(&data).iter().zip(numbers(&wanted)) {
        assert!((got - wanted).abs() <= 1e-4 * wanted.abs().max(1.0), "{got} for {wanted}");
    }
    assert_eq!(folder.names(), ["out.npz"]);
}

#[test]
fn every_format_holds_every_row() {
    let folder = Folder::new();
    for extension in ["npz", "npy", "jsonl", "csv", "tfrecord"] {
        let output = folder.path(&format!("out.{extension}"));
        // 360 is no multiple of 7: the last batch is smaller.
        let answer = run_digits(&output, &["--batch", "7"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{answer:?}");
    }
    assert_eq!(folder.names(), ["out.csv", "out.jsonl", "out.npy", "out.npz", "out.tfrecord"]);
    let (shape, _, data) = array(&folder.path("out.npz"), "probabilities");
    assert_eq!(shape, [360, 10]);
    let wanted = numbers(&data);
    assert!(wanted.chunks(10).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-4));
    let npy_path = folder.path("out.npy");
    let mut reader = NpyReader::new(Arc::from(npy_path.as_path()), File::open(&npy_path).unwrap()).unwrap();
    assert_eq!(reader.header().shape, Shape::new(&[360, 10]).unwrap());
    let mut data = vec![0; wanted.len() * 4];
    reader.read_all(&mut data).unwrap();
    assert_eq!(numbers(&data), wanted);
    let lines = fs::read_to_string(folder.path("out.jsonl")).unwrap();
    let mut rows = 0;
    for (line, wanted) in lines.lines().zip(wanted.chunks(10)) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["row"].as_u64(), Some(rows));
        let got = row["probabilities"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32);
        assert_eq!(got.collect::<Vec<_>>(), wanted);
        rows += 1;
    }
    assert_eq!(rows, 360);
    let lines = fs::read_to_string(folder.path("out.csv")).unwrap();
    assert!(lines.starts_with("row,file,record,probabilities[0],probabilities[1],"), "{}", &lines[..80]);
    assert_eq!(lines.lines().count(), 361);
    // Each record: length, two checksums, and an Example of one list of ten floats.
    let records = fs::read(folder.path("out.tfrecord")).unwrap();
    let length = u64::from_le_bytes(records[..8].try_into().unwrap()) as usize;
    assert_eq!(records.len(), 360 * (length + 16));
    assert!(records.windows(40).any(|window| window == floats(&wanted[..10])));
}

#[test]
fn top_classes_with_their_names() {
    let folder = Folder::new();
    let labels = repository("examples/digits/labels.txt");
    let output = folder.path("top.jsonl");
    let answer = run_digits(&output, &["--labels", labels.to_str().unwrap(), "--top", "2"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let lines = fs::read_to_string(&output).unwrap();
    let row: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let top = row["top"].as_array().unwrap();
    assert_eq!((top.len(), &top[0]["index"], &top[0]["label"]), (2, &9.into(), &"nine".into()));
    assert!(top[0]["score"].as_f64() > top[1]["score"].as_f64());
    run_digits(&folder.path("top.npz"), &["--top", "2"]).assert_fails(2, "--top");
    let shifted = format!("background\n{}\n\n", fs::read_to_string(labels).unwrap());
    let shifted = folder.write("labels.txt", shifted);
    let answer = run_digits(&folder.path("shifted.jsonl"), &["--labels", shifted.to_str().unwrap()]);
    answer.assert_fails(2, "11 names, but a row has 10 classes");
}

#[test]
fn the_report_tells_what_it_took() {
    let folder = Folder::new();
    let report = folder.path("report.json");
    let args = ["--label", "label", "--report", report.to_str().unwrap(), "--memory", "64MiB", "--json"];
    let printed = run_digits(&folder.path("out.csv"), &args).json();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(json["rows"], 360);
    assert_eq!(json["budget_bytes"], 64 << 20);
    assert!(json["seconds"].as_f64() > Some(0.0) && json["accuracy"].as_f64() >= Some(0.97));
    let lines = json["planned_bytes"]["lines"].as_object().unwrap().values().map(|n| n.as_u64().unwrap());
    assert_eq!(Some(lines.sum::<u64>()), json["planned_bytes"]["total"].as_u64());
    assert!(json["peak_resident_bytes"].as_u64() <= json["planned_bytes"]["total"].as_u64(), "{json}");
    assert_eq!(printed["right_rows"], json["right_rows"]);
}

#[test]
fn the_smallest_memory_works_and_is_kept() {
    let folder = Folder::new();
    let answer = run_digits(&folder.path("none.npz"), &["--memory", "1", "--batch", "5"]);
    answer.assert_fails(3, "the smallest --memory that works is ");
    let words = answer.stderr.split("works is ").nth(1).unwrap();
    let minimum: u64 = words.split(' ').next().unwrap().parse().unwrap();
    let (enough, less) = (minimum.to_string(), (minimum - 1).to_string());
    run_digits(&folder.path("none.npz"), &["--memory", &less, "--batch", "5"]).assert_fails(3, &enough);
    assert!(folder.names().is_empty());
    let json = run_digits(&folder.path("out.npz"), &["--memory", &enough, "--batch", "5", "--json"]).json();
    assert!(json["peak_resident_bytes"].as_u64() <= Some(minimum), "{json}");
}

#[test]
fn strings_in_every_form() {
    let folder = Folder::new();
    let model = folder.write("strings.pbtxt", STRINGS);
    let unicode: Vec<u8> = "añb".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    let files = [
        (folder.write("a.json", "[[\"a\", {\"b64\": \"/w==\"}]]"), vec![1, 2], b"a\xff".to_vec()),
        (folder.write("b.npy", npy("|S2", "(2,)", b"a\0bc")), vec![2], b"a\0bc".to_vec()),
        (folder.write("c.npy", npy("<U3", "(1,)", &unicode)), vec![1], "añb".as_bytes().to_vec()),
        (folder.write("d.txt", "any file"), vec![], b"any file".to_vec()),
    ];
    for (file, shape, bytes) in files {
        let output = folder.path("out.npz");
        let fed = pair("text:0", &file);
        let args: [&OsStr; 6] = [
            "--input".as_ref(),
            fed.as_ref(),
            "--output".as_ref(),
            output.as_ref(),
            "--fetch".as_ref(),
            "same:0".as_ref(),
        ];
        let answer = run(&model, &args);
        assert_eq!(answer.code, 0, "{answer:?}");
        let (got_shape, element, data) = array(&output, "same:0");
        assert_eq!((got_shape, data), (shape.clone(), bytes.clone()));
        assert!(matches!(element, NpyType::Bytes(_)));
    }
    let fed = pair("text", &folder.path("a.json"));
    let answer = run(&model, &["--input".as_ref(), fed.as_ref()]);
    assert_eq!(answer.stdout, "{\"same\": [[\"a\", {\"b64\": \"/w==\"}]]}\n");
}

#[test]
fn a_tensor_that_does_not_fit_its_input_is_exit_1() {
    let folder = Folder::new();
    let model = digits().0;
    let good = floats(&[0.5; 64]);
    let cases = [
        (folder.write("doubles.npy", npy("<f8", "(1, 8, 8, 1)", &[0; 512])), "float32"),
        (folder.write("shape.npy", npy("<f4", "(1, 8, 4, 2)", &good)), "image"),
        (folder.write("rank.npy", npy("<f4", "(64,)", &good)), "image"),
        (folder.write("short.npy", npy("<f4", "(1, 8, 8, 1)", &good[..100])), "short.npy"),
        (folder.write("other.npy", "not numpy"), "other.npy"),
        (folder.write("picture.bin", "bytes"), ".npy"),
        (folder.path("absent.npy"), "absent.npy"),
    ];
    for (file, why) in &cases {
        run(&model, &["--input".as_ref(), pair("image", file).as_ref()]).assert_fails(1, why);
    }
    let file = folder.write("good.npy", npy("<f4", "(1, 8, 8, 1)", &good));
    let fed = pair("image", &file);
    let answer = run(&model, &["--input".as_ref(), fed.as_ref()]);
    assert!(answer.code == 0 && answer.stdout.starts_with("{\"probabilities\": [[0."), "{answer:?}");
    let twice = pair("image:0", &file);
    run(&model, &["--input".as_ref(), fed.as_ref(), "--input".as_ref(), twice.as_ref()])
        .assert_fails(2, "twice");
}

#[test]
fn a_bad_record_is_named_and_leaves_the_old_output() {
    let folder = Folder::new();
    let (model, records) = digits();
    let mut bytes = fs::read(records).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 0x40;
    let bad = folder.write("bad.tfrecord", bytes);
    let output = folder.write("out.csv", "from before");
    let args: [&OsStr; 4] = ["--input".as_ref(), bad.as_ref(), "--output".as_ref(), output.as_ref()];
    let answer = run(&model, &args);
    answer.assert_fails(1, "bad.tfrecord");
    assert!(answer.stderr.contains("359"), "{answer:?}");
    assert_eq!(fs::read_to_string(&output).unwrap(), "from before");
    assert_eq!(folder.names(), ["bad.tfrecord", "out.csv"]);
    let mut args = args.to_vec();
    args.extend(["--skip-bad".as_ref(), "--json".as_ref()] as [&OsStr; 2]);
    let json = run(&model, &args).json();
    assert_eq!((&json["rows"], &json["skipped_rows"]), (&359.into(), &1.into()));
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 360);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_clear_error() {
    let folder = Folder::new();
    for extension in ["csv", "jsonl", "npz", "npy", "tfrecord"] {
        let name = format!("full.{extension}");
        std::os::unix::fs::symlink("/dev/full", folder.path(&name)).unwrap();
        run_digits(&folder.path(&name), &[]).assert_fails(1, &name);
    }
    assert_eq!(folder.names().len(), 5);
    run_digits(&folder.path("no/such/folder.csv"), &[]).assert_fails(1, "folder.csv");
    let report = folder.path("no/such/report.json");
    run_digits(&folder.path("out.csv"), &["--report", report.to_str().unwrap()]).assert_fails(1, "no/such");
    assert_eq!(folder.names().len(), 5);
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_leaves_nothing() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        interrupt(signal, code);
    }
}

#[cfg(unix)]
fn interrupt(signal: &str, code: i32) {
    let folder = Folder::new();
    let (model, records) = digits();
    let output = folder.path("out.jsonl");
    let mut args: Vec<&OsStr> = vec!["run".as_ref(), model.as_ref(), "--output".as_ref(), output.as_ref()];
    args.push("--input".as_ref());
    args.extend(std::iter::repeat_n(records.as_os_str(), 3000));
    let child = common::command(args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while folder.names().is_empty() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "tightfit: interrupted\n");
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn an_empty_data_set_gives_files_of_no_rows() {
    let folder = Folder::new();
    let model = digits().0;
    let none = folder.write("none.npy", npy("<f4", "(0, 8, 8, 1)", &[]));
    for name in ["out.npz", "out.npy", "out.csv", "out.jsonl", "out.tfrecord"] {
        let output = folder.path(name);
        let args: [&OsStr; 4] = ["--input".as_ref(), none.as_ref(), "--output".as_ref(), output.as_ref()];
        let answer = run(&model, &args);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    assert_eq!(array(&folder.path("out.npz"), "probabilities").0, [0, 10]);
    let npy_path = folder.path("out.npy");
    let reader = NpyReader::new(Arc::from(npy_path.as_path()), File::open(&npy_path).unwrap()).unwrap();
    assert_eq!(reader.header().shape, Shape::new(&[0, 10]).unwrap());
    for name in ["out.csv", "out.jsonl", "out.tfrecord"] {
        assert!(fs::read(folder.path(name)).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn strings_larger_than_planned_say_what_to_give() {
    let folder = Folder::new();
    let model = STRINGS.replace("unknown_rank: true", "dim { size: -1 } dim { size: 1 }");
    let model = folder.write("strings.pbtxt", model);
    let unicode: Vec<u8> = std::iter::repeat_n(u32::from(b'x').to_le_bytes(), 3000).flatten().collect();
    let data = folder.write("long.npy", npy("<U3000", "(1, 1)", &unicode));
    let args: [&OsStr; 2] = ["--input".as_ref(), data.as_ref()];
    let less: [&OsStr; 2] = ["--string-memory".as_ref(), "1KiB".as_ref()];
    run(&model, &[args, less].concat()).assert_fails(3, "--string-memory");
    let answer = run(&model, &args);
    assert!(answer.code == 0 && answer.stdout.contains("xxx"), "{answer:?}");
}

#[test]
fn an_empty_image_is_a_bad_row() {
    let folder = Folder::new();
    fs::create_dir(folder.path("images")).unwrap();
    folder.write("images/a.png", "");
    folder.write("images/b.jpg", "no image");
    fs::copy(repository("examples/digits/digit_3.png"), folder.path("images/c.png")).unwrap();
    let (model, images, output) = (digits().0, folder.path("images"), folder.path("out.csv"));
    let args: [&OsStr; 4] = ["--input".as_ref(), images.as_ref(), "--output".as_ref(), output.as_ref()];
    run(&model, &args).assert_fails(1, "a.png");
    let more: [&OsStr; 2] = ["--skip-bad".as_ref(), "--json".as_ref()];
    let json = run(&model, &[&args[..], &more].concat()).json();
    assert_eq!((&json["rows"], &json["skipped_rows"]), (&1.into(), &2.into()));
}

#[test]
fn rows_of_a_pipeline_are_those_of_its_files() {
    let folder = Folder::new();
    let (model, records) = digits();
    let whole = folder.path("whole.npy");
    assert_eq!(run_digits(&whole, &["--batch", "32"]).code, 0);
    let spec = |stages: &str| format!(r#"{{"source": {{"tfrecord": {records:?}}}, "stages": [{stages}]}}"#);
    let of_pipeline = |name: &str, stages: &str, args: &[&str]| {
        let (spec, output) = (folder.write("spec.json", spec(stages)), folder.path(name));
        let fixed: [&OsStr; 4] = ["--input".as_ref(), spec.as_ref(), "--output".as_ref(), output.as_ref()];
        let args: Vec<&OsStr> = fixed.into_iter().chain(args.iter().map(OsStr::new)).collect();
        (run(&model, &args), output)
    };
    // The 32 MiB that stages may take are a line of the plan.
    let (answer, output) =
        of_pipeline("a.npy", r#"{"parse": null}, {"prefetch": 16}"#, &["--batch", "32", "--memory", "48MiB"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    assert_eq!(fs::read(&output).unwrap(), fs::read(&whole).unwrap());
    // A model in the pipeline makes a field of its output, which is no image.
    let stages = format!(
        r#"{{"parse": {{"features": {{"image": {{"dtype": "float32", "shape": [8, 8, 1]}}}}}}}},
           {{"batch": 32}}, {{"model": {model:?}, "keep": []}}, {{"unbatch": null}}, {{"rename": {{"probabilities": "image"}}}}"#
    );
    let (answer, _) = of_pipeline("b.npy", &stages, &[]);
    answer.assert_fails(2, "image needs rows of [8, 8, 1], and there is image: float32 [10]");
    for (stages, args, code, why) in [
        (
            r#"{"parse": null}, {"bacth": 3}"#,
            &[][..],
            2,
            "there is no stage \"bacth\"; did you mean \"batch\"?",
        ),
        (
            r#"{"parse": null}"#,
            &["--feature", "image=pixels"][..],
            2,
            "there is no field \"pixels\" here, but image: float32 [64]",
        ),
        (r#"{"parse": null}"#, &["--memory", "20MiB"][..], 3, "the data pipeline needs 32.0 MiB"),
        (r#"{"parse": null}"#, &["--pipeline-memory", "64KiB"][..], 3, "reading"),
    ] {
        let (answer, output) = of_pipeline("c.npy", stages, args);
        answer.assert_fails(code, why);
        assert!(!output.exists(), "{why}");
    }
}

#[test]
fn a_reshape_to_a_fed_number_holds_it_against_the_elements() {
    let node = |name: &str, op: &str, inputs: &str, types: &str| {
        format!("node {{ name: '{name}' op: '{op}' {inputs} {types} }}\n")
    };
    let shape =
        |size: usize| format!("attr {{ key: 'shape' value {{ shape {{ dim {{ size: {size} }} }} }} }}");
    let dtype = |name: &str, dtype: &str| format!("attr {{ key: '{name}' value {{ type: {dtype} }} }}");
    let folder = Folder::new();
    let model = folder.write(
        "reshape.pbtxt",
        [
            node("x", "Placeholder", "", &(dtype("dtype", "DT_FLOAT") + &shape(6))),
            node("s", "Placeholder", "", &(dtype("dtype", "DT_INT32") + &shape(1))),
            node("y", "Reshape", "input: 'x' input: 's'", &dtype("T", "DT_FLOAT")),
        ]
        .concat(),
    );
    let numbers: Vec<f32> = (0..6u8).map(f32::from).collect();
    let x = pair("x", &folder.write("x.npy", npy("<f4", "(6,)", &floats(&numbers))));
    for (asked, is_right) in [(6i32, true), (-1, true), (5, false), (7, false)] {
        let s = pair("s", &folder.write("s.npy", npy("<i4", "(1,)", &asked.to_le_bytes())));
        let args = ["run", model.to_str().unwrap(), "--input", &x, "--input", &s, "--output", "-", "--quiet"];
        let answer = tightfit(args);
        match is_right {
            true => assert_eq!(answer.json()["y"].as_array().map(Vec::len), Some(6), "{asked}: {answer:?}"),
            false => answer.assert_fails(1, "where there are 6 elements"),
        }
    }
}
