//! Certificates in use with one server.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::labels::bounded_certificate;
use crate::{model::Timestamp, report::ConnectionReport, tls::certificate_facts::CertificateFacts};

/// Certificates kept per side: a server may have one per kind of key and per name.
const MAX_CERTIFICATES: usize = 4;

/// A certificate that was not seen for this long is replaced by a newer one of the same subject
/// and kind of key: it was renewed. While both are seen both are in use.
const RENEWED_AFTER: Duration = Duration::from_mins(5);

/// One certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    facts: Arc<CertificateFacts>,
    heard: Timestamp,
}

impl Seen {
    /// Whether it stands in the other's place by now.
    fn renews(&self, other: &Self) -> bool {
        self.facts.subject == other.facts.subject
            && self.facts.public_key == other.facts.public_key
            && self.facts.not_before >= other.facts.not_before
            && self.facts != other.facts
            && self.heard > other.heard
    }
}

/// The certificates in use on both sides of connections with one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Shown", into = "Shown")]
pub struct Certificates {
    server: Vec<Seen>,
    client: Vec<Seen>,
}

/// How they stand in JSON.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Shown {
    server: Vec<Arc<CertificateFacts>>,
    client: Vec<Arc<CertificateFacts>>,
}

impl From<Shown> for Certificates {
    fn from(shown: Shown) -> Self {
        let seen = |all: Vec<Arc<CertificateFacts>>| {
            all.into_iter().map(|facts| Seen { facts, heard: Timestamp::default() }).collect()
        };
        Self { server: seen(shown.server), client: seen(shown.client) }
    }
}

impl From<Certificates> for Shown {
    fn from(certificates: Certificates) -> Self {
        let facts = |all: Vec<Seen>| all.into_iter().map(|seen| seen.facts).collect();
        Self { server: facts(certificates.server), client: facts(certificates.client) }
    }
}

impl Certificates {
    /// Notes those of a report, also of a refused handshake: an expired certificate is seen
    /// exactly there.
    pub(super) fn record(&mut self, report: &ConnectionReport, now: Timestamp) {
        note(&mut self.server, report.server_certificate.as_ref(), now);
        note(&mut self.client, report.client_certificate.as_ref(), now);
    }

    /// Those of the server in use.
    pub fn server(&self) -> impl Iterator<Item = &Arc<CertificateFacts>> {
        self.server.iter().map(|seen| &seen.facts)
    }

    /// Those of the proxy in use.
    pub fn client(&self) -> impl Iterator<Item = &Arc<CertificateFacts>> {
        self.client.iter().map(|seen| &seen.facts)
    }

    /// The proxy presents none any more.
    pub(super) fn forget_client(&mut self) {
        self.client.clear();
    }

    /// Nothing is encrypted any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The facts, shared where they are bounded, else as a bounded copy.
pub(super) fn bounded(facts: &Arc<CertificateFacts>) -> Arc<CertificateFacts> {
    let bounded = bounded_certificate(facts);
    if bounded == **facts { facts.clone() } else { Arc::new(bounded) }
}

fn note(all: &mut Vec<Seen>, facts: Option<&Arc<CertificateFacts>>, now: Timestamp) {
    let Some(facts) = facts else { return };
    if let Some(known) = all.iter_mut().find(|seen| seen.facts == *facts) {
        known.heard = now;
    } else {
        let facts = bounded(facts);
        match all.iter_mut().find(|seen| seen.facts == facts) {
            Some(known) => known.heard = now,
            None => all.push(Seen { facts, heard: now }),
        }
    }
    let is_renewed = |seen: &Seen| {
        now.since(seen.heard) > RENEWED_AFTER && all.iter().any(|other| other.renews(seen))
    };
    if let Some(renewed) = all.iter().position(is_renewed) {
        all.remove(renewed);
    } else if all.len() > MAX_CERTIFICATES
        && let Some(stalest) =
            all.iter().enumerate().min_by_key(|(_, seen)| seen.heard).map(|(at, _)| at)
    {
        all.remove(stalest);
    }
}
