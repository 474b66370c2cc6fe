//! What policy asks of the key exchange and of the signatures of a handshake.

use hopsight_core::tls::{
    cryptography::{GroupAbsence, SignatureAbsence},
    group::is_post_quantum,
};

use super::{
    Answer,
    assess::{Assessor, violated},
};
use crate::policy::{glob, intent::Place, rules::KeyExchange};

impl Assessor<'_> {
    pub(super) fn key_exchange_below_minimum(&self) -> Answer {
        let Some(minimum) = self.policy.minimum_key_exchange else { return Answer::Met };
        match (self.group(), minimum) {
            (Ok(_), KeyExchange::ForwardSecret) => Answer::Met,
            (Ok(group), KeyExchange::PostQuantum) if is_post_quantum(group) => Answer::Met,
            (Ok(group), KeyExchange::PostQuantum) => violated(
                format!("the keys come from {group}, which is not post-quantum"),
                self.protocols_place(),
            ),
            (Err(GroupAbsence::KeyTransport), _) => violated(
                format!("the keys are encrypted to the upstream's key, which is not {minimum}"),
                self.ciphers_place(),
            ),
            (Err(_), _) => Answer::Unknown,
        }
    }

    pub(super) fn group_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_groups;
        match self.group() {
            _ if allowed.is_empty() => Answer::Met,
            Ok(group) if allowed.iter().any(|pattern| glob::matches(pattern, group)) => Answer::Met,
            Ok(group) => violated(
                format!("the keys come from {group}, which is not allowed"),
                self.protocols_place(),
            ),
            Err(GroupAbsence::KeyTransport) => violated(
                "the keys are encrypted to the upstream's key, and come from no group".to_owned(),
                self.ciphers_place(),
            ),
            Err(_) => Answer::Unknown,
        }
    }

    /// A session that is resumed was signed for when it began, and shows nothing of that.
    pub(super) fn signature_scheme_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_signature_schemes;
        if allowed.is_empty() {
            return Answer::Met;
        }
        let Some(facts) = self.seen.cryptography else { return Answer::Unknown };
        let signed = [
            ("upstream", &facts.server_signature, facts.server_signature_absent),
            ("proxy", &facts.client_signature, facts.client_signature_absent),
        ];
        let is_allowed =
            |scheme: &str| allowed.iter().any(|pattern| glob::matches(pattern, scheme));
        for (who, scheme, _) in signed {
            if let Some(scheme) = scheme.as_deref().filter(|scheme| !is_allowed(scheme)) {
                return violated(
                    format!("the {who} signed with {scheme}, which is not allowed"),
                    None,
                );
            }
        }
        let is_known = |(_, scheme, absent): &(_, &Option<_>, _)| {
            scheme.is_some() || *absent == Some(SignatureAbsence::NotSent)
        };
        let is_full = self.seen.resumed == Some(false);
        if is_full && signed.iter().all(is_known) { Answer::Met } else { Answer::Unknown }
    }

    fn group(&self) -> Result<&str, GroupAbsence> {
        let facts = self.seen.cryptography.ok_or(GroupAbsence::NotSeen)?;
        facts.group.as_deref().ok_or(facts.group_absent.unwrap_or(GroupAbsence::NotSeen))
    }

    /// Where the configuration names protocol versions, which decide what groups there are.
    fn protocols_place(&self) -> Option<&Place> {
        self.routes().find_map(|route| Some(&route.tls.protocols.as_ref()?.at))
    }

    /// Where it names cipher suites.
    fn ciphers_place(&self) -> Option<&Place> {
        self.routes().find_map(|route| Some(&route.tls.ciphers.as_ref()?.at))
    }
}
