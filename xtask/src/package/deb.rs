//! A Debian package of the static binary, made by cargo-deb from `agent/Cargo.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{
    directory,
    tool::{Origin, Tool},
};
use crate::command::{output, run};

const CARGO_DEB: Tool =
    Tool { package: "cargo-deb", binary: "cargo-deb", version: "3.8.0", origin: Origin::CratesIo };

/// Makes the package and returns where it is.
pub(super) fn write(binary: &Path) -> anyhow::Result<PathBuf> {
    let dir = directory()?;
    // What the binary says of itself goes with it; paths are those of `package.metadata.deb`.
    let page = dir.join("hopsight.1");
    for (file, arguments) in [
        (&page, &["man"][..]),
        (&dir.join("hopsight.bash"), &["completions", "bash"]),
        (&dir.join("_hopsight"), &["completions", "zsh"]),
        (&dir.join("hopsight.fish"), &["completions", "fish"]),
        (&dir.join("hopsight.toml"), &["config"]),
    ] {
        let program = binary.to_str().context("the path is not UTF-8")?;
        let text = output(program, arguments)
            .with_context(|| format!("run {program} {}", arguments.join(" ")))?;
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
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
