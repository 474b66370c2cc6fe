//! Certificates in use with one server.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{labels::bounded_certificate, silence::Silence};
use crate::{
    model::Timestamp,
    report::ConnectionReport,
    tls::certificate_facts::{CertificateAbsence, CertificateFacts},
};

/// Certificates kept per side: a server may have one per kind of key and per name. Beyond that the
/// one that ends last is forgotten.
const MAX_CERTIFICATES: usize = 8;

/// A certificate that was not seen for this long is replaced by a newer one of the same subject
/// and kind of key: it was renewed. While both are seen both are in use. One of another kind of key
/// may be for other clients, and replaces nothing.
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
    server: Side,
    client: Side,
}

/// One side's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Side {
    seen: Vec<Seen>,
    /// Why the newest connection that could have shown one did not.
    absent: Option<CertificateAbsence>,
}

/// How they stand in JSON.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Shown {
    server: Vec<Arc<CertificateFacts>>,
    client: Vec<Arc<CertificateFacts>>,
    /// Why there is none of the server.
    #[serde(default)]
    server_absent: Option<CertificateAbsence>,
    /// Why there is none of the proxy.
    #[serde(default)]
    client_absent: Option<CertificateAbsence>,
}

impl From<Shown> for Certificates {
    fn from(shown: Shown) -> Self {
        let side = |all: Vec<Arc<CertificateFacts>>, absent| {
            let seen = |facts| Seen { facts, heard: Timestamp::default() };
            Side { seen: all.into_iter().map(seen).collect(), absent }
        };
        Self {
            server: side(shown.server, shown.server_absent),
            client: side(shown.client, shown.client_absent),
        }
    }
}

impl From<Certificates> for Shown {
    fn from(certificates: Certificates) -> Self {
        let (server_absent, client_absent) = certificates.absent();
        let facts = |side: Side| side.seen.into_iter().map(|seen| seen.facts).collect();
        Self {
            server: facts(certificates.server),
            client: facts(certificates.client),
            server_absent,
            client_absent,
        }
    }
}

impl Certificates {
    /// Notes those of a report, also of a refused handshake: an expired certificate is seen
    /// exactly there.
    pub(super) fn record(&mut self, report: &ConnectionReport, now: Timestamp) {
        let ConnectionReport { server_certificate, server_certificate_absent, .. } = report;
        self.server.note(server_certificate.as_ref(), *server_certificate_absent, now);
        let ConnectionReport { client_certificate, client_certificate_absent, .. } = report;
        self.client.note(client_certificate.as_ref(), *client_certificate_absent, now);
    }

    /// Those of the server in use.
    pub fn server(&self) -> impl Iterator<Item = &Arc<CertificateFacts>> {
        self.server.seen.iter().map(|seen| &seen.facts)
    }

    /// Those of the proxy in use.
    pub fn client(&self) -> impl Iterator<Item = &Arc<CertificateFacts>> {
        self.client.seen.iter().map(|seen| &seen.facts)
    }

    /// Why there is none in use of the server, and none of the proxy; absent where there is one, or
    /// nothing is known.
    #[must_use]
    pub fn absent(&self) -> (Option<CertificateAbsence>, Option<CertificateAbsence>) {
        let why = |side: &Side| side.absent.filter(|_| side.seen.is_empty());
        (why(&self.server), why(&self.client))
    }

    /// When each of those in use was last seen: the server's, and the proxy's.
    pub(super) fn heard(&self) -> [Vec<Timestamp>; 2] {
        [&self.server, &self.client].map(|side| side.seen.iter().map(|seen| seen.heard).collect())
    }

    /// Drops those that are out of use: renewed, or not seen for `stands_for` while another was.
    pub(super) fn retire(&mut self, now: Timestamp, stands_for: Duration) {
        self.server.retire(now, stands_for);
        self.client.retire(now, stands_for);
    }

    /// Whether time alone may change which are in use.
    pub(super) fn may_change(&self) -> bool {
        self.server.seen.len() > 1 || self.client.seen.len() > 1
    }

    /// What was read from JSON, bounded, with how long each had been silent at `now`.
    pub(super) fn restore(&mut self, silent: [Vec<Silence>; 2], now: Timestamp) {
        for (side, silent) in [&mut self.server, &mut self.client].into_iter().zip(silent) {
            side.seen.truncate(MAX_CERTIFICATES.min(silent.len()));
            for (seen, silent) in side.seen.iter_mut().zip(silent) {
                *seen = Seen { facts: bounded(&seen.facts), heard: silent.heard(now) };
            }
        }
    }

    /// The proxy presents none any more.
    pub(super) fn forget_client(&mut self) {
        self.client.seen.clear();
    }

    /// Nothing is encrypted any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The facts, shared where they are bounded, else as a bounded copy.
fn bounded(facts: &Arc<CertificateFacts>) -> Arc<CertificateFacts> {
    let bounded = bounded_certificate(facts);
    if bounded == **facts { facts.clone() } else { Arc::new(bounded) }
}

impl Side {
    fn note(
        &mut self,
        facts: Option<&Arc<CertificateFacts>>,
        absent: Option<CertificateAbsence>,
        now: Timestamp,
    ) {
        let Some(facts) = facts else {
            self.absent = absent.or(self.absent);
            return;
        };
        let all = &mut self.seen;
        if let Some(known) = all.iter_mut().find(|seen| seen.facts == *facts) {
            known.heard = now;
        } else {
            let facts = bounded(facts);
            match all.iter_mut().find(|seen| seen.facts == facts) {
                Some(known) => known.heard = now,
                None => all.push(Seen { facts, heard: now }),
            }
        }
        if all.len() > MAX_CERTIFICATES {
            let ends_last =
                |(_, seen): &(usize, &Seen)| (seen.facts.not_after, Reverse(seen.heard));
            if let Some((last, _)) = all.iter().enumerate().max_by_key(ends_last) {
                all.remove(last);
            }
        }
    }

    fn retire(&mut self, now: Timestamp, stands_for: Duration) {
        let newest = self.seen.iter().map(|seen| seen.heard).max().unwrap_or_default();
        let is_gone = |seen: &Seen| {
            let silent = now.since(seen.heard);
            let is_renewed = || self.seen.iter().any(|other| other.renews(seen));
            seen.heard < newest && (silent > stands_for || silent > RENEWED_AFTER && is_renewed())
        };
        let mut gone = self.seen.iter().map(is_gone).collect::<Vec<_>>().into_iter();
        self.seen.retain(|_| gone.next() != Some(true));
    }
}
