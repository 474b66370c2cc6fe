//! Files that a process executes code from, by `/proc/PID/maps`.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::foreign::{self, Go};

/// Bytes of a process's mappings that are looked at: a browser has less than one megabyte of them,
/// and somebody who makes as many with as long paths as the kernel allows some hundred.
const MAX_MAPS: u64 = 16 << 20;
/// Files that a process may execute code from; the others are passed over.
const MAX_MAPPED_FILES: usize = 4096;

/// One executable file mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Offset of the first address in the file.
    pub offset: u64,
    /// Inode number, as the kernel writes it here (on some overlay mounts it differs from `stat`).
    pub inode: u64,
    /// Path in the mount namespace of the process, without the mark of a deleted file.
    pub path: PathBuf,
}

impl Mapping {
    /// Parses a line (`proc_pid_maps(5)`); `None` for anything but an executable file mapping.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let is_executable = fields.next()?.as_bytes().get(2) == Some(&b'x');
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let _device = fields.next()?;
        let inode = fields.next()?.parse().ok()?;
        let path = fields.next()?.trim_start();
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        (is_executable && inode != 0 && path.starts_with('/')).then(|| Self {
            start: u64::from_str_radix(start, 16).unwrap_or_default(),
            end: u64::from_str_radix(end, 16).unwrap_or_default(),
            offset,
            inode,
            path: path.into(),
        })
    }

    /// Final component of the path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Opens exactly the mapped file: through the mapping itself, which works for deleted and
    /// replaced files and in every mount namespace, else by path below the process's root.
    ///
    /// # Errors
    /// When the file cannot be opened, or its path now leads to another file.
    pub fn open(&self, process: &Path) -> io::Result<File> {
        let mapping = process.join(format!("map_files/{:x}-{:x}", self.start, self.end));
        File::open(mapping).or_else(|_| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(process.join("root"), flags, Mode::empty())?;
            let name = foreign::name(root.as_fd(), &self.path)?;
            if rustix::fs::fstat(name.as_fd())?.st_ino != self.inode {
                let what = "the file on disk has been replaced";
                return Err(io::Error::new(io::ErrorKind::NotFound, what));
            }
            foreign::regular(&name)
        })
    }
}

/// Executable file mappings of the process whose `/proc` directory is given, first one per file.
///
/// # Errors
/// When the process is gone or may not be inspected, or has more mappings than are looked at.
pub fn executable_files(process: &Path) -> io::Result<Vec<Mapping>> {
    let mut files = Vec::new();
    let mut known = HashSet::new();
    foreign::lines(&process.join("maps"), MAX_MAPS, |line| {
        if let Some(mapping) = Mapping::parse(&String::from_utf8_lossy(line))
            && known.insert((mapping.inode, mapping.path.clone()))
        {
            files.push(mapping);
        }
        if files.len() < MAX_MAPPED_FILES { Go::On } else { Go::Enough }
    })?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_are_listed() {
        for (name, line, expected) in [
            (
                "library",
                "7f00-7f80 r-xp 0001f000 08:01 42                         /usr/lib/libssl.so.3",
                Some((0x7f00, 0x1f000, 42, "/usr/lib/libssl.so.3")),
            ),
            (
                "replaced on disk",
                "7f00-7f80 r-xp 00000000 08:01 42   /usr/lib/libssl.so.3 (deleted)",
                Some((0x7f00, 0, 42, "/usr/lib/libssl.so.3")),
            ),
            (
                "spaces in the path",
                "7f00-7f80 r-xp 00000000 00:1f 7 /opt/a b/libssl.so",
                Some((0x7f00, 0, 7, "/opt/a b/libssl.so")),
            ),
            ("data", "7f00-7f80 rw-p 00000000 08:01 42 /usr/lib/libssl.so.3", None),
            ("anonymous", "7f00-7f80 r-xp 00000000 00:00 0 ", None),
            ("vdso", "7f00-7f80 r-xp 00000000 00:00 0 [vdso]", None),
            ("cut", "7f00-7f80 r-xp", None),
        ] {
            let parsed = Mapping::parse(line);
            let parsed = parsed.as_ref();
            let seen = parsed.map(|m| (m.start, m.offset, m.inode, m.path.to_str().unwrap()));
            assert_eq!(seen, expected, "{name}");
        }
    }

    #[test]
    fn a_running_program_is_opened_after_its_file_was_removed() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("sleep");
        std::fs::copy("/bin/sleep", &copy).unwrap();
        let mut child = std::process::Command::new(&copy).arg("60").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let mapping = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let files = executable_files(&process).ok()?;
            files.into_iter().find(|file| file.path == copy)
        });
        std::fs::remove_file(&copy).unwrap();
        let opened = mapping.map(|mapping| mapping.open(&process));
        child.kill().unwrap();
        child.wait().unwrap();
        match opened.unwrap() {
            Ok(file) => assert_eq!(
                file.metadata().unwrap().len(),
                std::fs::metadata("/bin/sleep").unwrap().len()
            ),
            Err(error) => hopsight_test_support::not_run(
                "map_files",
                &format!("needs CAP_CHECKPOINT_RESTORE: {error}"),
            ),
        }
    }
}
