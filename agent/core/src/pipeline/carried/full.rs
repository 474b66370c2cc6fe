//! A full handshake, as it is remembered for the sessions that rest on it.

use std::sync::Arc;

use crate::{
    model::{ClientAuth, Origin, Outcome, Timestamp},
    report::{CarriedBy, CarriedFrom, ConnectionReport, Verdict},
    tls::certificate_facts::CertificateFacts,
};

/// A full handshake.
#[derive(Clone, Debug, PartialEq)]
pub struct Full {
    /// What it showed.
    pub verdict: Verdict,
    /// When it was decided.
    pub at: Timestamp,
    /// Of which process it was; `None` in a packet capture.
    pub process: Option<u32>,
    /// How sessions were found to rest on it, where one of them is known by its name.
    pub by: CarriedBy,
    /// The certificate that the proxy presented, where it was seen.
    pub client_certificate: Option<Arc<CertificateFacts>>,
    /// The certificate of the upstream, where it was seen.
    pub server_certificate: Option<Arc<CertificateFacts>>,
}

impl Full {
    /// What a report says of one.
    #[must_use]
    pub fn of(report: &ConnectionReport) -> Self {
        Self {
            verdict: report.verdict,
            at: report.decided_at,
            process: match &report.origin {
                Origin::Process(process) => Some(process.pid),
                Origin::PacketCapture => None,
            },
            by: CarriedBy::Session,
            client_certificate: report.client_certificate.clone(),
            server_certificate: report.server_certificate.clone(),
        }
    }

    /// Whether it may speak for the sessions that it began.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        let Verdict { outcome, client_auth, .. } = self.verdict;
        outcome == Outcome::Established && client_auth != ClientAuth::Unknown
    }

    /// What it says of the client's certificate, if it may speak.
    #[must_use]
    pub fn certain_client_auth(&self) -> ClientAuth {
        if self.is_certain() { self.verdict.client_auth } else { ClientAuth::Unknown }
    }

    /// Whether the other may be this handshake, said again and better, or says the same of a session.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let says = |full: &Self| (full.verdict.client_auth, full.verdict.server_verified);
        self.process == other.process && (self.at == other.at || says(self) == says(other))
    }

    /// The same, when it may not speak any more.
    #[must_use]
    pub fn disputed(&self) -> Self {
        let verdict = Verdict { client_auth: ClientAuth::Unknown, ..self.verdict };
        Self { verdict, ..self.clone() }
    }

    /// What is said of it in the report of a session resumed at `at`.
    #[must_use]
    pub fn carried(&self, at: Timestamp) -> CarriedFrom {
        CarriedFrom {
            evidence: self.verdict.evidence,
            age_seconds: at.since(self.at).as_secs_f64(),
            by: self.by,
            at: self.at,
            pid: self.process,
            client_certificate: self.client_certificate.clone(),
            server_certificate: self.server_certificate.clone(),
        }
    }
}
