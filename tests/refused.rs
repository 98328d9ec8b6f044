//! Runs that are refused stay inside their memory as well. In a process of its own, and without large things in memory: the
//! system counts what the process that starts another one has.
#![cfg(target_os = "linux")]

mod graphs;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use graphs::{Graph, TempDir, float_type, tightfit};

fn with_memory(job: &[String], memory_bytes: u64, more: &[&str]) -> Command {
    let mut arguments: Vec<&str> = job.iter().map(String::as_str).collect();
    let memory = memory_bytes.to_string();
    arguments.extend(["--memory", &memory]);
    arguments.extend(more);
    tightfit(&arguments)
}

/// A file of a text many times, between two others.
fn repeated(dir: &TempDir, name: &str, before: &str, part: &str, times: usize, after: &str) -> PathBuf {
    let path = dir.0.join(name);
    let mut file = BufWriter::new(File::create(&path).unwrap());
    file.write_all(before.as_bytes()).unwrap();
    (0..times).for_each(|_| file.write_all(part.as_bytes()).unwrap());
    file.write_all(after.as_bytes()).unwrap();
    file.flush().unwrap();
    path
}

/// 128 MiB of zeros, of which only the header is on the disk.
fn sparse_array(dir: &TempDir) -> PathBuf {
    let path = dir.npy("large.npy", &[0, 1024], 0.0);
    let mut bytes = std::fs::read(&path).unwrap();
    let header = String::from_utf8_lossy(&bytes[10..]).replace("(0, 1024, ), }     ", "(32768, 1024, ), } ");
    bytes.truncate(10);
    bytes.extend(header.as_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 + (32768 * 1024 * 4)).unwrap();
    path
}

/// The exit code and the most resident memory of a call, as the system counts it, and what it said. The system counts the
/// process that started it too, which is smaller than the budgets here.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
fn peak_of(command: Command) -> (Option<i32>, u64, String) {
    let mut command = command;
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let pid = child.id() as libc::pid_t;
    let mut stderr = child.stderr.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to values of this frame, and the child is waited for once.
    assert_eq!(unsafe { libc::wait4(pid, &mut status, 0, &mut usage) }, pid);
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    (code, usage.ru_maxrss as u64 * 1024, text)
}

#[test]
fn refused_runs_stay_inside_too() {
    const MEMORY_BYTES: u64 = 24 << 20;
    let dir = TempDir::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = |path: &Path| path.display().to_string();
    let digits = text(&repository.join("examples/digits/digits.pb"));
    let mut graph = Graph::default();
    graph.placeholder("x", &[-1, 1024]);
    graph.node("y", "Neg", &["x"], &[float_type("T")]);
    let model = text(&dir.write("neg.pb", &graph.finish()));
    let large = text(&sparse_array(&dir));
    let labels = text(&repeated(&dir, "labels.txt", "", "a\n", 6 << 20, ""));
    let strings = {
        let mut graph = Graph::default();
        let string_type = |name: &str| graphs::attr(name, &graphs::int(6, 7));
        graph.node("x", "Placeholder", &[], &[string_type("dtype")]);
        graph.node("y", "Identity", &["x"], &[string_type("T")]);
        text(&dir.write("strings.pb", &graph.finish()))
    };
    let many = text(&repeated(&dir, "many.json", "[", "\"a\",", 4 << 20, "\"a\"]"));
    let one = text(&repeated(&dir, "one.json", "\"", "a", 64 << 20, "\""));
    let raw = text(&repeated(&dir, "raw.bin", "", "a", 64 << 20, ""));
    let images = text(&repository.join("examples/digits/digit_2.png"));
    let fed =
        |model: &str, file: &str| vec!["run".into(), model.into(), "--input".into(), format!("x={file}")];
    let labelled = ["run", &digits, "--input", &images, "--labels", &labels].map(String::from).to_vec();
    for job in [fed(&model, &large), fed(&strings, &many), fed(&strings, &one), fed(&strings, &raw), labelled]
    {
        let (code, peak_bytes, stderr) = peak_of(with_memory(&job, MEMORY_BYTES, &["--quiet"]));
        assert_eq!(code, Some(3), "{job:?}: {stderr}");
        assert!(stderr.contains("does not fit"), "{stderr}");
        assert!(peak_bytes <= MEMORY_BYTES, "{job:?}: {peak_bytes}: {stderr}");
    }
    // The size that would do is known although nothing was read.
    let (_, _, stderr) = peak_of(with_memory(&fed(&model, &large), MEMORY_BYTES, &["--quiet"]));
    assert!(stderr.contains("the smallest --memory that works is "), "{stderr}");
}

/// Writes a text graph: a Fill of so many elements, and 20,000 Neg after it, all of which are known before anything is run.
/// It is written piece by piece: the system counts what a program's starter holds as the program's own.
fn known_chain(dir: &TempDir, elements: usize) -> PathBuf {
    let path = dir.0.join(format!("chain-{elements}.pbtxt"));
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let attr = |name: &str, value: &str| format!("attr {{ key: '{name}' value {{ {value} }} }}");
    let float = attr("T", "type: DT_FLOAT");
    for (name, dtype, shape, value) in [
        ("dims", "DT_INT32", "dim { size: 1 }", format!("int_val: {elements}")),
        ("one", "DT_FLOAT", "", "float_val: 1".to_string()),
    ] {
        let tensor = format!("tensor {{ dtype: {dtype} tensor_shape {{ {shape} }} {value} }}");
        let attrs = attr("dtype", &format!("type: {dtype}")) + &attr("value", &tensor);
        writeln!(file, "node {{ name: '{name}' op: 'Const' {attrs} }}").unwrap();
    }
    let index = attr("index_type", "type: DT_INT32");
    writeln!(file, "node {{ name: 'n0' op: 'Fill' input: 'dims' input: 'one' {float} {index} }}").unwrap();
    for i in 1..=20_000 {
        writeln!(file, "node {{ name: 'n{i}' op: 'Neg' input: 'n{}' {float} }}", i - 1).unwrap();
    }
    file.flush().unwrap();
    path
}

#[test]
fn what_is_known_ahead_stays_inside_too() {
    const MEMORY_BYTES: u64 = 64 << 20;
    let dir = TempDir::new();
    // Up to 16 KiB are known to inference; what is larger is folded by a pass.
    for elements in [1, 100, 1000, 4000, 4096, 4097, 8000, 20_000] {
        let model = known_chain(&dir, elements).display().to_string();
        let output = dir.0.join("out.npy").display().to_string();
        let run = vec!["run".into(), model.clone(), "--output".into(), output.clone()];
        for job in [vec!["plan".into(), model], run] {
            let (code, peak_bytes, stderr) = peak_of(with_memory(&job, MEMORY_BYTES, &[]));
            assert_eq!(code, Some(0), "{job:?}: {stderr}");
            assert!(peak_bytes <= MEMORY_BYTES, "{job:?}: {peak_bytes}: {stderr}");
        }
        let bytes = std::fs::read(&output).unwrap();
        let values = &bytes[bytes.len() - 4 * elements..];
        assert!(values.chunks_exact(4).all(|value| value == 1f32.to_le_bytes()));
    }
}

/// Writes a table of so many columns and one row.
fn wide(dir: &TempDir, columns: usize) -> PathBuf {
    let path = dir.0.join("wide.csv");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    (1..columns).for_each(|i| write!(file, "c{i},").unwrap());
    writeln!(file, "c").unwrap();
    (1..columns).for_each(|_| write!(file, "1,").unwrap());
    writeln!(file, "1").unwrap();
    file.flush().unwrap();
    path
}

#[test]
fn what_is_many_and_small_stays_inside() {
    let dir = TempDir::new();
    let text = |path: &Path| path.display().to_string();
    let chain = text(&known_chain(&dir, 64));
    let table = text(&wide(&dir, 50_000));
    let output = text(&dir.0.join("out.npz"));
    let run = ["run", &chain, "--output", &output, "--quiet"].map(String::from).to_vec();
    let plan = ["plan", &chain, "--json"].map(String::from).to_vec();
    let head = ["data", "head", &table].map(String::from).to_vec();
    let mut codes = Vec::new();
    for job in [run, plan, head] {
        for memory_bytes in (14..51).step_by(3).map(|mebibytes| mebibytes << 20) {
            let (code, peak_bytes, stderr) = peak_of(with_memory(&job, memory_bytes, &[]));
            assert!(peak_bytes <= memory_bytes, "{job:?}: {peak_bytes} in {memory_bytes}: {stderr}");
            assert!(matches!(code, Some(0 | 3)), "{job:?} in {memory_bytes}: {stderr}");
            codes.push((code, memory_bytes));
        }
        // With the last size each of them was done, and with the first none.
        assert_eq!(codes.last(), Some(&(Some(0), 50 << 20)), "{job:?}");
    }
    assert_eq!(codes.first(), Some(&(Some(3), 14 << 20)));
}
