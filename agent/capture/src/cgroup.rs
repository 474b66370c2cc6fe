//! The cgroup v2 directory the network programs attach to.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use rustix::fs::fstatfs;

/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// An open cgroup v2 directory.
#[derive(Debug)]
pub struct Cgroup {
    /// Where it is.
    pub path: PathBuf,
    /// The directory.
    pub dir: File,
}

impl Cgroup {
    /// Opens `path`, or the root of the cgroup v2 hierarchy if there is none.
    ///
    /// # Errors
    /// There is no cgroup v2 mount, or `path` is not in one.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = match path {
            Some(path) => fs::canonicalize(path)
                .with_context(|| format!("find cgroup directory {}", path.display()))?,
            None => root()?,
        };
        let dir = File::open(&path)
            .with_context(|| format!("open cgroup directory {}", path.display()))?;
        let magic = fstatfs(&dir).context("read the filesystem type of the cgroup")?.f_type;
        if u64::try_from(magic).ok() != Some(CGROUP2_MAGIC) {
            bail!(
                "{} is not in a cgroup v2 filesystem: give --cgroup a directory below a mount of \
                 type cgroup2 (see /proc/mounts)",
                path.display()
            );
        }
        Ok(Self { path, dir })
    }
}

/// Whether a cgroup is still there. The kernel detaches programs from one that is removed without
/// telling anybody (`cgroup_bpf_offline`).
#[derive(Clone, Debug)]
pub(super) struct Presence {
    path: PathBuf,
    inode: u64,
}

impl Presence {
    pub(super) fn of(cgroup: &Cgroup) -> anyhow::Result<Self> {
        let inode = cgroup.dir.metadata().context("read the number of the cgroup")?.ino();
        Ok(Self { path: cgroup.path.clone(), inode })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another cgroup of the same name has another number.
    pub(super) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }
}

/// Which processes are below a cgroup.
#[derive(Clone, Debug)]
pub struct Scope {
    root: PathBuf,
    path: PathBuf,
}

impl Scope {
    /// Those below this one.
    #[must_use]
    pub fn new(cgroup: &Cgroup) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let root = mount_points(&mounts)
            .filter(|mount| cgroup.path.starts_with(mount))
            .max_by_key(|mount| mount.as_os_str().len())
            .unwrap_or_else(|| cgroup.path.clone());
        Self { root, path: cgroup.path.clone() }
    }

    /// Whether the process is there, or may be: a cgroup that is not shown is no other.
    #[must_use]
    pub fn has(&self, pid: u32) -> bool {
        self.cgroup_id(pid).is_some()
    }

    /// Inode number of the process's cgroup directory, which is the kernel's number for it; 0
    /// where it is not shown. `None`: the process is elsewhere.
    pub(super) fn cgroup_id(&self, pid: u32) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let Some(directory) = self.directory_in(&text) else { return Some(0) };
        let inside = directory.starts_with(&self.path);
        inside.then(|| fs::metadata(directory).map_or(0, |metadata| metadata.ino()))
    }

    /// The directory in the text of `/proc/PID/cgroup`. `None`: there is none below the root (a
    /// cgroup namespace shows others as `/../…`).
    fn directory_in(&self, text: &str) -> Option<PathBuf> {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        (!path.starts_with("..")).then(|| self.root.join(path))
    }
}

/// The root of the cgroup v2 hierarchy: `/sys/fs/cgroup` on unified systems, usually
/// `/sys/fs/cgroup/unified` on hybrid ones.
fn root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    root_in(&mounts).context(
        "no cgroup v2 filesystem is mounted: mount one with `mount -t cgroup2 none \
         /sys/fs/cgroup/unified`, or boot with systemd.unified_cgroup_hierarchy=1",
    )
}

/// The shortest mount point of type cgroup2: others show a part of the hierarchy, or the same one
/// for somebody else (containers).
fn root_in(mounts: &str) -> Option<PathBuf> {
    mount_points(mounts).min_by_key(|mount| mount.as_os_str().len())
}

/// The mount points of type cgroup2 in the text of `/proc/mounts`.
fn mount_points(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(unescape(target)))
    })
}

/// Undoes the octal escapes of `/proc/mounts` (space, tab, newline, backslash).
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |field, (escape, character)| field.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_in_every_kind_of_hierarchy() {
        for (name, mounts, expected) in [
            (
                "unified",
                "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n",
                Some("/sys/fs/cgroup"),
            ),
            (
                "hybrid",
                "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                 cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                 cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                "a container's view beside the host's",
                "cgroup2 /var/lib/machines/x/sys/fs/cgroup cgroup2 ro 0 0\n\
                 cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
                Some("/sys/fs/cgroup"),
            ),
            ("escaped", "none /mnt/my\\040group cgroup2 rw 0 0\n", Some("/mnt/my group")),
            ("v1 only", "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", None),
            ("nonsense", "cgroup2\n\n  \n", None),
        ] {
            assert_eq!(root_in(mounts), expected.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn a_process_is_placed_by_its_cgroup_file() {
        let scope = Scope { root: "/cg".into(), path: "/cg/pods".into() };
        for (name, text, expected) in [
            ("below", "0::/pods/a\n", Some("/cg/pods/a")),
            ("hybrid", "5:cpu:/x\n0::/pods\n", Some("/cg/pods")),
            ("elsewhere", "0::/system.slice\n", Some("/cg/system.slice")),
            ("in another namespace", "0::/../b\n", None),
            ("v1 only", "5:cpu:/x\n", None),
            ("gone", "", None),
        ] {
            assert_eq!(scope.directory_in(text), expected.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn a_directory_elsewhere_is_refused() {
        let error = Cgroup::open(Some(Path::new("/proc"))).expect_err("proc is no cgroup");
        assert!(error.to_string().contains("--cgroup"), "{error}");
    }
}
