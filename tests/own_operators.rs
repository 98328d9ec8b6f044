//! Operators of a caller's own: planned, bounded, run and refused as built-in ones are. The example's is one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;

use tightfit::operator::{Attributes, Call, Fact, Memory, OpError, Operator, Operators, Run};
use tightfit::partition::{Cut, PartitionOptions, partition};
use tightfit::{Error, Feed, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, TensorView};

#[path = "../crates/tightfit/examples/moving_median.rs"]
#[allow(dead_code)]
mod moving_median;

use moving_median::MovingMedian;

fn signal_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/own_operator/signal.pbtxt")
}

fn open(operators: Operators, budget: &MemoryBudget) -> Result<Model, Error> {
    let fetches = vec!["smooth".to_string(), "level".to_string()];
    Model::open(signal_model(), &OpenOptions { operators, fetches, ..OpenOptions::default() }, budget)
}

fn operators() -> Operators {
    let mut operators = Operators::new();
    operators.add("MovingMedian", &["medians"], MovingMedian::import).unwrap();
    operators
}

fn options(rows: usize, samples: usize, threads: usize) -> FitOptions {
    let shape = Shape::new(&[rows, samples]).unwrap();
    FitOptions { batch: rows, threads, shapes: [("signal".into(), shape)].into(), ..FitOptions::default() }
}

fn signal(seed: usize, elements: usize) -> Vec<f32> {
    (0..elements).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 100.0 - 5.0).collect()
}

/// The outputs for one signal.
fn run(runner: &mut Runner, rows: usize, signal: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let shape = Shape::new(&[rows, signal.len() / rows]).unwrap();
    let outputs = runner.run(&[Feed::Tensor(TensorView::from_slice(shape, signal).unwrap())]).unwrap();
    let [smooth, level] =
        ["smooth", "level"].map(|name| outputs.get(name).unwrap().as_slice::<f32>().unwrap().to_vec());
    (smooth, level)
}

fn expected(rows: usize, signal: &[f32]) -> Vec<f32> {
    let medians = signal.chunks(signal.len() / rows).flat_map(|row| row.windows(5)).map(|window| {
        let mut sorted = window.to_vec();
        sorted.sort_by(f32::total_cmp);
        sorted[2]
    });
    medians.collect()
}

#[test]
fn it_computes_the_same_with_any_number_of_threads() {
    let budget = MemoryBudget::new(64 << 20);
    let model = open(operators(), &budget).unwrap();
    let signal = signal(1, 9 * 300);
    for threads in [1, 2, 5] {
        let mut runner = Runner::new(&model, &options(9, 300, threads), &budget).unwrap();
        let (smooth, level) = run(&mut runner, 9, &signal);
        let medians = expected(9, &signal);
        assert_eq!(smooth, medians, "{threads} threads");
        for (level, row) in level.iter().zip(medians.chunks(296)) {
            assert!((level - row.iter().sum::<f32>() / 296.0).abs() < 1e-4);
        }
    }
}

#[test]
fn a_wrong_shape_is_an_error_that_names_the_node() {
    let budget = MemoryBudget::new(64 << 20);
    let model = open(operators(), &budget).unwrap();
    let error = Runner::new(&model, &options(2, 4, 1), &budget).err().unwrap().to_string();
    assert!(error.contains("signal.pbtxt: node 'smooth' (MovingMedian)"), "{error}");
    assert!(error.ends_with("input 0 has 4 samples, fewer than the window of 5"), "{error}");
    let error = open(Operators::new(), &budget).unwrap_err().to_string();
    assert!(error.contains("MovingMedian") && error.contains("operator not supported"), "{error}");
}

#[test]
fn two_runners_at_once_compute_what_each_would_alone() {
    let budget = MemoryBudget::new(64 << 20);
    let model = open(operators(), &budget).unwrap();
    let first = Runner::new(&model, &options(8, 200, 2), &budget).unwrap();
    let second = first.try_clone().unwrap();
    let work = |mut runner: Runner, from: usize| {
        for seed in from..from + 50 {
            let signal = signal(seed, 8 * 200);
            assert_eq!(run(&mut runner, 8, &signal).0, expected(8, &signal), "signal {seed}");
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| work(second, 0));
        work(first, 50);
    });
}

/// Adds one, with as much scratch as it is told to ask for.
#[derive(Debug)]
struct Scratchy {
    bytes: usize,
}

impl Operator for Scratchy {
    fn name(&self) -> &'static str {
        "MovingMedian"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(vec![inputs[0].clone()])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::scratch(self.bytes)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let scratch = run.scratch_of::<f32>()?;
        if size_of_val(scratch) < self.bytes {
            return Err(OpError::Invalid("has less scratch than it asked for".into()));
        }
        scratch.fill(1.0);
        let input = run.slice::<f32>(0)?;
        let ones = scratch.iter().cycle();
        run.out::<f32>(0)?.iter_mut().zip(input).zip(ones).for_each(|((y, x), one)| *y = x + one);
        Ok(())
    }
}

fn scratchy(bytes: usize) -> Operators {
    let mut operators = Operators::new();
    let import =
        move |_: &Attributes<'_>| -> Result<Box<dyn Operator>, OpError> { Ok(Box::new(Scratchy { bytes })) };
    operators.add("MovingMedian", &["y"], import).unwrap();
    operators
}

#[test]
fn the_memory_it_asks_for_is_the_plans() {
    let budget = MemoryBudget::new(256 << 20);
    let total = |bytes: usize| {
        let model = open(scratchy(bytes), &budget).unwrap();
        let runner = Runner::new(&model, &options(4, 100, 1), &budget).unwrap();
        runner.lines().total_bytes()
    };
    let more = total(40 << 20) - total(8 << 20);
    assert!((32 << 20..=33 << 20).contains(&more), "{more} bytes more of the plan");

    let model = open(scratchy(40 << 20), &budget).unwrap();
    let mut options = FitOptions { memory_bytes: 40 << 20, ..options(4, 100, 1) };
    let Err(Error::NotFit(not_fit)) = Runner::new(&model, &options, &budget) else {
        panic!("40 MiB of scratch fit no process of 40 MiB");
    };
    options.memory_bytes = not_fit.minimum_bytes;
    let mut runner = Runner::new(&model, &options, &budget).unwrap();
    let signal = signal(3, 400);
    let plus_one: Vec<f32> = signal.iter().map(|x| x + 1.0).collect();
    assert_eq!(run(&mut runner, 4, &signal).0, plus_one);
}

/// `-x`, one added three times by a loop whose body has an operator of the caller's, and `-` of that.
const LOOP: &str = r#"
node { name: "x" op: "Placeholder"
  attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value { shape { dim { size: 4 } } } } }
node { name: "before" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "zero" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
  attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 0 } } } }
node { name: "loop" op: "StatelessWhile" input: "zero" input: "before"
  attr { key: "T" value { list { type: DT_INT32 type: DT_FLOAT } } }
  attr { key: "cond" value { func { name: "go" } } } attr { key: "body" value { func { name: "turn" } } } }
node { name: "after" op: "Neg" input: "loop:1" attr { key: "T" value { type: DT_FLOAT } } }
library {
  function {
    signature { name: "go"
      input_arg { name: "i" type: DT_INT32 } input_arg { name: "v" type: DT_FLOAT } output_arg { name: "goes" type: DT_BOOL } }
    node_def { name: "most" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
      attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 3 } } } }
    node_def { name: "less" op: "Less" input: "i" input: "most:output:0" attr { key: "T" value { type: DT_INT32 } } }
    ret { key: "goes" value: "less:z:0" }
  }
  function {
    signature { name: "turn"
      input_arg { name: "i" type: DT_INT32 } input_arg { name: "v" type: DT_FLOAT }
      output_arg { name: "next" type: DT_INT32 } output_arg { name: "more" type: DT_FLOAT } }
    node_def { name: "one" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
      attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 1 } } } }
    node_def { name: "sum" op: "AddV2" input: "i" input: "one:output:0" attr { key: "T" value { type: DT_INT32 } } }
    node_def { name: "own" op: "MovingMedian" input: "v" }
    ret { key: "next" value: "sum:z:0" }
    ret { key: "more" value: "own:y:0" }
  }
}
versions { producer: 1882 }
"#;

#[test]
fn a_model_in_parts_has_them_in_the_bodies_of_loops() {
    let folder = std::env::temp_dir().join(format!("tightfit-own-operators-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (whole, parts) = (folder.join("loop.pbtxt"), folder.join("parts"));
    fs::write(&whole, LOOP).unwrap();
    let budget = MemoryBudget::new(64 << 20);
    let options = PartitionOptions {
        source: Default::default(),
        fetches: vec!["after".to_string()],
        cut: Cut::At(vec!["before".to_string()]),
        operators: scratchy(64),
    };
    let made = partition(&whole, &options, &parts, &AtomicBool::new(false), &budget).unwrap();
    assert_eq!(made.parts.len(), 2);
    let opened = |path, operators| {
        let options = OpenOptions { operators, ..OpenOptions::default() };
        Model::open(path, &options, &budget)
    };
    for path in [&whole, &parts] {
        let model = opened(path, scratchy(64)).unwrap();
        let mut runner = Runner::new(&model, &FitOptions::default(), &budget).unwrap();
        let x = [1f32, 2.0, -3.0, 0.0];
        let x = TensorView::from_slice(Shape::new(&[4]).unwrap(), &x).unwrap();
        let outputs = runner.run(&[Feed::Tensor(x)]).unwrap();
        let after = outputs.get("after").unwrap().as_slice::<f32>().unwrap();
        assert_eq!(after, [-2.0, -1.0, -6.0, -3.0], "{}", path.display());
    }
    let error = opened(&parts, Operators::new()).unwrap_err().to_string();
    assert!(error.contains("MovingMedian"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}
