//! `cargo xtask truth`: how right readers of captures are about mutual TLS, beside each other.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    apt,
    bench::target,
    cargo::{built, cargo},
    command::{self, installed},
    ordinary, setup, wheel,
};

/// What is scored, and on what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of captures with a `TRUTH.tsv`; one of our own is recorded where there is none (root)
    folder: Option<PathBuf>,
    /// Answers of another reader: its name and a file of capture, client and answer
    #[arg(long, value_name = "NAME=FILE")]
    answers: Vec<String>,
}

/// Records if need be, and scores.
///
/// # Errors
/// When something cannot be built, recorded or read. Readers that are not installed are left out, and
/// said.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => target()?.join("truth"),
    };
    if !folder.join("TRUTH.tsv").exists() {
        record(&folder)?;
    }
    let score = ["run", "-q", "--release", "-p", "hopsight-tools", "--bin", "truth", "--"];
    command::run(cargo(&score).arg(&folder).args(&args.answers))
}

fn record(folder: &Path) -> anyhow::Result<()> {
    setup::run(setup::Args::default())?;
    if !installed("tcpdump") {
        apt::install(&["tcpdump"])?;
    }
    command::run(&mut cargo(&["build", "-q", "-p", "hopsight-tests", "--bins"]))?;
    let mut recorder = Command::new(built("hopsight-truth")?);
    recorder.arg(folder);
    wheel::announce(&mut recorder);
    match ordinary::newer_node() {
        Ok(node) => drop(recorder.env("HOPSIGHT_NEWER_NODE", node)),
        Err(error) => println!("  --  no post-quantum handshakes: {error:#}"),
    }
    command::run(&mut recorder)
}
