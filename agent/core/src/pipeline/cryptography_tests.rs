//! What recorded handshakes used of cryptography. The expected names are of the numbers that stand in
//! the recorded bytes.

use super::{
    library_tests::{recorded, run},
    *,
};
use crate::{
    report::ConnectionReport,
    tls::cryptography::{GroupAbsence, PostQuantum, SignatureAbsence},
};

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/handshakes/", $name, ".jsonl"))
    };
}

/// The final reports of all connections of a recording, in order.
fn reports(text: &str) -> Vec<ConnectionReport> {
    let mut pipeline = Pipeline::new(Limits::default());
    let events = recorded(text);
    let end = events.iter().map(Event::at).max().unwrap_or_default();
    let mut reports = run(&mut pipeline, events);
    let mut updates = Vec::new();
    pipeline.finish(end, &mut updates);
    reports.extend(updates.into_iter().filter_map(|update| match update {
        Update::Report { report, .. } => Some(*report),
        Update::Done(_) => None,
    }));
    reports.retain(|report| report.is_final);
    reports
}

/// Group, group that was asked for again, and both signatures, or why there is none.
fn words(report: &ConnectionReport) -> [String; 4] {
    let facts = &report.cryptography;
    let or = |value: &Option<_>, absent: Option<&'static str>| match (value, absent) {
        (Some(value), None) => String::clone(value),
        (None, Some(absent)) => format!("({absent})"),
        both => panic!("{both:?}"),
    };
    let owned = |word: &Option<crate::model::Word>| word.as_deref().map(str::to_owned);
    [
        or(&owned(&facts.group), facts.group_absent.map(GroupAbsence::as_str)),
        owned(&facts.retried_group).unwrap_or_default(),
        or(
            &owned(&facts.server_signature),
            facts.server_signature_absent.map(SignatureAbsence::as_str),
        ),
        or(
            &owned(&facts.client_signature),
            facts.client_signature_absent.map(SignatureAbsence::as_str),
        ),
    ]
}

const P256: &str = "ecdsa_secp256r1_sha256";

#[test]
fn recorded_handshakes_say_what_they_used() {
    for (name, recording, expected) in [
        ("mutual 1.3", recording!("mtls13"), ["x25519", "", P256, P256]),
        ("after a retry", recording!("mtls13-retry"), ["secp384r1", "secp384r1", P256, P256]),
        ("one-way 1.3", recording!("tls13-optional"), ["x25519", "", P256, "(not_sent)"]),
        ("mutual 1.2", recording!("mtls12"), ["x25519", "", P256, P256]),
        ("one-way 1.2", recording!("tls12-unasked"), ["x25519", "", P256, "(not_sent)"]),
        ("BoringSSL 1.2", recording!("mtls12-envoy"), ["x25519", "", P256, P256]),
    ] {
        let reports = reports(recording);
        let report = reports.first().unwrap_or_else(|| panic!("{name}: no report"));
        assert_eq!(words(report), expected, "{name}");
        let post_quantum = report
            .cryptography
            .post_quantum(report.tls_version.as_deref(), &report.offered_versions);
        assert_ne!(post_quantum, PostQuantum::Yes, "{name}");
        let server = report.server_certificate.as_ref().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(server.issuers.len() + 1, server.chain_length, "{name}");
        assert_eq!(server.issuers[0].subject, server.issuer, "{name}");
        assert!(server.sha256.is_some(), "{name}");
    }
}

#[test]
fn what_a_library_alone_shows_is_hidden_without_it() {
    for (name, recording, server, client) in [
        ("1.3", recording!("mtls13"), "(encrypted)", "(encrypted)"),
        ("1.3, nobody is asked", recording!("tls13-optional"), "(encrypted)", "(not_sent)"),
        ("BoringSSL 1.3", recording!("mtls13-envoy"), "(encrypted)", "(encrypted)"),
        ("1.2", recording!("mtls12"), P256, P256),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        let mut events = recorded(recording);
        events.retain(|event| !matches!(event, Event::Library(_)));
        let reports = run(&mut pipeline, events);
        let report = reports.last().unwrap_or_else(|| panic!("{name}: no report"));
        let [group, _, by_server, by_client] = words(report);
        assert_eq!((&*group, &*by_server, &*by_client), ("x25519", server, client), "{name}");
    }
}

#[test]
fn resumed_sessions_sign_nothing() {
    for (name, recording, group) in [
        ("1.2", recording!("mtls12-reuse"), "(pre_shared_key)"),
        ("1.3", recording!("mtls13-reuse"), "x25519"),
    ] {
        let reports = reports(recording);
        let resumed: Vec<_> = reports.iter().filter(|one| one.resumed == Some(true)).collect();
        assert!(!resumed.is_empty(), "{name}");
        for report in resumed {
            assert_eq!(words(report), [group, "", "(not_sent)", "(not_sent)"], "{name}");
        }
    }
}
