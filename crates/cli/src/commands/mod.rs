//! One file per command.

mod bench;
mod compare;
mod completions;
mod data;
mod freeze;
mod inspect;
mod man;
mod optimize;
mod partition;
mod parts;
mod plan;
mod prune;
mod quantize;
mod records;
mod rewrite;
mod run;
mod weights;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Subcommand;
use tightfit::fit::THREAD_BYTES;
use tightfit::job::DataOptions;
use tightfit::{Access, Error, MemoryBudget, Model, Reservation, Resize, Shape, limits, process};

pub use compare::{decibels, finite, json as compare_json, percent};
pub use prune::json as prune_json;
pub use quantize::json as quantize_json;

use crate::args::{DataFlags, Given, LimitFlags, Lists, MemoryFlag};
use crate::failure::Failure;
use crate::system::Start;

/// Every command, in the order they are shown.
#[derive(Debug, Subcommand)]
pub enum Command {
    Inspect(inspect::Flags),
    Plan(plan::Flags),
    Run(run::Flags),
    Bench(bench::Flags),
    Freeze(freeze::Flags),
    Optimize(optimize::Flags),
    Quantize(quantize::Flags),
    Prune(prune::Flags),
    Compare(compare::Flags),
    Partition(partition::Flags),
    #[command(subcommand)]
    Records(records::Command),
    #[command(subcommand)]
    Data(data::Command),
    Completions(completions::Flags),
    Man(man::Flags),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub fn run(self, given: &Given, start: &Start) -> Result<(), Failure> {
        match self {
            Command::Inspect(flags) => inspect::run(&flags),
            Command::Plan(flags) => plan::run(flags, given),
            Command::Run(flags) => run::run(flags, given),
            Command::Bench(flags) => bench::run(&flags, start),
            Command::Freeze(flags) => freeze::run(&flags),
            Command::Optimize(flags) => optimize::run(&flags),
            Command::Quantize(flags) => quantize::run(&flags),
            Command::Prune(flags) => prune::run(&flags),
            Command::Compare(flags) => compare::run(&flags),
            Command::Partition(flags) => partition::run(&flags),
            Command::Records(command) => command.run(),
            Command::Data(command) => command.run(),
            Command::Completions(flags) => completions::run(&flags),
            Command::Man(flags) => man::run(&flags),
        }
    }

    /// Puts the rests of long lists of files back.
    pub fn put_back(&mut self, lists: &Lists) {
        match self {
            Command::Quantize(flags) => lists.put_back(flags.rewrite.input_mut()),
            Command::Prune(flags) => lists.put_back(flags.rewrite.input_mut()),
            Command::Compare(flags) => lists.put_back(flags.input_mut()),
            Command::Plan(flags) => lists.put_back(&mut flags.job.inputs.input),
            Command::Run(flags) => lists.put_back(&mut flags.job.inputs.input),
            Command::Records(command) => {
                if let Some(files) = command.files_mut() {
                    lists.put_back(files);
                }
            }
            _ => {}
        }
    }
}

/// What every command that plans a model is told.
struct Limits {
    memory_bytes: u64,
    threads: usize,
}

impl Limits {
    fn of(flags: &LimitFlags) -> Limits {
        let processors = || std::thread::available_parallelism().map_or(1, |n| n.get());
        Limits {
            memory_bytes: flags.memory.memory.unwrap_or_else(limits::default_memory_bytes),
            threads: flags.threads.unwrap_or_else(processors),
        }
    }

    /// The memory of a command that lays a model out. Whatever it reads comes out of it.
    ///
    /// Less than any process has taken by now cannot be kept to, whatever is done. So a model's structure may be read in
    /// more than that, to tell which size works.
    ///
    /// # Errors
    /// [`Error::Floor`] for less than the process itself takes, before anything is read.
    fn open(&self) -> Result<Memory, Failure> {
        self.open_for(process::opening_bytes())
    }

    /// The same for a command whose process takes so much besides all that is counted.
    fn open_for(&self, process_bytes: u64) -> Result<Memory, Failure> {
        let threads_bytes = (self.threads as u64).saturating_mul(THREAD_BYTES);
        let floor_bytes = process::floor_bytes().max(process_bytes.saturating_add(threads_bytes));
        let memory_bytes = match process::taken_bytes() {
            Some(taken_bytes) if self.memory_bytes < taken_bytes => floor_bytes.saturating_add(LOOK_BYTES),
            _ => self.memory_bytes,
        };
        check_floor(memory_bytes, floor_bytes)?;
        process::stay_below(memory_bytes);
        let budget = MemoryBudget::new(memory_bytes);
        let threads = budget.try_reserve("runtime", threads_bytes).map_err(Error::from)?;
        process::occupy(&budget, process_bytes).map_err(Error::from)?;
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

/// The memory of a command that writes a model, which is kept to from the start, since nothing is planned.
fn open_to_write(limits: &Limits) -> Result<Memory, Failure> {
    let process_bytes = process::working_bytes();
    check_floor(limits.memory_bytes, process_bytes)?;
    let budget = MemoryBudget::new(limits.memory_bytes);
    let threads = budget.try_reserve("runtime", THREAD_BYTES).map_err(Error::from)?;
    process::occupy(&budget, process_bytes).map_err(Error::from)?;
    Ok(Memory { budget, _threads: threads })
}

/// The memory of a command that looks at a model alone.
fn open_memory(memory: &MemoryFlag) -> Result<Memory, Failure> {
    let memory_bytes = memory.memory.unwrap_or_else(limits::default_memory_bytes);
    Limits { memory_bytes, threads: 0 }.open()
}

/// # Errors
/// [`Error::Floor`] for less than the process itself takes.
fn check_floor(memory_bytes: u64, floor_bytes: u64) -> Result<(), Failure> {
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

/// The part of a path after its first `bytes`, which are UTF-8.
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
fn input_shapes(shapes: &[(String, Shape)], model: &Model) -> Result<HashMap<String, Shape>, Failure> {
    let shapes: HashMap<_, _> = shapes.iter().cloned().collect();
    let inputs: Vec<&str> = model.graph().inputs.iter().map(|port| port.name.as_str()).collect();
    match shapes.keys().find(|name| !inputs.contains(&name.as_str())) {
        Some(name) => {
            let advice = match tightfit::closest(name, inputs.iter().copied()) {
                Some(input) => format!("did you mean {input}?"),
                None => format!("the model's inputs are {}", inputs.join(", ")),
            };
            Err(Failure::Usage(format!("--shape {name}: the model has no such input; {advice}")))
        }
        None => Ok(shapes),
    }
}

/// The data set that these flags are about.
fn data_options(flags: &DataFlags, sources: Vec<PathBuf>) -> Result<DataOptions, Failure> {
    let size = |flag: &str, bytes: Option<u64>| -> Result<Option<usize>, Failure> {
        let bytes = bytes.map(usize::try_from).transpose();
        bytes.map_err(|_| Failure::Usage(format!("--{flag}: more than the address space")))
    };
    let resize = flags.resize.map(|sides| sides.0);
    Ok(DataOptions {
        access: Access::everything(),
        record_bytes: size("record-memory", flags.record_memory)?,
        decode_bytes: flags.decode_memory,
        string_bytes: size("string-memory", flags.string_memory)?,
        pipeline_bytes: flags.pipeline_memory,
        sources,
        features: flags.feature.clone(),
        label: flags.label.clone(),
        resize,
        method: resize.map(|_| Resize::Bilinear),
        preprocess: flags.preprocess.unwrap_or_default(),
        skip_bad: flags.skip_bad,
    })
}
