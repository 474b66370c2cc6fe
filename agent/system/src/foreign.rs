//! Reading what belongs to another process, which may have made it to harm whoever reads it: never
//! more than a bound, never anything but a regular file, and never waiting for somebody to write.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstatfs};
use serde::{Deserialize, Serialize};

/// The most that is read of one fact of a process, such as its arguments. The kernel has no bound on
/// those: an argument may be a terabyte of zeros in a sparse file.
const MAX_FACT: u64 = 64 << 10;

/// Type of the proc filesystem (`PROC_SUPER_MAGIC` of `linux/magic.h`).
const PROC_MAGIC: i64 = 0x9fa0;

/// The beginning of a file of `/proc/PID`, up to 64 KiB.
///
/// # Errors
/// When the process is gone or may not be inspected.
pub fn fact(pid: u32, name: &str) -> io::Result<Vec<u8>> {
    beginning(Path::new(&format!("/proc/{pid}/{name}")), MAX_FACT)
}

/// The beginning of a file of `/proc`, up to `limit` bytes.
///
/// # Errors
/// When the process is gone or may not be inspected.
pub fn beginning(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Hands each line of a file of `/proc` to `line`, one at a time, until it says [`Go::Enough`].
///
/// # Errors
/// When the process is gone or may not be inspected; [`io::ErrorKind::FileTooLarge`] for a file
/// longer than `limit` bytes.
pub fn lines(path: &Path, limit: u64, mut line: impl FnMut(&[u8]) -> Go) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?.take(limit));
    let mut current = Vec::new();
    loop {
        current.clear();
        if reader.read_until(b'\n', &mut current)? == 0 {
            break;
        }
        if line(current.strip_suffix(b"\n").unwrap_or(&current)) == Go::Enough {
            return Ok(());
        }
    }
    if reader.get_ref().limit() == 0 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than is read"));
    }
    Ok(())
}

/// Whether more lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// More.
    On,
    /// No more.
    Enough,
}

/// A path below a root directory that is not ours, opened as a name only (`O_PATH`): nothing is
/// waited for and no device is touched.
///
/// The kernel resolves it inside that root (`openat2` with `RESOLVE_IN_ROOT`, Linux 5.6), so that an
/// absolute symbolic link leads to the file that the process would open and never out of its root.
///
/// # Errors
/// As `openat2(2)`.
pub fn name(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The path may be swapped while it is resolved; the kernel then asks to try again.
    for _ in 0..8 {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Opens for reading what [`name`] found, if it is a regular file, and none of the proc filesystem:
/// what looks like one there may have no end.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for anything else; as `open(2)`.
pub fn regular(name: &OwnedFd) -> io::Result<File> {
    let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let stat = rustix::fs::fstat(name.as_fd())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refused("not a regular file");
    }
    if fstatfs(name.as_fd())?.f_type == PROC_MAGIC {
        return refused("a file of the proc filesystem");
    }
    // The descriptor stands for that very file, whatever is at its path by now.
    let path = format!("/proc/self/fd/{}", name.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Who a process is for the files it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    user: u32,
    groups: Vec<u32>,
    /// It lives in a user namespace of its own.
    is_namespaced: bool,
    /// It may read any file (`CAP_DAC_OVERRIDE` or `CAP_DAC_READ_SEARCH`).
    reads_all: bool,
}

impl Credentials {
    /// Those of a running process, from `/proc/PID/status`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let status = fact(pid, "status")?;
        let mut credentials = Self::parse(&String::from_utf8_lossy(&status))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no user in its status"))?;
        // Capabilities in a user namespace of its own say nothing of the files out here.
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user"));
        credentials.is_namespaced = namespace(&pid.to_string())? != namespace("self")?;
        credentials.reads_all &= !credentials.is_namespaced;
        Ok(credentials)
    }

    /// Where its turn is when its files are to be read.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        if self.is_namespaced { Lane::Namespaces } else { Lane::User(self.user) }
    }

    fn parse(status: &str) -> Option<Self> {
        const READS_ALL: u64 = 1 << 1 | 1 << 2;
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        // Real, effective, saved, file system.
        let last = |name: &str| field(name)?.split_ascii_whitespace().nth(3)?.parse().ok();
        let groups = field("Groups").unwrap_or_default().split_ascii_whitespace();
        let groups = groups.filter_map(|group| group.parse().ok()).chain(last("Gid")).collect();
        let effective = u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?;
        Some(Self {
            user: last("Uid")?,
            groups,
            is_namespaced: false,
            reads_all: effective & READS_ALL != 0,
        })
    }

    /// Whether the process may read a file, by its permission bits; access lists and the directories
    /// on the way are not looked at.
    #[must_use]
    pub fn may_read(&self, file: &File) -> bool {
        let Ok(metadata) = file.metadata() else { return false };
        let bit = if metadata.uid() == self.user {
            0o400
        } else if self.groups.contains(&metadata.gid()) {
            0o040
        } else {
            0o004
        };
        self.reads_all || metadata.mode() & bit != 0
    }
}

/// Whose processes a piece of work is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Those of a user.
    User(u32),
    /// Those in user namespaces of their own, in which one person may be any number of users.
    Namespaces,
}

impl Lane {
    /// The lane of a running process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Credentials::of_process(pid).map(|credentials| credentials.lane())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn root(directory: &Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(directory, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
        fs::write(directory.path().join("file"), "x").unwrap();
        fs::create_dir(directory.path().join("directory")).unwrap();
        let root = root(directory.path());
        for (path, opens) in [("/file", true), ("/fifo", false), ("/directory", false)] {
            let opened = name(root.as_fd(), Path::new(path)).and_then(|name| regular(&name));
            assert_eq!(opened.is_ok(), opens, "{path}: {opened:?}");
        }
        let proc = self::root(Path::new("/proc"));
        let opened = name(proc.as_fd(), Path::new("/uptime")).and_then(|name| regular(&name));
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn lines_have_an_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\ntwo\nthree").unwrap();
        for (case, limit, enough_after, expected) in [
            ("all", 100, 9, Ok(3)),
            ("no more are wanted", 100, 2, Ok(2)),
            ("too long", 5, 9, Err(io::ErrorKind::FileTooLarge)),
        ] {
            let mut seen = 0;
            let read = lines(file.path(), limit, |_| {
                seen += 1;
                if seen == enough_after { Go::Enough } else { Go::On }
            });
            assert_eq!(read.map(|()| seen).map_err(|error| error.kind()), expected, "{case}");
        }
    }

    #[test]
    fn a_process_reads_what_its_user_may_read() {
        let status = |user: u32, groups: &str, capabilities: &str| {
            let text = format!(
                "Name:\tnginx\nUid:\t0\t0\t0\t{user}\nGid:\t7\t7\t7\t7\nGroups:\t{groups}\n\
                 CapEff:\t{capabilities}\n"
            );
            Credentials::parse(&text).unwrap()
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let (owner, group) = (metadata.uid(), metadata.gid().to_string());
        let other = owner + 1;
        for (case, mode, credentials, expected) in [
            ("its owner", 0o400, status(owner, "", "0"), true),
            ("its owner, without permission", 0o044, status(owner, "", "0"), false),
            ("of its group", 0o040, status(other, &group, "0"), true),
            ("of another group", 0o440, status(other, "99999", "0"), false),
            ("anybody", 0o004, status(other, "", "0"), true),
            ("with CAP_DAC_READ_SEARCH", 0o000, status(other, "", "0000000000000004"), true),
            ("with another capability", 0o000, status(other, "", "0000000000000400"), false),
        ] {
            file.as_file().set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(credentials.may_read(file.as_file()), expected, "{case}");
        }
    }

    #[test]
    fn a_fact_is_read_up_to_its_bound() {
        assert!(!fact(std::process::id(), "cmdline").unwrap().is_empty());
        assert_eq!(fact(1 << 23, "cmdline").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
