//! The agent as the tests and the demo run it: cargo builds the programs of a package with its
//! tests, so this one is never older than they are.

use std::process::ExitCode;

fn main() -> ExitCode {
    hopsight::cli::main()
}
