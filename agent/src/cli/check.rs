//! `hopsight check`: what this machine has and lacks for hopsight.

use std::process::ExitCode;

use super::paint::ColorChoice;

/// Arguments of `hopsight check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line per requirement.
    Table,
    /// A JSON list.
    Json,
}
