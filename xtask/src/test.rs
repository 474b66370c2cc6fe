//! `cargo xtask test`, and writing what it compares with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::cargo::cargo;
use crate::{
    bench::instructions,
    chart,
    command::{self},
    vm, wheel,
};

/// Tests that compare with golden files write them instead when this is set.
const BLESS_VARIABLE: &str = "HOPSIGHT_BLESS";

/// What to run beside the tests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also boot the oldest and the newest kernel of `cargo xtask vm` and run the live tests there
    #[arg(long)]
    kernels: bool,
}

/// Runs everything, one step after the other, and ends with a summary.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    // Builds the programs that the tests run, too: with what the tests ask of dependencies, so that
    // nothing is built twice.
    if steps.run("cargo test --no-run", || command::run(tests().arg("--no-run"))) {
        steps.run("cargo test", || command::run(&mut tests()));
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
    steps.summary()
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
