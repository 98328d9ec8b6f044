//! What is wrong with a command line, in one line, and what was most likely meant.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use super::{did_you_mean, is_bare};
use crate::failure::Failure;

/// The command that the arguments name, as far as there is one.
struct Place<'c> {
    /// Its words; empty for the program itself.
    name: String,
    command: &'c Command,
}

impl<'c> Place<'c> {
    fn find(program: &'c Command, args: &[OsString]) -> Place<'c> {
        let mut place = Place { name: String::new(), command: program };
        for word in args.iter().skip(1).filter(|arg| is_bare(arg)) {
            let Some(inner) = place.command.find_subcommand(word) else { break };
            let space = if place.name.is_empty() { "" } else { " " };
            place.name = format!("{}{space}{}", place.name, inner.get_name());
            place.command = inner;
        }
        place
    }

    fn see_help(&self) -> String {
        let space = if self.name.is_empty() { "" } else { " " };
        format!("see `tightfit{space}{} --help`", self.name)
    }

    fn flags(&self) -> Vec<String> {
        let flags = self.command.get_arguments().filter_map(Arg::get_long);
        flags.map(|name| format!("--{name}")).chain(["--help".to_string()]).collect()
    }

    fn commands(&self) -> Vec<String> {
        let commands = self.command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
        commands.map(|c| c.get_name().to_string()).collect()
    }
}

/// The error of the parser as the one line that is told.
pub fn explain(error: &Error, program: &Command, args: &[OsString]) -> Failure {
    let place = Place::find(program, args);
    let told = |kind| error.get(kind).map(first).unwrap_or_default();
    let arg = told(ContextKind::InvalidArg);
    Failure::Usage(match error.kind() {
        ErrorKind::InvalidSubcommand => no_command(&told(ContextKind::InvalidSubcommand), &place, program),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            missing_command(&place)
        }
        ErrorKind::UnknownArgument => unknown(&arg, &place),
        ErrorKind::MissingRequiredArgument => {
            format!("{} needs {}; {}", place.name, missing(error), place.see_help())
        }
        ErrorKind::ArgumentConflict => format!("{} is given twice", name_of(&arg)),
        ErrorKind::ValueValidation => {
            let why = error.source().map(|why| why.to_string()).unwrap_or_default();
            let value = told(ContextKind::InvalidValue);
            // Some reasons begin with the value.
            let value = if why.starts_with('\'') { String::new() } else { format!(" {value}") };
            format!("{}{value}: {why}", name_of(&arg))
        }
        ErrorKind::InvalidValue => match told(ContextKind::InvalidValue) {
            value if value.is_empty() => {
                format!("{} needs a value: {}", name_of(&arg), value_name(&arg))
            }
            value => one_of(&name_of(&arg), &value, error),
        },
        ErrorKind::TooManyValues => format!("{} takes no value", name_of(&arg)),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_string(),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_string(),
    })
}

fn first(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// `--batch` of `--batch <N>`, `FILE` of `<FILE>...`.
fn name_of(arg: &str) -> String {
    let name = arg.split([' ', '=']).next().unwrap_or(arg);
    name.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_string()
}

/// `N` of `--batch <N>`.
fn value_name(arg: &str) -> &str {
    arg.split_once(' ').map_or(arg, |(_, value)| value).trim_end_matches("...").trim_matches(['<', '>'])
}

/// `--max-bytes, --at or --by` of `<--max-bytes <SIZE>|--at <NODE>...|--by <WHAT>>`, a group of which one is given.
fn alternatives(arg: &str) -> String {
    let mut names: Vec<String> = arg.split('|').map(name_of).collect();
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} or {last}", names.join(", ")),
        None => String::new(),
    }
}

/// What of the required is not there.
fn missing(error: &Error) -> String {
    let names: Vec<String> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.iter().map(|name| alternatives(name)).collect(),
        other => other.map(|value| alternatives(&first(value))).into_iter().collect(),
    };
    let names =
        names.iter().map(|name| if name.starts_with('-') { name.clone() } else { format!("a {name}") });
    names.collect::<Vec<_>>().join(" and ")
}

fn no_command(typed: &str, place: &Place<'_>, program: &Command) -> String {
    let (space, group) = if place.name.is_empty() { ("", "") } else { (" ", place.name.as_str()) };
    let head = format!("there is no command '{group}{space}{typed}'");
    if let Some(name) = did_you_mean(typed, &place.commands()) {
        return format!("{head}; did you mean {group}{space}{name}?");
    }
    // Who leaves a group out has its command right.
    let of_group = program.get_subcommands().flat_map(|group| {
        group.get_subcommands().map(|inner| (inner.get_name().to_string(), group.get_name().to_string()))
    });
    let of_groups: Vec<(String, String)> = of_group.collect();
    let names: Vec<String> = of_groups.iter().map(|(name, _)| name.clone()).collect();
    match did_you_mean(typed, &names).filter(|_| group.is_empty()) {
        Some(name) => {
            let group = of_groups.iter().find(|(inner, _)| *inner == name).map_or("", |(_, group)| group);
            format!("{head}; did you mean {group} {name}?")
        }
        None => format!("{head}; there are {}", place.commands().join(", ")),
    }
}

fn missing_command(place: &Place<'_>) -> String {
    match place.name.as_str() {
        "" => "no command; `tightfit --help` lists them".to_string(),
        group => {
            let commands = place.commands().into_iter().map(|name| format!("{group} {name}"));
            format!("{group} needs a command: {}", commands.collect::<Vec<_>>().join(", "))
        }
    }
}

fn unknown(arg: &str, place: &Place<'_>) -> String {
    if place.command.has_subcommands() {
        return format!("'{arg}' before a command; {}", place.see_help());
    }
    let name = name_of(arg);
    let advice = match did_you_mean(&name, &place.flags()).filter(|_| name.starts_with("--")) {
        Some(similar) => format!("did you mean {similar}?"),
        None => place.see_help(),
    };
    format!("{} does not take '{name}'; {advice}", place.name)
}

fn one_of(flag: &str, value: &str, error: &Error) -> String {
    let known = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(names)) => names.clone(),
        _ => Vec::new(),
    };
    match did_you_mean(value, &known) {
        Some(name) => format!("{flag} {value}: did you mean {name}?"),
        None => format!("{flag} {value}: give one of {}", known.join(", ")),
    }
}
