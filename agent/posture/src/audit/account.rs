//! An account of what agents saw.

use std::{collections::BTreeMap, sync::Arc};

use hopsight_core::{
    model::{ClientAuth, Evidence, Reason, Security, ServerVerified, Word},
    report::CarriedBy,
    tls::fingerprint::Fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::hops::{
    context::HopCompliance,
    counts::Tally,
    hop::Hop,
    labels::{MAX_LABEL_BYTES, printable},
    onward::ContinuesEncrypted,
    server::Server,
    table::{Snapshot, Totals},
    witness::{Watch, Witness},
};

/// Version of the shape of an account.
pub const ACCOUNT_VERSION: u32 = 1;

/// What agents saw until a moment. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Version of its shape, [`ACCOUNT_VERSION`].
    pub account_version: u32,
    /// Its place in its chain, from 1.
    pub number: u64,
    /// Digest of the statement before it; `None` for the first.
    pub previous: Option<Fingerprint>,
    /// What wrote it: program and version.
    pub written_by: Arc<str>,
    /// When it was written, RFC 3339.
    pub time: Arc<str>,
    /// When it was written.
    pub at: f64,
    /// Nodes that had to be there and are not.
    pub missing_nodes: Vec<Arc<str>>,
    /// The nodes that are.
    pub nodes: Vec<NodeAccount>,
}

/// What the agent of one node saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeAccount {
    /// Where its answer was taken from: an address, or the name of a file.
    pub source: Arc<str>,
    /// Digest of the answer.
    pub sha256: Fingerprint,
    /// Which agent; absent where it did not say.
    #[serde(flatten)]
    pub witness: Option<Witness>,
    /// When it answered.
    pub at: f64,
    /// What it says of its own watching; absent where it did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// Counts of its table as a whole.
    #[serde(flatten)]
    pub totals: Totals,
    /// Its hops.
    pub hops: Vec<HopAccount>,
}

/// What is said of one hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopAccount {
    /// The proxy, as the hop is labelled.
    pub proxy: Arc<str>,
    /// The upstream, as the hop is labelled.
    pub upstream: Arc<str>,
    /// The upstream's name in the proxy's configuration.
    pub name: Option<Arc<str>>,
    /// How it is protected: its worst treatment in use.
    pub security: Security,
    /// What the proxy does about a client certificate.
    pub client_auth: ClientAuth,
    /// What this rests on.
    pub evidence: Evidence,
    /// How the full handshake was found that a `carried` one rests on.
    pub carried_by: Option<CarriedBy>,
    /// Whether the proxy checks the upstream's certificate.
    pub server_verified: ServerVerified,
    /// Negotiated version.
    pub tls_version: Option<Word>,
    /// Whether its plaintext goes on encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues_encrypted: Option<ContinuesEncrypted>,
    /// Servers in use.
    pub servers: usize,
    /// Those of them of which nothing certain is known.
    pub unknown_servers: usize,
    /// First report.
    pub first_seen: f64,
    /// Last report.
    pub last_seen: f64,
    /// Since when it is protected as it is.
    pub security_since: f64,
    /// Finished connections since the first report, by verdict.
    pub connections: Vec<Tally>,
    /// Those whose security is unknown, by reason.
    pub unknown_reasons: BTreeMap<Reason, u64>,
    /// Whether it is as policy and configuration want it.
    pub compliance: Option<HopCompliance>,
}

impl NodeAccount {
    /// The account of an answer of `/hops` that has this digest.
    #[must_use]
    pub fn of(source: &str, sha256: Fingerprint, snapshot: Snapshot) -> Self {
        let snapshot = snapshot.sorted();
        Self {
            source: printable(source, 4 * MAX_LABEL_BYTES).into(),
            sha256,
            witness: snapshot.witness,
            at: snapshot.at,
            watch: snapshot.watch,
            totals: snapshot.totals,
            hops: snapshot.hops.iter().map(|hop| HopAccount::of(hop)).collect(),
        }
    }

    /// The node's name; where it has none that of its source.
    #[must_use]
    pub fn name(&self) -> &str {
        let node = self.witness.as_ref().and_then(|witness| witness.node.as_deref());
        node.unwrap_or(&self.source)
    }

    /// Whether it is about the same node.
    #[must_use]
    pub fn is_same_node(&self, other: &Self) -> bool {
        let cluster = |one: &Self| one.witness.as_ref().and_then(|witness| witness.cluster.clone());
        self.name() == other.name() && cluster(self) == cluster(other)
    }
}

impl HopAccount {
    /// The account of a hop.
    #[must_use]
    pub fn of(hop: &Hop) -> Self {
        let is_unknown =
            |server: &&Server| server.is_unknown() || server.security == Security::Unknown;
        Self {
            proxy: hop.proxy.clone(),
            upstream: hop.upstream.clone(),
            name: hop.context.name.clone(),
            security: hop.state.security,
            client_auth: hop.state.client_auth,
            evidence: hop.state.evidence,
            carried_by: hop.state.carried_from.as_ref().map(|from| from.by),
            server_verified: hop.state.server_verified,
            tls_version: hop.state.tls_version.clone(),
            continues_encrypted: hop.continues_encrypted,
            servers: hop.servers.len(),
            unknown_servers: hop.servers.iter().filter(is_unknown).count(),
            first_seen: hop.first_seen,
            last_seen: hop.last_seen,
            security_since: hop.security_since,
            connections: hop.counts.connections.clone(),
            unknown_reasons: hop.counts.unknown_reasons.clone(),
            compliance: hop.context.compliance.clone(),
        }
    }

    /// `PROXY to UPSTREAM`, for people.
    #[must_use]
    pub fn label(&self) -> String {
        let plain = |text| printable(text, MAX_LABEL_BYTES);
        format!("{} to {}", plain(&self.proxy), plain(&self.upstream))
    }
}
