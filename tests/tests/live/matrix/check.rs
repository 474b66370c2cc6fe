//! Compares a report with what was expected, what the upstream logged, and the certificates.

use std::fs;

use hopsight_core::{
    model::{ClientAuth::Presented, Evidence, Outcome},
    report::ConnectionReport,
    tls::{
        certificate_facts::CertificateFacts, cryptography::GroupAbsence, fingerprint::Fingerprint,
    },
};
use hopsight_posture::policy::certificate;
use hopsight_tests::{
    agent::is_address,
    case::{Case, Expected, Holds, Proxy, Upstream, Verify, Version},
    pki,
    pki::{Identity, Pki},
    topology::Hop,
    truth::Seen,
};

use super::situations::{Leaves, leaves, server_verified, shows_verification};

pub fn check(
    pki: &Pki,
    hop: &Hop,
    index: usize,
    report: &ConnectionReport,
    seen: &[Seen],
    say: &mut impl FnMut(String),
) {
    let Case { expected, proxy, verify, reuse, .. } = hop.case;
    let verdict = report.verdict;
    let words = Expected {
        security: verdict.security,
        client_auth: verdict.client_auth,
        outcome: verdict.outcome,
    };
    // It leaves right after its Finished: whether the upstream's tickets come before is chance.
    let leaves_early = leaves(proxy, verify) == Leaves::Unseen
        && words == Expected { outcome: Outcome::Incomplete, ..expected };
    if words != expected && !leaves_early {
        say(format!("{words:?} instead of {expected:?}"));
    }
    let resumed = reuse && index > 0;
    let version = hop.case.version().unwrap_or(Version::V13);
    let rejects = matches!(hop.case.upstream, Upstream::Haproxy(_));
    let evidence = match (leaves(proxy, verify), version) {
        (Leaves::InHandshake, _) | (Leaves::Silently, Version::V13) => Evidence::None,
        (Leaves::Silently, Version::V12) => Evidence::Wire,
        _ if resumed => Evidence::Carried,
        // The wire shows it all, and the library not to its end.
        (_, Version::V12) if rejects => Evidence::Wire,
        _ => Evidence::Library,
    };
    if verdict.evidence != evidence {
        say(format!("evidence {} instead of {evidence}", verdict.evidence));
    }
    let carried_from = report.carried_from.as_ref().map(|from| from.evidence);
    if carried_from != resumed.then_some(Evidence::Library) {
        say(format!("carried from {carried_from:?}"));
    }
    // The verdict without the library is still computed, and is the same or unknown.
    if (evidence == Evidence::Library) != report.wire_client_auth.is_some() || report.is_conflict()
    {
        say(format!("the wire alone says {:?}", report.wire_client_auth));
    }
    let expected_verified = server_verified(proxy, verify, version, rejects);
    if verdict.server_verified != expected_verified {
        say(format!("server_verified {} not {expected_verified}", verdict.server_verified));
    }
    check_verification(hop, report, resumed, say);
    if !resumed {
        check_certificates(pki, hop, report, say);
    }
    check_cryptography(hop, report, resumed, say);
    check_log(hop, report, seen, say);
}

/// A certificate that the client does not accept shows its error, or the alert that it caused.
fn check_verification(
    hop: &Hop,
    report: &ConnectionReport,
    resumed: bool,
    say: &mut impl FnMut(String),
) {
    let Case { proxy, verify, .. } = hop.case;
    // nginx and curl compare names outside of OpenSSL's verification.
    let chain_is_bad = matches!(verify, Verify::Off | Verify::ForeignRoot)
        || leaves(proxy, verify) == Leaves::InHandshake;
    let right = match report.verify_error {
        Some(error) => (error != 0) == chain_is_bad,
        // Up to TLS 1.2 the transcript begins after the verification, here not at all; the alert
        // stands in the clear on the wire.
        // Go says nothing where it does not look.
        None if (proxy, verify) == (Proxy::Caddy, Verify::Off) => true,
        None if !shows_verification(proxy) => true,
        None if leaves(proxy, verify) == Leaves::InHandshake => {
            report.alert.as_ref().is_some_and(|alert| alert.from == "client")
        }
        None => resumed,
    };
    if !right {
        say(format!("verify_error {:?}, alert {:?}", report.verify_error, report.alert));
    }
}

fn check_certificates(
    pki: &Pki,
    hop: &Hop,
    report: &ConnectionReport,
    say: &mut impl FnMut(String),
) {
    let server = report.server_certificate.as_ref();
    if !server.is_some_and(|facts| is(facts, &pki.server) && facts.sans == [wildcard()]) {
        say(format!("server certificate {server:?}"));
    }
    let client = report.client_certificate.as_ref();
    let right = match (hop.case.expected.client_auth, client) {
        (Presented, Some(facts)) if hop.case.holds == Holds::Foreign => {
            facts.subject == pki.foreign_client.subject
        }
        (Presented, Some(facts)) => is(facts, &pki.client),
        (Presented, None) => false,
        (_, client) => client.is_none(),
    };
    if !right {
        say(format!("client certificate {client:?}"));
    }
}

fn wildcard() -> String {
    format!("DNS:*.{}", pki::DOMAIN)
}

/// Whether the facts are those of this certificate, sent with its intermediate.
fn is(facts: &CertificateFacts, identity: &Identity) -> bool {
    facts.subject == identity.subject
        && facts.serial == identity.serial
        && facts.issuer == format!("CN={}", pki::ISSUER_NAME)
        && facts.chain_length == 2
        && facts.public_key == "p256"
        && facts.sha256.is_some()
        && in_file(identity) == (facts.sha256, facts.issuers.first().map(|issuer| issuer.sha256))
}

/// What the certificates in the file are told by: the leaf, and its intermediate.
fn in_file(identity: &Identity) -> (Option<Fingerprint>, Option<Fingerprint>) {
    let file = fs::read(&identity.chain).unwrap();
    let all = certificate::read(&file).unwrap();
    let sha256 = |at: usize| all.get(at).and_then(|facts| facts.sha256);
    (sha256(0), sha256(1))
}

/// All keys are of P-256, and each side signs with its own wherever it shows its certificate.
fn check_cryptography(
    hop: &Hop,
    report: &ConnectionReport,
    resumed: bool,
    say: &mut impl FnMut(String),
) {
    let facts = &report.cryptography;
    // Up to TLS 1.2 the hash is not bound to the curve.
    let is_1_3 = report.tls_version.as_deref() == Some("1.3");
    let by_p256 = |scheme: &str| {
        if is_1_3 { scheme == "ecdsa_secp256r1_sha256" } else { scheme.starts_with("ecdsa_") }
    };
    // Who does not accept the certificate does not read what it is proven with.
    let is_read = leaves(hop.case.proxy, hop.case.verify) != Leaves::InHandshake;
    let is_right = |scheme: Option<&str>, is_shown: bool| match scheme {
        Some(scheme) => is_shown && by_p256(scheme),
        None => !is_shown || !is_read,
    };
    let server = !resumed && report.server_certificate.is_some();
    let client = !resumed && report.client_certificate.is_some();
    let right = is_right(facts.server_signature.as_deref(), server)
        && is_right(facts.client_signature.as_deref(), client)
        && facts.server_signature.is_none() == facts.server_signature_absent.is_some()
        && facts.client_signature.is_none() == facts.client_signature_absent.is_some()
        && facts.group.is_none() == facts.group_absent.is_some()
        && (facts.retried_group.is_some() == hop.case.retry)
        && (!hop.case.retry || facts.retried_group == facts.group)
        && facts.group.iter().all(|group| facts.offered_groups.contains(group));
    if !right {
        say(format!("{facts:?}"));
    }
}

/// Whether the upstream logged the same group. OpenSSL remembers that of a session that is resumed
/// without a group of its own.
fn has_group(report: &ConnectionReport, logged: &Seen) -> bool {
    let facts = &report.cryptography;
    facts.group == logged.group.as_deref().map(|name| name.to_owned().into())
        || (facts.group_absent == Some(GroupAbsence::PreSharedKey) && logged.resumed)
}

fn check_log(hop: &Hop, report: &ConnectionReport, seen: &[Seen], say: &mut impl FnMut(String)) {
    let logged = seen.iter().find(|seen| is_address(&report.src, seen.remote));
    let Some(logged) = logged else {
        if !seen.is_empty() {
            say(format!("{} is not in the upstream's log", report.src));
        }
        return;
    };
    if matches!(hop.case.upstream, Upstream::Haproxy(_)) {
        // It says why it refused, and nothing of what it was shown.
        if logged.error.is_none() {
            say(format!("the upstream logged {logged:?}"));
        }
        return;
    }
    let presented = logged.client_subject.is_some();
    let certificate = report.client_certificate.as_ref();
    let right = report.tls_version.as_deref() == logged.tls_version.as_deref()
        && report.resumed == Some(logged.resumed)
        && has_group(report, logged)
        && (report.verdict.client_auth == Presented) == presented
        && certificate.is_none_or(|facts| Some(&facts.serial) == logged.client_serial.as_ref());
    if !right {
        say(format!("the upstream logged {logged:?}"));
    }
}
