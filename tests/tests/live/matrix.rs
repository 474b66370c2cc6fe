//! Every client × TLS version × situation, at the running agent's report: what it is expected to
//! say, what the upstream logged, and the certificates that were really made.
//!
//! The TLS library of every client is looked into, be it OpenSSL as a shared library, BoringSSL
//! inside Envoy or Go's inside Caddy: every full handshake has `library` evidence, of TLS 1.2 too.

use hopsight_core::{
    model::{
        ClientAuth::{self, NotRequested, Presented, RequestedNotPresented},
        Evidence, Outcome, Security, ServerVerified,
    },
    report::ConnectionReport,
    tls::certificate_facts::CertificateFacts,
};
use hopsight_tests::{
    agent::{Agent, is_address},
    case::{Asks, Case, Expected, Holds, Proxy, Upstream, Verify, Version},
    client, pki,
    pki::{Identity, Pki},
    requirement,
    topology::{Hop, Network, Topology},
    truth::Seen,
};

const PROXIES: [Proxy; 6] =
    [Proxy::Nginx, Proxy::Haproxy, Proxy::Curl, Proxy::Python, Proxy::Envoy, Proxy::Caddy];

/// Names the process of the only client to run, for `cargo xtask stacks`.
const ONLY: &str = "HOPSIGHT_MATRIX";

/// What is configured on both sides, and what the client does about client authentication.
struct Situation {
    name: &'static str,
    asks: Asks,
    holds: Holds,
    verify: Verify,
    /// Requests whose sessions are resumed after the first; 1: no resumption.
    requests: usize,
    client_auth: ClientAuth,
}

const SITUATIONS: [Situation; 6] = [
    Situation {
        name: "not-requested",
        asks: Asks::Nothing,
        holds: Holds::Trusted,
        verify: Verify::Off,
        requests: 1,
        client_auth: NotRequested,
    },
    Situation {
        name: "requested-none",
        asks: Asks::Optional,
        holds: Holds::Nothing,
        verify: Verify::On,
        requests: 1,
        client_auth: RequestedNotPresented,
    },
    Situation {
        name: "presented",
        asks: Asks::Required,
        holds: Holds::Trusted,
        verify: Verify::On,
        requests: 1,
        client_auth: Presented,
    },
    Situation {
        name: "wrong-ca",
        asks: Asks::Nothing,
        holds: Holds::Nothing,
        verify: Verify::ForeignRoot,
        requests: 1,
        client_auth: NotRequested,
    },
    Situation {
        name: "wrong-name",
        asks: Asks::Nothing,
        holds: Holds::Nothing,
        verify: Verify::OtherName,
        requests: 1,
        client_auth: NotRequested,
    },
    Situation {
        name: "resumed",
        asks: Asks::Required,
        holds: Holds::Trusted,
        verify: Verify::On,
        requests: 3,
        client_auth: Presented,
    },
];

/// How a client takes leave of an upstream whose certificate it does not accept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// It accepts it, or does not look.
    Stays,
    /// OpenSSL ends the handshake.
    InHandshake,
    /// The application looks when the handshake is over, by functions of OpenSSL.
    Afterwards,
    /// The application looks when the handshake is over, by code of its own: nobody sees that.
    Unseen,
}

fn leaves(proxy: Proxy, verify: Verify) -> Leaves {
    match (verify, proxy) {
        (Verify::Off | Verify::On, _) => Leaves::Stays,
        (_, Proxy::Nginx) => Leaves::Afterwards,
        (Verify::OtherName, Proxy::Curl) => Leaves::Unseen,
        _ => Leaves::InHandshake,
    }
}

fn server_verified(proxy: Proxy, verify: Verify, version: Version) -> ServerVerified {
    match (proxy, verify) {
        // Its callback might overrule OpenSSL: that it would refuse a bad certificate is seen only
        // when it does.
        (Proxy::Haproxy, Verify::On) => ServerVerified::Unknown,
        // It then sends `handshake_failure`, which may have another cause; in TLS 1.3 the result
        // of the verification is seen too.
        (Proxy::Haproxy, Verify::OtherName) if version == Version::V12 => ServerVerified::Unknown,
        // The chain was verified, and the library would have refused another.
        (Proxy::Curl, Verify::OtherName) | (_, Verify::On) => ServerVerified::Yes,
        _ => ServerVerified::No,
    }
}

fn case(version: Version, proxy: Proxy, situation: &Situation) -> Case {
    let Situation { name, asks, holds, verify, requests, client_auth } = *situation;
    let version_name = match version {
        Version::V12 => "tls12",
        Version::V13 => "tls13",
    };
    // Cases live as long as the program.
    let name: &'static str = format!("{version_name}-{}-{name}", proxy.process_name()).leak();
    let known = match client_auth {
        Presented => Security::Mtls,
        _ => Security::Tls,
    };
    let established = Expected { security: known, client_auth, outcome: Outcome::Established };
    let (expected, status) = match leaves(proxy, verify) {
        Leaves::Stays => (established, 200),
        Leaves::Unseen => (established, 0),
        Leaves::Afterwards => (Expected { outcome: Outcome::Failed, ..established }, 502),
        Leaves::InHandshake => {
            let (security, client_auth) = (Security::Unknown, ClientAuth::Unknown);
            let status = match proxy {
                Proxy::Haproxy | Proxy::Envoy => 503,
                Proxy::Caddy => 502,
                _ => 0,
            };
            (Expected { security, client_auth, outcome: Outcome::Failed }, status)
        }
    };
    Case {
        verify,
        reuse: requests > 1,
        requests,
        status,
        expected,
        ..Case::new(name, proxy, Upstream::Nginx(version, asks), holds)
    }
}

#[test]
fn tls12() {
    matrix("tls12", Version::V12);
}

#[test]
fn tls13() {
    matrix("tls13", Version::V13);
}

/// Envoy is told no name to check, and Caddy keeps no sessions of its upstreams.
fn is_possible(case: &Case) -> bool {
    match case.proxy {
        Proxy::Envoy => case.verify != Verify::OtherName,
        Proxy::Caddy => !case.reuse,
        _ => true,
    }
}

fn matrix(test: &str, version: Version) {
    if !requirement::met(test, &["nginx", "haproxy", "curl", client::PYTHON]) {
        return;
    }
    let only = std::env::var(ONLY).ok();
    let cases = PROXIES
        .iter()
        .flat_map(|proxy| SITUATIONS.iter().map(|situation| case(version, *proxy, situation)))
        .filter(is_possible)
        .filter(|case| only.as_ref().is_none_or(|only| only == case.proxy.process_name()))
        .collect::<Vec<Case>>();
    let cases = requirement::runnable(&cases);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let agent = Agent::watching_clients(&topology).unwrap();
    for hop in &topology.hops {
        hop.request().unwrap();
    }
    let mut wrong = Vec::new();
    for hop in &topology.hops {
        let mut reports = agent.wait_finals(hop.dial, hop.case.requests).unwrap();
        reports.sort_by_key(|report| report.opened_at);
        let seen = topology.wait_truth(hop, hop.case.logged()).unwrap();
        println!("{}", line(hop, &reports));
        let mut say = |text: String| wrong.push(format!("{}: {text}", hop.case.name));
        if reports.len() != hop.case.requests || seen.len() != hop.case.logged() {
            say(format!("{} connections, {} logged", reports.len(), seen.len()));
        }
        for (index, report) in reports.iter().enumerate() {
            check(&topology.pki, hop, index, report, &seen, &mut say);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A row of the matrix as it was reported.
fn line(hop: &Hop, reports: &[ConnectionReport]) -> String {
    let each = reports.iter().map(|report| {
        let verdict = report.verdict;
        format!(
            "{} {} {} {} server_verified={} verify_error={:?}",
            verdict.security,
            verdict.client_auth,
            verdict.outcome,
            verdict.evidence,
            verdict.server_verified,
            report.verify_error,
        )
    });
    format!("{:<32} {}", hop.case.name, each.collect::<Vec<_>>().join("; "))
}

fn check(
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
    let in_handshake = leaves(proxy, verify) == Leaves::InHandshake;
    let evidence = match (in_handshake, resumed) {
        (true, _) => Evidence::None,
        (_, true) => Evidence::Carried,
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
    let version = hop.case.version().unwrap_or(Version::V13);
    let expected_verified = server_verified(proxy, verify, version);
    if verdict.server_verified != expected_verified {
        say(format!("server_verified {} not {expected_verified}", verdict.server_verified));
    }
    check_verification(hop, report, resumed, say);
    if !resumed {
        check_certificates(pki, hop, report, say);
    }
    check_log(report, seen, say);
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
}

fn check_log(report: &ConnectionReport, seen: &[Seen], say: &mut impl FnMut(String)) {
    let logged = seen.iter().find(|seen| is_address(&report.src, seen.remote));
    let Some(logged) = logged else {
        if !seen.is_empty() {
            say(format!("{} is not in the upstream's log", report.src));
        }
        return;
    };
    let presented = logged.client_subject.is_some();
    let certificate = report.client_certificate.as_ref();
    let right = report.tls_version.as_deref() == logged.tls_version.as_deref()
        && report.resumed == Some(logged.resumed)
        && (report.verdict.client_auth == Presented) == presented
        && certificate.is_none_or(|facts| Some(&facts.serial) == logged.client_serial.as_ref());
    if !right {
        say(format!("the upstream logged {logged:?}"));
    }
}
