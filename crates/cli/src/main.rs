//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tightfit_cli::main()
}
