//! The short form of `cargo xtask ordinary -- compare`, and what a healthy node counts.

use std::time::Duration;

use hopsight_core::model::{Evidence, Outcome, Reason, Security};
use hopsight_tests::{
    ordinary::{self, HealthyNode, Length, stacks},
    requirement,
};

/// Bursts of requests in which a Caddy gives connections up.
const BURSTS: usize = 12;

#[test]
fn proxies_are_known_from_their_first_connection() {
    let test = "proxies_are_known_from_their_first_connection";
    if !requirement::met(test, &["nginx", "haproxy"]) {
        return;
    }
    let length = Length { burst: 40, steady: Duration::ZERO, restarted: 10 };
    let mut complaints = Vec::new();
    for stack in stacks::ALL.iter().filter(|stack| stack.program.find().is_some()) {
        let report = ordinary::run(stack, length, None)
            .unwrap_or_else(|error| panic!("{}: {error:#}", stack.name));
        println!("{report}");
        complaints.extend(report.complaints(length));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Dials that a proxy gives up, because another connection served the request, and checks that end
/// with their handshake: none has failed, in either version of TLS.
#[test]
fn what_a_proxy_gives_up_has_not_failed() {
    let test = "what_a_proxy_gives_up_has_not_failed";
    if !requirement::met(test, &["nginx", "haproxy", "caddy"]) {
        return;
    }
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let mut node = HealthyNode::start(versions).unwrap();
        node.record(BURSTS).unwrap();
        let reports = node.agent.reports().unwrap();
        for report in reports.iter().filter(|report| report.is_final) {
            let verdict = report.verdict;
            let context = format!("{versions}: {report:#?}");
            let failed = matches!(verdict.outcome, Outcome::Failed | Outcome::Rejected);
            assert!(!failed && verdict.reason != Some(Reason::Unaccepted), "{context}");
            // What is not known of a session that began before the proxy's library was looked into.
            let is_older = verdict.reason == Some(Reason::ResumedUnseen)
                && reports.iter().any(|full| {
                    full.dst == report.dst
                        && full.opened_at < report.opened_at
                        && full.verdict.evidence == Evidence::Inferred
                });
            if verdict.security == Security::Unknown && !is_older {
                let told = matches!(verdict.reason, Some(Reason::Abandoned | Reason::Unused));
                assert!(told, "{context}");
            }
        }
        let hops = node.agent.hops().unwrap();
        assert!(hops.totals.unused_connections > 0, "{versions}: {:?}", hops.totals);
        assert!(hops.hops.iter().all(|hop| hop.counts.failed() == 0), "{versions}: {hops:#?}");
    }
}
