//! Debian's kernels, fetched and verified by apt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::arch::Arch;
use crate::command::{output_of, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

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
    let apt = Apt::new(suite, arch, &dir)?;
    let packages = apt.kernel_packages()?;
    apt.unpack(&packages, &root)?;
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
        let apt = Apt::new(suite, arch, &dir)?;
        let packages = apt.with_dependencies(packages)?;
        apt.unpack(&packages, &root)?;
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

/// apt with its own sources, lists and state.
struct Apt {
    config: PathBuf,
    /// Where packages are downloaded and unpacked before they go to their place.
    dir: PathBuf,
    arch: Arch,
}

impl Apt {
    fn new(suite: &str, arch: Arch, dir: &Path) -> anyhow::Result<Self> {
        for folder in ["apt/lists/partial", "apt/archives/partial", "apt/none"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let apt = dir.join("apt");
        let at = apt.display();
        let debian = arch.debian();
        let write = |name: &str, text: &str| {
            let path = apt.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write("sources.list", &format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n"))?;
        write("status", "")?;
        // Check-Valid-Until: a mirror may lag behind. What it serves is old then, but signed.
        write(
            "apt.conf",
            &format!(
                "Dir::Etc::SourceList \"{at}/sources.list\";\n\
                 Dir::Etc::SourceParts \"{at}/none\";\n\
                 Dir::Etc::Parts \"{at}/none\";\n\
                 Dir::State::Lists \"{at}/lists\";\n\
                 Dir::State::Status \"{at}/status\";\n\
                 Dir::Cache \"{at}\";\n\
                 APT::Architecture \"{debian}\";\n\
                 APT::Architectures {{ \"{debian}\"; }};\n\
                 APT::Sandbox::User \"root\";\n\
                 Acquire::Languages \"none\";\n\
                 Acquire::Check-Valid-Until \"false\";\n\
                 Acquire::Retries \"3\";\n"
            ),
        )?;
        let apt = Self { config: apt.join("apt.conf"), dir: dir.to_owned(), arch };
        run(&mut apt.command("apt-get", &["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("APT_CONFIG", &self.config);
        command
    }

    /// The packages of the kernel that `linux-image-ARCHITECTURE` stands for now.
    fn kernel_packages(&self) -> anyhow::Result<Vec<String>> {
        let newest = format!("linux-image-{}", self.arch.debian());
        let image = self
            .depends(&newest)?
            .into_iter()
            .find(|package| package.starts_with("linux-image-"))
            .with_context(|| format!("find the kernel that {newest} depends on"))?;
        // Since 2026 the image package is empty and depends on these.
        let is_part = |package: &String| {
            package.starts_with("linux-binary-") || package.starts_with("linux-modules-")
        };
        let parts = self.depends(&image)?.into_iter().filter(is_part);
        Ok(std::iter::once(image.clone()).chain(parts).collect())
    }

    fn depends(&self, package: &str) -> anyhow::Result<Vec<String>> {
        let text = output_of(&mut self.command("apt-cache", &["depends", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// What would be installed with these where nothing is.
    fn with_dependencies(&self, packages: &[&str]) -> anyhow::Result<Vec<String>> {
        let args = [&["-s", "-qq", "--no-install-recommends", "install"], packages].concat();
        let text = output_of(&mut self.command("apt-get", &args))?;
        let names = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them to `root`, which is there as a whole or not at all.
    fn unpack(&self, packages: &[String], root: &Path) -> anyhow::Result<()> {
        let (download, part) = (self.dir.join("packages"), self.dir.join("part"));
        for folder in [&download, &part] {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .with_context(|| format!("remove {}", folder.display()))?;
            }
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let mut get = self.command("apt-get", &["-qq", "download"]);
        run(get.args(packages).current_dir(&download))?;
        for entry in fs::read_dir(&download).context("list the packages")? {
            let package = entry.context("list the packages")?.path();
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&part))?;
        }
        fs::rename(&part, root).with_context(|| format!("move to {}", root.display()))?;
        fs::remove_dir_all(&download).context("remove the packages")
    }
}
