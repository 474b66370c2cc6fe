//! Packages of another suite of Debian than this machine's, fetched and verified by apt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::command::{output_of, run};

/// What Debian signs its archive with (`debian-archive-keyring`).
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where Debian has its archive.
pub const MIRROR: &str = "http://deb.debian.org/debian";

/// One suite of Debian's archive, with sources, lists and state of its own: the machine's apt stays as
/// it is.
pub struct Suite {
    config: PathBuf,
    /// Where packages are downloaded and unpacked before they go to their place.
    dir: PathBuf,
}

impl Suite {
    /// The suite `name` for an architecture, in Debian's word. What apt keeps of it is in `dir`.
    ///
    /// # Errors
    /// When apt cannot fetch or verify what the suite holds.
    pub fn open(name: &str, architecture: &str, dir: &Path) -> anyhow::Result<Self> {
        for folder in ["apt/lists/partial", "apt/archives/partial", "apt/none"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let apt = dir.join("apt");
        let at = apt.display();
        let write = |file: &str, text: &str| {
            let path = apt.join(file);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write("sources.list", &format!("deb [signed-by={KEYRING}] {MIRROR} {name} main\n"))?;
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
                 APT::Architecture \"{architecture}\";\n\
                 APT::Architectures {{ \"{architecture}\"; }};\n\
                 APT::Sandbox::User \"root\";\n\
                 Acquire::Languages \"none\";\n\
                 Acquire::Check-Valid-Until \"false\";\n\
                 Acquire::Retries \"3\";\n"
            ),
        )?;
        let suite = Self { config: apt.join("apt.conf"), dir: dir.to_owned() };
        run(&mut suite.command("apt-get", &["-qq", "update"]))?;
        Ok(suite)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("APT_CONFIG", &self.config);
        command
    }

    /// What a package depends on.
    ///
    /// # Errors
    /// When apt cannot say.
    pub fn depends(&self, package: &str) -> anyhow::Result<Vec<String>> {
        let text = output_of(&mut self.command("apt-cache", &["depends", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// What would be installed with these where nothing is.
    ///
    /// # Errors
    /// When apt cannot say.
    pub fn with_dependencies(&self, packages: &[&str]) -> anyhow::Result<Vec<String>> {
        let args = [&["-s", "-qq", "--no-install-recommends", "install"], packages].concat();
        let text = output_of(&mut self.command("apt-get", &args))?;
        let names = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them to `root`, which is there as a whole or not at all.
    ///
    /// # Errors
    /// When apt cannot fetch or verify them.
    pub fn unpack(&self, packages: &[String], root: &Path) -> anyhow::Result<()> {
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
