//! The files of another process, as that process sees them.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::fs::{Dir, Mode, OFlags};

use hopsight_posture::policy::{files::ConfigFiles, glob, time::UnixTime};
use hopsight_system::foreign::{self, Credentials};

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// What may be read through one root in all.
const MAX_BYTES: u64 = 128 << 20;
/// The most names of directories that patterns may go through: with symbolic links to `.` each part
/// of a pattern matches as many again.
const MAX_DIRECTORY_ENTRIES: usize = 100_000;
/// How long reading may take in all. It is looked at between files: one that is slow by itself holds
/// up its owner's lane ([`hopsight_system::readers`]).
const MAX_TIME: Duration = Duration::from_secs(10);

/// A root directory that is not ours: `/proc/PID/root`.
///
/// Paths are resolved by the kernel inside that root (`openat2` with `RESOLVE_IN_ROOT`, Linux
/// 5.6), so that an absolute symbolic link such as those in `sites-enabled` leads to the file the
/// process would open and never out of its root. Only regular files are read, without blocking.
#[derive(Debug)]
pub struct ForeignRoot {
    root: OwnedFd,
    /// Whose files they have to be to be read: nobody learns from the agent what a file says that
    /// they may not read themselves.
    reader: Option<Credentials>,
    budget: RefCell<Budget>,
}

/// What is left of it.
#[derive(Debug)]
struct Budget {
    bytes: u64,
    names: usize,
    until: Instant,
}

impl Budget {
    fn new() -> Self {
        Self { bytes: MAX_BYTES, names: MAX_DIRECTORY_ENTRIES, until: Instant::now() + MAX_TIME }
    }

    fn check_time(&self) -> io::Result<()> {
        let is_over = Instant::now() >= self.until;
        if is_over { Err(used_up("reading takes too long")) } else { Ok(()) }
    }
}

fn used_up(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, what)
}

fn directory_of(name: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", name.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Tells a file from what was at its path before. The kernel's file times move in steps of some
/// milliseconds: two files can have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    /// When it was last changed, or put there.
    pub changed_at: UnixTime,
    inode: u64,
    size: u64,
}

impl ForeignRoot {
    /// The root of a running process. It stays valid when the process ends.
    ///
    /// # Errors
    /// When the process is gone, or the agent may not look into it (`CAP_SYS_PTRACE`).
    pub fn of_process(pid: u32) -> anyhow::Result<Self> {
        let reader = Credentials::of_process(pid)
            .with_context(|| format!("find out whose process {pid} is"))?;
        let root = Self::at(Path::new(&format!("/proc/{pid}/root")))
            .with_context(|| format!("open the root directory of process {pid}"))?;
        Ok(Self { reader: Some(reader), ..root })
    }

    /// Any directory as a root.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn at(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty())?;
        Ok(Self { root, reader: None, budget: RefCell::new(Budget::new()) })
    }

    /// When a file was last written, replaced or renamed (the later of `mtime` and `ctime`: a
    /// copy may keep the former).
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn changed_at(&self, path: &Path) -> io::Result<UnixTime> {
        self.version(path).map(|version| version.changed_at)
    }

    /// What a file is now.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn version(&self, path: &Path) -> io::Result<FileVersion> {
        let file = File::from(self.name(path)?).metadata()?;
        let micros = |seconds: i64, nanoseconds: i64| {
            let part = |number: i64| u64::try_from(number).unwrap_or(0);
            UnixTime(
                part(seconds).saturating_mul(1_000_000).saturating_add(part(nanoseconds) / 1_000),
            )
        };
        let modified = micros(file.mtime(), file.mtime_nsec());
        let changed_at = modified.max(micros(file.ctime(), file.ctime_nsec()));
        Ok(FileVersion { changed_at, inode: file.ino(), size: file.len() })
    }

    fn name(&self, path: &Path) -> io::Result<OwnedFd> {
        foreign::name(self.root.as_fd(), path)
    }

    /// Names in a directory; none if it does not exist or is none.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut budget = self.budget.borrow_mut();
        budget.check_time()?;
        let opened = match self.name(directory).and_then(|name| directory_of(&name)) {
            Ok(opened) => opened,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in Dir::new(opened)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            budget.names = budget
                .names
                .checked_sub(1)
                .ok_or_else(|| used_up("too many names of directories"))?;
        }
        names.sort();
        Ok(names)
    }
}

impl ConfigFiles for ForeignRoot {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.budget.borrow().check_time()?;
        let file = foreign::regular(&self.name(path)?)?;
        if self.reader.as_ref().is_some_and(|reader| !reader.may_read(&file)) {
            let what = "the process itself may not read it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let mut content = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        let mut budget = self.budget.borrow_mut();
        let left = budget.bytes.checked_sub(content.len() as u64);
        budget.bytes = left.ok_or_else(|| used_up("more than 128 MiB in all"))?;
        Ok(content)
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let mut matched = vec![PathBuf::from("/")];
        let mut seen_pattern = false;
        for component in pattern.components() {
            let part = match component {
                Component::Normal(part) => part.to_string_lossy(),
                // The kernel goes up, for it knows where a symbolic link has led; never out of the
                // root.
                Component::ParentDir => "..".into(),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            if !glob::is_pattern(&part) {
                for path in &mut matched {
                    path.push(part.as_ref());
                }
                if seen_pattern {
                    matched.retain(|path| self.name(path).is_ok());
                }
                continue;
            }
            seen_pattern = true;
            let mut next = Vec::new();
            for directory in &matched {
                let names = self.names(directory)?;
                let hidden_wanted = part.starts_with('.');
                next.extend(
                    names
                        .iter()
                        .filter(|name| hidden_wanted || !name.starts_with('.'))
                        .filter(|name| glob::matches(&part, name))
                        .map(|name| directory.join(name)),
                );
            }
            matched = next;
        }
        Ok(matched)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::FileType;

    use super::*;
    use hopsight_posture::policy::nginx;

    /// A root with an nginx in it, laid out like Debian's.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/nginx");
        for directory in ["sites-available", "sites-enabled", "conf.d"] {
            fs::create_dir_all(etc.join(directory)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(etc.join(name), text).unwrap();
        write("nginx.conf", "http { include conf.d/*.conf; include sites-enabled/*; }");
        write("sites-available/shop", "server { location / { proxy_pass http://10.0.0.1:80; } }");
        write("conf.d/.hidden.conf", "broken {");
        // Absolute, as `a2ensite` and its like make them: it must not lead to our own /etc.
        symlink("/etc/nginx/sites-available/shop", etc.join("sites-enabled/shop")).unwrap();
        root
    }

    #[test]
    fn absolute_links_stay_inside_the_root() {
        let root = root();
        let files = ForeignRoot::at(root.path()).unwrap();
        let intent = nginx::read(&files, Path::new("/etc/nginx/nginx.conf")).unwrap();
        assert_eq!(intent.upstreams[0].target.to_string(), "10.0.0.1:80");
        assert_eq!(intent.files[1], Path::new("/etc/nginx/sites-enabled/shop"));
    }

    #[test]
    fn nothing_leads_out_of_the_root_or_blocks() {
        let root = root();
        symlink("../../../../../../etc/hostname", root.path().join("up")).unwrap();
        let fifo = root.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let files = ForeignRoot::at(root.path()).unwrap();
        for (path, kind) in [
            ("/up", io::ErrorKind::NotFound),
            ("/fifo", io::ErrorKind::InvalidInput),
            ("/etc", io::ErrorKind::InvalidInput),
        ] {
            assert_eq!(files.read(Path::new(path)).unwrap_err().kind(), kind, "{path}");
        }
    }

    #[test]
    fn globs_like_glob_3() {
        let root = root();
        let files = ForeignRoot::at(root.path()).unwrap();
        for (pattern, expected) in [
            ("/etc/nginx/*.conf", vec!["/etc/nginx/nginx.conf"]),
            ("/etc/*/nginx.conf", vec!["/etc/nginx/nginx.conf"]),
            ("/etc/*/absent.conf", vec![]),
            (
                "/etc/nginx/conf.d/../sites-available/*",
                vec!["/etc/nginx/conf.d/../sites-available/shop"],
            ),
            ("/etc/*/../nginx/*.conf", vec!["/etc/nginx/../nginx/nginx.conf"]),
            ("/etc/../../../etc/nginx/*.conf", vec!["/etc/../../../etc/nginx/nginx.conf"]),
            ("/etc/nginx/absent/../*.conf", vec![]),
            ("/etc/nginx/conf.d/*", vec![]),
            ("/etc/nginx/conf.d/.*", vec!["/etc/nginx/conf.d/.hidden.conf"]),
            ("/no/such/*", vec![]),
            (
                "/etc/nginx/sites-*/sh[a-z]p",
                vec!["/etc/nginx/sites-available/shop", "/etc/nginx/sites-enabled/shop"],
            ),
        ] {
            let found = files.glob(Path::new(pattern)).unwrap();
            let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_over_links_to_their_own_directory_ends() {
        let root = tempfile::tempdir().unwrap();
        for index in 0..100 {
            symlink(".", root.path().join(format!("l{index}"))).unwrap();
        }
        let files = ForeignRoot::at(root.path()).unwrap();
        let error = files.glob(Path::new("/*/*/*/*/*/*.conf")).unwrap_err();
        assert!(error.to_string().contains("too many"), "{error}");
    }

    #[test]
    fn what_is_read_has_a_limit_in_all() {
        let root = tempfile::tempdir().unwrap();
        let largest = fs::File::create(root.path().join("largest")).unwrap();
        largest.set_len(MAX_FILE_BYTES).unwrap();
        let files = ForeignRoot::at(root.path()).unwrap();
        let read = || files.read(Path::new("/largest")).map(|content| content.len());
        let read = (0..100).map(|_| read()).take_while(Result::is_ok).count();
        assert_eq!(read as u64, MAX_BYTES / MAX_FILE_BYTES);
        files.budget.borrow_mut().until = Instant::now();
        for error in [
            files.read(Path::new("/largest")).unwrap_err(),
            files.glob(Path::new("/*")).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "{error}");
        }
    }

    #[test]
    fn our_own_process_can_be_read_and_knows_when_files_changed() {
        let files = ForeignRoot::of_process(std::process::id()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "x").unwrap();
        assert_eq!(files.read(file.path()).unwrap(), b"x");
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        file.as_file().set_modified(old).unwrap();
        // That a copy keeps its time does not hide that the file is new.
        assert!(files.changed_at(file.path()).unwrap() > UnixTime::from_secs(1_600_000_000));
    }
}
