//! SIGHUP, by which a daemon is asked to begin its files anew: the file of events is opened again
//! (logrotate(8) has moved the old one away), and what changed in the configuration is told.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use serde_json::Value;

use crate::config::Config;

/// How often SIGHUP came; clones share it.
#[derive(Clone, Debug, Default)]
pub struct HangUps(Arc<AtomicU64>);

impl HangUps {
    /// It came.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Has SIGHUP wait from now on, in this thread and in those that it starts: it would end an agent that
/// does not listen yet, and the kernel gives up verifying a program for whom a signal waits.
pub fn hold_back() {
    change_mask(libc::SIG_BLOCK);
}

/// Lets it come to this thread again.
pub fn let_through() {
    change_mask(libc::SIG_UNBLOCK);
}

#[expect(unsafe_code, reason = "calls of the C library")]
fn change_mask(how: libc::c_int) {
    // SAFETY: the set is ours, and initialized before it is used; none of these calls can fail with
    // valid arguments.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGHUP);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

/// The file of events, opened again by the first write after SIGHUP.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
    hang_ups: HangUps,
    seen: u64,
}

impl EventFile {
    /// Opens it for appending.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, hang_ups: HangUps) -> anyhow::Result<Self> {
        let file = append_to(path)
            .with_context(|| format!("open {} for connection events", path.display()))?;
        Ok(Self { path: path.to_owned(), file, seen: hang_ups.count(), hang_ups })
    }

    /// The directory it is opened in.
    pub fn directory(path: &Path) -> PathBuf {
        match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for EventFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.hang_ups.count();
        if std::mem::replace(&mut self.seen, count) != count {
            match append_to(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "cannot open the file of events anew, and go on with the old one; the agent's \
                     user must be able to make files in its directory"
                ),
            }
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The configuration file that the agent was started with.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    said: Config,
}

impl ConfigFile {
    /// A file that says this.
    #[must_use]
    pub fn new(path: PathBuf, said: Config) -> Self {
        Self { path, said }
    }

    /// The directory it is in.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        EventFile::directory(&self.path)
    }

    /// Says in the log how the file differs from what the agent runs with. Privileges are gone and
    /// programs are attached: only a restart brings it into force.
    pub fn tell_changes(&self) {
        match self.changes() {
            Ok(changed) if changed.is_empty() => {
                tracing::info!("the configuration file says what is in force");
            }
            Ok(changed) => tracing::warn!(
                "the configuration file has changed: {}; restart hopsight to bring it into force",
                changed.join(", ")
            ),
            Err(error) => tracing::error!(
                "the configuration file cannot be used, and the agent goes on as it is: {error:#}"
            ),
        }
    }

    /// The keys whose values differ.
    fn changes(&self) -> anyhow::Result<Vec<String>> {
        let now = Config::read(&self.path)?;
        let value = |config: &Config| serde_json::to_value(config).context("compare it");
        let mut changed = Vec::new();
        compare(&value(&self.said)?, &value(&now)?, "", &mut changed);
        Ok(changed)
    }
}

fn compare(before: &Value, now: &Value, path: &str, changed: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in now {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(before.get(key).unwrap_or(&Value::Null), value, &path, changed);
            }
        }
        (before, now) if before != now => changed.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("events"), directory.path().join("events.1"));
        let hang_ups = HangUps::default();
        let mut file = EventFile::open(&path, hang_ups.clone()).unwrap();
        file.write_all(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.write_all(b"two\n").unwrap();
        hang_ups.note();
        file.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");

        // Where it cannot be, nothing is lost.
        hang_ups.note();
        let mut file = EventFile { path: directory.path().join("no/events"), ..file };
        file.write_all(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }

    #[test]
    fn names_the_keys_that_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hopsight.toml");
        let file = ConfigFile::new(path.clone(), Config::default());
        for (now, changed) in [
            ("", &[][..]),
            ("[http]\naddress = \"127.0.0.1:9464\"\n", &[]),
            (
                "[http]\naddress = \"127.0.0.1:1\"\n[hops]\nmax_hops = 7\n",
                &["hops.max_hops", "http.address"],
            ),
            ("[events]\nfile = \"/tmp/x\"\n", &["events.file"]),
        ] {
            fs::write(&path, now).unwrap();
            assert_eq!(file.changes().unwrap(), changed, "{now}");
        }
        fs::write(&path, "[http\n").unwrap();
        assert!(file.changes().is_err());
    }
}
