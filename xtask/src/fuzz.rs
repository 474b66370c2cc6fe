//! `cargo xtask fuzz`: the targets of `agent/fuzz` under cargo-fuzz, with a table of what ran.

use std::{env, fs, path::Path, process::Command};

use anyhow::Context as _;

use crate::{
    bpf,
    cargo::cargo,
    command::{self, installed},
};

const FOLDER: &str = "agent/fuzz";

/// What to fuzz and for how long.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Targets by name; all of them if none is named
    targets: Vec<String>,
    /// Seconds per target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Runs the targets one after the other.
///
/// # Errors
/// When cargo-fuzz is missing, or a target fails; its input stays in `agent/fuzz/artifacts`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(installed("cargo-fuzz"), "install it: cargo install cargo-fuzz --locked");
    let known = targets()?;
    for name in &args.targets {
        anyhow::ensure!(known.contains(name), "no target {name}; there are {}", known.join(", "));
    }
    seeds()?;
    let mut failed = Vec::new();
    let mut rows = Vec::new();
    for name in known.iter().filter(|name| args.targets.is_empty() || args.targets.contains(name)) {
        println!("== {name}");
        let (executions, ok) = run_target(name, args.seconds)?;
        rows.push((name, executions));
        if !ok {
            failed.push(name.as_str());
        }
    }
    println!("TARGET            EXECUTIONS");
    for (name, executions) in rows {
        println!("{name:<14} {executions:>13}");
    }
    anyhow::ensure!(failed.is_empty(), "these failed: {}", failed.join(", "));
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = Path::new(FOLDER).join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.context("list the targets")?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Lets the test that runs the targets on stable write its seeds to the corpus.
fn seeds() -> anyhow::Result<()> {
    let here = env::current_dir().context("find the working directory")?;
    let mut test = cargo(&["test", "--quiet", "-p", "hopsight-fuzz-targets", "--test", "fuzz"]);
    test.env("HOPSIGHT_FUZZ_SEEDS", here.join(FOLDER).join("corpus"));
    command::run(test.env("HOPSIGHT_FUZZ_ROUNDS", "1"))
}

/// Executions, and whether nothing was found.
fn run_target(name: &str, seconds: u32) -> anyhow::Result<(u64, bool)> {
    let mut fuzz = Command::new("rustup");
    // Without AddressSanitizer: the targets have no unsafe code, and run three times as often.
    fuzz.args(["run", bpf::toolchain_name(), "cargo", "fuzz", "run", "--sanitizer", "none", name]);
    fuzz.args(["--", "-print_final_stats=1", "-max_len=8192", "-timeout=10"]);
    fuzz.arg(format!("-max_total_time={seconds}")).current_dir(Path::new(FOLDER).join(".."));
    let output = fuzz.output().context("start cargo fuzz")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let stat = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|count| count.trim().parse().ok());
    if !output.status.success() {
        eprintln!("{text}");
    }
    Ok((stat.unwrap_or(0), output.status.success()))
}
