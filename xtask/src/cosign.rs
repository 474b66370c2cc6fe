//! cosign, which opens what `hopsight attest` signs. Debian has it since trixie.

use std::{path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{cache, suite::Suite, vm::Arch};

/// The suite that it is taken from; it needs nothing but a libc of Debian 12.
const SUITE: &str = "trixie";
/// Where the tests look for the program.
const VARIABLE: &str = "HOPSIGHT_COSIGN";

/// Unpacks it into the user's cache directory. A failure is reported and not fatal.
pub fn setup() {
    match fetch() {
        Ok(path) => println!("  ok  cosign ({})", path.display()),
        Err(error) => println!("  --  cosign is left out: {error:#}"),
    }
}

/// Tells a program of the harness where it is.
pub fn announce(command: &mut Command) {
    if let Some(path) = installed() {
        command.env(VARIABLE, path);
    }
}

fn fetch() -> anyhow::Result<PathBuf> {
    if let Some(path) = installed() {
        return Ok(path);
    }
    let dir = directory()?;
    let suite = Suite::open(SUITE, Arch::of_this_machine()?.debian(), &dir)?;
    suite.unpack(&["cosign".to_owned()], &dir.join("root"))?;
    installed().context("find cosign in its package")
}

fn installed() -> Option<PathBuf> {
    let path = directory().ok()?.join("root/usr/bin/cosign");
    path.exists().then_some(path)
}

fn directory() -> anyhow::Result<PathBuf> {
    Ok(cache::directory()?.join(format!("cosign-{SUITE}")))
}
