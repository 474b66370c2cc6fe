//! `cargo xtask lint`.

mod imports;
mod sources;
mod tidy;

use std::path::Path;

use self::sources::Sources;
use crate::{bpf, cargo::cargo, command, package};

/// Borders, format, lints, documentation, and licences and sources of dependencies; the agent also
/// without its optional parts, the kernel programs for their own target.
pub fn run() -> anyhow::Result<()> {
    let findings = tidy::findings(&Sources::read(Path::new("."))?);
    anyhow::ensure!(findings.is_empty(), "borders are crossed:\n{}", findings.join("\n"));
    command::run(&mut cargo(&["fmt", "--all", "--", "--check"]))?;
    let warnings = ["--", "-D", "warnings"];
    let all = ["clippy", "--all-targets"];
    command::run(&mut cargo(&[&all[..], &warnings].concat()))?;
    let core = ["clippy", "-p", "hopsight", "--no-default-features"];
    command::run(&mut cargo(&[&core[..], &warnings].concat()))?;
    let mut kernel = std::process::Command::new("rustup");
    kernel
        .args(["run", bpf::toolchain_name(), "cargo", "clippy", "--package", "hopsight-ebpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(warnings)
        // As aya-build does; the crates for BPF choose their register names by it.
        .env("RUSTFLAGS", format!("--cfg bpf_target_arch=\"{}\"", std::env::consts::ARCH))
        // Set by the cargo that runs us, for another toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    command::run(&mut kernel)?;
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    command::run(cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    package::deny()
}
