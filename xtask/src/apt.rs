//! Installing Debian packages without starting what they contain.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::Context as _;

use crate::command::{installed, is_root, output, run};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages with apt-get. Services in them stay off: a web server that takes port 80
/// is none of our business.
///
/// # Errors
/// Where this is not Debian or Ubuntu, or we are not root; the message says what to install.
pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    install_with(&[], packages)
}

/// The same of a suite that is not taken by itself, such as a release's backports.
///
/// # Errors
/// As [`install`].
pub fn install_from(suite: &str, packages: &[&str]) -> anyhow::Result<()> {
    install_with(&["-t", suite], packages)
}

/// Installs the packages that bring what is missing of these programs.
///
/// # Errors
/// As [`install`].
pub fn install_missing(programs: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = programs.iter().filter(|(program, _)| !installed(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Learns what there is.
///
/// # Errors
/// As [`install`].
pub fn update() -> anyhow::Result<()> {
    anyhow::ensure!(installed("apt-get"), "this is neither Debian nor Ubuntu");
    anyhow::ensure!(is_root(), "run as root: apt-get update");
    apt_get(&["update", "-qq"])
}

/// The version of a package that would be installed.
pub fn candidate(package: &str) -> Option<String> {
    let text = output("apt-cache", &["policy", package])?;
    let found = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    // An epoch says nothing of the version.
    let version = found.split_once(':').map_or(found, |(_, version)| version);
    (version != "(none)").then(|| version.to_owned())
}

/// The suites that packages may come from, by their code names.
pub fn codenames() -> Vec<String> {
    let format = ["indextargets", "--format", "$(CODENAME)"];
    output("apt-get", &format).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn install_with(more: &[&str], packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    anyhow::ensure!(
        installed("apt-get"),
        "this is neither Debian nor Ubuntu: install by hand what provides these (Debian names): {list}"
    );
    anyhow::ensure!(is_root(), "run as root: apt-get install --no-install-recommends {list}");
    println!("  installing {list}");
    apt_get(&["update", "-qq"])?;
    if let Some(missing) = packages.iter().find(|package| candidate(package).is_none()) {
        anyhow::bail!("{}", unavailable(missing));
    }
    let _no_services = NoServices::new()?;
    let options = ["install", "-y", "-qq", "--no-install-recommends"];
    apt_get(&[&options, more, packages].concat())
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    run(Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn unavailable(package: &str) -> String {
    let general = format!("this release has no package {package}");
    let Some((_, version)) =
        package.split_once("llvm-").or_else(|| package.split_once("libpolly-"))
    else {
        return general;
    };
    let version = version.trim_end_matches("-dev");
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("CODENAME");
    format!(
        "{general}. Add LLVM's own package archive and run this again:\n  \
         curl -fsSo /etc/apt/trusted.gpg.d/llvm.asc https://apt.llvm.org/llvm-snapshot.gpg.key\n  \
         echo 'deb https://apt.llvm.org/{codename}/ llvm-toolchain-{codename}-{version} main' \
         > /etc/apt/sources.list.d/llvm.list"
    )
}

/// While this lives, package scripts may not start services (invoke-rc.d, policy-rc.d).
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn new() -> anyhow::Result<Self> {
        let path = Path::new(POLICY);
        let created = fs::OpenOptions::new().write(true).create_new(true).open(path);
        match created {
            // The machine has a policy of its own; it stays.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("create {POLICY}")),
            Ok(file) => {
                let guard = Self { ours: true };
                // 101: action forbidden by policy.
                fs::write(path, "#!/bin/sh\nexit 101\n")
                    .and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o755)))
                    .with_context(|| format!("write {POLICY}"))?;
                Ok(guard)
            }
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("remove {POLICY} by hand, it keeps services from starting: {error}");
        }
    }
}
