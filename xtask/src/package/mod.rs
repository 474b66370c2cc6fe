//! `cargo xtask package`: what is handed to those who run hopsight, in `target/package`.

mod image;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::command::{self, output, run};

/// What to make.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Package {
    /// A binary that needs nothing but a kernel (musl)
    Static,
    /// An OCI image of that binary, as a tar file that containerd, podman and skopeo read
    Image,
}

/// Makes it and says where it is.
pub fn run_task(package: Package) -> anyhow::Result<()> {
    let path = match package {
        Package::Static => static_binary()?,
        Package::Image => image::write(&static_binary()?)?,
    };
    println!("{}", path.display());
    Ok(())
}

/// The version of every package of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where packages go.
fn directory() -> anyhow::Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let dir = target.join("package");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Builds the static binary and checks that it is one.
fn static_binary() -> anyhow::Result<PathBuf> {
    let triple = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let installed = output("rustup", &["target", "list", "--installed"]).unwrap_or_default();
    if !installed.lines().any(|line| line == triple) {
        run(Command::new("rustup").args(["target", "add", &triple]))?;
    }
    let args = ["build", "--release", "--package", "hopsight", "--bin", "hopsight", "--target"];
    run(command::cargo(&args).arg(&triple))?;
    let target = directory()?;
    let built = target.with_file_name(&triple).join("release/hopsight");
    ensure_static(&built)?;
    let binary = target.join("hopsight");
    fs::copy(&built, &binary)
        .with_context(|| format!("copy {} to {}", built.display(), binary.display()))?;
    Ok(binary)
}

/// A static program asks for no interpreter and no library.
fn ensure_static(binary: &Path) -> anyhow::Result<()> {
    let path = binary.to_str().context("the path is not UTF-8")?;
    let headers = output("readelf", &["--wide", "--program-headers", "--dynamic", path])
        .with_context(|| format!("read the program headers of {path} (readelf, of binutils)"))?;
    for word in ["INTERP", "(NEEDED)"] {
        anyhow::ensure!(!headers.contains(word), "{path} is not static: it has {word}");
    }
    Ok(())
}
