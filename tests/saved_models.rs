//! SavedModels, checkpoints and graphs with variables, through the command line: the numbers are TensorFlow's, and what
//! `freeze` writes gives the same. tests/golden/saved_models/make.py has made them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Folder, command, pair, repository, tightfit};
use tightfit_format::npy::NpyReader;

fn golden(name: &str) -> PathBuf {
    repository("tests/golden/saved_models").join(name)
}

/// The float32 values of a .npy file.
fn values(path: &Path) -> Vec<f32> {
    let mut reader = NpyReader::new(path.into(), fs::File::open(path).unwrap()).unwrap();
    let mut bytes = vec![0; reader.header().data_bytes() as usize];
    reader.read_all(&mut bytes).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// Runs a model and compares what one fetch gives.
fn check(model: &[String], input: &str, fetch: &str, expected: &str) {
    let folder = Folder::new();
    let output = folder.path("out.npy");
    let mut args = vec!["run".to_string()];
    args.extend_from_slice(model);
    args.extend([
        "--input".into(),
        input.into(),
        "--fetch".into(),
        fetch.into(),
        "--memory".into(),
        "16MiB".into(),
    ]);
    args.extend(["--output".into(), text(&output), "--quiet".into()]);
    let answer = tightfit(&args);
    assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
    let (found, expected) = (values(&output), values(&golden(expected)));
    assert_eq!(found.len(), expected.len(), "{args:?}");
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1e-2), "{args:?}: {a} is not {b}");
    }
}

fn model(path: &str, flags: &[&str]) -> Vec<String> {
    [text(golden(path))].into_iter().chain(flags.iter().map(|flag| flag.to_string())).collect()
}

fn checkpoint() -> String {
    text(golden("checkpoint/model.ckpt"))
}

/// Model, input by its own name, its tensor, and fetches with what is expected of them.
type Case = (Vec<String>, &'static str, &'static str, &'static str, Vec<(&'static str, &'static str)>);

fn cases() -> Vec<Case> {
    let image = vec![("output_0", "image_out.npy")];
    let look = vec![("rows", "ids_rows.npy"), ("product", "ids_product.npy")];
    let out = vec![("out", "a_out.npy")];
    vec![
        (model("keras_export", &[]), "image", "serving_default_image:0", "image.npy", image.clone()),
        (
            model("keras_export", &["--signature", "serve"]),
            "image",
            "serve_image:0",
            "image.npy",
            image.clone(),
        ),
        (
            model("keras_export/saved_model.pb", &[]),
            "image",
            "serving_default_image:0",
            "image.npy",
            image.clone(),
        ),
        (model("keras_saved", &[]), "inputs", "serving_default_inputs:0", "image.npy", image),
        (model("functions", &["--signature", "look"]), "ids", "look_ids:0", "ids.npy", look),
        (
            model("functions", &["--signature", "multiply"]),
            "v",
            "multiply_v:0",
            "ids_rows.npy",
            vec![("product", "ids_product.npy")],
        ),
        (model("checkpoint/model.ckpt.meta", &[]), "a", "a:0", "a.npy", out.clone()),
        (model("checkpoint/model.ckpt", &[]), "a", "a:0", "a.npy", out.clone()),
        (model("checkpoint/graph.pb", &["--checkpoint", &checkpoint()]), "a", "a:0", "a.npy", out),
    ]
}

#[test]
fn every_way_to_save_gives_tensorflows_numbers() {
    for (model, key, tensor, input, fetches) in cases() {
        for (fetch, expected) in fetches {
            for name in [key, tensor] {
                check(&model, &pair(name, &golden(input)), fetch, expected);
            }
        }
    }
}

#[test]
fn a_frozen_model_gives_the_same() {
    let folder = Folder::new();
    let frozen = text(folder.path("frozen.pb"));
    for (model, key, _, input, fetches) in cases() {
        let mut args = vec!["freeze".to_string()];
        args.extend_from_slice(&model);
        args.extend(["--output".into(), frozen.clone(), "--json".into()]);
        if fetches[0].0 == "out" {
            args.extend(["--fetch".into(), "out".into()]);
        }
        let answer = tightfit(&args).json();
        assert_eq!(answer["bytes"], fs::metadata(&frozen).unwrap().len(), "{args:?}");
        let name = answer["inputs"][key].as_str().unwrap();
        for (fetch, expected) in fetches {
            let fetch = answer["outputs"][fetch].as_str().unwrap();
            check(std::slice::from_ref(&frozen), &pair(name, &golden(input)), fetch, expected);
        }
        let inspected = tightfit(["inspect", &frozen, "--json"]).json();
        assert!(inspected["unsupported"].as_object().unwrap().is_empty(), "{inspected}");
        for op in
            ["VarHandleOp", "ReadVariableOp", "VariableV2", "RestoreV2", "SaveV2", "ApplyAdam", "Assign"]
        {
            assert!(inspected["operators"][op].is_null(), "{op}: {inspected}");
        }
    }
}

#[test]
fn tables_are_filled_from_files_and_from_constants() {
    let folder = Folder::new();
    let words = folder.write("words.json", br#"["no", "yes", "hello", "other"]"#);
    check(&model("words", &[]), &pair("word", &words), "scores", "words_scores.npy");
    let frozen = text(folder.path("frozen.pb"));
    let answer = tightfit(["freeze", &text(golden("words")), "--output", &frozen, "--json"]).json();
    assert_eq!(answer["init_ops"].as_array().unwrap().len(), 1, "{answer}");
    let inspected = tightfit(["inspect", &frozen, "--json"]).json();
    assert!(inspected["operators"]["VarHandleOp"].is_null(), "{inspected}");
}

#[test]
fn graphs_are_chosen_by_their_tags() {
    let folder = Folder::new();
    let x = folder.write("x.npy", common::npy("<f4", "(2,)", &common::floats(&[1.0, -3.0])));
    let run = |flags: &[&str]| {
        let output = folder.path("out.npy");
        let mut args = model("saved_text", flags);
        args.insert(0, "run".into());
        args.extend(["--input".into(), pair("in", &x), "--output".into(), text(&output), "--quiet".into()]);
        let answer = tightfit(&args);
        assert_eq!(answer.code, 0, "{answer:?}");
        values(&output)
    };
    assert_eq!(run(&[]), [2.5, -5.5]);
    assert_eq!(run(&["--tags", "serve"]), [2.5, -5.5]);
    // Its only signature needs no key.
    assert_eq!(run(&["--tags", "steep,serve"]), [10.5, -29.5]);
    assert_eq!(run(&["--tags", "steep"]), [10.5, -29.5]);
    let mut args = model("saved_text", &["--tags", "train"]);
    args.insert(0, "plan".into());
    tightfit(&args).assert_fails(2, "serve,steep");
}

#[test]
fn what_is_missing_is_said() {
    let a = pair("a", &golden("a.npy"));
    let fails = |args: &[&str], code: i32, why: &str| tightfit(args).assert_fails(code, why);
    let graph = text(golden("checkpoint/graph.pb"));
    fails(&["run", &graph, "--input", &a, "--fetch", "out"], 1, "is not frozen");
    let meta = text(golden("checkpoint/model.ckpt.meta"));
    fails(&["run", &meta, "--input", &a], 2, "--fetch");
    let functions = text(golden("functions"));
    fails(&["plan", &functions], 2, "look, multiply");
    fails(&["plan", &functions, "--signature", "none"], 2, "look, multiply");
    fails(&["plan", &functions, "--signature", "look", "--fetch", "none"], 2, "none");
    fails(&["freeze", &functions, "--signature", "look"], 2, "--output");
    fails(&["plan", &graph, "--checkpoint", "/no/such", "--fetch", "out"], 1, "/no/such.index");
    let folder = Folder::new();
    let keras = folder.write("model.h5", b"\x89HDF\r\n\x1a\n");
    fails(&["run", &text(&keras), "--input", &a], 1, ".export('saved_model')");
    // The weights of another model, and half of the weights.
    let other = text(golden("keras_export/variables/variables"));
    let flags = ["plan", &graph, "--fetch", "out", "--checkpoint", &other];
    fails(&flags, 1, "rows/part_0");
    let copied = folder.path("copied");
    fs::create_dir_all(copied.join("variables")).unwrap();
    for file in ["saved_model.pb", "variables/variables.index"] {
        fs::copy(golden("keras_export").join(file), copied.join(file)).unwrap();
    }
    let data = fs::read(golden("keras_export/variables/variables.data-00000-of-00001")).unwrap();
    let shard = copied.join("variables/variables.data-00000-of-00001");
    fails(&["plan", &text(&copied)], 1, "variables.data-00000-of-00001");
    fs::write(&shard, &data[..data.len() / 4]).unwrap();
    fails(&["plan", &text(&copied)], 1, "needs");
    // A value that is not the one that was saved is found while it is copied, and nothing is left.
    let mut wrong = data.clone();
    wrong.iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(&shard, &wrong).unwrap();
    let output = folder.path("frozen.pb");
    fails(&["freeze", &text(&copied), "--output", &text(&output)], 1, "checksum");
    assert!(!output.exists());
    assert_eq!(folder.names(), ["copied", "model.h5"]);
}

#[test]
fn inspect_tells_signatures_and_checkpoints() {
    let functions = tightfit(["inspect", &text(golden("functions")), "--signature", "look", "--json"]).json();
    assert_eq!(functions["format"], "SavedModel");
    assert_eq!(functions["signature"], "look");
    assert_eq!(functions["inputs"][0]["name"], "ids");
    assert_eq!(functions["signatures"]["multiply"]["outputs"][0]["name"], "product");
    assert_eq!(functions["weight_bytes"].as_u64().unwrap(), 4 * (20 * 5 + 5 * 4 + 1), "{functions}");
    let prefix = text(golden("keras_export/variables/variables"));
    let tensors = tightfit(["inspect", &prefix, "--json"]).json();
    assert_eq!(tensors["format"], "checkpoint");
    let kernel =
        tensors["tensors"].as_array().unwrap().iter().find(|t| t["shape"] == serde_json::json!([3, 3, 2, 4]));
    assert_eq!(kernel.unwrap()["dtype"], "float32");
}

#[test]
fn a_freeze_that_does_not_fit_leaves_nothing() {
    let folder = Folder::new();
    let output = folder.path("frozen.pb");
    // More than the memory that is given: the process itself takes more.
    let model = text(golden("keras_export"));
    tightfit(["freeze", &model, "--output", &text(&output), "--memory", "1MiB"])
        .assert_fails(3, "does not fit");
    assert!(folder.names().is_empty());
    let mut child = command(["freeze", &model, "--output", &text(&output), "--quiet"]).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(folder.names(), ["frozen.pb"]);
}
