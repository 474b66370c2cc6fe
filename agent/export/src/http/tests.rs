//! The server over a real socket, with polite and impolite peers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{Hosts, HttpLimits, bind, serve};
use crate::Exporter;
use hopsight_core::{health::ComponentState, model::Security};
use hopsight_posture::hops::{
    table::HopLimits,
    testing::{report, to},
};

/// A server on a free port, stopped when dropped.
struct Server {
    address: SocketAddr,
    exporter: Exporter,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    fn start(limits: HttpLimits) -> Self {
        let listener = bind("127.0.0.1:0".parse().expect("literal")).expect("free port");
        let address = listener.local_addr().expect("bound");
        let exporter = Exporter::new(HopLimits::default());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = exporter.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(listener, served, limits, Hosts::default(), async {
                let _ = stopped.await;
            }))
        });
        Self { address, exporter, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        stream
    }

    fn send(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(Ok(())))), "the server ends cleanly");
    }
}

#[test]
fn answers() {
    let server = Server::start(HttpLimits::default());
    server.exporter.record(&report(1, Security::Mtls));
    server.exporter.health().set("kernel_programs", ComponentState::Ready, "attached");
    for (path, status, text) in [
        ("/", "200 OK", "<!doctype html>"),
        ("/metrics", "200 OK", "hopsight_hop_security{proxy=\"nginx\""),
        ("/livez", "200 OK", "ok\n"),
        ("/healthz", "200 OK", "ok\n"),
        ("/readyz", "200 OK", r#""kernel_programs":{"state":"ready","detail":"attached"}"#),
        ("/hops", "200 OK", r#""security":"mtls""#),
        ("/hops?since=99999999999", "200 OK", r#""hops":[]"#),
        ("/hops?sinc=1", "400 Bad Request", "unknown field"),
        ("/nothing", "404 Not Found", "not found"),
    ] {
        let answer = server.get(path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
        assert!(answer.contains(text), "{path}: {answer}");
        assert_is_for_nobody_else(&answer);
    }
    server.exporter.health().set("library_probes", ComponentState::Failed, "no permission");
    assert!(server.get("/readyz").starts_with("HTTP/1.1 503"), "a failed part is not ready");
    let post = server.send("POST /hops HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
}

/// What keeps a browser from using an answer elsewhere.
fn assert_is_for_nobody_else(answer: &str) {
    for field in [
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "content-security-policy: default-src 'none'; ",
        "cross-origin-resource-policy: same-origin",
        "cross-origin-opener-policy: same-origin",
    ] {
        assert!(answer.contains(&format!("\r\n{field}")), "{field}: {answer}");
    }
}

#[test]
fn events_arrive_as_they_happen() {
    let server = Server::start(HttpLimits { max_event_streams: 1, ..HttpLimits::default() });
    let mut stream = server.connect();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").expect("write");
    let mut seen = String::new();
    let mut read_until = |text: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(text) {
            let read = stream.read(&mut buffer).expect("more to come");
            assert_ne!(read, 0, "ended: {seen}");
            seen += &String::from_utf8_lossy(&buffer[..read]);
        }
    };
    read_until("\r\n\r\n");
    let second = server.get("/events");
    assert!(second.starts_with("HTTP/1.1 503"), "one stream at most: {second}");
    server.exporter.record(&to(report(7, Security::Plaintext), "10.0.0.7:80"));
    read_until("event: connection\ndata: {");
    read_until(r#""dst":"10.0.0.7:80""#);
}

#[test]
fn oversized_headers_are_refused() {
    let server = Server::start(HttpLimits::default());
    let field = format!("X-Padding: {}\r\n", "x".repeat(1000));
    let answer = server.send(&format!("GET / HTTP/1.1\r\n{}\r\n", field.repeat(40)));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = server.send(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100)));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[test]
fn slow_requests_do_not_keep_others_out() {
    let limits =
        HttpLimits { max_connections: 4, header_timeout_seconds: 1, ..HttpLimits::default() };
    let server = Server::start(limits);
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: sl").expect("write");
            stream
        })
        .collect();
    // Eight slow ones pass four at a time, each for the header timeout.
    assert!(server.get("/livez").starts_with("HTTP/1.1 200"));
    drop(slow);
}

#[test]
fn polite_connections_do_not_keep_others_out() {
    let limits = HttpLimits { max_connections: 4, ..HttpLimits::default() };
    let server = Server::start(limits);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")?;
        stream.read(&mut [0; 4096])
    };
    // Each of them would ask again in a moment, and never be idle for long.
    let mut polite: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut polite {
        assert_ne!(ask(stream).expect("an answer"), 0);
    }
    for _ in 0..16 {
        assert!(server.get("/livez").starts_with("HTTP/1.1 200"));
    }
    let ended = polite.iter_mut().filter_map(|stream| ask(stream).ok()).filter(|read| *read == 0);
    assert!(ended.count() <= 4);
}

#[test]
fn metrics_and_hops_come_in_the_form_that_is_asked_for() {
    let server = Server::start(HttpLimits::default());
    server.exporter.record(&report(1, Security::Mtls));
    let ask = |path: &str, headers: &str| {
        server.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n"
        ))
    };
    let answer = ask("/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    let answer = ask("/metrics", "");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(!answer.contains("content-encoding"), "{answer}");
    for path in ["/metrics", "/hops"] {
        let answer = ask(path, "Accept-Encoding: gzip\r\n");
        assert!(answer.contains("content-encoding: gzip"), "{path}: {answer}");
        assert!(!answer.contains("mtls"), "{path}: {answer}");
    }
}

#[test]
fn a_page_of_somebody_else_gets_nothing() {
    let server = Server::start(HttpLimits::default());
    server.exporter.record(&report(1, Security::Mtls));
    for headers in ["Host: evil.example.net", "Host: localhost\r\nOrigin: http://evil.example.net"]
    {
        let request = format!("GET /hops HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let answer = server.send(&request);
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
        assert_is_for_nobody_else(&answer);
        assert!(!answer.contains("mtls"), "{answer}");
    }
}

#[test]
fn a_taken_port_says_what_to_do() {
    let taken = bind("127.0.0.1:0".parse().expect("literal")).expect("free port");
    let address = taken.local_addr().expect("bound");
    let error = bind(address).expect_err("taken").to_string();
    assert!(error.starts_with(&format!("address already in use: {address}")), "{error}");
    assert!(error.contains("--http"), "{error}");
    let error = bind("192.0.2.1:9464".parse().expect("literal")).expect_err("not ours").to_string();
    assert!(error.starts_with("address not available: 192.0.2.1:9464"), "{error}");
}
