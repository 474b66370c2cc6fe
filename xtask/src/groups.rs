//! `cargo xtask groups`: the live test of what is said of key exchange and signatures, with every
//! client stack, also those that set-up does not install.

use crate::{apt, cargo::cargo, command, ordinary, setup, wheel};

/// Programs that only this task wants, and the Debian packages that bring them.
const PACKAGES: [(&str, &str); 4] = [
    ("node", "nodejs"),
    ("java", "default-jdk-headless"),
    ("javac", "default-jdk-headless"),
    ("wget", "wget"),
];

/// Sets up and runs it.
///
/// # Errors
/// When it fails, or cannot be built. What cannot be installed is left out, and said.
pub fn run() -> anyhow::Result<()> {
    setup::run(setup::Args::default())?;
    apt::install_missing(&PACKAGES)?;
    // Of all packages, for the dependencies' features are then those of `cargo test`.
    let mut tests = cargo(&["test", "-q", "--test", "live", "--", "groups::", "--nocapture"]);
    wheel::announce(&mut tests);
    match ordinary::newer_node() {
        Ok(node) => drop(tests.env("HOPSIGHT_NEWER_NODE", node)),
        Err(error) => println!("  --  no post-quantum groups: {error:#}"),
    }
    command::run(&mut tests)
}
