//! Whether the kernel programs are what their source says: built twice, in two folders, without the
//! folders' names.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    bpf,
    command::{output, run},
};

/// The target of the kernel programs on this machine.
const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// Copies the sources to two places of different depth, builds there from nothing and compares.
pub(super) fn kernel_programs() -> anyhow::Result<()> {
    let base = env::temp_dir().join(format!("hopsight-reproduce-{}", std::process::id()));
    let result = compare(&base);
    fs::remove_dir_all(&base).with_context(|| format!("remove {}", base.display()))?;
    result
}

fn compare(base: &Path) -> anyhow::Result<()> {
    let first = build(&base.join("a"))?;
    let second = build(&base.join("another/folder"))?;
    let digest = |path: &Path| {
        let text = output("sha256sum", &[path.to_str()?])?;
        Some(text.split(' ').next()?.to_owned())
    };
    let [first, second] = [digest(&first), digest(&second)];
    anyhow::ensure!(first.is_some() && first == second, "they differ: {first:?} and {second:?}");
    println!("sha256 {} of both builds", first.unwrap_or_default());
    Ok(())
}

fn build(place: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    // What is tracked, with the changes of the working tree.
    let copy = format!("git ls-files -z | xargs -0 cp -P --parents -t '{}'", place.display());
    run(Command::new("sh").args(["-c", &copy]))?;
    // As aya-build sets them for agent/capture/build.rs, but for the last: debug information names
    // source files by their folder, which is all that two folders may differ in.
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=/src", place.display()),
    ];
    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", bpf::toolchain_name(), "cargo", "build", "--quiet", "--release"])
        .args(["--package", "hopsight-ebpf", "-Z", "build-std=core", "--target", TARGET])
        .current_dir(place)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    run(&mut cargo)?;
    Ok(place.join("target").join(TARGET).join("release/hopsight"))
}
