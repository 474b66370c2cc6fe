//! Connections that are older than the agent.

use hopsight::model::{Reason, Security};
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
    let topology = Topology::start(case::KEEPALIVE, Network::Ipv4).unwrap();
    for hop in &topology.hops {
        hop.request_once().unwrap();
    }
    let agent = Agent::watching_clients(&topology).unwrap();
    for hop in &topology.hops {
        hop.request_once().unwrap();
    }
    let dials: Vec<_> = topology.hops.iter().map(|hop| (hop.case.name, hop.dial)).collect();
    for hop in &topology.hops {
        let seen = topology.truth(hop).unwrap();
        let [first, second] = seen.as_slice() else { panic!("{}: {seen:?}", hop.case.name) };
        assert_eq!(first.remote, second.remote, "{}: nginx connected again", hop.case.name);
    }
    // The end of the proxy is the end of its connections.
    drop(topology);
    for (name, dial) in dials {
        let reports = agent.wait_finals(dial, 1).unwrap();
        let [report] = reports.as_slice() else { panic!("{name}: {reports:#?}") };
        let verdict = report.verdict;
        assert_eq!(verdict.security, Security::Unknown, "{name}: {report:#?}");
        assert_eq!(verdict.reason, Some(Reason::MidStream), "{name}: {report:#?}");
    }
}
