//! The memory contract end to end: whatever budget is accepted, the process stays inside it, and works under a limit of
//! the system's.
#![cfg(target_os = "linux")]

mod graphs;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use graphs::{Graph, TempDir, float_type, minimum_bytes, outcome, run};

/// Address space that is no resident memory of the budget: the mapped binary and libraries, and stacks reserved but not
/// used, of two threads that compute, one that reads and the main one.
const ADDRESS_SPACE_BYTES: u64 = 48 << 20;

/// Layers of a dense net with 48 MiB of weights, none like the other.
fn dense_net(dir: &TempDir) -> (PathBuf, PathBuf) {
    let mut graph = Graph::default();
    graph.placeholder("x", &[-1, 1024]);
    let mut last = "x".to_string();
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    for (layer, [from, to]) in [[1024, 1024], [1024, 4096], [4096, 1024], [1024, 3072]].iter().enumerate() {
        let (weight, product, relu) = (format!("w{layer}"), format!("p{layer}"), format!("r{layer}"));
        let values: Vec<f32> = (0..from * to).map(|_| random() / 32.0).collect();
        graph.constant(&weight, &[*from, *to], &values);
        graph.node(&product, "MatMul", &[&last, &weight], &[float_type("T")]);
        graph.node(&relu, "Relu", &[&product], &[float_type("T")]);
        last = relu;
    }
    (dir.write("dense.pb", &graph.finish()), dir.npy("x.npy", &[3, 1024], 0.5))
}

/// A chain of small operators: all of its memory is the description of the graph.
fn deep_net(dir: &TempDir) -> (PathBuf, PathBuf) {
    let mut graph = Graph::default();
    graph.placeholder("x", &[-1, 4]);
    let mut last = "x".to_string();
    for layer in 0..10_000 {
        let name = format!("n{layer}");
        graph.node(&name, if layer % 2 == 0 { "Neg" } else { "Relu" }, &[&last], &[float_type("T")]);
        last = name;
    }
    (dir.write("deep.pb", &graph.finish()), dir.npy("deep.npy", &[2, 4], 1.0))
}

fn models(dir: &TempDir) -> Vec<(PathBuf, PathBuf)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let structure = |name: &str, size: usize| {
        let x = dir.npy(&format!("{name}.npy"), &[1, size, size, 3], 0.25);
        (golden.join(format!("structures/{name}.pb")), x)
    };
    vec![dense_net(dir), deep_net(dir), structure("mobilenet_v2", 224), structure("inception_v3", 299)]
}

/// The run, whatever the model calls its input.
fn command(model: &Path, x: &Path, more: &[&str]) -> Command {
    if model.parent().is_some_and(|folder| folder.ends_with("structures")) {
        let mut command = graphs::tightfit(&["run", "--quiet", "--threads", "2"]);
        command.arg(model).arg("--input").arg(format!("input={}", x.display())).args(more);
        return command;
    }
    run(model, x, more)
}

fn minimum(model: &Path, x: &Path) -> u64 {
    let outcome = outcome(command(model, x, &["--memory", "1"]));
    outcome.fails(3, &["the smallest --memory that works is "]);
    let (_, rest) = outcome.stderr.split_once("that works is ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Budgets from the smallest upwards.
fn budgets(minimum_bytes: u64) -> Vec<u64> {
    let steps = [0, 1, 64 << 10, 1 << 20, 3 << 20, 8 << 20, 24 << 20, 64 << 20, 256 << 20];
    steps.iter().map(|step| minimum_bytes + step).collect()
}

fn report(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_process_never_passes_the_budget_it_accepts() {
    let dir = TempDir::new();
    let report_path = dir.0.join("report.json");
    for (model, x) in models(&dir) {
        let minimum_bytes = minimum(&model, &x);
        for budget_bytes in budgets(minimum_bytes) {
            let memory = budget_bytes.to_string();
            let report_text = report_path.display().to_string();
            let outcome = outcome(command(&model, &x, &["--memory", &memory, "--report", &report_text]));
            assert_eq!(outcome.code, Some(0), "{} in {memory}: {}", model.display(), outcome.stderr);
            let report = report(&report_path);
            let peak_bytes = report["peak_resident_bytes"].as_u64().unwrap();
            assert!(peak_bytes <= budget_bytes, "{}: {peak_bytes} in {memory}: {report}", model.display());
        }
        let below = (minimum_bytes - 1).to_string();
        outcome(command(&model, &x, &["--memory", &below])).fails(3, &["does not fit"]);
    }
}

#[test]
fn it_works_under_a_limit_of_the_system() {
    let dir = TempDir::new();
    for (model, x) in models(&dir) {
        let minimum_bytes = minimum(&model, &x);
        for budget_bytes in [minimum_bytes, minimum_bytes + (64 << 20)] {
            let mut limited = command(&model, &x, &["--memory", &budget_bytes.to_string()]);
            let limit = budget_bytes + ADDRESS_SPACE_BYTES;
            // SAFETY: setrlimit is async-signal-safe, and nothing else happens between fork and exec.
            unsafe {
                limited.pre_exec(move || {
                    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                    match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
            let outcome = outcome(limited);
            assert_eq!(outcome.code, Some(0), "{} in {budget_bytes}: {}", model.display(), outcome.stderr);
        }
    }
}
