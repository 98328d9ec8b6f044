//! One file per command.

mod bench;
mod data;
mod freeze;
mod inspect;
mod plan;
mod records;
mod run;
mod source;

use std::collections::HashMap;
use std::path::PathBuf;

use tightfit::fit::THREAD_BYTES;
use tightfit::{Error, MemoryBudget, Model, Reservation, Shape, limits, process};

use crate::args::{Args, Command};
use crate::failure::Failure;

/// Every command, in the order they are shown.
pub static COMMANDS: &[Command] = &[
    inspect::COMMAND,
    plan::COMMAND,
    run::COMMAND,
    bench::COMMAND,
    freeze::COMMAND,
    records::inspect::COMMAND,
    records::head::COMMAND,
    records::verify::COMMAND,
    records::convert::COMMAND,
    records::shard::COMMAND,
    records::shuffle::COMMAND,
    records::preprocess::COMMAND,
    data::head::COMMAND,
    data::bench::COMMAND,
];

/// Flags of a run and of the plan of one.
const JOB_FLAGS: &[&str] = &["input", "output", "fetch", "memory", "batch", "threads", "shape"];

/// How the rows of a data set are read.
const DATA_FLAGS: &[&str] = &[
    "resize",
    "preprocess",
    "feature",
    "label",
    "skip-bad",
    "decode-memory",
    "record-memory",
    "string-memory",
    "pipeline-memory",
];

/// What is written of the results.
const RESULT_FLAGS: &[&str] = &["labels", "top"];

/// The most threads that are accepted.
const MAX_THREADS: usize = 256;

/// The most rows at once that are accepted.
const MAX_BATCH: usize = 1 << 20;

/// What every command that plans a model is told.
struct Limits {
    memory_bytes: u64,
    threads: usize,
}

impl Limits {
    fn read(args: &Args) -> Result<Limits, Failure> {
        let processors = || std::thread::available_parallelism().map_or(1, |n| n.get());
        Ok(Limits {
            memory_bytes: args.bytes("memory")?.unwrap_or_else(limits::default_memory_bytes),
            threads: args.count("threads", MAX_THREADS)?.unwrap_or_else(processors),
        })
    }

    /// The memory of a command that lays a model out. Whatever it reads comes out of it.
    ///
    /// Less than this process has taken by now cannot be kept to, whatever is done. So a model's structure may be read in
    /// more than that, to tell which size works.
    ///
    /// # Errors
    /// [`Error::Floor`] for less than the process itself takes, before anything is read.
    fn open(&self) -> Result<Memory, Failure> {
        let floor_bytes = process::floor_bytes();
        let memory_bytes = match limits::peak_resident_bytes() {
            Some(taken_bytes) if self.memory_bytes < taken_bytes => floor_bytes.saturating_add(LOOK_BYTES),
            _ => self.memory_bytes,
        };
        check_floor(memory_bytes)?;
        let budget = MemoryBudget::new(memory_bytes);
        let threads_bytes = (self.threads as u64).saturating_mul(THREAD_BYTES);
        let threads = budget.try_reserve("runtime", threads_bytes).map_err(Error::from)?;
        process::occupy(&budget).map_err(Error::from)?;
        Ok(Memory { budget, _threads: threads })
    }
}

/// What a model's structure and the headers of data may take where the size that is given cannot be kept to.
const LOOK_BYTES: u64 = 256 << 20;

/// The memory of a command: one budget, out of which the process itself is taken.
struct Memory {
    budget: MemoryBudget,
    _threads: Reservation,
}

impl Drop for Memory {
    fn drop(&mut self) {
        process::leave();
    }
}

/// # Errors
/// [`Error::Floor`] for less than the process itself takes.
fn check_floor(memory_bytes: u64) -> Result<(), Failure> {
    let floor_bytes = process::floor_bytes();
    match memory_bytes < floor_bytes {
        true => Err(Error::Floor { memory_bytes, floor_bytes }.into()),
        false => Ok(()),
    }
}

/// What a value of `--input` may be as `NAME=FILE`: a path that exists is a path, whatever is in its name, and so is a
/// URL, whose query may have an equals sign. Whether it is one is for
/// the model to say.
fn name_and_file(value: &std::ffi::OsStr) -> Option<(String, PathBuf)> {
    let at = value.as_encoded_bytes().iter().position(|byte| *byte == b'=')?;
    let name = std::str::from_utf8(value.as_encoded_bytes().get(..at)?).ok()?;
    let is_path = name.is_empty() || name.contains("://") || std::path::Path::new(value).exists();
    if is_path { None } else { Some((name.to_string(), PathBuf::from(part_behind(value, at + 1)?))) }
}

/// The part of a path behind its first `bytes`, which are UTF-8.
#[cfg(unix)]
fn part_behind(value: &std::ffi::OsStr, bytes: usize) -> Option<std::ffi::OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(value.as_bytes().get(bytes..)?).to_os_string())
}

#[cfg(not(unix))]
fn part_behind(value: &std::ffi::OsStr, bytes: usize) -> Option<std::ffi::OsString> {
    Some(value.to_string_lossy().get(bytes..)?.into())
}

/// The shapes of `--shape`, each of which has to be an input of the model.
fn input_shapes(args: &Args, model: &Model) -> Result<HashMap<String, Shape>, Failure> {
    let shapes: HashMap<_, _> = args.shapes()?.into_iter().collect();
    let inputs: Vec<&str> = model.graph().inputs.iter().map(|port| port.name.as_str()).collect();
    match shapes.keys().find(|name| !inputs.contains(&name.as_str())) {
        Some(name) => {
            let why = format!("--shape {name}: the model's inputs are {}", inputs.join(", "));
            Err(Failure::Usage(why))
        }
        None => Ok(shapes),
    }
}
