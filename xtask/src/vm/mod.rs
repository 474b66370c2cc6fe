//! `cargo xtask vm`: the live tests on Debian's own kernels, under software emulation.
//!
//! Each row boots one kernel with an initramfs that holds this build's test binaries, the agent and
//! nginx with the libraries they are linked with, runs the tests there and powers off.

mod arch;
mod boot;
mod initramfs;
mod kernel;
mod results;

pub use arch::Arch;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    cache,
    cargo::{built, cargo},
    command::{output, output_of},
};
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
    /// Only fetch the kernels that are not in the cache, and tell which cannot be had
    #[arg(long)]
    fetch: bool,
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
const ENDS: [&str; AT_ONCE] = ["5.10", "newest"];

/// Rows that boot at once: the tests in each run one after the other, on one processor.
const AT_ONCE: usize = 2;

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

/// What is worth the minutes in continuous integration: what differs between kernels, and the test
/// that no other place can run. (Most of a test's time is that of the verifier, which takes some
/// eight seconds under emulation for the programs that see packets.)
const FEWER_TESTS: Tests = &[
    (
        "kernel_live",
        &[
            "budgets::every_segment_says_what_its_sender_had_received",
            "budgets::what_a_full_ring_loses_is_counted_exactly",
            "budgets::who_reset_a_connection_is_told",
            "delivery::a_conversation_is_seen_whole_over_every_address_family",
            "delivery::a_refused_connect_is_a_failed_one",
            "lifecycle::a_cgroup_limits_the_scope",
            "lifecycle::traffic_goes_on_when_the_source_goes",
            "names::a_process_that_runs_another_program_is_not_watched_any_more",
            "namespaces::both_ends_of_a_veth_pair_are_seen",
            "namespaces::data_in_the_syn_is_the_beginning",
            "older_connections::older_connections_are_taken_in_where_they_are",
            "preflight::this_machine_passes",
        ],
    ),
    ("live", &["hops::over_ipv6", CLOCK]),
    ("library", LIBRARY),
];

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
    if args.fetch {
        let cache = kernels()?;
        for row in rows {
            if let Err(error) = kernel::fetch(row.suite, row.arch, &cache, args.refresh) {
                println!("not fetched: Linux {}: {error:#}", row.name);
            }
        }
        return Ok(());
    }
    let tests = if args.fewer { FEWER_TESTS } else { TESTS };
    let mut machines = Machines::new(tests, Duration::from_mins(args.minutes))?;
    for together in rows.chunks(AT_ONCE) {
        let mut prepared = Vec::new();
        for row in together {
            let kernel = kernel::fetch(row.suite, row.arch, &machines.cache, args.refresh)?;
            prepared.push(machines.prepare(row, kernel)?);
        }
        machines.boot(&prepared)?;
    }
    machines.finish()
}

/// Boots both ends of the range at once, with fewer tests. What this machine cannot fetch or emulate
/// is left out, visibly.
///
/// # Errors
/// When a test fails.
pub fn run_ends() -> anyhow::Result<()> {
    let mut machines = Machines::new(FEWER_TESTS, LIMIT)?;
    let mut both = Vec::new();
    for row in ROWS.iter().filter(|row| ENDS.contains(&row.name)) {
        let qemu = row.arch.qemu();
        if output(qemu, &["--version"]).is_none() {
            println!("NOT RUN: Linux {}: {qemu} does not run here", row.name);
            continue;
        }
        match kernel::fetch(row.suite, row.arch, &machines.cache, false) {
            Ok(kernel) => both.push(machines.prepare(row, kernel)?),
            Err(error) => println!("NOT RUN: Linux {}: {error:#}", row.name),
        }
    }
    machines.boot(&both)?;
    machines.finish()
}

/// The arguments that fetch what [`run_ends`] boots, for something else to go on meanwhile.
pub fn fetch_ends() -> Vec<&'static str> {
    [&["vm", "--fetch"][..], &ENDS].concat()
}

/// Where kernels are kept.
fn kernels() -> anyhow::Result<PathBuf> {
    Ok(cache::directory()?.join("kernels"))
}

/// A row that is ready to boot.
struct Prepared {
    row: &'static Row,
    kernel: Kernel,
    initrd: PathBuf,
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
        Ok(Self { cache: kernels()?, tests, limit, images: BTreeMap::new(), columns: Vec::new() })
    }

    fn prepare(&mut self, row: &'static Row, kernel: Kernel) -> anyhow::Result<Prepared> {
        let image = match self.images.entry(row.arch) {
            Entry::Occupied(image) => image.into_mut(),
            Entry::Vacant(place) => {
                row.arch.set_up()?;
                let image = initramfs::Image::of(row.arch, &build(row.arch)?, &self.cache)?;
                place.insert(image)
            }
        };
        let initrd = image.pack(&kernel, row, self.tests)?;
        Ok(Prepared { row, kernel, initrd })
    }

    /// Boots these rows at once.
    fn boot(&mut self, rows: &[Prepared]) -> anyhow::Result<()> {
        let this = &*self;
        let results: Vec<anyhow::Result<Results>> = thread::scope(|scope| {
            let boots: Vec<_> = rows.iter().map(|row| scope.spawn(|| this.results(row))).collect();
            let join = |boot: thread::ScopedJoinHandle<'_, _>| {
                boot.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            boots.into_iter().map(join).collect()
        });
        for (prepared, results) in rows.iter().zip(results) {
            self.columns.push((prepared.row.name, results?));
        }
        Ok(())
    }

    fn results(&self, Prepared { row, kernel, initrd }: &Prepared) -> anyhow::Result<Results> {
        let start = Instant::now();
        println!("== {}: Linux {}", row.name, kernel.release);
        let log = self.cache.join(format!("{}.log", row.name));
        // The rows after one that hangs still run; its results end where its console does.
        let console = boot::boot(kernel, initrd, row, &log, self.limit).or_else(|error| {
            println!("   {}: {error:#}", row.name);
            fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))
        })?;
        let results = results::parse(&console);
        for line in &results.checks {
            println!("   {line}");
        }
        println!(
            "   {}: {} passed, {} failed, {} skipped in {:.0} s; console in {}",
            row.name,
            results.count("ok"),
            results.count("FAILED"),
            results.count("skipped"),
            start.elapsed().as_secs_f64(),
            log.display()
        );
        Ok(results)
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
    // No package is named: with the features of one, many dependencies would be built again.
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
    Ok(Binaries { agent, tests: tests? })
}

/// Where what runs on other instruction sets is built.
const CROSS_DIR: &str = "target/cross";
