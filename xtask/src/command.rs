//! Running other programs.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::bpf;

/// Makes the workspace root the working directory, wherever `cargo xtask` was called.
pub fn enter_workspace() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the workspace root")?;
    env::set_current_dir(root).with_context(|| format!("enter {}", root.display()))
}

/// The cargo that runs us, set to build the kernel programs with a toolchain that fits.
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
    // The default is left out: a changed variable would build the kernel programs again.
    if bpf::toolchain_name() != bpf::DEFAULT_TOOLCHAIN {
        command.env(bpf::TOOLCHAIN_VARIABLE, bpf::toolchain_name());
    }
    command
}

/// A file of this build's output directory, such as `hopsight`.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("find our own executable")?;
    Ok(own.with_file_name(name))
}

/// Runs it with our own output; an error says what failed.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", name(command)))?;
    anyhow::ensure!(status.success(), "{} ended with {status}", line(command));
    Ok(())
}

/// Becomes that program, so that signals and the exit status are its own.
pub fn replace(command: &mut Command) -> anyhow::Error {
    anyhow::Error::new(command.exec()).context(format!("start {}", name(command)))
}

/// Its standard output if it succeeds; `None` if it fails or is missing.
pub fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// What it says on standard output and error; an error where it fails.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", name(command)))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    anyhow::ensure!(output.status.success(), "{} failed:\n{text}", line(command));
    Ok(text)
}

/// Whether `program` is on `PATH`, or in a system directory that non-root users lack there.
pub fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|dir| dir.join(program).is_file())
}

/// Whether we are root, as the kernel has it (`/proc/self` belongs to the effective user).
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
