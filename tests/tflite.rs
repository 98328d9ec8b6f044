//! TensorFlow Lite models: the numbers of TensorFlow's interpreter, the names of its tensors, and damaged files.
//! tests/golden/tflite.py has made the models.

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::{Folder, npy, pair, repository, tightfit};
use serde_json::Value;
use tightfit::inspect::inspect;
use tightfit::{DType, FitOptions, MemoryBudget, Model, ModelSource, OpenOptions, Runner, Shape, Tensor};
use tightfit_format::npy::NpyReader;

fn golden() -> PathBuf {
    repository("tests/golden/tflite")
}

fn cases() -> Vec<PathBuf> {
    let folders = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.join("manifest.json").is_file()).collect();
    folders.sort();
    folders
}

fn manifest(case: &Path) -> Value {
    serde_json::from_slice(&fs::read(case.join("manifest.json")).unwrap()).unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

/// The array of a .npy file.
fn array(path: &Path) -> (DType, Shape, Vec<u8>) {
    let mut reader = NpyReader::new(path.into(), File::open(path).unwrap()).unwrap();
    let header = *reader.header();
    let mut bytes = vec![0; header.data_bytes() as usize];
    reader.read_all(&mut bytes).unwrap();
    (header.element.dtype(), header.shape, bytes)
}

/// Elements as numbers.
fn numbers(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let each = |element: &[u8]| match dtype {
        DType::F32 => f64::from(f32::from_le_bytes(element.try_into().unwrap())),
        DType::I32 => f64::from(i32::from_le_bytes(element.try_into().unwrap())),
        DType::I64 => i64::from_le_bytes(element.try_into().unwrap()) as f64,
        DType::I16 => f64::from(i16::from_le_bytes(element.try_into().unwrap())),
        DType::I8 => f64::from(element[0] as i8),
        DType::U8 | DType::Bool => f64::from(element[0]),
        other => panic!("{other}"),
    };
    bytes.chunks_exact(dtype.bytes()).map(each).collect()
}

fn tensor(budget: &MemoryBudget, (dtype, shape, bytes): (DType, Shape, Vec<u8>)) -> Tensor {
    let mut tensor = Tensor::zeros(budget, dtype, shape).unwrap();
    if let Tensor::Dense { bytes: own, .. } = &mut tensor {
        own.copy_from_slice(&bytes);
    }
    tensor
}

/// All runs of a case: those of one batch follow each other in one runner, whose variables go on.
fn check(case: &Path) {
    let manifest = manifest(case);
    let atol = manifest["atol"].as_f64().unwrap();
    let budget = MemoryBudget::new(64 << 20);
    let runs = manifest["runs"].as_array().unwrap();
    let fetches =
        runs[0]["out"].as_array().unwrap().iter().map(|out| text(out, "name").to_string()).collect();
    let mut runner: Option<(usize, Runner, Model)> = None;
    for run in runs {
        let fed: Vec<(String, Tensor)> = run["in"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                (text(entry, "name").to_string(), tensor(&budget, array(&case.join(text(entry, "file")))))
            })
            .collect();
        let batch = fed.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(1);
        if runner.as_ref().is_none_or(|(own, ..)| *own != batch) {
            let shapes = fed.iter().map(|(name, tensor)| (name.clone(), *tensor.shape())).collect();
            let options = OpenOptions { fetches: Vec::clone(&fetches), shapes, ..OpenOptions::default() };
            let model = Model::open(case.join("model.tflite"), &options, &budget).unwrap();
            let options = FitOptions { batch, threads: 2, ..FitOptions::default() };
            let made = Runner::new(&model, &options, &budget).unwrap();
            runner = Some((batch, made, model));
        }
        let (_, runner, model) = runner.as_mut().unwrap();
        let ports = &model.graph().inputs;
        let feeds: Vec<_> = ports
            .iter()
            .map(|port| fed.iter().find(|(name, _)| model.is_called(port, name)).unwrap().1.feed().unwrap())
            .collect();
        let outputs = runner.run(&feeds).unwrap();
        for (place, wanted) in run["out"].as_array().unwrap().iter().enumerate() {
            let (dtype, shape, bytes) = array(&case.join(text(wanted, "file")));
            let found = outputs.tensor(place).unwrap();
            let name = format!("{}: {}", case.display(), text(wanted, "name"));
            assert_eq!((found.dtype(), found.shape()), (dtype, &shape), "{name}");
            let both = numbers(dtype, found.bytes()).into_iter().zip(numbers(dtype, &bytes));
            for (found, wanted) in both {
                assert!(
                    (found - wanted).abs() <= atol * wanted.abs().max(1.0),
                    "{name}: {found} for {wanted}"
                );
            }
        }
    }
}

#[test]
fn models_give_the_interpreters_numbers() {
    let cases = cases();
    assert!(cases.len() >= 9, "{cases:?}");
    cases.iter().for_each(|case| check(case));
}

#[test]
fn a_run_feeds_and_fetches_tensors_by_their_names() {
    let (case, folder) = (golden().join("elementwise"), Folder::new());
    let manifest = manifest(&case);
    let run = &manifest["runs"][0];
    let output = folder.path("out.npz").display().to_string();
    let model = case.join("model.tflite").display().to_string();
    let mut args = vec!["run".to_string(), model, "--output".into(), output, "--quiet".into()];
    for entry in run["in"].as_array().unwrap() {
        args.extend(["--input".into(), pair(text(entry, "name"), &case.join(text(entry, "file")))]);
    }
    for name in ["PartitionedCall:7", "floored", "PartitionedCall:0"] {
        args.extend(["--fetch".into(), name.into()]);
    }
    let answer = tightfit(&args);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{args:?}");
}

#[test]
fn each_signature_runs_its_own_graph() {
    let path = golden().join("signatures/model.tflite");
    let budget = MemoryBudget::new(16 << 20);
    let keys: Vec<(String, Vec<String>)> = ["encode", "decode"]
        .map(|key| {
            let source = ModelSource { signature: Some(key.into()), ..ModelSource::default() };
            let found = inspect(&path, &source, &budget).unwrap();
            assert_eq!(found.signatures.len(), 2);
            (found.inputs[0].name.clone(), found.outputs)
        })
        .into();
    let expected = [("x", "code"), ("code", "x")].map(|(i, o)| (i.to_string(), vec![o.to_string()]));
    assert_eq!(keys, expected);
    let wrong = ModelSource { signature: Some("other".into()), ..ModelSource::default() };
    let error = inspect(&path, &wrong, &budget).unwrap_err().to_string();
    assert!(error.contains("decode, encode") || error.contains("encode, decode"), "{error}");
}

/// One number after the other changed, and the file cut off: an error or a model, inside the memory.
#[test]
fn damaged_files_are_errors() {
    let folder = Folder::new();
    let path = folder.path("damaged.tflite");
    let mut models = 0;
    for case in cases() {
        let whole = fs::read(case.join("model.tflite")).unwrap();
        let mut state = 88_172_645_463_325_252u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for round in 0..150 {
            let mut damaged = whole.clone();
            for _ in 0..=random(3) {
                let at = random(damaged.len());
                damaged[at] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
            }
            if round % 10 == 0 {
                damaged.truncate(random(whole.len()));
            }
            fs::write(&path, &damaged).unwrap();
            let budget = MemoryBudget::new(64 << 20);
            if let Ok(model) = Model::open(&path, &OpenOptions::default(), &budget) {
                let options = FitOptions { threads: 1, ..FitOptions::default() };
                models += usize::from(tightfit::fit::fit(&model, &options).is_ok());
            }
            assert_eq!(budget.used_bytes(), 0, "{}", case.display());
            let budget = MemoryBudget::new(8 << 20);
            inspect(&path, &ModelSource::default(), &budget).ok();
            assert_eq!(budget.used_bytes(), 0, "{}", case.display());
        }
    }
    assert!(models > 100, "{models} of the damaged models could be planned");
}

#[test]
fn what_cannot_be_run_is_named() {
    let folder = Folder::new();
    let path = folder.path("other.tflite");
    // GELU, which stands as 150 where newer numbers do, becomes STABLEHLO_CUSTOM_CALL.
    let mut changed = fs::read(golden().join("elementwise/model.tflite")).unwrap();
    let is_code = |at: &usize| changed[*at..*at + 4] == [150, 0, 0, 0];
    let places: Vec<usize> = (0..changed.len() - 3).filter(is_code).collect();
    places.iter().for_each(|at| changed[*at] = 173);
    fs::write(&path, &changed).unwrap();
    let answer = tightfit(["plan", &path.display().to_string()]);
    assert_eq!(answer.code, 1, "{answer:?}");
    for part in ["STABLEHLO_CUSTOM_CALL", "(operator ", "other.tflite"] {
        assert!(answer.stderr.contains(part), "'{part}' is not in: {}", answer.stderr);
    }
}

/// The file with tensors of these names without any: the length before each text becomes 0.
fn without_names(file: &[u8], names: &[&str]) -> Vec<u8> {
    let mut file = file.to_vec();
    for name in names {
        let text = [&(name.len() as u32).to_le_bytes()[..], name.as_bytes(), &[0]].concat();
        let at = file.windows(text.len()).position(|part| part == text).expect("the name of a tensor");
        file[at..at + text.len()].fill(0);
    }
    file
}

#[test]
fn inputs_and_outputs_without_names_go_by_their_positions() {
    let folder = Folder::new();
    let named = golden().join("svdf/model.tflite");
    let unnamed = folder.write("unnamed.tflite", without_names(&fs::read(&named).unwrap(), &["in0", "out"]));
    let inspected = tightfit(["inspect", unnamed.to_str().unwrap(), "--json"]).json();
    assert_eq!(
        (&inspected["inputs"][0]["name"], &inspected["outputs"]),
        (&"#0".into(), &serde_json::json!(["#0"]))
    );
    let x: Vec<u8> = (0..10).flat_map(|n| (n as f32 / 10.0).to_le_bytes()).collect();
    let x = folder.write("x.npy", npy("<f4", "(2, 5)", &x));
    let run = |model: &Path, input: &str, more: &[&str]| {
        let output = folder.path("out.npz");
        let fed = pair(input, &x);
        let fixed = [
            "run",
            model.to_str().unwrap(),
            "--input",
            &fed,
            "--quiet",
            "--output",
            output.to_str().unwrap(),
        ];
        let answer = tightfit([&fixed[..], more].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        fs::read(output).unwrap()
    };
    let results = run(&unnamed, "#0", &[]);
    assert!(results.windows(6).any(|part| part == b"#0.npy"));
    assert_eq!(results, run(&unnamed, "#0", &["--fetch", "#0"]));
    let named = run(&named, "in0", &[]);
    assert_eq!(results.len() + 2, named.len(), "but for the array's name");
}
