//! `completions`: what a shell needs to complete commands and flags.

use clap::Args;
use clap_complete::Shell;

use crate::args::{QuietFlag, description};
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
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    shell: Shell,
    #[command(flatten)]
    quiet: QuietFlag,
}

/// # Errors
/// What the system says of the standard output.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut description(), "tightfit", &mut script);
    print_by(|out| out.write_all(&script))
}
