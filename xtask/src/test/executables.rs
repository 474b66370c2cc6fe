//! The test executables, as `cargo test` would run them one after the other.
//!
//! Most of them wait most of the time: for a Prometheus, a kernel, a proxy that reloads. Two at once
//! take two thirds of the time.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::cargo::{built, cargo};

/// The hidden task by which cargo hands an executable over.
pub const HAND_OVER: &str = "hand-over-test";

/// What cargo runs in place of a test executable.
#[derive(Debug, clap::Args)]
pub struct HandOver {
    /// The file to note it in
    list: PathBuf,
    /// The executable
    executable: PathBuf,
}

/// Notes an executable and the directory that cargo runs it in.
///
/// # Errors
/// When the list cannot be written.
pub fn hand_over(args: &HandOver, directory: &Path) -> anyhow::Result<()> {
    let HandOver { list, executable } = args;
    let line = format!("{}\t{}\n", directory.display(), executable.display());
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(list)
        .with_context(|| format!("open {}", list.display()))?;
    file.write_all(line.as_bytes()).with_context(|| format!("write {}", list.display()))
}

/// A test executable.
pub struct Executable {
    /// Its file's name without cargo's hash.
    pub name: String,
    file: PathBuf,
    /// The directory of its package.
    directory: PathBuf,
}

impl Executable {
    /// The command that runs all of its tests.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command
    }
}

/// Asks cargo for every test executable of the workspace, documentation apart.
///
/// # Errors
/// When cargo fails.
pub fn all() -> anyhow::Result<Vec<Executable>> {
    let list = built("test-executables.tsv")?;
    fs::write(&list, "").with_context(|| format!("write {}", list.display()))?;
    let own = env::current_exe().context("find our own executable")?;
    let runner = [own.as_path(), Path::new(HAND_OVER), list.as_path()];
    let runner = format!("target.'cfg(all())'.runner = {:?}", runner.map(Path::to_string_lossy));
    crate::command::output_of(cargo(&["test", "--tests"]).arg("--config").arg(runner))?;
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let read = |line: &str| {
        let (directory, file) = line.split_once('\t')?;
        let (directory, file) = (PathBuf::from(directory), PathBuf::from(file));
        let stem = file.file_stem()?.to_string_lossy().into_owned();
        let name = stem.rsplit_once('-').map_or(stem.as_str(), |(name, _)| name).to_owned();
        Some(Executable { name, file, directory })
    };
    let executables: Vec<_> = text.lines().filter_map(read).collect();
    anyhow::ensure!(!executables.is_empty(), "cargo names no test executable");
    Ok(executables)
}
