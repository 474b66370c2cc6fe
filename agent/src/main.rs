//! The `hopsight` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    hopsight::cli::main()
}
