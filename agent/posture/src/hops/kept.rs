//! The table of hops as it outlives the agent.
//!
//! What is kept beside what is shown: what each treatment's newest connection showed, and for how
//! long everything had been silent. Silence is reckoned on the monotonic clock, which may be another
//! one after a restart, and time in which nobody watched is no silence: whoever goes on from a kept
//! table goes on from the moment it was kept.
//!
//! A kept table comes from a file. It is bounded again, as if it were new, and whoever restores it
//! says how the texts of a hop are bounded and made printable.

use std::sync::Arc;

use hopsight_core::model::{Timestamp, canonical};
use serde::{Deserialize, Serialize};

use super::{
    hop::Hop,
    labels::{OTHER, sanitised},
    moment::Moment,
    pool::CertificatePool,
    server::{MAX_SERVERS, Server},
    silence::Silence,
    state::HopState,
    table::{Ended, HopTable, Totals},
    treatment::Treatment,
    turns::KeptAsking,
};

/// Everything of a table that has to outlive the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    totals: Totals,
    hops: Vec<KeptHop>,
    /// What is remembered of hops that are not in it any more.
    #[serde(default)]
    ended: Vec<Ended>,
}

/// One hop, and what is not shown of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptHop {
    hop: Arc<Hop>,
    silent: Silence,
    /// In the order of the hop's servers.
    servers: Vec<KeptServer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptServer {
    silent: Silence,
    /// In the order of the server's treatments.
    treatments: Vec<KeptTreatment>,
    /// In the order of the certificates in use: the server's, and the proxy's.
    certificates: [Vec<Silence>; 2],
    /// Whether it asks for client certificates, over time.
    #[serde(default)]
    asking: Option<KeptAsking>,
    /// Since its newest connection of which nothing is known, if no certain one came after it.
    #[serde(default)]
    unknown: Option<Silence>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptTreatment {
    silent: Silence,
    state: Arc<HopState>,
    /// It rests on a connection of which everything was said, or that needs no more.
    is_settled: bool,
}

impl Kept {
    /// Keeps these hops as they are at `now`.
    #[must_use]
    pub fn of(totals: Totals, hops: &[Arc<Hop>], ended: Vec<Ended>, now: Timestamp) -> Self {
        let hop = |hop: &Arc<Hop>| KeptHop {
            silent: Silence::of(hop.heard, now),
            servers: hop.servers.iter().map(|server| KeptServer::of(server, now)).collect(),
            hop: hop.clone(),
        };
        Self { totals, hops: hops.iter().map(hop).collect(), ended }
    }

    /// Proxy and upstream of each hop.
    pub fn keys(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
        self.hops.iter().map(|kept| (kept.hop.proxy.clone(), kept.hop.upstream.clone()))
    }

    /// Goes on with it in `table`, which is empty, at `now`. `set_by` is by how many seconds the
    /// wall clock was set since it was kept: times that are compared with times read anew, those of
    /// loading, are set with it. `printable` gives a hop with every text in it bounded and
    /// printable, or nothing where it cannot.
    pub fn restore(
        self,
        table: &mut HopTable,
        printable: impl Fn(KeptHop) -> Option<KeptHop>,
        now: Moment,
        set_by: f64,
    ) {
        table.restore_totals(self.totals);
        for mut ended in self.ended {
            if is_ours(&ended.proxy) && is_ours(&ended.upstream) {
                ended.client_certificate_since += set_by;
                table.remember_one(ended);
            }
        }
        let mut pool = CertificatePool::default();
        for kept in self.hops {
            let hop = printable(kept).and_then(|kept| kept.restored(&mut pool, now, set_by));
            if let Some(hop) = hop {
                table.restore(hop);
            }
        }
    }
}

/// Whether a name is one that hops are called by.
fn is_ours(name: &str) -> bool {
    name == OTHER || sanitised(name) == name
}

impl KeptServer {
    fn of(server: &Server, now: Timestamp) -> Self {
        let treatment = |treatment: &Treatment| {
            // What was read from JSON has no state; it is not restored.
            let state = treatment.state().cloned();
            KeptTreatment {
                silent: Silence::of(treatment.heard(), now),
                state: state.unwrap_or_else(|| Arc::new(HopState::UNKNOWN)),
                is_settled: treatment.is_settled(),
            }
        };
        Self {
            silent: Silence::of(server.heard, now),
            treatments: server.treatments.iter().map(treatment).collect(),
            certificates: server
                .certificates
                .heard()
                .map(|all| all.into_iter().map(|heard| Silence::of(heard, now)).collect()),
            asking: Some(server.asking.keep(now)),
            unknown: server.unknown_heard.map(|heard| Silence::of(heard, now)),
        }
    }

    /// The server as it was; nothing of it that does not fit together.
    fn restored(
        self,
        mut server: Server,
        pool: &mut CertificatePool,
        now: Moment,
        set_by: f64,
    ) -> Option<Server> {
        server.address = canonical(server.address);
        server.heard = self.silent.heard(now.monotonic);
        let Self { treatments: kept, certificates, asking, unknown, .. } = self;
        if kept.len() != server.treatments.len() {
            return None;
        }
        let all = std::mem::take(&mut server.treatments);
        for (treatment, kept) in all.into_iter().zip(kept) {
            let heard = kept.silent.heard(now.monotonic);
            let KeptTreatment { state, is_settled, .. } = kept;
            let restored = treatment.restored(state, heard, is_settled, set_by, now.monotonic);
            if let Some(restored) = restored {
                server.restore(restored);
            }
        }
        server.certificates.restore(certificates, pool, now.monotonic);
        server.unknown_heard = unknown.map(|silence| silence.heard(now.monotonic));
        server.asking = asking.map(|kept| kept.restored(now.monotonic)).unwrap_or_default();
        Some(server)
    }
}

impl KeptHop {
    /// The hop as it was; `None` where its names are not ours.
    fn restored(self, pool: &mut CertificatePool, now: Moment, set_by: f64) -> Option<Hop> {
        let Self { hop, silent, servers: kept } = self;
        if !is_ours(&hop.proxy) || !is_ours(&hop.upstream) || kept.len() != hop.servers.len() {
            return None;
        }
        let mut hop = Arc::unwrap_or_clone(hop);
        hop.heard = silent.heard(now.monotonic);
        hop.counts.bound();
        hop.cryptography.bound();
        // Those that the agent before this one saw begin are as unknown by now.
        hop.older_sessions = None;
        let servers = std::mem::take(&mut hop.servers).into_iter().zip(kept);
        let servers = servers.filter_map(|(server, kept)| kept.restored(server, pool, now, set_by));
        hop.servers = servers.take(MAX_SERVERS).collect();
        hop.context.set_times_of_loading(set_by);
        hop.conclude(now);
        Some(hop)
    }
}

#[cfg(test)]
pub(in crate::hops) mod tests;
