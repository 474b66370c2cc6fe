//! Writes what a source says to a file that replay reads.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;

use super::{Source, SourceState};
use hopsight_core::model::{ConnectionId, Event};

/// A source whose events are also recorded, one JSON object per line.
///
/// The file holds the captured beginnings of connections, handshake bytes and the first bytes of
/// clear text: it is for the owner's eyes (mode 0600).
pub struct Recording<S> {
    source: S,
    file: BufWriter<File>,
}

impl<S: Source> Recording<S> {
    /// Records what `source` says to an empty file.
    pub fn new(source: S, file: RecordFile) -> Self {
        Self { source, file: BufWriter::new(file.0) }
    }
}

/// A new file for a recording.
#[derive(Debug)]
pub struct RecordFile(File);

impl RecordFile {
    /// Makes it at `path`.
    ///
    /// # Errors
    /// If the file exists or cannot be created.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("create the recording {}", path.display()))?;
        Ok(Self(file))
    }
}

impl<S: Source> Source for Recording<S> {
    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> anyhow::Result<SourceState> {
        let before = out.len();
        let state = self.source.poll(timeout, out)?;
        for event in &out[before..] {
            serde_json::to_writer(&mut self.file, event).context("record an event")?;
            self.file.write_all(b"\n").context("record an event")?;
        }
        self.file.flush().context("record events")?;
        Ok(state)
    }

    fn done(&mut self, connection: ConnectionId) {
        self.source.done(connection);
    }
}
