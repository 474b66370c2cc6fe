//! `cargo xtask test`, and writing what it compares with.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    bench::instructions,
    cargo::{built, cargo},
    chart, command, vm, wheel,
};

/// Tests that compare with golden files write them instead when this is set.
const BLESS_VARIABLE: &str = "HOPSIGHT_BLESS";

/// Names the file in which tests note what they did not run (`tests/support`).
const LEDGER_VARIABLE: &str = "HOPSIGHT_NOT_RUN";

/// What to run beside the tests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also boot the oldest and the newest kernel of `cargo xtask vm` and run the live tests there
    #[arg(long)]
    kernels: bool,
}

/// Runs everything, one step after the other, and ends with a summary.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let ledger = Ledger::new()?;
    let mut steps = Steps::default();
    // Builds the programs that the tests run, too: with what the tests ask of dependencies, so that
    // nothing is built twice.
    if steps.run("cargo test --no-run", || command::run(tests().arg("--no-run"))) {
        steps.run("cargo test", || command::run(tests().env(LEDGER_VARIABLE, &ledger.path)));
        steps.run("cargo xtask bench instructions --debug", || {
            instructions::run(&instructions::Args::IN_TESTS)
        });
        if args.kernels {
            steps.run("cargo xtask vm", vm::run_ends);
        }
        for file in yaml_files(Path::new("dashboards"))? {
            let text = read(&file)?;
            let has = |key: &str| text.lines().any(|line| line.starts_with(key));
            if has("rule_files:") {
                steps.run_promtool("test", &file);
            } else if has("groups:") {
                steps.run_promtool("check", &file);
            }
        }
    }
    let result = steps.summary();
    ledger.print();
    result
}

/// What tests did not run, and why.
struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// An empty one beside what cargo built.
    fn new() -> anyhow::Result<Self> {
        let path = built("not-run.tsv")?;
        fs::write(&path, "").with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path })
    }

    /// Prints it as a table; where everything ran, that.
    fn print(&self) {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let rows: BTreeSet<(&str, &str)> =
            text.lines().filter_map(|line| line.split_once('\t')).collect();
        println!("== not run: {}", if rows.is_empty() { "nothing" } else { "" });
        for (what, why) in rows {
            println!("{what:<40}  {why}");
        }
    }
}

/// Lets tests with golden files write them.
pub fn bless() -> anyhow::Result<()> {
    write_metrics_page()?;
    write_dashboards()?;
    command::run(tests().env(BLESS_VARIABLE, "1"))
}

/// Writes METRICS.md.
pub fn write_metrics_page() -> anyhow::Result<()> {
    let mut page = cargo(&["run", "-q", "-p", "hopsight-tools", "--bin", "metrics_page"]);
    let output = page.stderr(Stdio::inherit()).output().context("start cargo")?;
    anyhow::ensure!(output.status.success(), "metrics_page ended with {}", output.status);
    fs::write("METRICS.md", output.stdout).context("write METRICS.md")
}

/// Writes the Grafana dashboards.
pub fn write_dashboards() -> anyhow::Result<()> {
    let write = ["run", "-q", "-p", "hopsight-tools", "--bin", "dashboards", "--", "dashboards"];
    command::run(&mut cargo(&write))
}

/// Becomes the classifier's evaluation; its exit status is the verdict.
pub fn eval_flights(file: &Path) -> anyhow::Result<()> {
    let args = ["run", "-q", "--release", "-p", "hopsight-tools", "--bin", "eval_flights", "--"];
    Err(command::replace(cargo(&args).arg(file)))
}

/// Becomes the test of completeness, over other captures than the corpus.
pub fn completeness(folder: &Path) -> anyhow::Result<()> {
    let args = ["test", "-q", "-p", "hopsight-capture", "--test", "completeness", "--"];
    Err(command::replace(cargo(&args).arg("--nocapture").env("HOPSIGHT_CAPTURES", folder)))
}

fn tests() -> Command {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    wheel::announce(&mut command);
    if let Some(path) = chart::python() {
        command.env(chart::VARIABLE, path);
    }
    command
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// YAML files in and below `dir`, sorted; none where it does not exist.
fn yaml_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if dir.is_dir() {
        for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry.context("list dashboards")?.path();
            if path.is_dir() {
                found.append(&mut yaml_files(&path)?);
            } else if path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What has run, for the summary.
#[derive(Default)]
struct Steps {
    done: Vec<(String, bool, Duration)>,
}

impl Steps {
    /// Runs a step; a failing one does not stop the others.
    fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<()>) -> bool {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        self.done.push((name.to_owned(), result.is_ok(), start.elapsed()));
        result.is_ok()
    }

    fn run_promtool(&mut self, verb: &str, file: &Path) {
        self.run(&format!("promtool {verb} rules {}", file.display()), || {
            command::run(Command::new("promtool").args([verb, "rules"]).arg(file))
        });
    }

    fn summary(self) -> anyhow::Result<()> {
        println!("== summary");
        for (name, ok, time) in &self.done {
            println!("{:4}  {:6.1} s  {name}", if *ok { "ok" } else { "FAIL" }, time.as_secs_f64());
        }
        let failed = self.done.iter().filter(|(_, ok, _)| !ok).count();
        anyhow::ensure!(failed == 0, "{failed} of {} steps failed", self.done.len());
        Ok(())
    }
}
