//! Hostile segments: the verdict is right, or unknown where nobody but the receiver can know.

use std::{collections::HashMap, thread};

use hopsight_core::{
    model::{Evidence, Reason, Security},
    report::ConnectionReport,
};
use hopsight_tests::{
    agent::Agent,
    case, requirement,
    topology::{Hop, Network, Topology},
};

use crate::{
    mangle::{Mangle, ONE_BY_ONE},
    relay::Relay,
    tun::Tun,
};

const CASES: &[&str] = &["http", "tls12", "mtls12", "tls13", "tls13-optional", "mtls13"];

/// Sends a request through each case under this mangling and gives the reports.
fn reports(mangle: Mangle, extra: &[&str]) -> Vec<(Hop, ConnectionReport)> {
    let tun = Tun::create().unwrap();
    let topology = Topology::start(&case::named(CASES), Network::Relayed(tun.far)).unwrap();
    let upstreams: HashMap<_, _> =
        topology.hops.iter().map(|hop| (hop.dial.port(), hop.listen)).collect();
    let relay = Relay::start(tun, mangle, upstreams);
    let agent = Agent::watching(&topology, "agent", extra).unwrap();
    // All at once: with a window of one byte each takes seconds.
    thread::scope(|scope| {
        for hop in &topology.hops {
            scope.spawn(move || {
                // Traffic is as it would be without us; a mangling may break it by itself.
                let answer = hop.request_once();
                assert!(answer.is_ok() || mangle == Mangle::WarningAlert, "{mangle:?}: {answer:?}");
            });
        }
    });
    if mangle == Mangle::OneByteWindow {
        // One flight in the clear, two at least with TLS.
        let single = relay.single_bytes();
        assert!(single >= ONE_BY_ONE * (2 * topology.hops.len() - 1), "{single} single bytes");
    }
    let report = |hop: &Hop| {
        let mut reports = agent.wait_finals(hop.dial, 1).unwrap();
        assert_eq!(reports.len(), 1, "{mangle:?}, {}: {reports:#?}", hop.case.name);
        (hop.clone(), reports.remove(0))
    };
    topology.hops.iter().map(report).collect()
}

#[test]
fn odd_but_honest_segments_change_nothing() {
    if !requirement::met("odd_but_honest_segments_change_nothing", &["nginx", "ip"]) {
        return;
    }
    for mangle in [
        Mangle::Plain,
        Mangle::ByByte,
        Mangle::Backwards,
        Mangle::Overlapping,
        Mangle::SmallestWindow,
        Mangle::OneByteWindow,
        Mangle::BeyondTheWindow,
        Mangle::ResetBeyondTheWindow,
    ] {
        for (hop, report) in reports(mangle, &["--no-library"]) {
            let verdict = report.verdict;
            let said = (verdict.security, verdict.client_auth, verdict.outcome);
            let expected = hop.case.expected;
            let expected = (expected.security, expected.client_auth, expected.outcome);
            assert_eq!(said, expected, "{mangle:?}, {}: {report:#?}", hop.case.name);
        }
    }
}

#[test]
fn forged_segments_leave_the_verdict_unknown() {
    if !requirement::met("forged_segments_leave_the_verdict_unknown", &["nginx", "ip"]) {
        return;
    }
    for mangle in [
        Mangle::WrongChecksum,
        Mangle::ForgedHello,
        Mangle::AheadOfAGap,
        Mangle::WrongEnd,
        Mangle::WarningAlert,
    ] {
        for (hop, report) in reports(mangle, &["--no-library"]) {
            let verdict = report.verdict;
            let context = format!("{mangle:?}, {}: {report:#?}", hop.case.name);
            let right = verdict.security == hop.case.expected.security;
            assert!(right || verdict.security == Security::Unknown, "{context}");
            // In the clear the client's first bytes decide before anybody answers.
            if hop.case.version().is_some() && mangle != Mangle::WarningAlert {
                // (What is forged may end in nonsense before the real bytes contradict it.)
                let noticed = matches!(verdict.reason, Some(Reason::Ambiguous | Reason::Malformed));
                assert!(verdict.security == Security::Unknown && noticed, "{context}");
            }
        }
    }
}

#[test]
fn the_library_is_not_deceived() {
    if !requirement::met("the_library_is_not_deceived", &["nginx", "ip"]) {
        return;
    }
    for mangle in [Mangle::WrongChecksum, Mangle::AheadOfAGap] {
        for (hop, report) in reports(mangle, &[]) {
            let verdict = report.verdict;
            let context = format!("{mangle:?}, {}: {report:#?}", hop.case.name);
            let right = (verdict.security, verdict.client_auth)
                == (hop.case.expected.security, hop.case.expected.client_auth);
            let library = verdict.evidence == Evidence::Library;
            assert!(right || verdict.security == Security::Unknown, "{context}");
            assert!(!library || right, "{context}");
        }
    }
}
