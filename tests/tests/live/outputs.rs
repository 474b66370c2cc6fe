//! What the agent serves: metrics, hops, page, health.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use hopsight_posture::hops::hop::Hop;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    case, process, requirement,
    topology::{Network, Topology},
    wait::wait_until,
};

#[test]
fn metrics_pass_promtool_and_count_every_connection() {
    let name = "metrics_pass_promtool_and_count_every_connection";
    if !requirement::met(name, &["nginx", "haproxy", "curl", "promtool"]) {
        return;
    }
    let cases = case::named(&["http", "tls12", "mtls12", "tls12-no-cert", "mtls13"]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let agent = Agent::watching_clients(&topology).unwrap();
    for hop in &topology.hops {
        hop.request().unwrap();
        agent.wait_finals(hop.dial, 1).unwrap();
    }
    wait_until("every hop to be counted", VERDICT, || {
        let known = agent.hops()?.hops;
        let is_counted = |one: &Hop| one.counts.count_of(|_| true) + one.counts.failed() > 0;
        let all = |dial| known.iter().any(|one| one.is_to(dial) && is_counted(one));
        Ok(topology.hops.iter().all(|hop| all(hop.dial)).then_some(()))
    })
    .unwrap();
    let url = format!("http://{}/metrics", agent.http);
    let text = process::run("curl", ["-q", "-fsS", "--noproxy", "*", &url]).unwrap();

    let (ok, words) = promtool_check(&text);
    assert!(ok && words.is_empty(), "promtool check metrics: {words}");

    let value = |metric: &str, hop: &str, labels: &[&str]| {
        let known = agent.hops().unwrap().hops;
        let dial = topology.hop(hop).unwrap().dial;
        let label = &known.iter().find(|one| one.is_to(dial)).unwrap().upstream;
        let upstream = format!("upstream=\"{label}\"");
        let line = text.lines().find(|line| {
            line.starts_with(&format!("{metric}{{"))
                && line.contains(&upstream)
                && labels.iter().all(|label| line.contains(label))
        });
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    let one = Some("1".to_owned());
    let connections = "hopsight_upstream_connections_total";
    for (hop, labels) in [
        ("http", ["security=\"plaintext\"", "client_auth=\"not_requested\""]),
        ("tls12", ["security=\"tls\"", "client_auth=\"not_requested\""]),
        ("mtls12", ["security=\"mtls\"", "client_auth=\"presented\""]),
    ] {
        assert_eq!(value(connections, hop, &labels), one, "{hop} {labels:?}\n{text}");
        assert_eq!(value("hopsight_hop_security", hop, &labels[..1]), one, "{hop}\n{text}");
    }
    let failures = "hopsight_upstream_handshake_failures_total";
    assert_eq!(value(failures, "tls12-no-cert", &["proxy=\"nginx\""]), one, "{text}");
    let versions = "hopsight_upstream_tls_connections_total";
    assert_eq!(value(versions, "mtls12", &["version=\"1.2\""]), one, "{text}");
    assert_eq!(value(versions, "mtls13", &["version=\"1.3\""]), one, "{text}");
}

#[test]
fn pages_answer() {
    if !requirement::met("pages_answer", &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["mtls12"]), Network::Ipv4).unwrap();
    let agent = Agent::watching_clients(&topology).unwrap();
    let hop = topology.hop("mtls12").unwrap();
    hop.request().unwrap();
    wait_until("the hop in /hops", hopsight_tests::agent::VERDICT, || {
        let hops = agent.hops()?.hops;
        Ok(hops
            .into_iter()
            .find(|known| known.is_to(hop.dial) && !known.counts.connections.is_empty()))
    })
    .unwrap();
    for (path, status, part) in [
        ("/", 200, "<html"),
        ("/healthz", 200, ""),
        ("/readyz", 200, ""),
        ("/hops", 200, "\"mtls\""),
        ("/nothing-here", 404, ""),
    ] {
        let response = agent.get(path).unwrap();
        assert_eq!(response.status, status, "{path}: {}", response.body);
        assert!(response.body.contains(part), "{path}: {}", response.body);
    }
}

/// Whether promtool accepts the exposition, and what it says.
fn promtool_check(text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&words).into_owned())
}
