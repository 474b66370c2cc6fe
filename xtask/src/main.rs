//! `cargo xtask`: set-up, demo and test, each complete in itself.

mod apt;
mod bench;
mod bpf;
mod chart;
mod command;
mod demo;
mod envoy;
mod lint;
mod package;
mod setup;
mod test;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Set-up, demo and test of hopsight.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing to build, test and demonstrate hopsight (Debian or Ubuntu, as root)
    Setup(setup::Args),
    /// Start real proxies and upstreams and show what hopsight says of every hop
    Demo(demo::Args),
    /// Run every test, the live ones included
    Test,
    /// Check format and lints, of the kernel programs too
    Lint,
    /// Write METRICS.md anew from the code
    Metrics,
    /// Write golden files anew from what the code does now; review the difference
    Bless,
    /// Measure, beside other programs, in interleaved runs
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Make what is handed to those who run hopsight, in target/package
    Package(package::Args),
    /// Judge the record-length classifier on a file of recorded flights
    EvalFlights {
        /// JSON lines, one connection each
        file: std::path::PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let task = Cli::parse().task;
    let here = std::env::current_dir().context("find the working directory")?;
    command::enter_workspace()?;
    match task {
        Task::Setup(args) => setup::run(args),
        Task::Demo(args) => demo::run(&args),
        Task::Test => test::run(),
        Task::Lint => lint::run(),
        Task::Metrics => test::write_metrics_page(),
        Task::Bless => test::bless(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Package(args) => package::run_task(&args),
        Task::EvalFlights { file } => test::eval_flights(&here.join(file)),
    }
}
