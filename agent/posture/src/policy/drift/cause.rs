//! What makes a hop violate a rule, where the table of hops knows when that is out of use.
//!
//! Most rules are violated by how a server is treated, or by a certificate. Both are kept in the table
//! of hops while they are in use, and a drift is not over before they are gone from there: what is
//! green has to be green everywhere at once.

use hopsight_core::{
    model::{ClientAuth, Security, ServerVerified},
    tls::certificate_facts::CertificateFacts,
};
use serde::{Deserialize, Serialize};

use super::{Rule, Violation, record::OpenDrift};
use crate::policy::observation::{Observation, ProcessStart};

/// Causes of one drift that are told apart at most: all treatments of a server, and as many
/// certificates as are kept of it on both sides.
const MAX_CAUSES: usize = 32;

/// Processes whose sessions offend that are told apart at most: the workers of a large machine.
pub(super) const MAX_PROCESSES: usize = 256;

/// Longest serial number that tells certificates apart (RFC 5280 section 4.1.2.2 allows 20 octets).
const MAX_SERIAL: usize = 64;

/// How a server is treated: security, client authentication, verification.
pub type TreatmentWords = (Security, ClientAuth, ServerVerified);

/// What tells certificates of a hop apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateKey {
    serial: String,
    not_before: i64,
    not_after: i64,
}

impl CertificateKey {
    /// That of a certificate.
    #[must_use]
    pub fn of(facts: &CertificateFacts) -> Self {
        Self {
            serial: facts.serial.chars().take(MAX_SERIAL).collect(),
            not_before: facts.not_before,
            not_after: facts.not_after,
        }
    }
}

/// What violates a rule at one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Causes {
    /// How the offending connections were treated, where that is what violates the rule.
    pub treatments: Vec<TreatmentWords>,
    /// The offending certificates, where they do.
    pub certificates: Vec<CertificateKey>,
    /// The processes whose sessions do. Each may resume its own again, whatever others do, until it
    /// resumes another.
    #[serde(default)]
    pub processes: Vec<ProcessStart>,
}

impl Causes {
    /// Whether the table of hops knows nothing of them.
    #[must_use]
    pub const fn are_unknown(&self) -> bool {
        self.treatments.is_empty() && self.certificates.is_empty()
    }

    pub(super) fn note(&mut self, rule: Rule, violation: &Violation, seen: &Observation<'_>) {
        if is_shown_by_treatment(rule) {
            note(&mut self.treatments, treatment(seen), MAX_CAUSES);
        }
        if let Some(certificate) = &violation.certificate {
            note(&mut self.certificates, certificate.clone(), MAX_CAUSES);
        }
        if is_of_a_session(rule)
            && let Some(process) = seen.opened_by
        {
            note(&mut self.processes, process, MAX_PROCESSES);
        }
    }

    /// Whether a connection is treated like the offending ones.
    pub(super) fn include_treatment(&self, seen: &Observation<'_>) -> bool {
        self.treatments.contains(&treatment(seen))
    }

    /// Whether it shows a certificate that offended.
    pub(super) fn include_certificate(&self, seen: &Observation<'_>) -> bool {
        let shown = [seen.client_certificate, seen.server_certificate].into_iter().flatten();
        shown.map(CertificateKey::of).any(|key| self.certificates.contains(&key))
    }

    /// A process does not have its offending session any more; says whether it had one.
    pub(super) fn acquit_process(&mut self, process: ProcessStart) -> bool {
        let before = self.processes.len();
        self.processes.retain(|known| *known != process);
        self.processes.len() < before
    }

    /// A connection like that is good by now.
    pub(super) fn acquit(&mut self, seen: &Observation<'_>) {
        self.treatments.retain(|known| *known != treatment(seen));
        for shown in [seen.client_certificate, seen.server_certificate].into_iter().flatten() {
            self.certificates.retain(|known| *known != CertificateKey::of(shown));
        }
    }
}

fn note<T: PartialEq>(all: &mut Vec<T>, one: T, max: usize) {
    if !all.contains(&one) && all.len() < max {
        all.push(one);
    }
}

/// What the table of hops says of the causes of a drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// One of them is in use.
    InUse,
    /// The server is, and none of them.
    OutOfUse,
    /// Other servers of the hop are, and this one is not.
    ServerGone,
    /// It does not know.
    Unknown,
}

/// Asks the table of hops about the causes of a drift at its server.
pub trait InUse: Fn(&OpenDrift, &Causes) -> Use {}

impl<F: Fn(&OpenDrift, &Causes) -> Use> InUse for F {}

fn treatment(seen: &Observation<'_>) -> TreatmentWords {
    (seen.verdict.security, seen.verdict.client_auth, seen.verdict.server_verified)
}

/// Whether connections that are treated alike are alike to the rule.
pub(super) const fn is_shown_by_treatment(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::Plaintext
            | Rule::ClientCertificateMissing
            | Rule::ClientCertificateRemoved
            | Rule::NeverRequested
            | Rule::UpstreamNotVerified
            | Rule::ThirdPartyCertificate
            | Rule::StatusSaysOtherwise
    )
}

/// Whether it is a session that violates the rule, so that a handshake which is done anew ends that.
pub(super) const fn is_of_a_session(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::ResumedUnseen | Rule::AuthenticationTooOld | Rule::SessionOutlivesCertificate
    )
}
