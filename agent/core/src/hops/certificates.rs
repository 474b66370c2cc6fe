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

    /// Those of the server, and those of the proxy, in use.
    #[must_use]
    pub fn in_use(&self) -> [Vec<&Arc<CertificateFacts>>; 2] {
        [&self.server, &self.client].map(|all| all.iter().map(|seen| &seen.facts).collect())
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

fn note(all: &mut Vec<Seen>, facts: Option<&Arc<CertificateFacts>>, now: Timestamp) {
    let Some(facts) = facts else { return };
    let same = |seen: &Seen| Arc::ptr_eq(&seen.facts, facts) || seen.facts == *facts;
    if let Some(known) = all.iter_mut().find(|seen| same(seen)) {
        known.heard = now;
    } else {
        let bounded = bounded_certificate(facts);
        let facts = if bounded == **facts { facts.clone() } else { Arc::new(bounded) };
        match all.iter_mut().find(|seen| seen.facts == facts) {
            Some(known) => known.heard = now,
            None => all.push(Seen { facts, heard: now }),
        }
    }
    if all.len() < 2 {
        return;
    }
    let newer = all.clone();
    all.retain(|seen| {
        let renews = |other: &Seen| {
            other.facts.subject == seen.facts.subject
                && other.facts.public_key == seen.facts.public_key
                && other.facts.not_before >= seen.facts.not_before
                && other.facts != seen.facts
                && other.heard > seen.heard
        };
        now.since(seen.heard) <= RENEWED_AFTER || !newer.iter().any(renews)
    });
    if all.len() > MAX_CERTIFICATES
        && let Some(stalest) =
            all.iter().enumerate().min_by_key(|(_, seen)| seen.heard).map(|(at, _)| at)
    {
        all.remove(stalest);
    }
}
