//! Cargo, and what it built.

use std::{env, ffi::OsString, path::PathBuf, process::Command};

use anyhow::Context as _;

/// The cargo that runs us.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    // What the outer cargo says about this package; build scripts that look at it (that of ring)
    // would otherwise run again, and all that depends on them would be built again.
    let about_us = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for name in env::vars_os().map(|(name, _)| name).filter(about_us) {
        command.env_remove(name);
    }
    command
}

/// A file of this build's output directory, such as `hopsight`.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("find our own executable")?;
    Ok(own.with_file_name(name))
}
