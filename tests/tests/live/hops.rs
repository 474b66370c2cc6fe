//! Every verdict against the truth: what is configured, and what the upstream itself logged.

use std::net::SocketAddr;

use hopsight_core::{
    model::{ClientAuth, Evidence, Origin, Outcome, Reason},
    report::ConnectionReport,
};
use hopsight_tests::{
    agent::Agent,
    case::{self, Case, Proxy, Version},
    netns::NetNs,
    pki, requirement,
    topology::{Hop, Network, Topology},
    truth::Seen,
};

/// Cases that fit every network.
const FEW: &[&str] =
    &["http", "grpc", "tls12", "tls12-optional", "mtls12", "mtls12-reuse", "mtls13"];

#[test]
fn over_ipv4() {
    if requirement::met("over_ipv4", &["nginx", "haproxy", "curl"]) {
        judge(&requirement::runnable(case::ALL), Network::Ipv4);
    }
}

#[test]
fn over_ipv6() {
    if requirement::met("over_ipv6", &["nginx"]) {
        judge(&case::named(FEW), Network::Ipv6);
    }
}

#[test]
fn over_ipv6_sockets_to_ipv4() {
    if requirement::met("over_ipv6_sockets_to_ipv4", &["nginx"]) {
        judge(&case::named(FEW), Network::MappedIpv4);
    }
}

#[test]
fn into_another_network_namespace() {
    if requirement::met("into_another_network_namespace", &["nginx", "ip"]) {
        let netns = NetNs::create().unwrap();
        judge(&case::named(FEW), Network::Namespace(&netns));
    }
}

/// Sends every case's requests past a fresh agent and compares connection by connection.
fn judge(cases: &[Case], network: Network<'_>) {
    let topology = Topology::start(cases, network).unwrap();
    let agent = Agent::watching_clients(&topology).unwrap();
    for hop in &topology.hops {
        hop.request().unwrap();
    }
    let mut wrong = Vec::new();
    for hop in &topology.hops {
        let reports = agent
            .wait_finals(hop.dial, hop.case.requests)
            .unwrap_or_else(|error| panic!("{}: {error:#}", hop.case.name));
        let seen = topology.wait_truth(hop, hop.case.logged()).unwrap();
        wrong.extend(compare(hop, &reports, &seen));
        wrong.extend(compare_with_envoy(&topology, hop, &reports));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In what the reports differ from the case and from the upstream's log.
fn compare(hop: &Hop, reports: &[ConnectionReport], seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    if reports.len() != hop.case.requests {
        wrong.push(format!("{} connections instead of {}", reports.len(), hop.case.requests));
    }
    for report in reports {
        if hop.case.is_inferred() && report.verdict.reason == Some(Reason::Ambiguous) {
            println!("{}: padded or not, its lengths do not tell", hop.case.name);
            continue;
        }
        compare_with_case(hop, report, &mut wrong);
        let logged = seen.iter().find(|seen| is_same(&report.src, seen.remote));
        match logged {
            Some(seen) => compare_with_log(report, seen, &mut wrong),
            None if hop.case.logged() == 0 => {}
            None => wrong.push(format!("{} is not in the upstream's log", report.src)),
        }
    }
    wrong.into_iter().map(|text| format!("{}: {text}", hop.case.name)).collect()
}

fn compare_with_case(hop: &Hop, report: &ConnectionReport, wrong: &mut Vec<String>) {
    let Case { expected, .. } = hop.case;
    let verdict = report.verdict;
    let words = (verdict.security, verdict.client_auth, verdict.outcome);
    if words != (expected.security, expected.client_auth, expected.outcome) {
        wrong.push(format!("{verdict:?} instead of {expected:?}"));
    }
    if hop.case.contradicts(verdict.server_verified) {
        wrong.push(format!("server_verified {}", verdict.server_verified));
    }
    let weakest = match (report.resumed, hop.case.version()) {
        (Some(true), _) => Evidence::Carried,
        (_, Some(Version::V13)) if hop.case.is_inferred() => Evidence::Inferred,
        (_, Some(Version::V13)) => Evidence::Library,
        _ => Evidence::Wire,
    };
    if expected.outcome != Outcome::Failed && verdict.evidence < weakest {
        wrong.push(format!("evidence {} weaker than {weakest}", verdict.evidence));
    }
    let name = match &report.origin {
        Origin::Process(process) => process.name.to_string(),
        Origin::PacketCapture => "a packet capture".to_owned(),
    };
    if name != hop.case.proxy.process_name() {
        wrong.push(format!("opened by {name}"));
    }
    let sni = hop.case.version().map(|_| hop.case.server_name());
    if report.sni.as_deref() != sni.as_deref() {
        wrong.push(format!("server name {:?} instead of {sni:?}", report.sni));
    }
}

fn compare_with_log(report: &ConnectionReport, seen: &Seen, wrong: &mut Vec<String>) {
    if seen.error.is_some() {
        if report.verdict.outcome == Outcome::Established {
            wrong.push(format!("established, but the upstream says {:?}", seen.error));
        }
        return;
    }
    if report.tls_version.as_deref() != seen.tls_version.as_deref() {
        wrong.push(format!("version {:?}, logged {:?}", report.tls_version, seen.tls_version));
    }
    if seen.tls_version.is_some() && report.resumed != Some(seen.resumed) {
        wrong.push(format!("resumed {:?}, logged {}", report.resumed, seen.resumed));
    }
    let presented = seen.client_subject.is_some();
    let library = report.verdict.evidence == Evidence::Library;
    if library != report.wire_client_auth.is_some() || report.is_conflict() {
        wrong.push(format!("the wire alone says {:?}", report.wire_client_auth));
    }
    if (report.verdict.client_auth == ClientAuth::Presented) != presented {
        wrong.push(format!("{}, logged {:?}", report.verdict.client_auth, seen.client_subject));
    }
    let on_the_wire = seen.tls_version.as_deref() == Some("1.2") && !seen.resumed;
    if presented && (on_the_wire || library) {
        let certificate = report.client_certificate.as_ref();
        let subject = certificate.map(|facts| facts.subject.as_str());
        let serial = certificate.map(|facts| facts.serial.as_str());
        if !subject.is_some_and(|subject| subject.contains(pki::CLIENT_NAME))
            || serial != seen.client_serial.as_deref()
        {
            wrong.push(format!("client certificate {certificate:?}, logged {seen:?}"));
        }
    }
}

/// Envoy counts its handshakes itself.
fn compare_with_envoy(
    topology: &Topology,
    hop: &Hop,
    reports: &[ConnectionReport],
) -> Option<String> {
    if hop.case.proxy != Proxy::Envoy {
        return None;
    }
    let counters = topology.envoy.as_ref().unwrap().tls_counters(hop.case.name).unwrap();
    let count = |name: &str| counters.get(name).copied().unwrap_or(0);
    let with = |version: &str| {
        reports.iter().filter(|report| report.tls_version.as_deref() == Some(version)).count()
    };
    let ours = (with("1.2") + with("1.3"), with("1.2"), with("1.3"));
    let envoys = (count("handshake"), count("versions.TLSv1.2"), count("versions.TLSv1.3"));
    (ours != envoys).then(|| {
        format!("{}: {ours:?} handshakes (all, 1.2, 1.3), Envoy counts {envoys:?}", hop.case.name)
    })
}

fn is_same(text: &str, address: SocketAddr) -> bool {
    hopsight_tests::agent::is_address(text, address)
}
