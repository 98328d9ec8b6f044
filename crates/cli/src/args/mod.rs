//! The command line: from what the shell gives to the arguments of a command.

mod flags;
mod long;
mod values;
mod wrong;

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::failure::Failure;
use crate::{style, table};

pub use flags::{
    DataFlags, InputFlags, JobFlags, JsonFlag, LimitFlags, MemoryFlag, OutputFlag, QuietFlag, ResultFlags,
    ScopeFlags, SourceFlags, SpecArg, SummaryFlags, one_of,
};
pub use long::Lists;
pub use values::{BatchSize, count, precision, seconds, shape, size, whole};

/// What stands under `tightfit --help`.
const AFTER: &str = "\
Examples:
  tightfit inspect model.pb
  tightfit plan model.pb --memory 96MiB
  tightfit run model.pb --input photos/ --output scores.jsonl --memory 96MiB

MODEL is a SavedModel's folder, a frozen GraphDef (.pb or .pbtxt), a .tflite, or
a checkpoint with its .meta. SIZE is bytes, or a number with KB, MB, GB, KiB,
MiB or GiB. - is standard input or output.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 does not fit the memory,
130 and 143 interrupted. NO_COLOR turns colours off.";

/// Run TensorFlow models in the memory you have
#[derive(Debug, Parser)]
#[command(name = "tightfit", version, max_term_width = 80, after_help = AFTER)]
#[command(subcommand_value_name = "COMMAND", subcommand_help_heading = "Commands")]
#[command(override_usage = "tightfit COMMAND [OPTIONS]")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Call {
    /// The command and its arguments.
    pub command: Command,
    /// The flags that were given, among those that have defaults or no value too.
    pub given: Given,
}

/// The flags of a call that were given.
#[derive(Debug, Default)]
pub struct Given(Vec<String>);

impl Given {
    fn of(matches: &ArgMatches) -> Given {
        let mut matches = matches;
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        let is_given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        Given(matches.ids().filter(is_given).map(|id| id.as_str().replace('_', "-")).collect())
    }

    /// The first of `flags` that is given.
    pub fn first_of<'f>(&self, flags: impl IntoIterator<Item = &'f str>) -> Option<&'f str> {
        flags.into_iter().find(|flag| self.0.iter().any(|given| given == flag))
    }
}

/// Whether errors are wanted as JSON: of a command that was given `--json`, also where its other flags are wrong.
pub fn wants_json(args: impl Iterator<Item = OsString>) -> bool {
    let behind_command = args.skip(1).skip_while(|arg| !is_bare(arg));
    behind_command.take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// Reads a command line, the name of the program first. Help and version are printed here, and then there is nothing to do.
///
/// # Errors
/// [`Failure::Usage`] for anything that is not understood.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Call>, Failure> {
    let (args, lists) = long::shorten(args);
    let mut parser = description();
    match parser.try_get_matches_from_mut(&args) {
        Ok(matches) => {
            let given = Given::of(&matches);
            let Cli { mut command } =
                Cli::from_arg_matches(&matches).map_err(|error| wrong::explain(&error, &parser, &args))?;
            command.put_back(&lists);
            Ok(Some(Call { command, given }))
        }
        Err(error) if !error.use_stderr() => {
            table::print(&style::help(&error.to_string()))?;
            Ok(None)
        }
        Err(error) => Err(wrong::explain(&error, &parser, &args)),
    }
}

/// The command line as clap describes it: what completions and man pages are made of.
pub fn description() -> clap::Command {
    with_help(Cli::command())
}

/// `--help` among what is printed, and not at the top of the list.
fn with_help(command: clap::Command) -> clap::Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print help");
    let help = if command.has_subcommands() { help } else { help.help_heading("Output") };
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_string()).collect();
    let command = command.disable_help_flag(true).arg(help);
    names.iter().fold(command, |command, name| command.mut_subcommand(name, with_help))
}

/// The name of the closest of `names`, as advice.
fn did_you_mean(typed: &str, names: &[String]) -> Option<String> {
    tightfit::closest(typed, names.iter().map(String::as_str)).map(str::to_string)
}

/// Whether an argument is a value and no flag.
fn is_bare(arg: &OsStr) -> bool {
    !arg.as_encoded_bytes().starts_with(b"-") || arg == "-"
}
