//! Certificates in use with one server.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use hopsight_core::{
    model::{Evidence, ServerVerified, Timestamp},
    report::ConnectionReport,
    tls::{
        certificate_facts::{CertificateAbsence, CertificateFacts},
        version::encrypts_handshake,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    evaluation::Evaluation,
    labels::bounded_certificate,
    moment::Moment,
    pool::CertificatePool,
    renewal::{RENEWED_AFTER, Renewal, Renewed, is_for_the_same, renewed},
    silence::Silence,
};
use crate::policy::certificate::{ChainWord, Revocation};

/// Certificates kept per side: a server may have one per kind of key and per name. Beyond that one
/// that was never accepted is forgotten, else the one that ends last.
const MAX_CERTIFICATES: usize = 8;

/// One certificate in use. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateInUse {
    /// What it says.
    #[serde(flatten)]
    pub facts: Arc<CertificateFacts>,
    /// How it was seen: `wire`, or `library` where it was sent under encryption (TLS 1.3).
    #[serde(default = "CertificateInUse::evidence_unsaid")]
    pub evidence: Evidence,
    /// Finished connections in whose handshake it was sent.
    #[serde(default)]
    pub connections: u64,
    /// A handshake in which it was sent was completed.
    #[serde(default)]
    pub accepted: bool,
    /// When the first of them was reported.
    #[serde(default)]
    pub first_seen: f64,
    /// When the newest was.
    #[serde(default)]
    pub last_seen: f64,
    /// Where its chain leads, as it was last told: the upstream's by what the configuration trusts, the
    /// proxy's by what the upstream names in its request; absent where nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainWord>,
    /// The one that it was seen to come in the place of, of the same identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<Box<Renewed>>,
    /// Whether it is revoked, as it was last told; absent where nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Box<Revocation>>,
    /// The same on the clock that ages are reckoned in.
    #[serde(skip)]
    heard: Timestamp,
}

impl CertificateInUse {
    /// Of what an agent wrote that did not say it.
    const fn evidence_unsaid() -> Evidence {
        Evidence::None
    }

    fn seen(&mut self, report: &ConnectionReport, found: &Found, now: Moment) {
        self.accepted |= found.is_accepted;
        self.connections += u64::from(report.is_final);
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        self.evidence = self.evidence.max(evidence(report));
        let is_told = found.chain.is_some_and(|answer| answer != ChainWord::Unknown);
        if is_told || self.chain.is_none() {
            self.chain = found.chain;
        }
        if found.is_unlisted {
            self.revocation = None;
        }
        if let Some(says) = &found.revocation
            && self.revocation.as_deref() != Some(says)
        {
            self.revocation = Some(says.clone().into());
        }
    }

    /// Whether it stands in the other's place by now.
    fn renews(&self, other: &Self) -> bool {
        self.accepted
            && is_for_the_same(&self.facts, &other.facts, self.chain)
            && self.facts.not_before >= other.facts.not_before
            && self.facts != other.facts
            && self.heard > other.heard
    }
}

/// What a certificate of this connection was seen by.
fn evidence(report: &ConnectionReport) -> Evidence {
    let is_encrypted = report.tls_version.as_deref().is_some_and(encrypts_handshake);
    if is_encrypted { Evidence::Library } else { Evidence::Wire }
}

/// The certificates in use on both sides of connections with one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Shown", into = "Shown")]
pub struct Certificates {
    server: Side,
    client: Side,
}

/// What was found of a certificate by who knows more than the connection.
struct Found {
    chain: Option<ChainWord>,
    revocation: Option<Revocation>,
    is_unlisted: bool,
    /// The handshake was completed, and neither side has the other's certificate still to look at.
    is_accepted: bool,
}

/// One side's.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    seen: Vec<CertificateInUse>,
    /// Why the newest connection that could have shown one did not.
    absent: Option<CertificateAbsence>,
}

/// How they stand in JSON.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Shown {
    server: Vec<CertificateInUse>,
    client: Vec<CertificateInUse>,
    /// Why there is none of the server.
    #[serde(default)]
    server_absent: Option<CertificateAbsence>,
    /// Why there is none of the proxy.
    #[serde(default)]
    client_absent: Option<CertificateAbsence>,
}

impl From<Shown> for Certificates {
    fn from(shown: Shown) -> Self {
        Self {
            server: Side { seen: shown.server, absent: shown.server_absent },
            client: Side { seen: shown.client, absent: shown.client_absent },
        }
    }
}

impl From<Certificates> for Shown {
    fn from(certificates: Certificates) -> Self {
        let (server_absent, client_absent) = certificates.absent();
        Self {
            server: certificates.server.seen,
            client: certificates.client.seen,
            server_absent,
            client_absent,
        }
    }
}

impl Certificates {
    /// Notes those of a report, also of a refused handshake: an expired certificate is seen
    /// exactly there. Says of the server and of the proxy whether it renewed one.
    pub(super) fn record(
        &mut self,
        report: &ConnectionReport,
        evaluation: &Evaluation,
        now: Moment,
    ) -> [Option<Renewal>; 2] {
        let [revocation, client_revocation] = evaluation.revocation.clone();
        // nginx completes a handshake before it looks at what it verified.
        let has_verified =
            !evaluation.is_to_verify || report.verdict.server_verified == ServerVerified::Yes;
        let is_accepted = report.is_established() && (report.is_final || has_verified);
        let is_unlisted = evaluation.is_unlisted;
        let found = Found { chain: evaluation.chain, revocation, is_unlisted, is_accepted };
        let ConnectionReport { server_certificate, server_certificate_absent, .. } = report;
        let server = (server_certificate.as_ref(), *server_certificate_absent);
        let by_server = self.server.note(server, report, found, now);
        let ConnectionReport { client_certificate, client_certificate_absent, .. } = report;
        let client = (client_certificate.as_ref(), *client_certificate_absent);
        let found = Found {
            chain: evaluation.client_chain,
            revocation: client_revocation,
            is_unlisted,
            is_accepted,
        };
        [by_server, self.client.note(client, report, found, now)]
    }

    /// Those in use, with how they were seen: the server's, and the proxy's.
    #[must_use]
    pub fn in_use(&self) -> [&[CertificateInUse]; 2] {
        [&self.server.seen, &self.client.seen]
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
    pub(super) fn restore(
        &mut self,
        silent: [Vec<Silence>; 2],
        pool: &mut CertificatePool,
        now: Timestamp,
    ) {
        for (side, silent) in [&mut self.server, &mut self.client].into_iter().zip(silent) {
            side.seen.truncate(MAX_CERTIFICATES.min(silent.len()));
            for (seen, silent) in side.seen.iter_mut().zip(silent) {
                seen.facts = pool.shared(bounded(&seen.facts));
                seen.heard = silent.heard(now);
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
        (facts, absent): (Option<&Arc<CertificateFacts>>, Option<CertificateAbsence>),
        report: &ConnectionReport,
        found: Found,
        now: Moment,
    ) -> Option<Renewal> {
        let Some(facts) = facts else {
            self.absent = absent.or(self.absent);
            return None;
        };
        let all = &mut self.seen;
        let at = |all: &[CertificateInUse], facts: &Arc<CertificateFacts>| {
            all.iter().position(|seen| seen.facts == *facts)
        };
        let known = at(all, facts);
        let facts = if known.is_some() { facts.clone() } else { bounded(facts) };
        let known = known.or_else(|| at(all, &facts));
        let was_accepted = known.is_some_and(|at| all[at].accepted);
        let renews = (found.is_accepted && !was_accepted)
            .then(|| renewed(all.iter().map(|seen| &*seen.facts), &facts, found.chain, now))
            .flatten();
        if let Some(known) = known.map(|at| &mut all[at]) {
            known.seen(report, &found, now);
            let renews = renews?;
            known.renews = Some(renews.clone().into());
            return Some((facts, renews));
        }
        all.push(CertificateInUse {
            renews: renews.clone().map(Box::new),
            facts: facts.clone(),
            evidence: evidence(report),
            connections: report.is_final.into(),
            accepted: found.is_accepted,
            first_seen: now.unix_seconds,
            last_seen: now.unix_seconds,
            chain: found.chain,
            revocation: found.revocation.map(Box::new),
            heard: now.monotonic,
        });
        if all.len() > MAX_CERTIFICATES {
            let ends_last = |(_, seen): &(usize, &CertificateInUse)| {
                (!seen.accepted, seen.facts.not_after, Reverse(seen.heard))
            };
            if let Some((last, _)) = all.iter().enumerate().max_by_key(ends_last) {
                // One that is not kept would be told with every connection.
                let is_new = last + 1 == all.len();
                all.remove(last);
                if is_new {
                    return None;
                }
            }
        }
        Some((facts, renews?))
    }

    fn retire(&mut self, now: Timestamp, stands_for: Duration) {
        let newest = self.seen.iter().map(|seen| seen.heard).max().unwrap_or_default();
        let is_gone = |seen: &CertificateInUse| {
            let silent = now.since(seen.heard);
            let is_renewed = || self.seen.iter().any(|other| other.renews(seen));
            seen.heard < newest && (silent > stands_for || silent > RENEWED_AFTER && is_renewed())
        };
        let mut gone = self.seen.iter().map(is_gone).collect::<Vec<_>>().into_iter();
        self.seen.retain(|_| gone.next() != Some(true));
    }
}

#[cfg(test)]
mod tests;
