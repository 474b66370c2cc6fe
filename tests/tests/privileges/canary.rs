//! No payload leaves the agent: a word that every hop carried is in nothing the agent says.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    time::Duration,
};

use hopsight_tests::{
    agent::Agent,
    case::{self, Case},
    http, requirement,
    topology::{Network, Topology},
};

/// In a path, a query, headers, a body and a response; never in anything else.
const CANARY: &str = "hs-canary-5f1d0c9e7a";

#[test]
fn payload_is_in_no_output() {
    if !requirement::met("payload_is_in_no_output", &["nginx", "haproxy", "curl"]) {
        return;
    }
    let topology = Topology::start(&requirement::runnable(case::ALL), Network::Ipv4).unwrap();
    let dir = topology.dir().join("agent");
    let state = dir.join("state");
    let mut options = vec!["--state", state.to_str().unwrap(), "--json-logs"];
    options.extend(topology.cgroup().options().unwrap());
    let cases: Vec<Case> = topology.hops.iter().map(|hop| hop.case).collect();
    for name in case::process_names(&cases) {
        options.extend(["--proxy", name]);
    }
    // Everything the agent would ever log.
    let launcher = ["env", "HOPSIGHT_LOG=trace"];
    let agent = Agent::start_through(&launcher, &dir, topology.spare_address(), &options).unwrap();
    let mut stream = http::connect(agent.http).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();

    let mut carried = 0;
    for hop in &topology.hops {
        // Hops that are refused carry nothing; that is as well.
        carried +=
            usize::from(hop.request_carrying(CANARY).is_ok_and(|body| body.contains(CANARY)));
    }
    assert!(carried >= 20, "{carried} of {} hops answered with it", topology.hops.len());
    for hop in &topology.hops {
        agent.wait_finals(hop.dial, 1).unwrap();
    }

    let mut outputs = vec![
        ("log", agent.daemon.log()),
        ("event file", fs::read_to_string(dir.join("events.jsonl")).unwrap()),
    ];
    for path in ["/", "/metrics", "/hops", "/readyz", "/livez"] {
        outputs.push((path, agent.get(path).unwrap().body));
    }
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut events = Vec::new();
    let _ = stream.read_to_end(&mut events);
    outputs.push(("/events", String::from_utf8_lossy(&events).into_owned()));
    drop(agent);
    outputs.push(("state", read_all(&state)));
    for (output, text) in &outputs {
        assert!(text.len() > 2, "{output} is empty");
        let line = text.lines().find(|line| line.contains(CANARY) || line.contains("hs-canary"));
        assert_eq!(line, None, "{output}");
        println!("{output}: {} bytes without it", text.len());
    }
    // And they are about these hops.
    assert!(outputs[1].1.lines().count() >= topology.hops.len());
}

fn read_all(dir: &Path) -> String {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}
