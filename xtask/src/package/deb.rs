//! A Debian package of the static binary, made by cargo-deb from `agent/Cargo.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{
    directory, said,
    tool::{Origin, Tool},
};
use crate::command::run;

const CARGO_DEB: Tool = Tool {
    package: "cargo-deb",
    binary: "cargo-deb",
    version: "3.8.0",
    origin: Origin::CratesIo,
    asked: &["--version"],
};

/// Makes the package and returns where it is.
pub(super) fn write(binary: &Path) -> anyhow::Result<PathBuf> {
    let dir = directory()?;
    // Paths are those of `package.metadata.deb`.
    said::write(binary, &dir)?;
    let mut cargo_deb = Command::new(CARGO_DEB.install()?);
    cargo_deb
        .args(["--package", "hopsight", "--no-build", "--no-strip", "--target"])
        .arg(super::triple())
        .arg("--output")
        .arg(&dir);
    // The same inputs give the same package.
    cargo_deb.env("SOURCE_DATE_EPOCH", "0");
    run(&mut cargo_deb)?;
    let name = format!("_{}.deb", super::architecture());
    let mut packages: Vec<PathBuf> = fs::read_dir(&dir)
        .with_context(|| format!("list {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(&name))
        .collect();
    packages.sort();
    packages.pop().context("find the package that cargo-deb made")
}
