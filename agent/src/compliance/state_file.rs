//! A small state that outlives the agent: one JSON file, replaced as a whole.
//!
//! What has to survive is one value (hops and open drift), written when it changes and read once. A
//! file that is replaced atomically does that, can be read with any tool and needs no repair; a
//! database would bring its own format, locks and upgrades for nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, ErrorKind, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of the file's layout.
const VERSION: u32 = 1;
/// The largest file that is read or written.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    state: T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Where the state is kept.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// A state file at `path`, which need not exist; its directory has to.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the state; the default one if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is none of ours. It is left as it is: move it away, or start
    /// without it ([`StateFile::set_aside`]).
    pub fn load<T: DeserializeOwned + Default>(&self) -> anyhow::Result<T> {
        let path = self.path.display();
        // Neither what a link points to, nor a pipe to wait for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = flags.try_into().context("pass flags to open(2)")?;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(&self.path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(T::default()),
            Err(error) => return Err(error).with_context(|| format!("open the state file {path}")),
        };
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        anyhow::ensure!(is_file, "the state file {path} is no regular file");
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("read the state file {path}"))?;
        anyhow::ensure!(bytes.len() as u64 <= MAX_BYTES, "the state file {path} is too large");
        let damaged = || format!("the state file {path} is damaged");
        let Version { version } = serde_json::from_slice(&bytes).with_context(damaged)?;
        anyhow::ensure!(
            version == VERSION,
            "the state file {path} has version {version}, this hopsight knows version {VERSION}"
        );
        let envelope: Envelope<T> = serde_json::from_slice(&bytes).with_context(damaged)?;
        Ok(envelope.state)
    }

    fn aside(&self) -> PathBuf {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".unusable");
        aside.into()
    }

    /// A file that was set aside and is still there.
    #[must_use]
    pub fn left_aside(&self) -> Option<PathBuf> {
        Some(self.aside()).filter(|aside| aside.exists())
    }

    /// Renames a file that cannot be used to `*.unusable`, for people to look at, and returns its
    /// new path.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self) -> anyhow::Result<PathBuf> {
        let aside = self.aside();
        fs::rename(&self.path, &aside)
            .with_context(|| format!("rename {} to {}", self.path.display(), aside.display()))?;
        Ok(aside)
    }

    /// Replaces the state. After a crash at any moment the file holds the old state or the new one.
    ///
    /// # Errors
    /// When the directory cannot be written to, or the state is larger than what would be read.
    pub fn save<T: Serialize>(&self, state: &T) -> anyhow::Result<()> {
        self.replace(&Envelope { version: VERSION, state })
            .with_context(|| format!("write the state file {}", self.path.display()))
    }

    fn replace(&self, state: &impl Serialize) -> std::io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        // One that is left of a crash, or that somebody else put there.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut bounded = BufWriter::new(Bounded { file, left: MAX_BYTES });
        serde_json::to_writer(&mut bounded, state)?;
        bounded.flush()?;
        bounded.get_ref().file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        // The new name is on disk only when its directory is.
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }
}

/// A file that may grow to a size.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        let left = self.left.checked_sub(written as u64);
        self.left = left.ok_or(ErrorKind::FileTooLarge)?;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("state.json"));
        assert_eq!(file.load::<Vec<u32>>().unwrap(), Vec::<u32>::new());
        file.save(&vec![1, 2]).unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), [1, 2]);
        let written = fs::metadata(file.path()).unwrap();
        assert_eq!(written.mode() & 0o777, 0o600);
        file.save(&vec![3]).unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), [3]);
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn files_that_cannot_be_used_say_why_and_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("state.json"));
        for (content, expected) in [
            ("", "is damaged"),
            ("{\"version\":1,\"state\":[1", "is damaged"),
            ("{\"version\":1,\"state\":\"x\"}", "is damaged"),
            ("{\"version\":9,\"state\":[]}", "has version 9"),
        ] {
            fs::write(file.path(), content).unwrap();
            let error = format!("{:#}", file.load::<Vec<u32>>().unwrap_err());
            assert!(error.contains(expected), "{content}: {error}");
            assert_eq!(fs::read_to_string(file.path()).unwrap(), content);
        }
        let aside = file.set_aside().unwrap();
        assert!(aside.exists() && !file.path().exists());
        assert_eq!(file.load::<Vec<u32>>().unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn links_and_pipes_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "{\"version\":1,\"state\":[1]}").unwrap();
        let file = StateFile::new(directory.path().join("state.json"));
        symlink(&other, file.path()).unwrap();
        let error = format!("{:#}", file.load::<Vec<u32>>().unwrap_err());
        assert!(error.contains("open the state file"), "{error}");
        // What is written replaces links, and leaves alone what they point to.
        symlink(&other, directory.path().join("state.json.new")).unwrap();
        file.save(&vec![2]).unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), [2]);
        assert!(fs::read_to_string(&other).unwrap().contains("[1]"));

        let pipe = StateFile::new(directory.path().join("pipe"));
        let made = std::process::Command::new("mkfifo").arg(pipe.path()).status().unwrap();
        assert!(made.success());
        let error = format!("{:#}", pipe.load::<Vec<u32>>().unwrap_err());
        assert!(error.contains("no regular file"), "{error}");
    }

    #[test]
    fn no_more_is_written_than_would_be_read() {
        let file = tempfile::tempfile().unwrap();
        let mut bounded = Bounded { file, left: 4 };
        assert_eq!(bounded.write(b"1234").unwrap(), 4);
        assert_eq!(bounded.write(b"5").unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("no/state.json"));
        let error = format!("{:#}", file.save(&1).unwrap_err());
        assert!(error.contains("no/state.json"), "{error}");
    }
}
