//! `cargo xtask vm`: the live tests on Debian's own kernels, under software emulation.
//!
//! Each row boots one kernel with an initramfs that holds this build's test binaries, the agent and
//! nginx with the libraries they are linked with, runs the tests there and powers off.

mod boot;
mod initramfs;
mod kernel;
mod results;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    cache,
    command::{built, cargo, output_of},
};
use results::Results;

/// How long a row may take. Software emulation is some twenty times slower.
const LIMIT: Duration = Duration::from_mins(15);

/// Which kernels, and how they are held down.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rows to run, by name; all of them if none is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    rows: Vec<String>,
    /// Fetch the newest kernels instead of using those in the cache
    #[arg(long)]
    refresh: bool,
    /// How long a row may take
    #[arg(long, default_value_t = LIMIT.as_secs() / 60)]
    minutes: u64,
}

/// A way to boot.
#[derive(Debug)]
pub struct Row {
    name: &'static str,
    /// Debian release whose newest kernel is taken.
    suite: &'static str,
    /// Kernel parameters.
    parameters: &'static str,
    /// Whether `/sys/kernel/btf` is hidden, as on kernels built without it.
    without_btf: bool,
}

impl Row {
    const fn plain(name: &'static str, suite: &'static str) -> Self {
        Self { name, suite, parameters: "", without_btf: false }
    }

    const fn locked_down(name: &'static str, suite: &'static str) -> Self {
        Self { parameters: "lockdown=confidentiality", ..Self::plain(name, suite) }
    }

    const fn without_btf(name: &'static str, suite: &'static str) -> Self {
        Self { without_btf: true, ..Self::plain(name, suite) }
    }
}

const ROWS: &[Row] = &[
    Row::plain("5.10", "bullseye"),
    Row::plain("6.1", "bookworm"),
    Row::plain("6.12", "trixie"),
    Row::plain("newest", "sid"),
    Row::locked_down("5.10-lockdown", "bullseye"),
    Row::locked_down("newest-lockdown", "sid"),
    Row::without_btf("5.10-no-btf", "bullseye"),
    Row::without_btf("newest-no-btf", "sid"),
];

/// What continuous integration boots: both ends of the range.
pub const ENDS: [&str; 2] = ["5.10", "newest"];

/// Tests that run inside, by binary of the package `hopsight-tests`: all, or those named.
pub const TESTS: &[(&str, &[&str])] = &[
    ("kernel_live", &[]),
    (
        "live",
        &[
            "hops::over_ipv6",
            "hops::over_ipv6_sockets_to_ipv4",
            "lifecycle::nothing_stays_in_the_kernel",
            "clock::a_set_clock_changes_nothing",
        ],
    ),
    ("library", &["sequences::tls12_handshakes_of_nginx", "sequences::tls13_handshakes_of_nginx"]),
];

/// Boots the rows that were asked for and prints test × kernel.
///
/// # Errors
/// When a kernel cannot be fetched or booted, or a test fails on one.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = |row: &&Row| args.rows.is_empty() || args.rows.iter().any(|name| name == row.name);
    boot_rows(ROWS.iter().filter(wanted), args.refresh, Duration::from_mins(args.minutes))
}

/// Boots the rows of these names.
///
/// # Errors
/// As [`run`].
pub fn run_named(names: &[&str]) -> anyhow::Result<()> {
    boot_rows(ROWS.iter().filter(|row| names.contains(&row.name)), false, LIMIT)
}

fn boot_rows<'r>(
    rows: impl Iterator<Item = &'r Row>,
    refresh: bool,
    limit: Duration,
) -> anyhow::Result<()> {
    let cache = cache::directory()?.join("kernels");
    let binaries = build()?;
    let image = initramfs::Image::of(&binaries)?;
    let mut kernels = BTreeMap::new();
    let mut columns: Vec<(&str, Results)> = Vec::new();
    for row in rows {
        if !kernels.contains_key(row.suite) {
            kernels.insert(row.suite, kernel::fetch(row.suite, &cache, refresh)?);
        }
        let kernel = &kernels[row.suite];
        let initrd = image.pack(kernel, row)?;
        let start = Instant::now();
        println!("== {}: Linux {}", row.name, kernel.release);
        let log = cache.join(format!("{}.log", row.name));
        // The rows behind one that hangs still run; its results end where its console does.
        let console =
            boot::boot(kernel, &initrd, row.parameters, &log, limit).or_else(|error| {
                println!("   {error:#}");
                fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))
            })?;
        let results = results::parse(&console);
        for line in &results.checks {
            println!("   {line}");
        }
        println!(
            "   {} passed, {} failed, {} skipped in {:.0} s; console in {}",
            results.count("ok"),
            results.count("FAILED"),
            results.count("skipped"),
            start.elapsed().as_secs_f64(),
            log.display()
        );
        columns.push((row.name, results));
    }
    results::print_table(&columns);
    let bad: Vec<&str> = columns
        .iter()
        .filter(|(_, results)| !results.complete || results.count("FAILED") > 0)
        .map(|(name, _)| *name)
        .collect();
    anyhow::ensure!(bad.is_empty(), "not everything passed on {}", bad.join(", "));
    Ok(())
}

/// What goes into the image.
pub struct Binaries {
    agent: PathBuf,
    /// By name of the test.
    tests: Vec<(&'static str, PathBuf)>,
}

/// Builds the agent and the tests, as `cargo test` does, so that nothing is built twice.
fn build() -> anyhow::Result<Binaries> {
    crate::command::run(&mut cargo(&["build"]))?;
    let mut args = vec!["test", "--no-run"];
    for (name, _) in TESTS {
        args.extend(["--test", name]);
    }
    let said = output_of(&mut cargo(&args))?;
    // "  Executable tests/kernel_live/main.rs (target/debug/deps/kernel_live-1234)"
    let executable = |name: &str| {
        let line = said.lines().find(|line| {
            line.trim_start().starts_with("Executable") && line.contains(&format!("/{name}-"))
        });
        let path = line.and_then(|line| line.rsplit_once('(')?.1.strip_suffix(')'));
        path.map(|path| Path::new(path).to_owned())
            .with_context(|| format!("find the test {name} in what cargo said:\n{said}"))
    };
    let tests =
        TESTS.iter().map(|(name, _)| Ok((*name, executable(name)?))).collect::<anyhow::Result<_>>();
    Ok(Binaries { agent: built("hopsight")?, tests: tests? })
}
