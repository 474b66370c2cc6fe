//! Builds the kernel programs for the BPF target and hands the object to the loader.

use std::{env, fs, path::Path};

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// Names the toolchain where `nightly` is too new for bpf-linker; `cargo xtask` sets it.
const TOOLCHAIN_VARIABLE: &str = "HOPSIGHT_BPF_TOOLCHAIN";

fn main() -> anyhow::Result<()> {
    if env::var_os("CARGO_CFG_MIRI").is_some() {
        // Nothing that Miri can run looks into the object.
        let out_dir = env::var_os("OUT_DIR").context("OUT_DIR is not set")?;
        return fs::write(Path::new(&out_dir).join("hopsight"), "").context("write the object");
    }
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent-ebpf");
    println!("cargo:rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    let named = env::var(TOOLCHAIN_VARIABLE).ok();
    let toolchain = named.as_deref().map_or(Toolchain::Nightly, Toolchain::Custom);
    aya_build::build_ebpf(
        [Package { name: "hopsight-ebpf", root_dir, ..Default::default() }],
        toolchain,
    )
    .context("build the kernel programs (run `cargo xtask setup` first)")
}
