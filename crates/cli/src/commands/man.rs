//! `man`: the manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use tightfit::Error;

use crate::args::{QuietFlag, description};
use crate::failure::Failure;
use crate::table::print_by;

const EXAMPLES: &str = "\
Examples:
  tightfit man run | man -l -
  tightfit man ~/.local/share/man/man1";

/// Print a command's manual page, or write all of them to a folder
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit man [COMMAND|DIR]")]
pub struct Flags {
    /// A command, as run or records verify, or an existing folder [default: the
    /// program's own page]
    #[arg(value_name = "COMMAND|DIR", num_args = 0..)]
    words: Vec<String>,
    #[command(flatten)]
    quiet: QuietFlag,
}

/// # Errors
/// [`Failure::Usage`] for a command that does not exist, and what the system says.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut program = description();
    program.build();
    if let [folder] = flags.words.as_slice()
        && program.find_subcommand(folder).is_none()
        && Path::new(folder).is_dir()
    {
        return write_all(&program, Path::new(folder));
    }
    let mut command = &program;
    for word in &flags.words {
        let Some(inner) = command.find_subcommand(word) else {
            let words = flags.words.join(" ");
            return Err(Failure::Usage(format!("man {words}: there is no such command or folder")));
        };
        command = inner;
    }
    let page = page(command).map_err(|error| Error::io("manual page", error))?;
    print_by(|out| out.write_all(&page))
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let name = command.get_bin_name().unwrap_or("tightfit").replace(' ', "-");
    let mut page = Vec::new();
    // It wants a name that lives as long as the program.
    let command = command.clone().name(&*String::leak(name)).version("");
    Man::new(command).render(&mut page)?;
    Ok(page)
}

/// Writes the page of the program and of each command.
fn write_all(program: &Command, folder: &Path) -> Result<(), Failure> {
    let mut commands = vec![program];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|inner| inner.get_name() != "help"));
        let name = command.get_bin_name().unwrap_or("tightfit").replace(' ', "-");
        let path: PathBuf = folder.join(format!("{name}.1"));
        let written = page(command).and_then(|page| tightfit::whole::write(&path, &page));
        written.map_err(|error| Error::io(&path, error))?;
    }
    Ok(())
}
