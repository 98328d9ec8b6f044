//! `data`: pipelines, one file per command.

pub mod bench;
pub mod head;
pub mod schema;

use clap::Subcommand;

use crate::failure::Failure;

/// Show what comes out of a data pipeline, and which stage holds it up
#[derive(Debug, Subcommand)]
#[command(override_usage = "tightfit data COMMAND [OPTIONS]", subcommand_help_heading = "Commands")]
pub enum Command {
    Head(head::Flags),
    Bench(bench::Flags),
    Schema(schema::Flags),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Head(flags) => head::run(&flags),
            Command::Bench(flags) => bench::run(&flags),
            Command::Schema(flags) => schema::run(&flags),
        }
    }
}
