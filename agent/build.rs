//! Builds the kernel programs for the BPF target and hands the object to the loader.

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

fn main() -> anyhow::Result<()> {
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf");
    aya_build::build_ebpf(
        [Package { name: "hopsight-ebpf", root_dir, ..Default::default() }],
        Toolchain::default(),
    )
    .context("build the kernel programs (run `cargo xtask setup` first)")
}
