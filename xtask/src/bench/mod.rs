//! `cargo xtask bench`: measurements as ratios of interleaved runs on one machine.

pub mod instructions;
mod lint;
mod replay;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    cargo::{built, cargo},
    command, wheel,
};

/// What to measure. Each result is also written to `target/bench/NAME.json`.
#[derive(Debug, clap::Subcommand)]
pub enum Bench {
    /// Requests per second, latency and processor time of nginx, with and without hopsight and others
    Overhead(Passed),
    /// Run time of each kernel program on watched and unwatched sockets
    Kernel(Passed),
    /// Time from the deciding byte to the metric, and lost events, up to the highest handshake rate
    Latency(Passed),
    /// Memory and processor time of an agent that has nothing to do
    Idle(Passed),
    /// A million connections, 20,000 handshakes per second, 10,000 hops, fed from memory
    Scale(Passed),
    /// Handshakes per second of replay, beside tshark and Suricata where they are installed
    Replay(replay::Args),
    /// Run time of `hopsight lint` on a configuration with many upstreams, for every reader
    Lint(lint::Args),
    /// Processor time of nginx, Caddy and Envoy per upstream handshake with and without hopsight,
    /// and with its probes inside their TLS libraries (root, minutes, a quiet machine)
    Probes {
        /// Interleaved rounds of all three
        #[arg(long, default_value_t = 40)]
        rounds: usize,
        /// Handshakes per round
        #[arg(long, default_value_t = 60)]
        handshakes: usize,
    },
    /// How long a change of configuration goes unseen while nginx is under load
    Drift {
        /// Runs, two changes each
        #[arg(long, default_value_t = 5)]
        runs: u32,
        /// Connections that send requests at the same time
        #[arg(long, default_value_t = 64)]
        connections: u32,
    },
    /// What a real Prometheus needs for many made-up agents, by series, memory and time
    Fleet {
        /// Hops of each agent
        #[arg(long, default_value_t = 20)]
        hops: usize,
        /// Sizes of the fleet, one after the other
        #[arg(long, value_delimiter = ',', default_value = "250,500,1000")]
        agents: Vec<usize>,
        /// Nodes on which one Deployment violates policy: that has to be one alert, with their number
        #[arg(long, default_value_t = 0)]
        bad: usize,
        /// Minutes before the alerts are looked at; the slowest of those that would be wrong takes 20
        #[arg(long, default_value_t = 0)]
        minutes: u64,
    },
    /// Instructions of the core's hot paths, compared with the bounds in xtask/tools/benches
    Instructions(instructions::Args),
}

/// Arguments for the program that measures; `-- --help` lists them.
#[derive(Debug, clap::Args)]
pub struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs a benchmark.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Overhead(passed) => live("overhead", passed),
        Bench::Kernel(passed) => live("kernel", passed),
        Bench::Latency(passed) => live("latency", passed),
        Bench::Idle(passed) => live("idle", passed),
        Bench::Scale(passed) => scale(passed),
        Bench::Replay(args) => replay::run(args),
        Bench::Lint(args) => lint::run(args),
        Bench::Probes { rounds, handshakes } => probes(*rounds, *handshakes),
        Bench::Drift { runs, connections } => drift(*runs, *connections),
        Bench::Fleet { hops, agents, bad, minutes } => fleet(*hops, *bad, *minutes, agents),
        Bench::Instructions(args) => instructions::run(args),
    }
}

/// Hands over to the program of the test package, which drives real proxies.
fn live(name: &str, Passed { args }: &Passed) -> anyhow::Result<()> {
    let release = build_release(&["--bins"])?;
    let driver = ["build", "-q", "-p", "hopsight-tests", "--bin", "hopsight-bench"];
    command::run(&mut cargo(&driver))?;
    let mut driver = Command::new(built("hopsight-bench")?);
    driver.env("HOPSIGHT_BIN", release.join("hopsight"));
    driver.arg(name).arg("--json").arg(result_file(name)?).args(args);
    Err(command::replace(&mut driver))
}

/// The live tests have nginx, its certificates and the probes at hand.
fn probes(rounds: usize, handshakes: usize) -> anyhow::Result<()> {
    let test = ["test", "-q", "--release", "-p", "hopsight-tests", "--test", "library"];
    let mut command = cargo(&test);
    command.args(["--", "--ignored", "--nocapture", "--test-threads=1", "cost::"]);
    wheel::announce(&mut command);
    command.env("HOPSIGHT_ROUNDS", rounds.to_string());
    command.env("HOPSIGHT_HANDSHAKES", handshakes.to_string());
    command::run(&mut command)
}

/// Becomes the measurement of the test package, in release.
fn drift(runs: u32, connections: u32) -> anyhow::Result<()> {
    let release = build_release(&["-p", "hopsight-tests", "--bins"])?;
    let mut drift = Command::new(release.join("hopsight-drift"));
    drift.args([runs.to_string(), connections.to_string()]);
    Err(command::replace(drift.env("HOPSIGHT_BIN", release.join("hopsight"))))
}

/// Becomes the measurement of the test package, in release: what Prometheus scrapes must leave it
/// the processor.
fn fleet(hops: usize, bad: usize, minutes: u64, agents: &[usize]) -> anyhow::Result<()> {
    let release = build_release(&["-p", "hopsight-tests", "-p", "hopsight-tools", "--bins"])?;
    let mut measure = Command::new(release.join("hopsight-fleet"));
    measure.env("HOPSIGHT_BIN", release.join("hopsight"));
    measure.args([hops.to_string(), bad.to_string(), minutes.to_string()]);
    measure.args(agents.iter().map(ToString::to_string));
    Err(command::replace(&mut measure))
}

fn scale(Passed { args }: &Passed) -> anyhow::Result<()> {
    let release = build_release(&["-p", "hopsight-tools", "--bin", "scale"])?;
    let mut scale = Command::new(release.join("scale"));
    scale.args(args).arg("--json").arg(result_file("scale")?);
    Err(command::replace(&mut scale))
}

/// Builds targets of the agent's package; returns the folder that holds them.
pub fn build_release(targets: &[&str]) -> anyhow::Result<PathBuf> {
    let build = ["build", "-q", "--release", "-p", "hopsight"];
    command::run(&mut cargo(&[&build, targets].concat()))?;
    Ok(target()?.join("release"))
}

/// The folder in which everything is built.
pub fn target() -> anyhow::Result<PathBuf> {
    let own = built("hopsight")?;
    let target = own.parent().and_then(Path::parent).context("find the target folder")?;
    Ok(target.to_owned())
}

/// Where the result of this name is written.
fn result_file(name: &str) -> anyhow::Result<PathBuf> {
    let folder = target()?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder.join(format!("{name}.json")))
}

/// A fresh folder that other users cannot write to.
fn tempdir() -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("hopsight-bench-{}", std::process::id()));
    fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}
