//! Builds the kernel programs for the BPF target and hands the object to the loader.

use std::{env, fs, path::Path, process::Command};

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// The toolchain that `cargo xtask setup` installs where `nightly` is too new for bpf-linker.
const DATED: &str = include_str!("../../agent-ebpf/nightly.txt").trim_ascii_end();

fn main() -> anyhow::Result<()> {
    if env::var_os("CARGO_CFG_MIRI").is_some() {
        // Nothing that Miri can run looks into the object.
        let out_dir = env::var_os("OUT_DIR").context("OUT_DIR is not set")?;
        return fs::write(Path::new(&out_dir).join("hopsight"), "").context("write the object");
    }
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent-ebpf");
    share_what_is_built()?;
    let toolchain = if is_installed(DATED) { Toolchain::Custom(DATED) } else { Toolchain::Nightly };
    aya_build::build_ebpf(
        [Package { name: "hopsight-ebpf", root_dir, ..Default::default() }],
        toolchain,
    )
    .context("build the kernel programs (run `cargo xtask setup` first)")
}

fn is_installed(toolchain: &str) -> bool {
    let rustc = Command::new("rustup").args(["run", toolchain, "rustc", "--version"]).output();
    rustc.is_ok_and(|output| output.status.success())
}

/// Lets the cargo that aya-build runs keep its intermediate files beside those of the cargo that runs
/// us: `cargo test`, `cargo clippy` and others run this script each in a folder of its own, and would
/// each compile `core` and the kernel programs anew.
#[expect(unsafe_code, reason = "aya-build takes no environment for the cargo that it runs")]
fn share_what_is_built() -> anyhow::Result<()> {
    let out_dir = env::var_os("OUT_DIR").context("OUT_DIR is not set")?;
    // target/debug/build/hopsight-capture-HASH/out
    let target = Path::new(&out_dir).ancestors().nth(4).context("find the target folder")?;
    // SAFETY: no other thread runs yet.
    unsafe { env::set_var("CARGO_BUILD_BUILD_DIR", target.join("ebpf")) };
    Ok(())
}
