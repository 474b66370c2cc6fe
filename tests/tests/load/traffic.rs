//! Traffic never notices the agent.

use std::{thread, time::Duration};

use hopsight_tests::{
    agent::Agent,
    case, process, requirement,
    topology::{Network, Topology},
};
use rustix::process::Signal;

/// How long wrk sends requests; the agent comes and goes within.
const LOAD: Duration = Duration::from_secs(4);

#[test]
fn traffic_goes_on_while_the_agent_comes_and_goes() {
    let test = "traffic_goes_on_while_the_agent_comes_and_goes";
    if !requirement::met(test, &["nginx", "wrk"]) {
        return;
    }
    let topology =
        Topology::start(&case::named(&["http", "mtls12", "mtls13"]), Network::Ipv4).unwrap();
    let _alone = hopsight_tests::alone();
    thread::scope(|scope| {
        let load: Vec<_> = topology
            .hops
            .iter()
            .map(|hop| {
                let url = format!("http://{}/", hop.front().unwrap());
                let duration = format!("{}s", LOAD.as_secs());
                scope.spawn(move || process::run("wrk", ["-t1", "-c2", "-d", &duration, &url]))
            })
            .collect();
        for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
            let mut agent = Agent::watching_clients(&topology).unwrap();
            thread::sleep(LOAD / 10);
            agent.daemon.signal(signal).unwrap();
            agent.daemon.wait_exit(Duration::from_secs(5)).unwrap();
        }
        for run in load {
            let words = run.join().unwrap().unwrap();
            assert!(!words.contains("Non-2xx") && !words.contains("Socket errors"), "{words}");
            let requests = words.lines().find_map(|line| line.trim().split_once(" requests in "));
            let count: u64 = requests.unwrap().0.parse().unwrap();
            assert!(count > 10, "{words}");
        }
    });
}
