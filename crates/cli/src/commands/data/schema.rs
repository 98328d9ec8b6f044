//! `data schema`: what a pipeline's JSON may say, for editors and programs that write it.

use clap::Args;
use tightfit::pipeline::json_schema;

use crate::args::QuietFlag;
use crate::failure::Failure;
use crate::table::print;

const EXAMPLES: &str = "\
Examples:
  tightfit data schema > pipeline.schema.json";

/// Print the JSON Schema of pipelines, for editors that complete and check them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit data schema")]
pub struct Flags {
    #[command(flatten)]
    quiet: QuietFlag,
}

/// # Errors
/// What the system says of the standard output.
pub fn run(_: &Flags) -> Result<(), Failure> {
    print(&format!("{:#}\n", json_schema()?))
}
