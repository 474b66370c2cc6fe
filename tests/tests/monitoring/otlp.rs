//! Events and metrics over OTLP, to a real collector and to one that is not well.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hopsight_export::{
    Exporter,
    events::Events,
    otlp::{Endpoint, EndpointFiles, LogOutput, Protocol, Resource},
};
use hopsight_posture::hops::table::HopLimits;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    case,
    loopback::free_socket,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
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

/// A running one that writes down what it gets.
struct Rotel {
    daemon: Daemon,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Rotel {
    /// Starts it with its files in `dir`; `None` (and a line that says so) where it is not installed.
    fn start(test: &str, dir: &Path) -> Option<Self> {
        let Some(rotel) = collector() else {
            hopsight_test_support::not_run(test, "rotel is not installed");
            return None;
        };
        let (http, grpc) = (free_socket().unwrap(), free_socket().unwrap());
        let log = dir.join("rotel.log");
        let mut daemon = Daemon::spawn(rotel, arguments(dir, http, grpc), &log).unwrap();
        for address in [http, grpc] {
            daemon.wait_listening(address).unwrap();
        }
        Some(Self { daemon, http, grpc })
    }

    /// Waits until it has written all of this; what is missing else.
    fn wait(&self, mut wanted: Vec<String>) -> Result<(), Vec<String>> {
        let done = wait_until("everything to be at the collector", ARRIVED, || {
            let log = self.daemon.log();
            wanted.retain(|want| !log.contains(want));
            Ok(wanted.is_empty().then_some(()))
        });
        done.map_err(|_| wanted)
    }
}

fn arguments(dir: &Path, http: SocketAddr, grpc: SocketAddr) -> [String; 17] {
    let file = |name: &str| utf8(&dir.join(name)).unwrap().to_owned();
    [
        "start",
        "--otlp-http-endpoint",
        &http.to_string(),
        "--otlp-grpc-endpoint",
        &grpc.to_string(),
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
    .map(str::to_owned)
}

#[test]
fn a_collector_gets_every_event_and_the_metrics() {
    let name = "a_collector_gets_every_event_and_the_metrics";
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    for protocol in Protocol::ALL {
        let topology = Topology::start(&case::named(&["http", "mtls12"]), Network::Ipv4).unwrap();
        let Some(rotel) = Rotel::start(name, topology.dir()) else { return };
        exported(*protocol, &topology, &rotel);
    }
}

fn exported(protocol: Protocol, topology: &Topology, rotel: &Rotel) {
    let config = utf8(&topology.dir().join("hopsight.toml")).unwrap().to_owned();
    let address = if protocol == Protocol::Grpc { rotel.grpc } else { rotel.http };
    let text = format!(
        "[otlp]\nendpoint = \"http://{address}\"\nprotocol = \"{protocol}\"\n\
         metrics_interval_seconds = 1\n"
    );
    fs::write(&config, text).unwrap();
    // As the agent has it in production: confined.
    let options = ["--config", &config, "--user", "65532"];
    let agent = Agent::watching(topology, "agent", &options).unwrap();
    let mut wanted = vec![
        "service.name: Str(hopsight)".to_owned(),
        "EventName: hopsight.connection".to_owned(),
        "Name: hopsight_upstream_connections_total".to_owned(),
        "Name: hopsight_verdict_latency_seconds".to_owned(),
        "hopsight.client_auth: Str(presented)".to_owned(),
        "tls.protocol.version: Str(1.2)".to_owned(),
        "network.peer.port: Int(".to_owned(),
        "process.pid: Int(".to_owned(),
    ];
    for (name, words) in [("http", "plaintext, established"), ("mtls12", "mtls, established")] {
        let hop = topology.hop(name).unwrap();
        hop.request().unwrap();
        agent.wait_finals(hop.dial, 1).unwrap();
        wanted.push(format!("Body: Str(nginx → {}: {words}", hop.dial));
        wanted.push(format!("hopsight.upstream: Str({})", hop.dial));
    }
    rotel.wait(wanted).unwrap_or_else(|missing| {
        panic!("{protocol}: {missing:#?} is missing\n{}", agent.daemon.log());
    });
    let dropped = agent.metric("hopsight_event_output_dropped_total", &["output=\"otlp\""]);
    assert_eq!(dropped.unwrap(), Some(0.0));
    // The collector notes what it got before it answers.
    wait_until("an export that was answered", VERDICT, || {
        let sent = agent.metric("hopsight_otlp_metric_exports_total", &["result=\"sent\""])?;
        Ok((sent > Some(0.0)).then_some(()))
    })
    .unwrap();
}

fn in_the_clear(url: &str) -> Endpoint {
    let endpoint = Endpoint::parse(url, &EndpointFiles::default()).unwrap();
    endpoint.with_headers("authorization=Bearer%20token").unwrap()
}

/// An exporter whose events go to that collector, and a report for it.
fn exporting(collector: Endpoint) -> (Exporter, hopsight_core::report::ConnectionReport) {
    let mut events = Events::default();
    let output = LogOutput::new(collector, Resource::of_this_process());
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
    let (exporter, report) = exporting(in_the_clear(&format!("http://{}/otlp", collector.address)));
    exporter.record(&report);
    wait_until("a first try", ARRIVED, || Ok((!collector.posts().is_empty()).then_some(())))
        .unwrap();
    collector.answer_with(200);
    wait_until("a second try", ARRIVED, || Ok((collector.posts().len() > 1).then_some(())))
        .unwrap();
    let posts = collector.posts();
    assert!(posts.iter().all(|post| post.path == "/otlp/v1/logs"), "{posts:?}");
    for field in ["Content-Type: application/x-protobuf", "authorization: Bearer token"] {
        assert!(posts[0].head.contains(field), "{field}: {posts:?}");
    }
    assert_eq!(posts[0].body, posts[1].body, "the same again");
    assert_eq!(dropped(&exporter), 0);
}

#[test]
fn events_that_a_collector_does_not_take_are_counted() {
    // Answers that will not change are not asked for twice.
    let collector = Receiver::start().unwrap();
    collector.answer_with(400);
    let (exporter, report) = exporting(in_the_clear(&format!("http://{}", collector.address)));
    exporter.record(&report);
    // The report, and that the hop is what it is now.
    wait_until("the refusal", ARRIVED, || Ok((dropped(&exporter) == 2).then_some(()))).unwrap();
    let posts: Vec<_> = collector.posts().into_iter().map(|post| post.body).collect();
    let different: std::collections::BTreeSet<_> = posts.iter().collect();
    assert_eq!(different.len(), posts.len(), "nothing is sent twice");

    // Nobody there: more than the queue holds is taken without waiting, and none is forgotten.
    let (exporter, report) = exporting(in_the_clear(&format!("http://{}", free_socket().unwrap())));
    let reports = 20_000;
    for _ in 0..reports {
        exporter.record(&report);
    }
    let count = reports + 1;
    wait_until("all to be counted", ARRIVED, || Ok((dropped(&exporter) == count).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {} of {count}", dropped(&exporter)));
}

/// nginx stands before a collector, asks for a client certificate and a token, and passes on what it
/// lets in.
#[test]
fn a_collector_behind_mutual_tls_gets_events_by_grpc() {
    let name = "a_collector_behind_mutual_tls_gets_events_by_grpc";
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(rotel) = Rotel::start(name, dir.path()) else { return };
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let front = free_socket().unwrap();
    let certificate = own_certificate(dir.path(), front);
    let inside = format!(
        "if ($http_authorization != \"Bearer token\") {{ return 403; }} \
         location / {{ grpc_pass grpc://{}; }}",
        rotel.grpc
    );
    let _nginx = before(dir.path(), &pki, front, &inside);
    let url = format!("https://{front}");
    let client = Some((pki.client.chain.clone(), pki.client.key.clone()));
    for (case, presented, token, is_let_in) in [
        ("mutual", client.clone(), "authorization=Bearer%20token", true),
        ("no client certificate", None, "authorization=Bearer%20token", false),
        ("no token", client, "x-other=1", false),
    ] {
        let files = EndpointFiles { authorities: Some(certificate.clone()), presented };
        let endpoint = Endpoint::parse(&url, &files).unwrap().with_headers(token).unwrap();
        let (exporter, report) = exporting(endpoint.with_protocol(Protocol::Grpc).unwrap());
        exporter.record(&report);
        if is_let_in {
            let body = "10.0.0.1:80: plaintext, established, wire";
            // The second one on the connection of the first.
            for count in 1..=2 {
                let is_there =
                    || Ok((rotel.daemon.log().matches(body).count() == count).then_some(()));
                wait_until(case, ARRIVED, is_there).unwrap();
                exporter.record(&report);
            }
        } else {
            let is_over = || Ok((dropped(&exporter) == 2).then_some(()));
            wait_until(case, ARRIVED, is_over).unwrap();
        }
    }
}

/// A certificate and key for an address, `tls.crt` and `tls.key`; where the certificate is.
fn own_certificate(dir: &Path, address: SocketAddr) -> PathBuf {
    let own = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    certificate
}

/// nginx with that certificate, which wants one of `pki`'s clients.
fn before(dir: &Path, pki: &Pki, front: SocketAddr, inside: &str) -> Nginx {
    let server = format!(
        "server {{ listen {front} ssl http2; ssl_certificate {}; ssl_certificate_key {}; \
         ssl_client_certificate {}; ssl_verify_client on; ssl_verify_depth 3; {inside} }}\n",
        utf8(&dir.join("tls.crt")).unwrap(),
        utf8(&dir.join("tls.key")).unwrap(),
        utf8(&pki.root).unwrap(),
    );
    let config = nginx::Config { http: server, ..nginx::Config::default() };
    Nginx::start(&dir.join("nginx"), &config, &Place::here(), front).unwrap()
}

/// nginx stands before a collector, asks for a client certificate, and passes on what it lets in.
#[test]
fn a_collector_behind_mutual_tls_gets_events() {
    if !requirement::met("a_collector_behind_mutual_tls_gets_events", &["nginx"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let collector = Receiver::start().unwrap();
    let front = free_socket().unwrap();
    let certificate = own_certificate(dir.path(), front);
    let inside = format!("location / {{ proxy_pass http://{}; }}", collector.address);
    let _nginx = before(dir.path(), &pki, front, &inside);
    let url = format!("https://{front}");
    for (name, authorities, presented, is_let_in) in [
        ("mutual", &certificate, Some((pki.client.chain.clone(), pki.client.key.clone())), true),
        ("no client certificate", &certificate, None, false),
        ("another authority", &pki.root, None, false),
    ] {
        let before = collector.posts().len();
        let files = EndpointFiles { authorities: Some(authorities.clone()), presented };
        let (exporter, report) = exporting(Endpoint::parse(&url, &files).unwrap());
        exporter.record(&report);
        // The report, and that the hop is what it is now, in one request or two.
        let is_over = || {
            let is_over =
                if is_let_in { collector.posts().len() > before } else { dropped(&exporter) == 2 };
            Ok(is_over.then_some(()))
        };
        wait_until(name, ARRIVED, is_over).unwrap();
        assert_eq!(collector.posts().len() > before, is_let_in, "{name}");
    }
}

#[test]
fn a_bad_endpoint_is_told() {
    for (url, want) in [
        ("https://collector:4318", "https needs the collector's authorities"),
        ("collector:4318", "neither http://HOST:PORT nor https://HOST:PORT"),
        ("http://collector", "has no port"),
    ] {
        let binary = hopsight_tests::agent::binary().unwrap();
        let output = Command::new(binary).args(["run", "--otlp", url]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{url}: {errors}");
        assert!(errors.contains(want), "{url}: {errors}");
    }
}
