//! One address behind an upstream's name.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    standing::{Standing, is_certain},
    time::Moment,
};
use crate::{
    model::{FlowId, Security, Timestamp},
    report::ConnectionReport,
};

/// Servers kept apart per hop; beyond that the one that was silent for longest is forgotten.
pub const MAX_SERVERS: usize = 64;

/// A server that was silent for this long while others of its hop were not has no say in what the
/// hop is: pods come and go.
pub const SERVER_SILENCE: Duration = Duration::from_mins(5);

/// One server of an upstream. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `ip:port` the proxy connects to.
    pub address: Arc<str>,
    /// How its newest certain connection was protected.
    pub security: Security,
    /// Last report.
    pub last_seen: f64,
    /// The same on the clock that ages are reckoned in.
    #[serde(skip)]
    pub(super) heard: Timestamp,
    #[serde(skip, default = "unknown")]
    state: Standing,
    /// State before the newest connection, to return to if that one is refused after all.
    #[serde(skip)]
    previous: Option<Standing>,
}

const fn unknown() -> Standing {
    Standing::UNKNOWN
}

impl Server {
    /// A server without connections.
    #[must_use]
    pub const fn new(address: Arc<str>, now: Moment) -> Self {
        Self {
            address,
            security: Security::Unknown,
            last_seen: now.unix_seconds,
            heard: now.monotonic,
            state: Standing::UNKNOWN,
            previous: None,
        }
    }

    /// Takes a report in. The newest certain report wins. A connection that is later refused, or
    /// found to be uncertain, takes its own earlier claim back and nobody else's.
    pub fn record(&mut self, report: &ConnectionReport, now: Moment) {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        let flow: FlowId = report.flow;
        if is_certain(&report.verdict) {
            let is_newest = self.state.source.is_none_or(|(_, at)| at <= report.decided_at);
            if self.state.is_from(flow) {
                self.state = Standing::of(report, &self.state);
            } else if is_newest {
                let state = Standing::of(report, &self.state);
                let previous = std::mem::replace(&mut self.state, state);
                self.previous = previous.source.is_some().then_some(previous);
            }
        } else if self.state.is_from(flow) {
            self.state = self.previous.take().unwrap_or(Standing::UNKNOWN);
        } else if self.previous.as_ref().is_some_and(|previous| previous.is_from(flow)) {
            self.previous = None;
        }
        self.security = self.state.security;
    }
}

/// What a hop with these servers is: the worst of those that are in use. That one of many is
/// protected says nothing about the others.
#[must_use]
pub fn worst(servers: &[Server]) -> &Standing {
    const UNKNOWN: &Standing = &Standing::UNKNOWN;
    let newest = servers.iter().map(|server| server.heard).max().unwrap_or_default();
    let in_use = |server: &&Server| newest.since(server.heard) <= SERVER_SILENCE;
    let decided = |server: &&Server| server.security != Security::Unknown;
    let candidates = servers.iter().filter(decided);
    let rank = |server: &&Server| {
        let rank = match server.security {
            Security::Plaintext => 0,
            Security::Tls => 1,
            Security::Mtls => 2,
            Security::Unknown => 3,
        };
        // Of equals the newest has the facts.
        (rank, std::cmp::Reverse(server.state.source.map(|(_, at)| at)))
    };
    let worst = candidates.clone().filter(in_use).min_by_key(rank);
    let latest = || candidates.max_by_key(|server| server.heard);
    worst.or_else(latest).map_or(UNKNOWN, |server| &server.state)
}
