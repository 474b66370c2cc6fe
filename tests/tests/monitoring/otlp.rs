//! Events and metrics over OTLP, to a real collector and to one that is not well.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use hopsight_core::hops::table::HopLimits;
use hopsight_export::{
    Exporter,
    events::Events,
    otlp::{Endpoint, LogOutput},
};
use hopsight_tests::{
    agent::Agent,
    case,
    loopback::free_socket,
    nginx::utf8,
    process::Daemon,
    receiver::Receiver,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};

const ARRIVED: Duration = Duration::from_secs(30);

/// rotel, an OpenTelemetry collector in Rust. The collector in Go is in no package that Debian,
/// PyPI or npm has of its makers.
fn collector() -> Option<PathBuf> {
    env::var_os("HOPSIGHT_ROTEL")
        .map(PathBuf::from)
        .or_else(|| hopsight_tests::process::find("rotel-agent"))
}

#[test]
fn a_collector_gets_every_event_and_the_metrics() {
    let name = "a_collector_gets_every_event_and_the_metrics";
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    let Some(rotel) = collector() else {
        return hopsight_test_support::not_run(name, "rotel is not installed");
    };
    let topology = Topology::start(&case::named(&["http", "mtls12"]), Network::Ipv4).unwrap();
    let dir = topology.dir();
    let http = free_socket().unwrap();
    let file = |name: &str| utf8(&dir.join(name)).unwrap().to_owned();
    let args = [
        "start",
        "--otlp-http-endpoint",
        &http.to_string(),
        "--otlp-grpc-endpoint",
        &free_socket().unwrap().to_string(),
        "--exporter",
        "blackhole",
        "--debug-log",
        "logs",
        "--debug-log",
        "metrics",
        "--debug-log-verbosity",
        "detailed",
        "--pid-file",
        &file("rotel.pid"),
        "--log-file",
        &file("rotel.own.log"),
    ]
    .map(str::to_owned);
    let mut daemon = Daemon::spawn(rotel, args, &dir.join("rotel.log")).unwrap();
    daemon.wait_listening(http).unwrap();

    let config = file("hopsight.toml");
    let text = format!("[otlp]\nendpoint = \"http://{http}\"\nmetrics_interval_seconds = 1\n");
    fs::write(&config, text).unwrap();
    let options = ["--config", &config];
    let agent = Agent::watching(&topology, "agent", &options).unwrap();
    let mut wanted = vec![
        "service.name: Str(hopsight)".to_owned(),
        "EventName: hopsight.connection".to_owned(),
        "Name: hopsight_upstream_connections_total".to_owned(),
        "Name: hopsight_verdict_latency_seconds".to_owned(),
        "client_auth: Str(presented)".to_owned(),
    ];
    for (name, words) in [("http", "plaintext, established"), ("mtls12", "mtls, established")] {
        let hop = topology.hop(name).unwrap();
        hop.request().unwrap();
        agent.wait_finals(hop.dial, 1).unwrap();
        wanted.push(format!("Body: Str(nginx → {}: {words}", hop.dial));
        wanted.push(format!("upstream: Str({})", hop.dial));
    }
    wait_until("everything to be at the collector", ARRIVED, || {
        let log = daemon.log();
        wanted.retain(|want| !log.contains(want));
        Ok(wanted.is_empty().then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {wanted:#?}\n{}", agent.daemon.log()));
    let dropped = agent.metric("hopsight_event_output_dropped_total", &["output=\"otlp\""]);
    assert_eq!(dropped.unwrap(), Some(0.0));
    let sent = agent.metric("hopsight_otlp_metric_exports_total", &["result=\"sent\""]);
    assert!(sent.unwrap() > Some(0.0));
}

/// An exporter whose events go to that collector, and a report for it.
fn exporting(collector: &str) -> (Exporter, hopsight_core::report::ConnectionReport) {
    let mut events = Events::default();
    let output = LogOutput::new(Endpoint::parse(collector).unwrap());
    events.write_to("otlp", Box::new(output)).unwrap();
    let report = serde_json::from_value(serde_json::json!({
        "connection": 1, "origin": "packet_capture", "src": "10.0.0.9:40000", "dst": "10.0.0.1:80",
        "destination": "10.0.0.1:80", "opened_at": 0, "decided_at": 0, "security": "plaintext",
        "client_auth": "not_requested", "outcome": "established", "evidence": "wire",
        "server_verified": "unknown", "reason": null, "is_final": true, "offered_versions": [],
        "offered_alpn": [],
    }));
    (Exporter::with_events(HopLimits::default(), events), report.unwrap())
}

fn dropped(exporter: &Exporter) -> u64 {
    let text = exporter.gather().unwrap();
    let name = "hopsight_event_output_dropped_total{output=\"otlp\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_collector_that_restarts_gets_the_events_of_that_time() {
    let collector = Receiver::start().unwrap();
    collector.answer_with(503);
    let (exporter, report) = exporting(&format!("http://{}/otlp", collector.address));
    exporter.record(&report);
    wait_until("a first try", ARRIVED, || Ok((!collector.posts().is_empty()).then_some(())))
        .unwrap();
    collector.answer_with(200);
    wait_until("a second try", ARRIVED, || Ok((collector.posts().len() > 1).then_some(())))
        .unwrap();
    let posts = collector.posts();
    assert!(posts.iter().all(|post| post.path == "/otlp/v1/logs"), "{posts:?}");
    assert!(posts[0].head.contains("Content-Type: application/x-protobuf"), "{posts:?}");
    assert_eq!(posts[0].body, posts[1].body, "the same again");
    assert_eq!(dropped(&exporter), 0);
}

#[test]
fn events_that_a_collector_does_not_take_are_counted() {
    // Answers that will not change are not asked for twice.
    let collector = Receiver::start().unwrap();
    collector.answer_with(400);
    let (exporter, report) = exporting(&format!("http://{}", collector.address));
    exporter.record(&report);
    // The report, and that the hop is what it is now.
    wait_until("the refusal", ARRIVED, || Ok((dropped(&exporter) == 2).then_some(()))).unwrap();
    let posts: Vec<_> = collector.posts().into_iter().map(|post| post.body).collect();
    let different: std::collections::BTreeSet<_> = posts.iter().collect();
    assert_eq!(different.len(), posts.len(), "nothing is sent twice");

    // Nobody there: more than the queue holds is taken without waiting, and none is forgotten.
    let (exporter, report) = exporting(&format!("http://{}", free_socket().unwrap()));
    let reports = 20_000;
    for _ in 0..reports {
        exporter.record(&report);
    }
    let count = reports + 1;
    wait_until("all to be counted", ARRIVED, || Ok((dropped(&exporter) == count).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {} of {count}", dropped(&exporter)));
}

#[test]
fn a_bad_endpoint_is_told() {
    for (url, want) in [
        ("https://collector:4318", "for TLS send to a collector on this node"),
        ("http://collector", "has no port"),
    ] {
        let binary = hopsight_tests::agent::binary().unwrap();
        let output = Command::new(binary).args(["run", "--otlp", url]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{url}: {errors}");
        assert!(errors.contains(want), "{url}: {errors}");
    }
}
