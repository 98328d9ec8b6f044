//! The command line as data: one table of flags, from which parsing and help come.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use lexopt::Arg;
use tightfit::{Shape, parse_bytes};

use crate::commands::COMMANDS;
use crate::failure::Failure;
use crate::system::Start;

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name without the dashes.
    pub name: &'static str,
    /// What its value is called; empty for a switch.
    pub value: &'static str,
    /// True when it may be given several times.
    pub is_list: bool,
    /// One line of help.
    pub help: &'static str,
}

/// Every flag of every command, in the order they are shown.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    list("input", "NAME=FILE", "Feed one tensor as it is: .npy; strings: .json nested lists, or a file's bytes"),
    list("input", "PATH..", "A data set, read in batches: images or folders of them, .npy, .tfrecord(.gz), globs"),
    flag("output", "FILE", "Where results go; run: .npz .npy .jsonl .csv .tfrecord, left out: JSON lines on stdout"),
    list("fetch", "NAME", "A tensor to return; left out: the outputs of the model"),
    flag("memory", "SIZE", "The most memory the process may take, as 64MiB or 2GB [default: 80 % of what is free]"),
    flag("batch", "N", "Rows at once [default: 1]; for run also auto: as many as run fastest"),
    flag("threads", "N", "Threads that compute [default: all processors]"),
    list("shape", "NAME=D0,D1,..", "The shape of an input that the model leaves open"),
    flag("resize", "HxW", "Bring images to this height and width, as tf.image.resize does"),
    flag("preprocess", "NAME", "What is done to pixels: tf, torch, caffe, unit or none [default: none]"),
    list("feature", "INPUT=NAME", "The tf.Example feature for an input, where it has another name"),
    flag("label", "NAME", "The tf.Example feature with the right class, to tell the accuracy"),
    flag("skip-bad", "", "Skip rows that cannot be read, and count them"),
    flag("decode-memory", "SIZE", "The most that decoding an image may take [default: what is free]"),
    flag("record-memory", "SIZE", "The most that a record may take [default: what is free]"),
    flag("pipeline-memory", "SIZE", "For the stages of a pipeline that is given as --input FILE.json [default: 32MiB]"),
    flag("string-memory", "SIZE", "The most for the strings of a row, on average over its batch [default: the longest]"),
    flag("labels", "FILE", "Names of the classes, one a line, for .jsonl and .csv"),
    flag("top", "K", "Only the K largest elements of each row, for .jsonl and .csv [default with --labels: 5]"),
    flag("resume", "", "Write numbered shards of --output, and go on behind those that an earlier run has finished"),
    flag("shard-rows", "N", "Rows of a shard, made whole batches [default: 8192]"),
    flag("report", "FILE", "Write what the run took: .json, or .html with bytes over time beside the plan"),
    flag("signature", "KEY", "The signature to run [default: serving_default, or the only one]"),
    flag("tags", "TAG,..", "The tags of the graph in a SavedModel [default: serve, or the only graph]"),
    flag("checkpoint", "PREFIX", "The checkpoint with the values of variables, for a graph that is not frozen"),
    flag("records", "N", "How many records or elements to show (-n N) [default: 10]"),
    flag("dtype", "NAME", "What floats become in .npy and .npz: float16, float32 or float64 [default: float32]"),
    flag("ranges", "", "Shards of records that follow each other, instead of every Nth"),
    flag("shards", "N", "Deal what is written in turn to OUT-00000-of-0000N and so on"),
    flag("seconds", "S", "How long to measure [default: 3; data bench: 10, or to the end]"),
    flag("seed", "N", "Which random order [default: 0]"),
    flag("epoch", "N", "Each epoch of a seed has an order of its own [default: 0]"),
    flag("blocks", "SIZE", "Keep neighbours together in blocks, as 1MiB, for disks that seek; left out: uniform"),
    flag("index", "DIR", "A folder for the indexes of records [default: beside the data]"),
    flag("steps", "N", "Also list the N slowest steps"),
    flag("precision", "f32", "The precision to compute in [default: f32]"),
    flag("html", "FILE", "Write the plan as a page with a picture of the arena"),
    flag("text", "", "Print the graph as it will be computed"),
    flag("verbose", "", "With --json: every rectangle of the arena too"),
    flag("json", "", "Print one JSON object; for run, what it took, with --output for the results"),
    flag("quiet", "", "No progress and no summary"),
];

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value, is_list: false, help }
}

const fn list(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { is_list: true, ..flag(name, value, help) }
}

/// A command.
pub struct Command {
    /// Its name; one of a group has two words.
    pub name: &'static str,
    /// What stands behind it besides flags; with `..` at the end, one or more of it.
    pub positional: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The flags it takes: lists of its own, and those that it shares with others.
    pub flags: &'static [&'static [&'static str]],
    /// What it does.
    pub run: fn(&Args, &Start) -> Result<(), Failure>,
}

impl Command {
    /// Every flag that it takes.
    fn flags(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.flags.iter().flat_map(|list| list.iter().copied())
    }
}

/// A command line that was understood.
pub struct Call {
    /// The command.
    pub command: &'static Command,
    /// What it was given.
    pub args: Args,
}

/// What a command was given.
#[derive(Debug)]
pub struct Args {
    paths: Vec<PathBuf>,
    values: Vec<(&'static str, OsString)>,
}

/// Printed by `--help`; not a command of its own.
static HELP: Command = Command { name: "help", positional: "", about: "", flags: &[], run: |_, _| Ok(()) };

/// Reads the process' command line. Help and version are printed here.
///
/// # Errors
/// [`Failure::Usage`] for anything that is not understood.
pub fn parse() -> Result<Call, Failure> {
    let mut parser = lexopt::Parser::from_env();
    let mut command: Option<&'static Command> = None;
    let mut paths = Vec::new();
    let mut values: Vec<(&'static str, OsString)> = Vec::new();
    // `--input a.png b.png`: a shell makes that of a pattern.
    let mut is_after_input = false;
    while let Some(arg) = parser.next().map_err(|error| Failure::Usage(error.to_string()))? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return help(command),
            Arg::Long("version") | Arg::Short('V') if command.is_none() => {
                crate::table::print(concat!("tightfit ", env!("CARGO_PKG_VERSION"), "\n"))?;
                return Ok(Call { command: &HELP, args: Args { paths, values } });
            }
            Arg::Value(name) if command.is_none() => {
                if name == "help" {
                    return help(None);
                }
                let mut name = name.to_string_lossy().into_owned();
                if COMMANDS.iter().any(|c| c.name.split_once(' ').is_some_and(|(group, _)| group == name)) {
                    match parser.next().map_err(|error| Failure::Usage(error.to_string()))? {
                        Some(Arg::Value(second)) => name = format!("{name} {}", second.to_string_lossy()),
                        Some(Arg::Long("help") | Arg::Short('h')) => return help(None),
                        _ => return Err(Failure::Usage(format!("{name} needs a command: {}", known(&name)))),
                    }
                }
                command = Some(find_command(&name)?);
            }
            Arg::Value(path) if paths.is_empty() || takes_many(command) => paths.push(PathBuf::from(path)),
            Arg::Value(path) if is_after_input => values.push(("input", path)),
            Arg::Value(extra) => return Err(unexpected(&extra.to_string_lossy(), command)),
            Arg::Short(letter) if letter != 'n' || !takes(command, "records") => {
                return Err(unexpected(&format!("-{letter}"), command));
            }
            Arg::Short(_) | Arg::Long(_) => {
                let name = if let Arg::Long(name) = arg { name.to_string() } else { "records".to_string() };
                let flag = find_flag(&name, command)?;
                if !flag.is_list && values.iter().any(|(n, _)| *n == flag.name) {
                    return Err(Failure::Usage(format!("--{name} is given twice")));
                }
                let value = match flag.value {
                    "" => OsString::new(),
                    what => parser
                        .value()
                        .map_err(|_| Failure::Usage(format!("--{name} needs a value: {what}")))?,
                };
                values.push((flag.name, value));
                is_after_input = flag.name == "input";
            }
        }
    }
    let Some(command) = command else {
        return Err(Failure::Usage("no command; `tightfit --help` lists them".to_string()));
    };
    let missing = || {
        Failure::Usage(format!(
            "{} needs a {}; see `tightfit {} --help`",
            command.name, command.positional, command.name
        ))
    };
    if paths.is_empty() {
        return Err(missing());
    }
    Ok(Call { command, args: Args { paths, values } })
}

fn takes(command: Option<&Command>, flag: &str) -> bool {
    command.is_some_and(|c| c.flags().any(|taken| taken == flag))
}

fn takes_many(command: Option<&Command>) -> bool {
    command.is_some_and(|c| c.positional.ends_with(".."))
}

/// The names of commands that begin with `prefix`.
fn known(prefix: &str) -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|c| c.name).filter(|n| n.starts_with(prefix)).collect();
    names.join(", ")
}

fn find_command(name: &str) -> Result<&'static Command, Failure> {
    let unknown = || match closest(name, COMMANDS.iter().map(|c| c.name)) {
        Some(similar) => format!("there is no command '{name}'; did you mean {similar}?"),
        None => format!("there is no command '{name}'; there are {}", known("")),
    };
    COMMANDS.iter().find(|c| c.name == name).ok_or_else(|| Failure::Usage(unknown()))
}

/// The name that `typed` was most likely meant to be: it begins so, or differs in one letter or two.
fn closest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let score =
        |name: &str| if name.starts_with(typed) && typed.len() > 1 { 0 } else { distance(typed, name) };
    let best = names.map(|name| (score(name), name)).min_by_key(|(score, _)| *score)?;
    (best.0 <= 2 && 2 * best.0 <= typed.len()).then_some(best.1)
}

/// Letters to put in, leave out or change to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut above: Vec<usize> = (0..=b.chars().count()).collect();
    for (row, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut above[0], row + 1);
        for (column, other) in b.chars().enumerate() {
            let change = diagonal + usize::from(letter != other);
            diagonal = above[column + 1];
            above[column + 1] = change.min(diagonal + 1).min(above[column] + 1);
        }
    }
    above[b.chars().count()]
}

fn find_flag(name: &str, command: Option<&'static Command>) -> Result<&'static Flag, Failure> {
    let is_taken = |flag: &&Flag| takes(command, flag.name);
    FLAGS
        .iter()
        .find(|f| f.name == name)
        .filter(is_taken)
        .ok_or_else(|| unexpected(&format!("--{name}"), command))
}

fn unexpected(what: &str, command: Option<&'static Command>) -> Failure {
    match command {
        Some(command) => {
            let similar = what.strip_prefix("--").and_then(|name| closest(name, command.flags()));
            let advice = match similar {
                Some(similar) => format!("did you mean --{similar}?"),
                None => format!("see `tightfit {} --help`", command.name),
            };
            Failure::Usage(format!("{} does not take '{what}'; {advice}", command.name))
        }
        None => Failure::Usage(format!("'{what}' before a command; see `tightfit --help`")),
    }
}

fn help(command: Option<&'static Command>) -> Result<Call, Failure> {
    let mut text = String::new();
    match command {
        None => {
            text.push_str(
                "Runs TensorFlow models in the memory you have.\n\nUsage: tightfit COMMAND ..\n\nCommands:\n",
            );
            for command in COMMANDS {
                let _ = writeln!(text, "  {:<18}{}", command.name, command.about);
            }
            text.push_str("\n`tightfit COMMAND --help` lists a command's flags.\n");
            text.push_str("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 does not fit the memory.\n");
        }
        Some(command) => {
            let _ = writeln!(
                text,
                "{}\n\nUsage: tightfit {} {} [FLAGS]\n",
                command.about, command.name, command.positional
            );
            for flag in FLAGS.iter().filter(|f| takes(Some(command), f.name)) {
                let name = format!("--{} {}", flag.name, flag.value);
                let more = if flag.is_list { " (may be repeated)" } else { "" };
                let _ = writeln!(text, "  {name:<26}{}{more}", flag.help);
            }
        }
    }
    crate::table::print(&text)?;
    Ok(Call { command: &HELP, args: Args { paths: Vec::new(), values: Vec::new() } })
}

impl Args {
    /// The first path, which is the model's where there is one.
    pub fn model(&self) -> &std::path::Path {
        self.paths.first().map_or(std::path::Path::new(""), PathBuf::as_path)
    }

    /// All paths that are not a flag's.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// True when the flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(n, _)| *n == name)
    }

    /// The values of a flag that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsString> {
        self.values.iter().filter(move |(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The value of a flag as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.all(name).next().map(PathBuf::from)
    }

    /// The values of a flag as text.
    ///
    /// # Errors
    /// [`Failure::Usage`] for one that is no UTF-8.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        let text = |value: &OsString| {
            let text = value.to_str().map(str::to_string);
            text.ok_or_else(|| Failure::Usage(format!("--{name} {} is no UTF-8", value.to_string_lossy())))
        };
        self.all(name).map(text).collect()
    }

    /// The value of a flag as text.
    ///
    /// # Errors
    /// As [`Args::texts`].
    pub fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.texts(name)?.pop())
    }

    /// The value of a flag as a number of bytes.
    ///
    /// # Errors
    /// [`Failure::Usage`] for anything else.
    pub fn bytes(&self, name: &str) -> Result<Option<u64>, Failure> {
        let parse =
            |text: String| parse_bytes(&text).map_err(|error| Failure::Usage(format!("--{name}: {error}")));
        self.text(name)?.map(parse).transpose()
    }

    /// The value of a flag as a whole number of at least 1 and at most `most`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for anything else.
    pub fn count(&self, name: &str, most: usize) -> Result<Option<usize>, Failure> {
        let parse = |text: String| {
            let count = text.parse().ok().filter(|n| (1..=most).contains(n));
            count.ok_or_else(|| {
                Failure::Usage(format!("--{name} {text}: a whole number from 1 to {most} is needed"))
            })
        };
        self.text(name)?.map(parse).transpose()
    }

    /// The value of `--seconds`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for anything that is no number above 0.
    pub fn seconds(&self) -> Result<Option<f64>, Failure> {
        let parse = |text: String| {
            let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0 && *s < 1e6);
            seconds.ok_or_else(|| Failure::Usage(format!("--seconds {text}: a number above 0 is needed")))
        };
        self.text("seconds")?.map(parse).transpose()
    }

    /// The value of a flag as a whole number of 64 bits.
    ///
    /// # Errors
    /// [`Failure::Usage`] for anything else.
    pub fn whole(&self, name: &str) -> Result<Option<u64>, Failure> {
        let wrong = |text: &str| Failure::Usage(format!("--{name} {text}: a whole number is needed"));
        self.text(name)?.map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
    }

    /// The values of `NAME=D0,D1,..` flags.
    ///
    /// # Errors
    /// [`Failure::Usage`] for anything else.
    pub fn shapes(&self) -> Result<Vec<(String, Shape)>, Failure> {
        let parse = |text: String| {
            let wrong = || Failure::Usage(format!("--shape {text}: write it as NAME=1,224,224,3"));
            let (name, dims) = text.split_once('=').ok_or_else(wrong)?;
            let dims = dims.split(',').filter(|d| !d.is_empty()).map(|d| d.trim().parse::<usize>());
            let dims = dims.collect::<Result<Vec<_>, _>>().map_err(|_| wrong())?;
            let shape =
                Shape::new(&dims).map_err(|error| Failure::Usage(format!("--shape {text}: {error}")))?;
            let name = name.strip_suffix(":0").unwrap_or(name);
            Ok((name.to_string(), shape))
        };
        self.texts("shape")?.into_iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_what_was_meant() {
        let names = || ["input", "output", "memory", "top", "batch", "label", "labels"].into_iter();
        for (typed, meant) in
            [("inptu", "input"), ("mem", "memory"), ("batchs", "batch"), ("labls", "labels")]
        {
            assert_eq!(closest(typed, names()), Some(meant), "{typed}");
        }
        for typed in ["", "x", "zip", "colour"] {
            assert_eq!(closest(typed, names()), None, "{typed}");
        }
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
