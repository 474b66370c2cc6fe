//! Instructions, counted by callgrind: the same on a busy machine as on an idle one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use super::{result_file, target};
use crate::{cargo::cargo, command};

/// How much more than its bound a case may take: compilers and libraries differ a little.
const TOLERANCE: f64 = 1.10;

/// Runs of a case that are counted.
const TIMES: u64 = 8;

/// How to count.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Count in the unoptimised build, which the tests have made already
    #[arg(long)]
    debug: bool,
    /// Write the counts as the new bounds
    #[arg(long)]
    bless: bool,
}

impl Args {
    const fn profile(&self) -> &'static str {
        if self.debug { "debug" } else { "release" }
    }

    /// The checked-in counts, one `CASE COUNT` per line.
    fn bounds(&self) -> PathBuf {
        Path::new("xtask/tools/benches/instructions").join(format!("{}.txt", self.profile()))
    }
}

/// Counts the instructions of every case.
///
/// # Errors
/// If a case takes more than its bound allows.
pub fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(command::installed("valgrind"), "valgrind is missing: run `cargo xtask setup`");
    let program = build(args)?;
    let names = Command::new(&program).output().context("list the cases")?;
    let names = String::from_utf8(names.stdout).context("read the list of cases")?;
    let file = args.bounds();
    let bounds = read_bounds(&file)?;
    let mut counts = BTreeMap::new();
    let mut over = Vec::new();
    println!("CASE                     INSTRUCTIONS     BOUND   RATIO");
    for name in names.lines() {
        let each = count(&program, name)? / TIMES;
        let bound = bounds.get(name).copied();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let ratio = bound.map_or(f64::NAN, |bound| each as f64 / bound as f64);
        println!("{name:<24} {each:>12} {:>9} {ratio:>7.3}", bound.unwrap_or_default());
        // Without a bound the ratio is not a number.
        if ratio.is_nan() || ratio > TOLERANCE {
            over.push(name.to_owned());
        }
        counts.insert(name.to_owned(), each);
    }
    let lines: Vec<String> = counts.iter().map(|(name, n)| format!("  \"{name}\": {n}")).collect();
    let result = result_file(&format!("instructions-{}", args.profile()))?;
    fs::write(&result, format!("{{\n{}\n}}\n", lines.join(",\n")))
        .with_context(|| format!("write {}", result.display()))?;
    if args.bless {
        return bless(&file, &counts);
    }
    anyhow::ensure!(
        over.is_empty(),
        "more than {:.0} % above the bound of {}: {}. Make it cheaper, or bless the new counts: \
         `cargo xtask bench instructions{} --bless`",
        (TOLERANCE - 1.0) * 100.0,
        file.display(),
        over.join(", "),
        if args.debug { " --debug" } else { "" }
    );
    Ok(())
}

/// The counted program.
fn build(args: &Args) -> anyhow::Result<PathBuf> {
    let mut build = vec!["build", "-q", "-p", "hopsight-tools", "--bin", "instructions"];
    if !args.debug {
        build.push("--release");
    }
    command::run(&mut cargo(&build))?;
    Ok(target()?.join(args.profile()).join("instructions"))
}

fn count(program: &Path, case: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured*"])
        .arg(program)
        .args([case, &TIMES.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "valgrind: {}:\n{text}", output.status);
    // "==1234== Collected : 5678"
    text.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .with_context(|| format!("find the count in what valgrind wrote:\n{text}"))
}

fn read_bounds(file: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let Ok(text) = fs::read_to_string(file) else { return Ok(BTreeMap::new()) };
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let wrong = || format!("read {}: {line}", file.display());
            let (name, count) = line.split_once(' ').with_context(wrong)?;
            Ok((name.to_owned(), count.parse().with_context(wrong)?))
        })
        .collect()
}

fn bless(file: &Path, counts: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let mut text = String::from(
        "# Instructions per run of each case of xtask/tools/src/cases.rs, by callgrind on x86_64.\n\
         # Written by `cargo xtask bench instructions --bless` (`--debug`).\n",
    );
    for (name, count) in counts {
        text += &format!("{name} {count}\n");
    }
    let folder = file.parent().context("find the folder of the bounds")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}
