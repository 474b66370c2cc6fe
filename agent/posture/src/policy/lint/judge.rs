//! What one route is under one policy, by what the configuration says alone.

use crate::policy::{
    drift::Rule,
    intent::{Place, Route, Scheme, Setting, Stated, UpstreamIntent},
    rules::{ClientCertificate, Policy, Require, VerifyUpstream},
};

/// The rules that a configuration can be held against.
pub const RULES: &[Rule] = &[
    Rule::Plaintext,
    Rule::ClientCertificateMissing,
    Rule::UpstreamNotVerified,
    Rule::VersionBelowMinimum,
    Rule::ThirdPartyCertificate,
];

/// What a configuration says about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// As it should be, or nothing is asked for.
    Met,
    /// Not as it should be: how, and where.
    Violated(String, Place),
    /// It does not say: why, and where.
    Unknown(String, Place),
}

/// The answer where any of several policies may apply, with the one that it comes from; it is certain
/// only where all of them give it.
pub(super) fn all<'p>(
    answers: impl Iterator<Item = (Answer, &'p &'p Policy)>,
) -> Option<(Answer, &'p Policy)> {
    let mut answers: Vec<_> = answers.collect();
    let bad = answers.iter().position(|(answer, _)| *answer != Answer::Met);
    let Some(bad) = bad else { return answers.pop().map(|(answer, policy)| (answer, *policy)) };
    let is_certain = answers.iter().all(|(answer, _)| matches!(answer, Answer::Violated(..)));
    let (answer, policy) = answers.swap_remove(bad);
    let answer = match answer {
        Answer::Violated(detail, at) if !is_certain => {
            let name = &policy.name;
            Answer::Unknown(format!("{detail}, if policy \"{name}\" is for its address"), at)
        }
        answer => answer,
    };
    Some((answer, *policy))
}

/// What a policy asks for that only connections show.
pub(super) fn not_judged(policy: &Policy) -> Vec<&'static str> {
    [
        (!policy.forbidden_ciphers.is_empty(), "forbidden_ciphers"),
        (policy.expiry_margin.is_some(), "expiry_margin"),
        (!policy.allowed_client_issuers.is_empty(), "allowed_client_issuers"),
        (!policy.allowed_client_sans.is_empty(), "allowed_client_sans"),
        (policy.minimum_key_exchange.is_some(), "minimum_key_exchange"),
        (!policy.allowed_groups.is_empty(), "allowed_groups"),
        (!policy.allowed_signature_schemes.is_empty(), "allowed_signature_schemes"),
        (!policy.allowed_spiffe_ids.is_empty(), "allowed_spiffe_ids"),
        (policy.max_certificate_lifetime.is_some(), "max_certificate_lifetime"),
        (!policy.allowed_upstream_issuers.is_empty(), "allowed_upstream_issuers"),
        (!policy.allowed_public_keys.is_empty(), "allowed_public_keys"),
        (!policy.allowed_certificate_signatures.is_empty(), "allowed_certificate_signatures"),
        (policy.keys_must_be_unique, "keys_must_be_unique"),
        (policy.must_chain, "must_chain"),
        (policy.must_not_be_revoked, "must_not_be_revoked"),
    ]
    .into_iter()
    .filter_map(|(is_asked, what)| is_asked.then_some(what))
    .collect()
}

/// One route under one policy.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) route: &'a Route,
    pub(super) upstream: &'a UpstreamIntent,
}

impl Judge<'_> {
    pub(super) fn answer(&self, rule: Rule) -> Answer {
        // Where there is no TLS nothing else can be asked; of what is passed on nothing is known.
        let has_no_tls = matches!(self.route.scheme, Scheme::Plaintext | Scheme::Passthrough);
        match rule {
            Rule::Plaintext => self.plaintext(),
            _ if has_no_tls => Answer::Met,
            Rule::ClientCertificateMissing => self.client_certificate_missing(),
            Rule::UpstreamNotVerified => self.upstream_not_verified(),
            Rule::VersionBelowMinimum => self.version_below_minimum(),
            Rule::ThirdPartyCertificate => self.third_party_certificate(),
            _ => Answer::Met,
        }
    }

    fn violated(&self, detail: impl Into<String>, at: Option<&Place>) -> Answer {
        Answer::Violated(detail.into(), at.unwrap_or(&self.route.at).clone())
    }

    fn unknown(&self, detail: impl Into<String>, at: Option<&Place>) -> Answer {
        Answer::Unknown(detail.into(), at.unwrap_or(&self.route.at).clone())
    }

    fn plaintext(&self) -> Answer {
        let require = self.policy.require;
        if require == Require::PlaintextAllowed {
            return Answer::Met;
        }
        let policy = &self.policy.name;
        match self.route.scheme {
            Scheme::Tls => Answer::Met,
            Scheme::Plaintext => self.violated(
                format!("policy \"{policy}\" requires {require}, this speaks in the clear"),
                None,
            ),
            Scheme::Passthrough => self.unknown(
                format!("policy \"{policy}\" requires {require}, this passes on what it gets"),
                None,
            ),
            Scheme::Unknown => self.unknown(
                format!("policy \"{policy}\" requires {require}, and whether this is TLS is decided at run time"),
                None,
            ),
        }
    }

    fn client_certificate_missing(&self) -> Answer {
        if self.policy.require != Require::Mtls {
            return Answer::Met;
        }
        let policy = &self.policy.name;
        let asked = format!("policy \"{policy}\" requires mtls");
        match self.route.tls.has_client_certificate() {
            Stated::Yes => Answer::Met,
            Stated::No => {
                let switched_off = self.route.tls.certificate.as_ref().map(|setting| &setting.at);
                self.violated(format!("{asked}, no client certificate is configured"), switched_off)
            }
            Stated::Mixed | Stated::Unknown => {
                let (by, at) = self.chosen_by();
                self.unknown(format!("{asked}, and {by} decides about the client certificate"), at)
            }
        }
    }

    /// What decides about the client certificate, and where.
    fn chosen_by(&self) -> (String, Option<&Place>) {
        let tls = &self.route.tls;
        match (&tls.certificate_by, &tls.certificate) {
            (Some(Setting { value, at }), _) => (value.clone(), Some(at)),
            (None, Some(Setting { value, at })) => (value.to_string(), Some(at)),
            (None, None) => ("a command of OpenSSL's".to_owned(), None),
        }
    }

    fn upstream_not_verified(&self) -> Answer {
        let tls = &self.route.tls;
        let wanted = match (self.policy.verify_upstream, tls.has_client_certificate()) {
            (VerifyUpstream::Never, _) | (VerifyUpstream::UnlessMtls, Stated::Yes) => {
                return Answer::Met;
            }
            (VerifyUpstream::Always, _) | (VerifyUpstream::UnlessMtls, Stated::No) => true,
            (VerifyUpstream::UnlessMtls, Stated::Mixed | Stated::Unknown) => false,
        };
        let at = tls.verify.as_ref().map(|setting| &setting.at);
        match tls.verifies() {
            Stated::Yes => Answer::Met,
            Stated::No if wanted => {
                self.violated("the upstream's certificate is not verified", at)
            }
            Stated::No => self.unknown(
                "the upstream's certificate is not verified, and whether this is mutual is decided at \
                 run time",
                at,
            ),
            Stated::Mixed | Stated::Unknown => {
                let by = tls.verify_by.as_ref();
                let what = by.map_or("something", |by| by.value.as_str());
                let detail = format!("{what} decides whether the upstream's certificate is verified");
                self.unknown(detail, by.map(|by| &by.at))
            }
        }
    }

    fn version_below_minimum(&self) -> Answer {
        let Some(minimum) = self.policy.min_version else { return Answer::Met };
        let at = self.route.tls.protocols.as_ref().map(|setting| &setting.at);
        match self.route.tls.lowest_version() {
            Some(lowest) if lowest < minimum => self
                .violated(format!("TLS {lowest} is allowed, below the minimum of {minimum}"), at),
            Some(_) => Answer::Met,
            None => self
                .unknown(format!("no lowest version is configured, the minimum is {minimum}"), at),
        }
    }

    fn third_party_certificate(&self) -> Answer {
        if self.policy.client_certificate == ClientCertificate::Allowed {
            return Answer::Met;
        }
        let at = self.route.tls.certificate.as_ref().map(|setting| &setting.at);
        let name = &self.upstream.target;
        match self.route.tls.has_client_certificate() {
            Stated::No => Answer::Met,
            Stated::Yes => self.violated(
                format!("a client certificate is configured for {name}, which must not see one"),
                at,
            ),
            Stated::Mixed | Stated::Unknown => {
                let (by, at) = self.chosen_by();
                self.unknown(format!("{by} decides whether {name} sees a client certificate"), at)
            }
        }
    }
}
