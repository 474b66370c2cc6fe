//! What outlives the agent: when it is written, and what `/readyz` says of it.

use std::time::{Duration, Instant};

use crate::compliance::state_file::StateFile;
use hopsight_core::{health::ComponentState, policy::drift::Snapshot};
use hopsight_export::health::Health;

/// Component name in `/readyz`.
const STATE: &str = "state";

/// Pause between writes of a state in which only counts and times advanced.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// The state file, if there is one.
pub(super) struct KeptState {
    file: Option<StateFile>,
    saved_at: Instant,
    /// Something that matters has changed since.
    changed: bool,
    /// The last attempt to save failed.
    cannot_save: bool,
}

impl KeptState {
    /// Reads the state as it was saved: an empty one where there is none, or none that can be used.
    pub(super) fn load(file: Option<StateFile>, health: &Health) -> (Self, Snapshot) {
        let snapshot = file.as_ref().map(|file| restore(file, health)).unwrap_or_default();
        (Self { file, saved_at: Instant::now(), changed: false, cannot_save: false }, snapshot)
    }

    /// Something that matters has changed: the state is due to be saved.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Whether it is time to save.
    pub(super) fn is_due(&self) -> bool {
        self.changed || self.saved_at.elapsed() >= SAVE_INTERVAL
    }

    /// Writes the state, if there is a file for it.
    pub(super) fn save(&mut self, snapshot: impl FnOnce() -> Snapshot, health: &Health) {
        self.changed = false;
        self.saved_at = Instant::now();
        let Some(file) = &mut self.file else { return };
        match file.save(&snapshot()) {
            Ok(()) => {
                self.cannot_save = false;
                health.set(STATE, ComponentState::Ready, file.path().display().to_string());
            }
            Err(error) => {
                // Tried again at the next tick, logged once.
                self.changed = true;
                if !std::mem::replace(&mut self.cannot_save, true) {
                    tracing::warn!("{error:#}");
                }
                health.set(STATE, ComponentState::Degraded, format!("{error:#}"));
            }
        }
    }
}

fn restore(file: &StateFile, health: &Health) -> Snapshot {
    match file.load() {
        Ok(snapshot) => {
            health.set(STATE, ComponentState::Ready, file.path().display().to_string());
            snapshot
        }
        Err(error) => {
            let aside = match file.set_aside() {
                Ok(path) => format!("kept as {}", path.display()),
                Err(error) => format!("{error:#}"),
            };
            let detail = format!("started without open drift: {error:#} ({aside})");
            tracing::warn!("{detail}");
            health.set(STATE, ComponentState::Degraded, detail);
            Snapshot::default()
        }
    }
}
