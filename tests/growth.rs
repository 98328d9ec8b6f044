//! Models with values whose size only data says: the right numbers inside the memory, or one clear error and no output.
#![cfg(target_os = "linux")]

mod graphs;

use std::path::PathBuf;

use graphs::{Graph, TempDir, attr, float_type, int, tightfit};

const INT: i64 = 3;

/// `Range` up to the largest of the fed floats, `Tanh` over and over, and its sum.
fn model(dir: &TempDir) -> PathBuf {
    let mut graph = Graph::default();
    let typed = |name: &str, dtype: i64| attr(name, &int(6, dtype));
    graph.placeholder("x", &[-1]);
    graph.node("axes", "Const", &[], &[typed("dtype", INT), attr("value", &graphs::int32s(&[1], &[0]))]);
    for (name, value) in [("zero", 0), ("one", 1)] {
        let value = attr("value", &graphs::int32s(&[], &[value]));
        graph.node(name, "Const", &[], &[typed("dtype", INT), value]);
    }
    graph.node("most", "Max", &["x", "axes"], &[float_type("T"), typed("Tidx", INT)]);
    graph.node("limit", "Cast", &["most"], &[typed("SrcT", 1), typed("DstT", INT)]);
    graph.node("numbers", "Range", &["zero", "limit", "one"], &[typed("Tidx", INT)]);
    graph.node("v0", "Cast", &["numbers"], &[typed("SrcT", INT), typed("DstT", 1)]);
    for i in 1..=8 {
        graph.node(&format!("v{i}"), "Tanh", &[&format!("v{}", i - 1)], &[float_type("T")]);
    }
    graph.node("sum", "Sum", &["v8", "axes"], &[float_type("T"), typed("Tidx", INT)]);
    dir.write("grows.pb", &graph.finish())
}

/// The exit code, what was said, and the one number that came out.
fn run(dir: &TempDir, limit: f32, memory: &str) -> (Option<i32>, String, Option<f32>) {
    let model = model(dir).display().to_string();
    // More than inference takes for a value to follow.
    let feed = format!("x={}", dir.npy("x.npy", &[8192], limit).display());
    let output = dir.0.join("sum.npy");
    std::fs::remove_file(&output).ok();
    let out = output.display().to_string();
    let flags = [
        "run",
        &model,
        "--input",
        &feed,
        "--fetch",
        "sum",
        "--threads",
        "1",
        "--memory",
        memory,
        "--output",
        &out,
    ];
    let answer = tightfit(&flags).output().unwrap();
    let sum = std::fs::read(&output).ok();
    let sum = sum.map(|bytes| f32::from_le_bytes(bytes[bytes.len() - 4..].try_into().unwrap()));
    (answer.status.code(), String::from_utf8_lossy(&answer.stderr).into_owned(), sum)
}

fn expected(limit: u32) -> f64 {
    let tanh8 = |i: u32| (0..8).fold(f64::from(i), |x, _| x.tanh());
    // After a few hundred all are the same.
    (0..limit.min(1000)).map(tanh8).sum::<f64>() + f64::from(limit.saturating_sub(1000)) * tanh8(1000)
}

#[test]
fn numbers_are_right_inside_the_memory() {
    let dir = TempDir::new();
    for limit in [1000u32, 1 << 20, 4 << 20] {
        let (code, stderr, sum) = run(&dir, limit as f32, "64MiB");
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains(" for values that grow"), "{stderr}");
        let (sum, expected) = (f64::from(sum.unwrap()), expected(limit));
        assert!((sum - expected).abs() <= 1e-4 * expected, "{limit}: {sum}, not {expected}");
    }
}

#[test]
fn what_does_not_fit_is_one_clear_error_and_no_output() {
    let dir = TempDir::new();
    let (code, stderr, sum) = run(&dir, (16 << 20) as f32, "48MiB");
    assert_eq!((code, sum), (Some(3), None), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in ["does not fit", "grows.pb: node 'numbers' (Range)", "needs 64.0 MiB but only "] {
        assert!(stderr.contains(part), "'{part}' is not in: {stderr}");
    }
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 2, "something was left");
}

#[test]
fn a_plan_says_what_grows() {
    let dir = TempDir::new();
    let model = model(&dir).display().to_string();
    let answer = tightfit(&["plan", &model, "--fetch", "sum", "--shape", "x=8", "--memory", "64MiB"])
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert_eq!(answer.status.code(), Some(0), "{}", String::from_utf8_lossy(&answer.stderr));
    for part in
        ["10 values grow with the data, in up to ", "int32[?]    numbers (Range)", "float32[?]  v8 (Tanh)"]
    {
        assert!(text.contains(part), "'{part}' is not in:\n{text}");
    }
}
