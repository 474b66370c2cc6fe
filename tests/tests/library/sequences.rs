//! What the probes show of nginx's upstream handshakes, case by case.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use hopsight_capture::{LiveSource, NoLibrary};
use hopsight_core::model::{LibraryEvent, LibraryObservation};

use hopsight_tests::process::{called, own_name};

use crate::support::{
    Authority, Running, count, free_port, get, library_events, line, nginx_called, nginx_with,
    possible, source, wait_evidence, wait_for_port,
};

/// A hop from nginx to nginx.
struct Case {
    name: &'static str,
    /// Directives of the upstream's server block.
    upstream: &'static str,
    /// Directives of the proxy's location.
    proxy: &'static str,
    /// Answer of the proxy.
    status: &'static str,
    /// What the proxy's library shows: handshake message types (an empty Certificate is `11e`, in
    /// brackets what is hashed in one call) and what else is observed.
    expected: &'static str,
}

const ASK: &str = "ssl_verify_client optional; ssl_client_certificate DIR/ca.pem;";
const PRESENT: &str =
    "proxy_ssl_certificate DIR/client.pem; proxy_ssl_certificate_key DIR/client.key;";
const VERIFY: &str = "proxy_ssl_verify on; proxy_ssl_trusted_certificate DIR/ca.pem; \
                      proxy_ssl_name upstream.test;";
const VERIFY_OTHER: &str = "proxy_ssl_verify on; proxy_ssl_trusted_certificate DIR/other.pem; \
                            proxy_ssl_name upstream.test;";
const VERIFY_NAME: &str = "proxy_ssl_verify on; proxy_ssl_trusted_certificate DIR/ca.pem; \
                           proxy_ssl_name elsewhere.test;";

const TLS13: [Case; 9] = [
    Case {
        name: "one-way",
        upstream: "",
        proxy: PRESENT,
        status: "200",
        expected: "made [1 2] 8 11 verify=20 15 20 20 ticket ticket",
    },
    Case {
        name: "mutual",
        upstream: ASK,
        proxy: PRESENT,
        status: "200",
        expected: "made [1 2] 8 13 11 verify=20 15 20 11 15 20 ticket ticket",
    },
    Case {
        name: "requested-none",
        upstream: ASK,
        proxy: "",
        status: "200",
        expected: "made [1 2] 8 13 11 verify=20 15 20 11e 20 ticket ticket",
    },
    Case {
        name: "mutual-verified",
        upstream: ASK,
        proxy: "PRESENT VERIFY",
        status: "200",
        expected: "made [1 2] 8 13 11 verify=0 15 20 11 15 20 asked=0 host=1 ticket ticket",
    },
    Case {
        name: "wrong-authority",
        upstream: "",
        proxy: VERIFY_OTHER,
        status: "502",
        expected: "made [1 2] 8 11 verify=21 15 20 20 asked=21",
    },
    Case {
        name: "wrong-name",
        upstream: "",
        proxy: VERIFY_NAME,
        status: "502",
        expected: "made [1 2] 8 11 verify=0 15 20 20 asked=0 host=0",
    },
    Case {
        name: "retry-hello",
        upstream: "ssl_ecdh_curve secp384r1;",
        proxy: "",
        status: "200",
        expected: "made 1 [254 2 1 2] 8 11 verify=20 15 20 20 ticket ticket",
    },
    Case {
        name: "large-chain",
        upstream: "ssl_certificate DIR/large.pem; ssl_certificate_key DIR/large.key;",
        proxy: "",
        status: "200",
        expected: "made [1 2] 8 11 verify=20 15 20 20 ticket ticket",
    },
    Case {
        name: "no-common-version",
        upstream: "ssl_protocols TLSv1.2;",
        proxy: "",
        status: "502",
        expected: "made alert=70",
    },
];

const TLS12: [Case; 4] = [
    Case {
        name: "one-way",
        upstream: "",
        proxy: "",
        status: "200",
        expected: "made verify=20 [1 2 11 12 14 16] 20 4 ticket 20",
    },
    Case {
        name: "mutual",
        upstream: ASK,
        proxy: PRESENT,
        status: "200",
        expected: "made verify=20 [1 2 11 12 13 14 11 16] 15 20 4 ticket 20",
    },
    Case {
        name: "requested-none",
        upstream: ASK,
        proxy: "",
        status: "200",
        expected: "made verify=20 [1 2 11 12 13] 14 11e 16 20 4 ticket 20",
    },
    Case {
        name: "verified",
        upstream: "",
        proxy: VERIFY,
        status: "200",
        expected: "made verify=0 [1 2 11 12 14 16] 20 4 ticket 20 asked=0 host=1",
    },
];

/// Proxy and upstream nginx, both of one process name, with a hop per case.
struct Hops {
    port: u16,
    proxy: Running,
    upstream: Running,
}

impl Hops {
    fn start(here: &Path, cases: &[Case], version: &str, reuse: &str, name: &str) -> Self {
        let authority = Authority::new(here, "ca");
        Authority::new(here, "other");
        authority.issue("server", vec!["upstream.test".to_owned()]);
        authority.issue("client", vec!["proxy.test".to_owned()]);
        authority.issue("large", (0..1500).map(|n| format!("n{n}.upstream.test")).collect());
        let port = free_port();
        let ports: Vec<u16> = cases.iter().map(|_| free_port()).collect();
        let mut servers = String::new();
        let mut locations = String::new();
        for (case, tls_port) in cases.iter().zip(&ports) {
            let certificate = if case.upstream.contains("ssl_certificate ") {
                ""
            } else {
                "ssl_certificate DIR/server.pem; ssl_certificate_key DIR/server.key;"
            };
            let versions = if case.upstream.contains("ssl_protocols") {
                String::new()
            } else {
                format!("ssl_protocols {version};")
            };
            servers += &format!(
                "server {{ listen 127.0.0.1:{tls_port} ssl; {versions} {certificate} {} \
                 location / {{ return 200 ok; }} }}\n",
                case.upstream
            );
            locations += &format!(
                "location /{} {{ proxy_pass https://127.0.0.1:{tls_port}; \
                 proxy_ssl_protocols {version}; proxy_ssl_session_reuse {reuse}; {} }}\n",
                case.name, case.proxy
            );
        }
        let fill = |text: &str| {
            let text = text.replace("PRESENT", PRESENT).replace("VERIFY", VERIFY);
            text.replace("DIR", &here.display().to_string())
        };
        let program = nginx_called(here, &own_name(name));
        let start = |name: &str, http: &str| {
            nginx_with(here, name, &fill(http), &program, |command| command)
        };
        let upstream = start("upstream", &servers);
        let server = format!("server {{ listen 127.0.0.1:{port}; {locations} }}");
        let proxy = start("proxy", &server);
        ports.into_iter().chain([port]).for_each(wait_for_port);
        Self { port, proxy, upstream }
    }

    fn request(&self, source: &mut LiveSource, case: &Case) -> Vec<LibraryEvent> {
        let status = get(self.port, &format!("/{}", case.name));
        assert!(status.contains(case.status), "{}: {status}", case.name);
        let pids = [self.proxy.pids(), self.upstream.pids()].concat();
        library_events(source, &pids)
    }
}

fn check(version: &str, cases: &[Case], name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let hops = Hops::start(directory.path(), cases, version, "off", name);
    let mut source = source(&own_name(name));
    let mut wrong = Vec::new();
    for case in cases {
        let before = count(&source, "hit");
        let events = hops.request(&mut source, case);
        let hits = count(&source, "hit") - before;
        println!("{version} {}: {} ({hits} hits)", case.name, line(&events));
        if line(&events) != case.expected {
            wrong.push(format!("{}: {} instead of {}", case.name, line(&events), case.expected));
        }
        let ssl = events.first().map(|event| event.ssl).unwrap_or_default();
        assert_ne!(ssl, 0, "{}: the connection object is known", case.name);
        assert!(events.iter().all(|event| event.ssl == ssl), "{}: one connection", case.name);
        assert!(
            events.iter().all(|event| hops.proxy.pids().contains(&event.pid)),
            "{}: the upstream, a server, shows nothing",
            case.name
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for lost in ["lost", "unreadable", "not_handshake"] {
        assert_eq!(count(&source, lost), 0, "{lost}");
    }
}

#[test]
fn tls13_handshakes_of_nginx() {
    if possible("tls13_handshakes_of_nginx", &["nginx"]) {
        check("TLSv1.3", &TLS13, "tls13");
    }
}

#[test]
fn tls12_handshakes_of_nginx() {
    if possible("tls12_handshakes_of_nginx", &["nginx"]) {
        check("TLSv1.2", &TLS12, "tls12");
    }
}

#[test]
fn resumed_handshakes_of_nginx() {
    if !possible("resumed_handshakes_of_nginx", &["nginx"]) {
        return;
    }
    for (version, case, expected) in [
        ("TLSv1.3", &TLS13[1], "made [1 2] 8 20 20 ticket"),
        ("TLSv1.2", &TLS12[1], "made [1 2] 20 20"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let hops =
            Hops::start(directory.path(), std::slice::from_ref(case), version, "on", "resumed");
        let mut source = source(&own_name("resumed"));
        let first = line(&hops.request(&mut source, case));
        assert_eq!(first, case.expected, "{version}: a full handshake first");
        let second = line(&hops.request(&mut source, case));
        assert_eq!(second, expected, "{version}: then a resumed one");
    }
}

#[test]
fn certificates_longer_than_a_record_arrive_whole() {
    if !possible("certificates_longer_than_a_record_arrive_whole", &["nginx"]) {
        return;
    }
    let case = TLS13.iter().find(|case| case.name == "large-chain").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let hops = Hops::start(directory.path(), std::slice::from_ref(case), "TLSv1.3", "off", "large");
    let mut source = source(&own_name("large"));
    let events = hops.request(&mut source, case);
    let longest = events.iter().filter_map(|event| match &event.observation {
        LibraryObservation::TranscriptUpdate { len, bytes, .. } => {
            assert_eq!(*len as usize, bytes.len());
            Some(bytes.len())
        }
        _ => None,
    });
    assert!(longest.max().unwrap_or_default() > 16_384);
}

#[test]
fn processes_without_openssl_say_why() {
    use hopsight_capture::LibraryEvidence;
    if !possible("processes_without_openssl_say_why", &["bash"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let name = own_name("shell");
    let shell = called(directory.path(), "bash", &name).unwrap();
    // It waits for a line, or for the end of the test.
    let mut waiting = Command::new(shell);
    let waiting = waiting.args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
    let waiting = Running(waiting);
    let mut source = source(&name);
    wait_evidence(&mut source, waiting.0.id(), |evidence| {
        matches!(evidence, LibraryEvidence::Inferred { reason: NoLibrary::NoTlsLibrary, .. })
    });
}
