//! The static binary with what goes with it, for whoever has no package manager.
//!
//! The same binary gives the same archive, byte for byte.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{VERSION, architecture, directory, image::tar, said};
use crate::command::run;

/// What of the tree goes in.
const OF_THE_TREE: [&str; 7] = [
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "CHANGELOG.md",
    "agent/deploy/README.md",
    "agent/deploy/hopsight.service",
    "dashboards/alerts.yaml",
];

/// Writes the archive and returns where it is.
pub(super) fn write(binary: &Path) -> anyhow::Result<PathBuf> {
    let name = format!("hopsight-{VERSION}-linux-{}", architecture());
    let dir = directory()?;
    let scratch = dir.join("tarball");
    let inside = scratch.join(&name);
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    fs::create_dir_all(&inside).with_context(|| format!("create {}", inside.display()))?;
    let program = inside.join("hopsight");
    copy(binary, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .context("make it executable")?;
    said::write(binary, &inside)?;
    for file in OF_THE_TREE {
        copy(Path::new(file), &inside.join(Path::new(file).file_name().unwrap_or_default()))?;
    }
    let archive = dir.join(format!("{name}.tar"));
    tar(&archive, &scratch, &[&name])?;
    run(Command::new("gzip").args(["--force", "--no-name", "-9"]).arg(&archive))?;
    fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    Ok(archive.with_extension("tar.gz"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}
