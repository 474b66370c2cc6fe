//! Cargo subcommands that packages are made with, in the user's cache directory.

use std::{path::PathBuf, process::Command};

use crate::{
    cache,
    command::{output, run},
};

/// A program from crates.io, in one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    pub(super) package: &'static str,
    pub(super) binary: &'static str,
    pub(super) version: &'static str,
}

impl Tool {
    /// Installs it where it is missing; returns where it is.
    pub(super) fn install(&self) -> anyhow::Result<PathBuf> {
        let Self { package, binary, version } = self;
        let root = cache::directory()?.join(format!("{package}-{version}"));
        let path = root.join("bin").join(binary);
        if path.exists() {
            return Ok(path);
        }
        // Out of the way of an installation of another version.
        run(Command::new("cargo")
            .args(["install", "--quiet", "--locked", package, "--version", version, "--root"])
            .arg(&root))?;
        anyhow::ensure!(
            output(path.to_str().unwrap_or_default(), &["--version"]).is_some(),
            "{} does not run after its installation",
            path.display()
        );
        Ok(path)
    }
}
