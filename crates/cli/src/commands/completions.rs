//! `completions`: what a shell needs to complete commands and flags.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::args::description;
use crate::failure::Failure;
use crate::table::print_by;

const EXAMPLES: &str = "\
Examples:
  source <(tightfit completions bash)
  tightfit completions zsh > ~/.zfunc/_tightfit
  tightfit completions fish > ~/.config/fish/completions/tightfit.fish";

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit completions SHELL")]
pub struct Flags {
    /// The shell: bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", value_parser = shell)]
    shell: Shell,
}

fn shell(text: &str) -> Result<Shell, String> {
    let names = || {
        Shell::value_variants()
            .iter()
            .filter_map(|shell| Some(shell.to_possible_value()?.get_name().to_string()))
    };
    Shell::from_str(text, true).map_err(|_| {
        let names: Vec<String> = names().collect();
        match tightfit::closest(text, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("give one of {}", names.join(", ")),
        }
    })
}

/// # Errors
/// What the system says of the standard output.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut description(), "tightfit", &mut script);
    print_by(|out| out.write_all(&script))
}
