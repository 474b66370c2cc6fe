//! An agent that does not run for a while.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use hopsight_core::model::{Reason, Security};
use hopsight_tests::{
    agent::Agent,
    case,
    cgroup::Cgroup,
    load::Load,
    requirement,
    topology::{Hop, Network, Topology},
    wait::wait_until,
};
use rustix::process::Signal;

/// How long it is stopped; the smallest ring is full after a fraction of that.
const STOPPED: Duration = Duration::from_secs(10);

#[test]
fn a_stopped_agent_loses_what_it_counts_and_nothing_else() {
    let test = "a_stopped_agent_loses_what_it_counts_and_nothing_else";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let cases = case::named(&["http", "tls12", "mtls12", "mtls13"]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    // Only this proxy: then the kernel's counts are exactly those of our requests.
    let cgroup = Cgroup::create().unwrap();
    cgroup.adopt(topology.nginx.as_ref().unwrap().daemon.pid()).unwrap();
    let dir = topology.dir().join("agent");
    fs::create_dir_all(&dir).unwrap();
    let config = dir.join("hopsight.toml");
    fs::write(&config, "[capture]\nring_buffer_bytes = 65536\n").unwrap();
    let args =
        ["--no-library", "--config", config.to_str().unwrap(), "--cgroup"].map(str::to_owned);
    let args = [&args[..], &[cgroup.path().to_str().unwrap().to_owned()]].concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut agent = Agent::start(&dir, topology.spare_address(), &args).unwrap();

    let load = Load::default();
    let hops: Vec<&Hop> = topology.hops.iter().collect();
    load.during(&hops, 1, || {
        thread::sleep(Duration::from_secs(2));
        agent.daemon.signal(Signal::STOP).unwrap();
        thread::sleep(STOPPED);
        agent.daemon.signal(Signal::CONT).unwrap();
        thread::sleep(Duration::from_secs(3));
    });
    assert_eq!(load.failures(), Vec::<String>::new());

    let count = |name: &str, label: &str| {
        let value = agent.metric(name, &[&format!("\"{label}\"")]).unwrap();
        value.unwrap_or_else(|| panic!("{name} has no {label}"))
    };
    let received = || count("hopsight_events_received_total", "opened");
    let mut before = -1.0;
    wait_until("the ring buffer to be read", Duration::from_secs(20), || {
        thread::sleep(Duration::from_millis(300));
        let (now, then) = (received(), before);
        before = now;
        Ok(((now - then).abs() < 0.5).then_some(()))
    })
    .unwrap();
    let (opened, lost) =
        (received(), count("hopsight_events_lost_total", "opened\",reason=\"ring_full"));
    let dropped = agent.metric("hopsight_event_output_dropped_total", &[]).unwrap();
    agent.daemon.terminate().unwrap();

    let reports = agent.whole_finals();
    let flows: BTreeSet<_> = reports.iter().map(|report| report.flow).collect();
    let unknown =
        reports.iter().filter(|report| report.verdict.security == Security::Unknown).count();
    println!(
        "{} requests: {} reported ({unknown} unknown), {lost} openings lost and counted",
        load.requests(),
        reports.len()
    );
    assert!(lost > 0.0, "nothing was lost: the agent was not stopped long enough");
    assert_eq!(dropped, Some(0.0));
    assert_eq!(flows.len(), reports.len(), "each connection is reported once");
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let (requests, reported) = (load.requests() as f64, reports.len() as f64);
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
