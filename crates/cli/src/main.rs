//! The command line: the only place that prints, exits or reads the environment.

mod args;
mod commands;
mod failure;
mod html;
mod progress;
mod report;
mod rows;
mod show;
mod stdio;
mod style;
mod system;
mod table;

use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    let start = system::Start::now();
    system::prepare();
    let outcome = std::panic::catch_unwind(|| {
        let Some(call) = args::parse()? else { return Ok(()) };
        // What has read the command line is not needed any more.
        tightfit::process::end_phase();
        call.command.run(&call.given, &start)
    });
    match outcome.unwrap_or(Err(Failure::Defect)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(args::wants_json()),
    }
}
