//! What outlives the agent: what it is, when it is written, and what `/readyz` says of it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{proxies::KeptProxies, users::HopKey};
use crate::compliance::state_file::StateFile;
use hopsight_core::health::ComponentState;
use hopsight_export::health::Health;
use hopsight_posture::{
    hops::{kept::Kept, table::Revision},
    policy::{drift, time::Step},
};
use hopsight_system::clock::Boot;

/// Component name in `/readyz`.
const STATE: &str = "state";

/// Pause between writes of a state in which only counts and times advanced.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// Pause between writes of a state in which something else has changed.
const SAVE_SPACING: Duration = Duration::from_millis(250);

/// Of the time that a write took so many times must pass before the next: a large state that
/// changes all the time is written less often. What is worse than before waits less.
const PACE: u32 = 50;
const PACE_FOR_THE_WORSE: u32 = 5;

/// Everything that outlives the agent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Of which boot the times in it are.
    pub(super) boot: Option<Boot>,
    /// Which policies they were evaluated against ([`PolicyFile::fingerprint`]).
    ///
    /// [`PolicyFile::fingerprint`]: super::policy_file::PolicyFile::fingerprint
    #[serde(default)]
    pub(super) policies: u64,
    /// The hops.
    pub(super) hops: Kept,
    /// The drift.
    pub(super) drift: drift::Snapshot,
    /// Who has which label, and who uses which hop; absent where an older agent wrote it.
    #[serde(default)]
    pub(super) proxies: Option<KeptProxies>,
    /// Hops to upstreams that no configuration has any more.
    #[serde(default)]
    pub(super) unconfigured: Vec<HopKey>,
}

impl State {
    /// By how many seconds the wall clock was set since; the drift's times are set with it.
    pub(super) fn set_clock(&mut self) -> f64 {
        let by = self.boot.as_ref().map_or(0.0, |boot| Boot::this().set_since(boot));
        let span = Duration::try_from_secs_f64(by.abs()).unwrap_or_default();
        if by > 0.0 {
            self.drift.clock_was_set(Step::Forward(span));
        } else if by < 0.0 {
            self.drift.clock_was_set(Step::Back(span));
        }
        by
    }
}

/// The state file, if there is one.
pub(super) struct KeptState {
    file: Option<StateFile>,
    saved_at: Instant,
    /// How long that took.
    took: Duration,
    /// The table of hops as it was saved.
    saved: Revision,
    /// The drift has changed since.
    changed: bool,
    /// The last attempt to save failed.
    cannot_save: bool,
    /// What was lost with a state that could not be used: told until somebody has removed the file.
    lost: Option<Lost>,
}

/// A state that could not be used.
struct Lost {
    /// What was wrong with it.
    detail: String,
    /// Where it is kept; absent if it could not be, and then it is told while the agent runs.
    aside: Option<PathBuf>,
}

impl KeptState {
    /// Reads the state as it was saved: an empty one where there is none, or none that can be used.
    pub(super) fn load(file: Option<StateFile>, health: &Health) -> (Self, State) {
        let (state, lost) = file.as_ref().map(restore).unwrap_or_default();
        let mut kept = Self {
            file,
            saved_at: Instant::now(),
            took: Duration::ZERO,
            saved: Revision::default(),
            changed: false,
            cannot_save: false,
            lost,
        };
        kept.show(health);
        (kept, state)
    }

    /// The drift has changed: the state is due to be saved.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Whether more than counts and times has changed since the state was saved, of a table of hops
    /// that is at `revision`.
    pub(super) fn is_unsaved(&self, revision: Revision) -> bool {
        let has_changed = self.changed || self.saved.essential != revision.essential;
        self.file.is_some() && has_changed
    }

    /// Whether it is time to save.
    pub(super) fn is_due(&self, revision: Revision) -> bool {
        let elapsed = self.saved_at.elapsed();
        let is_old = elapsed >= SAVE_INTERVAL && self.saved != revision;
        let is_worse = self.changed || self.saved.worse != revision.worse;
        let pace = if is_worse { PACE_FOR_THE_WORSE } else { PACE };
        let pace = (self.took * pace).max(SAVE_SPACING);
        self.file.is_some() && elapsed >= pace && (self.is_unsaved(revision) || is_old)
    }

    /// Says in `/readyz` how it is.
    pub(super) fn show(&mut self, health: &Health) {
        let Some(file) = &self.file else { return };
        if self.cannot_save {
            return;
        }
        self.lost.take_if(|lost| lost.was_noticed());
        let (state, detail) = match &self.lost {
            None => (ComponentState::Ready, file.path().display().to_string()),
            Some(lost) => (ComponentState::Degraded, lost.detail.clone()),
        };
        health.set(STATE, state, detail);
    }

    /// Writes the state, if there is a file for it.
    pub(super) fn save(
        &mut self,
        state: impl FnOnce() -> State,
        revision: Revision,
        health: &Health,
    ) {
        let Some(file) = &self.file else { return };
        let begin = Instant::now();
        let result = file.save(&state());
        self.saved_at = Instant::now();
        self.took = begin.elapsed();
        match result {
            Ok(()) => {
                (self.changed, self.cannot_save, self.saved) = (false, false, revision);
                self.show(health);
            }
            Err(error) => {
                // Tried again soon, logged once.
                self.changed = true;
                if !std::mem::replace(&mut self.cannot_save, true) {
                    tracing::warn!("{error:#}");
                }
                health.set(STATE, ComponentState::Degraded, format!("{error:#}"));
            }
        }
    }
}

impl Lost {
    /// By an agent before this one.
    fn earlier(aside: PathBuf) -> Self {
        let detail = format!(
            "an earlier start was without hops and open drift, for its state could not be used (kept \
             as {}, remove it then)",
            aside.display()
        );
        Self { detail, aside: Some(aside) }
    }

    /// Whether somebody has taken the file away.
    fn was_noticed(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| matches!(aside.try_exists(), Ok(false)))
    }
}

fn restore(file: &StateFile) -> (State, Option<Lost>) {
    let error = match file.load() {
        Ok(state) => return (state, file.left_aside().map(Lost::earlier)),
        Err(error) => error,
    };
    let (aside, what) = match file.set_aside() {
        Ok(path) => (Some(path.clone()), format!("kept as {}, remove it then", path.display())),
        Err(error) => (None, format!("{error:#}")),
    };
    let detail = format!("started without hops and open drift: {error:#} ({what})");
    tracing::warn!("{detail}");
    (State::default(), Some(Lost { detail, aside }))
}
