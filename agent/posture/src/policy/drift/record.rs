//! Drifts that are open, those that are over, and what is told of them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Rule, Violation};
use crate::policy::time::UnixTime;

/// A drift that was noticed and not mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDrift {
    /// Proxy name.
    pub proxy: Arc<str>,
    /// Upstream as its hop is labelled.
    pub upstream: Arc<str>,
    /// The upstream's name in the configuration, where it has one.
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// The server that the offending connections went to.
    pub server: SocketAddr,
    /// What is violated.
    pub rule: Rule,
    /// How, as the newest offending connection shows it.
    pub violation: Violation,
    /// When the first offending connection was opened.
    pub since: UnixTime,
    /// When it was noticed.
    pub detected_at: UnixTime,
    /// When the configuration was loaded that brought it: that of the first offending connection,
    /// if no connection was good with it.
    pub changed_at: Option<UnixTime>,
    /// When the newest offending connection was opened.
    pub last_offending: UnixTime,
    /// Offending connections of which everything has been said.
    pub connections: u64,
    /// Its cause is older than this agent, which could not have seen it sooner: how long it took to
    /// be noticed says nothing.
    #[serde(default)]
    pub preexisting: bool,
}

impl OpenDrift {
    /// From its cause to its detection: from the load of the configuration that brought it, else
    /// from the first offending connection. `None` if it is [preexisting](Self::preexisting).
    #[must_use]
    pub fn detection(&self) -> Option<Duration> {
        (!self.preexisting).then(|| self.detected_at.since(self.changed_at.unwrap_or(self.since)))
    }

    /// How long it has been so.
    #[must_use]
    pub const fn open_for(&self, now: UnixTime) -> Duration {
        now.since(self.since)
    }
}

/// How a drift ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its cause is gone: connections came that are as they should be, no offending ones after them,
    /// and what brought the offending ones is no longer in force.
    Remediated,
    /// The policy does not ask for it any more; connections are as they were.
    PolicyChanged,
    /// The hop was not used any more.
    Forgotten,
}

/// A drift that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedDrift {
    /// What it was.
    pub drift: OpenDrift,
    /// When it ended: when the first good connection after it was opened, or when it was given up.
    pub at: UnixTime,
    /// How it ended.
    pub end: End,
}

impl ClosedDrift {
    /// From detection to mending; `None` if it was not mended.
    #[must_use]
    pub fn remediation(&self) -> Option<Duration> {
        (self.end == End::Remediated).then(|| self.at.since(self.drift.detected_at))
    }
}

/// A change to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriftEvent {
    /// A drift was noticed.
    Opened(OpenDrift),
    /// A drift ended.
    Closed(ClosedDrift),
}
