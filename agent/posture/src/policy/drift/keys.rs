//! What policy asks of the keys and signatures of certificates, and of who issued them.

use hopsight_core::tls::certificate_facts::CertificateFacts;

use super::{
    Answer,
    assess::{Assessor, violated_by},
};
use crate::policy::{certificate::ChainWord, glob};

impl Assessor<'_> {
    /// What was presented was presented, whether or not the upstream went on.
    pub(super) fn client_ca_not_requested(&self) -> Answer {
        if !self.policy.must_chain {
            return Answer::Met;
        }
        match (self.seen.client_chain, self.seen.client_certificate) {
            (Some(ChainWord::OtherCa), Some(facts)) => {
                let detail = format!(
                    "the upstream asks for a certificate of CAs that did not issue the client \
                     certificate \"{}\" (its issuer is \"{}\")",
                    facts.identity(),
                    facts.issuer
                );
                violated_by(Some(facts), detail, self.certificate_place())
            }
            // Most upstreams that name none take any, and of others nothing was seen.
            _ => Answer::Met,
        }
    }

    pub(super) fn upstream_issuer_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_upstream_issuers;
        if allowed.is_empty() {
            return Answer::Met;
        }
        let Some(facts) = self.seen.server_certificate else { return Answer::Unknown };
        if allowed.iter().any(|pattern| glob::matches(pattern, &facts.issuer)) {
            return Answer::Met;
        }
        let detail = format!("the upstream's certificate was issued by \"{}\"", facts.issuer);
        violated_by(Some(facts), detail, None)
    }

    pub(super) fn public_key_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_public_keys;
        self.every_certificate_has(allowed, |facts| {
            let own = (&facts.subject, &facts.public_key);
            let issuers = facts.issuers.iter().map(|one| (&one.subject, &one.public_key));
            std::iter::once(own)
                .chain(issuers)
                .find(|(_, key)| !allowed.iter().any(|pattern| glob::matches(pattern, key)))
                .map(|(subject, key)| format!("the key of \"{subject}\" is {key}"))
        })
    }

    /// The signature of a root, wherever it was sent, is nobody's: it is trusted by itself.
    pub(super) fn certificate_signature_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_certificate_signatures;
        self.every_certificate_has(allowed, |facts| {
            let is_alone = facts.issuers.is_empty();
            let own = (&facts.subject, &facts.issuer, &facts.signature, is_alone);
            let issuers =
                facts.issuers.iter().map(|one| (&one.subject, &one.issuer, &one.signature, true));
            std::iter::once(own)
                .chain(issuers)
                .filter(|(subject, issuer, _, may_be_root)| !may_be_root || subject != issuer)
                .map(|(subject, _, signed, _)| (subject, signed))
                .find(|(_, signed)| !allowed.iter().any(|pattern| glob::matches(pattern, signed)))
                .map(|(subject, signed)| format!("\"{subject}\" is signed with {signed}"))
        })
    }

    /// Met where neither side has a certificate of which something is wrong, and all were kept.
    fn every_certificate_has(
        &self,
        allowed: &[String],
        wrong: impl Fn(&CertificateFacts) -> Option<String>,
    ) -> Answer {
        if allowed.is_empty() {
            return Answer::Met;
        }
        let sides = [
            (self.seen.client_certificate, self.certificate_place()),
            (self.seen.server_certificate, None),
        ];
        let mut are_whole = true;
        for (facts, place) in sides {
            let Some(facts) = facts else { continue };
            if let Some(detail) = wrong(facts) {
                return violated_by(Some(facts), detail, place);
            }
            are_whole &= facts.issuers.is_empty() || facts.issuers.len() + 1 >= facts.chain_length;
        }
        if are_whole { self.all_certificates_seen() } else { Answer::Unknown }
    }

    pub(super) fn key_shared(&self) -> Answer {
        if !self.policy.keys_must_be_unique {
            return Answer::Met;
        }
        let [server, client] = self.seen.key_shared_with;
        let sides = [
            ("client", client, self.seen.client_certificate, self.certificate_place()),
            ("upstream", server, self.seen.server_certificate, None),
        ];
        for (whose, other, facts, place) in sides {
            if let (Some(other), Some(facts)) = (other, facts) {
                let detail = format!(
                    "the {whose} certificate \"{}\" has the key of \"{other}\"",
                    facts.identity()
                );
                return violated_by(Some(facts), detail, place);
            }
        }
        self.all_certificates_seen()
    }
}
