//! The harness itself: every hop really is what its case says, by the upstream's own log.

use hopsight_core::model::{ClientAuth, Outcome};
use hopsight_tests::{
    case::{self, Case, Proxy, Version},
    requirement,
    topology::{Hop, Network, Topology},
    truth::Seen,
};

#[test]
fn every_case_is_what_it_says() {
    if !requirement::met("every_case_is_what_it_says", &["nginx", "haproxy"]) {
        return;
    }
    let topology = Topology::start(&requirement::runnable(case::ALL), Network::Ipv4).unwrap();
    for hop in &topology.hops {
        hop.request().unwrap();
    }
    let wrong: Vec<String> = topology
        .hops
        .iter()
        .filter_map(|hop| disagreement(hop, &topology.wait_truth(hop, hop.case.logged()).unwrap()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for hop in topology.hops.iter().filter(|hop| hop.case.proxy == Proxy::Envoy) {
        let counters = topology.envoy.as_ref().unwrap().tls_counters(hop.case.name).unwrap();
        let tls = usize::from(hop.case.version().is_some());
        let handshakes = counters.get("handshake").copied().unwrap_or(0);
        assert_eq!(handshakes, tls * hop.case.requests, "{}: {counters:?}", hop.case.name);
    }
}

/// In what the upstream's log contradicts the case.
fn disagreement(hop: &Hop, seen: &[Seen]) -> Option<String> {
    let Case { name, reuse, expected, .. } = hop.case;
    let requests = hop.case.logged();
    let version = hop.case.version().map(|version| match version {
        Version::V12 => "1.2",
        Version::V13 => "1.3",
    });
    let presented = expected.client_auth == ClientAuth::Presented;
    let refused = expected.outcome == Outcome::Rejected;
    let right = seen.len() == requests
        && seen.iter().enumerate().all(|(index, seen)| {
            seen.error.is_some() == refused
                && (refused
                    || seen.tls_version.as_deref() == version
                        && seen.client_subject.is_some() == presented
                        && seen.resumed == (reuse && index > 0))
        });
    (!right)
        .then(|| format!("{name}: {requests} requests expected as {expected:?}, seen {seen:#?}"))
}
