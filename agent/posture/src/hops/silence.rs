//! How long something had been silent, across restarts.

use serde::{Deserialize, Serialize};

use hopsight_core::model::Timestamp;

/// How long something had been silent when it was kept, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Silence(u64);

impl Silence {
    pub(super) fn of(heard: Timestamp, kept_at: Timestamp) -> Self {
        Self(u64::try_from(kept_at.since(heard).as_nanos()).unwrap_or(u64::MAX))
    }

    /// When that was on the clock of an agent that goes on at `now`. A machine that runs for less
    /// than that long has its beginning instead.
    pub(super) fn heard(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_sub(self.0))
    }
}
