//! One address behind an upstream's name.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    hops::{
        moment::Moment,
        state::{Standing, is_certain},
    },
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
    pub address: SocketAddr,
    /// How its newest certain connection was protected.
    pub security: Security,
    /// Last report.
    pub last_seen: f64,
    /// The same on the clock that ages are reckoned in.
    #[serde(skip)]
    pub(super) heard: Timestamp,
    #[serde(skip)]
    claim: Option<Claim>,
    /// The claim before the newest connection, to return to if that one is refused after all.
    #[serde(skip)]
    previous: Option<Claim>,
}

/// What one connection said with certainty.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    /// Shared with the hop, and with the claims of connections that say the same.
    standing: Arc<Standing>,
    flow: FlowId,
    /// When it was decided.
    at: Timestamp,
}

impl Claim {
    fn of(report: &ConnectionReport, before: Option<&Arc<Standing>>) -> Self {
        let standing = Standing::of(report, before.map_or(&Standing::UNKNOWN, |before| before));
        let standing = match before {
            Some(same) if **same == standing => same.clone(),
            _ => Arc::new(standing),
        };
        Self { standing, flow: report.flow, at: report.decided_at }
    }
}

impl Server {
    /// A server without connections.
    #[must_use]
    pub const fn new(address: SocketAddr, now: Moment) -> Self {
        Self {
            address,
            security: Security::Unknown,
            last_seen: now.unix_seconds,
            heard: now.monotonic,
            claim: None,
            previous: None,
        }
    }

    /// Takes a report in. The newest certain report wins. A connection that is later refused, or
    /// found to be uncertain, takes its own earlier claim back and nobody else's.
    pub fn record(&mut self, report: &ConnectionReport, now: Moment) {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        let is_own = |claim: &Option<Claim>| claim.as_ref().is_some_and(|c| c.flow == report.flow);
        if is_certain(&report.verdict) {
            let is_newest = self.claim.as_ref().is_none_or(|claim| claim.at <= report.decided_at);
            let is_revised = is_own(&self.claim);
            if is_revised || is_newest {
                let before = self.claim.as_ref().map(|claim| &claim.standing);
                let before = self.claim.replace(Claim::of(report, before));
                if !is_revised {
                    self.previous = before;
                }
            }
        } else if is_own(&self.claim) {
            self.claim = self.previous.take();
        } else if is_own(&self.previous) {
            self.previous = None;
        }
        self.security =
            self.claim.as_ref().map_or(Security::Unknown, |claim| claim.standing.security);
    }
}

/// What a hop with these servers is: the worst of those that are in use. That one of many is
/// protected says nothing about the others. `None` while nothing is certain.
#[must_use]
pub fn worst(servers: &[Server]) -> Option<&Arc<Standing>> {
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
        (rank, std::cmp::Reverse(server.claim.as_ref().map(|claim| claim.at)))
    };
    let worst = candidates.clone().filter(in_use).min_by_key(rank);
    let latest = || candidates.max_by_key(|server| server.heard);
    worst.or_else(latest)?.claim.as_ref().map(|claim| &claim.standing)
}
