//! The toolchain of the kernel programs: nightly Rust with its library sources, and bpf-linker.

use std::{path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::command::{output, run};

/// bpf-linker reads the bitcode of this LLVM major version and older ones.
pub const LLVM: u32 = 22;

/// The last known nightly whose LLVM is not newer than [`LLVM`]; `agent/capture/build.rs` takes it where
/// it is installed, and `nightly` elsewhere.
const DATED: &str = include_str!("../../agent-ebpf/nightly.txt").trim_ascii_end();

const LINKER_VERSION: &str = "0.13.0";

/// The toolchain to build with: the dated one where it is installed, or `nightly` is too new.
pub fn toolchain_name() -> &'static str {
    let fits = |name| llvm_of(name).is_some_and(|major| major <= LLVM);
    if !fits(DATED) && fits("nightly") { "nightly" } else { DATED }
}

/// Installs the toolchain and its sources where they are missing.
pub fn setup_toolchain() -> anyhow::Result<()> {
    let name = toolchain_name();
    if llvm_of(name).is_none() {
        println!("  installing the toolchain {name} (profile minimal)");
        let args = ["toolchain", "install", name, "--profile", "minimal", "--no-self-update"];
        run(Command::new("rustup").args(args))
            .with_context(|| format!("install Rust {name}, which builds the kernel programs"))?;
    }
    for (component, file) in [
        ("rust-src", "lib/rustlib/src/rust/library/core/Cargo.toml"),
        ("clippy", "bin/cargo-clippy"),
    ] {
        if !sysroot(name)?.join(file).exists() {
            println!("  adding {component} to {name}");
            run(Command::new("rustup").args(["component", "add", component, "--toolchain", name]))?;
        }
    }
    println!("  ok  Rust {name} with rust-src");
    Ok(())
}

/// Whether bpf-linker is there in the version that fits.
pub fn linker_ready() -> bool {
    output("bpf-linker", &["--version"]).is_some_and(|text| text.trim().ends_with(LINKER_VERSION))
}

/// Builds bpf-linker against the system's LLVM.
pub fn setup_linker() -> anyhow::Result<()> {
    if !linker_ready() {
        println!("  building bpf-linker {LINKER_VERSION} (about a minute)");
        let feature = format!("llvm-{LLVM}");
        run(Command::new("cargo")
            .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", &feature])
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}")))?;
    }
    anyhow::ensure!(
        linker_ready(),
        "bpf-linker {LINKER_VERSION} is not on PATH; add cargo's bin directory (~/.cargo/bin)"
    );
    println!("  ok  bpf-linker {LINKER_VERSION}");
    Ok(())
}

fn llvm_of(toolchain: &str) -> Option<u32> {
    // Asked through `rustup run`, a missing toolchain is an error and not a download.
    let text = output("rustup", &["run", toolchain, "rustc", "-vV"])?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

fn sysroot(toolchain: &str) -> anyhow::Result<PathBuf> {
    output("rustup", &["run", toolchain, "rustc", "--print", "sysroot"])
        .map(|text| PathBuf::from(text.trim()))
        .with_context(|| format!("ask rustc of {toolchain} for its sysroot"))
}
