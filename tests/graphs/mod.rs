//! What the end-to-end tests share: graphs made byte by byte, arrays, and the program.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder that is removed when dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tightfit-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// An array of float32 elements that all have one value.
    pub fn npy(&self, name: &str, dims: &[usize], value: f32) -> PathBuf {
        let dims_text = dims.iter().map(|d| format!("{d}, ")).collect::<String>();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims_text}), }}");
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(format!("{header:<117}\n").as_bytes());
        bytes.extend(value.to_le_bytes().repeat(dims.iter().product()));
        self.write(name, &bytes)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A field with a length.
pub fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field that is a number.
pub fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

/// An attribute of a node: the fields of its AttrValue.
pub fn attr(name: &str, value: &[u8]) -> Vec<u8> {
    field(5, &[field(1, name.as_bytes()), field(2, value)].concat())
}

/// The attribute `T` or another, float32.
pub fn float_type(name: &str) -> Vec<u8> {
    attr(name, &int(6, 1))
}

/// An attribute that lists integers.
pub fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|v| varint(*v as u64)).collect();
    attr(name, &field(1, &field(3, &packed)))
}

fn dims(dims: &[i64]) -> Vec<u8> {
    dims.iter().flat_map(|d| field(2, &int(1, *d))).collect()
}

/// An int32 tensor: the fields of an AttrValue.
pub fn int32s(shape: &[i64], values: &[i32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    field(8, &[int(1, 3), field(2, &dims(shape)), field(4, &bytes)].concat())
}

/// A graph as its file has it.
#[derive(Default)]
pub struct Graph(pub Vec<u8>);

impl Graph {
    pub fn node(&mut self, name: &str, op: &str, inputs: &[&str], attrs: &[Vec<u8>]) -> &mut Graph {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(3, input.as_bytes())).collect();
        let node = [field(1, name.as_bytes()), field(2, op.as_bytes()), inputs, attrs.concat()].concat();
        self.0.extend(field(1, &node));
        self
    }

    pub fn placeholder(&mut self, name: &str, shape: &[i64]) -> &mut Graph {
        self.node(name, "Placeholder", &[], &[float_type("dtype"), attr("shape", &field(7, &dims(shape)))])
    }

    /// A float32 constant; with fewer values than elements the last one repeats.
    pub fn constant(&mut self, name: &str, shape: &[i64], values: &[f32]) -> &mut Graph {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        // `tensor_content` is complete, `float_val` need not be.
        let elements = shape.iter().try_fold(1i64, |n, size| n.checked_mul(*size));
        let is_whole = elements == Some(values.len() as i64);
        let tensor =
            [int(1, 1), field(2, &dims(shape)), field(if is_whole { 4 } else { 5 }, &bytes)].concat();
        self.node(name, "Const", &[], &[float_type("dtype"), attr("value", &field(8, &tensor))])
    }

    pub fn finish(&self) -> Vec<u8> {
        [self.0.clone(), field(4, &int(1, 1000))].concat()
    }
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Outcome {
        Outcome { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

impl Outcome {
    /// Checks that it failed with one clear line that has all of `words` in it.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        let shown: String = self.stderr.chars().take(600).collect();
        assert_eq!(self.code, Some(code), "{shown}");
        let is_one_line = self.stderr.lines().count() == 1 && self.stderr.starts_with("tightfit: ");
        assert!(is_one_line, "not one line: {shown}");
        assert!(!self.stderr.contains("defect"), "{shown}");
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is not in: {shown}");
        }
    }
}

/// The program with these arguments.
pub fn tightfit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tightfit"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// `run` of a model that is fed `x`.
pub fn run(model: &Path, x: &Path, more: &[&str]) -> Command {
    let mut command = tightfit(&["run", "--quiet", "--threads", "2"]);
    command.arg(model).arg("--input").arg(format!("x={}", x.display())).args(more);
    command
}

/// How it ended.
pub fn outcome(mut command: Command) -> Outcome {
    command.output().unwrap().into()
}
