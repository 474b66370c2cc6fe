//! `cargo xtask test`, and writing what it compares with.

pub mod executables;
mod steps;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::{
    cargo::{built, cargo},
    chart, command, cosign, vm, wheel,
};
use steps::Steps;

/// Tests that compare with golden files write them instead when this is set.
const BLESS_VARIABLE: &str = "HOPSIGHT_BLESS";

/// Names the file in which tests note what they did not run (`tests/support`).
const LEDGER_VARIABLE: &str = "HOPSIGHT_NOT_RUN";

/// Test executables that take minutes.
const LONG: [&str; 4] = ["live", "monitoring", "library", "tshark"];

/// What to run beside the tests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also boot the oldest and the newest kernel of `cargo xtask vm` and run the live tests there
    #[arg(long)]
    kernels: bool,
}

/// Runs everything and ends with a summary.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let ledger = Ledger::new()?;
    let mut steps = Steps::default();
    // Builds the programs that the tests run, too: with what the tests ask of dependencies, so that
    // nothing is built twice.
    if steps.run("cargo test --no-run", || command::run(tests().arg("--no-run"))) {
        let mut executables = Vec::new();
        steps.run("find the test executables", || {
            executables = executables::all()?;
            // Else the longest would be left alone at the end.
            executables.sort_by_key(|executable| !LONG.contains(&&*executable.name));
            Ok(())
        });
        let tests = executables.iter().map(|executable| {
            let mut command = executable.command();
            tell_where(&mut command);
            command.env(LEDGER_VARIABLE, &ledger.path);
            (executable.name.clone(), command)
        });
        let mut commands: Vec<_> = tests.collect();
        if args.kernels {
            // While something else is waited for.
            commands.insert(0, ("fetch the kernels".to_owned(), this_program(&vm::fetch_ends())?));
        }
        commands.push(("documentation tests".to_owned(), cargo(&["test", "--doc"])));
        let instructions = this_program(&["bench", "instructions", "--debug"])?;
        commands.push(("instructions".to_owned(), instructions));
        commands.extend(promtool()?);
        steps.run_beside_each_other(commands);
        if args.kernels {
            steps.run("cargo xtask vm", vm::run_ends);
        }
    }
    let result = steps.summary();
    ledger.print();
    result
}

/// Another task as a program of its own, so that what it prints stays together.
fn this_program(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe().context("find our own executable")?);
    command.args(args);
    Ok(command)
}

/// Checks and tests of every file of rules.
fn promtool() -> anyhow::Result<Vec<(String, Command)>> {
    let mut commands = Vec::new();
    for file in yaml_files(Path::new("dashboards"))? {
        let text = read(&file)?;
        let has = |key: &str| text.lines().any(|line| line.starts_with(key));
        let verb = match (has("rule_files:"), has("groups:")) {
            (true, _) => "test",
            (false, true) => "check",
            (false, false) => continue,
        };
        let mut command = Command::new("promtool");
        command.args([verb, "rules"]).arg(&file);
        commands.push((format!("promtool {verb} rules {}", file.display()), command));
    }
    Ok(commands)
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
    tell_where(&mut command);
    command
}

/// Tells tests where programs are that they cannot find by name.
fn tell_where(command: &mut Command) {
    wheel::announce(command);
    cosign::announce(command);
    if let Some(path) = chart::python() {
        command.env(chart::VARIABLE, path);
    }
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
