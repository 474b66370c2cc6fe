//! `cargo xtask package`: what users of hopsight get, in `target/package`.

mod deb;
mod image;
mod index;
mod provenance;
mod reproduce;
mod said;
mod sbom;
mod tarball;
mod tool;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    cargo::cargo,
    command::{output, run},
};

/// What to make.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    package: Package,
    /// Use this static binary instead of building one
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Package {
    /// A binary that needs nothing but a kernel (musl)
    Static,
    /// An OCI image of that binary, as a tar file that containerd, podman and skopeo read
    Image,
    /// One image of those of several architectures, each made on a machine of its own
    Index {
        /// What `image` has made
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
    /// The static binary with its manual page, completions and unit, as an archive
    Tarball,
    /// A Debian package: the static binary, its unit, manual page and completions
    Deb,
    /// The bill of materials of the binary, as CycloneDX
    Sbom,
    /// Make all of the above for this architecture, with digests and provenance
    Release,
    /// The same, and test it
    Check,
    /// Build the kernel programs in two places and compare them byte for byte
    Reproduce {
        /// The agent, from two copies of the source that stand at one path (root; takes long)
        #[arg(long)]
        agent: bool,
    },
    /// Check licences and sources of every dependency (deny.toml)
    Deny,
}

/// Makes it and prints where it is.
pub fn run_task(args: &Args) -> anyhow::Result<()> {
    let binary = || static_binary(args.binary.as_deref());
    let path = match &args.package {
        Package::Static => binary()?,
        Package::Image => image(args.binary.as_deref())?,
        Package::Index { images } => index::write(images)?,
        Package::Tarball => tarball::write(&binary()?)?,
        Package::Deb => deb::write(&binary()?)?,
        Package::Sbom => sbom::write()?,
        Package::Release => return release(&binary()?),
        Package::Check => return check(&binary()?),
        Package::Reproduce { agent: false } => return reproduce::kernel_programs(),
        Package::Reproduce { agent: true } => return reproduce::agent(),
        Package::Deny => return deny(),
    };
    println!("{}", path.display());
    Ok(())
}

/// Makes the image, of this binary or of one that it builds; where it is.
pub fn image(binary: Option<&Path>) -> anyhow::Result<PathBuf> {
    image::write(&static_binary(binary)?)
}

/// Checks licences, bans and sources of every dependency (deny.toml).
pub fn deny() -> anyhow::Result<()> {
    sbom::deny()
}

/// Makes everything that is published, and prints where it is.
fn release(binary: &Path) -> anyhow::Result<()> {
    let files =
        [tarball::write(binary)?, deb::write(binary)?, image::write(binary)?, sbom::write()?];
    for path in files.iter().chain(&provenance::write(&files)?) {
        println!("{}", path.display());
    }
    Ok(())
}

/// Makes everything and runs the tests that need it.
fn check(binary: &Path) -> anyhow::Result<()> {
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("read {}", path.display()));
    let makers: [fn(&Path) -> anyhow::Result<PathBuf>; 2] = [image::write, tarball::write];
    for make in makers {
        let (once, again) = (read(make(binary)?)?, read(make(binary)?)?);
        anyhow::ensure!(once == again, "the same binary gives another package each time");
    }
    release(binary)?;
    let dir = directory()?;
    let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
    let args = ["test", "--package", "hopsight-tests", "--test", "deploy", "--", "--ignored"];
    run(cargo(&args).arg("--nocapture").env("HOPSIGHT_PACKAGES", dir))
}

/// The version of every package of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target of the static binary.
fn triple() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// What Debian and OCI call this machine.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Where packages go, whatever the target directory is: cargo-deb looks there.
fn directory() -> anyhow::Result<PathBuf> {
    let dir = PathBuf::from("target/package");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Builds the static binary unless it is given, and checks that it is one.
fn static_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let built = given.map_or_else(build, |path| Ok(path.to_owned()))?;
    ensure_static(&built)?;
    let binary = directory()?.join("hopsight");
    fs::copy(&built, &binary)
        .with_context(|| format!("copy {} to {}", built.display(), binary.display()))?;
    Ok(binary)
}

fn build() -> anyhow::Result<PathBuf> {
    let triple = triple();
    let installed = output("rustup", &["target", "list", "--installed"]).unwrap_or_default();
    if !installed.lines().any(|line| line == triple) {
        run(Command::new("rustup").args(["target", "add", &triple]))?;
    }
    let args = ["build", "--release", "--package", "hopsight", "--bin", "hopsight", "--target"];
    run(cargo(&args).arg(&triple))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(target.join(&triple).join("release/hopsight"))
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
