//! A small state that outlives the agent: one JSON file, replaced as a whole.
//!
//! What has to survive is one value (the open drift), written whenever it changes and read once.
//! A file that is replaced atomically does that, can be read with any tool and needs no repair; a
//! database would bring its own format, locks and upgrades for nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of the file's layout.
const VERSION: u32 = 1;
/// The largest file that is read.
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
    /// What is in the file, so that it is not written again.
    written: Option<Vec<u8>>,
}

impl StateFile {
    /// A state file at `path`, which need not exist; its directory has to.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), written: None }
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
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(T::default()),
            Err(error) => return Err(error).with_context(|| format!("open the state file {path}")),
        };
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

    /// Renames a file that cannot be used to `*.unusable`, for people to look at, and returns its
    /// new path.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self) -> anyhow::Result<PathBuf> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".unusable");
        let aside = PathBuf::from(aside);
        fs::rename(&self.path, &aside)
            .with_context(|| format!("rename {} to {}", self.path.display(), aside.display()))?;
        Ok(aside)
    }

    /// Replaces the state, if it differs from what was written last. After a crash at any moment
    /// the file holds the old state or the new one.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn save<T: Serialize>(&mut self, state: &T) -> anyhow::Result<()> {
        let envelope = Envelope { version: VERSION, state };
        let bytes = serde_json::to_vec(&envelope).context("encode the state")?;
        if self.written.as_ref() == Some(&bytes) {
            return Ok(());
        }
        self.replace(&bytes)
            .with_context(|| format!("write the state file {}", self.path.display()))?;
        self.written = Some(bytes);
        Ok(())
    }

    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        // The new name is on disk only when its directory is.
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = StateFile::new(directory.path().join("state.json"));
        assert_eq!(file.load::<Vec<u32>>().unwrap(), Vec::<u32>::new());
        file.save(&vec![1, 2]).unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), [1, 2]);
        let written = fs::metadata(file.path()).unwrap();
        assert_eq!(written.mode() & 0o777, 0o600);
        file.save(&vec![1, 2]).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().ino(), written.ino(), "written again");
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
    fn a_directory_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = StateFile::new(directory.path().join("no/state.json"));
        let error = format!("{:#}", file.save(&1).unwrap_err());
        assert!(error.contains("no/state.json"), "{error}");
    }
}
