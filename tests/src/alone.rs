//! Tests that keep the machine busy.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::Context as _;

/// Holds the machine until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Alone(#[expect(dead_code, reason = "the lock goes with the open file")] File);

/// Waits until no other test on this machine is alone, in whatever process it runs. For tests whose
/// load or memory would change what the others of their kind measure; a cgroup of its own
/// ([`crate::cgroup`]) is what keeps a test's connections apart.
///
/// # Panics
/// When the lock file cannot be had.
pub fn alone() -> Alone {
    lock().unwrap_or_else(|error| panic!("{error:#}"))
}

fn lock() -> anyhow::Result<Alone> {
    let path = std::env::temp_dir().join("hopsight-tests.lock");
    // Never removed: whoever waits for it holds it open.
    let mut options = OpenOptions::new();
    options.read(true).create(true).truncate(false).write(true).mode(0o666);
    let file = options.open(&path).with_context(|| format!("open {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(Alone(file))
}
