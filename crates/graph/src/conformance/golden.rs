//! The golden graphs: TensorFlow's numbers from plain interpretation and from a session, with passes and without,
//! weights resident and streamed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use tightfit_core::{DType, MemoryBudget, Shape};
use tightfit_format::npy::{NpyReader, NpyType};
use tightfit_format::{GraphDef, SourceFile};
use tightfit_kernels::Isa;

use super::call::{Caller, Value};
use super::context::{self, same_outputs};
use crate::ir::Graph;
use crate::plan::{Plan, PlanOptions, WeightMode};
use crate::{Binding, GraphError, ImportOptions, bind, import, passes, verify};

/// A model, what to feed, and what TensorFlow made of it.
pub struct Case {
    pub folder: PathBuf,
    pub feeds: HashMap<String, Value>,
    expected: Vec<(String, Value)>,
    rtol: f64,
    atol: f64,
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Every folder below `tests/golden/KIND`.
pub fn folders(kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden_folder().join(kind)).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 10, "there are few golden graphs in {kind}");
    folders
}

impl Case {
    pub fn read(folder: PathBuf, caller: &Caller) -> Case {
        let references = folder.join("ref_tf");
        let manifest = std::fs::read(references.join("manifest.json")).unwrap();
        let manifest: Json = serde_json::from_slice(&manifest).unwrap();
        let tensors = |key: &str| -> Vec<(String, Value)> {
            let entries = manifest[key].as_array().unwrap().iter();
            entries
                .map(|e| (e["name"].as_str().unwrap().to_string(), tensor(&references, e, caller)))
                .collect()
        };
        Case {
            feeds: tensors("in").into_iter().collect(),
            expected: tensors("out"),
            rtol: manifest["rtol"].as_f64().unwrap(),
            atol: manifest["atol"].as_f64().unwrap(),
            folder,
        }
    }

    /// The graph as the file has it, without passes.
    pub fn import(&self) -> Result<Graph, GraphError> {
        let source = SourceFile::open(self.folder.join("model.pb")).unwrap();
        let budget = MemoryBudget::new(u64::MAX);
        let def = GraphDef::read(source.clone(), &budget).unwrap();
        let fetches = self.expected.iter().map(|(name, _)| name.clone()).collect();
        let feeds = self.feeds.keys().cloned().collect();
        import(&source, def, &ImportOptions { fetches, feeds, ..ImportOptions::default() }, &budget)
    }

    /// The graph with the shapes of the feeds and, if asked, their values.
    pub fn bind(&self, graph: &Graph, with_values: bool) -> Result<Graph, GraphError> {
        let shapes = self.feeds.iter().map(|(name, v)| (name.clone(), v.shape)).collect();
        let values = self.feeds.iter().map(|(name, v)| (name.clone(), v.fact()));
        let values = if with_values { values.collect() } else { HashMap::new() };
        let mut bound = bind(graph, &Binding { batch: None, shapes, values })?;
        verify(&bound)?;
        passes::run_bound(&mut bound, 1)?;
        verify(&bound)?;
        Ok(bound)
    }

    fn check(&self, how: &str, outputs: &[Value], caller: &Caller) -> Result<(), String> {
        for ((name, expected), output) in self.expected.iter().zip(outputs) {
            self.close(expected, output, caller).map_err(|why| format!("{how}: {name}: {why}"))?;
        }
        Ok(())
    }

    fn close(&self, expected: &Value, output: &Value, caller: &Caller) -> Result<(), String> {
        if (expected.dtype, expected.shape) != (output.dtype, output.shape) {
            return Err(format!("is {}{}, not {expected:?}", output.dtype, output.shape));
        }
        if expected.dtype == DType::String {
            let (a, b) = (caller.texts(expected), caller.texts(output));
            return if a == b { Ok(()) } else { Err(format!("is {b:?}, not {a:?}")) };
        }
        let pairs = numbers(expected).into_iter().zip(numbers(output));
        let is_close = |x: f64, y: f64| {
            x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= self.atol + self.rtol * x.abs()
        };
        match pairs.enumerate().find(|(_, (x, y))| !is_close(*x, *y)) {
            Some((i, (x, y))) => Err(format!("element {i} of {} is {y}, not {x}", output.shape)),
            None => Ok(()),
        }
    }
}

fn tensor(folder: &Path, entry: &Json, caller: &Caller) -> Value {
    let dims: Vec<usize> =
        entry["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let shape = Shape::new(&dims).unwrap();
    if let Some(texts) = entry["b64"].as_array() {
        let texts: Vec<Vec<u8>> = texts.iter().map(|t| base64(t.as_str().unwrap())).collect();
        return caller.strings(shape, &texts);
    }
    let path = folder.join(entry["file"].as_str().unwrap());
    let mut reader = NpyReader::new(Arc::from(&*path), BufReader::new(File::open(&path).unwrap())).unwrap();
    let NpyType::Plain(dtype) = reader.header().element else { panic!("{path:?} holds strings") };
    let mut bytes = vec![0; shape.elements() * dtype.bytes()];
    reader.read_all(&mut bytes).unwrap();
    Value { dtype, shape, bytes }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    } as u32;
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(digit).collect();
    let quad = |quad: &[u32]| {
        let bits = quad.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - quad.len()));
        bits.to_be_bytes()[1..quad.len()].to_vec()
    };
    digits.chunks(4).flat_map(quad).collect()
}

/// The elements as numbers, complex ones as two.
fn numbers(value: &Value) -> Vec<f64> {
    macro_rules! read {
        ($rust:ty) => {
            value
                .bytes
                .chunks_exact(size_of::<$rust>())
                .map(|b| f64::from(bytemuck::pod_read_unaligned::<$rust>(b)))
                .collect()
        };
    }
    macro_rules! read_wide {
        ($rust:ty) => {
            value
                .bytes
                .chunks_exact(size_of::<$rust>())
                .map(|b| bytemuck::pod_read_unaligned::<$rust>(b) as f64)
                .collect()
        };
    }
    match value.dtype {
        DType::F32 | DType::C64 => read!(f32),
        DType::F64 | DType::C128 => read!(f64),
        DType::F16 => read!(half::f16),
        DType::BF16 => read!(half::bf16),
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read_wide!(i64),
        DType::U8 | DType::Bool => read!(u8),
        DType::U16 => read!(u16),
        DType::U32 => read!(u32),
        DType::U64 => read_wide!(u64),
        DType::String => vec![],
    }
}

/// All passes, the graph whole after each.
pub fn run_passes(graph: &mut Graph) -> Result<(), String> {
    for _ in 0..4 {
        let mut has_changed = false;
        for (name, pass) in passes::PASSES {
            if pass(graph) {
                has_changed = true;
                crate::ir::dead_nodes::remove(graph);
                crate::infer::infer(graph).map_err(|e| format!("inference after the pass {name}: {e}"))?;
                verify(graph).map_err(|e| format!("after the pass {name}: {e}"))?;
            }
        }
        if !has_changed {
            break;
        }
    }
    let regions = graph.regions();
    for id in &regions {
        let bodies = graph.region_mut(*id).map(|region| &mut region.bodies);
        bodies.into_iter().flatten().try_for_each(run_passes)?;
    }
    if !regions.is_empty() {
        crate::infer::infer(graph).map_err(|e| format!("inference after the passes of bodies: {e}"))?;
        verify(graph).map_err(|e| format!("after the passes of bodies: {e}"))?;
    }
    Ok(())
}

pub const STREAMED: WeightMode = WeightMode::Streamed { window_bytes: 16 << 10 };

fn check_case(case: &Case, caller: &Caller) -> Result<(), String> {
    let raw = case.import().map_err(|e| format!("import: {e}"))?;
    verify(&raw).map_err(|e| format!("after import: {e}"))?;
    let mut simple = case.import().map_err(|e| format!("import: {e}"))?;
    run_passes(&mut simple)?;
    let mut is_planned = false;
    for with_values in [false, true] {
        let how = |what: &str| format!("{what}{}", if with_values { ", fed values known" } else { "" });
        // Where a shape is computed from fed values nothing can be planned without them.
        let (plain, fused) = match (case.bind(&raw, with_values), case.bind(&simple, with_values)) {
            (Ok(plain), Ok(fused)) => (plain, fused),
            _ if !with_values => continue,
            (Err(error), _) | (_, Err(error)) => return Err(how(&format!("bind: {error}"))),
        };
        let options = PlanOptions::new(2, WeightMode::Resident);
        if !with_values && Plan::new(&fused, &options).is_err() {
            continue;
        }
        is_planned = true;
        let by_hand = caller.interpret(&plain, &case.feeds).map_err(|e| how(&format!("no passes: {e}")))?;
        case.check(&how("no passes"), &by_hand, caller)?;
        let by_hand = caller.interpret(&fused, &case.feeds).map_err(|e| how(&e))?;
        case.check(&how("passes"), &by_hand, caller)?;
        for (weights, threads) in [(WeightMode::Resident, 1), (WeightMode::Resident, 3), (STREAMED, 2)] {
            let how = how(&format!("session {weights:?} with {threads} threads"));
            let outputs = context::run(&fused, &case.feeds, weights, threads, caller)
                .map_err(|e| format!("{how}: {e}"))?;
            same_outputs(&how, &by_hand, &outputs, caller)?;
        }
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available() && *isa != Isa::detect()) {
            let how = how(&format!("session on {isa:?}"));
            let options = PlanOptions { isa, ..options };
            let outputs = context::run_with(&fused, &case.feeds, &options, caller);
            case.check(&how, &outputs.map_err(|e| format!("{how}: {e}"))?, caller)?;
        }
    }
    if is_planned { Ok(()) } else { Err("was never planned".to_string()) }
}

fn check_all(kind: &str) {
    let mut failures = BTreeMap::new();
    for folder in folders(kind) {
        let caller = Caller::new();
        let name = folder.file_name().unwrap().to_string_lossy().to_string();
        let case = Case::read(folder, &caller);
        if let Err(why) = check_case(&case, &caller) {
            failures.insert(name, why);
        }
    }
    let list: Vec<String> = failures.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(list.is_empty(), "{} golden graphs of {kind} fail:\n{}", list.len(), list.join("\n"));
}

#[test]
fn golden_models_keep_every_promise() {
    check_all("models");
}

#[test]
fn golden_operators_keep_every_promise() {
    check_all("ops");
}

#[test]
fn what_is_made_of_fed_numbers_grows() {
    let is_growth = |folder: &PathBuf| folder.file_name().unwrap().to_string_lossy().starts_with("growth_");
    let folders: Vec<PathBuf> = folders("ops").into_iter().filter(is_growth).collect();
    assert!(folders.len() >= 5);
    for folder in folders {
        let case = Case::read(folder, &Caller::new());
        let grows = |with_values| {
            let graph = case.bind(&case.import().unwrap(), with_values).unwrap();
            Plan::new(&graph, &PlanOptions::new(1, WeightMode::Resident)).unwrap().has_growth()
        };
        assert!(grows(false), "{:?}", case.folder);
        // Loops aside, sizes are known where the numbers are.
        let has_loop = ["growth_lists", "growth_bodies"].iter().any(|name| case.folder.ends_with(name));
        assert_eq!(grows(true), has_loop, "{:?}", case.folder);
    }
}
