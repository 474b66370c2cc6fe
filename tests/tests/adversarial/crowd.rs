//! More connections than anybody looks after.

use std::{env, time::Duration};

use hopsight_tests::{
    agent::Agent,
    case,
    crowd::Part,
    loopback::Loopback,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use rustix::process::{Resource, getrlimit};

/// Connections in all; the machine's limits may allow fewer. Another number in this variable of the
/// environment.
const WANTED: u64 = 20_000;
const OTHERWISE: &str = "HOPSIGHT_CROWD";
/// Processes on each side.
const PARTS: u8 = 3;
/// What an agent may take in resident memory beyond what it took before, for each connection.
const BOUND: u64 = 4 << 10;

#[test]
fn silent_connections_take_little_and_hide_nothing() {
    let test = "silent_connections_take_little_and_hide_nothing";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = env::var(OTHERWISE).map_or(WANTED, |number| number.parse().expect("a number"));
    let part = (wanted / u64::from(PARTS)).min(descriptors.saturating_sub(100));
    let count = part * u64::from(PARTS);
    if count < wanted - u64::from(PARTS) {
        eprintln!("{test}: {count} connections, as the limit on open files is {descriptors}");
    }
    let topology =
        Topology::start(&case::named(&["http", "mtls12", "mtls13"]), Network::Ipv4).unwrap();
    let names = ["--proxy", "hopsight-crowd", "--proxy", "nginx"];
    let agent = Agent::watching(&topology, "agent", &names).unwrap();
    let before = agent.resident().unwrap();

    let block = Loopback::reserve().unwrap();
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for number in 0..PARTS {
        let address = block.socket(10 + number, 9000).to_string();
        let mut server = Part::start(topology.cgroup(), std::slice::from_ref(&address)).unwrap();
        assert_eq!(server.line().unwrap(), "listening");
        servers.push(server);
        clients.push(Part::start(topology.cgroup(), &[address, part.to_string()]).unwrap());
    }
    for client in &mut clients {
        assert_eq!(client.line().unwrap(), format!("{part} connections"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let expected = count as f64;
    wait_until("every silent connection to be followed", Duration::from_mins(1), || {
        let tracked = agent.metric("hopsight_connections_tracked", &[])?;
        Ok((tracked == Some(expected)).then_some(()))
    })
    .unwrap();
    let after = agent.resident().unwrap();
    println!(
        "{count} silent connections: {} bytes each, {} MiB in all",
        after.saturating_sub(before) / count,
        after >> 20
    );
    let more = after.saturating_sub(before);
    assert!(more < BOUND * count, "{more} bytes more are resident");

    // The others are judged as ever.
    for hop in &topology.hops {
        hop.request().unwrap();
        let reports = agent.wait_finals(hop.dial, 1).unwrap();
        assert_eq!(reports[0].verdict.security, hop.case.expected.security, "{}", hop.case.name);
    }
    drop(clients);
    // A closed socket whose peer does not close may stay for a minute (`tcp_fin_timeout`).
    drop(servers);
    wait_until("every silent connection to be reported", Duration::from_mins(2), || {
        let tracked = agent.metric("hopsight_connections_tracked", &[])?;
        Ok((tracked == Some(0.0)).then_some(()))
    })
    .unwrap_or_else(|error| {
        let metrics = agent.get("/metrics").unwrap().body;
        let lines =
            metrics.lines().filter(|line| line.contains("events_") || line.contains("flows_"));
        panic!("{error:#}\n{}", lines.collect::<Vec<_>>().join("\n"))
    });
    // Counted apart and never guessed: no byte, no answer.
    let unused = || agent.metric("hopsight_unused_connections_total", &[]);
    wait_until("every one to be counted as unused", Duration::from_mins(2), || {
        Ok((unused()? == Some(expected)).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?} of {expected}", unused()));
}
