//! Whether what is shipped is what the source says: built twice, and compared byte for byte.
//!
//! The kernel programs in two folders, without the folders' names. The agent, in which the names of its
//! source files stand, from two copies of the source that are seen at one path.

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

/// Where the agent's source is seen; the image that `agent/deploy/Containerfile` builds has it there.
const SOURCE: &str = "/src";

/// Builds the static agent twice from nothing, each time from a copy of its own, and compares.
pub(super) fn agent() -> anyhow::Result<()> {
    let base = env::temp_dir().join(format!("hopsight-reproduce-{}", std::process::id()));
    let result = agent_at("a", &base).and_then(|first| same(&first, &agent_at("b", &base)?));
    fs::remove_dir_all(&base).with_context(|| format!("remove {}", base.display()))?;
    result
}

fn agent_at(name: &str, base: &Path) -> anyhow::Result<PathBuf> {
    let place = base.join(name);
    copy_sources(&place)?;
    let triple = super::triple();
    // The source is seen there by what this starts, and by nobody else.
    let script = format!(
        "mount --make-rprivate / && mkdir -p {SOURCE} && mount --bind \"$0\" {SOURCE} && cd {SOURCE} && \
         exec cargo build --quiet --release --locked --package hopsight --bin hopsight --target {triple}"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script]).arg(&place).env_remove("CARGO_TARGET_DIR");
    run(&mut unshare)?;
    let built = place.join("target").join(triple).join("release/hopsight");
    let kept = base.join(format!("hopsight-{name}"));
    fs::rename(&built, &kept).with_context(|| format!("keep {}", built.display()))?;
    fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    Ok(kept)
}

fn compare(base: &Path) -> anyhow::Result<()> {
    let first = build(&base.join("a"))?;
    let second = build(&base.join("another/folder"))?;
    same(&first, &second)
}

fn same(first: &Path, second: &Path) -> anyhow::Result<()> {
    let digest = |path: &Path| {
        let text = output("sha256sum", &[path.to_str()?])?;
        Some(text.split(' ').next()?.to_owned())
    };
    let [first, second] = [digest(first), digest(second)];
    anyhow::ensure!(first.is_some() && first == second, "they differ: {first:?} and {second:?}");
    println!("sha256 {} of both builds", first.unwrap_or_default());
    Ok(())
}

/// Copies what is tracked, with the changes of the working tree.
fn copy_sources(place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    let copy = format!("git ls-files -z | xargs -0 cp -P --parents -t '{}'", place.display());
    run(Command::new("sh").args(["-c", &copy]))
}

fn build(place: &Path) -> anyhow::Result<PathBuf> {
    copy_sources(place)?;
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
