//! A cgroup v2 directory of the test's own: an agent that is attached to it sees nothing else of
//! the machine, so that counts are exact and tests may run side by side.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Context as _;
use rustix::io::Errno;

use crate::place::Place;

const PREFIX: &str = "hopsight-";

/// A cgroup that is removed when dropped; processes in it go back to the root.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    root: PathBuf,
}

impl Cgroup {
    /// Makes one below the root of the hierarchy.
    ///
    /// # Errors
    /// Where there is no cgroup v2 hierarchy, or it may not be changed.
    pub fn create() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = hopsight_capture::Cgroup::open(None)?.path;
        remove_abandoned(&root);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{PREFIX}{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, root })
    }

    /// The one in which this process is from the first call on, with whatever it starts: for tests
    /// that watch their own threads. The next test removes it, as it lives as long as the process.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn of_this_process() -> anyhow::Result<&'static Path> {
        static OWN: OnceLock<Result<Cgroup, String>> = OnceLock::new();
        let enter = || {
            let own = Self::create()?;
            own.adopt(process::id())?;
            anyhow::Ok(own)
        };
        let own = OWN.get_or_init(|| enter().map_err(|error| format!("{error:#}")));
        own.as_ref().map(Self::path).map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Makes one inside.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn child(&self, name: &str) -> anyhow::Result<Self> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, root: self.root.clone() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The agent's options for watching it and nothing else.
    ///
    /// # Errors
    /// When its path is not UTF-8.
    pub fn options(&self) -> anyhow::Result<[&str; 2]> {
        Ok(["--cgroup", self.path.to_str().context("the cgroup's path is not UTF-8")?])
    }

    /// It as the place of a program, from its first instruction on, and of its children: for what an
    /// agent watches.
    #[must_use]
    pub fn place(&self) -> Place {
        // Writing 0 moves the writer (cgroups(7)), which then becomes the program.
        let join = "echo 0 > \"$0/cgroup.procs\" && exec \"$@\"";
        Place::behind(["sh".into(), "-c".into(), join.into(), self.path.clone().into()], true)
    }

    /// Moves a process and its descendants here, also those that it starts meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn adopt(&self, pid: u32) -> anyhow::Result<()> {
        let mut moved = HashSet::new();
        // Whoever is here has children here; those from before are in the next listing.
        while let Some(pid) = family(pid).into_iter().find(|pid| !moved.contains(pid)) {
            match fs::write(self.path.join("cgroup.procs"), pid.to_string()) {
                // A descendant that has ended.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                result => result
                    .with_context(|| format!("move process {pid} to {}", self.path.display()))?,
            }
            moved.insert(pid);
        }
        Ok(())
    }

    /// Moves every process out of it to the root.
    pub fn empty(&self) {
        let processes = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            // It may have ended.
            let _ = fs::write(self.root.join("cgroup.procs"), pid);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.empty();
        if self.path.exists()
            && let Err(error) = fs::remove_dir(&self.path)
        {
            eprintln!("cannot remove the cgroup {}: {error}", self.path.display());
        }
    }
}

/// Removes empty cgroups of ours whose process is gone.
fn remove_abandoned(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_number = |pid: &&str| pid.parse::<u32>().is_ok();
        if owner.filter(is_number).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another test may be doing the same; one with processes stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}
