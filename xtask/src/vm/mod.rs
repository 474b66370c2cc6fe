//! `cargo xtask vm`: the live tests on Debian's own kernels, under software emulation.
//!
//! Each row boots one kernel with an initramfs that holds this build's test binaries, the agent and
//! nginx with the libraries they are linked with, runs the tests there and powers off.

mod arch;
mod boot;
mod initramfs;
mod kernel;
mod results;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    cache,
    cargo::{built, cargo},
    command::{output, output_of},
};
use arch::Arch;
use kernel::Kernel;
use results::Results;

/// How long a row may take. Software emulation is some twenty times slower.
const LIMIT: Duration = Duration::from_mins(15);

/// Which kernels, and how they are restricted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rows to run, by name; all that need no cross compiler if none is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    rows: Vec<String>,
    /// Fetch the newest kernels instead of using those in the cache
    #[arg(long)]
    refresh: bool,
    /// Run only the tests that continuous integration runs there
    #[arg(long)]
    fewer: bool,
    /// How long a row may take
    #[arg(long, default_value_t = LIMIT.as_secs() / 60)]
    minutes: u64,
}

/// A way to boot.
#[derive(Debug)]
pub struct Row {
    name: &'static str,
    arch: Arch,
    /// Debian release whose newest kernel is taken.
    suite: &'static str,
    /// Kernel parameters.
    parameters: &'static str,
    /// Whether `/sys/kernel/btf` is hidden, as on kernels built without it.
    without_btf: bool,
}

impl Row {
    const fn plain(name: &'static str, suite: &'static str) -> Self {
        Self { name, arch: Arch::X86_64, suite, parameters: "", without_btf: false }
    }

    const fn locked_down(name: &'static str, suite: &'static str) -> Self {
        Self { parameters: "lockdown=confidentiality", ..Self::plain(name, suite) }
    }

    const fn on_aarch64(name: &'static str, suite: &'static str) -> Self {
        Self { arch: Arch::Aarch64, ..Self::plain(name, suite) }
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
    Row::on_aarch64("6.1-arm64", "bookworm"),
];

/// What continuous integration boots: both ends of the range.
const ENDS: [&str; 2] = ["5.10", "newest"];

/// Tests that run inside, by binary of the package `hopsight-tests`: all, or those named.
type Tests = &'static [(&'static str, &'static [&'static str])];

const TESTS: Tests = &[
    ("kernel_live", &[]),
    (
        "live",
        &[
            "hops::over_ipv6",
            "hops::over_ipv6_sockets_to_ipv4",
            "lifecycle::nothing_stays_in_the_kernel",
            CLOCK,
        ],
    ),
    ("library", LIBRARY),
];

/// What is worth the minutes in continuous integration: everything that differs between kernels,
/// and the test that no other place can run.
const FEWER_TESTS: Tests =
    &[("kernel_live", &[]), ("live", &["hops::over_ipv6", CLOCK]), ("library", LIBRARY)];

const CLOCK: &str = "clock::a_set_clock_changes_nothing";
const LIBRARY: &[&str] = &[
    "sequences::tls12_handshakes_of_nginx",
    "sequences::tls13_handshakes_of_nginx",
    "inside::caddy",
];

/// Boots the rows that were asked for and prints test × kernel.
///
/// # Errors
/// When a kernel cannot be fetched or booted, or a test fails on one.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = |row: &&Row| match args.rows.as_slice() {
        [] => row.arch.cross_target().is_none(),
        names => names.iter().any(|name| name == row.name),
    };
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    let tests = if args.fewer { FEWER_TESTS } else { TESTS };
    let mut machines = Machines::new(tests, Duration::from_mins(args.minutes))?;
    for row in &rows {
        let kernel = kernel::fetch(row.suite, row.arch, &machines.cache, args.refresh)?;
        machines.boot(row, &kernel)?;
    }
    machines.finish()
}

/// Boots both ends of the range with fewer tests. What this machine cannot fetch or emulate is left
/// out, visibly.
///
/// # Errors
/// When a test fails.
pub fn run_ends() -> anyhow::Result<()> {
    let mut machines = Machines::new(FEWER_TESTS, LIMIT)?;
    for row in ROWS.iter().filter(|row| ENDS.contains(&row.name)) {
        let qemu = row.arch.qemu();
        if output(qemu, &["--version"]).is_none() {
            println!("NOT RUN: Linux {}: {qemu} does not run here", row.name);
            continue;
        }
        match kernel::fetch(row.suite, row.arch, &machines.cache, false) {
            Ok(kernel) => machines.boot(row, &kernel)?,
            Err(error) => println!("NOT RUN: Linux {}: {error:#}", row.name),
        }
    }
    machines.finish()
}

/// The images that boot, and what came of it.
struct Machines {
    cache: PathBuf,
    tests: Tests,
    limit: Duration,
    /// One build and one image for all rows of an instruction set.
    images: BTreeMap<Arch, initramfs::Image>,
    columns: Vec<(&'static str, Results)>,
}

impl Machines {
    fn new(tests: Tests, limit: Duration) -> anyhow::Result<Self> {
        let cache = cache::directory()?.join("kernels");
        Ok(Self { cache, tests, limit, images: BTreeMap::new(), columns: Vec::new() })
    }

    fn boot(&mut self, row: &'static Row, kernel: &Kernel) -> anyhow::Result<()> {
        let image = match self.images.entry(row.arch) {
            Entry::Occupied(image) => image.into_mut(),
            Entry::Vacant(place) => {
                row.arch.set_up()?;
                let image = initramfs::Image::of(row.arch, &build(row.arch)?, &self.cache)?;
                place.insert(image)
            }
        };
        let initrd = image.pack(kernel, row, self.tests)?;
        let start = Instant::now();
        println!("== {}: Linux {}", row.name, kernel.release);
        let log = self.cache.join(format!("{}.log", row.name));
        // The rows after one that hangs still run; its results end where its console does.
        let console = boot::boot(kernel, &initrd, row, &log, self.limit).or_else(|error| {
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
        self.columns.push((row.name, results));
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        if !self.columns.is_empty() {
            results::print_table(&self.columns);
        }
        let bad: Vec<&str> = self
            .columns
            .iter()
            .filter(|(_, results)| !results.complete || results.count("FAILED") > 0)
            .map(|(name, _)| *name)
            .collect();
        anyhow::ensure!(bad.is_empty(), "not everything passed on {}", bad.join(", "));
        Ok(())
    }
}

/// What goes into the image.
pub struct Binaries {
    agent: PathBuf,
    /// By name of the test.
    tests: Vec<(&'static str, PathBuf)>,
}

/// Builds the agent and the tests: for this machine as `cargo test` does, so that nothing is built
/// twice, for others in a directory of their own.
fn build(arch: Arch) -> anyhow::Result<Binaries> {
    let options: &[&str] = match arch.cross_target() {
        None => &[],
        Some(target) => &["--target", target, "--target-dir", CROSS_DIR],
    };
    let cargo = |args: &[&str]| {
        let mut cargo = cargo(&[args, options].concat());
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        cargo
    };
    let agent = match arch.cross_target() {
        None => built("hopsight-agent")?,
        Some(target) => [CROSS_DIR, target, "debug", "hopsight-agent"].iter().collect(),
    };
    // The tests' package brings the agent along, with the same features of its dependencies:
    // `cargo build` would build many of them again.
    let mut args = vec!["test", "--no-run", "-p", "hopsight-tests"];
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
    Ok(Binaries { agent, tests: tests? })
}

/// Where what runs on other instruction sets is built.
const CROSS_DIR: &str = "target/cross";
