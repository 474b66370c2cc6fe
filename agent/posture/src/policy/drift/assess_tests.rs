use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Security, ServerVerified},
    report::Verdict,
    tls::{certificate_facts::CertificateFacts, hello::TlsVersion},
};

use super::*;
use crate::policy::{
    intent::UpstreamIntent, nginx::tests::read_one, observation::Observation, rules::PolicySet,
    time::UnixTime,
};

pub(super) const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);

pub(super) const fn verdict(security: Security, client_auth: ClientAuth) -> Verdict {
    Verdict {
        security,
        client_auth,
        outcome: Outcome::Established,
        evidence: Evidence::Library,
        server_verified: ServerVerified::Yes,
        reason: None,
    }
}

pub(super) const MUTUAL: Verdict = verdict(Security::Mtls, ClientAuth::Presented);
pub(super) const ONE_WAY: Verdict = verdict(Security::Tls, ClientAuth::NotRequested);
pub(super) const PLAINTEXT: Verdict = Verdict {
    server_verified: ServerVerified::No,
    ..verdict(Security::Plaintext, ClientAuth::NotRequested)
};
pub(super) const RESUMED: Verdict = Verdict {
    evidence: Evidence::None,
    server_verified: ServerVerified::Unknown,
    reason: Some(Reason::ResumedUnseen),
    ..verdict(Security::Unknown, ClientAuth::Unknown)
};

pub(super) fn observation(verdict: Verdict) -> Observation<'static> {
    Observation {
        proxy: "edge",
        opened_by: None,
        process: "nginx",
        namespace: None,
        upstream: "payments",
        name: None,
        address: "10.0.0.1:443".parse().unwrap(),
        verdict,
        tls_version: (verdict.security != Security::Plaintext).then_some(TlsVersion::TLS13),
        cipher: Some("TLS_AES_128_GCM_SHA256"),
        cryptography: None,
        resumed: Some(false),
        client_certificate: None,
        server_certificate: None,
        carried_from: None,
        configured_certificate: None,
        on_disk: None,
        server_chain: None,
        revocation: [None; 2],
        key_shared_with: [None; 2],
        client_chain: None,
        newer_elsewhere: None,
        claims: &[],
        at: NOW,
        is_final: true,
        loaded_at: None,
        configured_at: None,
        had_client_certificate: false,
        is_shared: false,
    }
}

pub(super) fn certificate(issuer: &str, san: &str, days_left: i64) -> CertificateFacts {
    CertificateFacts {
        subject: "CN=edge".to_owned(),
        issuer: issuer.to_owned(),
        sans: vec![san.to_owned()],
        serial: "01".to_owned(),
        not_before: 0,
        not_after: i64::try_from(NOW.as_secs()).unwrap() + days_left * 86_400,
        public_key: "p256".to_owned(),
        signature: "ecdsa-with-SHA256".to_owned(),
        chain_length: 1,
        ..CertificateFacts::default()
    }
}

pub(super) const MUTUAL_CONFIGURED: &str =
    "proxy_pass https://10.0.0.1; proxy_ssl_certificate c; proxy_ssl_certificate_key k;";
pub(super) const ONE_WAY_CONFIGURED: &str = "proxy_pass https://10.0.0.1;";
const VERIFIED: &str =
    "proxy_pass https://10.0.0.1; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca;";
pub(super) const PLAIN_CONFIGURED: &str = "proxy_pass http://10.0.0.1:443;";

pub(super) fn configured(location: &str) -> UpstreamIntent {
    let text = format!("http {{ server {{\nlocation / {{\n{location}\n}} }} }}");
    read_one(&text).unwrap().upstreams.remove(0)
}

/// The words of an assessment: its compliance, then what is violated.
pub(super) fn words(policies: &str, configuration: Option<&str>, seen: &Observation<'_>) -> String {
    let policies = PolicySet::parse(policies).unwrap();
    let intent = configuration.map(configured);
    let intents: Vec<_> = intent.iter().collect();
    let assessment = assess(policies.find(&seen.subject()), &intents, seen, NOW);
    let violated = assessment.violations().map(|(rule, _)| rule.as_str());
    [assessment.compliance().as_str()].into_iter().chain(violated).collect::<Vec<_>>().join(" ")
}

pub(super) fn policy(text: &str) -> String {
    format!("[[policies]]\n{text}")
}

#[test]
fn protection_is_judged() {
    let not_verified = |verdict| Verdict { server_verified: ServerVerified::No, ..verdict };
    let verify_unknown = |verdict| Verdict { server_verified: ServerVerified::Unknown, ..verdict };
    let outcome = |outcome, verdict| Verdict { outcome, ..verdict };
    let no_answer = verdict(Security::Tls, ClientAuth::RequestedNotPresented);
    let unknown = |reason| Verdict { reason: Some(reason), ..RESUMED };
    let (mtls, tls, plain) = (
        policy("require = \"mtls\""),
        policy("require = \"tls\""),
        policy("require = \"plaintext-allowed\""),
    );
    let (mutual, one_way) = (Some(MUTUAL_CONFIGURED), Some(ONE_WAY_CONFIGURED));
    for (name, policies, configuration, seen, expected) in [
        // The built-in policies.
        ("mutual", "", None, MUTUAL, "compliant"),
        ("mutual, upstream unchecked", "", None, not_verified(MUTUAL), "compliant"),
        ("one-way, checked", "", None, ONE_WAY, "compliant"),
        ("one-way, unchecked", "", None, not_verified(ONE_WAY), "violation upstream_not_verified"),
        ("one-way, nobody knows", "", None, verify_unknown(ONE_WAY), "unknown"),
        ("one-way, configuration checks", "", Some(VERIFIED), verify_unknown(ONE_WAY), "compliant"),
        (
            "one-way, configuration does not",
            "",
            one_way,
            verify_unknown(ONE_WAY),
            "violation upstream_not_verified",
        ),
        ("plaintext", "", None, PLAINTEXT, "violation plaintext"),
        ("certificate configured, not asked for", "", mutual, ONE_WAY, "violation never_requested"),
        ("certificate configured, presented", "", mutual, MUTUAL, "compliant"),
        // The operator's word.
        ("mtls: mutual", &mtls, None, MUTUAL, "compliant"),
        ("mtls: one-way", &mtls, None, ONE_WAY, "violation never_requested"),
        (
            "mtls: one-way, none configured",
            &mtls,
            one_way,
            ONE_WAY,
            "violation client_certificate_missing",
        ),
        ("mtls: asked in vain", &mtls, None, no_answer, "violation client_certificate_missing"),
        (
            "mtls: asked in vain and refused",
            &mtls,
            None,
            outcome(Outcome::Rejected, no_answer),
            "violation client_certificate_missing",
        ),
        ("mtls: plaintext", &mtls, mutual, PLAINTEXT, "violation plaintext"),
        ("tls: certificate configured, not asked for", &tls, mutual, ONE_WAY, "compliant"),
        ("plaintext allowed", &plain, None, PLAINTEXT, "compliant"),
        (
            "plaintext allowed and configured",
            &plain,
            Some(PLAIN_CONFIGURED),
            PLAINTEXT,
            "compliant",
        ),
        ("plaintext allowed, TLS configured", &plain, one_way, PLAINTEXT, "violation plaintext"),
        // Presented is not accepted.
        (
            "refused",
            &mtls,
            mutual,
            outcome(Outcome::Rejected, MUTUAL),
            "violation client_certificate_rejected",
        ),
        (
            "refused, nothing asked for",
            "",
            None,
            outcome(Outcome::Rejected, MUTUAL),
            "violation client_certificate_rejected",
        ),
        // Unknown is never folded into anything else.
        ("failed", &mtls, mutual, outcome(Outcome::Failed, MUTUAL), "unknown"),
        ("incomplete", "", None, outcome(Outcome::Incomplete, ONE_WAY), "unknown"),
        ("resumed", &mtls, mutual, RESUMED, "unknown"),
        ("mid-stream", &mtls, mutual, unknown(Reason::MidStream), "unknown"),
        ("mid-stream, nothing asked for", &plain, None, unknown(Reason::MidStream), "compliant"),
    ] {
        assert_eq!(words(policies, configuration, &observation(seen)), expected, "{name}");
    }
}

#[test]
fn details_of_tls_are_judged() {
    let ours = certificate("CN=Mesh CA", "URI:spiffe://example.org/ns/prod/sa/edge", 90);
    let other = certificate("CN=Other CA", "DNS:edge.example.com", 90);
    let soon = certificate("CN=Mesh CA", "DNS:edge", 3);
    let ended = certificate("CN=Mesh CA", "DNS:edge", -2);
    let mutual = Observation {
        client_certificate: Some(&ours),
        server_certificate: Some(&ours),
        ..observation(MUTUAL)
    };
    let with = |client| Observation { client_certificate: Some(client), ..mutual };
    let unseen = Observation { client_certificate: None, server_certificate: None, ..mutual };
    let old = Observation {
        tls_version: Some(TlsVersion(0x0302)),
        cipher: Some("TLS_RSA_WITH_AES_128_CBC_SHA"),
        ..mutual
    };
    let version = policy("require = \"tls\"\nmin_version = \"1.2\"");
    let cipher = policy("require = \"tls\"\nforbidden_ciphers = [\"*_CBC_*\", \"*_RC4_*\"]");
    let expiry = policy("require = \"tls\"\nexpiry_margin = \"14d\"");
    let issuer = policy("require = \"mtls\"\nallowed_client_issuers = [\"CN=Mesh CA\"]");
    let san = policy("require = \"mtls\"\nallowed_client_sans = [\"spiffe://example.org/*\"]");
    let third = policy("require = \"tls\"\nclient_certificate = \"forbidden\"");
    let refused = Verdict { outcome: Outcome::Rejected, ..MUTUAL };
    for (name, policies, seen, expected) in [
        ("version", &version, mutual, "compliant"),
        ("old version", &version, old, "violation version_below_minimum"),
        ("version not seen", &version, Observation { tls_version: None, ..mutual }, "unknown"),
        ("cipher", &cipher, mutual, "compliant"),
        ("old cipher", &cipher, old, "violation forbidden_cipher"),
        ("cipher not seen", &cipher, Observation { cipher: None, ..mutual }, "unknown"),
        ("expiry", &expiry, mutual, "compliant"),
        ("ends soon", &expiry, with(&soon), "violation certificate_expiring"),
        ("ended", &expiry, with(&ended), "violation certificate_expiring"),
        (
            "the upstream's ends",
            &expiry,
            Observation { server_certificate: Some(&soon), ..mutual },
            "violation certificate_expiring",
        ),
        ("certificates not seen", &expiry, unseen, "unknown"),
        ("issuer", &issuer, mutual, "compliant"),
        ("other issuer", &issuer, with(&other), "violation client_issuer_not_allowed"),
        ("issuer not seen", &issuer, unseen, "unknown"),
        ("name", &san, mutual, "compliant"),
        ("other name", &san, with(&other), "violation client_san_not_allowed"),
        ("shown to a third party", &third, mutual, "violation third_party_certificate"),
        (
            "shown and refused",
            &third,
            Observation { verdict: refused, ..mutual },
            "violation client_certificate_rejected third_party_certificate",
        ),
        ("not shown", &third, observation(ONE_WAY), "compliant"),
    ] {
        assert_eq!(words(policies, None, &seen), expected, "{name}");
    }
}

#[test]
fn violations_say_what_and_where() {
    let policies = PolicySet::parse(&policy("require = \"tls\"\nexpiry_margin = \"14d\"")).unwrap();
    let intent = configured(
        "proxy_pass https://10.0.0.1;\nproxy_ssl_verify off;\nproxy_ssl_certificate c;\nproxy_ssl_certificate_key k;",
    );
    let soon = certificate("CN=Mesh CA", "DNS:edge", 3);
    let unchecked = Verdict { server_verified: ServerVerified::No, ..ONE_WAY };
    let seen = Observation { client_certificate: Some(&soon), ..observation(unchecked) };
    let assessment = assess(policies.find(&seen.subject()), &[&intent], &seen, NOW);
    let said: Vec<_> = assessment
        .violations()
        .map(|(_, violation)| (violation.detail.as_str(), violation.place.as_ref().unwrap().line))
        .collect();
    assert_eq!(
        said,
        [
            ("the upstream's certificate was not checked", 4),
            ("the client certificate \"CN=edge\" ends in 3 days", 5),
        ]
    );
}

#[test]
fn a_suggested_policy_is_fulfilled_by_what_it_was_suggested_from() {
    use crate::policy::suggest::suggest;
    let named = |upstream, verdict| Observation { upstream, ..observation(verdict) };
    let unchecked = Verdict { server_verified: ServerVerified::Unknown, ..ONE_WAY };
    let all = [
        named("mutual", MUTUAL),
        Observation { tls_version: Some(TlsVersion::TLS12), ..named("mutual", MUTUAL) },
        named("checked", ONE_WAY),
        named("unchecked", unchecked),
        named("mixed", MUTUAL),
        named("mixed", PLAINTEXT),
        named("odd \"*[name", MUTUAL),
        Observation { namespace: Some("prod"), ..named("mutual", PLAINTEXT) },
        named("nothing known", RESUMED),
    ];
    let text = suggest(all.into_iter().map(|seen| (seen, 1)));
    let policies = PolicySet::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for seen in all.iter().filter(|seen| seen.verdict.security != Security::Unknown) {
        let policy = policies.find(&seen.subject());
        assert!(!policy.built_in, "{} has no policy\n{text}", seen.upstream);
        let compliance = assess(policy, &[], seen, NOW).compliance();
        assert_eq!(compliance, Compliance::Compliant, "{}\n{text}", seen.upstream);
    }
    let mutual = policies.find(&named("mutual", MUTUAL).subject());
    assert_eq!(mutual.min_version, Some(TlsVersion::TLS12));
    assert!(text.contains("# edge to nothing known: 1 connections"), "{text}");
    assert_eq!(policies.policies().iter().filter(|policy| !policy.built_in).count(), 6);
}
