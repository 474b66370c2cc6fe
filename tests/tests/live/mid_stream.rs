//! Connections that are older than the agent.

use hopsight_core::model::{Reason, Security};
use hopsight_tests::{
    agent::Agent,
    case, requirement,
    topology::{Network, Topology},
};

#[test]
fn older_connections_are_taken_in_and_never_guessed() {
    if !requirement::met("older_connections_are_taken_in_and_never_guessed", &["nginx"]) {
        return;
    }
    let mut topology = Topology::start(case::KEEPALIVE, Network::Ipv4).unwrap();
    for hop in &topology.hops {
        hop.request_once().unwrap();
    }
    let agent = Agent::watching_clients(&topology).unwrap();
    for hop in &topology.hops {
        hop.request_once().unwrap();
    }
    for hop in &topology.hops {
        let seen = topology.wait_truth(hop, 2).unwrap();
        let [first, second] = seen.as_slice() else { panic!("{}: {seen:?}", hop.case.name) };
        assert_eq!(first.remote, second.remote, "{}: nginx connected again", hop.case.name);
    }
    // The end of the proxy is the end of its connections.
    topology.nginx = None;
    for hop in &topology.hops {
        // The next request in the clear is proof; TLS records in the middle of a session prove
        // neither mutual nor one-way.
        let expected = match hop.case.version() {
            None => (Security::Plaintext, None),
            Some(_) => (Security::Unknown, Some(Reason::MidStream)),
        };
        let reports = agent.wait_finals(hop.dial, 1).unwrap();
        let [report] = reports.as_slice() else { panic!("{reports:#?}") };
        let verdict = report.verdict;
        assert_eq!((verdict.security, verdict.reason), expected, "{report:#?}");
    }
}
