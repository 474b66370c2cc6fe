//! `cargo xtask`: set-up, demo and test, each complete in itself.

mod apt;
mod bench;
mod bpf;
mod cache;
mod cargo;
mod chart;
mod cluster;
mod command;
mod cosign;
mod demo;
mod finding;
mod fuzz;
mod groups;
mod lint;
mod ordinary;
mod package;
mod peers;
mod setup;
mod stacks;
mod suite;
mod test;
mod truth;
mod vm;
mod wheel;

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
    /// Start real proxies and upstreams and show what hopsight says about every hop
    Demo(demo::Args),
    /// Run every test, the live ones included
    Test(test::Args),
    /// Run the live tests on Debian's kernels in virtual machines; print test × kernel
    Vm(vm::Args),
    /// Run the live matrix with more releases of Go, Caddy and Envoy
    Stacks(stacks::Args),
    /// Compare what is said of key exchange and signatures with the servers' logs, with every client
    Groups,
    /// Run proxies in ordinary use beside an agent and compare with their upstreams' logs
    Ordinary(ordinary::Args),
    /// Score readers of captures on connections whose truth is known
    Truth(truth::Args),
    /// Look for TLS libraries in big programs, and say what is found and what that cost
    Finding,
    /// Fuzz the parsers and the pipeline with cargo-fuzz
    Fuzz(fuzz::Args),
    /// Check format and lints, of the kernel programs too
    Lint,
    /// Write METRICS.md from the code
    Metrics,
    /// Write the Grafana dashboards from the code
    Dashboards,
    /// Write the golden files from what the code does now; review the difference
    Bless,
    /// Measure against other programs, in interleaved runs
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Make what users of hopsight get, in target/package
    Package(package::Args),
    /// Run a real Kubernetes node, built if needed, and show how hopsight names nginx in a pod
    Cluster(cluster::Args),
    /// Judge the record-length classifier on a file of recorded flights
    EvalFlights {
        /// JSON lines, one connection each
        file: std::path::PathBuf,
    },
    /// Compare with tshark which packets and connections of foreign captures are read
    Completeness {
        /// Folder of captures
        folder: std::path::PathBuf,
    },
    /// What cargo runs in place of a test executable, to learn of it
    #[command(name = test::executables::HAND_OVER, hide = true)]
    HandOverTest(test::executables::HandOver),
}

fn main() -> anyhow::Result<()> {
    let task = Cli::parse().task;
    let here = std::env::current_dir().context("find the working directory")?;
    command::enter_workspace()?;
    match task {
        Task::Setup(args) => setup::run(args),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Stacks(args) => stacks::run(&args),
        Task::Groups => groups::run(),
        Task::Ordinary(args) => ordinary::run_task(&args),
        Task::Truth(args) => truth::run(&args),
        Task::Finding => finding::run(),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Lint => lint::run(),
        Task::Metrics => test::write_metrics_page(),
        Task::Dashboards => test::write_dashboards(),
        Task::Bless => test::bless(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Package(args) => package::run_task(&args),
        Task::Cluster(args) => cluster::run(&args),
        Task::EvalFlights { file } => test::eval_flights(&here.join(file)),
        Task::HandOverTest(args) => test::executables::hand_over(&args, &here),
        Task::Completeness { folder } => test::completeness(&here.join(folder)),
    }
}
