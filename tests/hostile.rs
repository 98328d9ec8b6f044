//! Hostile models, end to end: one clear line, the right exit code, no panic, no endless run.

mod graphs;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use graphs::{Graph, Outcome, TempDir, attr, field, float_type, int, ints, outcome, run, tightfit};

/// What the largest of these graphs may take, on a slow and busy machine.
const SLOW: Duration = Duration::from_secs(60);

/// Runs a graph that is fed a `[2, 4]` array as `x`.
fn run_graph(graph: &Graph, more: &[&str]) -> Outcome {
    run_bytes(&graph.finish(), more)
}

fn run_bytes(bytes: &[u8], more: &[&str]) -> Outcome {
    let dir = TempDir::new();
    outcome(run(&dir.write("model.pb", bytes), &dir.npy("x.npy", &[2, 4], 1.5), more))
}

fn with_input() -> Graph {
    let mut graph = Graph::default();
    graph.placeholder("x", &[-1, 4]);
    graph
}

fn t() -> [Vec<u8>; 1] {
    [float_type("T")]
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models").join(name).join("model.pb")
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = std::fs::read(golden("bn_after_conv_bias")).unwrap();
    let dir = TempDir::new();
    for cut in (0..whole.len()).step_by(whole.len() / 40) {
        let model = dir.write("model.pb", &whole[..cut]);
        for command in ["inspect", "plan", "run"] {
            let outcome = outcome(tightfit(&[command, &model.display().to_string()]));
            // Cut between two nodes it is a whole file of a smaller graph, which lacks what is fetched or fed.
            let is_refused = matches!(outcome.code, Some(1 | 2)) || command != "run";
            assert!(
                is_refused && !outcome.stderr.contains("defect"),
                "{command} of {cut} bytes: {outcome:?}"
            );
        }
    }
}

#[test]
fn random_bytes_are_no_model() {
    let mut state = 7u64;
    for length in [1usize, 10, 100, 10_000, 1_000_000] {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        run_bytes(&bytes, &[]).fails(1, &["model.pb"]);
    }
}

#[test]
fn cycles_are_named() {
    let mut graph = with_input();
    graph.node("a", "AddV2", &["x", "b"], &t()).node("b", "Relu", &["a"], &t());
    run_graph(&graph, &["--fetch", "b"]).fails(1, &["cycle", "'"]);
    let mut graph = with_input();
    graph.node("a", "AddV2", &["x", "a"], &t()).node("b", "Relu", &["a"], &t());
    run_graph(&graph, &["--fetch", "b"]).fails(1, &["cycle", "'a'"]);
    let mut graph = with_input();
    graph.node("a", "Relu", &["x", "^b"], &t()).node("b", "Relu", &["x", "^a"], &t());
    run_graph(&graph, &["--fetch", "b"]).fails(1, &["cycle"]);
}

#[test]
fn names_that_do_not_fit_together_are_named() {
    let mut graph = with_input();
    graph.node("a", "AddV2", &["x", "nowhere"], &t());
    run_graph(&graph, &[]).fails(1, &["'nowhere'", "'a'"]);
    let mut graph = with_input();
    graph.node("a", "Relu", &["x:7"], &t());
    run_graph(&graph, &[]).fails(1, &["x:7"]);
    let mut graph = with_input();
    graph.node("a", "Relu", &["x"], &t()).node("a", "Neg", &["x"], &t());
    run_graph(&graph, &[]).fails(1, &["two nodes", "'a'"]);
    let mut graph = with_input();
    graph.node("a", "AddV2", &["x"], &t());
    run_graph(&graph, &[]).fails(1, &["AddV2"]);
    run_graph(graph.node("b", "Relu", &["x"], &t()), &["--fetch", "c"]).fails(2, &["'c'"]);
}

#[test]
fn two_thousand_unknown_operators_are_one_error() {
    let mut graph = with_input();
    let mut last = "x".to_string();
    for i in 0..2000 {
        let name = format!("n{i}");
        graph.node(&name, if i % 2 == 0 { "Mystery" } else { "Riddle" }, &[&last], &t());
        last = name;
    }
    let outcome = run_graph(&graph, &[]);
    outcome.fails(1, &["2000 nodes", "Mystery (operator not supported) x 1000", "Riddle", "n0"]);
    assert!(outcome.stderr.len() < 1000);
}

#[test]
fn feeds_that_do_not_fit_are_refused() {
    let mut graph = with_input();
    graph.node("y", "Relu", &["x"], &t());
    let dir = TempDir::new();
    let model = dir.write("model.pb", &graph.finish());
    outcome(run(&model, &dir.npy("a.npy", &[2, 5], 1.0), &[])).fails(1, &["'x'", "[2, 5]"]);
    outcome(run(&model, &dir.npy("b.npy", &[2, 4, 1], 1.0), &[])).fails(1, &["'x'"]);
    let doubles = dir.npy("c.npy", &[2, 4], 1.0);
    let bytes = std::fs::read(&doubles).unwrap();
    let text = String::from_utf8_lossy(&bytes[..128]).replace("<f4", "<i4");
    std::fs::write(
        &doubles,
        [&bytes[..10], &text.as_bytes()[text.find('{').unwrap()..], &bytes[128..]].concat(),
    )
    .unwrap();
    outcome(run(&model, &doubles, &[])).fails(1, &["'x'", "int32"]);
    outcome(run(&model, &dir.0.join("missing.npy"), &[])).fails(1, &["missing.npy"]);
    let short = std::fs::read(dir.npy("d.npy", &[2, 4], 1.0)).unwrap();
    outcome(run(&model, &dir.write("d.npy", &short[..short.len() - 3]), &[])).fails(1, &["d.npy"]);
}

#[test]
fn attributes_without_sense_are_refused() {
    let conv = |strides: &[i64], dilations: &[i64]| {
        let mut graph = Graph::default();
        graph.placeholder("x", &[2, 4]).constant("w", &[1, 1, 4, 2], &[0.5]).constant("s", &[4], &[1.0]);
        graph.node("r", "Reshape", &["x", "shape"], &[float_type("T"), attr("Tshape", &int(6, 3))]);
        let shape = [int(1, 3), field(2, &field(2, &int(1, 4))), field(7, &[1, 1, 2, 4])].concat();
        graph.node("shape", "Const", &[], &[attr("dtype", &int(6, 3)), attr("value", &field(8, &shape))]);
        let padding = attr("padding", &field(2, b"VALID"));
        let attrs = [float_type("T"), ints("strides", strides), ints("dilations", dilations), padding];
        graph.node("y", "Conv2D", &["r", "w"], &attrs);
        graph
    };
    assert_eq!(run_graph(&conv(&[1, 1, 1, 1], &[1, 1, 1, 1]), &[]).code, Some(0));
    for strides in [[1, 0, 1, 1], [1, -1, 1, 1], [2, 1, 1, 1], [1, 1, 1, i64::MIN]] {
        run_graph(&conv(&strides, &[1, 1, 1, 1]), &[]).fails(1, &["strides", "Conv2D"]);
    }
    for dilations in [[1, 0, 1, 1], [1, -9, 1, 1], [3, 1, 1, 1]] {
        run_graph(&conv(&[1, 1, 1, 1], &dilations), &[]).fails(1, &["dilations"]);
    }
    // Larger than any image: an empty result or a refusal.
    for huge in [i64::MAX, i64::MAX / 2, 1 << 32] {
        for graph in [conv(&[1, huge, huge, 1], &[1, 1, 1, 1]), conv(&[1, 1, 1, 1], &[1, huge, huge, 1])] {
            let outcome = run_graph(&graph, &[]);
            assert!(matches!(outcome.code, Some(0 | 1)) && !outcome.stderr.contains("defect"), "{outcome:?}");
        }
    }
}

#[test]
fn sizes_that_overflow_are_refused_and_large_ones_do_not_fit() {
    let with_constant = |shape: &[i64]| {
        let mut graph = with_input();
        graph.constant("w", shape, &[0.0]).node("y", "AddV2", &["x", "w"], &t());
        graph
    };
    run_graph(&with_constant(&[1 << 40, 1 << 40]), &[]).fails(1, &[]);
    run_graph(&with_constant(&[i64::MAX]), &[]).fails(1, &[]);
    // 100 GB of zeros, and sums of them; nothing is read or allocated before the answer.
    let start = Instant::now();
    run_graph(&with_constant(&[25_000_000_000, 1, 1]), &["--memory", "1GiB"]).fails(3, &["does not fit"]);
    let mut graph = with_input();
    graph.constant("a", &[1 << 33, 4], &[0.0]).constant("b", &[1 << 33, 4], &[0.0]);
    graph.node("y", "AddV2", &["a", "b"], &t()).node("z", "AddV2", &["x", "x"], &t());
    run_graph(&graph, &["--memory", "1GiB"]).fails(3, &["does not fit"]);
    assert!(start.elapsed() < SLOW);
}

#[test]
fn deep_graphs_take_neither_the_stack_nor_quadratic_time() {
    let chain = |layers: usize, is_product: bool| {
        let mut graph = with_input();
        let mut last = "x".to_string();
        for i in 0..layers {
            let name = format!("n{i}");
            if is_product {
                let weight = format!("w{i}");
                graph.constant(&weight, &[4, 4], &[0.25, i as f32]);
                graph.node(&name, "MatMul", &[&last, &weight], &t());
            } else {
                graph.node(&name, if i % 2 == 0 { "Relu" } else { "Neg" }, &[&last], &t());
            }
            last = name;
        }
        graph
    };
    for (layers, is_product) in [(50_000, false), (20_000, true)] {
        let start = Instant::now();
        assert_eq!(run_graph(&chain(layers, is_product), &[]).code, Some(0));
        assert!(start.elapsed() < SLOW, "{:?} for {layers} layers", start.elapsed());
    }
}

/// A loop whose condition always holds.
const ENDLESS: &str = r#"
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: -1 } dim { size: 4 } } } } }
node { name: "loop" op: "While" input: "x" attr { key: "T" value { list { type: DT_FLOAT } } }
       attr { key: "cond" value { func { name: "always" } } } attr { key: "body" value { func { name: "turn" } } } }
library {
function { signature { name: "always" input_arg { name: "x" type: DT_FLOAT } output_arg { name: "b" type: DT_BOOL } }
  node_def { name: "true" op: "Const" attr { key: "dtype" value { type: DT_BOOL } }
             attr { key: "value" value { tensor { dtype: DT_BOOL tensor_shape { } bool_val: true } } } }
  ret { key: "b" value: "true:output:0" } }
function { signature { name: "turn" input_arg { name: "x" type: DT_FLOAT } output_arg { name: "y" type: DT_FLOAT } }
  node_def { name: "neg" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
  ret { key: "y" value: "neg:y:0" } }
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_loop_that_never_ends_is_interrupted() {
    let dir = TempDir::new();
    let model = dir.write("endless.pbtxt", ENDLESS.as_bytes());
    let mut command = run(&model, &dir.npy("x.npy", &[2, 4], 1.5), &["--fetch", "loop"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    // Hundredths of a second in which it has computed: opening such a model takes one or two.
    let computed = || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        stat.split_whitespace().nth(13).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0)
    };
    let start = Instant::now();
    while computed() < 50 && start.elapsed() < SLOW {
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "tightfit: interrupted\n");
}

/// The file of a model whose weights are streamed: what happens to it while it is used.
#[cfg(unix)]
mod changing_files {
    use tightfit::{FitOptions, MemoryBudget, Model, OpenOptions, Runner, Tensor};

    use super::*;

    const WIDTH: i64 = 512;

    fn streamed(dir: &TempDir) -> (PathBuf, Model, FitOptions) {
        let mut graph = Graph::default();
        graph.placeholder("x", &[-1, WIDTH]);
        let mut last = "x".to_string();
        for layer in 0..8 {
            let (weight, name) = (format!("w{layer}"), format!("n{layer}"));
            let values: Vec<f32> =
                (0..WIDTH * WIDTH).map(|i| ((i * 7 + layer) % 11) as f32 / 512.0).collect();
            graph.constant(&weight, &[WIDTH, WIDTH], &values);
            graph.node(&name, "MatMul", &[&last, &weight], &t());
            last = name;
        }
        let path = dir.write("streamed.pb", &graph.finish());
        let model = Model::open(&path, &OpenOptions::default(), &MemoryBudget::new(u64::MAX)).unwrap();
        let ample = FitOptions { batch: 1, threads: 1, memory_bytes: 1 << 30, ..FitOptions::default() };
        let memory_bytes = tightfit::fit::fit(&model, &ample).unwrap().minimum_bytes;
        (path, model, FitOptions { memory_bytes, ..ample })
    }

    #[test]
    fn a_file_that_is_removed_can_still_be_read_and_one_that_shrinks_is_an_error() {
        let dir = TempDir::new();
        let (path, model, options) = streamed(&dir);
        let budget = MemoryBudget::new(u64::MAX);
        let mut runner = Runner::new(&model, &options, &budget).unwrap();
        assert!(runner.context().plan().streamed_bytes > 0);
        let shape = runner.context().plan().slots[runner.context().plan().inputs[0].1].info.shape;
        let x = Tensor::zeros(&budget, tightfit::DType::F32, shape).unwrap();
        let second_name = dir.0.join("second");
        std::fs::hard_link(&path, &second_name).unwrap();
        runner.run(&[x.feed().unwrap()]).unwrap();
        std::fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            runner.run(&[x.feed().unwrap()]).unwrap();
        }
        let file = std::fs::OpenOptions::new().write(true).open(&second_name).unwrap();
        file.set_len(1000).unwrap();
        // The window may hold two blocks that were read before.
        let errors: Vec<String> =
            (0..2).filter_map(|_| runner.run(&[x.feed().unwrap()]).err()).map(|e| e.to_string()).collect();
        assert!(errors[0].contains("streamed.pb") && errors[0].contains("shrunk"), "{errors:?}");
        assert_eq!(errors.len(), 2, "a session that failed does not run on: {errors:?}");
    }
}
