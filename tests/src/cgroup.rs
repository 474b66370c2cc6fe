//! A cgroup v2 directory of the test's own: an agent that is attached to it sees nothing else of
//! the machine, so that counts are exact.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;

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
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("hopsight-{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, root })
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

    /// Moves a process and its descendants here.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn adopt(&self, pid: u32) -> anyhow::Result<()> {
        for pid in family(pid) {
            fs::write(self.path.join("cgroup.procs"), pid.to_string())
                .with_context(|| format!("move process {pid} to {}", self.path.display()))?;
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

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}
