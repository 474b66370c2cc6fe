use hopsight_core::tls::{
    certificate_facts::CertificateFacts,
    cryptography::{CryptographyFacts, GroupAbsence, SignatureAbsence},
};

use super::assess_tests::{MUTUAL, ONE_WAY, certificate, observation, policy, words};
use crate::policy::observation::Observation;

fn of_group(name: &'static str) -> CryptographyFacts {
    CryptographyFacts {
        group: Some(name.into()),
        server_signature: Some("ecdsa_secp256r1_sha256".into()),
        client_signature_absent: Some(SignatureAbsence::NotSent),
        ..CryptographyFacts::default()
    }
}

fn without_group(why: GroupAbsence) -> CryptographyFacts {
    CryptographyFacts { group: None, group_absent: Some(why), ..of_group("") }
}

#[test]
fn key_exchanges_are_judged() {
    const WEAK: &str = "violation key_exchange_below_minimum";
    const GROUP: &str = "violation group_not_allowed";
    let (hybrid, plain) = (of_group("X25519MLKEM768"), of_group("x25519"));
    let [transport, psk, unseen] =
        [GroupAbsence::KeyTransport, GroupAbsence::PreSharedKey, GroupAbsence::NotSeen]
            .map(without_group);
    let asks = |what: &str| policy(&format!("require = \"tls\"\n{what}"));
    let secret = asks("minimum_key_exchange = \"forward-secret\"");
    let quantum = asks("minimum_key_exchange = \"post-quantum\"");
    let groups = asks("allowed_groups = [\"*MLKEM*\", \"secp256r1\"]");
    for (name, policies, facts, expected) in [
        ("fresh keys", &secret, &plain, "compliant"),
        ("keys of the certificate", &secret, &transport, WEAK),
        ("resumed", &secret, &psk, "unknown"),
        ("not seen", &secret, &unseen, "unknown"),
        ("post-quantum", &quantum, &hybrid, "compliant"),
        ("classical", &quantum, &plain, WEAK),
        ("keys of the certificate again", &quantum, &transport, WEAK),
        ("resumed again", &quantum, &psk, "unknown"),
        ("an allowed group", &groups, &hybrid, "compliant"),
        ("another", &groups, &plain, GROUP),
        ("no group", &groups, &transport, GROUP),
        ("no group known", &groups, &unseen, "unknown"),
    ] {
        let seen = Observation { cryptography: Some(facts), ..observation(ONE_WAY) };
        assert_eq!(words(policies, None, &seen), expected, "{name}");
    }
    let nothing = observation(ONE_WAY);
    assert_eq!(words(&quantum, None, &nothing), "unknown");
}

#[test]
fn signatures_are_judged() {
    use SignatureAbsence::{Encrypted, NotSent, Unnamed};
    const BAD: &str = "violation signature_scheme_not_allowed";
    let asks = policy("require = \"tls\"\nallowed_signature_schemes = [\"ecdsa_*\", \"ed25519\"]");
    let with =
        |server: Result<&'static str, _>, client: Result<&'static str, _>| CryptographyFacts {
            server_signature: server.ok().map(Into::into),
            server_signature_absent: server.err(),
            client_signature: client.ok().map(Into::into),
            client_signature_absent: client.err(),
            ..CryptographyFacts::default()
        };
    for (name, server, client, resumed, expected) in [
        ("both allowed", Ok("ecdsa_secp256r1_sha256"), Ok("ed25519"), false, "compliant"),
        ("no client", Ok("ed25519"), Err(NotSent), false, "compliant"),
        ("the upstream's is not", Ok("rsa_pkcs1_sha1"), Ok("ed25519"), false, BAD),
        ("the proxy's is not", Err(Encrypted), Ok("rsa_pkcs1_sha1"), false, BAD),
        ("hidden", Err(Encrypted), Err(Encrypted), false, "unknown"),
        ("unnamed", Err(Unnamed), Err(NotSent), false, "unknown"),
        ("resumed", Err(NotSent), Err(NotSent), true, "unknown"),
    ] {
        let facts = with(server, client);
        let seen = Observation {
            cryptography: Some(&facts),
            resumed: Some(resumed),
            ..observation(ONE_WAY)
        };
        assert_eq!(words(&asks, None, &seen), expected, "{name}");
    }
}

#[test]
fn identities_and_lifetimes_are_judged() {
    const WRONG: &str = "violation spiffe_id_not_allowed";
    const LONG: &str = "violation certificate_lifetime_too_long";
    let ids = policy("require = \"tls\"\nallowed_spiffe_ids = [\"spiffe://example.org/prod/*\"]");
    let lifetime = policy("require = \"tls\"\nmax_certificate_lifetime = \"30d\"");
    let of = |san: &str, days: i64| {
        let facts = certificate("CN=CA", san, 10);
        CertificateFacts { not_before: facts.not_after - days * 86_400 + 1, ..facts }
    };
    let (prod, test) =
        (of("URI:spiffe://example.org/prod/a", 30), of("URI:spiffe://example.org/test/a", 31));
    let none = of("DNS:payments", 1);
    let one_way = observation(ONE_WAY);
    let mutual = observation(MUTUAL);
    let of_server = |facts| Observation { server_certificate: Some(facts), ..one_way };
    let both = |client, server| Observation {
        client_certificate: Some(client),
        server_certificate: Some(server),
        ..mutual
    };
    let half = Observation { server_certificate: Some(&prod), ..mutual };
    for (name, policies, seen, expected) in [
        ("an allowed ID", &ids, of_server(&prod), "compliant"),
        ("another", &ids, of_server(&test), WRONG),
        ("none", &ids, of_server(&none), WRONG),
        ("not seen", &ids, one_way, "unknown"),
        ("the proxy's does not count", &ids, both(&test, &prod), "compliant"),
        ("short", &lifetime, of_server(&prod), "compliant"),
        ("a day too long", &lifetime, of_server(&test), LONG),
        ("the proxy's", &lifetime, both(&test, &prod), LONG),
        ("the proxy's was not seen", &lifetime, half, "unknown"),
    ] {
        assert_eq!(words(policies, None, &seen), expected, "{name}");
    }
}
