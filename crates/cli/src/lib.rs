//! The command line: the only place that prints, exits or reads the environment.
//!
//! A library, so that the Python package has it as well; the binary calls [`main`].

mod args;
mod commands;
mod failure;
mod html;
mod layers;
mod progress;
mod report;
mod rows;
mod show;
mod stdio;
mod style;
mod system;
mod table;

/// What commands tell programs, for those that call what the commands call.
pub mod told {
    pub use crate::commands::{compare_json, prune_json, quantize_json};
    pub use crate::layers::write as write_report;
}

use std::ffi::OsString;
use std::process::ExitCode;

use failure::Failure;
use system::Start;

/// Does what the command line of this process says, which is TightFit's own. To be called first, before there are threads.
pub fn main() -> ExitCode {
    let start = Start::now();
    system::prepare();
    ExitCode::from(call(std::env::args_os, &start))
}

/// Does what `args` say, the name of the program first, in the process of another program that has nothing else to do; the
/// exit code. `--memory` bounds what the process takes from [`tightfit::process::join`] on, or all of it.
pub fn run_in_host(args: &[OsString]) -> u8 {
    let start = Start::now();
    system::prepare_guest();
    call(|| args.iter().cloned(), &start)
}

fn call<A: Iterator<Item = OsString>>(args: impl Fn() -> A, start: &Start) -> u8 {
    let done = || {
        let Some(call) = args::parse(args())? else { return Ok(()) };
        // What has read the command line is not needed any more.
        tightfit::process::end_phase();
        call.command.run(&call.given, start)
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(done));
    match outcome.unwrap_or(Err(Failure::Defect)) {
        Ok(()) => 0,
        Err(failure) => {
            // Nor is what has failed.
            tightfit::process::end_phase();
            failure.report(args::wants_json(args()))
        }
    }
}
