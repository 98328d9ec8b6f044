//! Models written as those of TensorFlow Lite, of floats and of integers, through the command line: their numbers are those of
//! the model that they were made of, and what has no builtin is named.

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, digits, floats, npy, pair, repository, tightfit};
use serde_json::Value;

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// What `compare` says of two models over the digits, the first output of which has the answers.
fn compared(a: &str, b: &str, more: &[&str]) -> Value {
    let (_, data) = digits();
    let data = text(data);
    let mut args = vec!["compare", a, b, "--input", &data, "--label", "label", "--json"];
    args.extend(more);
    let answer = tightfit(&args);
    assert_eq!(answer.code, 0, "{answer:?}");
    answer.json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

/// Points of accuracy that the second model loses.
fn lost(compared: &Value) -> f64 {
    let right = |model: usize| number(&compared["models"][model]["right_rows"]);
    100.0 * (right(0) - right(1)) / number(&compared["rows"])
}

#[test]
fn a_frozen_model_computes_what_its_source_does() {
    let folder = Folder::new();
    let (model, _) = digits();
    let (model, frozen) = (text(model), text(folder.path("digits.tflite")));
    let made = tightfit(["freeze", &model, "--output", &frozen, "--memory", "16MiB", "--json"]).json();
    assert_eq!(made["bytes"].as_u64().unwrap(), fs::metadata(&frozen).unwrap().len());
    // Three convolutions with bias and activation, a pool, a mean, a product and a softmax.
    assert_eq!(made["nodes"], 7, "{made}");
    let same = compared(&model, &frozen, &["--batch", "7"]);
    assert_eq!(same["rows"], 360);
    assert!(number(&same["outputs"][0]["max_abs_error"]) < 1e-5, "{same}");
    assert_eq!((lost(&same), &same["outputs"][0]["b"]), (0.0, &"probabilities".into()));
    // A model of TensorFlow Lite is one that can be frozen again.
    let again = text(folder.path("again.tflite"));
    assert_eq!(tightfit(["freeze", &frozen, "--output", &again, "--quiet"]).code, 0);
    let same = compared(&model, &again, &[]);
    assert!(number(&same["outputs"][0]["max_abs_error"]) < 1e-5, "{same}");
}

#[test]
fn integers_and_halves_answer_as_the_floats_do() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let before = fs::metadata(&model).unwrap().len();
    // Scheme, flags, the least SNR in dB and the largest share of the bytes.
    let cases: [(&str, &[&str], f64, f64); 11] = [
        ("bf16", &[], 45.0, 0.6),
        ("weight-only-int4", &[], 15.0, 0.3),
        ("int8", &["--calibrate", &data, "--float-io", "--calibration", "mse"], 35.0, 0.4),
        ("int8", &["--calibrate", &data, "--float-io", "--calibration", "entropy"], 20.0, 0.4),
        ("int8", &["--calibrate", &data, "--float-io", "--correct-biases"], 35.0, 0.4),
        ("int16x8", &["--calibrate", &data, "--float-io"], 40.0, 0.4),
        ("f16", &[], 75.0, 0.6),
        ("dynamic", &[], 40.0, 0.4),
        ("weight-only-int8", &[], 40.0, 0.4),
        ("int8", &["--input", &data, "--float-io"], 35.0, 0.4),
        ("int8", &["--calibrate", &data, "--batch", "8"], 35.0, 0.4),
    ];
    for (scheme, flags, least, share) in cases {
        let output = text(folder.path("quantized.tflite"));
        let mut args = vec!["quantize", &model, "--scheme", scheme, "--output", &output, "--json"];
        args.extend(flags);
        args.extend(["--memory", "32MiB"]);
        let answer = tightfit(&args);
        assert_eq!(answer.code, 0, "{answer:?}");
        let made = answer.json();
        let bytes = fs::metadata(&output).unwrap().len();
        assert_eq!(made["bytes"].as_u64(), Some(bytes));
        assert!((bytes as f64) < share * before as f64, "{scheme}: {bytes} of {before}");
        assert!(made["layers"].as_array().unwrap().len() >= 2, "{made}");
        let same = compared(&model, &output, &[]);
        assert!(number(&same["outputs"][0]["snr_db"]) > least, "{scheme}: {same}");
        assert!(scheme == "weight-only-int4" || lost(&same) <= 0.3, "{scheme}: {same}");
        let inspected = tightfit(["inspect", &output, "--json"]).json();
        let is_integers = scheme == "int8" && !flags.contains(&"--float-io");
        let dtype = if is_integers { "int8" } else { "float32" };
        assert_eq!(inspected["inputs"][0]["dtype"], dtype, "{inspected}");
        assert_eq!(folder.names(), ["quantized.tflite"], "nothing is left beside it");
    }
}

#[test]
fn a_model_of_one_tensor_is_compared_with_itself() {
    let folder = Folder::new();
    let model = text(repository("tests/golden/tflite/conv_net/model.tflite"));
    let output = text(folder.path("dynamic.tflite"));
    assert_eq!(tightfit(["quantize", &model, "--output", &output, "--quiet"]).code, 0);
    let values: Vec<f32> = (0..360).map(|n| (n % 17) as f32 / 17.0).collect();
    let input = folder.write("x.npy", npy("<f4", "(1, 12, 10, 3)", &floats(&values)));
    let input = pair("x", &input);
    let compare = |b: &str| tightfit(["compare", &model, b, "--input", &input, "--json"]).json();
    let same = compare(&model);
    assert_eq!(
        (&same["outputs"][0]["max_abs_error"], &same["outputs"][0]["snr_db"]),
        (&0.0.into(), &Value::Null)
    );
    let other = compare(&output);
    assert!(number(&other["outputs"][0]["snr_db"]) > 30.0, "{other}");
    assert!(number(&other["outputs"][0]["max_abs_error"]) > 0.0, "{other}");
}

/// A node of floats.
fn node(name: &str, op: &str, inputs: &[&str], more: &str) -> String {
    let inputs: String = inputs.iter().map(|input| format!(r#" input: "{input}""#)).collect();
    format!(
        r#"node {{ name: "{name}" op: "{op}"{inputs} attr {{ key: "T" value {{ type: DT_FLOAT }} }} {more} }}
"#
    )
}

fn constant(name: &str, dims: &[usize], from: f32) -> String {
    let shape: String = dims.iter().map(|dim| format!("dim {{ size: {dim} }} ")).collect();
    let values: String = (0..dims.iter().product())
        .map(|n| format!("float_val: {} ", from + (n * 7 % 5) as f32 / 8.0))
        .collect();
    format!(
        r#"node {{ name: "{name}" op: "Const" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }}
  attr {{ key: "value" value {{ tensor {{ dtype: DT_FLOAT tensor_shape {{ {shape} }} {values} }} }} }} }}
"#
    )
}

#[test]
fn what_norms_multiply_and_add_goes_to_the_products_before_them() {
    let placeholder = r#"node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: -1 } dim { size: 4 } dim { size: 4 } dim { size: 2 } } } } }
"#;
    let window = r#"attr { key: "strides" value { list { i: 1 i: 1 i: 1 i: 1 } } }
  attr { key: "padding" value { s: "SAME" } }"#;
    let graph = [
        placeholder.to_string(),
        constant("filter", &[1, 1, 2, 3], -0.2),
        constant("taps", &[3, 3, 3, 1], -0.1),
        constant("weights", &[48, 5], -0.3),
        constant("bias", &[3], 0.5),
        constant("scale", &[3], 0.75),
        constant("shift", &[1, 1, 1, 3], -0.5),
        constant("one", &[1], 0.25),
        constant("last", &[5], 0.1),
        node("conv", "Conv2D", &["x", "filter"], window),
        node("biased", "BiasAdd", &["conv", "bias"], ""),
        node("scaled", "Mul", &["biased", "scale"], ""),
        node("shifted", "AddV2", &["shift", "scaled"], ""),
        node("relu", "Relu", &["shifted"], ""),
        node("depthwise", "DepthwiseConv2dNative", &["relu", "taps"], window),
        node("added", "AddV2", &["depthwise", "shift"], ""),
        node("more", "AddV2", &["added", "one"], ""),
        r#"node { name: "shape" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
  attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { dim { size: 2 } } int_val: -1 int_val: 48 } } } }
"#
        .to_string(),
        node("flat", "Reshape", &["more", "shape"], ""),
        node("product", "MatMul", &["flat", "weights"], ""),
        node("sum", "BiasAdd", &["product", "last"], ""),
        node("y", "AddV2", &["sum", "last"], ""),
    ];
    let folder = Folder::new();
    let model = text(folder.write("model.pbtxt", graph.concat()));
    let frozen = text(folder.path("model.tflite"));
    let made = tightfit(["freeze", &model, "--fetch", "y", "--output", &frozen, "--json"]);
    assert_eq!(made.code, 0, "{made:?}");
    // Two convolutions, a reshape and a product.
    assert_eq!(made.json()["nodes"], 4, "{made:?}");
    let values: Vec<f32> = (0..64).map(|n| (n % 13) as f32 / 6.0 - 1.0).collect();
    let input = pair("x", &folder.write("x.npy", npy("<f4", "(2, 4, 4, 2)", &floats(&values))));
    let same = tightfit(["compare", &model, &frozen, "--fetch", "y", "--input", &input, "--json"]);
    assert_eq!(same.code, 0, "{same:?}");
    assert!(number(&same.json()["outputs"][0]["max_abs_error"]) < 1e-5, "{same:?}");
}

const WITHOUT_BUILTINS: &str = r#"
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: -1 } dim { size: 4 } } } } }
node { name: "a" op: "Acosh" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "b" op: "Erf" input: "a" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "c" op: "Lgamma" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "y" op: "AddV2" input: "b" input: "c" attr { key: "T" value { type: DT_FLOAT } } }
"#;

#[test]
fn what_has_no_builtin_is_named_and_nothing_is_written() {
    let folder = Folder::new();
    let model = text(folder.write("model.pbtxt", WITHOUT_BUILTINS));
    let output = text(folder.path("model.tflite"));
    for command in ["freeze", "quantize"] {
        let answer = tightfit([command, &model, "--fetch", "y", "--output", &output]);
        assert_eq!(answer.code, 1, "{answer:?}");
        for name in ["Acosh", "Lgamma"] {
            assert!(answer.stderr.contains(name), "{answer:?}");
        }
        assert_eq!(folder.names(), ["model.pbtxt"]);
    }
    // What is not needed is not missed.
    let answer = tightfit(["freeze", &model, "--fetch", "c", "--output", &output]);
    answer.assert_fails(1, "Lgamma");
    assert!(!answer.stderr.contains("Acosh"), "{answer:?}");
    let answer = tightfit(["freeze", &model, "--fetch", "b", "--output", &output]);
    answer.assert_fails(1, "Acosh");
}

/// The float32 elements of a .npy file.
fn elements(file: &[u8]) -> Vec<f32> {
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    file[start..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// `tests/golden/quantized_graph.py` has TensorFlow's numbers for the files that are written.
#[test]
fn a_graph_of_narrow_weights_computes_as_tensorflow_does() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, input) = (text(model), text(repository("tests/golden/quantized_graph/x.npy")));
    let smallest = |path: &str| number(&tightfit(["plan", path, "--json"]).json()["minimum_bytes"]);
    let (bytes_before, smallest_before) = (fs::metadata(&model).unwrap().len(), smallest(&model));
    // Scheme, the share of bytes that is left, the least SNR in dB.
    for (scheme, share, least) in
        [("dynamic", 0.4, 40.0), ("weight-only-int8", 0.4, 40.0), ("f16", 0.6, 75.0), ("bf16", 0.6, 45.0)]
    {
        let output = text(folder.path("quantized.pb"));
        let answer = tightfit(["quantize", &model, "--scheme", scheme, "--output", &output, "--json"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        let made = answer.json();
        let bytes = fs::metadata(&output).unwrap().len();
        assert_eq!(made["bytes"].as_u64(), Some(bytes));
        assert!((bytes as f64) < share * bytes_before as f64, "{scheme}: {bytes} of {bytes_before}");
        // Weights are widened as they are read: no plan is larger for it, but for what describes the nodes.
        let planned = smallest(&output) - smallest_before;
        assert!(planned < f64::from(128 << 10), "{scheme}: {planned} more than {smallest_before}");
        let same = compared(&model, &output, &[]);
        assert!(number(&same["outputs"][0]["snr_db"]) > least && lost(&same) <= 0.3, "{scheme}: {same}");
        let results = text(folder.path("out.npy"));
        let run = ["run", &output, "--input", &input, "--batch", "4", "--output", &results, "--quiet"];
        assert_eq!(tightfit(run).code, 0);
        let golden = repository("tests/golden/quantized_graph").join(format!("{scheme}.npy"));
        let [found, expected] = [Path::new(&results), &golden].map(|path| elements(&fs::read(path).unwrap()));
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == expected.len() && error < 1e-5, "{scheme}: {error}");
        fs::remove_file(results).unwrap();
        assert_eq!(folder.names(), ["quantized.pb"], "nothing is left beside it");
    }
    drop(data);
}

#[test]
fn floats_for_inputs_of_integers_are_quantised_as_they_are_fed() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let [whole, float] = ["int8.tflite", "float.tflite"].map(|name| text(folder.path(name)));
    let args = ["quantize", &model, "--scheme", "int8", "--calibrate", &data, "--quiet", "--output"];
    assert_eq!(tightfit([&args[..], &[&whole]].concat()).code, 0);
    assert_eq!(tightfit([&args[..], &[&float, "--float-io"]].concat()).code, 0);
    let inspected = tightfit(["inspect", &whole, "--json"]).json();
    let scale_of = |port: &Value| {
        assert_eq!(port["dtype"], "int8", "{port}");
        (
            number(&port["quantization"]["scales"][0]) as f32,
            number(&port["quantization"]["zero_points"][0]) as f32,
        )
    };
    let (input, output) = (scale_of(&inspected["inputs"][0]), scale_of(&inspected["typed_outputs"][0]));
    let run = |model: &str, data: &[&str], more: &[&str]| {
        let results = text(folder.path("out.npy"));
        let fixed = ["--output", &results, "--quiet"];
        let answer = tightfit([&["run", model, "--input"], data, &fixed, more].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        fs::read(results).unwrap()
    };
    let integers = |file: &[u8]| {
        let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        file[start..].iter().map(|byte| *byte as i8).collect::<Vec<_>>()
    };
    // The same arithmetic behind the same rounding: in the file of floats QUANTIZE and DEQUANTIZE do it.
    let pictures: Vec<String> =
        [0, 2, 3, 5, 8].map(|digit| text(repository(&format!("examples/digits/digit_{digit}.png")))).into();
    let pictures: Vec<&str> = pictures.iter().map(String::as_str).collect();
    let numbers: Vec<f32> = (0..5 * 64).map(|n| (n * 7 % 23) as f32 / 20.0 - 0.1).collect();
    let array = text(folder.write("x.npy", npy("<f4", "(5, 8, 8, 1)", &floats(&numbers))));
    let rows: Vec<Value> = numbers.chunks(64).map(|row| serde_json::json!({"image": row})).collect();
    let rows: String = rows.iter().map(|row| row.to_string() + "\n").collect();
    let lines = text(folder.write("x.jsonl", rows));
    let fed = pair("image", Path::new(&array));
    for (data, more) in [
        (&pictures[..], &["--preprocess", "unit"][..]),
        (&[&data], &[]),
        (&[&array], &["--batch", "2"]),
        (&[&lines], &[]),
        (&[&fed], &[]),
    ] {
        let expected = elements(&run(&float, data, more));
        let found = integers(&run(&whole, data, more));
        let numbers: Vec<f32> = found.iter().map(|q| (f32::from(*q) - output.1) * output.0).collect();
        assert_eq!(numbers, expected, "{data:?}");
    }
    // Integers are fed as they are, and give the same as the floats that they stand for.
    let quantized: Vec<u8> = numbers
        .iter()
        .map(|value| ((value / input.0).round_ties_even() + input.1).clamp(-128.0, 127.0) as i8 as u8)
        .collect();
    let own = text(folder.write("q.npy", npy("|i1", "(5, 8, 8, 1)", &quantized)));
    assert_eq!(run(&whole, &[&own], &[]), run(&whole, &[&array], &[]));
    assert_eq!(run(&whole, &[&pair("image", Path::new(&own))], &[]), run(&whole, &[&fed], &[]));
    // The plan and the report tell it, and the plan's smallest memory is the run's.
    let results = text(folder.path("out.npy"));
    let with = |command: &str, more: &[&str]| {
        tightfit([&[command, &whole, "--input", &array, "--output", &results, "--json"], more].concat())
    };
    let plan = with("plan", &[]).json();
    assert_eq!(plan["quantized_inputs"], serde_json::json!(["image"]));
    let minimum_bytes = plan["minimum_bytes"].as_u64().unwrap();
    let made = with("run", &["--memory", &minimum_bytes.to_string()]).json();
    assert_eq!(made["quantized_inputs"], serde_json::json!(["image"]));
    assert_eq!(with("run", &["--memory", &(minimum_bytes - (64 << 10)).to_string()]).code, 3);
    let text = tightfit(["plan", &whole, "--input", &array]).stdout;
    assert!(text.contains("Quantized as fed: image"), "{text}");
}

#[test]
fn wrong_calls_are_explained() {
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let answer = tightfit(["quantize", &model, "--scheme", "int8", "--output", "/tmp/x.tflite"]);
    answer.assert_fails(2, "--input");
    tightfit(["quantize", &model, "--output", "/tmp/x.npy"]).assert_fails(2, ".tflite or .pb");
    for scheme in ["int8", "int16x8", "weight-only-int4"] {
        let answer = tightfit(["quantize", &model, "--scheme", scheme, "--output", "/tmp/x.pb"]);
        answer.assert_fails(2, "a GraphDef takes dynamic and weight-only-int8");
    }
    let answer = tightfit(["quantize", &model, "--calibrate", &data, "--output", "/tmp/x.pb"]);
    answer.assert_fails(2, "tightfit compare");
    tightfit(["quantize", &model, "--correct-biases", "--output", "/tmp/x.tflite"]).assert_fails(2, "int8");
    tightfit(["compare", &model, &model]).assert_fails(2, "--input");
    let other = text(repository("tests/golden/tflite/elementwise/model.tflite"));
    tightfit(["compare", &model, &other, "--input", &data]).assert_fails(2, "inputs");
}

#[test]
fn layers_that_hurt_most_stay_floats_until_an_error_is_kept() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let (output, report) = (text(folder.path("mixed.tflite")), text(folder.path("mixed.html")));
    let quantize = |max_error: &str| {
        let args =
            ["quantize", &model, "--scheme", "int8", "--calibrate", &data, "--output", &output, "--json"];
        tightfit([&args[..], &["--max-error", max_error, "--report", &report]].concat())
    };
    let all = quantize("0.5").json();
    let snr = number(&all["outputs"][0]["snr_db"]);
    assert_eq!(all["operators_in_floats"], serde_json::json!({}), "{all}");
    assert_eq!(all["layers"].as_array().unwrap().len(), 4);
    assert!(
        all["layers"].as_array().unwrap().iter().all(|layer| number(&layer["output_snr_db"]) > 15.0),
        "{all}"
    );
    // Half the error that all in integers make.
    let share = 10f64.powf(-snr / 20.0) / 2.0;
    let mixed = quantize(&share.to_string()).json();
    let found = number(&mixed["outputs"][0]["snr_db"]);
    assert!(found >= snr + 6.0, "{snr} and {found}");
    let kept = mixed["layers"].as_array().unwrap().len();
    assert!((1..4).contains(&kept), "{mixed}");
    assert!(fs::read_to_string(&report).unwrap().contains("SNR of the output"));
    // As little as that leaves nothing in integers.
    let none = quantize("1e-9").json();
    assert_eq!((&none["layers"], &none["outputs"][0]["snr_db"]), (&serde_json::json!([]), &Value::Null));
}

#[test]
fn data_make_up_for_what_rounding_adds() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let output = text(folder.path("int4.tflite"));
    // The SNR of the answers in dB: at least this, and more by this with data.
    for (scheme, least, more) in [("weight-only-int4", 30.0, 10.0), ("weight-only-int8", 50.0, 8.0)] {
        let snr = |flags: &[&str]| {
            let quantize = ["quantize", &model, "--scheme", scheme, "--output", &output];
            let answer = tightfit([&quantize[..], flags].concat());
            assert_eq!(answer.code, 0, "{answer:?}");
            number(&compared(&model, &output, &[])["outputs"][0]["snr_db"])
        };
        let (without, with) = (snr(&[]), snr(&["--calibrate", &data]));
        assert!(with >= least && with >= without + more, "{scheme}: {without} and {with} dB");
        assert_eq!(folder.names(), ["int4.tflite"]);
    }
}

#[test]
fn a_pruned_model_is_held_without_its_zeros() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let weights = |path: &str| {
        let planned = tightfit(["plan", path, "--json"]).json();
        number(&planned["lines"]["weights"])
    };
    let before = weights(&model);
    // Flags, the most points that are lost, the share of zeros, the largest share of the planned weights.
    let cases: [(&[&str], f64, f64, f64); 4] = [
        (&["--sparsity", "0.7", "--input", &data], 0.5, 0.7, 0.5),
        (&["--sparsity", "0.5", "--pattern", "1x4", "--input", &data], 1.0, 0.5, 0.65),
        (&["--pattern", "2:4", "--input", &data], 0.5, 0.5, 0.65),
        (&["--sparsity", "0.3"], 1.0, 0.3, 0.85),
    ];
    let output = text(folder.path("pruned.tflite"));
    for (flags, most_lost, share, most_weights) in cases {
        let answer = tightfit([&["prune", &model, "--output", &output, "--json"], flags].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        let made = answer.json();
        assert!((number(&made["sparsity"]) - share).abs() < 0.01, "{made}");
        let is_compensated = flags.contains(&"--input");
        assert_eq!(made["compensated_layers"], if is_compensated { 2 } else { 0 }, "{made}");
        assert_eq!(made["outputs"].as_array().unwrap().len(), usize::from(is_compensated));
        let same = compared(&model, &output, &[]);
        assert!(lost(&same) <= most_lost, "{flags:?}: {same}");
        let now = weights(&output);
        assert!(now < most_weights * before, "{flags:?}: {now} of {before}");
        assert_eq!(folder.names(), ["pruned.tflite"], "nothing is left beside it");
    }
    tightfit(["prune", &model, "--sparsity", "1.5", "--output", &output]).assert_fails(2, "--sparsity");
    tightfit(["prune", &model, "--output", "/tmp/x.pb"]).assert_fails(2, ".tflite");
}

/// `tests/golden/pruned_channels.py` has TensorFlow's numbers for a model a quarter of whose channels are nothing, which LiteRT
/// gives for what is written too.
#[test]
fn channels_that_are_nothing_go_and_nothing_changes() {
    let folder = Folder::new();
    let golden = repository("tests/golden/pruned_channels");
    let [model, input] = ["model.tflite", "x.npy"].map(|name| text(golden.join(name)));
    let output = text(folder.path("pruned.tflite"));
    let expected = elements(&fs::read(golden.join("y.npy")).unwrap());
    let arena = |path: &str| number(&tightfit(["plan", path, "--json"]).json()["lines"]["arena"]);
    for flags in [&[][..], &["--calibrate", &input, "--batch", "3"]] {
        let prune =
            ["prune", &model, "--pattern", "channels", "--sparsity", "0.25", "--output", &output, "--json"];
        let answer = tightfit([&prune[..], flags].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        let made = answer.json();
        // Products of n by m channels become such of 3/4 n by 3/4 m.
        let share = number(&made["constant_bytes"]) / number(&made["constant_bytes_before"]);
        assert!(share < 0.67, "{made}");
        let kept = &made["kept_layers"].as_array().unwrap()[..];
        let [before, answers] = kept else { panic!("{kept:?}") };
        assert!(before["why"].as_str().unwrap().starts_with("DEPTH_TO_SPACE makes"), "{kept:?}");
        assert_eq!(answers["op"], "FULLY_CONNECTED", "{kept:?}");
        let results = text(folder.path("out.npy"));
        let run = ["run", &output, "--input", &input, "--batch", "4", "--output", &results, "--quiet"];
        assert_eq!(tightfit(run).code, 0);
        let found = elements(&fs::read(&results).unwrap());
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == expected.len() && error < 1e-4, "{flags:?}: {error}");
        assert!(arena(&output) < 0.85 * arena(&model));
    }
}

#[test]
fn a_model_of_fewer_channels_takes_less_of_everything() {
    let folder = Folder::new();
    let (model, data) = digits();
    let (model, data) = (text(model), text(data));
    let output = text(folder.path("thin.tflite"));
    let prune =
        ["prune", &model, "--pattern", "channels", "--sparsity", "0.4", "--output", &output, "--json"];
    let lines = |path: &str| {
        let lines = tightfit(["plan", path, "--json"]).json()["lines"].clone();
        (number(&lines["weights"]), number(&lines["arena"]))
    };
    let before = lines(&model);
    let mut lost_without = 0.0;
    for flags in [&[][..], &["--calibrate", &data]] {
        let answer = tightfit([&prune[..], flags].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        let made = answer.json();
        assert!((0.55..0.7).contains(&number(&made["sparsity"])), "{made}");
        assert_eq!(made["compensated_layers"], if flags.is_empty() { 0 } else { 3 }, "{made}");
        assert_eq!(made["kept_layers"].as_array().unwrap().len(), 1, "{made}");
        let now = lines(&output);
        assert!(now.0 < 0.5 * before.0 && now.1 < 0.8 * before.1, "{now:?} of {before:?}");
        let lost = lost(&compared(&model, &output, &[]));
        if flags.is_empty() {
            lost_without = lost;
        } else {
            assert!(lost <= 1.0 && lost_without > 10.0 * lost, "{lost_without} and {lost}");
        }
        assert_eq!(folder.names(), ["thin.tflite"], "nothing is left beside it");
    }
    // All but one of each layer's channels at most.
    let answer =
        tightfit(["prune", &model, "--pattern", "channels", "--sparsity", "0.99", "--output", &output]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(compared(&model, &output, &[])["rows"], 360);
}

/// `tests/golden/sparse_weights.py` has LiteRT's numbers for what is written here.
#[test]
fn sparse_weights_are_multiplied_as_they_are_held() {
    let folder = Folder::new();
    let golden = repository("tests/golden/sparse_weights");
    let [model, input] = ["model.tflite", "x.npy"].map(|name| text(golden.join(name)));
    let output = text(folder.path("pruned.tflite"));
    let prune = ["prune", &model, "--sparsity", "0.7", "--output", &output, "--quiet"];
    assert_eq!(tightfit(prune).code, 0);
    let expected = elements(&fs::read(golden.join("y.npy")).unwrap());
    let results = text(folder.path("out.npy"));
    let plan = |more: &[&str]| {
        let plan = ["plan", &output, "--input", &input, "--batch", "2000", "--threads", "2", "--json"];
        tightfit([&plan[..], more].concat()).json()
    };
    let large = plan(&[]);
    let least = large["minimum_bytes"].to_string();
    // Few rows, and many; where there is memory for dense weights, and where there is none.
    for (batch, threads, memory) in
        [("1", "1", "1GiB"), ("4", "2", "1GiB"), ("6", "2", "1GiB"), ("2000", "2", &least)]
    {
        let run = ["run", &output, "--input", &input, "--output", &results, "--quiet"];
        let more = ["--batch", batch, "--threads", threads, "--memory", memory];
        let answer = tightfit([&run[..], &more].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        let found = elements(&fs::read(&results).unwrap());
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == expected.len() && error < 1e-5, "{batch} {memory}: {error}");
    }
    let weights = |plan: &Value| number(&plan["lines"]["weights"]);
    assert!(weights(&plan(&["--memory", &least])) < 0.6 * weights(&large), "{large}");
    // Nothing makes the weights whole in a run.
    let nodes = tightfit(["bench", &output, "--seconds", "0.01", "--steps", "9", "--json"]).stdout;
    assert!(nodes.contains("MatMul") && !nodes.contains("densify"), "{nodes}");
}
