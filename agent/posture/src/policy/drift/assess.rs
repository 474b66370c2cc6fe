//! One connection against the policy for its hop and the configuration of its proxy.

use hopsight_core::{
    model::{ClientAuth, Outcome, Reason, Security, ServerVerified},
    tls::certificate_facts::CertificateFacts,
};

use super::{Answer, Assessment, CertificateKey, Rule, Violation, ruled_out};
use crate::policy::{
    glob,
    intent::{Place, Route, Scheme, Stated, UpstreamIntent},
    observation::Observation,
    rules::{ClientCertificate, Policy, Require, VerifyUpstream},
    time::UnixTime,
};

/// Judges a connection.
///
/// `intents` are the upstreams of the configuration that it may belong to: none if no
/// configuration was read or it names no such upstream, several if they share the address.
/// A handshake that failed or never ended says nothing, except that the certificate was refused.
/// In doubt an answer is unknown, never met.
#[must_use]
pub fn assess(
    policy: &Policy,
    intents: &[&UpstreamIntent],
    seen: &Observation<'_>,
    now: UnixTime,
) -> Assessment {
    let judge = Assessor { policy, intents, seen, now };
    let answers = Rule::ALL.iter().map(|rule| judge.answer(*rule)).collect();
    let ruled_out = ruled_out::of(policy, intents);
    Assessment { answers, ruled_out, reason: seen.verdict.reason }
}

pub(super) struct Assessor<'a> {
    pub(super) policy: &'a Policy,
    intents: &'a [&'a UpstreamIntent],
    pub(super) seen: &'a Observation<'a>,
    pub(super) now: UnixTime,
}

pub(super) fn violated(detail: String, place: Option<&Place>) -> Answer {
    Answer::Violated(Violation { detail, place: place.cloned(), certificate: None })
}

/// The same, by a certificate.
pub(super) fn violated_by(
    certificate: Option<&CertificateFacts>,
    detail: String,
    place: Option<&Place>,
) -> Answer {
    let certificate = certificate.map(CertificateKey::of);
    Answer::Violated(Violation { detail, place: place.cloned(), certificate })
}

impl Assessor<'_> {
    fn answer(&self, rule: Rule) -> Answer {
        match rule {
            Rule::ClientCertificateRejected => self.client_certificate_rejected(),
            // The absence of a certificate is refused as well.
            Rule::ClientCertificateMissing => self.client_certificate_missing(),
            Rule::ClientCertificateRemoved => self.client_certificate_removed(),
            // What was shown was shown, whatever came after it.
            Rule::ThirdPartyCertificate => self.third_party_certificate(),
            Rule::ChainNotTrusted => self.chain_not_trusted(),
            Rule::CertificateRevoked => self.certificate_revoked(),
            Rule::ClientCaNotRequested => self.client_ca_not_requested(),
            Rule::StatusSaysOtherwise => self.status_says_otherwise(),
            _ if !self.carried_data() => Answer::Unknown,
            Rule::Plaintext => self.plaintext(),
            Rule::NeverRequested => self.never_requested(),
            Rule::ResumedUnseen => self.resumed_unseen(),
            Rule::UpstreamNotVerified => self.upstream_not_verified(),
            Rule::VersionBelowMinimum => self.version_below_minimum(),
            Rule::ForbiddenCipher => self.forbidden_cipher(),
            Rule::CertificateExpiring => self.certificate_expiring(),
            Rule::ClientIssuerNotAllowed => self.client_issuer_not_allowed(),
            Rule::ClientSanNotAllowed => self.client_san_not_allowed(),
            Rule::KeyExchangeBelowMinimum => self.key_exchange_below_minimum(),
            Rule::GroupNotAllowed => self.group_not_allowed(),
            Rule::SignatureSchemeNotAllowed => self.signature_scheme_not_allowed(),
            Rule::SpiffeIdNotAllowed => self.spiffe_id_not_allowed(),
            Rule::CertificateLifetimeTooLong => self.certificate_lifetime_too_long(),
            Rule::UpstreamIssuerNotAllowed => self.upstream_issuer_not_allowed(),
            Rule::PublicKeyNotAllowed => self.public_key_not_allowed(),
            Rule::CertificateSignatureNotAllowed => self.certificate_signature_not_allowed(),
            Rule::KeyShared => self.key_shared(),
            Rule::StaleCertificate => self.stale_certificate(),
            Rule::AuthenticationTooOld => self.authentication_too_old(),
            Rule::SessionOutlivesCertificate => self.session_outlives_certificate(),
        }
    }

    /// Whether the connection became one that carries application data.
    pub(super) fn carried_data(&self) -> bool {
        let verdict = &self.seen.verdict;
        verdict.security == Security::Plaintext || verdict.outcome == Outcome::Established
    }

    /// Whether it is TLS at all, of which kind ever.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.seen.verdict.security, Security::Mtls | Security::Tls)
            || self.seen.tls_version.is_some()
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.intents.iter().flat_map(|intent| &intent.routes)
    }

    /// What all upstreams that may be meant say to a question.
    fn stated(&self, of: impl Fn(&UpstreamIntent) -> Stated) -> Stated {
        let mut answers = self.intents.iter().map(|intent| of(intent));
        let Some(first) = answers.next() else { return Stated::Unknown };
        if answers.all(|answer| answer == first) { first } else { Stated::Unknown }
    }

    /// Mutual TLS is asked for by the operator's policy, or by the configuration where only the
    /// built-in policies apply.
    fn wants_mutual(&self) -> bool {
        let configured = || self.stated(UpstreamIntent::client_certificate) == Stated::Yes;
        match self.policy.require {
            Require::Mtls => true,
            Require::Tls | Require::PlaintextAllowed => self.policy.built_in && configured(),
        }
    }

    /// Where the configuration names a client certificate.
    pub(super) fn certificate_place(&self) -> Option<&Place> {
        self.routes().find_map(|route| Some(&route.tls.certificate.as_ref()?.at))
    }

    fn plaintext(&self) -> Answer {
        let configured_tls = !self.intents.is_empty()
            && self.intents.iter().all(|intent| intent.scheme() == Scheme::Tls);
        let by_policy = self.policy.require != Require::PlaintextAllowed;
        if !by_policy && !configured_tls {
            return Answer::Met;
        }
        match self.seen.verdict.security {
            Security::Plaintext if by_policy => {
                let place = self.routes().find(|route| route.scheme == Scheme::Plaintext);
                let detail =
                    format!("policy requires {}, the hop is plaintext", self.policy.require);
                violated(detail, place.map(|route| &route.at))
            }
            Security::Plaintext => {
                let place = self.routes().next().map(|route| &route.at);
                violated("TLS is configured, the hop is plaintext".to_owned(), place)
            }
            _ if self.is_tls() => Answer::Met,
            _ => Answer::Unknown,
        }
    }

    fn client_certificate_missing(&self) -> Answer {
        if !self.wants_mutual() {
            return Answer::Met;
        }
        let place = self.routes().next().map(|route| &route.at);
        let verdict = &self.seen.verdict;
        match verdict.client_auth {
            ClientAuth::Presented if verdict.outcome == Outcome::Established => Answer::Met,
            ClientAuth::RequestedNotPresented => violated(
                "the upstream asked for a client certificate and got none".to_owned(),
                place,
            ),
            ClientAuth::NotRequested
                if verdict.security == Security::Tls && self.carried_data() =>
            {
                match self.stated(UpstreamIntent::client_certificate) {
                    Stated::No => violated("no client certificate is configured".to_owned(), place),
                    // It is there; that nobody asks for it is another rule's.
                    Stated::Yes => Answer::Met,
                    Stated::Mixed | Stated::Unknown => Answer::Unknown,
                }
            }
            _ => Answer::Unknown,
        }
    }

    /// Where nobody but the configuration says that the hop is to be mutual, it is the baseline of
    /// itself: what it was is what it has to be.
    fn client_certificate_removed(&self) -> Answer {
        if !self.policy.built_in || !self.seen.had_client_certificate {
            return Answer::Met;
        }
        let detail = match self.stated(UpstreamIntent::client_certificate) {
            Stated::Yes => return Answer::Met,
            Stated::Unknown => return Answer::Unknown,
            Stated::No => "the client certificate was removed from the configuration",
            Stated::Mixed => {
                "some routes of the configuration have no client certificate, where all had one"
            }
        };
        let verdict = &self.seen.verdict;
        match verdict.client_auth {
            ClientAuth::Presented => Answer::Met,
            ClientAuth::RequestedNotPresented | ClientAuth::NotRequested
                if self.carried_data()
                    || verdict.client_auth == ClientAuth::RequestedNotPresented =>
            {
                let without = |route: &&Route| route.tls.has_client_certificate() == Stated::No;
                violated(detail.to_owned(), self.routes().find(without).map(|route| &route.at))
            }
            _ => Answer::Unknown,
        }
    }

    fn client_certificate_rejected(&self) -> Answer {
        let verdict = &self.seen.verdict;
        match (verdict.client_auth, verdict.outcome) {
            (ClientAuth::Presented, Outcome::Rejected) => violated_by(
                self.seen.client_certificate,
                "the upstream refused the client certificate".to_owned(),
                self.certificate_place(),
            ),
            (ClientAuth::Presented, Outcome::Established) => Answer::Met,
            // Nothing was presented that could have been refused.
            (ClientAuth::NotRequested | ClientAuth::RequestedNotPresented, _)
                if !self.wants_mutual() =>
            {
                Answer::Met
            }
            (ClientAuth::Unknown, Outcome::Established) if !self.wants_mutual() => Answer::Met,
            _ => Answer::Unknown,
        }
    }

    fn never_requested(&self) -> Answer {
        if !self.wants_mutual() {
            return Answer::Met;
        }
        let none_configured = self.stated(UpstreamIntent::client_certificate) == Stated::No;
        match (self.seen.verdict.security, self.seen.verdict.client_auth) {
            (_, ClientAuth::Presented | ClientAuth::RequestedNotPresented) => Answer::Met,
            // Then that is what is to be mended first.
            (Security::Tls, ClientAuth::NotRequested) if none_configured => Answer::Unknown,
            (Security::Tls, ClientAuth::NotRequested) => violated(
                "the upstream does not ask for a client certificate".to_owned(),
                self.certificate_place(),
            ),
            _ => Answer::Unknown,
        }
    }

    fn resumed_unseen(&self) -> Answer {
        if !self.wants_mutual() {
            return Answer::Met;
        }
        match (self.seen.verdict.security, self.seen.verdict.reason) {
            (Security::Unknown, Some(Reason::ResumedUnseen)) => {
                let reuse = self.routes().find(|route| route.tls.reuses_sessions());
                violated(
                    "only resumed sessions were seen, none in full".to_owned(),
                    reuse.map(|route| &route.at),
                )
            }
            (Security::Unknown, _) => Answer::Unknown,
            _ => Answer::Met,
        }
    }

    fn upstream_not_verified(&self) -> Answer {
        let verdict = &self.seen.verdict;
        let wanted = match (self.policy.verify_upstream, verdict.security) {
            (VerifyUpstream::Never, _) | (VerifyUpstream::UnlessMtls, Security::Mtls) => false,
            (_, Security::Plaintext) | (VerifyUpstream::UnlessMtls, Security::Unknown) => {
                return Answer::Unknown;
            }
            _ => true,
        };
        if !wanted {
            return Answer::Met;
        }
        let is_off =
            |route: &&Route| route.scheme == Scheme::Tls && route.tls.verifies() == Stated::No;
        let off = self.routes().find(is_off);
        let place =
            off.map(|route| route.tls.verify.as_ref().map_or(&route.at, |verify| &verify.at));
        match (verdict.server_verified, self.stated(UpstreamIntent::verify)) {
            (ServerVerified::Yes, _) | (ServerVerified::Unknown, Stated::Yes) => Answer::Met,
            (ServerVerified::No, _) => {
                violated("the upstream's certificate was not checked".to_owned(), place)
            }
            (ServerVerified::Unknown, Stated::No) => violated(
                "verification of the upstream is off in the configuration".to_owned(),
                place,
            ),
            (ServerVerified::Unknown, Stated::Mixed) => {
                violated("verification of the upstream is off on some routes".to_owned(), place)
            }
            (ServerVerified::Unknown, Stated::Unknown) => Answer::Unknown,
        }
    }

    fn version_below_minimum(&self) -> Answer {
        let Some(minimum) = self.policy.min_version else { return Answer::Met };
        match self.seen.tls_version {
            Some(version) if version < minimum => {
                let place = self.routes().find_map(|route| Some(&route.tls.protocols.as_ref()?.at));
                violated(format!("TLS {version} is below the minimum of {minimum}"), place)
            }
            Some(_) => Answer::Met,
            None => Answer::Unknown,
        }
    }

    fn forbidden_cipher(&self) -> Answer {
        let patterns = &self.policy.forbidden_ciphers;
        match self.seen.cipher {
            _ if patterns.is_empty() => Answer::Met,
            None => Answer::Unknown,
            Some(cipher) => match patterns.iter().find(|pattern| glob::matches(pattern, cipher)) {
                None => Answer::Met,
                Some(pattern) => {
                    let place =
                        self.routes().find_map(|route| Some(&route.tls.ciphers.as_ref()?.at));
                    violated(format!("{cipher} is forbidden by \"{pattern}\""), place)
                }
            },
        }
    }

    fn third_party_certificate(&self) -> Answer {
        if self.policy.client_certificate == ClientCertificate::Allowed {
            return Answer::Met;
        }
        match self.seen.verdict.client_auth {
            ClientAuth::Presented => violated(
                "a client certificate was presented to an upstream that must not see one"
                    .to_owned(),
                self.certificate_place(),
            ),
            ClientAuth::NotRequested | ClientAuth::RequestedNotPresented => Answer::Met,
            ClientAuth::Unknown => Answer::Unknown,
        }
    }
}
