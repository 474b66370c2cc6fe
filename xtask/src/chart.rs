//! Tools of others for what we write, from PyPI: Helm's own SDK, the Kubernetes schemas, those of
//! CycloneDX, and an implementation of DSSE.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{cache, command::run};

/// Helm's SDK (no `helm` binary is needed), a strict check against Kubernetes' OpenAPI schemas,
/// CycloneDX's JSON schemas with what checks the dates in them, and the library that in-toto is built
/// on with its cryptography.
const REQUIREMENTS: [&str; 6] = [
    "helm-python-sdk==0.2.2",
    "kubernetes-validate==1.37.0",
    "cyclonedx-python-lib==11.12.0",
    "rfc3339-validator==0.1.4",
    "securesystemslib==1.3.0",
    "cryptography==50.0.2",
];

/// Where the tests look for the Python that has them.
pub const VARIABLE: &str = "HOPSIGHT_CHART_PYTHON";

/// Makes a virtual environment with them in the user's cache directory. Without it the chart is not
/// rendered, so a failure here is reported and not fatal.
pub fn setup() {
    match try_setup() {
        Ok(path) => println!("  ok  Helm SDK and Kubernetes schemas ({})", path.display()),
        Err(error) => println!("  --  the chart is not rendered: {error:#}"),
    }
}

/// The installed Python, if there is one.
pub fn python() -> Option<PathBuf> {
    let dir = directory()?;
    dir.join("complete").exists().then(|| dir.join("bin/python3"))
}

fn try_setup() -> anyhow::Result<PathBuf> {
    if let Some(python) = python() {
        return Ok(python);
    }
    let dir = directory().context("find the cache directory; set HOME")?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))
        .context("make a virtual environment (Debian: python3-venv)")?;
    let mut pip = Command::new(dir.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.args(REQUIREMENTS))?;
    let done = dir.join("complete");
    fs::write(&done, "").with_context(|| format!("write {}", done.display()))?;
    python().context("find the Python that was just installed")
}

fn directory() -> Option<PathBuf> {
    let name = REQUIREMENTS.map(|requirement| requirement.replace("==", "-")).join("+");
    Some(cache::directory().ok()?.join(name))
}
