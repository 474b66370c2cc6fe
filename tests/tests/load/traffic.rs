//! Traffic never notices the agent.

use hopsight_tests::{
    agent::{Agent, VERDICT},
    case,
    process::Daemon,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use rustix::process::Signal;

/// wrk sends requests until it is told to stop, and in no case longer.
const LONGEST: &str = "300s";

#[test]
fn traffic_goes_on_while_the_agent_comes_and_goes() {
    let test = "traffic_goes_on_while_the_agent_comes_and_goes";
    if !requirement::met(test, &["nginx", "wrk"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let topology =
        Topology::start(&case::named(&["http", "mtls12", "mtls13"]), Network::Ipv4).unwrap();
    let log = |name: &str| topology.dir().join(format!("{name}.wrk.log"));
    let mut load = Vec::new();
    for hop in &topology.hops {
        let url = format!("http://{}/", hop.front().unwrap());
        let args = ["-t1", "-c2", "-d", LONGEST, &url];
        load.push(Daemon::spawn("wrk", args, &log(hop.case.name)).unwrap());
    }
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let mut agent = Agent::watching_clients(&topology).unwrap();
        wait_until("the agent to have seen some of it", VERDICT, || {
            Ok((!agent.reports()?.is_empty()).then_some(()))
        })
        .unwrap();
        agent.daemon.signal(signal).unwrap();
        agent.daemon.wait_exit(VERDICT).unwrap();
    }
    for mut wrk in load {
        // It ends and says what came of it.
        wrk.signal(Signal::INT).unwrap();
        assert!(wrk.wait_exit(VERDICT).unwrap().success(), "{}", wrk.log());
        let words = wrk.log();
        assert!(!words.contains("Non-2xx") && !words.contains("Socket errors"), "{words}");
        let requests = words.lines().find_map(|line| line.trim().split_once(" requests in "));
        let count: u64 = requests.unwrap().0.parse().unwrap();
        assert!(count > 10, "{words}");
    }
}
