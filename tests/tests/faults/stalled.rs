//! An agent that does not run for a while.

use std::{collections::BTreeSet, fs, time::Duration};

use hopsight_core::model::{Reason, Security};
use hopsight_tests::{
    agent::Agent,
    case,
    load::Load,
    requirement,
    topology::{Hop, Network, Topology},
    wait::wait_until,
};
use rustix::process::Signal;

/// Connections while it is stopped; the smallest ring is full after a fraction of them.
const MISSED: u64 = 500;
/// How long those may take, and how long the agent may take to catch up.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_stopped_agent_loses_what_it_counts_and_nothing_else() {
    let test = "a_stopped_agent_loses_what_it_counts_and_nothing_else";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let cases = case::named(&["http", "tls12", "mtls12", "mtls13"]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let dir = topology.dir().join("agent");
    fs::create_dir_all(&dir).unwrap();
    let config = dir.join("hopsight.toml");
    fs::write(&config, "[capture]\nring_buffer_bytes = 65536\n").unwrap();
    let args = ["--no-library", "--config", config.to_str().unwrap()];
    let mut agent = Agent::watching(&topology, "agent", &args).unwrap();

    let load = Load::default();
    let hops: Vec<&Hop> = topology.hops.iter().collect();
    load.during(&hops, 1, || {
        let reported = || agent.whole_finals().len();
        let wait_reported = |more: usize| {
            let enough = reported() + more;
            let what = format!("{enough} reports");
            wait_until(&what, PATIENCE, || Ok((reported() >= enough).then_some(()))).unwrap();
        };
        wait_reported(20);
        agent.daemon.signal(Signal::STOP).unwrap();
        let enough = load.requests() + MISSED;
        wait_until("connections that nobody looks after", PATIENCE, || {
            Ok((load.requests() >= enough).then_some(()))
        })
        .unwrap();
        agent.daemon.signal(Signal::CONT).unwrap();
        wait_reported(20);
    });
    assert_eq!(load.failures(), Vec::<String>::new());

    let count = |name: &str, label: &str| {
        let value = agent.metric(name, &[&format!("\"{label}\"")]).unwrap();
        value.unwrap_or_else(|| panic!("{name} has no {label}"))
    };
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let requests = load.requests() as f64;
    let counts = || {
        let lost = count("hopsight_events_lost_total", "opened\",reason=\"ring_full");
        (count("hopsight_events_received_total", "opened"), lost)
    };
    let (opened, lost) = wait_until("every opening to be received or counted", PATIENCE, || {
        let (opened, lost) = counts();
        Ok((opened + lost > requests - 0.5).then_some((opened, lost)))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?} of {requests}", counts()));
    let dropped = agent.metric("hopsight_event_output_dropped_total", &[]).unwrap();
    agent.daemon.terminate().unwrap();

    let reports = agent.whole_finals();
    let connections: BTreeSet<_> = reports.iter().map(|report| report.connection).collect();
    let unknown =
        reports.iter().filter(|report| report.verdict.security == Security::Unknown).count();
    println!(
        "{} requests: {} reported ({unknown} unknown), {lost} openings lost and counted",
        load.requests(),
        reports.len()
    );
    assert!(lost > 0.0, "nothing was lost: the agent was not stopped long enough");
    assert_eq!(dropped, Some(0.0));
    assert_eq!(connections.len(), reports.len(), "each connection is reported once");
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let reported = reports.len() as f64;
    assert!((opened + lost - requests).abs() < 0.5, "{opened} + {lost} opened of {requests}");
    assert!((reported - opened).abs() < 0.5, "{reported} reported of {opened} opened");
    // Whatever was lost made nothing wrong.
    for report in &reports {
        let hop = topology.hops.iter().find(|hop| report.dst == hop.dial.to_string()).unwrap();
        let verdict = report.verdict;
        let right = verdict.security == hop.case.expected.security;
        let lost = verdict.security == Security::Unknown
            && matches!(
                verdict.reason,
                Some(Reason::CaptureLost | Reason::NoData | Reason::Gap | Reason::Truncated)
            );
        assert!(right || lost, "{}: {report:#?}", hop.case.name);
    }
}
