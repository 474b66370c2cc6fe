//! Servers that are not behind their upstream's name any more.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::Evaluator;
use crate::compliance::named::Listed;
use hopsight_posture::{
    hops::server::Server,
    policy::{drift::DriftEvent, time::UnixTime},
};

/// Between two looks for them.
const INTERVAL: Duration = Duration::from_secs(5);
/// Workers that know an older list may open connections for a while: what was seen in the last so many
/// seconds is still there.
const SETTLE: f64 = 5.0;

impl Evaluator {
    /// Takes them out of the hops, and ends what is open of them. What another user of the hop has
    /// behind the name is not known after a start before it opens a connection: until then counts
    /// what was not seen since. A list with none of a hop's servers is not believed.
    pub(super) fn unlist_servers(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        let mut events = Vec::new();
        if self.unlisted_at.elapsed() < INTERVAL {
            return events;
        }
        self.unlisted_at = Instant::now();
        let began_at = self.began_at();
        let settled = hopsight_system::clock::now().unix_seconds - SETTLE;
        for hop in self.exporter.snapshot().hops {
            let Some(listed) = Listed::behind(&hop.proxy, &hop.upstream, &self.proxies) else {
                continue;
            };
            let is_listed = |server: &Server| listed.includes(server.address, &self.proxies);
            if !hop.servers.iter().any(is_listed) {
                continue;
            }
            let knows_users = !matches!(listed, Listed::Servers(_))
                || self.proxies.knows_users(&(hop.proxy.clone(), hop.upstream.clone()));
            let counts = |server: &Server| {
                server.last_seen > settled
                    || !knows_users && server.last_seen < began_at
                    || is_listed(server)
            };
            self.exporter.retain_servers(&hop.proxy, &hop.upstream, counts);
            let Some(now_there) = self.exporter.hop(&hop.proxy, &hop.upstream) else { continue };
            let was_there = hop.servers.iter().map(|server| server.address);
            let gone: Vec<SocketAddr> =
                was_there.filter(|address| !now_there.is_to(*address)).collect();
            for server in gone {
                events.extend(self.tracker.give_up_server(&hop.proxy, &hop.upstream, server, now));
            }
        }
        events
    }

    /// When it began, on the wall clock of now: seconds since the Unix epoch.
    fn began_at(&self) -> f64 {
        hopsight_system::clock::now().unix_seconds - self.started_at.elapsed().as_secs_f64()
    }

    /// Whether it has run for so long that who has opened no connection has no say.
    pub(super) fn knows_all(&self) -> bool {
        self.started_at.elapsed() >= self.stands_for
    }
}
