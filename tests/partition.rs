//! Models in parts and optimized graphs, through the command line: the numbers are those of the whole model, and folders
//! that are not what their manifest says are refused.

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, command, pair, repository, tightfit};

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

fn model() -> String {
    text(repository("tests/golden/saved_models/keras_export"))
}

fn image() -> String {
    pair("image", &repository("tests/golden/saved_models/image.npy"))
}

/// Cuts the model into two parts.
fn parts(folder: &Folder) -> String {
    let parts = text(folder.path("parts"));
    let made = tightfit(["partition", &model(), "--max-bytes", "1000", "--output", &parts, "--json"]).json();
    assert_eq!(made["parts"].as_array().unwrap().len(), 2, "{made}");
    parts
}

/// The bytes that a run writes.
fn run(folder: &Folder, model: &str, flags: &[&str]) -> Vec<u8> {
    let output = folder.path("out.npy");
    let mut args = vec!["run", model, "--input"];
    let (image, out) = (image(), text(&output));
    args.extend([&image[..], "--output", &out, "--quiet", "--memory", "16MiB"]);
    args.extend(flags);
    let answer = tightfit(&args);
    assert_eq!(answer.code, 0, "{answer:?}");
    fs::read(output).unwrap()
}

#[test]
fn the_chain_computes_what_the_model_does() {
    let folder = Folder::new();
    let parts = parts(&folder);
    assert_eq!(run(&folder, &parts, &[]), run(&folder, &model(), &[]));
    let inspected = tightfit(["inspect", &parts, "--json"]).json();
    assert_eq!(inspected["inputs"], serde_json::json!(["image"]));
    assert_eq!(inspected["outputs"], serde_json::json!(["output_0"]));
    let planned = tightfit(["plan", &parts, "--json"]).json();
    let of_parts = planned["parts"].as_array().unwrap();
    let largest = of_parts.iter().map(|part| part["planned_bytes"].as_u64().unwrap()).max().unwrap();
    // The structure of the whole model is there at once, of about 200 bytes for each node.
    assert!(planned["planned_bytes"].as_u64().unwrap() <= largest + (64 << 10), "{planned}");
    for part in of_parts {
        assert!(part["weight_bytes"].as_u64().unwrap() <= 1000, "{part}");
        // Each part is a model of its own.
        let alone = format!("{parts}/{}", part["folder"].as_str().unwrap());
        assert!(
            tightfit(["inspect", &alone, "--json"]).json()["unsupported"].as_object().unwrap().is_empty()
        );
    }
}

#[test]
fn parts_end_where_they_are_told_to() {
    let folder = Folder::new();
    let whole = run(&folder, &model(), &[]);
    let frozen = text(folder.path("frozen.pb"));
    tightfit(["freeze", &model(), "--output", &frozen, "--json"]).json();
    let relu = "StatefulPartitionedCall_1/StatefulPartitionedCall/sequential_1/conv2d_1/Relu";
    let cut = text(folder.path("at"));
    let made = tightfit(["partition", &model(), "--at", relu, "--output", &cut, "--json"]).json();
    let given = &made["parts"][0]["outputs"];
    assert!(given[0]["tensor"].as_str().unwrap().ends_with("Relu"), "{made}");
    assert_eq!(run(&folder, &cut, &[]), whole);
    let scopes = text(folder.path("scopes"));
    tightfit(["partition", &model(), "--by", "scope", "--output", &scopes, "--json"]).json();
    assert_eq!(run(&folder, &scopes, &[]), whole);
    let out = text(folder.path("none"));
    let fails = |flags: &[&str], code: i32, why: &str| {
        let model = model();
        let mut args = vec!["partition", &model, "--output", &out];
        args.extend(flags);
        tightfit(&args).assert_fails(code, why);
    };
    fails(&["--at", "no_such"], 2, "no such node");
    fails(&["--at", "serving_default_image"], 2, "nothing is to cut");
    fails(&["--max-bytes", "100"], 2, "no parts of 100 B are possible");
    fails(&[], 2, "partition needs --max-bytes, --at or --by");
    assert!(!folder.path("none").exists());
}

#[test]
fn each_part_has_the_tables_that_it_looks_something_up_in() {
    let folder = Folder::new();
    let model = text(repository("tests/golden/saved_models/words"));
    let parts = text(folder.path("parts"));
    let words = folder.write("words.json", br#"["no", "yes", "hello", "other"]"#);
    let made = tightfit(["partition", &model, "--max-bytes", "4900", "--output", &parts, "--json"]).json();
    assert_eq!(made["parts"].as_array().unwrap().len(), 3, "{made}");
    let vocabulary = |part: &str| folder.path("parts").join(part).join("assets/vocabulary.txt");
    for part in ["part-000", "part-002"] {
        assert_eq!(fs::read_to_string(vocabulary(part)).unwrap(), "no\nyes\nhello\nworld\n");
    }
    assert!(!vocabulary("part-001").exists());
    let run = |model: &str| {
        let output = folder.path("out.npz");
        let out = text(&output);
        let feed = pair("word", &words);
        let answer = tightfit(["run", model, "--input", &feed, "--output", &out, "--quiet"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        fs::read(output).unwrap()
    };
    assert_eq!(run(&parts), run(&model));
    let place = folder.path("place.npy");
    let feed = pair("word", &words);
    let out = text(&place);
    let answer = tightfit(["run", &parts, "--input", &feed, "--fetch", "place", "--output", &out, "--quiet"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let expected = fs::read(repository("tests/golden/saved_models/words_place.npy")).unwrap();
    assert_eq!(fs::read(&place).unwrap()[128..], expected[128..]);
}

#[test]
fn an_output_is_whole_or_not_there() {
    let folder = Folder::new();
    let parts = parts(&folder);
    tightfit(["partition", &model(), "--max-bytes", "1000", "--output", &parts])
        .assert_fails(2, "is there already");
    let mut child = command([
        "partition",
        &model(),
        "--max-bytes",
        "1000",
        "--output",
        &text(folder.path("next")),
        "--quiet",
    ])
    .spawn()
    .unwrap();
    let _ = child.kill();
    child.wait().unwrap();
    let next = folder.path("next");
    assert!(!next.exists() || next.join("manifest.json").is_file());
}

#[test]
fn what_does_not_go_with_parts_is_an_error() {
    let folder = Folder::new();
    let parts = parts(&folder);
    let input = image();
    tightfit(["run", &parts]).assert_fails(2, "not fed: image");
    tightfit(["run", &parts, "--input", &input, "--batch", "2"]).assert_fails(2, "--batch is for a data set");
    let other = input.replacen("image=", "picture=", 1);
    tightfit(["run", &parts, "--input", &other]).assert_fails(2, "'picture', which the model does not have");
    for flag in ["--checkpoint", "--tags", "--signature"] {
        let why = format!("{flag} does not go with a model in parts");
        tightfit(["run", &parts, "--input", &input, flag, "other"]).assert_fails(2, &why);
    }
}

#[test]
fn a_chain_runs_over_a_data_set_as_the_model_does() {
    let folder = Folder::new();
    let (parts, images) = (parts(&folder), text(repository("tests/golden/saved_models/image.npy")));
    let out = |name: &str| text(folder.path(name));
    let run = |model: &str, output: &str, more: &[&str]| {
        let mut args = vec!["run", model, "--input", &images, "--batch", "1", "--output", output, "--json"];
        args.extend(more);
        tightfit(&args).json()
    };
    let (chain, whole) = (out("chain.npz"), out("whole.npz"));
    let report = out("report.json");
    let of_chain = run(&parts, &chain, &["--memory", "24MiB", "--report", &report]);
    let of_whole = run(&model(), &whole, &[]);
    assert_eq!(fs::read(&chain).unwrap(), fs::read(&whole).unwrap());
    assert_eq!(of_chain["rows"], of_whole["rows"]);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["rows"], of_whole["rows"], "{report}");
    // A second run finds everything done.
    let shards = out("shards.npz");
    run(&parts, &shards, &["--resume", "--shard-rows", "1"]);
    let first = fs::read(folder.path("shards-00000.npz")).unwrap();
    let again = run(&parts, &shards, &["--resume", "--shard-rows", "1"]);
    assert_eq!(again["resumed_rows"], of_whole["rows"], "{again}");
    assert_eq!(fs::read(folder.path("shards-00000.npz")).unwrap(), first);
}

#[test]
fn folders_that_are_not_what_they_say_are_refused() {
    let folder = Folder::new();
    let parts = parts(&folder);
    let manifest = folder.path("parts/manifest.json");
    let good = fs::read_to_string(&manifest).unwrap();
    let input = image();
    let fails = |text: &str, why: &str| {
        fs::write(&manifest, text).unwrap();
        for command in [&["inspect", &parts][..], &["plan", &parts], &["run", &parts, "--input", &input]] {
            tightfit(command).assert_fails(1, why);
        }
    };
    fails("{", "no manifest");
    fails("[]", "no manifest");
    fails(&good.replacen("\"tightfit_partition\": 1", "\"tightfit_partition\": 9", 1), "version 9");
    fails(&good.replacen("part-001", "../part-001", 1), "no folder beside it");
    fails(&good.replacen("part-001", "part-007", 1), "which is not there");
    fails(
        &good.replacen("\"part-000\"", "\"part-001\"", 1).replacen("\"output_0\"", "\"other\"", 1),
        "other",
    );
    // A part that is not the one the manifest tells of.
    fs::write(&manifest, good.replacen("\"part-000\"", "\"part-001\"", 1)).unwrap();
    let answer = tightfit(["run", &parts, "--input", &input]);
    assert!(answer.code == 1 || answer.code == 2, "{answer:?}");
    assert!(!answer.stderr.contains("panicked") && !answer.stderr.contains("defect"), "{answer:?}");
    // A part without its weights, and one with others.
    fs::write(&manifest, &good).unwrap();
    let data = folder.path("parts/part-001/variables/variables.data-00000-of-00001");
    if data.is_file() {
        fs::write(&data, b"").unwrap();
        assert_eq!(tightfit(["run", &parts, "--input", &input]).code, 1);
    }
    fs::remove_dir_all(folder.path("parts/part-001")).unwrap();
    tightfit(["run", &parts, "--input", &input]).assert_fails(1, "which is not there");
}

#[test]
fn an_optimized_graph_computes_the_same_with_less() {
    let folder = Folder::new();
    let small = text(folder.path("small.pb"));
    let made = tightfit(["optimize", &model(), "--output", &small, "--json"]).json();
    assert!(made["nodes"].as_u64() < made["nodes_before"].as_u64(), "{made}");
    let (input, fetch) =
        (made["inputs"]["image"].as_str().unwrap(), made["outputs"]["output_0"].as_str().unwrap());
    let output = folder.path("small.npy");
    let feed = pair(input.trim_end_matches(":0"), &repository("tests/golden/saved_models/image.npy"));
    let answer =
        tightfit(["run", &small, "--input", &feed, "--fetch", fetch, "--output", &text(&output), "--quiet"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let values = |bytes: &[u8]| -> Vec<f32> {
        let data = &bytes[128..];
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let (found, expected) = (values(&fs::read(&output).unwrap()), values(&run(&folder, &model(), &[])));
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1e-3), "{a} is not {b}");
    }
    tightfit(["optimize", &model(), "--transforms", "fold_constant", "--output", &small])
        .assert_fails(2, "did you mean fold_constants?");
    tightfit(["optimize", &model(), "--input", "no_such", "--output", &small])
        .assert_fails(2, "no such node");
}

#[test]
fn bytes_are_shown_by_scope() {
    let found = tightfit(["inspect", &model(), "--by", "scope", "--depth", "1", "--json"]).json();
    let total: u64 =
        found["scopes"].as_array().unwrap().iter().map(|scope| scope["bytes"].as_u64().unwrap()).sum();
    assert_eq!(found["weight_bytes"].as_u64(), Some(total));
    assert!(found["scopes"][0]["scopes"].as_array().unwrap().is_empty(), "{found}");
    assert_eq!(found["duplicates"], serde_json::json!([]));
    let planned = tightfit(["plan", &model(), "--by", "scope", "--json"]).json();
    assert!(planned["scopes"][0]["scopes"].as_array().is_some_and(|list| !list.is_empty()), "{planned}");
}
