//! What of a hop's changes is told.

use std::{net::SocketAddr, sync::Arc};

use hopsight_core::{
    model::canonical, report::ConnectionReport, tls::certificate_facts::CertificateFacts,
    vocabulary,
};
use serde::Serialize;

use super::{
    context::{HopContext, IntentSummary},
    hop::Hop,
    renewal::{self, Renewed},
    treatment::TreatmentKey,
};

/// A hop is something else than before. Told once per change, and not again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopChange {
    /// Its proxy.
    pub proxy: Arc<str>,
    /// Its upstream.
    pub upstream: Arc<str>,
    /// The upstream's name in the configuration, where it has one.
    pub name: Option<Arc<str>>,
    /// What it was; all unknown if it is new.
    pub from: TreatmentKey,
    /// What it is.
    pub to: TreatmentKey,
    /// The server whose treatment decides that.
    pub server: Option<SocketAddr>,
}

impl HopChange {
    /// Whether the hop is worse than before, by security, client authentication and verification.
    #[must_use]
    pub fn is_for_the_worse(&self) -> bool {
        self.to.rank() < self.from.rank()
    }

    /// What became of a hop that was `from`. A hop that stands for many upstreams is none that
    /// changes.
    pub(super) fn since(from: TreatmentKey, hop: &Hop) -> Option<Self> {
        let to = TreatmentKey::of(&hop.state);
        if to == from || hop.is_overflow() {
            return None;
        }
        let decided = hop.servers.iter().filter(|server| server.is_decided());
        let worst = decided.min_by_key(|server| server.treatments[0].order());
        Some(Self {
            proxy: hop.proxy.clone(),
            upstream: hop.upstream.clone(),
            name: hop.context.name.clone(),
            from,
            to,
            server: worst.map(|server| server.address),
        })
    }
}

/// One side of a hop has a new certificate. Told once per hop, by the first server that shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Renewal {
    /// Its proxy.
    pub proxy: Arc<str>,
    /// Its upstream.
    pub upstream: Arc<str>,
    /// The upstream's name in the configuration, where it has one.
    pub name: Option<Arc<str>>,
    /// Whose it is.
    pub side: Side,
    /// The server of the connection that showed it.
    pub server: SocketAddr,
    /// The new certificate.
    pub certificate: Arc<CertificateFacts>,
    /// The one that it came in the place of.
    pub renews: Renewed,
}

impl Renewal {
    /// Those of this hop that no other of its servers has shown before.
    pub(super) fn of_hop(
        hop: &Hop,
        report: &ConnectionReport,
        renewals: [Option<renewal::Renewal>; 2],
    ) -> Vec<Self> {
        let server = canonical(report.destination);
        let mut told = Vec::new();
        for (at, (side, renewal)) in Side::ALL.iter().zip(renewals).enumerate() {
            let Some((certificate, renews)) = renewal else { continue };
            let mut others = hop.servers.iter().filter(|other| other.address != server);
            let is_known = others.any(|other| {
                other.certificates.in_use()[at].iter().any(|seen| seen.facts == certificate)
            });
            if !is_known && !hop.is_overflow() {
                told.push(Self {
                    proxy: hop.proxy.clone(),
                    upstream: hop.upstream.clone(),
                    name: hop.context.name.clone(),
                    side: *side,
                    server,
                    certificate,
                    renews,
                });
            }
        }
        told
    }
}

vocabulary! {
    /// A side of a hop.
    Side {
        /// The upstream's.
        Server => "server",
        /// The proxy's.
        Client => "client",
    }
}

/// What became of a hop by what was said of a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The hop is something else.
    pub hop: Option<HopChange>,
    /// Certificates that came in the place of others.
    pub renewals: Vec<Renewal>,
}

/// A proxy's configuration says something else about a hop than before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntentChange {
    /// Its proxy.
    pub proxy: Arc<str>,
    /// Its upstream.
    pub upstream: Arc<str>,
    /// The upstream's name in the configuration, where it has one.
    pub name: Option<Arc<str>>,
    /// What it said.
    pub from: IntentSummary,
    /// What it says.
    pub to: IntentSummary,
    /// When that was loaded, seconds since the Unix epoch, where it is known.
    pub loaded_at: Option<f64>,
}

impl IntentChange {
    /// What `context` says that the hop's own did not say. Where something is said for the first
    /// time, or not known any more, nothing has changed.
    pub(super) fn between(hop: &Hop, context: &HopContext) -> Option<Self> {
        let (from, to) = (hop.context.intent.as_ref()?, context.intent.as_ref()?);
        (!from.says_the_same(to)).then(|| Self {
            proxy: hop.proxy.clone(),
            upstream: hop.upstream.clone(),
            name: context.name.clone(),
            from: from.clone(),
            to: to.clone(),
            loaded_at: context.loaded_at,
        })
    }
}

/// What became of a hop that was described anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// The hop is something else.
    pub hop: Option<HopChange>,
    /// Its configuration says something else.
    pub intent: Option<IntentChange>,
}
