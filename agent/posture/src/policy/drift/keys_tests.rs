use std::sync::Arc;

use hopsight_core::{
    model::Outcome,
    report::Verdict,
    tls::{
        certificate_facts::{CertificateFacts, IssuerFacts},
        fingerprint::Fingerprint,
    },
};

use super::assess_tests::{MUTUAL, ONE_WAY, certificate, observation, policy, words};
use crate::policy::{certificate::ChainWord, observation::Observation};

/// A certificate with this key and signature, of a CA with that key.
fn of(public_key: &str, signature: &str, of_ca: &str) -> CertificateFacts {
    let ca = IssuerFacts {
        subject: "CN=Mesh CA".into(),
        issuer: "CN=Mesh CA".into(),
        serial: "01".into(),
        not_before: 0,
        not_after: 9,
        public_key: of_ca.into(),
        signature: "sha1WithRSAEncryption".into(),
        sha256: Fingerprint::of(b"ca"),
    };
    CertificateFacts {
        public_key: public_key.into(),
        signature: signature.into(),
        issuers: vec![Arc::new(ca)],
        ..certificate("CN=Mesh CA", "DNS:edge", 9)
    }
}

#[test]
fn what_certificates_are_made_of_is_asked_of_both_sides() {
    const KEY: &str = "violation public_key_not_allowed";
    const SIGNATURE: &str = "violation certificate_signature_not_allowed";
    const ISSUER: &str = "violation upstream_issuer_not_allowed";
    let keys = policy("require = \"tls\"\nallowed_public_keys = [\"p256\", \"rsa[34]*\"]");
    let signed =
        policy("require = \"tls\"\nallowed_certificate_signatures = [\"ecdsa-with-SHA*\"]");
    let issuers = policy("require = \"tls\"\nallowed_upstream_issuers = [\"*CN=Mesh*\"]");
    let others = policy("require = \"tls\"\nallowed_upstream_issuers = [\"CN=Other\"]");
    let good = of("p256", "ecdsa-with-SHA256", "rsa4096");
    let weak = of("rsa1024", "sha1WithRSAEncryption", "p256");
    let of_a_weak_ca = of("p256", "ecdsa-with-SHA256", "rsa1024");
    let mut before_another = good.clone();
    let another = IssuerFacts {
        subject: "CN=Sub".into(),
        signature: "ecdsa-with-SHA384".into(),
        ..(*good.issuers[0]).clone()
    };
    before_another.issuers.push(another.into());
    for (case, policies, verdict, server, client, expected) in [
        ("good keys", &keys, MUTUAL, Some(&good), Some(&good), "compliant"),
        ("the upstream's", &keys, MUTUAL, Some(&weak), Some(&good), KEY),
        ("the proxy's", &keys, MUTUAL, Some(&good), Some(&weak), KEY),
        ("a CA's", &keys, ONE_WAY, Some(&of_a_weak_ca), None, KEY),
        ("one that nobody saw", &keys, MUTUAL, Some(&good), None, "unknown"),
        ("good signatures", &signed, MUTUAL, Some(&good), Some(&good), "compliant"),
        ("a root before another", &signed, ONE_WAY, Some(&before_another), None, "compliant"),
        ("a signature", &signed, MUTUAL, Some(&good), Some(&weak), SIGNATURE),
        ("an issuer", &issuers, ONE_WAY, Some(&good), None, "compliant"),
        ("another issuer", &others, ONE_WAY, Some(&good), None, ISSUER),
        ("an issuer that nobody saw", &others, ONE_WAY, None, None, "unknown"),
    ] {
        let seen = Observation {
            server_certificate: server,
            client_certificate: client,
            ..observation(verdict)
        };
        assert_eq!(words(policies, None, &seen), expected, "{case}");
    }
}

#[test]
fn keys_are_one_identitys_where_policy_asks() {
    const SHARED: &str = "violation key_shared";
    let asked = policy("require = \"tls\"\nkeys_must_be_unique = true");
    let not_asked = policy("require = \"tls\"");
    let shown = certificate("CN=Mesh CA", "DNS:edge", 9);
    for (case, policies, key_shared_with, expected) in [
        ("nobody else's", &asked, [None, None], "compliant"),
        ("the upstream's", &asked, [Some("CN=other"), None], SHARED),
        ("the proxy's", &asked, [None, Some("CN=other")], SHARED),
        ("nobody asks", &not_asked, [Some("CN=other"), None], "compliant"),
    ] {
        let seen = Observation {
            server_certificate: Some(&shown),
            client_certificate: Some(&shown),
            key_shared_with,
            ..observation(MUTUAL)
        };
        assert_eq!(words(policies, None, &seen), expected, "{case}");
    }
}

#[test]
fn a_client_certificate_is_of_a_ca_that_is_asked_for() {
    use ChainWord::{OtherCa, Trusted, Unknown};
    const NOT_ASKED_FOR: &str = "violation client_ca_not_requested";
    // What the upstream presents is another rule's.
    let asked = policy("require = \"tls\"\nmust_chain = true");
    let not_asked = policy("require = \"tls\"");
    let refused = Verdict { outcome: Outcome::Rejected, ..MUTUAL };
    let refused_as_well = "violation client_certificate_rejected client_ca_not_requested";
    let shown = certificate("CN=Mesh CA", "DNS:edge", 9);
    for (case, policies, verdict, client_chain, expected) in [
        ("one that is named", &asked, MUTUAL, Some(Trusted), "unknown"),
        ("none is named", &asked, MUTUAL, Some(Unknown), "unknown"),
        ("the request was not seen", &asked, MUTUAL, None, "unknown"),
        ("another, and accepted", &asked, MUTUAL, Some(OtherCa), NOT_ASKED_FOR),
        ("another, and refused", &asked, refused, Some(OtherCa), refused_as_well),
        ("nobody asks", &not_asked, MUTUAL, Some(OtherCa), "compliant"),
    ] {
        let seen = Observation {
            server_certificate: Some(&shown),
            client_certificate: Some(&shown),
            client_chain,
            ..observation(verdict)
        };
        assert_eq!(words(policies, None, &seen), expected, "{case}");
    }
}
