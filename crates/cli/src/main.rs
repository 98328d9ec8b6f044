//! The command line: the only place that prints, exits or reads the environment.

mod args;
mod commands;
mod failure;
mod html;
mod progress;
mod report;
mod system;
mod table;

use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    let start = system::Start::now();
    system::prepare();
    let outcome =
        std::panic::catch_unwind(|| args::parse().and_then(|call| (call.command.run)(&call.args, &start)));
    match outcome.unwrap_or(Err(Failure::Defect)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
