//! Whether policy asks for less than before, so that who meets it has mended nothing.

use super::Rule;
use crate::policy::rules::{Policy, Require};

/// Whether a connection that violated `rule` under `before` may be as it should be under `after`.
#[must_use]
pub fn asks_for_less(rule: Rule, before: &Policy, after: &Policy) -> bool {
    match rule {
        Rule::ResumedUnseen => before.require == Require::Mtls && after.require != Require::Mtls,
        Rule::VersionBelowMinimum => after.min_version < before.min_version,
        Rule::KeyExchangeBelowMinimum => after.minimum_key_exchange < before.minimum_key_exchange,
        Rule::CertificateExpiring => after.expiry_margin < before.expiry_margin,
        Rule::AuthenticationTooOld => {
            is_longer(before.max_authentication_age, after.max_authentication_age)
        }
        Rule::CertificateLifetimeTooLong => {
            is_longer(before.max_certificate_lifetime, after.max_certificate_lifetime)
        }
        Rule::ForbiddenCipher => {
            before.forbidden_ciphers.iter().any(|one| !after.forbidden_ciphers.contains(one))
        }
        Rule::GroupNotAllowed => allows_more(&before.allowed_groups, &after.allowed_groups),
        Rule::SignatureSchemeNotAllowed => {
            allows_more(&before.allowed_signature_schemes, &after.allowed_signature_schemes)
        }
        Rule::SpiffeIdNotAllowed => {
            allows_more(&before.allowed_spiffe_ids, &after.allowed_spiffe_ids)
        }
        Rule::ClientIssuerNotAllowed => {
            allows_more(&before.allowed_client_issuers, &after.allowed_client_issuers)
        }
        Rule::ClientSanNotAllowed => {
            allows_more(&before.allowed_client_sans, &after.allowed_client_sans)
        }
        Rule::UpstreamIssuerNotAllowed => {
            allows_more(&before.allowed_upstream_issuers, &after.allowed_upstream_issuers)
        }
        Rule::PublicKeyNotAllowed => {
            allows_more(&before.allowed_public_keys, &after.allowed_public_keys)
        }
        Rule::CertificateSignatureNotAllowed => allows_more(
            &before.allowed_certificate_signatures,
            &after.allowed_certificate_signatures,
        ),
        Rule::KeyShared => before.keys_must_be_unique && !after.keys_must_be_unique,
        Rule::ChainNotTrusted | Rule::ClientCaNotRequested => {
            before.must_chain && !after.must_chain
        }
        Rule::CertificateRevoked => before.must_not_be_revoked && !after.must_not_be_revoked,
        // Connections that are treated as before tell, or no policy asks for it.
        _ => false,
    }
}

/// Whether the longest that is allowed became longer; nothing is for ever.
fn is_longer<T: PartialOrd>(before: Option<T>, after: Option<T>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before.is_some() && after.is_none(),
    }
}

/// Whether a list that allows what it names, and anything if it is empty, allows more.
fn allows_more(before: &[String], after: &[String]) -> bool {
    !before.is_empty() && (after.is_empty() || after.iter().any(|one| !before.contains(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::PolicySet;

    #[test]
    fn what_asks_for_less_is_known_by_rule() {
        let policy = |says: &str| {
            let file = format!("[[policies]]\nname = \"one\"\nrequire = \"mtls\"\n{says}\n");
            PolicySet::parse(&file).expect("a policy").policies()[0].clone()
        };
        for (rule, before, after, less) in [
            (Rule::VersionBelowMinimum, "min_version = \"1.3\"", "min_version = \"1.2\"", true),
            (Rule::VersionBelowMinimum, "min_version = \"1.3\"", "", true),
            (Rule::VersionBelowMinimum, "min_version = \"1.2\"", "min_version = \"1.3\"", false),
            (
                Rule::AuthenticationTooOld,
                "max_authentication_age = \"1h\"",
                "max_authentication_age = \"2h\"",
                true,
            ),
            (Rule::AuthenticationTooOld, "max_authentication_age = \"1h\"", "", true),
            (
                Rule::AuthenticationTooOld,
                "max_authentication_age = \"2h\"",
                "max_authentication_age = \"1h\"",
                false,
            ),
            (
                Rule::ForbiddenCipher,
                "forbidden_ciphers = [\"*CBC*\", \"*RC4*\"]",
                "forbidden_ciphers = [\"*RC4*\"]",
                true,
            ),
            (
                Rule::ForbiddenCipher,
                "forbidden_ciphers = [\"*RC4*\"]",
                "forbidden_ciphers = [\"*CBC*\", \"*RC4*\"]",
                false,
            ),
            (
                Rule::GroupNotAllowed,
                "allowed_groups = [\"x25519\"]",
                "allowed_groups = [\"x25519\", \"secp256r1\"]",
                true,
            ),
            (Rule::GroupNotAllowed, "allowed_groups = [\"x25519\"]", "", true),
            (Rule::GroupNotAllowed, "", "allowed_groups = [\"x25519\"]", false),
            (Rule::ChainNotTrusted, "must_chain = true", "", true),
            (Rule::KeyShared, "keys_must_be_unique = true", "", true),
            (Rule::PublicKeyNotAllowed, "allowed_public_keys = [\"p256\"]", "", true),
            (Rule::Plaintext, "min_version = \"1.3\"", "", false),
        ] {
            let answer = asks_for_less(rule, &policy(before), &policy(after));
            assert_eq!(answer, less, "{rule}: {before:?} became {after:?}");
        }
    }
}
