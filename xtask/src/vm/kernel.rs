//! Debian's kernels, fetched and verified by apt.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::arch::Arch;
use crate::suite::Suite;

/// A kernel and its modules, unpacked.
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// The image that boots.
    pub image: PathBuf,
    /// `lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// The newest kernel of the release `suite`: from the cache if one is there, else by apt, with lists
/// and state of its own beside the packages, so that the machine's own apt stays as it is.
///
/// # Errors
/// When apt cannot fetch or verify it.
pub fn fetch(suite: &str, arch: Arch, cache: &Path, refresh: bool) -> anyhow::Result<Kernel> {
    let dir = directory(suite, arch, cache);
    let root = dir.join("root");
    if refresh && root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    }
    if let Some(kernel) = unpacked(&root) {
        return Ok(kernel);
    }
    println!("== fetching the kernel of {suite} into {}", dir.display());
    let suite = Suite::open(suite, arch.debian(), &dir)?;
    let packages = kernel_packages(&suite, arch)?;
    suite.unpack(&packages, &root)?;
    unpacked(&root).with_context(|| format!("find a kernel in {packages:?}"))
}

/// These packages of the release `suite` and all that they depend on, unpacked in a folder.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_programs(
    suite: &str,
    arch: Arch,
    cache: &Path,
    packages: &[&str],
) -> anyhow::Result<PathBuf> {
    let dir = directory(suite, arch, cache);
    let root = dir.join("programs");
    if !root.exists() {
        println!("== fetching programs of {suite} into {}", dir.display());
        let suite = Suite::open(suite, arch.debian(), &dir)?;
        let packages = suite.with_dependencies(packages)?;
        suite.unpack(&packages, &root)?;
    }
    Ok(root)
}

fn directory(suite: &str, arch: Arch, cache: &Path) -> PathBuf {
    match arch {
        Arch::X86_64 => cache.join(suite),
        Arch::Aarch64 => cache.join(format!("{suite}-{}", arch.debian())),
    }
}

fn unpacked(root: &Path) -> Option<Kernel> {
    // trixie merged /lib into /usr/lib.
    let modules = ["usr/lib/modules", "lib/modules"]
        .iter()
        .filter_map(|folder| fs::read_dir(root.join(folder)).ok())
        .find_map(|mut folder| folder.next()?.ok())?
        .path();
    let release = modules.file_name()?.to_str()?.to_owned();
    // Since 2026 the image stands beside its modules.
    let image = [modules.join("vmlinuz"), root.join(format!("boot/vmlinuz-{release}"))]
        .into_iter()
        .find(|image| image.exists())?;
    Some(Kernel { release, image, modules })
}

/// The packages of the kernel that `linux-image-ARCHITECTURE` stands for now.
fn kernel_packages(suite: &Suite, arch: Arch) -> anyhow::Result<Vec<String>> {
    let newest = format!("linux-image-{}", arch.debian());
    let image = suite
        .depends(&newest)?
        .into_iter()
        .find(|package| package.starts_with("linux-image-"))
        .with_context(|| format!("find the kernel that {newest} depends on"))?;
    // Since 2026 the image package is empty and depends on these.
    let is_part = |package: &String| {
        package.starts_with("linux-binary-") || package.starts_with("linux-modules-")
    };
    let parts = suite.depends(&image)?.into_iter().filter(is_part);
    Ok(std::iter::once(image.clone()).chain(parts).collect())
}
