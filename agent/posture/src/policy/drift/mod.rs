//! The difference between what is and what should be: judged per connection by [`assess()`], kept
//! over time by [`DriftTracker`].

mod assess;
mod cause;
mod certificates;
mod chain;
mod cryptography;
mod keys;
#[cfg(test)]
mod keys_tests;
mod options;
mod record;
mod relaxed;
mod revoked;
mod ruled_out;
mod sessions;
mod stale;
mod status;
mod track;
mod tracker;

#[cfg(test)]
mod assess_tests;
#[cfg(test)]
mod baseline_tests;
#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod cryptography_tests;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod revoked_tests;
#[cfg(test)]
mod sessions_tests;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod stale_tests;
#[cfg(test)]
mod status_tests;
#[cfg(test)]
mod tracker_tests;
#[cfg(test)]
mod versions_tests;

use hopsight_core::{model::Reason, vocabulary};
use serde::{Deserialize, Serialize};

pub use assess::assess;
pub use cause::{Causes, CertificateKey, InUse, TreatmentWords, Use};
pub use options::Options;
pub use record::{ClosedDrift, DriftEvent, End, OpenDrift};
pub use relaxed::asks_for_less;
pub use tracker::{DriftTracker, Snapshot};

use super::intent::Place;

vocabulary! {
    /// What a hop can be in violation of.
    Rule {
        /// Application bytes in the clear where policy or configuration wants TLS.
        Plaintext => "plaintext",
        /// Mutual TLS is wanted and the proxy has nothing to present: the upstream asked in vain,
        /// or did not ask and no certificate is configured.
        ClientCertificateMissing => "client_certificate_missing",
        /// A client certificate was configured once, and is not any more; nothing but the
        /// configuration asks for one.
        ClientCertificateRemoved => "client_certificate_removed",
        /// The upstream refused the certificate the proxy presented.
        ClientCertificateRejected => "client_certificate_rejected",
        /// Mutual TLS is wanted and the upstream never asks for a certificate.
        NeverRequested => "never_requested",
        /// Mutual TLS is wanted and for long only resumed sessions were seen, whose full
        /// handshake was not.
        ResumedUnseen => "resumed_unseen",
        /// The upstream's certificate is not checked where it has to be.
        UpstreamNotVerified => "upstream_not_verified",
        /// A protocol version below the lowest allowed was negotiated.
        VersionBelowMinimum => "version_below_minimum",
        /// A forbidden cipher suite was negotiated.
        ForbiddenCipher => "forbidden_cipher",
        /// A certificate of the hop ends soon, or has ended.
        CertificateExpiring => "certificate_expiring",
        /// The client certificate is of an issuer that is not allowed.
        ClientIssuerNotAllowed => "client_issuer_not_allowed",
        /// The client certificate has none of the names that are allowed.
        ClientSanNotAllowed => "client_san_not_allowed",
        /// The key exchange is weaker than policy allows.
        KeyExchangeBelowMinimum => "key_exchange_below_minimum",
        /// The keys come from a group that is not allowed.
        GroupNotAllowed => "group_not_allowed",
        /// A side signed the handshake with something that is not allowed.
        SignatureSchemeNotAllowed => "signature_scheme_not_allowed",
        /// The upstream's certificate has none of the SPIFFE IDs that are allowed.
        SpiffeIdNotAllowed => "spiffe_id_not_allowed",
        /// A certificate is valid for longer than policy allows.
        CertificateLifetimeTooLong => "certificate_lifetime_too_long",
        /// What the upstream presents does not chain to what the configuration trusts.
        ChainNotTrusted => "chain_not_trusted",
        /// A certificate of the hop is revoked.
        CertificateRevoked => "certificate_revoked",
        /// The upstream names CAs in its request for a certificate, and the proxy's leads to none of them.
        ClientCaNotRequested => "client_ca_not_requested",
        /// The upstream's certificate is of an issuer that is not allowed.
        UpstreamIssuerNotAllowed => "upstream_issuer_not_allowed",
        /// A certificate has a key of a kind or size that is not allowed.
        PublicKeyNotAllowed => "public_key_not_allowed",
        /// A certificate is signed with something that is not allowed.
        CertificateSignatureNotAllowed => "certificate_signature_not_allowed",
        /// Certificates of several identities have one key.
        KeyShared => "key_shared",
        /// A certificate is presented though there is a newer one in its place.
        StaleCertificate => "stale_certificate",
        /// A client certificate was presented to an upstream that must not see one.
        ThirdPartyCertificate => "third_party_certificate",
        /// The handshake that a session rests on is older than policy allows.
        AuthenticationTooOld => "authentication_too_old",
        /// A session goes on, and a certificate that it rests on has ended, or was replaced.
        SessionOutlivesCertificate => "session_outlives_certificate",
        /// An object of the Kubernetes API says that it is in force, and the hop is otherwise.
        StatusSaysOtherwise => "status_says_otherwise",
    }
}

vocabulary! {
    /// What one connection says about its hop.
    Compliance {
        /// Everything that is asked for was seen to be so.
        Compliant => "compliant",
        /// Something is not as it should be.
        Violation => "violation",
        /// Something is not as it should be, and somebody answers for it until a day.
        Exempt => "exempt",
        /// Nothing is known to be wrong, and not everything could be seen.
        Unknown => "unknown",
    }
}

/// What one connection says about one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As it should be, or nothing is asked for.
    Met,
    /// Not as it should be.
    Violated(Violation),
    /// Not as it should be, and exempt.
    Exempt(Violation),
    /// This connection does not show it.
    Unknown,
}

/// How a rule is violated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// For people: expected and found.
    pub detail: String,
    /// The line of the proxy's configuration to look at, if one is to blame.
    pub place: Option<Place>,
    /// The certificate that violates it, if one does.
    #[serde(default)]
    pub certificate: Option<CertificateKey>,
}

/// What one connection says about every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// One answer per [`Rule::ALL`], in its order.
    answers: Vec<Answer>,
    /// The rules that no connection violates which is opened with the same configuration.
    ruled_out: Vec<Rule>,
    /// Why the connection's verdict is unknown, where it is.
    pub reason: Option<Reason>,
}

impl Assessment {
    /// Each rule and its answer.
    pub fn answers(&self) -> impl Iterator<Item = (Rule, &Answer)> {
        Rule::ALL.iter().copied().zip(&self.answers)
    }

    /// The answer for one rule.
    #[must_use]
    pub fn answer(&self, rule: Rule) -> &Answer {
        &self.answers[rule as usize]
    }

    /// Whether no connection violates it that is opened with the same configuration, which every
    /// route of that says.
    #[must_use]
    pub fn rules_out(&self, rule: Rule) -> bool {
        self.ruled_out.contains(&rule)
    }

    /// The rules that are violated, and how. [`Rule::ResumedUnseen`] is only a violation when it
    /// lasts, so one connection never makes it one.
    pub fn violations(&self) -> impl Iterator<Item = (Rule, &Violation)> {
        self.answers().filter_map(|(rule, answer)| match answer {
            Answer::Violated(violation) if rule != Rule::ResumedUnseen => Some((rule, violation)),
            _ => None,
        })
    }

    /// The rules that are violated and exempt.
    pub fn exempt(&self) -> impl Iterator<Item = Rule> {
        let is_exempt = |answer: &Answer| matches!(answer, Answer::Exempt(_));
        self.answers().filter(move |(_, answer)| is_exempt(answer)).map(|(rule, _)| rule)
    }

    /// The same, with the violations exempt that are.
    #[must_use]
    pub fn with_exempt(mut self, is_exempt: impl Fn(Rule) -> bool) -> Self {
        for (rule, answer) in Rule::ALL.iter().zip(&mut self.answers) {
            if let Answer::Violated(violation) = answer
                && is_exempt(*rule)
            {
                *answer = Answer::Exempt(violation.clone());
            }
        }
        self
    }

    /// All of it in one word.
    #[must_use]
    pub fn compliance(&self) -> Compliance {
        if self.violations().next().is_some() {
            Compliance::Violation
        } else if self.exempt().next().is_some() {
            Compliance::Exempt
        } else if self.answers.iter().all(|answer| *answer == Answer::Met) {
            Compliance::Compliant
        } else {
            Compliance::Unknown
        }
    }
}
